"""The closed vocabularies of the receiving agent: they stand in reports, rules and metrics as they are."""

from __future__ import annotations

from enum import Enum, StrEnum


class ResultWord(StrEnum):
    """The result of a verification (RFC 8601 2.7, RFC 7281 3.1)."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class LayerType(StrEnum):
    """What a layer does."""

    SIGNED = "signed"
    ENCRYPTED = "encrypted"
    COMPRESSED = "compressed"
    CERTS_ONLY = "certs-only"


class Identity(StrEnum):
    """Whether the signer's certificate names the sender (RFC 8550 3)."""

    MATCH = "match"
    MISMATCH = "mismatch"
    AMBIGUOUS = "ambiguous"
    """The message does not say without doubt who the sender is."""
    ABSENT = "absent"
    """The message names no sender, or the certificate no address."""


class SignatureState(Enum):
    """How far the check of one SignerInfo came."""

    CHECKED = "checked"
    """To its end: ``intact`` and ``valid`` say the outcome."""
    NO_CERTIFICATE = "no-certificate"
    """The signer's certificate is neither in the message nor at hand."""
    UNSUPPORTED = "unsupported"
    """An algorithm we do not implement."""


class NotOpened(StrEnum):
    """Why an encrypted layer was not opened."""

    NO_KEY = "no-key"
    BROKEN = "broken"
    """Every cryptographic cause."""
    UNSUPPORTED = "unsupported"
    NOT_MIME = "not-mime"
    """It was opened, and what came out is text that is no MIME entity."""
    REFUSED = "refused"
    """It was not tried: it lies deeper than the limit."""


class ProblemCode(StrEnum):
    """What else is to be said about a message; closed, so that rules and metrics may use it."""

    SIGNED_PART_INSIDE = "signed-part-inside"
    ENCRYPTED_PART_INSIDE = "encrypted-part-inside"
    ENCRYPTED_INSIDE_SIGNED = "encrypted-inside-signed"
    NO_KEY = "no-key"
    BROKEN = "broken"
    UNSUPPORTED = "unsupported"
    NOT_MIME = "not-mime"
    REFUSED = "refused"
    MALFORMED = "malformed"
    NO_SIGNER = "no-signer"
    INNER_SIGNATURE = "inner-signature"
    INNER_FROM = "inner-from"
    TOO_MANY_LAYERS = "too-many-layers"
