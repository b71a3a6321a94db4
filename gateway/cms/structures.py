"""Reads the small structures of CMS: SignerInfo, RecipientInfo, and what this room needs of a certificate.

All in place and in BER: the pieces are cut out as they stand, above all the signed attributes, whose octets as sent
decide whether they are DER. A general ASN.1 library would hand them back written anew.

Standards: RFC 5652 5.3 (SignerInfo), 6.2 (RecipientInfo), 10.1 (algorithm identifiers), 10.2.4 (IssuerAndSerialNumber);
RFC 5280 4.1, 4.2.1.2. Malformed structures raise :class:`~gateway.errors.CmsError`; values are judged by the callers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from gateway.cms import der
from gateway.cms.ber import Algorithm, Reader
from gateway.cms.der import CONSTRUCTED, OCTET_STRING, SEQUENCE
from gateway.errors import CmsError

MOST_CERTIFICATE = 128 * 1024
"""Largest certificate that is looked into, in octets; hash-based signatures alone reach 50 KiB."""

_CERTIFICATE_ELEMENTS = 500
"""Most elements looked at in one certificate. Extensions, of which there are some 10, take three or four each."""
_SKI = 0x80
_SIGNED_ATTRIBUTES = 0xA0
_UNSIGNED_ATTRIBUTES = 0xA1
_CERTIFICATE_VERSION = 0xA0
_CERTIFICATE_EXTENSIONS = 0xA3
_SUBJECT_KEY_IDENTIFIER = "2.5.29.14"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateIdentifier:
    """Which certificate is meant: by issuer and serial number, or by subject key identifier (RFC 5652 5.3, 6.2.1)."""

    issuer_der: bytes | None = None
    """Name of the issuer, as it stands; ``None`` where the subject key identifier is used."""
    serial: int | None = None
    """Serial number; ``None`` where the subject key identifier is used."""
    ski: bytes | None = None
    """Subject key identifier; ``None`` where issuer and serial number are used."""

    def matches(self, certificate_der: bytes) -> bool:
        """Tell whether this is the certificate that is meant. One that cannot be read is not.

        Names are compared octet by octet: sending agents copy them from the certificate.
        """
        needle = self.issuer_der if self.ski is None else self.ski
        if needle is None or needle not in certificate_der:
            return False  # told without reading
        with suppress(CmsError):
            if self.ski is not None:
                return read_key_identifier(certificate_der) == self.ski
            certificate = read_certificate(certificate_der)
            return certificate.issuer_der == self.issuer_der and certificate.serial == self.serial
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFields:
    """What this room needs of a certificate."""

    issuer_der: bytes
    """Name of the issuer, as it stands."""
    serial: int
    public_key_der: bytes
    """SubjectPublicKeyInfo, as it stands."""

    @property
    def identifier_der(self) -> bytes:
        """The IssuerAndSerialNumber that names it."""
        return der.sequence(self.issuer_der, der.integer(self.serial))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerFields:
    """A SignerInfo, taken apart and not judged yet."""

    version: int
    sid: CertificateIdentifier
    digest_algorithm: Algorithm
    signed_attributes: bytes | None
    """The raw element ``[0]``, or ``None``."""
    signature_algorithm: Algorithm
    signature: bytes
    unsigned_attributes: bytes | None
    """The raw element ``[1]``, or ``None``."""


class RecipientKind(StrEnum):
    """The kinds of RecipientInfo (RFC 5652 6.2)."""

    KEY_TRANSPORT = "key-transport"
    KEY_AGREEMENT = "key-agreement"
    KEY_ENCRYPTION_KEY = "key-encryption-key"
    PASSWORD = "password"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientFields:
    """A RecipientInfo for one recipient, taken apart and not judged yet."""

    kind: RecipientKind
    rid: CertificateIdentifier = field(default_factory=CertificateIdentifier)
    """Empty where the recipient is not named by a certificate."""
    algorithm: Algorithm | None = None
    """``keyEncryptionAlgorithm``; ``None`` for kinds whose structure we do not know."""
    encrypted_key: bytes = field(default=b"", repr=False)


@lru_cache(maxsize=128)
def read_certificate(certificate_der: bytes) -> CertificateFields:
    """Return the fields of a certificate (RFC 5280 4.1); nothing else in it is judged."""
    return _read_certificate(certificate_der)[0]


def read_key_identifier(certificate_der: bytes) -> bytes | None:
    """Return the value of the subjectKeyIdentifier extension (RFC 5280 4.2.1.2), ``None`` if there is none."""
    reader = _read_certificate(certificate_der)[1]
    while tag := reader.peek():
        if tag == _CERTIFICATE_EXTENSIONS:
            return _read_key_identifier(reader)
        reader.skip()
    return None


def read_signer_info(reader: Reader) -> SignerFields:
    """Read a SignerInfo (RFC 5652 5.3)."""
    reader.enter(SEQUENCE)
    fields = SignerFields(
        version=reader.integer(),
        sid=_read_identifier(reader),
        digest_algorithm=reader.algorithm(),
        signed_attributes=_read_optional(reader, _SIGNED_ATTRIBUTES),
        signature_algorithm=reader.algorithm(),
        signature=reader.octet_string(),
        unsigned_attributes=_read_optional(reader, _UNSIGNED_ATTRIBUTES),
    )
    reader.leave()
    return fields


def read_recipient_info(reader: Reader) -> Iterator[RecipientFields]:
    """Read a RecipientInfo (RFC 5652 6.2): one recipient; of key agreement as many as it names (6.2.2)."""
    match reader.peek():
        case 0x30:
            yield _read_key_transport(reader)
        case 0xA1:
            yield from _read_key_agreement(reader)
        case 0xA2:
            yield _read_key_encryption_key(reader)
        case 0xA3:
            yield _read_password(reader)
        case 0xA4:
            reader.skip()
            yield RecipientFields(kind=RecipientKind.OTHER)
        case _:
            raise CmsError("not a RecipientInfo")


def _read_certificate(certificate_der: bytes) -> tuple[CertificateFields, Reader]:
    """Read TBSCertificate up to the public key; the reader is left behind it."""
    if len(certificate_der) > MOST_CERTIFICATE:
        raise CmsError("certificate too large")
    whole = Reader(certificate_der, _CERTIFICATE_ELEMENTS)
    whole.skip()
    if whole.position != len(certificate_der):
        raise CmsError("octets behind the certificate")
    reader = Reader(certificate_der, _CERTIFICATE_ELEMENTS)
    reader.enter(SEQUENCE)
    reader.enter(SEQUENCE)
    if reader.peek() == _CERTIFICATE_VERSION:
        reader.skip()
    serial = reader.integer()
    reader.element(SEQUENCE)  # signature
    issuer = reader.element(SEQUENCE)
    reader.element(SEQUENCE)  # validity
    reader.element(SEQUENCE)  # subject
    fields = CertificateFields(issuer_der=issuer, serial=serial, public_key_der=reader.element(SEQUENCE))
    return fields, reader


def _read_key_identifier(reader: Reader) -> bytes | None:
    reader.enter(_CERTIFICATE_EXTENSIONS)
    reader.enter(SEQUENCE)
    while reader.peek():
        reader.enter(SEQUENCE)
        if reader.oid() == _SUBJECT_KEY_IDENTIFIER:
            if reader.peek() != OCTET_STRING:
                reader.skip()  # critical
            return Reader(reader.octet_string()).octet_string()
        while reader.peek():
            reader.skip()
        reader.leave()
    return None


def _read_optional(reader: Reader, tag: int) -> bytes | None:
    return reader.element(tag) if reader.peek() == tag else None


def _read_identifier(reader: Reader) -> CertificateIdentifier:
    """Read SignerIdentifier or RecipientIdentifier."""
    if reader.peek() | CONSTRUCTED == _SKI | CONSTRUCTED:
        return CertificateIdentifier(ski=reader.octet_string(_SKI))
    return _read_issuer_and_serial(reader)


def _read_issuer_and_serial(reader: Reader) -> CertificateIdentifier:
    reader.enter(SEQUENCE)
    identifier = CertificateIdentifier(issuer_der=reader.element(SEQUENCE), serial=reader.integer())
    reader.leave()
    return identifier


def _read_key_transport(reader: Reader) -> RecipientFields:
    """Read KeyTransRecipientInfo (RFC 5652 6.2.1)."""
    reader.enter(SEQUENCE)
    reader.integer()  # version: told by the identifier
    fields = RecipientFields(
        kind=RecipientKind.KEY_TRANSPORT,
        rid=_read_identifier(reader),
        algorithm=reader.algorithm(),
        encrypted_key=reader.octet_string(),
    )
    reader.leave()
    return fields


def _read_key_agreement(reader: Reader) -> Iterator[RecipientFields]:
    """Read KeyAgreeRecipientInfo (RFC 5652 6.2.2)."""
    reader.enter(0xA1)
    reader.integer()
    reader.element(0xA0)  # originator
    _read_optional(reader, 0xA1)  # ukm
    algorithm = reader.algorithm()
    reader.enter(SEQUENCE)
    while reader.peek():
        reader.enter(SEQUENCE)
        yield RecipientFields(
            kind=RecipientKind.KEY_AGREEMENT,
            rid=_read_agreement_identifier(reader),
            algorithm=algorithm,
            encrypted_key=reader.octet_string(),
        )
        reader.leave()
    reader.leave()
    reader.leave()


def _read_agreement_identifier(reader: Reader) -> CertificateIdentifier:
    """Read KeyAgreeRecipientIdentifier."""
    if reader.peek() != 0xA0:
        return _read_issuer_and_serial(reader)
    reader.enter(0xA0)
    identifier = CertificateIdentifier(ski=reader.octet_string())
    while reader.peek():
        reader.skip()  # date, other
    reader.leave()
    return identifier


def _read_key_encryption_key(reader: Reader) -> RecipientFields:
    """Read KEKRecipientInfo (RFC 5652 6.2.3)."""
    reader.enter(0xA2)
    reader.integer()
    reader.element(SEQUENCE)  # kekid
    fields = RecipientFields(
        kind=RecipientKind.KEY_ENCRYPTION_KEY, algorithm=reader.algorithm(), encrypted_key=reader.octet_string()
    )
    reader.leave()
    return fields


def _read_password(reader: Reader) -> RecipientFields:
    """Read PasswordRecipientInfo (RFC 5652 6.2.4)."""
    reader.enter(0xA3)
    reader.integer()
    _read_optional(reader, 0xA0)  # keyDerivationAlgorithm
    fields = RecipientFields(
        kind=RecipientKind.PASSWORD, algorithm=reader.algorithm(), encrypted_key=reader.octet_string()
    )
    reader.leave()
    return fields
