"""Mail for end-to-end tests: octets with CRLF, an id that finds it again, attachments of every kind.

letter = Letter.plain(sender="alice@acme.example", to="carol@bank.example")
letter.octets, letter.message_id, letter.fields          as sent
parts_of(message)                                        type, name and octets of every leaf, as Python reads it
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

_numbers = itertools.count(1)

ATTACHMENTS = (
    ("image", "png", "bild.png"),
    ("audio", "mpeg", "ton.mp3"),
    ("video", "mp4", "film.mp4"),
    ("application", "octet-stream", "daten.bin"),
)
"""Type, subtype and file name of what :meth:`Letter.with_attachments` carries beside its texts."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to send."""

    fields: bytes
    """The header section without Content-* and MIME-Version: what arrives as it was sent."""
    entity: bytes
    """MIME-Version, the Content-* fields, the empty line, the body."""
    message_id: str

    @property
    def octets(self) -> bytes:
        """The message."""
        return self.fields + self.entity

    @classmethod
    def make(cls, entity: bytes, *, sender: str, to: str, more: bytes = b"", subject: str = "hello") -> Letter:
        """Put a header section in front of an entity; ``more`` are further fields, each ending in CRLF."""
        message_id = f"<{next(_numbers)}.e2e@letters.test>"
        fields = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\n".encode()
        return cls(fields + b"Date: Mon, 01 Jun 2026 12:00:00 +0200\r\n" + more, entity, message_id)

    @classmethod
    def plain(cls, text: str = "Hello.", *, sender: str, to: str, more: bytes = b"", subject: str = "hello") -> Letter:
        """Make a message of one line of text."""
        return cls.make(_text(text), sender=sender, to=to, more=more, subject=subject)

    @classmethod
    def with_attachments(cls, *, sender: str, to: str, size: int = 100_000) -> Letter:
        """Make a message of text, HTML, and everything in :data:`ATTACHMENTS`, each of ``size`` octets."""
        built = EmailMessage(policy=SMTP)
        built.set_content("Grüße, siehe Anhang.\nFrom here on: a line that begins with From.\n.\nA dot stood alone.\n")
        built.add_alternative("<p>Grüße</p>\n", subtype="html")
        for number, (maintype, subtype, name) in enumerate(ATTACHMENTS):
            octets = binary(size, number)
            built.add_attachment(octets, maintype=maintype, subtype=subtype, filename=name)
        return cls.make(built.as_bytes(), sender=sender, to=to)


def binary(size: int, seed: int) -> bytes:
    """Return octets of every value, the same for the same arguments."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def parts_of(message: bytes) -> list[tuple[str, str | None, bytes]]:
    """Return (content type, file name, decoded octets) of every leaf, as the standard library has them."""
    leaves = [part for part in message_from_bytes(message).walk() if not part.is_multipart()]
    return [(leaf.get_content_type(), leaf.get_filename(), _decoded(leaf.get_payload(decode=True))) for leaf in leaves]


def _decoded(payload: object) -> bytes:
    assert isinstance(payload, bytes)
    return payload


def _text(text: str) -> bytes:
    header = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"
    return header + b"Content-Transfer-Encoding: 7bit\r\n\r\n" + text.encode("ascii") + b"\r\n"
