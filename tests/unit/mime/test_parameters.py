"""Content-Type and Content-Disposition: what they say, and whether they say it to everyone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mime import parse_content_type, parse_disposition
from tests.unit.mime.octets import mail_octets


@pytest.mark.parametrize(
    ("value", "essence", "parameters"),
    [
        pytest.param("text/plain", "text/plain", {}, id="type only"),
        pytest.param(" TEXT/Html ;\r\n Charset=UTF-8\r\n", "text/html", {"charset": "UTF-8"}, id="folded, any case"),
        pytest.param(
            'text/plain; charset="utf-8"; format=flowed;',
            "text/plain",
            {"charset": "utf-8", "format": "flowed"},
            id="quoted, last semicolon",
        ),
        pytest.param(
            "text/plain;;; charset = utf-8 ", "text/plain", {"charset": "utf-8"}, id="blanks around the equals sign"
        ),
        pytest.param('a/b; name="x\\"y\\\\z"', "a/b", {"name": 'x"y\\z'}, id="escapes"),
        pytest.param("a/b; name=my file.pdf; x=y", "a/b", {"name": "my file.pdf", "x": "y"}, id="unquoted blank"),
        pytest.param("a/b; x=y (z (z))", "a/b", {"x": "y"}, id="comment in a comment"),
        pytest.param("a/b; x=y) (z)", "a/b", {"x": "y)"}, id="parenthesis without its partner"),
        pytest.param("a/b; flag; x=y", "a/b", {"x": "y"}, id="parameter without value"),
        pytest.param("a/b; x=", "a/b", {"x": ""}, id="empty value"),
        pytest.param('a/b; x=""', "a/b", {"x": ""}, id="empty quoted value"),
        pytest.param(
            "text/plain; charset=us-ascii (plain text)", "text/plain", {"charset": "us-ascii"}, id="comment behind"
        ),
        pytest.param('a/b; name="a (b); c=d"', "a/b", {"name": "a (b); c=d"}, id="specials in quotes"),
        pytest.param("a/b; name*=utf-8'de'gr%C3%BC%C3%9Fe", "a/b", {"name": "grüße"}, id="RFC 2231 charset"),
        pytest.param("a/b; name*1=c; name*0=b", "a/b", {"name": "bc"}, id="RFC 2231 continuation"),
        pytest.param("a/b; name*0*=iso-8859-1''%E4; name*1=%E4", "a/b", {"name": "ä%E4"}, id="RFC 2231 both"),
        pytest.param("a/b; name=fallback; name*=utf-8''%C3%A4", "a/b", {"name": "ä"}, id="RFC 2231 form wins"),
        pytest.param("a/b; name*=x-none''%41", "a/b", {"name": "A"}, id="RFC 2231 unknown charset"),
        pytest.param("a/b; name*=plain", "a/b", {"name": "plain"}, id="RFC 2231 without charset"),
        pytest.param("a/b; name*1=c; name*2=d", "a/b", {}, id="RFC 2231 without beginning"),
        pytest.param("a/b; name*0=c; name*2=d", "a/b", {"name": "c"}, id="RFC 2231 with a gap"),
        pytest.param("a/b; name*01=c; *=d; x**=y", "a/b", {}, id="RFC 2231 malformed"),
        pytest.param(
            'multipart/mixed; boundary="simple boundary"',
            "multipart/mixed",
            {"boundary": "simple boundary"},
            id="blank in a boundary",
        ),
        pytest.param(
            "multipart/mixed; boundary=----=_Part_1:2/3?",
            "multipart/mixed",
            {"boundary": "----=_Part_1:2/3?"},
            id="unquoted specials in a boundary",
        ),
        pytest.param(
            'multipart/signed; micalg=sha-256; protocol="application/pkcs7-signature"; boundary=b',
            "multipart/signed",
            {"micalg": "sha-256", "protocol": "application/pkcs7-signature", "boundary": "b"},
            id="multipart/signed",
        ),
        pytest.param(
            "application/pkcs7-mime; smime-type=signed-data; name=smime p7m",
            "application/pkcs7-mime",
            {"smime-type": "signed-data", "name": "smime p7m"},
            id="pkcs7-mime",
        ),
    ],
)
def test_reads_content_types(value: str, essence: str, parameters: dict[str, str]) -> None:
    """Forms that every reader takes alike, or that decide nothing, from text and from octets."""
    for form in (value, value.encode()):
        content_type = parse_content_type(form)
        assert content_type.essence == essence
        assert dict(content_type.parameters) == parameters
        assert not content_type.ambiguous


@pytest.mark.parametrize(
    ("value", "essence"),
    [
        pytest.param("", "text/plain", id="empty"),
        pytest.param("text", "text/plain", id="no subtype"),
        pytest.param("; charset=x", "text/plain", id="no type"),
        pytest.param("=?utf-8?q?text?=/plain", "text/plain", id="encoded word"),
        pytest.param("text /html", "text/html", id="blank in the type"),
        pytest.param("text/html charset=x", "text/html", id="no semicolon"),
        pytest.param("text/html, text/plain", "text/html", id="two types"),
        pytest.param("text/pla\u00efn", "text/pla", id="beyond ASCII"),
        pytest.param("text/html\0; a=b", "text/html", id="NUL"),
        pytest.param("text/html; a=b\x01", "text/html", id="control character"),
        pytest.param("text/html; a=b\nc", "text/html", id="bare LF"),
        pytest.param("(x) text/html", "text/html", id="comment before the type"),
        pytest.param("text/html (multipart/mixed); a=b", "text/html", id="comment behind the type"),
        pytest.param("text/html; a=b (; boundary=c)", "text/html", id="comment with specials"),
        pytest.param("text/html; a=b (c", "text/html", id="unclosed comment"),
        pytest.param("text/html; a=b; a=b", "text/html", id="given twice"),
        pytest.param("text/html; a*=b; a*=b", "text/html", id="given twice in RFC 2231 form"),
        pytest.param('text/html; a="b', "text/html", id="unclosed quote"),
        pytest.param('text/html; a="b"c; d=e', "text/html", id="text behind quotes"),
        pytest.param('text/html; a=b"; boundary="c', "text/html", id="quote within a value"),
        pytest.param("multipart/mixed", "multipart/mixed", id="no boundary"),
        pytest.param('multipart/mixed; boundary=""', "multipart/mixed", id="empty boundary"),
        pytest.param("multipart/mixed; boundary=" + "b" * 71, "multipart/mixed", id="71 octets"),
        pytest.param('multipart/mixed; boundary="b "', "multipart/mixed", id="blank at the end"),
        pytest.param('multipart/mixed; boundary=" b"', "multipart/mixed", id="blank at the start"),
        pytest.param('multipart/mixed; boundary="b\r\n c"', "multipart/mixed", id="folded within the boundary"),
        pytest.param("multipart/mixed; boundary=b c", "multipart/mixed", id="unquoted blank in a boundary"),
        pytest.param("multipart/mixed; boundary=b,c", "multipart/mixed", id="unquoted comma"),
        pytest.param('multipart/mixed; boundary="b\\c"', "multipart/mixed", id="escape in a boundary"),
        pytest.param("multipart/mixed; boundary=\u00e4", "multipart/mixed", id="boundary beyond ASCII"),
        pytest.param("multipart/mixed; boundary==?utf-8?q?b?=", "multipart/mixed", id="encoded word as boundary"),
        pytest.param("multipart/mixed; boundary = b", "multipart/mixed", id="blanks around the equals sign"),
        pytest.param("multipart/mixed; boundary=\r\n b", "multipart/mixed", id="folded behind the equals sign"),
        pytest.param("multipart/mixed; boundary=b; boundary=c", "multipart/mixed", id="two boundaries"),
        pytest.param("multipart/mixed; boundary=b; BOUNDARY=c", "multipart/mixed", id="two boundaries in two cases"),
        pytest.param("multipart/mixed; boundary=b; boundary*=c", "multipart/mixed", id="two boundaries in two forms"),
        pytest.param("multipart/mixed; boundary*0=b; boundary*1=c", "multipart/mixed", id="continued boundary"),
        pytest.param("multipart/mixed; boundary=b (c)", "multipart/mixed", id="comment in a multipart"),
        pytest.param("multipart/mixed; x; boundary=b", "multipart/mixed", id="malformed parameter in a multipart"),
        pytest.param("application/pkcs7-mime; smime-type = signed-data", "application/pkcs7-mime", id="smime-type"),
        pytest.param("application/x-pkcs7-mime; name=a (b)", "application/x-pkcs7-mime", id="comment in PKCS #7"),
    ],
)
def test_marks_what_has_two_readings(value: str, essence: str) -> None:
    """Another reader may find another type, boundary or parameter; the cause names no foreign text."""
    content_type = parse_content_type(value.encode())
    assert content_type.ambiguous
    assert content_type.essence == essence
    assert content_type.ambiguity.isascii()


def test_first_of_two_wins_and_plain_wins_over_rfc2231_where_structure_hangs_on_it() -> None:
    """The reading is fixed, whatever a caller makes of the mark."""
    assert parse_content_type("multipart/mixed; boundary=b; boundary=c").boundary == b"b"
    assert parse_content_type("multipart/mixed; boundary*=c; boundary=b").boundary == b"b"
    assert parse_content_type("multipart/mixed; boundary*0=b; boundary*1=c").boundary == b"bc"


def test_boundary_in_octets() -> None:
    """A boundary that is not UTF-8 is still found as it was written."""
    assert parse_content_type(b'multipart/mixed; boundary="\xe4"').boundary == b"\xe4"
    assert parse_content_type("text/plain").boundary == b""


def test_values_are_not_for_change_and_not_in_texts() -> None:
    """Types are shared, and a file name is content."""
    content_type = parse_content_type("a/b; name=secret")
    with pytest.raises(TypeError):
        content_type.parameters["name"] = "x"  # type: ignore[index]
    assert "secret" not in repr(content_type)
    assert {content_type, parse_content_type("a/b; name=secret")} == {content_type}


@pytest.mark.parametrize(
    ("value", "kind", "parameters", "is_ambiguous"),
    [
        pytest.param("attachment; filename=a.txt", "attachment", {"filename": "a.txt"}, False, id="plain"),
        pytest.param("INLINE", "inline", {}, False, id="kind only"),
        pytest.param("attachment; filename*=utf-8''%C3%A4", "attachment", {"filename": "ä"}, False, id="RFC 2231"),
        pytest.param("attachment; filename=a; filename=b", "attachment", {"filename": "a"}, True, id="given twice"),
        pytest.param("", "", {}, True, id="empty"),
        pytest.param("; filename=a", "", {}, True, id="no kind"),
    ],
)
def test_reads_dispositions(value: str, kind: str, parameters: dict[str, str], is_ambiguous: bool) -> None:
    """The same grammar behind one token (RFC 2183 2)."""
    disposition = parse_disposition(value)
    assert (disposition.kind, dict(disposition.parameters)) == (kind, parameters)
    assert disposition.ambiguous == is_ambiguous


_PIECES = [
    b"text/plain",
    b"multipart/mixed",
    b";",
    b"=",
    b'"',
    b"(",
    b")",
    b"\\",
    b" ",
    b"*",
    b"*0",
    b"'",
    b"boundary",
    b"a",
    b"%41",
    b",",
]


@given(st.one_of(mail_octets, st.lists(st.sampled_from(_PIECES), max_size=25).map(b"".join)))
def test_any_octets_give_a_value(value: bytes) -> None:
    """Nothing is raised, and the result is lower case where it is compared."""
    content_type = parse_content_type(value)
    assert content_type.essence == content_type.essence.lower()
    assert all(name == name.lower() for name in content_type.parameters)
    parse_disposition(value)
    parse_content_type(value.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "tail",
    [";", " ;a", ' ;a"', "(", "(a)", ';a="\\a', ";a*0=b", "; ", 'a="', ";a*", "\\"],
)
def test_work_is_bounded(tail: str) -> None:
    """Repetition of any special character ends in a value, in time that grows no faster than the field."""
    parse_content_type("x/y" + tail * 50_000)
    parse_content_type("x/y;" + tail * 50_000 + '"')
    parse_content_type("multipart/mixed; x=" + " " * 100_000 + tail * 10)
