"""The policies that ship: each loads, passes its decision table, and has no rule that no case hits."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policy import find_unhit, is_cases_file, is_policy_file, parse_cases, parse_policies, run_cases

FOLDER = Path(__file__).parents[1] / "policies"
POLICIES = sorted(path for path in FOLDER.iterdir() if is_policy_file(path.name))
TABLES = sorted(path for path in FOLDER.iterdir() if is_cases_file(path.name))


def name_and_text(path: Path) -> tuple[str, str]:
    return path.name, path.read_text(encoding="utf-8")


POLICY = parse_policies(map(name_and_text, POLICIES))
RESULTS = tuple(
    result for path in TABLES for result in run_cases(POLICY, parse_cases(path.read_text(encoding="utf-8"), path.name))
)


@pytest.mark.parametrize("result", [pytest.param(result, id=result.label) for result in RESULTS])
def test_case(result: object) -> None:
    """The decision is the one that the table expects."""
    assert result.differences == ()  # type: ignore[attr-defined]


def test_every_rule_is_hit() -> None:
    """No rule, and not the default, is without a case."""
    assert find_unhit(POLICY, RESULTS) == ()


def test_every_policy_has_its_table() -> None:
    """A document and its table stand side by side."""
    assert [path.name.removesuffix(".yaml") for path in POLICIES] == [
        path.name.removesuffix(".cases.yaml") for path in TABLES
    ]


def test_the_folder_is_described() -> None:
    """The README names every file, and the folder holds nothing else."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    others = {path.name for path in FOLDER.iterdir()} - {path.name for path in (*POLICIES, *TABLES)}
    assert others == {"README.md"}
    assert all(f"`{path.name}`" in readme for path in (*POLICIES, *TABLES))
