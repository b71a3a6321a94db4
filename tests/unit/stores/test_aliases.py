"""The alias map: groups of addresses that are one mailbox, strict about everything else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.address import Address
from gateway.lookup import Found, Unavailable
from gateway.stores import CsvAliases
from gateway.transaction.ports import Aliases


def load(folder: Path, text: str | bytes) -> CsvAliases:
    """Load a map from text."""
    file = folder / "aliases.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CsvAliases(file)


def resolve(aliases: Aliases, address: str) -> list[str]:
    """Return the group of an address."""
    answer = asyncio.run(aliases.resolve(Address(address)))
    assert isinstance(answer, Found), answer
    return [str(one) for one in answer.value]


def is_unavailable(aliases: Aliases, address: str) -> bool:
    """Whether nothing can be said of an address."""
    return isinstance(asyncio.run(aliases.resolve(Address(address))), Unavailable)


MAP = """alias,mailbox
# people
sales@acme.example,Alice@acme.example
 a.smith@acme.example , alice@acme.example

info@acme.example,sales@acme.example
bob.b@acme.example,bob@acme.example
"""


@pytest.mark.parametrize(
    "address", ["alice@acme.example", "SALES@acme.example", "a.smith@acme.example", "info@acme.example"]
)
def test_a_group_is_found_from_each_of_its_addresses(tmp_path: Path, address: str) -> None:
    """The one that was asked for comes first, as it was written; chains of aliases are one group."""
    aliases = load(tmp_path, MAP)
    assert aliases.problems == ()
    group = resolve(aliases, address)
    assert group[0] == address
    assert {one.lower() for one in group} == {
        "alice@acme.example",
        "sales@acme.example",
        "a.smith@acme.example",
        "info@acme.example",
    }
    assert len(group) == 4


def test_strangers_stand_for_themselves(tmp_path: Path) -> None:
    """With a map and without one."""
    assert resolve(load(tmp_path, MAP), "Carol@acme.example") == ["Carol@acme.example"]
    assert resolve(CsvAliases(None), "carol@acme.example") == ["carol@acme.example"]


@pytest.mark.parametrize("text", ["", "alias,mailbox\n", "\ufeffalias,mailbox\n", "# nothing\n"])
def test_empty_maps(tmp_path: Path, text: str) -> None:
    """Are maps."""
    assert load(tmp_path, text).problems == ()


@pytest.mark.parametrize(
    ("line", "unavailable"),
    [
        ("x@a.example", ["x@a.example"]),
        ("x@a.example,y@a.example,z@a.example", ["x@a.example", "y@a.example", "z@a.example"]),
        ("x@a.example,nobody", ["x@a.example"]),
        ("x@a.example,y @a.example", ["x@a.example"]),
        ("x@a.example,", ["x@a.example"]),
        ("nonsense", []),
    ],
    ids=["one", "three", "no-address", "blank", "empty", "nonsense"],
)
def test_lines_that_cannot_be_read(tmp_path: Path, line: str, unavailable: list[str]) -> None:
    """Named with their number; the addresses in them are unavailable, the others are served."""
    aliases = load(tmp_path, f"alias,mailbox\na@a.example,b@a.example\n{line}\n")
    (problem,) = aliases.problems
    assert problem.line == 3
    assert all(is_unavailable(aliases, address) for address in unavailable)
    assert resolve(aliases, "a@a.example") == ["a@a.example", "b@a.example"]


def test_a_list_is_no_mailbox(tmp_path: Path) -> None:
    """An alias with two mailboxes lends nobody another one's key; its mailboxes are served."""
    aliases = load(tmp_path, "all@a.example,x@a.example\nall@a.example,y@a.example\nz@a.example,x@a.example\n")
    (problem,) = aliases.problems
    assert problem.line == 2
    assert is_unavailable(aliases, "ALL@a.example")
    assert set(resolve(aliases, "x@a.example")) == {"x@a.example", "z@a.example"}
    assert resolve(aliases, "y@a.example") == ["y@a.example"]


def test_the_same_line_twice_is_no_problem(tmp_path: Path) -> None:
    """Nor a mailbox that is its own alias."""
    aliases = load(tmp_path, "a@a.example,b@a.example\nA@a.example,B@a.example\nb@a.example,b@a.example\n")
    assert aliases.problems == ()
    assert len(resolve(aliases, "b@a.example")) == 2


@pytest.mark.parametrize("octets", [None, b"\xff\xfe\x00"], ids=["missing", "not-utf-8"])
def test_a_map_that_cannot_be_read(tmp_path: Path, octets: bytes | None) -> None:
    """Makes every address unavailable."""
    aliases = CsvAliases(tmp_path / "missing.csv") if octets is None else load(tmp_path, octets)
    assert is_unavailable(aliases, "a@a.example")
    assert len(aliases.problems) == 1


NAMES = st.sampled_from([f"{letter}@a.example" for letter in "abcdef"])


@given(st.lists(st.tuples(NAMES, NAMES), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_being_one_mailbox_is_mutual(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    """Whatever the order of the lines: who is in my group has me in his."""
    aliases = load(tmp_path, "".join(f"{alias},{mailbox}\n" for alias, mailbox in pairs))
    for name in (f"{letter}@a.example" for letter in "abcdef"):
        if is_unavailable(aliases, name):
            continue
        group = resolve(aliases, name)
        assert len(set(group)) == len(group)
        for other in group:
            assert is_unavailable(aliases, other) or set(resolve(aliases, other)) == set(group)


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_gives_a_map(tmp_path: Path, octets: bytes) -> None:
    """With problems perhaps; never an exception."""
    aliases = load(tmp_path, octets)
    is_unavailable(aliases, "a@a.example")
