"""PEM: finds the base64 blocks in a file and decodes them.

Standards: RFC 7468 2 and 3 (lax parsing: text around the blocks is explanatory and skipped, white space inside is
ignored). RFC 1421 4.6 header fields are kept, since encrypted private keys of older tools carry them. Refuses: a block
that does not end, or holds anything but base64. Known gap: labels are compared exactly as RFC 7468 writes them, so
``TRUSTED CERTIFICATE`` (a format of one tool, with data behind the certificate) is not a certificate here.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field

from gateway.errors import CertificateError

_BEGIN = re.compile(rb"^-----BEGIN ([A-Z0-9 #-]{1,64})-----[ \t]*\r?$", re.MULTILINE)
_BLANKS = re.compile(rb"[ \t\r\n\f\v]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PemBlock:
    """One encapsulated block."""

    label: str
    """``CERTIFICATE``, ``PRIVATE KEY``, ..."""
    octets: bytes = field(repr=False)
    """What the base64 stands for; empty where header fields precede it (such a block is used by its text)."""
    text: bytes = field(repr=False)
    """The whole block as it stands in the file."""


def is_pem(octets: bytes) -> bool:
    """Whether a file is PEM rather than DER: told by content, never by its name."""
    return octets[:1] != b"\x30" and b"-----BEGIN " in octets


def read_pem(octets: bytes) -> tuple[PemBlock, ...]:
    """Return the blocks in their order, none if there are none. Raise :class:`CertificateError` for a broken block."""
    blocks: list[PemBlock] = []
    position = 0
    while (begin := _BEGIN.search(octets, position)) is not None:
        end_line = b"-----END " + begin[1] + b"-----"
        end = octets.find(end_line, begin.end())
        if end < 0:
            raise CertificateError("a PEM block does not end")
        body = octets[begin.end() : end]
        position = end + len(end_line)
        text = octets[begin.start() : position] + b"\n"
        decoded = b"" if b":" in body else _decode(body)
        blocks.append(PemBlock(label=begin[1].decode("ascii"), octets=decoded, text=text))
    return tuple(blocks)


def write_pem(label: str, octets: bytes) -> bytes:
    """Return one block in the strict form of RFC 7468 3: lines of 64, LF."""
    base64 = binascii.b2a_base64(octets, newline=False)
    lines = [base64[start : start + 64] for start in range(0, len(base64), 64)]
    name = label.encode("ascii")
    return b"\n".join([b"-----BEGIN " + name + b"-----", *lines, b"-----END " + name + b"-----", b""])


def _decode(body: bytes) -> bytes:
    try:
        return binascii.a2b_base64(_BLANKS.sub(b"", body), strict_mode=True)
    except binascii.Error:
        raise CertificateError("a PEM block is not base64") from None
