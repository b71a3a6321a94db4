"""Builds signed-data (RFC 5652 5): one signer, DER, the content inside or detached.

What is constant for a signer (certificates, identifiers, three of the five signed attributes) is encoded once by
:func:`prepare_signer`; a message then costs its digest, one private key operation and a few joins.

Signed attributes: contentType and messageDigest (RFC 5652 11.1, 11.2), signingTime (11.3),
smimeCapabilities (RFC 8551 2.5.2), signingCertificateV2 (RFC 5035 3: without it a certificate with the same key could
be put in the place of the signer's). SignerInfo names its certificate by issuer and serial number, version 1.

Refused (``ValueError``, a mistake of the caller): digests and schemes whose verdict is not acceptable, a key of another
scheme than prepared. A certificate that cannot be read raises ``CertificateError``.

Known gaps: one signer per signed-data; no countersignatures, time stamps, receipts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from gateway.cms import der
from gateway.cms.algorithms import ContentCipher, Digest, SignatureScheme, Verdict, worst
from gateway.cms.attributes import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    SIGNED_ATTRIBUTES,
    SIGNING_CERTIFICATE_V2,
    SIGNING_TIME,
    SMIME_CAPABILITIES,
)
from gateway.cms.content import CONTENT, DATA, SIGNED_DATA
from gateway.cms.structures import read_certificate
from gateway.errors import CertificateError, CmsError

_CAPABILITIES = (ContentCipher.AES_256_CBC, ContentCipher.AES_192_CBC, ContentCipher.AES_128_CBC)
"""What we ask to be encrypted with, in order of preference."""
_CERTIFICATES = 0xA0
_VERSION_1 = der.integer(1)
_NO_CONTENT = der.sequence(der.oid(DATA))


class SigningKey(Protocol):
    """A private signing key, wherever it lives."""

    @property
    def scheme(self) -> SignatureScheme:
        """The scheme in which it signs."""
        ...

    def sign(self, octets: bytes, digest: Digest) -> bytes:
        """Return the signature value over ``octets``, hashed with ``digest``, as CMS carries it.

        ECDSA: the DER of Ecdsa-Sig-Value (RFC 5753 7.2). May raise ``KeyMaterialError``.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSigner:
    """All of a signed-data that is the same in each message of one signer; made by :func:`prepare_signer`."""

    scheme: SignatureScheme
    """The scheme of the key that fits the certificate."""
    digest: Digest
    """Hashes the content and the signed attributes."""
    digest_algorithms: bytes = field(repr=False)
    """``digestAlgorithms`` of SignedData."""
    certificates: bytes = field(repr=False)
    """``certificates [0]`` of SignedData."""
    signer_head: bytes = field(repr=False)
    """``version``, ``sid``, ``digestAlgorithm`` of SignerInfo."""
    signature_algorithm: bytes = field(repr=False)
    """``signatureAlgorithm`` of SignerInfo."""
    attributes: tuple[bytes, ...] = field(repr=False)
    """The signed attributes that do not depend on the message."""


def prepare_signer(
    certificate_der: bytes, chain_der: Sequence[bytes], *, scheme: SignatureScheme, digest: Digest
) -> PreparedSigner:
    """Return what is constant in all signed-data of this signer.

    ``chain_der``: certificates to send along with the signer's own. Raises ``CertificateError`` if the signer's
    certificate cannot be read, ``ValueError`` for algorithms that we do not write.
    """
    if worst(digest.verdict, scheme.verdict) is not Verdict.ACCEPTABLE:
        raise ValueError(f"not written: {scheme.label} with {digest.label}")
    try:
        certificate = read_certificate(certificate_der)
    except CmsError as error:
        raise CertificateError(str(error)) from error
    return PreparedSigner(
        scheme=scheme,
        digest=digest,
        digest_algorithms=der.set_of([digest.identifier_der]),
        certificates=der.set_of({certificate_der, *chain_der}, _CERTIFICATES),
        signer_head=_VERSION_1 + certificate.identifier_der + digest.identifier_der,
        signature_algorithm=scheme.identifier_der(digest),
        attributes=(
            _attribute(CONTENT_TYPE, der.oid(DATA)),
            _attribute(SMIME_CAPABILITIES, _smime_capabilities()),
            _attribute(SIGNING_CERTIFICATE_V2, _signing_certificate(certificate_der)),
        ),
    )


def build_signed_data(
    prepared: PreparedSigner, key: SigningKey, content: bytes | Sequence[bytes], *, moment: datetime, detached: bool
) -> bytes:
    """Return the ContentInfo with a SignedData over ``content`` (one buffer or several that follow each other).

    ``moment`` becomes the signing time, in whole seconds. ``detached``: the content is signed and not put in
    (RFC 8551 3.5.3). Raises what ``key.sign`` raises.
    """
    if key.scheme is not prepared.scheme:
        raise ValueError(f"prepared for {prepared.scheme.label}, the key is for {key.scheme.label}")
    buffers = (content,) if isinstance(content, bytes) else tuple(content)
    attributes = der.set_of(
        (
            *prepared.attributes,
            _attribute(SIGNING_TIME, der.utc_or_generalized_time(moment)),
            _attribute(MESSAGE_DIGEST, der.octet_string(prepared.digest.compute(*buffers))),
        )
    )
    signer_info = der.sequence(
        prepared.signer_head,
        bytes((SIGNED_ATTRIBUTES,)),  # what is signed has the tag of SET OF, what is sent this (RFC 5652 5.4)
        attributes[1:],
        prepared.signature_algorithm,
        der.octet_string(key.sign(attributes, prepared.digest)),
    )
    tail = prepared.certificates + der.tlv(der.SET, signer_info)
    head = _VERSION_1 + prepared.digest_algorithms
    if detached:
        return der.sequence(der.oid(SIGNED_DATA), der.context(0, der.sequence(head, _NO_CONTENT, tail)))
    size = sum(map(len, buffers))
    return b"".join((_opening(head, size, len(tail)), *buffers, tail))


def _opening(head: bytes, size: int, following: int) -> bytes:
    """Return all that stands before ``size`` octets of content, which ``following`` octets follow."""
    octets = der.opening(der.OCTET_STRING, b"", size)
    octets = der.opening(CONTENT, octets, size)
    octets = der.opening(der.SEQUENCE, der.oid(DATA) + octets, size)
    size += following
    octets = der.opening(der.SEQUENCE, head + octets, size)
    octets = der.opening(CONTENT, octets, size)
    return der.opening(der.SEQUENCE, der.oid(SIGNED_DATA) + octets, size)


def _attribute(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.tlv(der.SET, value))


def _smime_capabilities() -> bytes:
    return der.sequence(*(der.sequence(der.oid(cipher.oid)) for cipher in _CAPABILITIES))


def _signing_certificate(certificate_der: bytes) -> bytes:
    """SigningCertificateV2 with the default hash; issuer and serial number stand in the sid already (RFC 5035 4)."""
    entry = der.sequence(der.octet_string(Digest.SHA256.compute(certificate_der)))
    return der.sequence(der.sequence(entry))
