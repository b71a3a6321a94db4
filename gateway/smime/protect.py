"""The sending agent: signs and encrypts a message.

What it does: takes a message apart into the header fields that stay outside and the MIME entity to protect (its
Content-* fields and body, in canonical form), signs that entity once, encrypts what came of it once, and builds any
number of enveloped messages from one ciphertext. Nothing is re-serialised: outer header fields stay verbatim and in
order, an entity that is canonical already is handed on as it is, and the result is a list of buffers.

::

    protectable = prepare(message)
    signed = sign(protectable, signer, moment=moment, boundary=boundary)
    sealed = seal(signed.buffers)
    message = assemble(protectable.outer_fields, envelop(sealed, recipients))

Standards: RFC 8551 3.1 (canonical form), 3.2 (application/pkcs7-mime), 3.3 (enveloped-data), 3.5.2 (signed-data), 3.5.3
(multipart/signed), 3.6 (signing and encrypting); RFC 1847 2.1.

Refuses: what is not readable as MIME within the limits, and what would have to be re-encoded inside a part that is
protected already (:class:`~gateway.errors.MimeError`). Known gaps: protects no header fields (RFC 9788).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from gateway.cms import (
    ContentCipher,
    EncryptedContent,
    build_enveloped_data,
    build_signed_data,
    encrypt_content,
)
from gateway.errors import MimeError
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime import (
    build_multipart_signed,
    build_pkcs7_mime,
    canonical_entity,
    split_content_fields,
)
from gateway.smime.model import RecipientCertificate, SigningIdentity


class SignedForm(Enum):
    """How a signature travels (RFC 8551 3.5)."""

    CLEAR = "multipart/signed"
    """Readable by agents that know nothing of S/MIME."""
    OPAQUE = "signed-data"
    """Survives agents that change MIME parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protectable:
    """A message taken apart for protection."""

    outer_fields: bytes
    """Every header field except Content-* and MIME-Version, verbatim and in order; each ends in CRLF."""
    entity: bytes = field(repr=False)
    """The MIME entity to protect, in canonical form (RFC 8551 3.1)."""
    is_seven_bit: bool = True
    """Whether it can travel as it is; where not, it is protected only inside a CMS object (RFC 8551 3.1.3)."""

    is_verbatim: bool = False
    """Whether the entity is what the message had, octet for octet, and found to be 7-bit text in whole lines."""

    def form_for(self, wanted: SignedForm) -> SignedForm:
        """Return the form in which it can be signed: ``wanted``, or opaque where it cannot travel as it is."""
        return wanted if self.is_seven_bit else SignedForm.OPAQUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """A protected MIME entity, not yet under a header."""

    content_fields: bytes
    """Its Content-* fields, without MIME-Version; each ends in CRLF."""
    body: tuple[bytes, ...] = field(repr=False)
    """Its body as buffers."""

    @property
    def buffers(self) -> tuple[bytes, ...]:
        """The entity as buffers: content fields, empty line, body; what :func:`seal` takes."""
        return (self.content_fields, b"\r\n", *self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An entity encrypted once, for any number of EnvelopedData with different RecipientInfos."""

    entity: tuple[bytes, ...] = field(repr=False)
    """The clear entity, for the self-check."""
    encrypted: EncryptedContent = field(repr=False)
    """Ciphertext and content-encryption key."""


def prepare(message: bytes, limits: Limits = DEFAULT_LIMITS) -> Protectable:
    """Take a message apart and bring its entity to canonical form.

    Where that would change a part that is protected already, or one that can be read in two ways, the entity stays
    octet for octet, and :attr:`Protectable.is_seven_bit` tells that it needs a CMS object around it: what the sender
    wrote is signed, not what we make of it. Raise :class:`~gateway.errors.MimeError` for a header section that exceeds
    the limits.
    """
    outer_fields, entity = split_content_fields(message, limits, may_be_ambiguous=True)
    try:
        canonical = canonical_entity(entity, limits=limits)
        return Protectable(outer_fields=outer_fields, entity=canonical, is_verbatim=canonical is entity)
    except MimeError:
        return Protectable(outer_fields=outer_fields, entity=entity, is_seven_bit=False)


def sign(
    protectable: Protectable,
    signer: SigningIdentity,
    *,
    moment: datetime,
    boundary: str,
    form: SignedForm = SignedForm.CLEAR,
) -> Protected:
    """Sign the entity; ``moment`` is the signingTime attribute, ``boundary`` that of the multipart/signed.

    Raise :class:`~gateway.errors.KeyMaterialError` when the key does not sign, :class:`ValueError` when the boundary
    occurs in the entity, or for a form that :meth:`Protectable.form_for` does not give.
    """
    if protectable.form_for(form) is not form:
        raise ValueError("an entity that is not 7-bit text is not clear-signed")
    entity = protectable.entity
    if form is SignedForm.OPAQUE:
        der = build_signed_data(signer.prepared, signer.key, entity, moment=moment, detached=False)
        return _pkcs7_mime(der, "signed-data")
    der = build_signed_data(signer.prepared, signer.key, entity, moment=moment, detached=True)
    content_fields, body = build_multipart_signed(entity, der, micalg=signer.prepared.digest.micalg, boundary=boundary)
    return Protected(content_fields=content_fields, body=tuple(body))


def seal(entity: bytes | Sequence[bytes], cipher: ContentCipher = ContentCipher.AES_256_CBC) -> Sealed:
    """Encrypt an entity (``protectable.entity`` or ``protected.buffers``) once."""
    buffers = (entity,) if isinstance(entity, bytes) else tuple(entity)
    return Sealed(entity=buffers, encrypted=encrypt_content(buffers, cipher))


def envelop(sealed: Sealed, recipients: Sequence[RecipientCertificate]) -> Protected:
    """Wrap the content-encryption key for each recipient; may be called several times for one ``sealed``.

    Raise :class:`ValueError` for no recipients: a message that nobody can open is not made.
    """
    if not recipients:
        raise ValueError("enveloped-data needs a recipient")
    der = build_enveloped_data(sealed.encrypted, [recipient.prepared for recipient in recipients])
    return _pkcs7_mime(der, "enveloped-data")


def assemble(outer_fields: bytes, protected: Protected) -> list[bytes]:
    """Return the whole message as buffers: outer fields, MIME-Version, content fields, empty line, body."""
    return [outer_fields, _MIME_VERSION, protected.content_fields, b"\r\n", *protected.body]


_MIME_VERSION = b"MIME-Version: 1.0\r\n"


def _pkcs7_mime(der: bytes, smime_type: str) -> Protected:
    content_fields, body = build_pkcs7_mime(der, smime_type=smime_type)
    return Protected(content_fields=content_fields, body=(body,))
