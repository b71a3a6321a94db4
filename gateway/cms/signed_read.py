"""Reads signed-data (RFC 5652 5) into values: content, certificates, and each signer with its attributes.

Takes BER and DER. Tolerated, since real sending agents write it: certificates in any order and of other kinds (left
out), signers named by subject key identifier, no signed attributes, version numbers that do not fit the choice made,
digest parameters NULL or absent, rsaEncryption or a signature algorithm that names the digest too.

Refused (``CmsError``): what :mod:`gateway.cms.attributes` refuses; a contentType attribute that is not that of the
content (RFC 5652 11.1); a content other than data without signed attributes (5.3); more certificates, CRLs or signers
than the limits allow. An algorithm we do not implement is a fact of that signer, not an error here: another may do.

Whether a signature is right is told by :mod:`gateway.cms.signed_check`.

Known gaps: unsigned attributes (countersignatures, time stamps) are skipped; attribute certificates are not returned.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from gateway.cms.algorithms import Digest, SignatureScheme, name_of
from gateway.cms.attributes import SignedAttributes, check_unsigned_attributes, read_signed_attributes
from gateway.cms.ber import Algorithm, Reader
from gateway.cms.content import CONTENT, DATA, SIGNED_DATA, close_content_info, open_content_info
from gateway.cms.der import SEQUENCE, SET
from gateway.cms.structures import CertificateIdentifier, SignerFields, read_signer_info
from gateway.errors import CmsError, UnsupportedCms
from gateway.limits import DEFAULT_LIMITS, Limits

_CERTIFICATES = 0xA0
_CRLS = 0xA1
_VERSIONS = (1, 2, 3, 4, 5)
_SIGNER_VERSIONS = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerInfo:
    """One signer of a signed-data (RFC 5652 5.3). Nothing in it is proven before ``check_signature``."""

    sid: CertificateIdentifier
    """Which certificate the signer says is its own."""
    digest: Digest | None
    """Message digest algorithm; ``None`` if we do not implement it."""
    scheme: SignatureScheme | None
    """Signature scheme; ``None`` if we do not implement it."""
    digest_algorithm: Algorithm
    """As it stands."""
    signature_algorithm: Algorithm
    """As it stands."""
    attributes: SignedAttributes | None
    """The signed attributes; ``None``: the signature is over the content itself."""
    signature: bytes = field(repr=False)
    """The signature value."""

    @property
    def digest_label(self) -> str:
        """``sha256`` …; of an algorithm that we do not implement its name or dotted identifier."""
        return self.digest.label if self.digest else name_of(self.digest_algorithm.oid)

    @property
    def signature_label(self) -> str:
        """``rsa``, ``ecdsa``; of a scheme that we do not implement its name or dotted identifier."""
        return self.scheme.label if self.scheme else name_of(self.signature_algorithm.oid)

    @property
    def signing_time(self) -> datetime | None:
        """When the signer says to have signed; aware, UTC."""
        return self.attributes.signing_time if self.attributes else None

    @property
    def unsupported(self) -> str:
        """Name of what we do not implement of this signer's algorithms; empty if nothing."""
        if self.scheme is None:
            return f"signature algorithm {self.signature_label}"
        return "" if self.digest else f"digest algorithm {self.digest_label}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedData:
    """A signed-data (RFC 5652 5.1); without signers it is certs-only (RFC 8551 3.8)."""

    content_type: str
    """``eContentType``, dotted."""
    content: bytes | None = field(repr=False)
    """``eContent``; ``None`` where it is detached."""
    certificates: tuple[bytes, ...] = field(repr=False)
    """The X.509 certificates in DER, as they stand."""
    crls: tuple[bytes, ...] = field(repr=False)
    """The CRLs in DER, as they stand."""
    signers: tuple[SignerInfo, ...]

    @property
    def is_certs_only(self) -> bool:
        """No signers: nothing is signed here, certificates are handed over."""
        return not self.signers


def parse_signed_data(der: bytes, limits: Limits = DEFAULT_LIMITS) -> SignedData:
    """Return the signed-data that a ContentInfo holds (RFC 5652 5.1)."""
    reader = open_content_info(der, SIGNED_DATA, limits)
    reader.enter(SEQUENCE)
    version = reader.integer()
    if version not in _VERSIONS:
        raise UnsupportedCms(f"signed-data version {version}")
    reader.element(SET)  # digestAlgorithms: each signer names its own
    content_type, content = _read_content(reader)
    certificates = _read_choices(reader, _CERTIFICATES, limits.certificates)
    crls = _read_choices(reader, _CRLS, limits.certificates)
    signers = _read_signers(reader, content_type, limits.signers)
    reader.leave()
    close_content_info(reader)
    return SignedData(content_type=content_type, content=content, certificates=certificates, crls=crls, signers=signers)


def find_certificate(signer: SignerInfo, certificates: Iterable[bytes]) -> bytes | None:
    """Return the certificate (DER) which the signer names, or ``None`` if it is not among these.

    Where several have the name, that which the signing certificate attribute means, else the first.
    """
    found = [certificate for certificate in certificates if signer.sid.matches(certificate)]
    if len(found) > 1 and signer.attributes is not None:
        with suppress(UnsupportedCms):
            return next((one for one in found if names_certificate(signer.attributes, one)), found[0])
    return found[0] if found else None


def names_certificate(attributes: SignedAttributes, certificate_der: bytes) -> bool:
    """Tell whether all signing certificate attributes mean this certificate (RFC 5035 3); so if there are none.

    Raises ``UnsupportedCms`` if they name it by a digest that we do not implement.
    """
    for named in attributes.certificate_hashes:
        digest = Digest.from_oid(named.algorithm)
        if digest is None:
            raise UnsupportedCms(f"digest algorithm {name_of(named.algorithm)} in signingCertificateV2")
        if digest.compute(certificate_der) != named.value:
            return False
    return True


def _read_content(reader: Reader) -> tuple[str, bytes | None]:
    """Read EncapsulatedContentInfo (RFC 5652 5.2)."""
    reader.enter(SEQUENCE)
    content_type = reader.oid()
    content = None
    if reader.peek():
        reader.enter(CONTENT)
        content = reader.octet_string()
        reader.leave()
    reader.leave()
    return content_type, content


def _read_choices(reader: Reader, tag: int, most: int) -> tuple[bytes, ...]:
    """Read CertificateSet or RevocationInfoChoices (RFC 5652 10.2.3, 10.2.1): the SEQUENCEs, which are X.509's."""
    if reader.peek() != tag:
        return ()
    reader.enter(tag)
    found: list[bytes] = []
    while kind := reader.peek():
        element = reader.element(kind)
        if kind == SEQUENCE:
            found.append(element)
        if len(found) > most:
            raise CmsError("more certificates or CRLs than the limits allow")
    reader.leave()
    return tuple(found)


def _read_signers(reader: Reader, content_type: str, most: int) -> tuple[SignerInfo, ...]:
    signers: list[SignerInfo] = []
    reader.enter(SET)
    while reader.peek():
        if len(signers) == most:
            raise CmsError("more signers than the limits allow")
        signers.append(_judge(read_signer_info(reader), content_type))
    reader.leave()
    return tuple(signers)


def _judge(fields: SignerFields, content_type: str) -> SignerInfo:
    if fields.version not in _SIGNER_VERSIONS:
        raise UnsupportedCms(f"SignerInfo version {fields.version}")
    if fields.unsigned_attributes is not None:
        check_unsigned_attributes(fields.unsigned_attributes)
    attributes = None
    if fields.signed_attributes is not None:
        attributes = read_signed_attributes(fields.signed_attributes)
        if attributes.content_type != content_type:
            raise CmsError("the contentType attribute is not that of the content")
    elif content_type != DATA:
        raise CmsError("a content other than data without signed attributes")
    known = SignatureScheme.from_oid(fields.signature_algorithm.oid)
    digest = Digest.from_oid(fields.digest_algorithm.oid)
    if digest is not None and not fields.digest_algorithm.has_no_parameters:
        raise CmsError("a digest algorithm with parameters")
    return SignerInfo(
        sid=fields.sid,
        digest=digest,
        scheme=known[0] if known else None,
        digest_algorithm=fields.digest_algorithm,
        signature_algorithm=fields.signature_algorithm,
        attributes=attributes,
        signature=fields.signature,
    )
