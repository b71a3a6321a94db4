"""The materials of protection: who signs, for whom to encrypt, with what to open.

What it does: holds a certificate together with what is computed from it once (:class:`gateway.cms.PreparedSigner`,
:class:`gateway.cms.PreparedRecipient`), so that a message costs only its own hash and the operations of its keys.
Standards: RFC 8551 2.3 (key pairs and certificates of agents). Refuses: nothing; the stores decide what is usable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.cms import (
    Digest,
    PreparedRecipient,
    PreparedSigner,
    SigningKey,
    UnwrapKey,
    prepare_recipient,
    prepare_signer,
)
from gateway.pkix import Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningIdentity:
    """A key of ours that may sign, with the certificates that travel in each SignedData."""

    certificate: Certificate
    """The signer's end-entity certificate."""
    chain: tuple[Certificate, ...] = ()
    """Further certificates to send along, issuer first, without the trust anchor where possible."""
    key: SigningKey = field(repr=False)
    """Makes signature values; the private key itself stays behind it."""
    prepared: PreparedSigner = field(repr=False)
    """The constant DER of every SignedData of this signer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecryptionKey:
    """A key of ours that opens enveloped-data for its certificate."""

    certificate: Certificate
    """The certificate by which a RecipientInfo names the key."""
    key: UnwrapKey = field(repr=False)
    """Unwraps content-encryption keys; the private key itself stays behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientCertificate:
    """Somebody's certificate to encrypt to."""

    certificate: Certificate
    """The recipient's end-entity certificate."""
    prepared: PreparedRecipient = field(repr=False)
    """The constant DER of every RecipientInfo for it."""


def signing_identity(
    certificate: Certificate, chain: Sequence[Certificate], key: SigningKey, *, digest: Digest = Digest.SHA256
) -> SigningIdentity:
    """Prepare a signing identity. Raise :class:`~gateway.errors.CertificateError` where the certificate does not do."""
    prepared = prepare_signer(certificate.der, [one.der for one in chain], scheme=key.scheme, digest=digest)
    return SigningIdentity(certificate=certificate, chain=tuple(chain), key=key, prepared=prepared)


def recipient_certificate(certificate: Certificate) -> RecipientCertificate:
    """Prepare a recipient's certificate.

    Raise :class:`~gateway.errors.CertificateError`, or :class:`~gateway.errors.UnsupportedCms` for a kind of key that
    we cannot encrypt to.
    """
    return RecipientCertificate(certificate=certificate, prepared=prepare_recipient(certificate.der))
