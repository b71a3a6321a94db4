"""Writes DER (X.690 10, 11), only what CMS needs; what is constant is built once by the callers and kept as octets.

``tlv`` and its kin take parts and join them; ``opening`` writes only what stands before a large content, so that this
is copied exactly once, into the result.
Reading is in :mod:`gateway.cms.ber`. Nothing here checks values beyond what DER itself asks (order of a SET OF, least
octets of lengths and integers, times by RFC 5652 11.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
CONSTRUCTED = 0x20

NULL = b"\x05\x00"


def length(count: int) -> bytes:
    """Return the least length octets (X.690 10.1)."""
    if count < 0x80:
        return bytes((count,))
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return one element; ``tag`` is the identifier octet as it stands (class and constructed bit included)."""
    return b"".join((bytes((tag,)), length(sum(map(len, parts))), *parts))


def opening(tag: int, head: bytes, following: int) -> bytes:
    """Return the begin of an element: its header and ``head``, the first part of its contents.

    ``following`` more octets of contents are written by the caller, who so needs not copy them layer by layer.
    """
    return bytes((tag,)) + length(len(head) + following) + head


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tlv(SEQUENCE, *parts)


def set_of(elements: Iterable[bytes], tag: int = SET) -> bytes:
    """Return a SET OF: the elements in ascending order of their encodings (X.690 11.6)."""
    return tlv(tag, *sorted(elements))


def context(number: int, *parts: bytes) -> bytes:
    """Return a constructed context-specific element ``[number]``."""
    return tlv(0xA0 | number, *parts)


def integer(value: int) -> bytes:
    """Return an INTEGER in the least octets (X.690 8.3)."""
    bits = (value if value >= 0 else ~value).bit_length()
    return tlv(INTEGER, value.to_bytes(bits // 8 + 1, "big", signed=True))


def octet_string(*parts: bytes) -> bytes:
    """Return a primitive OCTET STRING."""
    return tlv(OCTET_STRING, *parts)


@lru_cache(maxsize=256)
def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER (X.690 8.19). ``ValueError`` if the text is none."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    if first > 2 or (first < 2 and second > 39) or min(second, *rest, 0) < 0:
        raise ValueError(f"not an object identifier: {dotted}")
    return tlv(OBJECT_IDENTIFIER, *(_base128(arc) for arc in (first * 40 + second, *rest)))


def _base128(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))


def utc_or_generalized_time(moment: datetime) -> bytes:
    """Return a Time (RFC 5652 11.3): UTCTime for 1950 to 2049, else GeneralizedTime; whole seconds, ``Z``.

    ``ValueError`` for a moment without time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    moment = moment.astimezone(UTC)
    if 1950 <= moment.year <= 2049:
        return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return tlv(GENERALIZED_TIME, f"{moment.year:04}{moment:%m%d%H%M%SZ}".encode("ascii"))
