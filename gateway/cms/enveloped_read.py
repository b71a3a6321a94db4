"""Reads and opens enveloped-data (RFC 5652 6).

Takes BER and DER; the encrypted content may come in segments. Recipients of every kind are listed, so that a report can
say who they are; those that we can open are key transport by RSAES-PKCS1-v1_5 (RFC 3370 4.2.1).

Nothing that goes wrong once a private key is in play can be told apart (RFC 3218 2.3): if the key does not unwrap, or
to a key of a wrong length, the content is decrypted with a random key all the same, and the one exception
:class:`~gateway.errors.DecryptionFailed` comes of the padding. In one case of some 256 the padding looks right, and the
caller gets noise in place of the content, as it would for a forged ciphertext: nothing here is authenticated.

Refused (``CmsError``): malformed structure, more recipients than the limits allow. ``UnsupportedCms`` names a
RecipientInfo or a content cipher that we do not implement, before any key is used.

Known gaps: key agreement, key-encryption keys, passwords, KEM; RSAES-OAEP; unprotected attributes and originator
information are skipped.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from gateway.cms.algorithms import ContentCipher, KeyTransport, name_of
from gateway.cms.ber import Algorithm, Reader
from gateway.cms.content import ENVELOPED_DATA, close_content_info, open_content_info
from gateway.cms.der import OCTET_STRING, SEQUENCE, SET
from gateway.cms.structures import CertificateIdentifier, RecipientFields, RecipientKind, read_recipient_info
from gateway.errors import CmsError, DecryptionFailed, UnsupportedCms
from gateway.limits import DEFAULT_LIMITS, Limits

_ORIGINATOR_INFO = 0xA0
_ENCRYPTED_CONTENT = 0x80
_UNPROTECTED_ATTRIBUTES = 0xA1
_VERSIONS = (0, 1, 2, 3, 4)


class UnwrapKey(Protocol):
    """A private key that decrypts content-encryption keys, wherever it lives."""

    def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes:
        """Return the content-encryption key. Raises ``DecryptionFailed`` for every cause that lies in the input.

        ``KeyMaterialError`` if the key itself is not available.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientInfo:
    """One recipient of an enveloped-data (RFC 5652 6.2)."""

    issuer_der: bytes | None
    """Issuer of the certificate; ``None`` where it is named by subject key identifier, or not at all."""
    serial: int | None
    """Serial number of the certificate, with the issuer."""
    ski: bytes | None
    """Subject key identifier of the certificate; ``None`` where it is named otherwise."""
    kind: RecipientKind
    transport: KeyTransport | None
    """How the content-encryption key is wrapped; ``None`` if we do not implement it."""
    transport_label: str
    """``rsa``; of what we do not implement its name or dotted identifier."""
    encrypted_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopedData:
    """An enveloped-data (RFC 5652 6.1)."""

    recipients: tuple[RecipientInfo, ...]
    """In the order of the message; a key agreement counts once for each recipient that it names."""
    content_type: str
    """Content type of what is encrypted, dotted; S/MIME has data (RFC 8551 3.3)."""
    cipher: ContentCipher | None
    """Content-encryption algorithm; ``None`` if we do not implement it."""
    cipher_label: str
    """``aes-256-cbc`` …; of what we do not implement its name or dotted identifier."""
    iv: bytes = field(repr=False)
    """Initialisation vector; empty if the cipher is not implemented."""
    ciphertext: bytes = field(repr=False)


def parse_enveloped_data(der: bytes, limits: Limits = DEFAULT_LIMITS) -> EnvelopedData:
    """Return the enveloped-data that a ContentInfo holds (RFC 5652 6.1)."""
    reader = open_content_info(der, ENVELOPED_DATA, limits)
    reader.enter(SEQUENCE)
    version = reader.integer()
    if version not in _VERSIONS:
        raise UnsupportedCms(f"enveloped-data version {version}")
    if reader.peek() == _ORIGINATOR_INFO:
        reader.skip()
    recipients = _read_recipients(reader, limits.recipient_infos)
    content_type, algorithm, ciphertext = _read_encrypted_content(reader)
    if reader.peek() == _UNPROTECTED_ATTRIBUTES:
        reader.skip()
    reader.leave()
    close_content_info(reader)
    cipher = ContentCipher.from_oid(algorithm.oid)
    return EnvelopedData(
        recipients=recipients,
        content_type=content_type,
        cipher=cipher,
        cipher_label=cipher.label if cipher else name_of(algorithm.oid),
        iv=_read_iv(algorithm, cipher) if cipher else b"",
        ciphertext=ciphertext,
    )


def matches(recipient: RecipientInfo, certificate_der: bytes) -> bool:
    """Tell whether the recipient is named by this certificate."""
    named = CertificateIdentifier(issuer_der=recipient.issuer_der, serial=recipient.serial, ski=recipient.ski)
    return named.matches(certificate_der)


def open_enveloped_data(view: EnvelopedData, recipient: RecipientInfo, key: UnwrapKey) -> bytes:
    """Return the content, opened as this recipient with this private key.

    Raises ``UnsupportedCms`` for a RecipientInfo or cipher that we do not implement, else ``DecryptionFailed``
    whatever is wrong; and what ``key.unwrap`` raises of its own accord (``KeyMaterialError``).
    """
    if recipient.transport is None:
        raise UnsupportedCms(f"{recipient.kind} recipient with {recipient.transport_label}")
    cipher = _cipher_of(view)
    random_key = secrets.token_bytes(cipher.key_size)
    try:
        content_encryption_key = key.unwrap(recipient.encrypted_key, recipient.transport)
    except DecryptionFailed:
        content_encryption_key = random_key
    if len(content_encryption_key) != cipher.key_size:
        content_encryption_key = random_key  # RFC 3218 2.3.2
    return decrypt_content(view, content_encryption_key)


def decrypt_content(view: EnvelopedData, content_encryption_key: bytes) -> bytes:
    """Return the content, decrypted with this key (RFC 5652 6.3). Raises as :func:`open_enveloped_data`."""
    cipher = _cipher_of(view)
    block = cipher.block_size
    if len(content_encryption_key) != cipher.key_size or not view.ciphertext or len(view.ciphertext) % block:
        raise DecryptionFailed
    algorithm = TripleDES if cipher is ContentCipher.DES_EDE3_CBC else AES
    decryptor = Cipher(algorithm(content_encryption_key), modes.CBC(view.iv)).decryptor()
    padded = decryptor.update(view.ciphertext) + decryptor.finalize()
    count = padded[-1]
    within = 1 <= count <= block
    expected = bytes((count,)) * (count if within else 1)
    if not (hmac.compare_digest(padded[-len(expected) :], expected) and within):
        raise DecryptionFailed
    return padded[:-count]


def _cipher_of(view: EnvelopedData) -> ContentCipher:
    if view.cipher is None:
        raise UnsupportedCms(f"content cipher {view.cipher_label}")
    return view.cipher


def _read_recipients(reader: Reader, most: int) -> tuple[RecipientInfo, ...]:
    recipients: list[RecipientInfo] = []
    reader.enter(SET)
    while reader.peek():
        for fields in read_recipient_info(reader):
            if len(recipients) == most:
                raise CmsError("more recipients than the limits allow")
            recipients.append(_judge(fields))
    reader.leave()
    return tuple(recipients)


def _judge(fields: RecipientFields) -> RecipientInfo:
    transport, label = None, fields.kind.value
    if fields.algorithm is not None:
        label = name_of(fields.algorithm.oid)
        if fields.kind is RecipientKind.KEY_TRANSPORT:
            transport = KeyTransport.from_oid(fields.algorithm.oid)
    return RecipientInfo(
        issuer_der=fields.rid.issuer_der,
        serial=fields.rid.serial,
        ski=fields.rid.ski,
        kind=fields.kind,
        transport=transport,
        transport_label=transport.label if transport else label,
        encrypted_key=fields.encrypted_key,
    )


def _read_encrypted_content(reader: Reader) -> tuple[str, Algorithm, bytes]:
    """Read EncryptedContentInfo (RFC 5652 6.1)."""
    reader.enter(SEQUENCE)
    content_type = reader.oid()
    algorithm = reader.algorithm()
    if not reader.peek():
        raise CmsError("an enveloped-data without encrypted content")
    ciphertext = reader.octet_string(_ENCRYPTED_CONTENT)
    reader.leave()
    return content_type, algorithm, ciphertext


def _read_iv(algorithm: Algorithm, cipher: ContentCipher) -> bytes:
    """Read the parameters of a cipher in CBC mode (RFC 3565 4.1, RFC 3370 5.1)."""
    reader = Reader(algorithm.parameters or b"")
    iv = reader.contents(OCTET_STRING)
    if len(iv) != cipher.block_size or reader.peek():
        raise CmsError("malformed initialisation vector")
    return iv
