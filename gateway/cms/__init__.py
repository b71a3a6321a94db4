"""Cryptographic Message Syntax (RFC 5652): builds and reads signed-data and enveloped-data.

Pure: octets in, octets and values out; the moment is an argument, private keys are handed in as :class:`SigningKey` and
:class:`UnwrapKey`. Knows nothing of MIME and nothing of certification paths: a certificate here is only a name and a
public key. Malformed input raises :class:`~gateway.errors.CmsError`, what we do not implement
:class:`~gateway.errors.UnsupportedCms`, and all that can go wrong under an encrypted layer
:class:`~gateway.errors.DecryptionFailed`.
"""

from __future__ import annotations

from gateway.cms.algorithms import ContentCipher, Digest, KeyTransport, SignatureScheme, Verdict, worst
from gateway.cms.content import ContentKind, content_type_of
from gateway.cms.enveloped_build import (
    EncryptedContent,
    PreparedRecipient,
    build_enveloped_data,
    encrypt_content,
    prepare_recipient,
)
from gateway.cms.enveloped_read import (
    EnvelopedData,
    RecipientInfo,
    UnwrapKey,
    decrypt_content,
    matches,
    open_enveloped_data,
    parse_enveloped_data,
)
from gateway.cms.signed_build import PreparedSigner, SigningKey, build_signed_data, prepare_signer
from gateway.cms.signed_check import SignatureCheck, check_signature
from gateway.cms.signed_read import SignedData, SignerInfo, find_certificate, parse_signed_data
from gateway.cms.structures import CertificateIdentifier, RecipientKind

__all__ = [
    "CertificateIdentifier",
    "ContentCipher",
    "ContentKind",
    "Digest",
    "EncryptedContent",
    "EnvelopedData",
    "KeyTransport",
    "PreparedRecipient",
    "PreparedSigner",
    "RecipientInfo",
    "RecipientKind",
    "SignatureCheck",
    "SignatureScheme",
    "SignedData",
    "SignerInfo",
    "SigningKey",
    "UnwrapKey",
    "Verdict",
    "build_enveloped_data",
    "build_signed_data",
    "check_signature",
    "content_type_of",
    "decrypt_content",
    "encrypt_content",
    "find_certificate",
    "matches",
    "open_enveloped_data",
    "parse_enveloped_data",
    "parse_signed_data",
    "prepare_recipient",
    "prepare_signer",
    "worst",
]
