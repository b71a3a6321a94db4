"""Decision tables: how they are read, run and reported."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigurationError
from gateway.policy import CaseResult, find_unhit, is_cases_file, parse_cases, run_cases
from tests.unit.policy.support import policy_of

POLICY = policy_of("""\
rules:
  - name: big
    match: {size: ">10MiB", listener: users, tls: true}
    then: reject
  - name: tagged
    match: {header: {Subject: "*[secure]*"}}
    then: {sign: required, encrypt: required, sign_as: office@acme.example, form: opaque}
  - {name: forged, match: {verification: fail}, then: reject}
  - {name: signed, match: {kind: signed, sender: "*@partner.example"}, then: pass}
  - {name: internal, match: {direction: internal}, then: pass}
  - {name: inbound, match: {direction: inbound}, then: {decrypt: strict, verify: report}}
default: pass
""")

HEAD = "internal: [acme.example]\ncases:\n"


def run(case: str) -> CaseResult:
    (result,) = run_cases(POLICY, parse_cases(f"{HEAD}  - {case}\n", "t.cases.yaml"))
    return result


@pytest.mark.parametrize(
    "case",
    [
        "{from: a@acme.example, to: b@x.example, expect: {rule: default, action: pass}}",
        "{from: a@x.example, to: b@acme.example, expect: {rule: inbound, decrypt: strict, verify: report}}",
        "{from: a@acme.example, to: b@acme.example, expect: {rule: inbound}}",
        "{from: a@acme.example, to: b@acme.example, proven: true, expect: {rule: internal}}",
        "{from: '<>', to: b@acme.example, proven: true, expect: {rule: inbound, sign: never}}",
        "{from: a@x.example, to: b@acme.example, direction: outbound, expect: {rule: default}}",
        "{from: a@x.example, to: b@x.example, size: 11MiB, listener: users, tls: true, expect: {rule: big}}",
        "{from: a@x.example, to: b@x.example, size: 11MiB, listener: users, expect: {rule: default}}",
        "{from: a@x.example, to: b@x.example, verification: fail, expect: {rule: forged, action: reject}}",
        "{from: a@partner.example, to: b@x.example, kind: signed-data, expect: {rule: signed}}",
        "{from: '<>', to: b@x.example, kind: signed-data, expect: {rule: default}}",
        "{from: '<>', sender: [a@partner.example], to: b@x.example, kind: signed-data, expect: {rule: signed}}",
        "{from: a@x.example, to: b@x.example, header: {subject: ['x', 'a [secure] b']}, expect: {rule: tagged,"
        " action: protect, sign: required, encrypt: required, no_certificate: refuse, unavailable: defer,"
        " sign_as: office@acme.example, form: opaque}}",
    ],
)
def test_cases_that_pass(case: str) -> None:
    """Every key of a case reaches the facts."""
    result = run(case)
    assert result.differences == ()
    assert result.passed


@pytest.mark.parametrize(
    ("expect", "differences"),
    [
        pytest.param("rule: inbound", ("expected rule inbound; default (10-main.yaml:12) decides",), id="rule"),
        pytest.param(
            "rule: inbond",
            (
                "expected rule inbond, and there is no rule of that name; did you mean 'inbound'?;"
                " default (10-main.yaml:12) decides",
            ),
            id="no such rule",
        ),
        pytest.param("rule: default, action: reject", ("expected action reject; it is pass",), id="action"),
        pytest.param(
            "rule: default, sign: required, verify: report",
            ("expected sign: required; it is never", "expected verify: report; it is never"),
            id="treatment",
        ),
        pytest.param("rule: default, sign_as: a@b", ("expected sign_as: a@b; it is None",), id="identity"),
    ],
)
def test_cases_that_fail(expect: str, differences: tuple[str, ...]) -> None:
    """What came out otherwise is said, with the rule that decided and its place."""
    result = run(f"{{from: a@acme.example, to: b@x.example, expect: {{{expect}}}}}")
    assert result.differences == differences
    assert not result.passed


def test_own_domains_are_not_needed_where_directions_are_given() -> None:
    """A table may give the direction of each case in place of `internal`."""
    table = parse_cases("cases: [{from: a@b, to: c@d, direction: internal, expect: {rule: internal}}]", "t")
    assert run_cases(POLICY, table)[0].passed


def test_absent_default_has_no_line() -> None:
    """A default that nobody wrote is named by its file."""
    (result,) = run_cases(
        policy_of("rules: []"), parse_cases(HEAD + "  - {from: a@b, to: c@d, expect: {rule: x}}", "t")
    )
    assert "default (10-main.yaml) decides" in result.differences[0]


def test_report() -> None:
    """A result names its case, its place and the decision; JSON holds the same."""
    result = run("{from: '<>', to: b@x.example, expect: {rule: default}}")
    named = run("{name: my case, from: a@x.example, to: b@x.example, expect: {rule: default}}")
    assert (result.label, named.label, result.file, result.line) == ("<> -> b@x.example", "my case", "t.cases.yaml", 3)
    found = json.loads(json.dumps(named.to_json()))
    assert (found["case"], found["passed"], found["decision"]["rule"]) == ("my case", True, "default")


def test_unhit_rules_are_named() -> None:
    """A rule that no case hits is not tested."""
    results = (run("{from: a@x.example, to: b@acme.example, expect: {rule: inbound}}"),)
    assert find_unhit(POLICY, results) == ("big", "tagged", "forged", "signed", "internal", "default")


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        pytest.param("", 1, "cases", "required key 'cases' is missing", id="empty"),
        pytest.param("cases: []", 1, "cases", "must not be empty", id="no case"),
        pytest.param(HEAD + "  - {from: a@b, to: c@d}", 3, "cases.0.expect", "missing", id="nothing expected"),
        pytest.param(HEAD + "  - {from: a@b, to: c@d, expect: {}}", 3, "cases.0.expect.rule", "missing", id="no rule"),
        pytest.param(HEAD + "  - {frm: a@b, to: c@d, expect: {rule: x}}", 3, "cases.0.from", "missing", id="no from"),
        pytest.param(
            HEAD + "  - {from: a, to: c@d, expect: {rule: x}}", 3, "cases.0.from", "a mail address", id="from"
        ),
        pytest.param(HEAD + "  - {from: a@b, to: '<>', expect: {rule: x}}", 3, "cases.0.to", "a mail address", id="to"),
        pytest.param(
            HEAD + "  - {from: a@b, to: c@d, expect: {rule: x, sgn: never}}",
            3,
            "cases.0.expect.sgn",
            "did you mean 'sign'?",
            id="typo",
        ),
        pytest.param(
            HEAD + "  - {from: a@b, to: c@d, kind: signed, expect: {rule: x}}",
            3,
            "cases.0.kind",
            "not one of",
            id="group",
        ),
        pytest.param(
            "cases:\n- {from: a@b, to: c@d, direction: inbound, expect: {rule: x}}\n"
            "- {from: a@b, to: c@d, expect: {rule: x}}",
            3,
            "cases.1",
            "needs 'direction', or 'internal'",
            id="direction cannot be told",
        ),
    ],
)
def test_tables_that_do_not_load(text: str, line: int, key: str, words: str) -> None:
    """Mistakes in a table are told as those in a policy are."""
    with pytest.raises(ConfigurationError) as raised:
        parse_cases(text, "t.cases.yaml")
    problem = raised.value.problems[0]
    assert (problem.file, problem.line, problem.key) == ("t.cases.yaml", line, key)
    assert words in problem.text


def test_files_of_a_folder() -> None:
    """Tables are known by their names."""
    assert is_cases_file("10-main.cases.yaml")
    assert not is_cases_file("10-main.yaml")
    assert not is_cases_file(".10-main.cases.yaml")


TABLE = (
    HEAD + "  - {name: n, from: a@x.example, to: b@acme.example, header: {A: b}, expect: {rule: inbound, sign: never}}"
)


@given(st.text(alphabet="abil:{}[]\n \"'0<>@,", max_size=30), st.integers(0, len(TABLE)))
def test_any_text_gives_results_or_a_configuration_error(noise: str, position: int) -> None:
    """A table with noise in it: nothing but our own exception comes out, and what loads runs."""
    try:
        table = parse_cases(TABLE[:position] + noise + TABLE[position:], "t")
    except ConfigurationError:
        return
    assert len(run_cases(POLICY, table)) == len(table.model.cases)
