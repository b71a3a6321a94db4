"""Sending and receiving agents for these tests: identities of the tests' PKI as the code under test takes them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from gateway.cms import Digest, KeyTransport, SignatureScheme
from gateway.errors import DecryptionFailed
from gateway.pkix import Certificate, PathValidator, load_certificate
from gateway.smime import (
    DecryptionKey,
    Protectable,
    RecipientCertificate,
    SignedForm,
    SigningIdentity,
    Unprotected,
    assemble,
    envelop,
    prepare,
    recipient_certificate,
    seal,
    sign,
    signing_identity,
    unprotect,
)
from tests.support.pki import MOMENT, Issued, Pki

BOUNDARY = "=_boundary_of_the_test"

MESSAGE = (
    b"Received: from client by gw\r\n"
    b"From: Alice <alice@acme.example>\r\n"
    b"To: Bob <bob@partner.example>\r\n"
    b"Subject: Numbers\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=us-ascii\r\n"
    b"X-Last: yes\r\n"
    b"\r\n"
    b"The numbers.\r\n"
)
ENTITY = b"Content-Type: text/plain; charset=us-ascii\r\n\r\nThe numbers.\r\n"

_HASHES = {Digest.SHA256: hashes.SHA256(), Digest.SHA384: hashes.SHA384(), Digest.SHA512: hashes.SHA512()}


@dataclass(frozen=True, slots=True)
class TestKey:
    """A private key of the tests as SigningKey and UnwrapKey."""

    __test__ = False
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def scheme(self) -> SignatureScheme:
        return SignatureScheme.RSA_PKCS1V15 if isinstance(self.key, rsa.RSAPrivateKey) else SignatureScheme.ECDSA

    def sign(self, octets: bytes, digest: Digest) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(octets, padding.PKCS1v15(), _HASHES[digest])
        return self.key.sign(octets, ec.ECDSA(_HASHES[digest]))

    def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes:
        assert transport is KeyTransport.RSA_PKCS1V15
        assert isinstance(self.key, rsa.RSAPrivateKey)
        try:
            return self.key.decrypt(encrypted_key, padding.PKCS1v15())
        except (ValueError, UnsupportedAlgorithm):
            raise DecryptionFailed from None


@functools.cache
def pki() -> Pki:
    return Pki.make()


@functools.cache
def person(address: str) -> Issued:
    return pki().identity(address)


def certificate(issued: Issued) -> Certificate:
    return load_certificate(issued.certificate_der)


def signer(issued: Issued, *, chain: Sequence[Issued] | None = None, digest: Digest = Digest.SHA256) -> SigningIdentity:
    above = issued.chain if chain is None else chain
    return signing_identity(
        certificate(issued), [certificate(one) for one in above], TestKey(issued.key), digest=digest
    )


def recipient(issued: Issued) -> RecipientCertificate:
    return recipient_certificate(certificate(issued))


def decryption_key(issued: Issued) -> DecryptionKey:
    return DecryptionKey(certificate=certificate(issued), key=TestKey(issued.key))


@functools.cache
def anchors() -> PathValidator:
    return PathValidator([certificate(pki().root)])


def alice() -> Issued:
    return person("alice@acme.example")


def bob() -> Issued:
    return person("bob@partner.example")


def eve() -> Issued:
    return person("eve@evil.example")


def signed(
    message: bytes = MESSAGE, by: Issued | None = None, form: SignedForm = SignedForm.CLEAR, *, boundary: str = BOUNDARY
) -> bytes:
    """Return the message, signed."""
    taken = prepare(message)
    protected = sign(taken, signer(by or alice()), moment=MOMENT, boundary=boundary, form=form)
    return b"".join(assemble(taken.outer_fields, protected))


def encrypted(message: bytes = MESSAGE, to: Sequence[Issued] = ()) -> bytes:
    """Return the message, encrypted to Bob or to these."""
    return encrypted_entity(prepare(message), to)


def encrypted_entity(taken: Protectable, to: Sequence[Issued] = ()) -> bytes:
    sealed = seal(taken.entity)
    return b"".join(assemble(taken.outer_fields, envelop(sealed, [recipient(one) for one in to or [bob()]])))


def received(message: bytes, *keys: Issued, **further: object) -> Unprotected:
    """Unprotect as the tests' receiving agent: anchors of the PKI, the keys of these people."""
    arguments: dict[str, object] = {"anchors": anchors(), "moment": MOMENT, **further}
    return unprotect(message, keys=[decryption_key(one) for one in keys], **arguments)  # type: ignore[arg-type]
