"""The envelope of a mail transaction, and who sent it.

Paths travel verbatim: :class:`Path` keeps the octets between the angle brackets exactly as the client wrote them, and
the parsed address beside them for look-ups only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A reverse-path or forward-path (RFC 5321 4.1.2)."""

    octets: bytes
    """What stood between ``<`` and ``>``, verbatim; empty for the null reverse-path."""
    address: Address | None
    """The address for look-ups; ``None`` only for the null reverse-path."""

    @property
    def is_null(self) -> bool:
        """Whether this is ``<>``: a report or another automatic message that nobody wants a report about."""
        return not self.octets

    def __str__(self) -> str:
        return f"<{self.octets.decode('utf-8', 'replace')}>"


NULL_PATH = Path(octets=b"", address=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailParameters:
    """What the client declared in MAIL (RFC 5321 4.1.1.2)."""

    size: int | None = None
    """SIZE= in octets (RFC 1870), not passed on: what leaves may be nearly twice as large."""
    body: str | None = None
    """BODY= in upper case (RFC 6152), not passed on."""
    smtputf8: bool = False
    """SMTPUTF8 (RFC 6531): the transaction needs an upstream that offers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One forward-path that the upstream has accepted at RCPT."""

    path: Path

    @property
    def address(self) -> Address:
        """The address for look-ups."""
        assert self.path.address is not None
        return self.path.address


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFacts:
    """What is known of the TLS of a session."""

    version: str
    """``TLSv1.3``"""
    cipher: str
    """``TLS_AES_256_GCM_SHA384``"""
    client_certificate_sha256: str | None = None
    """Hex digest of a client certificate that the listener's CA verified; else ``None``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The connecting node, as this session knows it when MAIL arrives."""

    listener: str
    """Name of the listener in the settings."""
    address: str
    """IP address of the peer."""
    port: int
    helo: str
    """What it said in EHLO or HELO; foreign text."""
    esmtp: bool = True
    """Whether it said EHLO."""
    tls: TlsFacts | None = None
    proven: bool = False
    """Whether the listener's ``sender_proof`` holds for it: only then may our keys sign for it."""
    proof: str = "none"
    """Which proof held: ``network``, ``client-certificate`` or ``none``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The envelope, complete: what is known at the final dot."""

    client: Client
    reverse_path: Path
    parameters: MailParameters = field(default_factory=MailParameters)
    recipients: tuple[Recipient, ...]
    """In the order of their RCPT; never empty."""
