"""The limits that bound the work one message can cause, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for parsing and building. Counts are inclusive: the value itself is still allowed."""

    message_octets: int = 50 * 1024 * 1024
    """Largest message taken from a client, in octets. Postfix's own default is 10 MiB, hosted mail takes 25 to 150."""
    header_octets: int = 256 * 1024
    """Largest header section of one entity. Postfix truncates at 100 KiB (header_size_limit)."""
    header_fields: int = 5000
    """Most header fields in one header section."""
    mime_depth: int = 60
    """Deepest nesting of MIME entities. Postfix stops at 100 (mime_nesting_limit); mail in use stays below 10."""
    mime_parts: int = 5000
    """Most MIME entities in one message."""
    smime_layers: int = 8
    """Most S/MIME layers opened in one message (triple-wrapped mail, RFC 2634 1.1, has three)."""
    signers: int = 16
    """Most SignerInfos looked at in one signed-data."""
    recipient_infos: int = 1000
    """Most RecipientInfos looked at in one enveloped-data."""
    certificates: int = 100
    """Most certificates taken from one signed-data."""
    recipients: int = 1000
    """Most RCPT per transaction; RFC 5321 4.5.3.1.8 asks for at least 100."""
    hidden_copies: int = 20
    """Most hidden recipients (Bcc) that get a copy of their own in one transaction; the rest hear 452 4.5.3."""
    received_fields: int = 100
    """Most Received fields before a message counts as looping; RFC 5321 6.3 asks for at least 100."""
    own_visits: int = 4
    """Most times one message may pass this gateway, told by our keyed trace tokens."""

    @property
    def for_our_own(self) -> Limits:
        """The limits for what we have made of a message within these: room for the fields that we add."""
        return replace(self, header_octets=self.header_octets + 8192, header_fields=self.header_fields + 20)


DEFAULT_LIMITS = Limits()
