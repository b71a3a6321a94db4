"""What a policy may know of a message for one recipient, and at which moment of the transaction it is known.

Facts come in three parts, one per :class:`Stage`. A part that is not there yet is ``None``, and a rule that asks for it
makes the evaluation *undecided*, never false: unknown is not absent.

Standards: RFC 5321 3.3 (the order of a mail transaction), RFC 8601 2.7 (the words of a verification).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from gateway.address import Address


class Stage(IntEnum):
    """When a fact is known; each stage knows all that the earlier ones know."""

    RCPT = 1
    """The envelope, as far as this recipient: known at its RCPT."""
    DATA = 2
    """The message itself: known at the final dot."""
    UNPROTECTED = 3
    """What opening and verifying the message has found."""

    @property
    def label(self) -> str:
        """Name in JSON and on the console."""
        return self.name.lower()


class Direction(StrEnum):
    """Which way a message goes for one recipient."""

    OUTBOUND = "outbound"
    """The recipient is not ours."""
    INBOUND = "inbound"
    """The recipient is ours, and the sender is not, or is not proven."""
    INTERNAL = "internal"
    """Both ends are ours, and the sender is proven."""


class DomainSet:
    """Our own domains: exact names, and ``*.acme.example`` for everything below a name (not the name itself)."""

    __slots__ = ("_exact", "_parents")

    def __init__(self, domains: Iterable[str]) -> None:
        """Take domains in any case."""
        lowered = [domain.lower() for domain in domains]
        self._exact = frozenset(domain for domain in lowered if not domain.startswith("*."))
        self._parents = frozenset(domain[2:] for domain in lowered if domain.startswith("*."))

    def __contains__(self, domain: str) -> bool:
        """Whether ``domain`` (lower case, as :attr:`Address.domain` gives it) is one of ours."""
        return domain in self._exact or (bool(self._parents) and has_parent(domain, self._parents))

    def covers(self, name: str) -> bool:
        """Whether ``name`` (lower case) is one of our domains, or the name of a host or domain below one."""
        return name in self or name in self._parents or has_parent(name, self._exact | self._parents)


def has_parent(domain: str, parents: frozenset[str]) -> bool:
    """Whether a proper parent of ``domain`` is among ``parents``; at most one look-up per dot."""
    dot = domain.find(".")
    while dot != -1:
        # The part before the first dot must not be empty: ".example" is no subdomain of "example".
        if dot > 0 and domain[dot + 1 :] in parents:
            return True
        dot = domain.find(".", dot + 1)
    return False


def direction_of(recipient: Address, *, proven: bool, reverse_path: Address | None, internal: DomainSet) -> Direction:
    """Tell the direction of one recipient.

    A reverse-path is only what the client says, so a sender counts as ours only where it is proven (law: no one borrows
    our word). Mail from the null reverse-path to one of our own is inbound.
    """
    if recipient.domain not in internal:
        return Direction.OUTBOUND
    if proven and reverse_path is not None and reverse_path.domain in internal:
        return Direction.INTERNAL
    return Direction.INBOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeFacts:
    """Known at RCPT."""

    listener: str
    """Name of the listener in the settings."""
    direction: Direction
    reverse_path: Address | None
    """``None`` is the null reverse-path ``<>``."""
    recipient: Address
    proven: bool
    """Whether the listener's ``sender_proof`` holds for the client."""
    tls: bool
    """Whether the session is under TLS."""
    client: str = ""
    """IP address of the peer; no rule asks for it, explanations show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    """Known at the final dot."""

    senders: tuple[Address, ...]
    """Every address of the From fields (RFC 5322 3.6.2); empty where there is none or it cannot be read."""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Field name in lower case → the values, unfolded and decoded (RFC 2047). May decode when asked."""
    size: int = 0
    """Octets of the message as received."""
    kind: str = "plain"
    """What classification says of the outermost entity; the words are :class:`gateway.policy.model.ContentKind`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is known now, for one recipient."""

    envelope: EnvelopeFacts
    message: MessageFacts | None = None
    verification: str | None = None
    """The RFC 8601 word for the outermost signed layer that covers the message; ``none`` where nobody signed."""

    def __post_init__(self) -> None:
        if self.verification is not None and self.message is None:
            raise ValueError("a verification needs a message")

    @property
    def stage(self) -> Stage:
        """The latest stage whose facts are all here."""
        if self.message is None:
            return Stage.RCPT
        return Stage.DATA if self.verification is None else Stage.UNPROTECTED
