"""Builds enveloped-data (RFC 5652 6): one encrypted content, one RecipientInfo for each recipient, DER.

In three steps, so that copies for different recipients share the ciphertext: :func:`prepare_recipient` once per
certificate, :func:`encrypt_content` once per content, :func:`build_enveloped_data` once per copy. Version 0:
RecipientInfos are key transport by RSAES-PKCS1-v1_5, named by issuer and serial number (RFC 5652 6.2.1, RFC 3370
4.2.1); content type data; AES-CBC with a fresh key and initialisation vector (RFC 3565 4.1).

Refused: certificates with other than RSA keys (``UnsupportedCms``), of a size that gives no assurance or is absurd
(``CertificateError``); ciphers whose verdict is not acceptable and no recipients at all (``ValueError``).

Known gaps: RSAES-OAEP, key agreement and KEM recipients are other prepared forms of a recipient, AES-GCM is
authEnveloped-data.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from gateway.cms import der
from gateway.cms.algorithms import ContentCipher, KeyTransport, Verdict
from gateway.cms.content import CONTENT, DATA, ENVELOPED_DATA
from gateway.cms.public_keys import load_public_key
from gateway.cms.structures import read_certificate
from gateway.errors import CertificateError, CmsError, UnsupportedCms

_VERSION_0 = der.integer(0)
_ENCRYPTED_CONTENT = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRecipient:
    """All of a RecipientInfo that is the same in each message; made by :func:`prepare_recipient`."""

    key: RSAPublicKey = field(repr=False)
    head: bytes = field(repr=False)
    """``version``, ``rid``, ``keyEncryptionAlgorithm`` of KeyTransRecipientInfo."""
    transport: KeyTransport
    verdict: Verdict
    """The verdict on the public key: ``ACCEPTABLE``, or ``LEGACY`` for RSA below 2048 bits."""

    def wrap(self, content_encryption_key: bytes) -> bytes:
        """Return the RecipientInfo with this key for the recipient (RFC 5652 6.2.1)."""
        encrypted_key = self.key.encrypt(content_encryption_key, PKCS1v15())
        return der.sequence(self.head, der.octet_string(encrypted_key))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedContent:
    """A content, encrypted once for all its copies."""

    cipher: ContentCipher
    key: bytes = field(repr=False)
    """The content-encryption key."""
    iv: bytes = field(repr=False)
    """The initialisation vector."""
    ciphertext: bytes = field(repr=False)


def prepare_recipient(certificate_der: bytes) -> PreparedRecipient:
    """Return what is constant in all RecipientInfos of the holder of this certificate.

    Raises ``UnsupportedCms`` for other than RSA keys, ``CertificateError`` if certificate or key cannot be used.
    """
    try:
        certificate = read_certificate(certificate_der)
        judged = load_public_key(certificate.public_key_der)
    except UnsupportedCms:
        raise
    except CmsError as error:
        raise CertificateError(str(error)) from error
    if not isinstance(judged.key, RSAPublicKey):
        raise UnsupportedCms(f"encryption to a public key {judged.label}")
    if judged.verdict is Verdict.REFUSED:
        raise CertificateError(f"a public key {judged.label} gives no assurance")
    transport = KeyTransport.RSA_PKCS1V15
    return PreparedRecipient(
        key=judged.key,
        head=_VERSION_0 + certificate.identifier_der + transport.identifier_der,
        transport=transport,
        verdict=judged.verdict,
    )


def encrypt_content(
    content: bytes | Sequence[bytes], cipher: ContentCipher = ContentCipher.AES_256_CBC
) -> EncryptedContent:
    """Return ``content`` (one buffer or several that follow each other), encrypted with a fresh key (RFC 5652 6.3)."""
    if cipher.verdict is not Verdict.ACCEPTABLE:
        raise ValueError(f"not written: {cipher.label}")
    buffers = (content,) if isinstance(content, bytes) else content
    key, iv = secrets.token_bytes(cipher.key_size), secrets.token_bytes(cipher.block_size)
    encryptor = Cipher(AES(key), modes.CBC(iv)).encryptor()
    parts = [encryptor.update(buffer) for buffer in buffers]
    padding = cipher.block_size - sum(map(len, buffers)) % cipher.block_size
    parts.append(encryptor.update(bytes((padding,)) * padding))
    parts.append(encryptor.finalize())
    return EncryptedContent(cipher=cipher, key=key, iv=iv, ciphertext=b"".join(parts))


def build_enveloped_data(encrypted: EncryptedContent, recipients: Sequence[PreparedRecipient]) -> bytes:
    """Return the ContentInfo with an EnvelopedData that these recipients, and nobody else, can open."""
    if not recipients:
        raise ValueError("an enveloped-data needs a recipient")
    infos = der.set_of(recipient.wrap(encrypted.key) for recipient in recipients)
    algorithm = der.sequence(der.oid(encrypted.cipher.oid), der.octet_string(encrypted.iv))
    size = len(encrypted.ciphertext)
    octets = der.opening(_ENCRYPTED_CONTENT, b"", size)
    octets = der.opening(der.SEQUENCE, der.oid(DATA) + algorithm + octets, size)
    octets = der.opening(der.SEQUENCE, _VERSION_0 + infos + octets, size)
    octets = der.opening(CONTENT, octets, size)
    return der.opening(der.SEQUENCE, der.oid(ENVELOPED_DATA) + octets, size) + encrypted.ciphertext
