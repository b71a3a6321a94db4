"""Content-Transfer-Encodings: base64 (RFC 2045 6.8) and quoted-printable (RFC 2045 6.7), both ways.

What it does: writes both so that a relay finds nothing to change (lines of 76 octets, no blank before a line end, no
line that begins with ``From ``), and reads them back. What it refuses, with :class:`~gateway.errors.MimeError`: base64
with anything but its alphabet and white space, or with wrong padding; skipping the rest, as RFC 2045 6.8 allows, gives
two readers two contents. Quoted-printable is read leniently, as RFC 2045 6.7 advises: an ``=`` that encodes nothing
stands for itself. Known gap: none.
"""

from __future__ import annotations

import binascii
import re

import pybase64

from gateway.errors import MimeError
from gateway.mime.wire import BARE_CR, BARE_LF

_LAST_BLANK = re.compile(rb"=(?:20|09)(?=\r\n|\Z)")
_MAX_ENCODED_LINE = 76
_STRAY_EQUALS = re.compile(rb"=(?![0-9A-Fa-f]{2})")


def encode_base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76 characters, each ended by CRLF (RFC 2045 6.8); nothing for nothing."""
    return pybase64.encodebytes(octets).replace(b"\n", b"\r\n")


def decode_base64(body: bytes) -> bytes:
    """Undo base64; white space is allowed anywhere, anything else raises :class:`~gateway.errors.MimeError`."""
    try:
        return pybase64.b64decode(body.translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError):
        raise MimeError("a body that is not base64 as its header says") from None


def encode_quoted_printable(text: bytes) -> bytes:
    """Quoted-printable, in which CRLF stays a line end and everything that a relay might change is written in hex.

    Raises :class:`ValueError` for a stray CR or LF: what has one is not text in the sense of RFC 2045 2.7 and 2.8, and
    belongs in base64.
    """
    if BARE_CR.search(text) or BARE_LF.search(text):
        raise ValueError("a stray CR or LF in text to be encoded")
    encoded = binascii.b2a_qp(text, istext=True)
    if b"\n" not in text:
        # The encoder copies the kind of line end from the text; without any it writes soft ones as LF.
        encoded = encoded.replace(b"\n", b"\r\n")
    # The encoder does not count that a last blank grows to three characters.
    encoded = _LAST_BLANK.sub(_break_before_blank, encoded)
    # The soft line end keeps the longer line within 76 characters.
    encoded = encoded.replace(b"\r\nFrom ", b"\r\n=46rom=\r\n ")
    return b"=46rom=\r\n " + encoded[5:] if encoded.startswith(b"From ") else encoded


def _break_before_blank(blank: re.Match[bytes]) -> bytes:
    """Put an encoded blank that does not fit its line on one of its own."""
    line_start = blank.string.rfind(b"\n", 0, blank.start()) + 1
    return blank[0] if blank.end() - line_start <= _MAX_ENCODED_LINE else b"=\r\n" + blank[0]


def decode_quoted_printable(body: bytes) -> bytes:
    """Undo quoted-printable; blanks at line ends were added on the way and go (RFC 2045 6.7 rule 3)."""
    if b" \r\n" in body or b"\t\r\n" in body or body.endswith((b" ", b"\t")):
        body = b"\r\n".join([line.rstrip(b" \t") for line in body.split(b"\r\n")])
    # A last soft line end has lost its CRLF to the delimiter of the multipart around it (RFC 2046 5.1.1).
    joined = body.replace(b"=\r\n", b"").removesuffix(b"=")
    return binascii.a2b_qp(_STRAY_EQUALS.sub(b"=3D", joined))
