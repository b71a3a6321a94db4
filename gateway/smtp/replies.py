"""SMTP replies on the wire: the one function that prints them, and the reader for an upstream's.

Standards: RFC 5321 4.2 (syntax of replies), RFC 2034 (enhanced status in the text), RFC 3463 (their form).

Reading is strict, since what is not certainly an acceptance must never count as one: a line that is not
``3DIGIT ("-" / SP / CRLF)``, a bare LF, a code outside 200 to 599, or two codes in one reply is
:class:`~gateway.errors.UpstreamBroken`. Refused also: lines over 2,048 octets, replies over 512 lines.
"""

from __future__ import annotations

import re

from gateway.errors import UpstreamBroken
from gateway.outcome import Reply, Session

MAX_LINE = 2048
"""Octets in one reply line. RFC 5321 4.5.3.1.5 allows 512; servers in use exceed it with long texts."""
MAX_LINES = 512
"""Lines in one reply; EHLO replies in use have about 20."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?\Z", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z)")
_CONTROLS = dict.fromkeys((*range(32), 127, *range(128, 160), 8232, 8233), "?")


def format_reply(reply: Reply) -> bytes:
    """Return the octets of ``reply``: every line with its code and enhanced status, control characters replaced."""
    prefix = f"{reply.enhanced} " if reply.enhanced else ""
    last = len(reply.lines) - 1
    printed = (
        f"{reply.code}{'-' if number < last else ' '}{prefix}{line.translate(_CONTROLS)}\r\n"
        for number, line in enumerate(reply.lines)
    )
    return "".join(printed).encode("utf-8", "replace")


def greeting_text(hostname: str) -> str:
    """Return the text of our greeting: what a next hop that says the same gives away is that it is ourselves."""
    return f"{hostname} {Session.GREETING.value[2]}"


class ReplyReader:
    """Octets in, replies out (sans-IO). After an exception it is not to be fed again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._code = b""

    @property
    def is_partial(self) -> bool:
        """Whether a reply has begun and not ended."""
        return bool(self._buffer or self._lines)

    def receive(self, octets: bytes) -> list[Reply]:
        """Take octets; return the replies that are now complete.

        Raises :class:`~gateway.errors.UpstreamBroken` for anything that is not a reply.
        """
        self._buffer += octets
        replies = []
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            if (reply := self._take_line(line)) is not None:
                replies.append(reply)
        if len(self._buffer) > MAX_LINE:
            raise UpstreamBroken("reply line too long")
        return replies

    def _take_line(self, line: bytes) -> Reply | None:
        if not line.endswith(b"\r\n") or len(line) > MAX_LINE:
            raise UpstreamBroken("reply line without CRLF, or too long")
        match = _LINE.match(line[:-2])
        if match is None or (self._code and match[1] != self._code):
            raise UpstreamBroken("not an SMTP reply")
        self._code = match[1]
        self._lines.append(match[3] or b"")
        if match[2] == b"-":
            if len(self._lines) > MAX_LINES:
                raise UpstreamBroken("reply with too many lines")
            return None
        reply = _build(int(self._code), self._lines)
        self._lines, self._code = [], b""
        return reply


def _build(code: int, lines: list[bytes]) -> Reply:
    texts = [line.decode("utf-8", "replace").translate(_CONTROLS) for line in lines]
    enhanced = ""
    if code // 100 != 3 and (match := _ENHANCED.match(texts[0])) and match[1][0] == str(code)[0]:
        enhanced = match[1]
        texts = [text.removeprefix(enhanced).lstrip(" ") for text in texts]
    return Reply(code, enhanced, tuple(texts))
