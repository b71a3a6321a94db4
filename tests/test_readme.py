"""What the README shows is true: its settings and policy load, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re

import pytest

from gateway.policy import Action, Policy, check_listeners, parse_policies
from gateway.settings import Settings, parse_settings
from tests.support.process import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- executed by tests/test_readme.py -->\n```yaml\n# (\S+)\n(.*?)```", README, re.DOTALL)


def block(name: str) -> str:
    """Return the example of this file name."""
    return dict(BLOCKS)[name]


def test_the_settings_example_loads() -> None:
    settings: Settings = parse_settings(block("gateway.yaml"), "gateway.yaml")
    assert list(settings.listeners) == ["users", "border"]
    assert settings.reports is not None


def test_the_policy_example_loads_and_fits_the_settings() -> None:
    policy: Policy = parse_policies([("10-main.yaml", block("policies/10-main.yaml"))])
    settings = parse_settings(block("gateway.yaml"), "gateway.yaml")
    assert check_listeners(policy, settings.listeners) == ()
    assert [rule.name for rule in policy.rules] == ["must-encrypt", "reports", "outbound", "inbound"]
    assert policy.default.action is Action.PASS


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("target", re.findall(r"^    make ([a-z]+) ", README, re.MULTILINE))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_first_two_commands_are_run_and_test() -> None:
    assert re.findall(r"^    make ([a-z]+) ", README, re.MULTILINE) == ["run", "test"]
