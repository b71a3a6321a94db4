"""The words for what is known of a certification path and of revocation: they stand in reports as they are."""

from __future__ import annotations

from enum import Enum, StrEnum


class Purpose(Enum):
    """What a certificate is to be used for."""

    SIGN = "sign"
    """To verify a signature on mail."""
    ENCRYPT = "encrypt"
    """To wrap content-encryption keys for its owner."""


class PathState(StrEnum):
    """What came of a certification path."""

    VALID = "valid"
    """It leads to a trust anchor, and everything on it holds at the moment."""
    INCOMPLETE = "incomplete"
    """An issuer was not found, so no anchor was reached."""
    UNTRUSTED = "untrusted"
    """It ends in a self-signed certificate that is no anchor."""
    EXPIRED = "expired"
    """A certificate, or the anchor, is no longer valid."""
    NOT_YET_VALID = "not-yet-valid"
    """A certificate, or the anchor, is not yet valid."""
    REVOKED = "revoked"
    """A certificate of it is revoked."""
    CONSTRAINT = "constraint"
    """A limit that a certificate states is broken or cannot be judged: names, CA, path length, key usage, purposes."""
    POLICY = "policy"
    """Certificate policies do not allow it, or an algorithm or key size is not accepted."""
    INVALID = "invalid"
    """A signature is wrong, or a certificate cannot be processed."""
    UNCHECKED = "unchecked"
    """Nobody asked."""


class RevocationState(StrEnum):
    """What is known of revocation."""

    GOOD = "good"
    """The end-entity certificate is not revoked, nor is anything above it as far as CRLs of its issuer were given."""
    REVOKED = "revoked"
    """A certificate of the path is revoked."""
    UNKNOWN = "unknown"
    """CRLs were given, and they do not answer: another issuer, not current, not signed by whom they should be."""
    UNCHECKED = "unchecked"
    """No CRLs were given, or the path does not hold anyway."""
