"""Mail data on the wire: a reader and a writer for the DATA command, side by side.

Standards: RFC 5321 4.1.1.4, 4.5.2 (transparency), 2.3.8 (lines end in CRLF and in nothing else).

Only CRLF ends a line and only CRLF.CRLF the data; the flaws that smuggle a second message past one of two hops (bare
CR, bare LF, NUL) are found by the reader and named, after reading on to the true end, so that the dialogue stays in
step. The reader works on whole chunks as they come from the socket, never line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gateway.mime import Flaw, find, find_flaw

_END = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class MailData:
    """What came between 354 and the final dot."""

    content: bytes
    """The message, transparency dots removed, every line ended by CRLF; empty when it was not kept."""
    flaw: Flaw | None = None
    """The first breach of the line discipline."""
    too_large: bool = False
    """Longer than the limit: read to its end, not kept."""
    over_budget: bool = False
    """The memory budget was spent while it came in: read to its end, not kept."""


class DataReader:
    """Octets in, one :class:`MailData` out (sans-IO).

    ``limit`` is in octets. ``reserve(n)`` asks for ``n`` octets of the memory budget and answers whether they are
    granted; giving back is the caller's.
    """

    def __init__(self, limit: int, reserve: Callable[[int], bool]) -> None:
        self._limit = limit
        self._reserve = reserve
        # The CRLF that ended the DATA command line begins the data too: CRLF.CRLF right after it is an empty message.
        self._buffer = bytearray(b"\r\n")
        self._too_large = False
        self._over_budget = False
        self._rest = b""

    def receive(self, octets: bytes) -> MailData | None:
        """Take octets; return the data when their end has come, else ``None``."""
        start = max(0, len(self._buffer) - len(_END) + 1)
        self._buffer += octets
        end = find(self._buffer, _END, start)
        if end < 0:
            self._keep_or_drop(len(octets))
            return None
        self._rest = bytes(self._buffer[end + len(_END) :])
        del self._buffer[end + 2 :]
        self._keep_or_drop(max(0, len(octets) - len(self._rest)))
        return self._finish()

    def take_rest(self) -> bytes:
        """Return the octets that came behind the final dot: the client's next commands."""
        return self._rest

    def _keep_or_drop(self, grown: int) -> None:
        if len(self._buffer) - 2 > self._limit:
            self._too_large = True
        elif not self._dropping and not self._reserve(grown):
            self._over_budget = True
        if self._dropping:
            del self._buffer[: -len(_END) + 1]

    @property
    def _dropping(self) -> bool:
        return self._too_large or self._over_budget

    def _finish(self) -> MailData:
        if self._dropping:
            return MailData(b"", too_large=self._too_large, over_budget=self._over_budget)
        stuffed = bytes(self._buffer)
        self._buffer.clear()
        # Every dot that opens a line goes (RFC 5321 4.5.2); the leading CRLF is the command's own.
        has_dots = find(stuffed, b"\r\n.") >= 0
        content = stuffed.replace(b"\r\n.", b"\r\n")[2:] if has_dots else stuffed[2:]
        found = find_flaw(content, max_line=None)
        return MailData(content, flaw=found[0] if found else None)


def stuff_dots(buffers: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the buffers with a dot before each dot that opens a line, also where a line begins at a border."""
    tail = b"\r\n"
    for buffer in buffers:
        if not buffer:
            continue
        if tail == b"\r\n" and buffer.startswith(b"."):
            yield b"."
        elif tail.endswith(b"\r") and buffer.startswith(b"\n."):
            yield b"\n."
            buffer = buffer[1:]
        yield buffer.replace(b"\r\n.", b"\r\n..") if find(buffer, b"\r\n.") >= 0 else buffer
        tail = (tail + buffer[-2:])[-2:]


FINAL_DOT = b".\r\n"
"""Ends the data; what goes before it must end in CRLF."""
