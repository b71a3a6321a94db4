r"""Raw SMTP conversations: what is sent is sent to the octet, what comes back is read strictly.

In Python::

    with Dialog("127.0.0.1", port) as talk:
        talk.expect("220")
        talk.command("EHLO client.test", "250")
        talk.send(b"MAIL FROM:<a@b>\n")              no CRLF of its own
        talk.expect("5..")

As a file (``*.smtp``), for :func:`run_dialog`::

    # a comment
    #: listener border                               a directive: a word and its arguments, for who runs the file
    < 220                                            a reply whose code matches 220
    > EHLO client.test                               a line, CRLF is put behind it
    < 250 (?m)^SIZE \d+$                             and whose text matches (lines without their codes)
    >> "MAIL FROM:<a@b>\n"                           octets: escapes as in Python, no CRLF is put behind
    >> "x" * 2000                                    so many times
    < 5..                                            the code is a regular expression too
    ! close                                          also: closed (the other side has), half-close, reset
    ! starttls                                       says STARTTLS and shakes hands; "handshake" only the latter

``${name}`` in a file is replaced by a value handed in. Each step has a time limit.
"""

from __future__ import annotations

import ast
import re
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as it came."""

    code: str
    lines: tuple[str, ...]
    """The text of each line, behind its code and the ``-`` or space."""
    octets: bytes

    @property
    def text(self) -> str:
        """The lines, joined by LF."""
        return "\n".join(self.lines)


class Dialog:
    """A client of a raw connection; a context manager that closes it."""

    def __init__(self, host: str, port: int, *, seconds: float = 5.0, split: int = 0) -> None:
        """Connect. ``seconds`` is the longest wait of any step; ``split``: send all in segments of so many octets."""
        self._split = split
        self._link = socket.create_connection((host, port), timeout=seconds)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.transcript: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ saying

    def send(self, octets: bytes, *, split: int = 0) -> None:
        """Send exactly these octets, in segments of ``split`` octets if that is not 0."""
        self.transcript.append(f"> {octets[:200]!r}{'...' if len(octets) > 200 else ''}")
        split = split or self._split
        for start in range(0, len(octets), split or max(len(octets), 1)):
            self._link.sendall(octets[start : start + (split or len(octets))])

    def line(self, text: str) -> None:
        """Send a line; CRLF is put behind it."""
        self.send(text.encode("utf-8", "surrogateescape") + b"\r\n")

    def command(self, text: str, code: str, pattern: str = "") -> Answer:
        """Send a line and expect a reply."""
        self.line(text)
        return self.expect(code, pattern)

    def message(self, content: bytes, code: str) -> Answer:
        """Send DATA, the message with its dots stuffed and the final dot, and expect this reply to it."""
        self.command("DATA", "354")
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        self.send((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
        return self.expect(code)

    # ------------------------------------------------------------ hearing

    def expect(self, code: str, pattern: str = "") -> Answer:
        """Read a reply; AssertionError unless its code and, if given, its text match these regular expressions."""
        answer = self.read_reply()
        matches = re.fullmatch(code, answer.code) is not None and re.search(pattern, answer.text) is not None
        assert matches, self._tell(f"expected {code} {pattern}, got {answer.octets!r}")
        return answer

    def read_reply(self) -> Answer:
        """Read a whole reply (RFC 5321 4.2): CRLF at each line, the same code in all of them."""
        lines: list[str] = []
        octets = b""
        code = ""
        while True:
            line = self._read_line()
            octets += line
            found = re.fullmatch(rb"([2-5]\d\d)([ -])([^\r\n]*)\r\n", line)
            assert found, self._tell(f"no reply line: {line!r}")
            assert not lines or found[1].decode() == code, self._tell(f"code changes within a reply: {line!r}")
            code = found[1].decode()
            lines.append(found[3].decode("utf-8", "surrogateescape"))
            if found[2] == b" ":
                return Answer(code, tuple(lines), octets)

    def receive(self) -> bytes:
        """Return the octets that come next, whatever they are; none at the end of the connection."""
        octets, self._buffer = self._buffer or self._link.recv(65536), b""
        self.transcript.append(f"< {octets!r}")
        return octets

    def expect_closed(self) -> None:
        """Expect that the other side ends the connection and has nothing more to say."""
        try:
            octets = self._buffer or self._link.recv(4096)
        except ConnectionError:
            octets = b""
        except TimeoutError:
            raise AssertionError(self._tell("the connection is still open")) from None
        assert not octets, self._tell(f"expected the end, got {octets!r}")
        self.transcript.append("! closed")

    def _read_line(self) -> bytes:
        while b"\n" not in self._buffer:
            try:
                octets = self._link.recv(65536)
            except (TimeoutError, ConnectionError) as error:
                raise AssertionError(self._tell(f"no reply: {error}")) from None
            assert octets, self._tell("the connection was closed in place of a reply")
            self._buffer += octets
        end = self._buffer.index(b"\n") + 1
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        self.transcript.append(f"< {line!r}")
        return line

    def _tell(self, what: str) -> str:
        return "\n".join([what, *self.transcript[-20:]])

    # ------------------------------------------------------------ the connection

    def start_tls(self, context: ssl.SSLContext, *, hostname: str | None = None) -> None:
        """Say STARTTLS and shake hands. Anything that came behind the 220 in clear is an error."""
        self.command("STARTTLS", "220")
        self.shake_hands(context, hostname=hostname)

    def shake_hands(self, context: ssl.SSLContext, *, hostname: str | None = None) -> None:
        """Turn to TLS. Anything that came behind the last reply in clear is an error."""
        assert not self._buffer, self._tell(f"clear text behind 220: {self._buffer!r}")
        self._link = context.wrap_socket(self._link, server_hostname=hostname)
        self.transcript.append("! handshake")

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on hearing."""
        self._link.shutdown(socket.SHUT_WR)
        self.transcript.append("! half-close")

    def reset(self) -> None:
        """Break the connection: RST."""
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._link.close()

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


def run_dialog(
    text: str,
    host: str,
    port: int,
    *,
    values: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    seconds: float = 5.0,
    split: int = 0,
) -> None:
    """Hold the conversation of a ``*.smtp`` file; AssertionError with line number and transcript where it differs."""
    with Dialog(host, port, seconds=seconds, split=split) as talk:
        filled = re.sub(r"\$\{(\w+)\}", lambda found: (values or {})[found[1]], text)
        for number, line in enumerate(filled.splitlines(), 1):
            try:
                _step(talk, line, tls)
            except (AssertionError, OSError) as error:
                raise AssertionError(f"line {number}, {line[:200]!r}: {error}") from error


def read_directives(text: str) -> dict[str, list[str]]:
    """Return the directives of a ``*.smtp`` file: each word and its arguments."""
    lines = (line.split() for line in text.splitlines() if line.startswith("#: "))
    return {words[1]: words[2:] for words in lines}


def _step(talk: Dialog, line: str, tls: ssl.SSLContext | None) -> None:
    mark, _, rest = line.partition(" ")
    if mark in ("", "#", "#:"):
        return
    if mark == ">":
        talk.line(rest)
    elif mark == ">>":
        talk.send(_octets(rest))
    elif mark == "<":
        code, _, pattern = rest.strip().partition(" ")
        talk.expect(code, pattern)
    elif mark == "!" and rest == "starttls" and tls is not None:
        talk.start_tls(tls)
    elif mark == "!" and rest == "handshake" and tls is not None:
        talk.shake_hands(tls)
    elif mark == "!" and rest in ("close", "closed", "half-close", "reset"):
        doing = {"close": talk.close, "closed": talk.expect_closed, "half-close": talk.half_close, "reset": talk.reset}
        doing[rest]()
    else:
        raise ValueError(f"not a step of a dialogue: {line!r}")


def _octets(text: str) -> bytes:
    """Read ``"text" * 3`` or ``"text"``; escapes as in a Python bytes literal."""
    found = re.fullmatch(r'("(?:[^"\\]|\\.)*")(?:\s*\*\s*(\d+))?\s*', text)
    if found is None:
        raise ValueError(f'expected "text" or "text" * number: {text!r}')
    octets = ast.literal_eval("b" + found[1])
    assert isinstance(octets, bytes)
    return octets * int(found[2] or 1)
