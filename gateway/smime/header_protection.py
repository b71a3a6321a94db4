"""Header protection, as far as opening mail needs it: the protected Subject comes back with an encrypted layer removed.

What it does: an encrypted message carries its real Subject inside and a placeholder outside. Where the cryptographic
payload says so, by ``hp="cipher"`` (RFC 9788 2.1.1) or by ``protected-headers="v1"`` (the older scheme of
draft-autocrypt-lamps-protected-headers), its one Subject field takes the place of the outer one, octet for octet.

Refuses: a payload with several Subject fields or with one that could not travel (bare CR or LF, NUL, over-long line);
the outer Subject stays. Known gaps: no other field is restored; Legacy Display elements (RFC 9788 2.1.2) are not
removed; the scheme of RFC 8551 3.1 (message/rfc822 as payload) is not undone.
"""

from __future__ import annotations

from gateway.errors import MimeError
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime import Entity, find_flaw, parse_header


def protects_header(payload: Entity) -> bool:
    """Whether a cryptographic payload says that its own header fields are those of the message."""
    parameters = payload.content_type.parameters
    return "hp" in parameters or parameters.get("protected-headers", "").strip().lower() == "v1"


def protected_subject(payload: Entity) -> bytes | None:
    """Return the Subject field, with its CRLF, that was hidden by encryption; ``None`` where there is none."""
    parameters = payload.content_type.parameters
    hidden = parameters.get("hp", "").strip().lower() == "cipher"
    if not hidden and parameters.get("protected-headers", "").strip().lower() != "v1":
        return None
    fields = payload.header.all("subject")
    if len(fields) != 1 or not fields[0].octets.endswith(b"\r\n") or find_flaw(fields[0].octets) is not None:
        return None
    return fields[0].octets


def restore_subject(outer_fields: bytes, subject: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Put ``subject`` in the place of the first outer Subject field, or at the end; further ones are dropped."""
    try:
        header = parse_header(outer_fields + b"\r\n", limits=limits)
    except MimeError:
        return outer_fields
    first = header.first("subject")
    if first is None:
        return outer_fields + subject
    kept = []
    for field in header.fields:
        if field is first:
            kept.append(subject)
        elif field.key != "subject":
            kept.append(field.octets)
    return b"".join(kept)
