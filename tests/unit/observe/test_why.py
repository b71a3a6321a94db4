"""The answer to "why", by example."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.observe import render
from gateway.transaction.record import ActionRecord, UpstreamRecord
from tests.unit.observe.conftest import RECIPIENT, RECORD, MakeRecipient, MakeRecord


def test_an_answer(make_record: MakeRecord, make_recipient: MakeRecipient) -> None:
    """Who, what was decided, what was done, what the upstream said, how it ended."""
    refused = make_recipient(
        recipient="carol@bank.example",
        rule="",
        reason="no-certificate",
        actions=(),
        group=None,
        outcome="protection-impossible",
        reply="550 5.7.1 required protection is not possible",
        notes=("certificate-unusable",),
    )
    record = make_record(
        recipients=(make_recipient(), refused),
        verification="pass",
        tls="",
        upstream_replies=(
            UpstreamRecord(upstream="submission", command="MAIL", code=250),
            UpstreamRecord(upstream="submission", command=".", code=0),
        ),
        stages={"plan": 0.001, "total": 0.0423},
        actions=(ActionRecord(action="sign", algorithm="", result="skipped", reason="no-signer"),),
    )
    assert render(record) == [
        "transaction 0k3v9q0000000001",
        "  began         2026-03-01 12:00:00 UTC, took 0.042 s",
        "  listener      users",
        "  client        192.0.2.7 (client.acme.example), no TLS, sender proof: network",
        "  reverse-path  <alice@acme.example>",
        "  size          4711 octets",
        "  outcome       accepted: 250 2.0.0 Ok: queued as 4XyZ",
        "  verification  pass",
        "recipient <bob@bank.example> (outbound)",
        "  decision      sign encrypt, by rule must-encrypt: protected",
        "  outcome       accepted, outgoing message 1",
        "  reply         250 2.0.0 Ok: queued as 4XyZ",
        "recipient <carol@bank.example> (outbound)",
        "  decision      none, by no rule: no-certificate",
        "  outcome       protection-impossible, no outgoing message",
        "  reply         550 5.7.1 required protection is not possible",
        "  notes         certificate-unusable",
        "done",
        "  sign skipped no-signer",
        "upstream",
        "  submission MAIL: 250",
        "  submission .: connection lost",
        "stages",
        "  plan          1.0 ms",
        "  total         42.3 ms",
    ]


def test_the_shortest_answer(make_record: MakeRecord) -> None:
    """A transaction that ended before a recipient was taken."""
    record = make_record(recipients=(), actions=(), upstream_replies=(), stages={}, reverse_path="", size=0)
    assert len(render(record)) == 7
    assert "  reverse-path  <>" in render(record)


@given(st.text(st.characters(codec=None), max_size=40))
def test_foreign_text_is_harmless(text: str) -> None:
    """Every line can be printed, whatever a peer said."""
    record = replace(
        RECORD,
        helo=text,
        reverse_path=text,
        reply=text,
        tls=text,
        listener=text,
        recipients=(
            replace(RECIPIENT, recipient=text, reply=text, rule=text, reason=text, actions=(text,), notes=(text,)),
        ),
    )
    assert all(line.isprintable() for line in render(record))
