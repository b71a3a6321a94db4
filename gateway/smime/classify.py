"""Which S/MIME layer, if any, is the whole of a message or MIME entity.

What it does: decides from the Content-Type, and then from the CMS content type, which wins where they differ, what the
outermost entity is; and tells whether layers hide deeper in the MIME tree, where they do not cover the whole.

Standards: RFC 8551 3.2 (application/pkcs7-mime, ``smime-type``), 3.5 (signed forms), 3.9 (how to know one, octet-stream
with the name ``*.p7m`` included), RFC 1847 2.1 (multipart/signed).

A multipart/signed of another protocol (OpenPGP) is plain mail to us. What claims to be S/MIME and cannot be read is
``MALFORMED``, never plain: a broken layer must not look like no layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gateway.cms import ContentKind, content_type_of, parse_signed_data
from gateway.errors import CmsError, MimeError, UnsupportedCms
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime import (
    Entity,
    SignedParts,
    decode_body,
    parse_disposition,
    parse_entity,
    split_multipart_signed,
    walk,
)


class Kind(StrEnum):
    """What the whole of an entity is."""

    PLAIN = "plain"
    CLEAR_SIGNED = "clear-signed"
    SIGNED_DATA = "signed-data"
    ENVELOPED_DATA = "enveloped-data"
    AUTH_ENVELOPED_DATA = "authEnveloped-data"
    COMPRESSED_DATA = "compressed-data"
    CERTS_ONLY = "certs-only"
    MALFORMED = "malformed"
    """It says that it is S/MIME and cannot be read as such."""

    @property
    def is_signed(self) -> bool:
        """Whether it is a signed layer."""
        return self in (Kind.CLEAR_SIGNED, Kind.SIGNED_DATA)

    @property
    def is_encrypted(self) -> bool:
        """Whether it is an encrypted layer."""
        return self in (Kind.ENVELOPED_DATA, Kind.AUTH_ENVELOPED_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What a message is, seen from outside, without any key."""

    kind: Kind
    nested_signed: bool = False
    """A signed layer is a proper part of the message (a child of another multipart): it does not cover the whole."""
    nested_encrypted: bool = False
    """An encrypted layer is a proper part of the message."""
    reason: str = ""
    """Why it is malformed; empty otherwise."""

    @property
    def nested(self) -> bool:
        """Whether any layer is a proper part of the message."""
        return self.nested_signed or self.nested_encrypted


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerView:
    """An entity seen as a layer, taken apart as far as that goes without keys."""

    kind: Kind
    der: bytes = field(default=b"", repr=False)
    """The ContentInfo; empty for plain and malformed ones."""
    signed_part: bytes | None = field(default=None, repr=False)
    """Clear-signed only: the octets that the signature covers."""
    claim: Kind = Kind.PLAIN
    """Malformed ones only: what it claims to be; ``MALFORMED`` when it does not say."""
    reason: str = ""
    """Malformed ones only."""
    unsupported: bool = False
    """Malformed ones only: it is readable CMS of a type that S/MIME does not use."""


_SIGNATURE_TYPES: Final = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature"})
_MIME_TYPES: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_SUFFIXES: Final = (".p7m", ".p7c", ".p7z")
_CLAIMS: Final = {
    "signed-data": Kind.SIGNED_DATA,
    "enveloped-data": Kind.ENVELOPED_DATA,
    "authenveloped-data": Kind.AUTH_ENVELOPED_DATA,
    "compressed-data": Kind.COMPRESSED_DATA,
    "certs-only": Kind.CERTS_ONLY,
}
_CONTENT_KINDS: Final = {
    ContentKind.SIGNED: Kind.SIGNED_DATA,
    ContentKind.ENVELOPED: Kind.ENVELOPED_DATA,
    ContentKind.AUTH_ENVELOPED: Kind.AUTH_ENVELOPED_DATA,
    ContentKind.COMPRESSED: Kind.COMPRESSED_DATA,
}


def classify(content: bytes, limits: Limits = DEFAULT_LIMITS) -> Classification:
    """Classify a message. Raise :class:`~gateway.errors.MimeError` when it is not readable within the limits."""
    return classify_entity(parse_entity(content, limits=limits), limits)


def classify_entity(entity: Entity, limits: Limits = DEFAULT_LIMITS) -> Classification:
    """Classify a parsed message."""
    view = look(entity, limits)
    signed, encrypted = nested_layers(entity)
    return Classification(kind=view.kind, nested_signed=signed, nested_encrypted=encrypted, reason=view.reason)


def look(entity: Entity, limits: Limits = DEFAULT_LIMITS) -> LayerView:
    """Take one entity apart as a layer. Never raises for what it holds."""
    if _is_multipart_signed(entity):
        return _look_at_multipart(entity)
    if entity.content_type.essence in _MIME_TYPES:
        return _look_at_cms(entity, limits)
    if entity.content_type.essence == "application/octet-stream" and _name_of(entity).endswith(_SUFFIXES):
        view = _look_at_cms(entity, limits)
        # A file with such a name that is no CMS is a file.
        return LayerView(kind=Kind.PLAIN) if view.kind is Kind.MALFORMED else view
    return LayerView(kind=Kind.PLAIN)


def nested_layers(entity: Entity) -> tuple[bool, bool]:
    """Return whether signed and encrypted layers are proper parts of the entity.

    The first part of a clear-signed entity is that layer's whole content, not a proper part; what is below it is.
    """
    signed = encrypted = False
    content = entity.children[0] if _is_multipart_signed(entity) and entity.children else None
    for part in walk(entity):
        if part is entity or part is content:
            continue
        kind = _kind_by_fields(part)
        signed = signed or kind.is_signed
        encrypted = encrypted or kind.is_encrypted
    return signed, encrypted


def _is_multipart_signed(entity: Entity) -> bool:
    if entity.content_type.essence != "multipart/signed":
        return False
    protocol = entity.content_type.parameters.get("protocol", "").strip().lower()
    if protocol:
        return protocol in _SIGNATURE_TYPES
    # RFC 1847 2.1 requires the parameter; without it the signature part itself says what it is.
    return len(entity.children) > 1 and entity.children[-1].content_type.essence in _SIGNATURE_TYPES


def _look_at_multipart(entity: Entity) -> LayerView:
    try:
        parts = _split(entity)
        if content_type_of(parts.signature) is not ContentKind.SIGNED:
            raise CmsError("the signature part holds no signed-data")
    except (MimeError, CmsError) as error:
        return LayerView(kind=Kind.MALFORMED, claim=Kind.CLEAR_SIGNED, reason=str(error))
    return LayerView(kind=Kind.CLEAR_SIGNED, der=parts.signature, signed_part=parts.signed_part)


def _split(entity: Entity) -> SignedParts:
    if entity.ambiguous:
        # Two readers may see two messages: nobody can say which of them was signed.
        raise MimeError(entity.ambiguity)
    return split_multipart_signed(entity)


def _look_at_cms(entity: Entity, limits: Limits) -> LayerView:
    claim = _claim_of(entity)
    try:
        if entity.ambiguous:
            raise MimeError(entity.ambiguity)
        der = decode_body(entity)
        kind = _CONTENT_KINDS.get(content_type_of(der))
        if kind is Kind.SIGNED_DATA and claim is not Kind.SIGNED_DATA and _is_certs_only(der, limits):
            kind = Kind.CERTS_ONLY
    except (MimeError, CmsError) as error:
        unsupported = isinstance(error, UnsupportedCms)
        return LayerView(kind=Kind.MALFORMED, claim=claim, reason=str(error), unsupported=unsupported)
    if kind is None:
        reason = "a CMS content type that S/MIME does not use"
        return LayerView(kind=Kind.MALFORMED, claim=claim, reason=reason, unsupported=True)
    return LayerView(kind=kind, der=der)


def _is_certs_only(der: bytes, limits: Limits) -> bool:
    try:
        signed = parse_signed_data(der, limits)
    except CmsError:
        return False
    return not signed.signers and not signed.content


def _claim_of(entity: Entity) -> Kind:
    return _CLAIMS.get(entity.content_type.parameters.get("smime-type", "").strip().lower(), Kind.MALFORMED)


def _kind_by_fields(part: Entity) -> Kind:
    """What a part is by its header fields; decoded only when they do not say."""
    if _is_multipart_signed(part):
        return Kind.CLEAR_SIGNED
    if part.content_type.essence in _MIME_TYPES:
        claim = _claim_of(part)
        return _kind_by_content(part) if claim is Kind.MALFORMED else claim
    if part.content_type.essence == "application/octet-stream" and _name_of(part).endswith(_SUFFIXES):
        return _kind_by_content(part)
    return Kind.PLAIN


def _kind_by_content(part: Entity) -> Kind:
    try:
        return _CONTENT_KINDS.get(content_type_of(decode_body(part)), Kind.MALFORMED)
    except (MimeError, CmsError):
        return Kind.MALFORMED


def _name_of(entity: Entity) -> str:
    disposition = entity.header.first("content-disposition")
    if disposition is not None:
        name = parse_disposition(disposition.value).parameters.get("filename", "")
        if name:
            return name.strip().lower()
    return entity.content_type.parameters.get("name", "").strip().lower()
