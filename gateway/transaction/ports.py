"""The ports of a transaction: everything outside the pure rooms that it needs, as Protocols.

The rooms of layer 4 implement them, ``app`` wires them, tests put doubles here and nowhere else. Every look-up answers
found, none or unavailable (:mod:`gateway.lookup`); implementations do not raise for what the outside does, except where
the docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

from gateway.address import Address
from gateway.envelope import Path
from gateway.lookup import Answer
from gateway.outcome import Reply
from gateway.smime import DecryptionKey, RecipientCertificate, SigningIdentity

if TYPE_CHECKING:
    from gateway.transaction.record import Record

T = TypeVar("T")


class Clock(Protocol):
    """Time, injected (no module below the shell reads a clock)."""

    def now(self) -> datetime:
        """Civil time, aware, UTC: dates in messages, certificate validity, records."""
        ...

    def monotonic(self) -> float:
        """Seconds of the event loop's own time: deadlines and latencies."""
        ...


class Entropy(Protocol):
    """Identifiers and boundaries, injected; the cryptography's own randomness is not."""

    def transaction_id(self) -> str:
        """Return a new id: 16 characters of ``0-9a-z``, sortable by time of creation."""
        ...

    def boundary(self) -> str:
        """Return a MIME boundary (RFC 2046 5.1.1) that cannot be guessed before it is sent."""
        ...


class Offload(Protocol):
    """The one way off the event loop."""

    async def __call__(self, function: Callable[..., T], /, *arguments: object) -> T:
        """Run ``function(*arguments)`` where it does not hold up other sessions; what it raises is raised here."""
        ...


class SigningKeys(Protocol):
    """Our own signing identities."""

    async def find_signer(self, sender: Address) -> Answer[SigningIdentity]:
        """Find the identity whose certificate names ``sender`` and is valid now.

        A key that exists and cannot be used (broken, expired) is *unavailable*, not none.
        """
        ...


class DecryptionKeys(Protocol):
    """Our own decryption keys."""

    async def find_keys(self, recipients: Sequence[Address]) -> Answer[tuple[DecryptionKey, ...]]:
        """Find the keys whose certificates name one of ``recipients`` (a recipient and its aliases)."""
        ...


class RecipientCertificates(Protocol):
    """Other people's encryption certificates."""

    async def find_certificates(self, recipient: Address) -> Answer[tuple[RecipientCertificate, ...]]:
        """Find certificates to encrypt to ``recipient`` with: usable for it, and with a valid path now; best first."""
        ...


class Aliases(Protocol):
    """Which mailboxes an address stands for."""

    async def resolve(self, recipient: Address) -> Answer[tuple[Address, ...]]:
        """Return the address itself and every address that the map makes the same mailbox. Never ``Nothing``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFacts:
    """What an open upstream connection can do."""

    size: int | None
    """SIZE in octets (RFC 1870); ``None`` where it is not limited."""
    eight_bit: bool
    """8BITMIME (RFC 6152)."""
    smtputf8: bool
    """SMTPUTF8 (RFC 6531)."""
    dsn: bool
    """DSN (RFC 3461)."""
    confidential: bool
    """Verified TLS, loopback, or a link that the settings call trusted: opened mail may travel on it."""


class UpstreamSession(Protocol):
    """One upstream connection, lent to one transaction.

    Each call returns the upstream's reply; :class:`~gateway.errors.UpstreamBroken` means that the connection ended,
    stalled or said what the protocol does not allow. It is then not used again, and what it was asked to do has to be
    taken as *not known to be done*.
    """

    @property
    def facts(self) -> UpstreamFacts:
        """What the upstream offered."""
        ...

    async def mail(self, reverse_path: Path, *, smtputf8: bool = False, headers_only: bool = False) -> Reply:
        """MAIL FROM. ``headers_only`` asks for RET=HDRS where DSN is offered (RFC 3461 4.3)."""
        ...

    async def rcpt(self, forward_path: Path) -> Reply:
        """RCPT TO."""
        ...

    async def begin(
        self, reverse_path: Path, forward_paths: Sequence[Path], *, smtputf8: bool = False, headers_only: bool = False
    ) -> tuple[Reply, tuple[Reply, ...]]:
        """MAIL and every RCPT in one write (RFC 2920) where the upstream pipelines; return the replies in order."""
        ...

    async def data(self, buffers: Sequence[bytes], *, hold: bool = False) -> Reply | None:
        """DATA and the content up to, not with, its final dot. Return the refusal, or ``None`` when all was sent.

        ``hold``: a short content may be kept back until :meth:`finish`, where it goes out with the dot in one write.
        """
        ...

    async def finish(self) -> Reply:
        """Send the final dot and wait for the reply, for as long as RFC 5321 4.5.3.2.6 gives an upstream."""
        ...

    async def reset(self) -> None:
        """RSET; afterwards the session is as after EHLO."""
        ...

    def release(self) -> None:
        """Give the connection back; it goes to the pool only when no transaction is open on it. Idempotent."""
        ...

    def discard(self) -> None:
        """Close the connection now, at whatever octet it stands. Idempotent."""
        ...


class Upstream(Protocol):
    """A route to the next hop."""

    @property
    def connections(self) -> int:
        """How many connections one transaction may hold at once, at least 1."""
        ...

    async def connect(self) -> UpstreamSession:
        """Lend a connection after EHLO. Raise :class:`~gateway.errors.UpstreamUnavailable`."""
        ...


class Delivery(Enum):
    """What the journal knows of one recipient of one message."""

    UNKNOWN = "unknown"
    """Nothing: it was never sent, or settled as not accepted."""
    ACCEPTED = "accepted"
    """The upstream has accepted it for this recipient: not to be sent again."""
    ABANDONED = "abandoned"
    """It was in doubt when the process that sent it died: whether it arrived is not known, so it is sent again."""
    RUNNING = "running"
    """A live attempt holds it: come again later."""


class Journal(Protocol):
    """The delivery journal: which recipients of a message, of several outgoing messages, have it already.

    Keys are octet strings made by :func:`gateway.transaction.journal.journal_keys`. Each call is one whole database
    transaction and may raise :class:`OSError` or :class:`gateway.errors.KeyMaterialError` never: failures of the store
    are :class:`JournalError`.
    """

    def may_hold_any(self) -> bool:
        """Whether any entry may exist; ``False`` only when certain, at no more cost than a ``stat``."""
        ...

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Delivery]:
        """Return what is known of each key."""
        ...

    async def claim(self, keys: Sequence[bytes]) -> bool:
        """Write the keys as in doubt, owned by this worker.

        ``False``, and nothing written, if one is running or accepted.
        """
        ...

    async def settle(self, accepted: Sequence[bytes], not_accepted: Sequence[bytes]) -> None:
        """Write the outcome: accepted keys are kept for five days, the others are forgotten."""
        ...

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Forget accepted keys: the client has been told 250 and will not come again with this message."""
        ...


class JournalError(Exception):
    """The journal's store does not work; the text names the cause."""


class Observer(Protocol):
    """Where the events of a transaction go: mail log, metrics, decision records."""

    def started(self, listener: str) -> None:
        """A transaction has begun (in flight)."""
        ...

    def ended(self, record: Record) -> None:
        """A transaction has ended: exactly once for each that has begun."""
        ...
