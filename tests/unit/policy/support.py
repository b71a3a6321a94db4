"""Makers of facts and policies for the tests of this room."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.address import Address
from gateway.policy import Direction, EnvelopeFacts, Facts, MessageFacts, Policy, parse_policies


def envelope(
    *,
    listener: str = "users",
    direction: Direction = Direction.OUTBOUND,
    reverse_path: str | None = "alice@acme.example",
    recipient: str = "bob@bank.example",
    proven: bool = True,
    tls: bool = True,
) -> EnvelopeFacts:
    """Make facts of RCPT."""
    return EnvelopeFacts(
        listener=listener,
        direction=direction,
        reverse_path=Address(reverse_path) if reverse_path else None,
        recipient=Address(recipient),
        proven=proven,
        tls=tls,
        client="192.0.2.1",
    )


def message(
    *,
    senders: tuple[str, ...] = ("alice@acme.example",),
    headers: Mapping[str, tuple[str, ...]] | None = None,
    size: int = 1000,
    kind: str = "plain",
) -> MessageFacts:
    """Make facts of the final dot."""
    return MessageFacts(senders=tuple(Address(one) for one in senders), headers=headers or {}, size=size, kind=kind)


def complete(
    envelope_facts: EnvelopeFacts | None = None,
    message_facts: MessageFacts | None = None,
    verification: str = "none",
) -> Facts:
    """Make facts of the last stage."""
    return Facts(envelope=envelope_facts or envelope(), message=message_facts or message(), verification=verification)


def policy_of(text: str) -> Policy:
    """Compile one document."""
    return parse_policies([("10-main.yaml", text)])
