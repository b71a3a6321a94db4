"""Who the sender is has one reading, or it is no match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mime import parse_header
from gateway.pkix import Certificate
from gateway.smime import Identity
from gateway.smime.identity import Sender, judge_identity, sender_of
from tests.unit.smime.agents import certificate, person, pki


def alice() -> Certificate:
    return certificate(person("alice@acme.example"))


def judged(fields: str) -> Identity:
    return judge_identity(sender_of(parse_header(fields.encode() + b"\r\n\r\n")), alice())


@pytest.mark.parametrize(
    ("fields", "identity"),
    [
        pytest.param("From: alice@acme.example", Identity.MATCH, id="address"),
        pytest.param("From: Alice <ALICE@Acme.example>", Identity.MATCH, id="letter case"),
        pytest.param("From: =?utf-8?q?Al=C3=ADce?=\r\n <alice@acme.example>", Identity.MATCH, id="encoded, folded"),
        pytest.param("From: alice@acme.example\r\nSender: alice@acme.example", Identity.MATCH, id="sender the same"),
        pytest.param('From: "alice@acme.example" <alice@acme.example>', Identity.MATCH, id="own address as name"),
        pytest.param("From: eve@evil.example", Identity.MISMATCH, id="somebody else"),
        pytest.param('From: "alice@acme.example" <eve@evil.example>', Identity.MISMATCH, id="name is no address"),
        pytest.param("From: eve@evil.example\r\nSender: alice@acme.example", Identity.MISMATCH, id="only the sender"),
        pytest.param('From: "eve@evil.example" <alice@acme.example>', Identity.AMBIGUOUS, id="another address as name"),
        pytest.param(
            "From: =?utf-8?b?ZXZlQGV2aWwuZXhhbXBsZQ==?= <alice@acme.example>", Identity.AMBIGUOUS, id="encoded name"
        ),
        pytest.param("From: alice@acme.example\r\nSender: eve@evil.example", Identity.AMBIGUOUS, id="another sender"),
        pytest.param("From: alice@acme.example\r\nSender: <<>", Identity.AMBIGUOUS, id="sender not to be parsed"),
        pytest.param("From: alice@acme.example\r\nSender: a@b.c, d@e.f", Identity.AMBIGUOUS, id="two senders"),
        pytest.param("From: alice@acme.example\r\nFrom: eve@evil.example", Identity.AMBIGUOUS, id="two From"),
        pytest.param(
            "From: eve@evil.example\r\nfrom: alice@acme.example", Identity.AMBIGUOUS, id="two From, other order"
        ),
        pytest.param("From: alice@acme.example, eve@evil.example", Identity.AMBIGUOUS, id="two addresses"),
        pytest.param("From: alice@acme.example <eve@evil.example>", Identity.AMBIGUOUS, id="not to be parsed"),
        pytest.param(
            "From: The Chief <alice@acme.example>\r\nReply-To: chief@acme.example",
            Identity.AMBIGUOUS,
            id="a name, and answers elsewhere",
        ),
        pytest.param(
            "From: alice@acme.example\r\nReply-To: desk@acme.example", Identity.MATCH, id="no name to hide behind"
        ),
        pytest.param(
            "From: A <alice@acme.example>\r\nReply-To: alice@acme.example", Identity.MATCH, id="answers to her"
        ),
        pytest.param("To: alice@acme.example", Identity.ABSENT, id="no From"),
        pytest.param("From:", Identity.ABSENT, id="empty From"),
        pytest.param("From: undisclosed:;", Identity.ABSENT, id="empty group"),
    ],
)
def test_identity(fields: str, identity: Identity) -> None:
    """RFC 8550 3, and every trick by which a reader sees another name than the one compared."""
    assert judged(fields) is identity


def test_a_certificate_without_address() -> None:
    """Nothing to compare with."""
    nobody = certificate(pki().identity(subject="CN=nobody"))
    header = parse_header(b"From: alice@acme.example\r\n\r\n")
    assert judge_identity(sender_of(header), nobody) is Identity.ABSENT


def test_several_addresses_in_a_certificate() -> None:
    """From and Sender may both be its owner's."""
    both = certificate(pki().identity("alice@acme.example", "office@acme.example"))
    header = parse_header(b"From: office@acme.example\r\nSender: alice@acme.example\r\n\r\n")
    assert judge_identity(sender_of(header), both) is Identity.MATCH


@given(st.binary(max_size=200))
def test_any_from_field(value: bytes) -> None:
    """Any octets are somebody, nobody or ambiguous."""
    value = value.replace(b"\r\n\r\n", b"")
    assert isinstance(sender_of(parse_header(b"From: " + value + b"\r\nSender: " + value + b"\r\n\r\n")), Sender)
