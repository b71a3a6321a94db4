"""The mail data reader and writer: only CRLF.CRLF ends, chunks do not matter, flaws are named."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mime import Flaw
from gateway.smtp.data import FINAL_DOT, DataReader, MailData, stuff_dots


def read(octets: bytes, *, size: int = 0, limit: int = 10_000) -> tuple[MailData | None, bytes]:
    """Feed ``octets`` in chunks of ``size`` (0: all at once); return the data and what came behind them."""
    reader = DataReader(limit, lambda _: True)
    step = size or max(1, len(octets))
    for start in range(0, len(octets), step):
        if (data := reader.receive(octets[start : start + step])) is not None:
            return data, reader.take_rest() + octets[start + step :]
    return None, b""


CASES = {
    "one line": (b"Hello\r\n.\r\n", b"Hello\r\n"),
    "empty": (b".\r\n", b""),
    "empty line": (b"\r\n.\r\n", b"\r\n"),
    "stuffed dot": (b"..a\r\n...\r\n.\r\n", b".a\r\n..\r\n"),
    "single dot before text goes (RFC 5321 4.5.2)": (b".a\r\n.\r\n", b"a\r\n"),
    "dot inside a line stays": (b"a.b.\r\n.\r\n", b"a.b.\r\n"),
}


@pytest.mark.parametrize(("wire", "content"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_content_is_what_the_client_meant(wire: bytes, content: bytes, size: int) -> None:
    data, rest = read(wire + b"QUIT\r\n", size=size)
    assert data == MailData(content)
    assert rest == b"QUIT\r\n"


NOT_THE_END = [
    b"a\n.\n",
    b"a\n.\r\n",
    b"a\r\n.\n",
    b"a\r.\r",
    b"a\r\n.\r",
    b"a\r\r\n.\r\r\n",
    b"a\r\n\0.\r\n",
    b"a\r\n.\0\r\n",
    b"a\r\n. \r\n",
    b"a\r\n.\x85\n",
    b"a\n\n.\n\n",
]


@pytest.mark.parametrize("wire", NOT_THE_END)
@pytest.mark.parametrize("size", [0, 1])
def test_nothing_else_ends_the_data(wire: bytes, size: int) -> None:
    """Each of these has ended the data of some mail server (SMTP smuggling); here they are content, and refused."""
    assert read(wire + b"MAIL FROM:<forged@acme.example>\r\n", size=size) == (None, b"")


FLAWS = {
    "bare LF": (b"a\nb\r\n", Flaw.BARE_LF),
    "bare CR": (b"a\rb\r\n", Flaw.BARE_CR),
    "NUL": (b"a\0b\r\n", Flaw.NUL),
    "LF.LF": (b"a\n.\nMAIL FROM:<x@y>\r\n", Flaw.BARE_LF),
    "CR CRLF": (b"a\r\r\n", Flaw.BARE_CR),
}


@pytest.mark.parametrize(("content", "flaw"), FLAWS.values(), ids=FLAWS)
def test_flaws_are_named_after_the_true_end(content: bytes, flaw: Flaw) -> None:
    data, rest = read(content + b".\r\nNOOP\r\n", size=1)
    assert data is not None
    assert data.flaw is flaw
    assert rest == b"NOOP\r\n"


@pytest.mark.parametrize("size", [0, 1, 7, 100])
def test_too_large_is_read_to_its_end_and_not_kept(size: int) -> None:
    data, rest = read(b"x" * 200 + b"\r\n.\r\nNOOP\r\n", size=size, limit=100)
    assert data == MailData(b"", too_large=True)
    assert rest == b"NOOP\r\n"


def test_the_limit_itself_is_allowed() -> None:
    data, _ = read(b"x" * 98 + b"\r\n.\r\n", limit=100)
    assert data == MailData(b"x" * 98 + b"\r\n")


@pytest.mark.parametrize("size", [0, 1, 9])
def test_over_budget_is_read_to_its_end(size: int) -> None:
    granted: list[int] = []

    def reserve(octets: int) -> bool:
        if sum(granted) + octets > 50:
            return False
        granted.append(octets)
        return True

    reader = DataReader(10_000, reserve)
    wire = b"x" * 200 + b"\r\n.\r\n"
    step = size or len(wire)
    results = [reader.receive(wire[start : start + step]) for start in range(0, len(wire), step)]
    assert results[-1] == MailData(b"", over_budget=True)
    assert sum(granted) <= 50


lines = st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\r", b".").replace(b"\n", b".")), max_size=20)


@given(lines, st.integers(1, 40))
def test_writer_and_reader_are_inverse(lines: list[bytes], size: int) -> None:
    """What the writer stuffs, the reader gives back, however it is cut."""
    content = b"".join(line + b"\r\n" for line in lines)
    data, rest = read(b"".join(stuff_dots([content])) + FINAL_DOT, size=size)
    assert data is not None
    assert data.content == content
    assert rest == b""


@given(lines, st.lists(st.integers(0, 400), max_size=6))
def test_stuffing_does_not_depend_on_where_buffers_begin(lines: list[bytes], cuts: list[int]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    borders = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    buffers = [content[start:end] for start, end in pairwise(borders)]
    assert b"".join(stuff_dots(buffers)) == b"".join(stuff_dots([content]))


def test_stuffing_at_every_border() -> None:
    """A dot that opens a line may stand in another buffer than the line end before it, or between its two octets."""
    content = b".a\r\n.b\r\n..\r\n.\r\nc.\r\n"
    stuffed = b"..a\r\n..b\r\n...\r\n..\r\nc.\r\n"
    size = len(content) + 1
    for first in range(size):
        for second in range(first, size):
            buffers = [content[:first], content[first:second], content[second:]]
            assert b"".join(stuff_dots(buffers)) == stuffed


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_octets_end_or_wait(octets: bytes, size: int) -> None:
    """No octets raise, and the way in which they are cut changes nothing."""
    assert read(octets, size=size) == read(octets)
