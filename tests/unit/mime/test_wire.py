"""Line discipline: which octet breaks it first, and the way from a stored file to the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import WireError
from gateway.mime import Flaw, find_flaw, to_crlf
from gateway.mime.wire import find_long_line
from tests.unit.mime.octets import mail_octets


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(b"a\r\nb\r\n", None, id="in order"),
        pytest.param(b"a\r\nb", None, id="last line without end"),
        pytest.param(b"a\rb", (Flaw.BARE_CR, 1), id="bare CR"),
        pytest.param(b"a\r", (Flaw.BARE_CR, 1), id="bare CR at the end"),
        pytest.param(b"a\r\r\n", (Flaw.BARE_CR, 1), id="CR CR LF"),
        pytest.param(b"\n", (Flaw.BARE_LF, 0), id="bare LF at the start"),
        pytest.param(b"a\r\n\n", (Flaw.BARE_LF, 3), id="LF after CRLF"),
        pytest.param(b"a\0", (Flaw.NUL, 1), id="NUL"),
        pytest.param(b"a\nb\rc\0", (Flaw.BARE_LF, 1), id="the first of several"),
        pytest.param(b"x" * 998 + b"\r\n", None, id="998 octets"),
        pytest.param(b"x" * 998, None, id="998 octets without end"),
        pytest.param(b"ab\r\n" + b"x" * 999 + b"\r\n", (Flaw.LONG_LINE, 4), id="999 octets"),
        pytest.param(b"ab\r\n" + b"x" * 999, (Flaw.LONG_LINE, 4), id="999 octets without end"),
        pytest.param(b"y" * 998 + b"\r\n" + b"x" * 2000, (Flaw.LONG_LINE, 1000), id="long after a full line"),
        pytest.param(b"x" * 999 + b"\0", (Flaw.LONG_LINE, 0), id="a line starts before the NUL in it"),
    ],
)
def test_finds_the_first_flaw(content: bytes, expected: tuple[Flaw, int] | None) -> None:
    """The earliest offset wins, whatever the flaw."""
    assert find_flaw(content) == expected


def test_lines_of_any_length_where_asked() -> None:
    """``max_line=None`` looks at line ends and NUL only."""
    assert find_flaw(b"x" * 5000, max_line=None) is None
    assert find_flaw(b"x" * 5000 + b"\0", max_line=None) == (Flaw.NUL, 5000)
    assert find_flaw(b"x" * 12, max_line=11) == (Flaw.LONG_LINE, 0)


@given(mail_octets)
def test_no_flaw_means_lines_in_order(content: bytes) -> None:
    """A content passes exactly where it is made of lines of at most 998 octets without CR, LF and NUL."""
    lines = content.split(b"\r\n")
    in_order = all(len(line) <= 998 and not set(line) & {0, 10, 13} for line in lines)
    assert (find_flaw(content) is None) == in_order


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 12))
def test_long_lines_are_found_by_jumping(lengths: list[int], max_line: int) -> None:
    """Looking back from the farthest line end finds the same line as measuring each."""
    lines = [b"x" * length + b"\r\n" for length in lengths]
    offset = -1
    for number, length in enumerate(lengths):
        if length > max_line:
            offset = sum(map(len, lines[:number]))
            break
    assert find_long_line(b"".join(lines), max_line) == offset


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"a\nb\n", b"a\r\nb\r\n", id="LF"),
        pytest.param(b"a\n\nb", b"a\r\n\r\nb", id="LF, last line without end"),
        pytest.param(b"a\0\n", b"a\0\r\n", id="NUL is not looked at"),
    ],
)
def test_stored_lines_get_their_crlf(content: bytes, expected: bytes) -> None:
    """A file with LF line ends only becomes one with CRLF only."""
    assert to_crlf(content) == expected


@pytest.mark.parametrize("content", [b"", b"a", b"a\r\nb\r\n", b"a\r\n\r\nb"])
def test_wire_form_stays(content: bytes) -> None:
    """What has no LF of its own is returned as it is, not copied."""
    assert to_crlf(content) is content


@pytest.mark.parametrize(
    ("content", "flaw", "offset"),
    [
        pytest.param(b"a\r\nb\n", Flaw.BARE_LF, 4, id="CRLF and LF"),
        pytest.param(b"a\nb\r\n", Flaw.BARE_LF, 1, id="LF and CRLF"),
        pytest.param(b"a\rb\r", Flaw.BARE_CR, 1, id="CR"),
        pytest.param(b"a\nb\r", Flaw.BARE_CR, 3, id="LF and CR"),
        pytest.param(b"a\r\r\n", Flaw.BARE_CR, 1, id="CR CR LF"),
    ],
)
def test_mixed_line_ends_are_refused(content: bytes, flaw: Flaw, offset: int) -> None:
    """A mixture has two readings; the exception names what and where, never the content."""
    with pytest.raises(WireError) as caught:
        to_crlf(content)
    assert (caught.value.flaw, caught.value.offset) == (flaw, offset)


@given(mail_octets)
def test_wire_form_is_reached_or_refused(content: bytes) -> None:
    """Whatever comes back has no stray CR or LF, and reading it again changes nothing."""
    try:
        wire = to_crlf(content)
    except WireError:
        return
    assert set(wire.replace(b"\r\n", b"")).isdisjoint(b"\r\n")
    assert to_crlf(wire) is wire
    assert wire.replace(b"\r\n", b"\n") == content.replace(b"\r\n", b"\n")
