"""Explanations: readable, complete, and without what must not be shown."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Address
from gateway.policy import Facts, explain
from tests.unit.policy.support import complete, envelope, message, policy_of

POLICY = policy_of("""\
lists: {banks: ["*@bank.example"]}
rules:
  - {name: reports, match: {reverse_path: "<>"}, then: pass}
  - name: bank
    match: {direction: outbound, recipient: $banks}
    unless: {header: {Subject: "*public*"}}
    then: {sign: required, encrypt: required}
""")


def test_text() -> None:
    """The way to the decision: each rule with its place, each key with what it came to."""
    assert list(explain(POLICY, complete()).lines()) == [
        "alice@acme.example -> bob@bank.example",
        (
            "  facts: direction outbound, listener users, client 192.0.2.1, proven yes, tls yes,"
            " sender alice@acme.example, size 1000, kind plain, verification none"
        ),
        "  10-main.yaml:3 reports: failed",
        "      reverse_path: <>  [fails]",
        "  10-main.yaml:4 bank: matched",
        "      direction: outbound  [holds]",
        "      recipient: $banks  [holds]",
        "      unless header.Subject: *public*  [fails]",
        "  decision: protect by bank (10-main.yaml:4), sign: required, encrypt: required",
    ]


def test_text_of_undecided_and_default() -> None:
    """What is waited for is said; an absent default has no line."""
    waiting = list(explain(POLICY, Facts(envelope=envelope())).lines())
    assert waiting[-2:] == [
        "      unless header.Subject: *public*  [unknown]",
        "  undecided: the rule bank asks for what is known at stage data",
    ]
    default = list(explain(POLICY, complete(envelope(recipient="x@y.example"), message(senders=()))).lines())
    assert "sender -" in default[1]
    assert default[-1] == "  decision: reject by default (10-main.yaml)"


def test_json() -> None:
    """One object with facts, decision and rules; it survives json."""
    explained = explain(POLICY, complete())
    found = json.loads(json.dumps(explained.to_json()))
    assert explained.decision is not None
    assert (found["recipient"], found["stage"], found["undecided"]) == ("bob@bank.example", "unprotected", None)
    assert found["decision"]["rule"] == "bank"
    assert found["rules"][1]["match"][1] == {
        "key": "recipient",
        "written": "$banks",
        "stage": "rcpt",
        "state": "holds",
    }
    waiting = explain(POLICY, Facts(envelope=envelope()))
    assert waiting.decision is None
    assert waiting.to_json()["decision"] is None
    assert waiting.to_json()["undecided"] == {"stage": "data", "rule": "bank"}


def test_header_values_are_not_shown() -> None:
    """An explanation may be pasted into a ticket: no subject in it."""
    explained = explain(POLICY, complete(None, message(headers={"subject": ("a very private subject",)})))
    assert "private" not in json.dumps(explained.to_json()) + "\n".join(explained.lines())


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_foreign_text_is_harmless(local: str, helo: str) -> None:
    """Control characters, terminal escapes and surrogates never reach the console or the JSON as they are."""
    hostile = replace(
        envelope(),
        recipient=Address(f"{local}\x1b[2J\u202e@x.example"),
        reverse_path=Address(f"a\r\n{local}\udc80@x"),
        client=helo,
    )
    explained = explain(POLICY, complete(hostile))
    assert all(line.isprintable() for line in explained.lines())
    json.dumps(explained.to_json()).encode("utf-8")
    assert str(explained.to_json()["recipient"]).isprintable()
