"""Makes CMS that the code under test would not make: other forms of the same, old algorithms, and broken ones.

Only the DER writer of the code under test is used here; what is written is said by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import SubjectKeyIdentifier

from gateway.cms import ContentCipher, Digest, KeyTransport, SignatureScheme, der
from gateway.cms.ber import Reader
from gateway.errors import DecryptionFailed
from tests.support.pki import MOMENT, Issued, PrivateKey

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"
ENVELOPED_DATA = "1.2.840.113549.1.7.3"
RSA = "1.2.840.113549.1.1.1"

HASHES: dict[Digest, hashes.HashAlgorithm] = {
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
    Digest.SHA224: hashes.SHA224(),
    Digest.SHA1: hashes.SHA1(),
    Digest.MD5: hashes.MD5(),
}


class Key:
    """A private key as a ``SigningKey`` and an ``UnwrapKey``."""

    def __init__(self, key: PrivateKey) -> None:
        self.key = key
        is_rsa = isinstance(key, rsa.RSAPrivateKey)
        self.scheme = SignatureScheme.RSA_PKCS1V15 if is_rsa else SignatureScheme.ECDSA

    def sign(self, octets: bytes, digest: Digest) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(octets, padding.PKCS1v15(), HASHES[digest])
        return self.key.sign(octets, ec.ECDSA(HASHES[digest]))

    def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes:
        assert isinstance(self.key, rsa.RSAPrivateKey)
        assert transport is KeyTransport.RSA_PKCS1V15
        try:
            return self.key.decrypt(encrypted_key, padding.PKCS1v15())
        except ValueError:
            raise DecryptionFailed from None


def attribute(oid: str, *values: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.set_of(values))


def content_type_attribute(oid: str = DATA) -> bytes:
    return attribute("1.2.840.113549.1.9.3", der.oid(oid))


def message_digest_attribute(digest: bytes) -> bytes:
    return attribute("1.2.840.113549.1.9.4", der.octet_string(digest))


def signing_time_attribute(moment: datetime = MOMENT) -> bytes:
    return attribute("1.2.840.113549.1.9.5", der.utc_or_generalized_time(moment))


def usual_attributes(content: bytes, digest: Digest = Digest.SHA256) -> list[bytes]:
    """contentType, signingTime, messageDigest; in DER order for SHA-256."""
    return [content_type_attribute(), signing_time_attribute(), message_digest_attribute(digest.compute(content))]


def issuer_and_serial(issued: Issued) -> bytes:
    return der.sequence(issued.certificate.issuer.public_bytes(), der.integer(issued.serial))


def key_identifier(issued: Issued) -> bytes:
    """The sid or rid ``[0]``."""
    extension = issued.certificate.extensions.get_extension_for_class(SubjectKeyIdentifier)
    return der.tlv(0x80, extension.value.digest)


def signer_info(
    issued: Issued,
    content: bytes,
    *,
    attributes: Sequence[bytes] | None = (),
    digest: Digest = Digest.SHA256,
    version: int = 1,
    sid: bytes | None = None,
    digest_algorithm: bytes | None = None,
    signature_algorithm: bytes | None = None,
    unsigned: Iterable[bytes] = (),
    signed: bytes | None = None,
) -> bytes:
    """Return a SignerInfo; ``attributes`` in this order, ``()`` the usual ones, ``None`` none at all.

    ``signed`` are the octets under the signature, where not those which the RFC says.
    """
    key = Key(issued.key)
    if attributes is not None:
        attributes = attributes or sorted(usual_attributes(content, digest))
    body = b"".join(attributes or ())
    if signed is None:
        signed = content if attributes is None else der.tlv(0x31, body)
    unsigned = list(unsigned)
    return der.sequence(
        der.integer(version),
        sid or issuer_and_serial(issued),
        digest_algorithm or digest.identifier_der,
        b"" if attributes is None else der.tlv(0xA0, body),
        signature_algorithm or key.scheme.identifier_der(digest),
        der.octet_string(key.sign(signed, digest)),
        der.tlv(0xA1, *unsigned) if unsigned else b"",
    )


def signed_data(
    *signer_infos: bytes,
    content: bytes | None,
    certificates: Iterable[bytes] = (),
    crls: Iterable[bytes] = (),
    content_type: str = DATA,
    version: int = 1,
    octets: bytes | None = None,
) -> bytes:
    """Return a ContentInfo with a SignedData; ``octets`` stand for the eContent as they are."""
    certificates, crls = list(certificates), list(crls)
    if octets is None and content is not None:
        octets = der.octet_string(content)
    return der.sequence(
        der.oid(SIGNED_DATA),
        der.context(
            0,
            der.sequence(
                der.integer(version),
                der.set_of([Digest.SHA256.identifier_der]),
                der.sequence(der.oid(content_type), b"" if octets is None else der.context(0, octets)),
                der.tlv(0xA0, *certificates) if certificates else b"",
                der.tlv(0xA1, *crls) if crls else b"",
                der.tlv(0x31, *signer_infos),
            ),
        ),
    )


def key_transport(
    issued: Issued,
    key: bytes,
    *,
    rid: bytes | None = None,
    algorithm: bytes | None = None,
    encrypted: bytes | None = None,
) -> bytes:
    """Return a KeyTransRecipientInfo."""
    if encrypted is None:
        public_key = issued.certificate.public_key()
        assert isinstance(public_key, rsa.RSAPublicKey)
        encrypted = public_key.encrypt(key, padding.PKCS1v15())
    return der.sequence(
        der.integer(0),
        rid or issuer_and_serial(issued),
        algorithm or KeyTransport.RSA_PKCS1V15.identifier_der,
        der.octet_string(encrypted),
    )


def enveloped_data(
    *recipient_infos: bytes,
    ciphertext: bytes,
    iv: bytes = bytes(16),
    cipher: ContentCipher = ContentCipher.AES_256_CBC,
    algorithm: bytes | None = None,
    version: int = 0,
    octets: bytes | None = None,
    originator: bytes = b"",
    unprotected: bytes = b"",
) -> bytes:
    """Return a ContentInfo with an EnvelopedData; ``octets`` stand for the encrypted content as they are."""
    return der.sequence(
        der.oid(ENVELOPED_DATA),
        der.context(
            0,
            der.sequence(
                der.integer(version),
                originator,
                der.tlv(0x31, *recipient_infos),
                der.sequence(
                    der.oid(DATA),
                    algorithm or der.sequence(der.oid(cipher.oid), der.octet_string(iv)),
                    der.tlv(0x80, ciphertext) if octets is None else octets,
                ),
                unprotected,
            ),
        ),
    )


def indefinite(octets: bytes, depth: int) -> bytes:
    """Return the element with indefinite lengths in its outermost ``depth`` layers of constructed elements."""
    if depth == 0 or not octets[0] & 0x20:
        return octets
    reader = Reader(octets)
    reader.enter(octets[0])
    parts = []
    while tag := reader.peek():
        parts.append(indefinite(reader.element(tag), depth - 1))
    return octets[:1] + b"\x80" + b"".join(parts) + b"\x00\x00"


def segments(content: bytes, size: int, tag: int = 0x04, *, definite: bool = False) -> bytes:
    """Return an OCTET STRING in segments."""
    parts = [der.octet_string(content[at : at + size]) for at in range(0, len(content), size)]
    if definite:
        return der.tlv(tag | 0x20, *parts)
    return bytes((tag | 0x20, 0x80)) + b"".join(parts) + b"\x00\x00"
