"""Certificates as this program sees them: read once, checked for form, then only looked at.

What it does: loads X.509 certificates from DER, PEM or a certs-only SignedData (told by content) into a frozen view
whose every property is computed when it is loaded. Standards: RFC 5280 4.1 and 4.2, RFC 8550 3 (mail addresses), 4.4.2
(keyUsage) and 4.4.4 (extended key usage), RFC 8551 3.8 (certs-only). Refuses with :class:`CertificateError`: what is no
certificate, has data behind it, names an extension twice, holds an extension of a known kind that cannot be read, or is
larger than :data:`MAX_CERTIFICATE_OCTETS`. It judges nothing: dates, signatures, trust are :mod:`gateway.pkix.path`'s.

Known gap: BER that is not DER is tolerated where the parser reads it; the octets as given are compared and hashed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from asn1crypto import cms, x509

from gateway.address import Address
from gateway.errors import CertificateError
from gateway.pkix.names import find_mailboxes, format_name
from gateway.pkix.pem import is_pem, read_pem, write_pem

MAX_CERTIFICATE_OCTETS = 128 * 1024
"""Largest certificate read. Certificates in use stay below 8 KiB; with hash-based signatures they reach 50."""
_CACHED_CERTIFICATES = 512
"""Parsed certificates kept: parsing costs some 0.5 ms, and mail comes from the same issuers and people again."""
_ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0"
_EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"


class KeyKind(Enum):
    """What a public key is, as far as it decides what can be done with it."""

    RSA = "rsa"
    """Signs and wraps keys (rsaEncryption)."""
    EC = "ec"
    """Signs (ECDSA) and agrees on keys (ECDH)."""
    OTHER = "other"
    """Anything else; :attr:`Certificate.key_algorithm` names it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certificate:
    """An X.509 certificate. Equal when the octets are equal; safe to share between threads."""

    der: bytes = field(repr=False)
    """The octets it was read from."""
    sha256: str
    """SHA-256 of :attr:`der`, 64 lower case hexadecimal digits."""
    subject: str
    """RFC 4514 text; foreign text with control characters escaped."""
    issuer: str
    """RFC 4514 text of the issuer."""
    serial: int
    """Serial number."""
    not_before: datetime
    """Begin of validity, aware, UTC."""
    not_after: datetime
    """End of validity, itself still valid, aware, UTC."""
    emails: tuple[str, ...]
    """Mail addresses as written: rfc822Name and SmtpUTF8Mailbox alternatives, then emailAddress of the subject."""
    key_algorithm: str
    """``rsa-2048``, ``ec-secp256r1``, ``ed25519``; a dotted object identifier where it has no name here."""
    key_kind: KeyKind
    """What the key can do."""
    key_usage: frozenset[str] | None
    """Names of the keyUsage bits (``digital_signature``); ``None`` where the extension is absent."""
    extended_key_usage: tuple[str, ...] | None
    """Dotted object identifiers; ``None`` where the extension is absent."""
    is_ca: bool
    """basicConstraints says CA."""
    is_self_issued: bool
    """Subject and issuer are the same name."""
    subject_der: bytes = field(repr=False)
    """The subject's Name in DER."""
    issuer_der: bytes = field(repr=False)
    """The issuer's Name in DER, as an issuerAndSerialNumber carries it."""
    subject_key_identifier: bytes | None = field(repr=False)
    """The extension's value; ``None`` where absent."""
    authority_key_identifier: bytes | None = field(repr=False)
    """keyIdentifier of the extension; ``None`` where absent."""
    public_key_der: bytes = field(repr=False)
    """SubjectPublicKeyInfo in DER."""
    subject_match: str = field(repr=False)
    """The subject in the folded form of RFC 5280 7.1: equal for names that match."""
    issuer_match: str = field(repr=False)
    """The issuer in the same form."""
    view: Any = field(repr=False)
    """The parsed structure; for this room only."""

    @property
    def may_sign(self) -> bool:
        """Whether its key may verify signatures on mail (RFC 8550 4.4.2: keyUsage absent, or one of the two bits)."""
        if self.key_algorithm in _NEVER_SIGN:
            return False
        return self.key_usage is None or bool(self.key_usage & {"digital_signature", "non_repudiation"})

    @property
    def may_encrypt(self) -> bool:
        """Whether content-encryption keys may be wrapped for it (RFC 8550 4.4.2), by transport or agreement."""
        if self.key_algorithm in _NEVER_ENCRYPT:
            return False
        needed = "key_encipherment" if self.key_kind is KeyKind.RSA else "key_agreement"
        return self.key_usage is None or needed in self.key_usage

    @property
    def has_email_protection(self) -> bool:
        """Whether extended key usage allows mail (RFC 8550 4.4.4: absent, anyExtendedKeyUsage or emailProtection)."""
        usage = self.extended_key_usage
        return usage is None or _EMAIL_PROTECTION in usage or _ANY_EXTENDED_KEY_USAGE in usage

    def names(self, address: Address) -> bool:
        """Whether one of its mail addresses is ``address``; upper and lower case are the same."""
        key = address.key
        return any(email.lower() == key for email in self.emails)

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether ``moment`` lies within its validity, both ends included. Says nothing about its path."""
        return self.not_before <= moment <= self.not_after

    def pem(self) -> bytes:
        """Return it as a PEM block."""
        return write_pem("CERTIFICATE", self.der)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and other.der == self.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return load_certificate, (self.der,)


_NEVER_SIGN = frozenset({"x25519", "x448", "dh"})
_NEVER_ENCRYPT = frozenset({"ed25519", "ed448", "dsa", "rsassa_pss"})


def load_certificate(octets: bytes) -> Certificate:
    """Read exactly one certificate, DER or PEM told by content.

    Of a PEM file with several, this is the first. Raise :class:`CertificateError` for everything else.
    """
    if not is_pem(octets):
        return _load(bytes(octets))
    for block in read_pem(octets):
        if block.label in _LABELS:
            return _load(block.octets)
    raise CertificateError("the file holds no certificate")


def load_certificates(octets: bytes) -> tuple[Certificate, ...]:
    """Read every certificate of a file, at least one: PEM blocks, one DER, or a certs-only SignedData (``.p7b``).

    PEM blocks that are neither (private keys, CRLs) are passed over. Raise :class:`CertificateError`.
    """
    found: list[Certificate] = []
    if is_pem(octets):
        for block in read_pem(octets):
            if block.label in _LABELS:
                found.append(_load(block.octets))
            elif block.label in _CMS_LABELS:
                found.extend(_load(der) for der in _read_certs_only(block.octets))
    elif _is_content_info(octets):
        found.extend(_load(der) for der in _read_certs_only(bytes(octets)))
    else:
        found.append(_load(bytes(octets)))
    if not found:
        raise CertificateError("the file holds no certificate")
    return tuple(dict.fromkeys(found))


_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_CMS_LABELS = frozenset({"CMS", "PKCS7"})


def _is_content_info(octets: bytes) -> bool:
    """A ContentInfo starts with an object identifier, a certificate with another SEQUENCE."""
    header = 2 + (octets[1] & 0x7F if len(octets) > 1 and octets[1] & 0x80 else 0)
    return octets[:1] == b"\x30" and octets[header : header + 1] == b"\x06"


def _read_certs_only(octets: bytes) -> Iterator[bytes]:
    try:
        content_info = cms.ContentInfo.load(octets)
        if content_info["content_type"].dotted != "1.2.840.113549.1.7.2":
            raise CertificateError("a CMS structure without certificates")
        chosen = [one.chosen.dump() for one in content_info["content"]["certificates"] if one.name == "certificate"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CertificateError("not readable as a SignedData that carries certificates") from None
    yield from chosen


@functools.lru_cache(maxsize=_CACHED_CERTIFICATES)
def _load(der: bytes) -> Certificate:
    if len(der) > MAX_CERTIFICATE_OCTETS:
        raise CertificateError(f"a certificate of more than {MAX_CERTIFICATE_OCTETS} octets")
    try:
        return _read(der)
    except CertificateError:
        raise
    except Exception as error:
        # the parser is lazy and answers hostile octets with whatever its own code trips over
        raise CertificateError(f"not readable as a certificate ({type(error).__name__})") from None


def _read(der: bytes) -> Certificate:
    view = x509.Certificate.load(der, strict=True)
    tbs = view["tbs_certificate"]
    _parse_whole(view)
    kind, algorithm = _describe_key(view.public_key)
    usage, extended = view.key_usage_value, view.extended_key_usage_value
    return Certificate(
        der=der,
        sha256=hashlib.sha256(der).hexdigest(),
        subject=format_name(view.subject),
        issuer=format_name(view.issuer),
        serial=tbs["serial_number"].native,
        not_before=tbs["validity"]["not_before"].native,
        not_after=tbs["validity"]["not_after"].native,
        emails=find_mailboxes(view),
        key_algorithm=algorithm,
        key_kind=kind,
        key_usage=None if usage is None else frozenset(usage.native),
        extended_key_usage=None if extended is None else tuple(one.dotted for one in extended),
        is_ca=bool(view.ca),
        is_self_issued=view.issuer.hashable == view.subject.hashable,
        subject_der=view.subject.dump(),
        issuer_der=view.issuer.dump(),
        subject_key_identifier=view.key_identifier,
        authority_key_identifier=view.authority_key_identifier,
        public_key_der=view.public_key.dump(),
        subject_match=view.subject.hashable,
        issuer_match=view.issuer.hashable,
        view=view,
    )


def _parse_whole(view: Any) -> None:
    """Parse everything now: the tree is shared between threads afterwards, and a lazy one is not safe for that."""
    seen: set[str] = set()
    for extension in view["tbs_certificate"]["extensions"]:
        oid = extension["extn_id"].dotted
        if oid in seen:
            raise CertificateError("a certificate with an extension that occurs twice (RFC 5280 4.2)")
        seen.add(oid)
        with contextlib.suppress(ValueError):  # a name or address in it that has no text form: unread, still unusable
            _ = extension["extn_value"].parsed.native
    _ = view.critical_extensions
    _ = view["signature_algorithm"].native, view["signature_value"].native, view["tbs_certificate"]["signature"].native
    _ = view.sha256, view.issuer_serial, view.authority_issuer_serial, view.self_issued
    with contextlib.suppress(KeyError):  # a key of an algorithm that the parser does not know stays opaque
        _ = view.public_key.native


def _describe_key(public_key: Any) -> tuple[KeyKind, str]:
    identifier = public_key["algorithm"]["algorithm"]
    name: str = identifier.native
    if name == "rsa":
        bits = public_key["public_key"].parsed["modulus"].native.bit_length()
        return KeyKind.RSA, f"rsa-{bits}"
    if name == "ec":
        form, curve = public_key.curve
        return KeyKind.EC, f"ec-{curve}" if form == "named" else "ec-explicit"
    return KeyKind.OTHER, name
