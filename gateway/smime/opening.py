"""Encrypted layers of the receiving agent: opens one layer with our keys.

What it does: tries a key only where a RecipientInfo names its certificate, decrypts, and makes of the content something
that can travel as mail: one MIME entity with CRLF line ends, binary parts re-encoded (RFC 8551 3.1.2 lets them in).

Standards: RFC 5652 6; RFC 8551 3.3; RFC 3218 2 (no key or padding oracle); RFC 8551 6 (what CBC does not protect).

It tells little on purpose. ``broken`` is every cause that somebody who changes the ciphertext can bring about: wrong
padding, a wrong key, garbled structure, content that is no MIME entity or could not travel as one. ``not-mime`` is said
only of content that is text from its first octet to its last, which a changed ciphertext does not give.

Known gaps: reads enveloped-data with key transport only; authEnveloped-data is reported as unsupported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from gateway.cms import EnvelopedData, RecipientInfo, matches, open_enveloped_data, parse_enveloped_data
from gateway.errors import CmsError, DecryptionFailed, MimeError, UnsupportedCms, WireError
from gateway.limits import Limits
from gateway.mime import (
    HeaderSection,
    canonical_entity,
    encode_base64_lines,
    find_flaw,
    parse_content_type,
    parse_header,
    split_content_fields,
    to_crlf,
)
from gateway.pkix import Certificate
from gateway.smime.model import DecryptionKey
from gateway.smime.report import Layer
from gateway.smime.verify import serial_text
from gateway.smime.words import LayerType, NotOpened

_ATTEMPTS: Final = 16
"""Most private key operations for one layer: a message may name one certificate as often as it likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLayer:
    """An encrypted layer, and what was in it."""

    layer: Layer
    content: bytes | None = field(default=None, repr=False)
    """The entity inside, fit to travel; ``None`` when the layer was not opened."""


class _NotMime(Exception):
    """The content is text and no MIME entity; never leaves this module."""


def open_layer(der: bytes, form: str, keys: Sequence[DecryptionKey], limits: Limits) -> OpenedLayer:
    """Open one enveloped-data. Never raises for what it holds; :class:`~gateway.errors.KeyMaterialError` may pass."""
    try:
        view = parse_enveloped_data(der, limits)
    except UnsupportedCms:
        return closed_layer(form, NotOpened.UNSUPPORTED)
    except CmsError:
        return closed_layer(form, NotOpened.BROKEN)
    candidates = list(islice(_candidates(view, keys), _ATTEMPTS))
    content: bytes | None = None
    reason = NotOpened.NO_KEY
    if view.cipher is None:
        reason = NotOpened.UNSUPPORTED
    elif candidates:
        content, reason = _try_keys(view, candidates, limits)
    layer = Layer(
        type=LayerType.ENCRYPTED,
        form=form,
        algorithm=view.cipher_label,
        recipients=tuple(_describe(info) for info in view.recipients),
        opened=content is not None,
        reason=None if content is not None else reason,
    )
    return OpenedLayer(layer=layer, content=content)


def closed_layer(form: str, reason: NotOpened) -> OpenedLayer:
    """Return the report of a layer of which nothing can be read."""
    return OpenedLayer(layer=Layer(type=LayerType.ENCRYPTED, form=form, reason=reason))


def _candidates(view: EnvelopedData, keys: Sequence[DecryptionKey]) -> Iterator[tuple[RecipientInfo, DecryptionKey]]:
    for info in view.recipients:
        for key in keys:
            certificate = key.certificate
            # Cheap first: a message may name a thousand recipients, and a house have many keys.
            if _may_name(info, certificate) and matches(info, certificate.der):
                yield info, key


def _may_name(info: RecipientInfo, certificate: Certificate) -> bool:
    if info.ski is not None:
        return info.ski == certificate.subject_key_identifier
    return info.serial == certificate.serial


def _try_keys(
    view: EnvelopedData, candidates: Sequence[tuple[RecipientInfo, DecryptionKey]], limits: Limits
) -> tuple[bytes | None, NotOpened]:
    """Try each candidate; the reason of the one that came farthest counts."""
    reasons = {NotOpened.UNSUPPORTED}
    for info, key in candidates:
        try:
            return carriable(open_enveloped_data(view, info, key.key), limits), NotOpened.BROKEN
        except UnsupportedCms:
            continue
        except (DecryptionFailed, MimeError):
            reasons.add(NotOpened.BROKEN)
        except _NotMime:
            reasons.add(NotOpened.NOT_MIME)
    farthest = (NotOpened.NOT_MIME, NotOpened.BROKEN, NotOpened.UNSUPPORTED)
    return None, next(reason for reason in farthest if reason in reasons)


def carriable(octets: bytes, limits: Limits) -> bytes:
    """Return decrypted octets as a MIME entity that can travel. Raise :class:`~gateway.errors.MimeError`."""
    try:
        content = to_crlf(octets)
    except WireError:
        content = octets
    header = parse_header(content, limits=limits)
    if not _is_entity(content, header):
        if _is_text(octets):
            raise _NotMime
        raise MimeError("no MIME entity")
    split_content_fields(content, limits)  # what can be read in two ways does not become the head of a message
    return content if find_flaw(content, max_line=None) is None else _armour(content, header, limits)


def _is_entity(content: bytes, header: HeaderSection) -> bool:
    """Whether there is a regular header section, or none at all before a text (RFC 2045 5.2)."""
    if not header.fields:
        return content.startswith(b"\r\n") and _is_text(content)
    if not all(field.name for field in header.fields):
        return False
    has_end = content[header.end - 4 : header.end] == b"\r\n\r\n"
    return has_end or header.first("content-type") is not None


def _is_text(octets: bytes) -> bool:
    if not octets or octets.translate(None, _CONTROLS) != octets:
        return False
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


_CONTROLS: Final = bytes(octet for octet in (*range(32), 127) if octet not in b"\t\n\r\f")


def _armour(content: bytes, header: HeaderSection, limits: Limits) -> bytes:
    """Give a binary entity a transfer encoding that travels; the octets it encodes stay the same."""
    content_type = header.first("content-type")
    if content_type is not None and parse_content_type(content_type.value).essence in _CMS_TYPES:
        fields = header.without(["content-transfer-encoding"])
        body = encode_base64_lines(content[header.end :])
        return b"".join([fields, b"Content-Transfer-Encoding: base64\r\n\r\n", body])
    return canonical_entity(content, limits=limits)


_CMS_TYPES: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})


def _describe(info: RecipientInfo) -> dict[str, str]:
    described = {"kind": info.kind.value, "algorithm": info.transport_label}
    if info.ski is not None:
        described["subject_key_identifier"] = info.ski.hex().upper()
    if info.serial is not None:
        described["serial"] = serial_text(info.serial)
    return described
