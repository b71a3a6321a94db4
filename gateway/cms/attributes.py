"""Reads the signed attributes of a SignerInfo (RFC 5652 5.3, 11) into values, and judges their form.

Refused (``CmsError``): attributes that are not DER as sent, since two readers could then hash two things (RFC 5652
5.4); contentType, messageDigest, signingTime, signing certificate or algorithm protection that occur twice or have
other than one value (RFC 5652 11.1 to 11.3, RFC 2634 5.4, RFC 5035 3, RFC 6211 2), or that stand among the unsigned
attributes; no contentType or no messageDigest (RFC 5652 5.3); values that are not of their syntax. All other attributes
are covered by the signature and not read.

Times are taken as RFC 5280 4.1.2.5 has them, and also without seconds or with an offset, as old sending agents wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from gateway.cms.algorithms import Digest
from gateway.cms.ber import Algorithm, Reader, is_der
from gateway.cms.der import GENERALIZED_TIME, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, UTC_TIME
from gateway.errors import CmsError

CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
SMIME_CAPABILITIES = "1.2.840.113549.1.9.15"
SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
ALGORITHM_PROTECTION = "1.2.840.113549.1.9.52"

SIGNED_ATTRIBUTES = 0xA0
"""The tag ``[0] IMPLICIT`` under which they are sent; for the signature it is that of SET OF (RFC 5652 5.4)."""
_UNSIGNED_ATTRIBUTES = 0xA1

MOST_OCTETS = 64 * 1024
"""Largest signed attributes, in octets; usual are some 100 to 3000."""

_ONCE = {CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME, SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2, ALGORITHM_PROTECTION}
_REST = rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:\.\d{1,9})?(?:Z|([+-])(\d\d)(\d\d))"
_TIMES = {UTC_TIME: re.compile(rb"(\d\d)" + _REST), GENERALIZED_TIME: re.compile(rb"(\d\d\d\d)" + _REST)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateHash:
    """The signer's certificate as ESS names it (RFC 2634 5.4, RFC 5035 4)."""

    algorithm: str
    """Digest algorithm, dotted."""
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmProtection:
    """The algorithms that the signer says to have used (RFC 6211 2)."""

    digest: Algorithm
    signature: Algorithm | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAttributes:
    """What a signer put under its signature beside the content."""

    set_of_der: bytes
    """The DER of the SET OF: the octets that are signed."""
    content_type: str
    """Content type of what is signed, dotted."""
    message_digest: bytes
    """Digest of the content."""
    signing_time: datetime | None
    """When the signer says to have signed; aware, UTC."""
    certificate_hashes: tuple[CertificateHash, ...]
    """What must be the digest of the signer's certificate: none, one or two."""
    algorithm_protection: AlgorithmProtection | None


def read_signed_attributes(element: bytes) -> SignedAttributes:
    """Return the signed attributes of the raw element ``[0]``."""
    if len(element) > MOST_OCTETS:
        raise CmsError("signed attributes too large")
    set_of_der = bytes((SET,)) + element[1:]
    if not is_der(set_of_der):
        raise CmsError("signed attributes are not DER")
    values = _values(set_of_der)
    if CONTENT_TYPE not in values or MESSAGE_DIGEST not in values:
        raise CmsError("signed attributes without contentType or messageDigest")
    time = values.get(SIGNING_TIME)
    protection = values.get(ALGORITHM_PROTECTION)
    return SignedAttributes(
        set_of_der=set_of_der,
        content_type=_only(values[CONTENT_TYPE], OBJECT_IDENTIFIER).oid(),
        message_digest=_only(values[MESSAGE_DIGEST], OCTET_STRING).octet_string(),
        signing_time=None if time is None else _read_time(time),
        certificate_hashes=tuple(
            _read_certificate_hash(values[oid], oid)
            for oid in (SIGNING_CERTIFICATE_V2, SIGNING_CERTIFICATE)
            if oid in values
        ),
        algorithm_protection=None if protection is None else _read_algorithm_protection(protection),
    )


def check_unsigned_attributes(element: bytes) -> None:
    """Refuse attributes that must be signed in the raw element ``[1]``; the others are not looked at."""
    reader = Reader(element)
    reader.enter(_UNSIGNED_ATTRIBUTES)
    while reader.peek():
        reader.enter(SEQUENCE)
        oid = reader.oid()
        if oid in _ONCE:
            raise CmsError(f"attribute {oid} is not signed")
        reader.skip()
        reader.leave()


def _values(set_of_der: bytes) -> Mapping[str, bytes]:
    """Return the one value of each attribute that must have one; of the rest the syntax is checked."""
    values: dict[str, bytes] = {}
    reader = Reader(set_of_der)
    reader.enter(SET)
    while reader.peek():
        reader.enter(SEQUENCE)
        oid = reader.oid()
        elements = Reader(reader.element(SET))
        reader.leave()
        if oid not in _ONCE:
            continue
        elements.enter(SET)
        value = elements.element(elements.peek() or SEQUENCE)
        elements.leave()
        if oid in values:
            raise CmsError(f"attribute {oid} occurs twice")
        values[oid] = value
    return values


def _only(value: bytes, tag: int) -> Reader:
    """Return a reader of a value that must be one element with this tag."""
    reader = Reader(value)
    if reader.peek() != tag:
        raise CmsError("an attribute value is not of its type")
    return reader


def _read_time(value: bytes) -> datetime:
    reader = Reader(value)
    tag = reader.peek()
    found = _TIMES[tag].fullmatch(reader.contents(tag)) if tag in _TIMES else None
    if found is None:
        raise CmsError("malformed signingTime")
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    if tag == UTC_TIME:
        year += 1900 if year >= 50 else 2000  # RFC 5652 11.3
    offset = timedelta(hours=int(found[8] or 0), minutes=int(found[9] or 0))
    try:
        zone = timezone(-offset if found[7] == b"-" else offset)
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CmsError("malformed signingTime") from None


def _read_certificate_hash(value: bytes, oid: str) -> CertificateHash:
    """Return the first entry, which is the signer's (RFC 5035 3)."""
    reader = _only(value, SEQUENCE)
    reader.enter(SEQUENCE)
    reader.enter(SEQUENCE)
    reader.enter(SEQUENCE)
    algorithm = Digest.SHA256.oid if oid == SIGNING_CERTIFICATE_V2 else Digest.SHA1.oid
    if oid == SIGNING_CERTIFICATE_V2 and reader.peek() == SEQUENCE:
        algorithm = reader.algorithm().oid
    return CertificateHash(algorithm=algorithm, value=reader.octet_string())


def _read_algorithm_protection(value: bytes) -> AlgorithmProtection:
    reader = _only(value, SEQUENCE)
    reader.enter(SEQUENCE)
    digest = reader.algorithm()
    signature = None
    if reader.peek() == 0xA1:
        signature = Reader(bytes((SEQUENCE,)) + reader.element(0xA1)[1:]).algorithm()
    return AlgorithmProtection(digest=digest, signature=signature)
