"""Secured MIME: multipart/signed (RFC 1847 2.1), application/pkcs7-mime (RFC 8551 3.2), and a message around them.

What it does: writes and reads clear-signed entities (RFC 8551 3.5.3) without touching the signed part, writes
CMS-carrying entities, and splits a message into the header fields that stay outside and the MIME entity that is
protected. What it refuses, with :class:`~gateway.errors.MimeError`: a multipart/signed with anything but two parts,
with a delimiter missing, with a ``protocol`` that the signature part does not have, or that can be read in two ways;
and to split a message whose header can be read in two ways, since either half would speak for one reading only.
Known gap: none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.errors import MimeError
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime.entity import Entity, decode_body, read_structure
from gateway.mime.fields import Field, HeaderSection, join_fields, make_regular, parse_header
from gateway.mime.transfer import encode_base64_lines
from gateway.mime.wire import find_flaw

__all__ = [
    "SignedParts",
    "build_multipart_signed",
    "build_pkcs7_mime",
    "encode_base64_lines",
    "join_message",
    "split_content_fields",
    "split_multipart_signed",
]

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
_TOKEN = re.compile(r"[0-9A-Za-z._+-]+")
_MIME_VERSION = b"MIME-Version: 1.0\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedParts:
    """The two parts of a multipart/signed (RFC 1847 2.1)."""

    signed_part: bytes = field(repr=False)
    """The first part, header section and body: exactly the octets that the signature is over."""
    signature: bytes = field(repr=False)
    """Content of the second part, its transfer encoding undone; DER for S/MIME."""
    signature_type: str
    """The ``protocol``, lower case: ``application/pkcs7-signature``."""
    micalg: str
    """As declared, lower case; a hint for one-pass readers that decides nothing. Empty where there is none."""


def build_multipart_signed(
    signed_part: bytes, signature_der: bytes, *, micalg: str, boundary: str
) -> tuple[bytes, list[bytes]]:
    """Make a clear-signed entity of a signed part and the detached signature over it.

    Returns its Content-Type field, and the buffers of its body: the first buffers of them frame ``signed_part``, which
    is one of them as it is. Raises :class:`ValueError` for a ``micalg`` or ``boundary`` that does not fit the grammar,
    and for a boundary that occurs in the signed part.
    """
    if not _BOUNDARY.fullmatch(boundary) or not _TOKEN.fullmatch(micalg):
        raise ValueError("a boundary or micalg that RFC 2045 does not allow")
    delimiter = b"--" + boundary.encode("ascii")
    if delimiter in signed_part:
        raise ValueError("the boundary occurs in the signed part")
    content_type = (
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
        f' micalg={micalg}; boundary="{boundary}"\r\n'
    )
    signature_head = (
        b"\r\n" + delimiter + b"\r\n"
        b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n'
        b"Content-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="smime.p7s"\r\n'
        b"\r\n"
    )
    # The CRLF after the signed part belongs to the delimiter (RFC 1847 2.1); encoded lines bring their own.
    signature = encode_base64_lines(signature_der)
    return content_type.encode("ascii"), [
        delimiter + b"\r\n",
        signed_part,
        signature_head + signature + delimiter + b"--\r\n",
    ]


def split_multipart_signed(entity: Entity) -> SignedParts:
    """Take a multipart/signed apart; whether its signature is one that we know is not asked here.

    Raises :class:`~gateway.errors.MimeError` for all that RFC 1847 2.1 does not allow and for what can be read in two
    ways. An ambiguity *within* the signed part is not looked at (:func:`~gateway.mime.entity.find_ambiguity`).
    """
    if entity.content_type.essence != "multipart/signed":
        raise MimeError("not a multipart/signed")
    if entity.ambiguous:
        raise MimeError(f"a multipart/signed that can be read in two ways: {entity.ambiguity}")
    if len(entity.children) != 2:
        raise MimeError("a multipart/signed that has not two parts")
    signed_part, signature_part = entity.children
    if signature_part.ambiguous:
        raise MimeError(f"a signature part that can be read in two ways: {signature_part.ambiguity}")
    protocol = entity.content_type.parameters.get("protocol", "").lower()
    if _plain_type(signature_part.content_type.essence) != _plain_type(protocol):
        raise MimeError("a multipart/signed whose protocol its signature part does not have")
    return SignedParts(
        signed_part=signed_part.octets,
        signature=decode_body(signature_part),
        signature_type=protocol,
        micalg=entity.content_type.parameters.get("micalg", "").lower(),
    )


def _plain_type(essence: str) -> str:
    """The type without the ``x-`` of the time before its registration, which writers mix (RFC 8551 3.9 reads both)."""
    return essence.replace("/x-", "/", 1)


def build_pkcs7_mime(der: bytes, *, smime_type: str) -> tuple[bytes, bytes]:
    """Make an application/pkcs7-mime entity (RFC 8551 3.2) of a ContentInfo: its Content fields, and its body.

    ``smime_type`` is a value of RFC 8551 3.2.2 (:class:`ValueError` for what is no token).
    """
    if not _TOKEN.fullmatch(smime_type):
        raise ValueError("not an smime-type")
    extension = _EXTENSIONS.get(smime_type, "p7m")
    content_fields = (
        f'Content-Type: application/pkcs7-mime; smime-type={smime_type};\r\n name="smime.{extension}"\r\n'
        "Content-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="smime.{extension}"\r\n'
    )
    return content_fields.encode("ascii"), encode_base64_lines(der)


_EXTENSIONS = {"certs-only": "p7c", "compressed-data": "p7z"}
"""Where the file name is not ``smime.p7m`` (RFC 8551 3.2.1)."""


def split_content_fields(
    message: bytes, limits: Limits = DEFAULT_LIMITS, *, may_be_ambiguous: bool = False
) -> tuple[bytes, bytes]:
    """Split a message into the fields that stay outside and the MIME entity that is its content.

    The first value are all header fields but Content-* and MIME-Version, verbatim; the second the Content-* fields, an
    empty line and the body, verbatim. A message without Content-Type gets one that says what RFC 2045 5.2 makes of it:
    ``text/plain``, in US-ASCII unless it has octets beyond.

    Raises :class:`~gateway.errors.MimeError` for a header section that exceeds ``limits`` or, unless
    ``may_be_ambiguous``, can be read in two ways, a Content-Type or Content-Transfer-Encoding that is there twice among
    them. The fields outside are made regular then (:func:`~gateway.mime.fields.make_regular`): what is put under them
    must have one reading. A line that is no field goes where the field before it goes. A NUL or a stray CR or LF in the
    header section is always refused, since no reading without them could be written.
    """
    header = parse_header(message, 0, limits)
    *_, ambiguity = read_structure(header)
    if ambiguity and (not may_be_ambiguous or find_flaw(header.octets, max_line=None)):
        raise MimeError(f"a message that can be read in two ways: {ambiguity}")
    outer, content_fields = _sort_fields(header)
    pieces = [join_fields(content_fields), b"\r\n", message[header.end :]]
    if not any(each.key == "content-type" for each in content_fields):
        pieces.insert(0, _default_type(header, message))
    return (make_regular(outer) if header.ambiguous else join_fields(outer)), b"".join(pieces)


def _sort_fields(header: HeaderSection) -> tuple[list[Field], list[Field]]:
    """The fields that stay outside, and those that describe the content; MIME-Version is neither."""
    outer: list[Field] = []
    content_fields: list[Field] = []
    side = outer
    for each in header.fields:
        if each.name:
            is_content = each.key.startswith("content-")
            side = content_fields if is_content else [] if each.key == "mime-version" else outer
        side.append(each)
    return outer, content_fields


def _default_type(header: HeaderSection, message: bytes) -> bytes:
    """The field that a message without Content-Type is read as having; no charset is claimed that is not so."""
    is_ascii = message.isascii() or message[header.end :].isascii()
    return b"Content-Type: text/plain; charset=us-ascii\r\n" if is_ascii else b"Content-Type: text/plain\r\n"


def join_message(outer_fields: bytes, content_fields: bytes, body: Iterable[bytes]) -> bytes:
    """Make a message of outer fields, MIME-Version, Content fields and the buffers of a body.

    Raises :class:`ValueError` where a field section is not whole lines: the next field must not run into it, nor the
    body begin early.
    """
    for section in (outer_fields, content_fields):
        if section and (not section.endswith(b"\r\n") or section.startswith(b"\r\n") or b"\r\n\r\n" in section):
            raise ValueError("not a section of header fields")
    return b"".join([outer_fields, _MIME_VERSION, content_fields, b"\r\n", *body])
