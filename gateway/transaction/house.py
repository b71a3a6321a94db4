"""What a transaction is given: the ports, the house rules of its worker, and the route of its listener."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.limits import Limits
from gateway.pkix import PathValidator
from gateway.policy import DomainSet, Policy
from gateway.transaction.ports import (
    Aliases,
    Clock,
    DecryptionKeys,
    Entropy,
    Journal,
    Observer,
    Offload,
    RecipientCertificates,
    SigningKeys,
    Upstream,
)

T = TypeVar("T")

INLINE_OCTETS = 512 * 1024
"""Messages up to this size are worked on where we are: the hop to a thread costs more than it saves the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything outside, as one worker wires it."""

    clock: Clock
    entropy: Entropy
    offload: Offload
    signers: SigningKeys
    keys: DecryptionKeys
    certificates: RecipientCertificates
    aliases: Aliases
    journal: Journal
    observer: Observer
    unavailable: Callable[[str, str, str], None]
    """Told of a look-up without an answer: the transaction, what was looked up, and the cause."""
    failed: Callable[[str, BaseException], None]
    """Told of what nobody expected, a bug of ours: where, and what was raised (its text may hold anything)."""

    async def compute(self, octets: int, function: Callable[..., T], /, *arguments: object) -> T:
        """Run pure work on a message of ``octets``, off the event loop where it would hold up other sessions."""
        if octets <= INLINE_OCTETS:
            return function(*arguments)
        return await self.offload(function, *arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What holds for every transaction of a worker."""

    hostname: str
    authserv_id: str
    internal: DomainSet
    """Our own domains."""
    policy: Policy
    anchors: PathValidator
    limits: Limits
    lookup_timeout: float
    """Seconds for each look-up."""
    secret: bytes = field(repr=False)
    """Keys the trace tokens, marks and journal keys."""
    reports: Upstream | None = None
    """Route of delivery status notifications."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a listener adds: where its mail goes, and how long it may take."""

    upstream_name: str
    upstream: Upstream
    deadline: float
    """Seconds from the client's final dot to the first upstream final dot (law 4)."""
    trusts_results: bool = False
    """Whether Authentication-Results in a name of our own domains stay: the clients are our border MTAs."""
    hide_client: bool = False
    """Whether the Received field withholds the client's name and address."""
