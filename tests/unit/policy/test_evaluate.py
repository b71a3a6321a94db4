"""Evaluation: first match wins, unknown is not false, every policy decides in the end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import (
    Action,
    Condition,
    Decision,
    Direction,
    Facts,
    KeyState,
    Policy,
    Reason,
    Rule,
    RuleState,
    Stage,
    Treatment,
    Undecided,
    evaluate,
    trace,
)
from tests.unit.policy.support import complete, envelope, message, policy_of

POLICY = policy_of("""
rules:
  - {name: reports, match: {reverse_path: "<>"}, then: pass}
  - name: big
    match: {direction: outbound, size: ">10MiB"}
    then: reject
  - name: bank
    match: {direction: outbound, recipient: "*@bank.example"}
    unless: {header: {Subject: "*public*"}}
    then: {sign: required, encrypt: required}
  - {name: forged, match: {direction: inbound, verification: [fail, permerror]}, then: reject}
  - {name: inbound, match: {direction: inbound}, then: {decrypt: strict, verify: report}}
default: pass
""")


def at_rcpt(facts: Facts) -> Facts:
    return replace(facts, message=None, verification=None)


def at_data(facts: Facts) -> Facts:
    return replace(facts, verification=None)


INBOUND = envelope(direction=Direction.INBOUND, proven=False, reverse_path="eve@x.example")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(at_rcpt(complete(envelope(reverse_path=None))), "reports", id="decided at RCPT"),
        pytest.param(at_rcpt(complete()), ("big", Stage.DATA), id="size is not known at RCPT"),
        pytest.param(at_data(complete()), "bank", id="known with the message"),
        pytest.param(at_data(complete(None, message(size=20 << 20))), "big", id="first match wins"),
        pytest.param(
            at_data(complete(None, message(headers={"subject": ("public offer",)}))), "default", id="excepted"
        ),
        pytest.param(at_rcpt(complete(INBOUND)), ("forged", Stage.UNPROTECTED), id="verification is not known at RCPT"),
        pytest.param(at_data(complete(INBOUND)), ("forged", Stage.UNPROTECTED), id="nor at the final dot"),
        pytest.param(complete(INBOUND, None, "fail"), "forged", id="verified: fail"),
        pytest.param(complete(INBOUND, None, "pass"), "inbound", id="verified: pass"),
        pytest.param(at_rcpt(complete(envelope(direction=Direction.INTERNAL))), "default", id="no rule needs more"),
    ],
)
def test_stages(facts: Facts, expected: str | tuple[str, Stage]) -> None:
    """A rule that asks for a later stage stops the evaluation unless another of its keys fails."""
    decision = evaluate(POLICY, facts)
    if isinstance(expected, str):
        assert isinstance(decision, Decision)
        assert decision.rule == expected
    else:
        assert decision == Undecided(rule=expected[0], stage=expected[1])


@pytest.mark.parametrize(
    ("match", "unless", "expected"),
    [
        pytest.param("proven: true", "size: '>1B'", Stage.DATA, id="only the exception is unknown"),
        pytest.param("proven: true", "tls: false, size: '>1B'", True, id="the exception fails already"),
        pytest.param("size: '>1B'", "tls: true", False, id="the exception holds already"),
        pytest.param("verification: pass", "size: '>1B'", Stage.DATA, id="the earlier stage is asked for"),
        pytest.param("size: '>1B'", "verification: pass", Stage.DATA, id="the earlier stage, of match"),
        pytest.param("proven: true", "size: '>1B', verification: pass", Stage.DATA, id="two stages in the exception"),
        pytest.param("proven: false, size: '>1B'", "tls: false", False, id="match fails already"),
    ],
)
def test_exceptions_at_rcpt(match: str, unless: str, expected: bool | Stage) -> None:
    """Three-valued logic of match and unless together."""
    text = f"rules: [{{name: r, match: {{{match}}}, unless: {{{unless}}}, then: reject}}]\ndefault: pass"
    decision = evaluate(policy_of(text), at_rcpt(complete()))
    if isinstance(expected, bool):
        assert isinstance(decision, Decision)
        assert (decision.rule == "r") is expected
    else:
        assert decision == Undecided(rule="r", stage=expected)


def test_reasons() -> None:
    """Who decided is told."""
    rule, default = evaluate(POLICY, complete()), evaluate(POLICY, complete(envelope(direction=Direction.INTERNAL)))
    assert isinstance(rule, Decision)
    assert isinstance(default, Decision)
    assert (rule.reason, default.reason) == (Reason.RULE_MATCHED, Reason.DEFAULT)
    assert rule.to_json() == {
        "rule": "bank",
        "action": "protect",
        "reason": "rule-matched",
        "treatment": {"sign": "required", "encrypt": "required"},
        "file": "10-main.yaml",
        "line": 7,
    }


# -- properties -------------------------------------------------------------------------------------------------------

Shape = tuple[Stage, bool]
"""A condition: when it is known, and what it comes to."""
CONDITIONS = st.lists(st.tuples(st.sampled_from(Stage), st.booleans()), max_size=3)
RULES = st.lists(st.tuples(CONDITIONS, CONDITIONS), max_size=6)


def condition(shape: Shape) -> Condition:
    stage, value = shape

    def test(facts: Facts) -> bool:
        assert facts.stage >= stage
        return value

    return Condition(key="k", stage=stage, written="w", test=test)


def build(rules: list[tuple[list[Shape], list[Shape]]]) -> Policy:
    def decide(name: str) -> Decision:
        return Decision(
            treatment=Treatment(), action=Action.PASS, reason=Reason.RULE_MATCHED, rule=name, file="f", line=1
        )

    return Policy(
        rules=tuple(
            Rule(
                name=str(number),
                match=tuple(map(condition, match)),
                unless=tuple(map(condition, unless)),
                decision=decide(str(number)),
            )
            for number, (match, unless) in enumerate(rules)
        ),
        default=decide("default"),
    )


def naive(rules: list[tuple[list[Shape], list[Shape]]]) -> str:
    """The reference: with everything known, the first rule that applies."""
    for number, (match, unless) in enumerate(rules):
        if all(value for _, value in match) and not (unless and all(value for _, value in unless)):
            return str(number)
    return "default"


@given(RULES)
def test_first_match_wins(rules: list[tuple[list[Shape], list[Shape]]]) -> None:
    """With all facts, the decision is the naive one; so every policy decides at the last stage."""
    decision = evaluate(build(rules), complete())
    assert isinstance(decision, Decision)
    assert decision.rule == naive(rules)


@given(RULES)
def test_an_early_decision_is_the_last_one(rules: list[tuple[list[Shape], list[Shape]]]) -> None:
    """What is decided with fewer facts is not decided otherwise with more; and each step asks for a later stage.

    A condition that is tested before its stage fails the test, so nothing unknown is taken for anything.
    """
    policy = build(rules)
    facts = complete()
    for known in (at_rcpt(facts), at_data(facts)):
        decision = evaluate(policy, known)
        if isinstance(decision, Undecided):
            assert decision.stage > known.stage
            assert int(decision.rule) <= (len(rules) if naive(rules) == "default" else int(naive(rules)))
        else:
            assert decision.rule == naive(rules)


@given(RULES, st.sampled_from(Stage))
def test_trace_is_the_evaluation(rules: list[tuple[list[Shape], list[Shape]]], stage: Stage) -> None:
    """The trace decides as evaluate does, ends where it ended, and its states are those of the keys."""
    policy = build(rules)
    known = complete()
    facts = {Stage.RCPT: at_rcpt(known), Stage.DATA: at_data(known), Stage.UNPROTECTED: known}[stage]
    found = trace(policy, facts)
    assert found.decision == evaluate(policy, facts)
    *passed, last = [*found.rules, None]
    assert last is None
    for rule in passed[:-1]:
        assert rule is not None
        assert rule.state in (RuleState.FAILED, RuleState.EXCEPTED)
    for rule in passed:
        assert rule is not None
        states = [key.state for key in rule.match]
        if rule.state is RuleState.MATCHED:
            assert set(states) <= {KeyState.HOLDS}
        if rule.state is RuleState.FAILED:
            assert KeyState.FAILS in states
        if rule.state is RuleState.EXCEPTED:
            assert {key.state for key in rule.unless} == {KeyState.HOLDS}
        for key in (*rule.match, *rule.unless):
            assert (key.state is KeyState.UNKNOWN) is (key.stage > stage)
    if isinstance(found.decision, Undecided):
        assert found.rules[-1].state is RuleState.UNDECIDED


DOCUMENT_RULES = st.lists(
    st.sampled_from(
        [
            "{direction: outbound}",
            "{direction: inbound, kind: signed}",
            "{recipient: '*@bank.example', proven: true}",
            "{header: {Subject: '*a*'}}",
            "{size: '>1KiB'}",
            "{verification: [pass, none]}",
            "{sender: '*@acme.example', tls: false}",
        ]
    ),
    max_size=5,
)


@given(
    DOCUMENT_RULES,
    st.sampled_from(Direction),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["plain", "clear-signed", "enveloped-data"]),
    st.integers(0, 5000),
    st.sampled_from(["none", "pass", "fail"]),
)
def test_real_policies_decide(
    matches: list[str], direction: Direction, proven: bool, tls: bool, kind: str, size: int, verification: str
) -> None:
    """Any policy of documents, any facts: a decision at the last stage, the same one twice."""
    text = "rules:\n" + "".join(
        f"  - {{name: r{number}, match: {match}, then: reject}}\n" for number, match in enumerate(matches)
    )
    policy = policy_of(text if matches else "")
    facts = complete(envelope(direction=direction, proven=proven, tls=tls), message(kind=kind, size=size), verification)
    decision = evaluate(policy, facts)
    assert isinstance(decision, Decision)
    assert decision == evaluate(policy, facts)
