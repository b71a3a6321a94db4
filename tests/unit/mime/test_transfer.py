"""Transfer encodings, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MimeError
from gateway.mime import encode_base64_lines, is_safe_for_signing
from gateway.mime.transfer import (
    decode_base64,
    decode_quoted_printable,
    encode_quoted_printable,
)
from tests.unit.mime.octets import text_lines

_TEXT = [b"a", b"=", b"\r\n", b" ", b"\t", b"\0", b"From ", b"\xe4", b".", b"x" * 70]
text = st.one_of(text_lines, st.lists(st.sampled_from(_TEXT), max_size=16).map(b"".join))


@given(st.binary(max_size=400))
def test_base64_comes_back(octets: bytes) -> None:
    """Lines of 76 characters, each ended by CRLF, that no relay has a reason to touch."""
    encoded = encode_base64_lines(octets)
    assert decode_base64(encoded) == octets
    assert is_safe_for_signing(encoded)
    lines = encoded.split(b"\r\n")
    assert lines[-1] == b""
    assert all(len(line) == 76 for line in lines[:-2])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"QUI=", b"AB", id="no line end"),
        pytest.param(b" Q U\tI\r\n=\r\n", b"AB", id="white space anywhere"),
    ],
)
def test_base64_takes_white_space(body: bytes, expected: bytes) -> None:
    """Line lengths are nobody's business."""
    assert decode_base64(body) == expected


@pytest.mark.parametrize(
    "body", [b"QUI", b"Q", b"QQ=", b"QQ==QQ==", b"QU-_", b"QUJD!", b"QUJD\xff", b"QUJD\0", b"=", b"(x) QUJD"]
)
def test_base64_takes_nothing_else(body: bytes) -> None:
    """Readers that skip what is not in the alphabet would see another content."""
    with pytest.raises(MimeError):
        decode_base64(body)


@given(st.binary(max_size=40))
def test_base64_gives_octets_or_our_exception(body: bytes) -> None:
    """Nothing else is raised."""
    try:
        decode_base64(body)
    except MimeError:
        return


@given(text)
def test_quoted_printable_comes_back(content: bytes) -> None:
    """The same octets, in lines of at most 76 characters that no relay has a reason to touch."""
    encoded = encode_quoted_printable(content)
    assert decode_quoted_printable(encoded) == content
    assert is_safe_for_signing(encoded)
    assert all(len(line) <= 76 for line in encoded.split(b"\r\n"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"From x", b"=46rom=\r\n x", id="From at the start"),
        pytest.param(b"a\r\nFrom x", b"a\r\n=46rom=\r\n x", id="From at a line start"),
        pytest.param(b"From ", b"From=20", id="From and nothing"),
        pytest.param(b"a \r\nb\t", b"a=20\r\nb=09", id="trailing blanks"),
        pytest.param(b"x" * 75 + b" ", b"x" * 75 + b"=\r\n=20", id="trailing blank in a full line"),
        pytest.param(b"x" * 77, b"x" * 75 + b"=\r\nxx", id="long line, no line end in the text"),
    ],
)
def test_quoted_printable_of_what_does_not_survive(content: bytes, expected: bytes) -> None:
    """Each in the form that the encoder's own rules do not give."""
    assert encode_quoted_printable(content) == expected


@pytest.mark.parametrize("content", [b"a\nb", b"a\rb", b"\r", b"a\r\r\n"])
def test_quoted_printable_refuses_stray_line_ends(content: bytes) -> None:
    """They belong in base64."""
    with pytest.raises(ValueError, match="stray"):
        encode_quoted_printable(content)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"a=\r\nb", b"ab", id="soft line end"),
        pytest.param(b"a= \t\r\nb", b"ab", id="soft line end with blanks"),
        pytest.param(b"a \r\nb ", b"a\r\nb", id="blanks added on the way"),
        pytest.param(b"a=20 \r\n", b"a \r\n", id="encoded blank"),
        pytest.param(b"=c3=A4", b"\xc3\xa4", id="both cases"),
        pytest.param(b"a=", b"a", id="soft line end at the end"),
        pytest.param(b"a=ZZ=4", b"a=ZZ=4", id="equals sign that encodes nothing"),
        pytest.param(b"==41", b"=A", id="two equals signs"),
        pytest.param(b"\xe4", b"\xe4", id="raw octet"),
        pytest.param(b"=0Aa=0D", b"\na\r", id="encoded line ends"),
    ],
)
def test_quoted_printable_is_read_leniently(body: bytes, expected: bytes) -> None:
    """As RFC 2045 6.7 advises."""
    assert decode_quoted_printable(body) == expected


@given(st.binary(max_size=60))
def test_quoted_printable_of_any_octets_gives_a_value(body: bytes) -> None:
    """Nothing is raised."""
    decode_quoted_printable(body)
