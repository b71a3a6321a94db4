"""The line discipline of mail data: only CRLF ends a line.

What it does: finds the first octet of a message that breaks the discipline of RFC 5321 2.3.8 and RFC 5322 2.3 (bare
CR, bare LF, NUL, over-long line), and gives a file that was stored with LF line ends its CRLF back. What it refuses: to
repair anything else; a file that mixes line ends has two readings, and which is meant is not ours to say.
Known gap: none.

A buffer in order is told by counting (:func:`has_whole_lines`); only where something is wrong, compiled expressions say
what and where.
"""

from __future__ import annotations

import re
from enum import StrEnum

from gateway.errors import WireError
from gateway.mime.search import count

MAX_LINE = 998
"""Octets in a line without its CRLF (RFC 5322 2.1.1)."""

BARE_CR = re.compile(rb"\r(?!\n)")
"""A CR that is not half of a CRLF."""
BARE_LF = re.compile(rb"\n(?<!\r\n)")
"""An LF that is not half of a CRLF."""


class Flaw(StrEnum):
    """What can break the line discipline. The value is the text for logs."""

    BARE_CR = "bare CR"
    BARE_LF = "bare LF"
    NUL = "NUL octet"
    LONG_LINE = "line longer than 998 octets"


def find_flaw(content: bytes, *, max_line: int | None = MAX_LINE) -> tuple[Flaw, int] | None:
    """Return the first flaw of ``content`` and its offset, or ``None`` where every line is in order.

    ``max_line`` is the longest line allowed, in octets without CRLF; ``None`` allows any. The offset of an over-long
    line is that of its first octet; a line that only the end of ``content`` ends is measured too.
    """
    if has_whole_lines(content) and (max_line is None or find_long_line(content, max_line) < 0):
        return None
    found: list[tuple[int, Flaw]] = []
    if match := BARE_CR.search(content):
        found.append((match.start(), Flaw.BARE_CR))
    if match := BARE_LF.search(content):
        found.append((match.start(), Flaw.BARE_LF))
    if (offset := content.find(b"\0")) >= 0:
        found.append((offset, Flaw.NUL))
    if max_line is not None and (offset := find_long_line(content, max_line)) >= 0:
        found.append((offset, Flaw.LONG_LINE))
    if not found:
        return None
    offset, flaw = min(found)
    return flaw, offset


def has_whole_lines(content: bytes) -> bool:
    """Whether each CR and each LF is half of a CRLF and no octet is NUL: nearly all mail, and told by counting."""
    line_ends = count(content, b"\r\n")
    return b"\0" not in content and line_ends == count(content, b"\n") and line_ends == count(content, b"\r")


def find_long_line(content: bytes, max_line: int = MAX_LINE) -> int:
    """Return the offset of the first line longer than ``max_line`` octets, or -1.

    From one line end it looks back for another from the farthest place where the next may stand, so it takes about one
    step for each ``max_line`` octets and not one for each line.
    """
    position, last = 0, len(content) - max_line
    while position < last:
        line_end = content.rfind(b"\n", position, position + max_line + 2)
        if line_end < 0:
            return position
        position = line_end + 1
    return -1


def to_crlf(content: bytes) -> bytes:
    """Give a stored file the line ends it has on the wire.

    A file whose lines all end in LF gets CRLF; one whose lines all end in CRLF, or that has one line only, is returned
    as it is (the same object). Raises :class:`~gateway.errors.WireError` for a bare CR or a mixture; a NUL or a long
    line is not looked at.
    """
    bare_cr = BARE_CR.search(content)
    if bare_cr is not None:
        raise WireError(Flaw.BARE_CR, bare_cr.start())
    if b"\r" not in content:
        return content.replace(b"\n", b"\r\n") if b"\n" in content else content
    bare_lf = BARE_LF.search(content)
    if bare_lf is not None:
        raise WireError(Flaw.BARE_LF, bare_lf.start())
    return content
