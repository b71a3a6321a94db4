"""What is known of a message before it is decided on: who sent it, whom it shows, whether it loops."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Address
from gateway.errors import MimeError
from gateway.limits import Limits
from gateway.smime import Kind, trace_token
from gateway.transaction.examine import Examined, examine
from tests.unit.smime import agents
from tests.unit.transaction.company import HOSTNAME, SECRET


def look(content: bytes, limits: Limits | None = None) -> Examined:
    return examine(content, limits=limits or Limits(), secret=SECRET, hostname=HOSTNAME)


@pytest.mark.parametrize(
    ("header", "senders"),
    [
        (b"From: Alice <alice@acme.example>\r\n", ["alice@acme.example"]),
        (b"From: alice@acme.example, bob@acme.example\r\n", ["alice@acme.example", "bob@acme.example"]),
        (b"From: alice@acme.example\r\nFrom: eve@evil.example\r\n", ["alice@acme.example", "eve@evil.example"]),
        (b"From: alice@acme.example\r\nFrom: <<\r\n", []),
        (b"From: undisclosed\r\n", []),
        (b"From: \r\n", []),
        (b"Sender: alice@acme.example\r\n", []),
        (b"FROM :alice@acme.example\r\n", ["alice@acme.example"]),
    ],
    ids=["one", "two", "two fields", "one of two unreadable", "no address", "empty", "none", "written oddly"],
)
def test_who_sent_it(header: bytes, senders: list[str]) -> None:
    """All addresses of all From fields; where one field cannot be read nobody is taken for the sender (law 9)."""
    assert look(header + b"\r\nx\r\n").senders == tuple(Address(one) for one in senders)


def test_whom_it_shows() -> None:
    """To, Cc and their Resent forms, by key; Bcc and what cannot be read show nobody."""
    content = (
        b"To: Carol@Bank.example, Group: a@x.example, b@x.example;\r\nCc: c@x.example\r\n"
        b"Resent-To: d@x.example\r\nResent-Cc: e@x.example\r\nBcc: hidden@x.example\r\nResent-Bcc: h2@x.example\r\n"
        b"To: broken@@x.example\r\nTo: f@x.example\r\nReply-To: g@x.example\r\n\r\n"
    )
    assert look(content).visible == {
        "carol@bank.example",
        *(f"{one}@x.example" for one in "abcdef"),
    }


@pytest.mark.parametrize(("count", "loops"), [(0, False), (100, False), (101, True)])
def test_received_fields(count: int, loops: bool) -> None:
    """More than the limit is a loop; the limit itself is not."""
    content = b"Received: from a by b\r\n" * count + b"\r\n"
    assert look(content, Limits(received_fields=100)).is_looping is loops


@pytest.mark.parametrize(("visits", "loops"), [(3, False), (4, True)])
def test_own_visits(visits: int, loops: bool) -> None:
    """Our tokens count; whoever has them in four Received fields has been here four times."""
    fields = [
        f"Received: from a by {HOSTNAME} (smime-gateway {trace_token(SECRET, str(number))})\r\n".encode()
        for number in range(visits)
    ]
    assert look(b"".join(fields) + b"\r\n", Limits(own_visits=4)).is_looping is loops


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (agents.MESSAGE, Kind.PLAIN),
        (agents.signed(), Kind.CLEAR_SIGNED),
        (agents.encrypted(), Kind.ENVELOPED_DATA),
        (b"Content-Type: application/pkcs7-mime\r\n\r\nnot DER\r\n", Kind.MALFORMED),
        (b"", Kind.PLAIN),
    ],
)
def test_what_a_policy_may_know(content: bytes, kind: Kind) -> None:
    """Its kind and size, its fields decoded by lower-case name."""
    facts = look(content).facts
    assert (facts.kind, facts.size) == (kind.value, len(content))


def test_header_fields_are_a_mapping() -> None:
    """Decoded when asked, every field of a name, each name once."""
    headers = look(b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nX-A: 1\r\nx-a: 2\r\n folded\r\n\r\n").facts.headers
    assert dict(headers) == {"subject": ("grüße",), "x-a": ("1", "2 folded")}
    assert (len(headers), list(headers), headers.get("none")) == (2, ["subject", "x-a"], None)
    with pytest.raises(KeyError):
        headers["From"]


def test_limits_hold() -> None:
    """What exceeds them is not read."""
    with pytest.raises(MimeError):
        look(b"A: 1\r\n" * 11 + b"\r\n", Limits(header_fields=10))


@given(st.binary(max_size=300))
def test_any_octets_are_examined_or_a_mime_error(content: bytes) -> None:
    """Nothing else comes out."""
    with contextlib.suppress(MimeError):
        assert look(content).content == content
