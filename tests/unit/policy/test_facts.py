"""Facts: direction of a recipient, our own domains, stages."""

from __future__ import annotations

import pytest

from gateway.address import Address
from gateway.policy import Direction, DomainSet, EnvelopeFacts, Facts, MessageFacts, Stage, direction_of

OURS = DomainSet(["Acme.example", "*.acme.example", "*.corp"])
ENVELOPE = EnvelopeFacts(
    listener="users",
    direction=Direction.OUTBOUND,
    reverse_path=None,
    recipient=Address("b@x.example"),
    proven=False,
    tls=False,
)


@pytest.mark.parametrize(
    ("domain", "is_ours"),
    [
        ("acme.example", True),
        ("mail.acme.example", True),
        ("a.b.acme.example", True),
        ("x.corp", True),
        ("corp", False),
        ("example", False),
        ("notacme.example", False),
        ("acme.example.org", False),
        (".corp", False),
        ("", False),
    ],
)
def test_own_domains(domain: str, is_ours: bool) -> None:
    """Exact names are themselves only, *.name everything below it and not the name."""
    assert (domain in OURS) is is_ours


@pytest.mark.parametrize(
    ("recipient", "proven", "reverse_path", "direction"),
    [
        pytest.param("b@x.example", True, "a@acme.example", Direction.OUTBOUND, id="to others"),
        pytest.param("b@x.example", False, None, Direction.OUTBOUND, id="to others, whoever sends"),
        pytest.param("b@ACME.example", True, "A@Acme.Example", Direction.INTERNAL, id="both ours"),
        pytest.param("b@acme.example", False, "a@acme.example", Direction.INBOUND, id="claims to be ours"),
        pytest.param("b@acme.example", True, "a@x.example", Direction.INBOUND, id="proven, of another domain"),
        pytest.param("b@acme.example", True, None, Direction.INBOUND, id="null reverse-path"),
    ],
)
def test_direction(recipient: str, proven: bool, reverse_path: str | None, direction: Direction) -> None:
    """Outbound by the recipient alone; internal only with a proven sender of ours."""
    sender = Address(reverse_path) if reverse_path else None
    assert direction_of(Address(recipient), proven=proven, reverse_path=sender, internal=OURS) is direction


def test_stages() -> None:
    """Each part that is there moves the stage on; they are ordered."""
    message = MessageFacts(senders=())
    assert Facts(envelope=ENVELOPE).stage is Stage.RCPT
    assert Facts(envelope=ENVELOPE, message=message).stage is Stage.DATA
    assert Facts(envelope=ENVELOPE, message=message, verification="none").stage is Stage.UNPROTECTED
    assert Stage.RCPT < Stage.DATA < Stage.UNPROTECTED
    assert [stage.label for stage in Stage] == ["rcpt", "data", "unprotected"]


def test_verification_needs_a_message() -> None:
    """Parts come in order."""
    with pytest.raises(ValueError, match="needs a message"):
        Facts(envelope=ENVELOPE, verification="pass")


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("acme.example", True),
        ("mx.acme.example", True),
        ("a.b.sub.example", True),
        ("sub.example", True),
        ("notacme.example", False),
        ("example", False),
        (".acme.example", False),
        ("", False),
    ],
)
def test_names_of_our_hosts(name: str, covered: bool) -> None:
    """A host is ours where its name is at or below one of our domains, however the domain is written."""
    assert DomainSet(["acme.example", "*.sub.example"]).covers(name) is covered
