"""Tells what a ContentInfo holds (RFC 5652 3), and opens its frame for the modules that read it.

Octets behind the ContentInfo are refused, save for line ends, blanks and NULs that transport in binary leaves there.
"""

from __future__ import annotations

from enum import StrEnum

from gateway.cms.ber import Reader
from gateway.cms.der import CONSTRUCTED, SEQUENCE
from gateway.errors import CmsError
from gateway.limits import Limits

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"
ENVELOPED_DATA = "1.2.840.113549.1.7.3"
COMPRESSED_DATA = "1.2.840.113549.1.9.16.1.9"
AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23"


class ContentKind(StrEnum):
    """What a ContentInfo holds."""

    DATA = "data"
    """RFC 5652 4."""
    SIGNED = "signed-data"
    """RFC 5652 5; certs-only too (RFC 8551 3.8)."""
    ENVELOPED = "enveloped-data"
    """RFC 5652 6."""
    AUTH_ENVELOPED = "authEnveloped-data"
    """RFC 5083 2."""
    COMPRESSED = "compressed-data"
    """RFC 3274 1.1."""
    OTHER = "other"
    """A content type that S/MIME does not use (RFC 8551 2.4)."""


_KINDS = {
    DATA: ContentKind.DATA,
    SIGNED_DATA: ContentKind.SIGNED,
    ENVELOPED_DATA: ContentKind.ENVELOPED,
    AUTH_ENVELOPED_DATA: ContentKind.AUTH_ENVELOPED,
    COMPRESSED_DATA: ContentKind.COMPRESSED,
}
_FILLERS = b"\r\n\t \0"


def content_type_of(der: bytes) -> ContentKind:
    """Return what a ContentInfo holds, by its content type alone; ``CmsError`` if it is no ContentInfo. Cheap."""
    reader = Reader(der)
    reader.enter(SEQUENCE)
    kind = _KINDS.get(reader.oid(), ContentKind.OTHER)
    if reader.peek() not in (0, CONTENT):
        raise CmsError("not a ContentInfo")
    return kind


CONTENT = 0x80 | CONSTRUCTED
"""The tag ``[0] EXPLICIT`` of a ContentInfo's content."""


def open_content_info(der: bytes, content_type: str, limits: Limits) -> Reader:
    """Return a reader that stands at the content of a ContentInfo, which must have this type."""
    if len(der) > limits.message_octets:
        raise CmsError("larger than a message may be")
    reader = Reader(der)
    reader.enter(SEQUENCE)
    found = reader.oid()
    if found != content_type:
        raise CmsError(f"expected content type {content_type}, found {found}")
    reader.enter(CONTENT)
    return reader


def close_content_info(reader: Reader) -> None:
    """Check that the content and its ContentInfo end at the cursor, and that nothing follows."""
    reader.leave()
    reader.leave()
    if reader.octets[reader.position :].strip(_FILLERS):
        raise CmsError("octets behind the ContentInfo")
