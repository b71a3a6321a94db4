"""Header sections: read without losing an octet, written without a way to write two fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MimeError
from gateway.limits import Limits
from gateway.mime import find_flaw, fold_field, parse_header
from gateway.mime.fields import make_regular
from tests.unit.mime.octets import mail_octets

HEADER = (
    b"Received: from a\r\n\tby b;\r\n  Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"Subject:  Gr\xc3\xbc\xc3\x9fe \r\n"
    b"X-Empty:\r\n"
    b"received: second\r\n"
)


def test_reads_fields_with_folding() -> None:
    """Names, bodies and octets as they stand; the body begins after the empty line."""
    header = parse_header(HEADER + b"\r\nbody\r\n\r\n")
    assert [field.name for field in header.fields] == ["Received", "Subject", "X-Empty", "received"]
    assert header.octets == HEADER
    assert header.end == len(HEADER) + 2
    assert header.fields[0].body == b" from a\r\n\tby b;\r\n  Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    assert header.fields[0].value == "from a\tby b;  Mon, 1 Jan 2024 00:00:00 +0000"
    assert [field.value for field in header.fields[1:]] == ["Grüße", "", "second"]
    assert not header.ambiguous


def test_octets_that_are_not_utf8_survive_in_the_value() -> None:
    """Surrogate escapes give the octets back."""
    assert parse_header(b"X: \xe4\r\n").fields[0].value.encode("utf-8", "surrogateescape") == b"\xe4"


def test_selects_fields_verbatim() -> None:
    """Look-ups fold case; selections are copies of the octets in their order."""
    header = parse_header(HEADER)
    assert [field.value for field in header.all("RECEIVED")][1] == "second"
    first = header.first("subject")
    assert first is not None
    assert first.key == "subject"
    assert header.first("To") is None
    assert header.only({"Received", "X-empty"}) == HEADER.replace(b"Subject:  Gr\xc3\xbc\xc3\x9fe \r\n", b"")
    assert header.without(["received", "x-empty"]) == b"Subject:  Gr\xc3\xbc\xc3\x9fe \r\n"
    assert header.without([]) == HEADER
    assert header.only([]) == b""


@pytest.mark.parametrize(
    ("content", "octets", "end"),
    [
        pytest.param(b"", b"", 0, id="nothing"),
        pytest.param(b"\r\nbody", b"", 2, id="no fields"),
        pytest.param(b"A: b\r\n", b"A: b\r\n", 6, id="no body"),
        pytest.param(b"A: b", b"A: b", 4, id="cut short"),
        pytest.param(b"A: b\r\n\r\n", b"A: b\r\n", 8, id="empty body"),
        pytest.param(b"A: b\n\nc", b"A: b\n\nc", 7, id="LF ends nothing"),
    ],
)
def test_finds_the_end(content: bytes, octets: bytes, end: int) -> None:
    """The first empty line ends the section; without one all of it is header."""
    header = parse_header(content)
    assert (header.octets, header.end) == (octets, end)


def test_reads_a_section_within_a_message() -> None:
    """Offsets are those of the whole content, and nothing behind ``end`` is looked at."""
    header = parse_header(b"xx\r\nA: b\r\n\r\nC: d\r\n\r\n", 4, end=12)
    assert [field.name for field in header.fields] == ["A"]
    assert header.end == 12
    assert parse_header(b"xx\r\nA: b\r\n\r\nC", 4, end=10).octets == b"A: b\r\n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"A: b\r\nno field\r\nC: d\r\n\r\n", id="line without colon"),
        pytest.param(b"A: b\r\n: c\r\n\r\n", id="no name"),
        pytest.param(b"A: b\r\nX Y: c\r\n\r\n", id="blank in the name"),
        pytest.param(b"A: b\r\nX\0: c\r\n\r\n", id="NUL in the name"),
        pytest.param(b"A: b\r\nX\xc3\xa4: c\r\n\r\n", id="name beyond ASCII"),
        pytest.param(b"A: b\r\nContent-Type : text/plain\r\n\r\n", id="blank before the colon"),
        pytest.param(b" A: b\r\nC: d\r\n\r\n", id="begins with folding"),
        pytest.param(b"A: b\r\n \r\nC: d\r\n\r\n", id="line of blanks"),
        pytest.param(b"A: b\r\n\t", id="line of blanks at the end"),
        pytest.param(b"A: b\nC: d\r\n\r\n", id="bare LF"),
        pytest.param(b"A: b\rC: d\r\n\r\n", id="bare CR"),
        pytest.param(b"A: b\0\r\n\r\n", id="NUL"),
        pytest.param(b">From x\r\nA: b\r\n\r\n", id="escaped mbox line"),
        pytest.param(b"A: b\r\nFrom x\r\n\r\n", id="mbox line that is not the first"),
    ],
)
def test_marks_what_has_two_readings(content: bytes) -> None:
    """Wherever another reader may see other fields or another end, the section says so, and loses no octet."""
    header = parse_header(content)
    assert header.ambiguous
    assert b"".join(field.octets for field in header.fields) == header.octets


def test_tolerates_an_mbox_line() -> None:
    """It is kept as a nameless field, and nobody takes it for a From field."""
    line = b"From a@b Mon Jan  1 00:00:00 2024\r\n"
    header = parse_header(line + b"From: a@b\r\n\r\n")
    assert [field.name for field in header.fields] == ["", "From"]
    assert header.fields[0].octets == header.fields[0].body == line
    assert not header.ambiguous


def test_blank_before_the_colon_hides_no_field() -> None:
    """The lenient reading finds the field too: a second From cannot hide behind a blank."""
    header = parse_header(b"From: a@b\r\nFrom : c@d\r\n\r\n")
    assert len(header.all("from")) == 2


@pytest.mark.parametrize("name", [b"X" * 63, b"X" * 64, b"X" * 5000])
def test_long_names_are_read_alike(name: bytes) -> None:
    """Names too long to be remembered are read by the same rule."""
    assert parse_header(name + b": y\r\n").fields[0].name == name.decode()
    assert parse_header(name + b"\xff: y\r\n").fields[0].name == ""


@pytest.mark.parametrize(
    ("content", "limits"),
    [
        pytest.param(b"A: b\r\n" * 4 + b"\r\n", Limits(header_fields=3), id="fields"),
        pytest.param(b"A: b\r\n" * 4 + b"\r\n", Limits(header_octets=23), id="octets"),
        pytest.param(b"A: " + b"b" * 30, Limits(header_octets=32), id="octets without an end"),
    ],
)
def test_limits_are_kept(content: bytes, limits: Limits) -> None:
    """One more than allowed is refused; what is allowed is read."""
    with pytest.raises(MimeError):
        parse_header(content, 0, limits)
    relaxed = Limits(header_fields=limits.header_fields + 1, header_octets=limits.header_octets + 1)
    assert parse_header(content, 0, relaxed).fields


@given(mail_octets, st.integers(0, 5))
def test_any_octets_give_a_section_that_is_those_octets(content: bytes, start: int) -> None:
    """Nothing but limits raises; fields joined are the section, and section and body are the content."""
    header = parse_header(content, min(start, len(content)))
    assert b"".join(field.octets for field in header.fields) == header.octets
    skipped = content[min(start, len(content)) : header.end]
    assert skipped in (header.octets, header.octets + b"\r\n")
    for selected in (header.without(["subject"]), header.only(["subject"])):
        assert not selected or selected.endswith(b"\r\n")


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        pytest.param(b"A: b\r\n c\r\nD : e\r\n", b"A: b\r\n c\r\nD: e\r\n", id="blank before the colon"),
        pytest.param(b"A: b\r\nno field\r\nC: d\r\n", b"A: b\r\n no field\r\nC: d\r\n", id="no field"),
        pytest.param(b" folded\r\nA: b\r\n", b"A: b\r\n", id="folding before the first field"),
        pytest.param(b"From x\r\nA: b\r\n", b"A: b\r\n", id="mbox line"),
        pytest.param(b"A: b\r\n \r\n\t\r\n c\r\n", b"A: b\r\n c\r\n", id="lines of blanks"),
        pytest.param(b"A: b\r\n \r\n", b"A: b\r\n", id="line of blanks at the end"),
        pytest.param(b"A: b", b"A: b\r\n", id="cut short"),
        pytest.param(b"", b"", id="nothing"),
    ],
)
def test_makes_a_section_regular(octets: bytes, expected: bytes) -> None:
    """One reading, and regular fields as they were."""
    assert make_regular(parse_header(octets).fields) == expected
    assert not parse_header(expected).ambiguous


@given(mail_octets)
def test_a_regular_section_has_the_same_fields(content: bytes) -> None:
    """Whatever came in, stray octets apart, the result has one reading, and the same names in the same order."""
    header = parse_header(content)
    regular = parse_header(make_regular(header.fields))
    assert [field.key for field in regular.fields] == [field.key for field in header.fields if field.name]
    assert not regular.ambiguous or find_flaw(header.octets, max_line=None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("", b"X-Name:\r\n", id="empty"),
        pytest.param("  a ", b"X-Name: a\r\n", id="blanks at the ends"),
        pytest.param("ä", b"X-Name: \xc3\xa4\r\n", id="beyond ASCII"),
        pytest.param("\udce4", b"X-Name: \xe4\r\n", id="surrogate escape"),
        pytest.param("a " + "b" * 68, b"X-Name: a " + b"b" * 68 + b"\r\n", id="78 octets"),
        pytest.param("a " + "b" * 69, b"X-Name: a\r\n " + b"b" * 69 + b"\r\n", id="79 octets"),
        pytest.param("b" * 100 + "\t c", b"X-Name: " + b"b" * 100 + b"\r\n\t c\r\n", id="long word"),
    ],
)
def test_writes_a_field(value: str, expected: bytes) -> None:
    """Folding stands before white space, which is kept."""
    assert fold_field("X-Name", value) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("X", "a\r\nBcc: x@y", id="CRLF"),
        pytest.param("X", "a\nBcc: x@y", id="LF"),
        pytest.param("X", "a\rBcc: x@y", id="CR"),
        pytest.param("X", "a\r\n b", id="folded by the caller"),
        pytest.param("X", "a\r\n", id="line end at the end"),
        pytest.param("X", "a\0", id="NUL"),
        pytest.param("X", "a\vb", id="VT"),
        pytest.param("X", "a\x1cb", id="FS"),
        pytest.param("X", "a\x7f", id="DEL"),
        pytest.param("X", "a\x85b", id="NEL"),
        pytest.param("X", "a\u2028b", id="line separator"),
        pytest.param("X", "a\udcc2\udc85b", id="NEL in surrogate escapes"),
        pytest.param("X", "a\ud800", id="lone surrogate"),
        pytest.param("X", "a" * 999, id="no place to fold"),
        pytest.param("X", "a" + " " * 999 + "b", id="nothing but blanks"),
        pytest.param("", "a", id="no name"),
        pytest.param("X:", "a", id="colon in the name"),
        pytest.param("X Y", "a", id="blank in the name"),
        pytest.param("X\r\nY", "a", id="line end in the name"),
        pytest.param("Ä", "a", id="name beyond ASCII"),
    ],
)
def test_refuses_what_could_be_more_than_one_field(name: str, value: str) -> None:
    """Header injection is impossible, and so is a line that a relay would refuse."""
    with pytest.raises(ValueError):  # noqa: PT011 - which one is no matter
        fold_field(name, value)


@given(st.text(max_size=300))
def test_one_field_is_written_and_read_back(value: str) -> None:
    """Whatever is written is exactly one regular field with this value, in lines of at most 998 octets."""
    try:
        octets = fold_field("X-Name", value)
    except ValueError:
        return
    header = parse_header(octets + b"\r\nbody")
    assert [field.name for field in header.fields] == ["X-Name"]
    assert header.octets == octets
    assert header.fields[0].value == value.strip(" \t")
    assert not header.ambiguous
    lines = octets.decode().splitlines()
    assert len(lines) == octets.count(b"\r\n")
    assert all(line.strip() for line in lines[1:])


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=70), max_size=40))
def test_lines_stay_short_where_words_do(words: list[str]) -> None:
    """Words of up to 70 characters never make a line longer than 78, the first one apart."""
    lines = fold_field("X", " ".join(words)).split(b"\r\n")
    assert all(len(line) <= 78 for line in lines)
