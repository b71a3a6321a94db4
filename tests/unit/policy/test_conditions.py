"""The keys of a match, each in a policy of one rule: what fits, and at which stage it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import ContentKind, Decision, Direction, Facts, Stage, Verification, evaluate
from gateway.policy.conditions import KIND_WORDS, parse_bound
from tests.unit.policy.support import complete, envelope, message, policy_of


def fits(match: str, facts: Facts) -> bool:
    """Whether a rule with this match decides."""
    text = f"lists: {{l: ['*@bank.example'], empty: []}}\nrules: [{{name: r, match: {{{match}}}, then: pass}}]"
    decision = evaluate(policy_of(text), facts)
    assert isinstance(decision, Decision)
    return decision.rule == "r"


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("direction: outbound", True),
        ("direction: [inbound, outbound]", True),
        ("direction: inbound", False),
        ("listener: users", True),
        ("listener: Users", False),
        ("listener: [border, users]", True),
        ("reverse_path: alice@acme.example", True),
        ("reverse_path: '<>'", False),
        ("reverse_path: ['<>', '*@acme.example']", True),
        ("recipient: bob@bank.example", True),
        ("recipient: $l", True),
        ("recipient: $empty", False),
        ("recipient: ['x@y.example', $l]", True),
        ("recipient: alice@acme.example", False),
        ("proven: true", True),
        ("proven: false", False),
        ("tls: true", True),
        ("tls: false", False),
        ("sender: '*@acme.example'", True),
        ("sender: $l", False),
        ("header: {Subject: '*[secure]*'}", True),
        ("header: {SUBJECT: '*[SECURE]*'}", True),
        ("header: {Subject: ['x', '*secure*']}", True),
        ("header: {Subject: x}", False),
        ("header: {X-None: '*'}", False),
        ("header: {X-Twice: two}", True),
        ("header: {Subject: '*', X-Twice: one}", True),
        ("header: {Subject: '*', X-Twice: three}", False),
        ("size: '>1KiB'", True),
        ("size: '>2KiB'", False),
        ("size: '>=2KiB'", True),
        ("size: '<2KiB'", False),
        ("size: '<= 2KiB'", True),
        ("kind: plain", False),
        ("kind: clear-signed", True),
        ("kind: signed", True),
        ("kind: encrypted", False),
        ("kind: [encrypted, signed]", True),
        ("verification: pass", True),
        ("verification: [fail, pass]", True),
        ("verification: none", False),
        ("direction: outbound, listener: users, proven: true, kind: signed", True),
        ("direction: outbound, listener: users, proven: false, kind: signed", False),
    ],
)
def test_keys(match: str, expected: bool) -> None:
    """One message, each key in its forms; all keys of a match have to hold."""
    headers = {"subject": ("Re: [secure] offer",), "x-twice": ("one", "two")}
    facts = complete(envelope(), message(headers=headers, size=2048, kind="clear-signed"), "pass")
    assert fits(match, facts) is expected


@pytest.mark.parametrize(
    ("senders", "expected"),
    [((), False), (("eve@x.example",), False), (("eve@x.example", "alice@acme.example"), True)],
)
def test_several_or_no_senders(senders: tuple[str, ...], expected: bool) -> None:
    """One From address that fits is enough; with none, none fits."""
    assert fits("sender: '*@acme.example'", complete(None, message(senders=senders))) is expected


def test_null_reverse_path() -> None:
    """<> is the null reverse-path."""
    assert fits("reverse_path: '<>'", complete(envelope(reverse_path=None)))
    assert not fits("reverse_path: '*@*'", complete(envelope(reverse_path=None)))


@pytest.mark.parametrize(
    ("match", "stage"),
    [
        ("direction: outbound", Stage.RCPT),
        ("listener: a", Stage.RCPT),
        ("reverse_path: a@b", Stage.RCPT),
        ("recipient: a@b", Stage.RCPT),
        ("proven: true", Stage.RCPT),
        ("tls: true", Stage.RCPT),
        ("sender: a@b", Stage.DATA),
        ("header: {A: b}", Stage.DATA),
        ("size: '>1B'", Stage.DATA),
        ("kind: plain", Stage.DATA),
        ("verification: pass", Stage.UNPROTECTED),
    ],
)
def test_stages(match: str, stage: Stage) -> None:
    """Each key is known at its stage."""
    (rule,) = policy_of(f"rules: [{{name: r, match: {{{match}}}, then: pass}}]").rules
    assert [condition.stage for condition in rule.match] == [stage]


def test_words_of_kind() -> None:
    """Every kind can be asked for, and the groups hold kinds only."""
    assert {str(kind) for kind in ContentKind} < set(KIND_WORDS)
    for kind in ContentKind:
        assert fits(f"kind: {kind}", complete(None, message(kind=str(kind))))
        if kind in (ContentKind.CLEAR_SIGNED, ContentKind.SIGNED_DATA):
            assert fits("kind: signed", complete(None, message(kind=str(kind))))


def test_kinds_are_those_of_the_smime_room() -> None:
    """The policy's words are what classification says; the rooms do not know each other, so this test does."""
    from gateway.smime import Kind

    assert {str(kind) for kind in ContentKind} == {kind.value for kind in Kind}


@pytest.mark.parametrize("word", list(Verification))
def test_words_of_verification(word: Verification) -> None:
    """Every word of RFC 8601 2.7 can be asked for."""
    assert fits(f"verification: {word}", complete(verification=str(word)))


@given(st.text(max_size=20))
def test_bounds(text: str) -> None:
    """A bound is read, or refused with ValueError."""
    try:
        compare, octets = parse_bound(text)
    except ValueError:
        return
    assert compare(octets + 1, octets) or compare(octets - 1, octets)


@given(
    st.builds(
        envelope,
        listener=st.text(max_size=3),
        direction=st.sampled_from(Direction),
        reverse_path=st.none() | st.sampled_from(["a@b", '"@"@x', "\udc80@x.example"]),
        recipient=st.sampled_from(["a@b", "\u0130@\u0130.example", "a@..."]),
    ),
    st.builds(
        message,
        headers=st.dictionaries(st.sampled_from(["subject", "a"]), st.tuples(st.text())),
        size=st.integers(),
        kind=st.text(max_size=5),
    ),
    st.text(max_size=5),
)
def test_conditions_are_total(envelope_facts: object, message_facts: object, verification: str) -> None:
    """Whatever the facts hold, each condition answers true or false."""
    text = """
rules:
  - name: everything
    match:
      {direction: outbound, listener: a, reverse_path: ["<>", "a*@*b"], sender: "*@x*y", recipient: "*@*.example",
       proven: true, tls: true, header: {Subject: "*a*", A: b}, size: ">1KiB", kind: signed, verification: pass}
    then: pass
"""
    facts = Facts(envelope=envelope_facts, message=message_facts, verification=verification)  # type: ignore[arg-type]
    for condition in policy_of(text).rules[0].match:
        assert condition.test(facts) in (True, False)
