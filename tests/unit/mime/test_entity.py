"""MIME entities: which octets are which part, and whether everyone finds the same ones."""

from __future__ import annotations

import pytest
from hypothesis import given

from gateway.errors import MimeError
from gateway.limits import Limits
from gateway.mime import Entity, decode_body, find_ambiguity, parse_entity, walk
from tests.unit.mime.octets import leaf, mail_octets, multipart

CTE = b"Content-Transfer-Encoding:"
HEAD = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'


def bodies(entity: Entity) -> list[bytes]:
    return [each.body for each in walk(entity) if not each.children]


def test_reads_a_plain_message() -> None:
    """Without MIME fields it is text/plain in 7bit (RFC 2045 5.2, 6.1)."""
    message = b"Subject: x\r\n\r\nbody\r\n"
    entity = parse_entity(message)
    assert (entity.content_type.essence, entity.transfer_encoding) == ("text/plain", "7bit")
    assert (entity.octets, entity.body) == (message, b"body\r\n")
    assert (entity.start, entity.body_start, entity.end) == (0, 14, len(message))
    assert entity.children == ()
    assert not entity.ambiguous


def test_reads_nested_parts_with_their_offsets() -> None:
    """Parts end before the CRLF of the delimiter (RFC 2046 5.1.1), and lie in the shared content."""
    inner = multipart(
        leaf(b"text/plain", b"one\r\n"), leaf(b"text/html", b"two"), boundary=b"c", subtype=b"alternative"
    )
    message = b"Subject: x\r\n" + multipart(inner, leaf(b"image/png", b"QUI=", b"base64"))
    entity = parse_entity(message)
    assert [each.content_type.essence for each in walk(entity)] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "image/png",
    ]
    assert bodies(entity) == [b"one\r\n", b"two", b"QUI="]
    assert entity.children[0].octets == inner
    assert all(each.content is message for each in walk(entity))
    assert decode_body(entity.children[1]) == b"AB"
    assert find_ambiguity(entity) == ""


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        pytest.param(b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"\r\none", b"\r\ntwo"], id="two"),
        pytest.param(b"preamble\r\n--b\r\n\r\none\r\n--b--\r\nepilogue\r\n", [b"\r\none"], id="preamble, epilogue"),
        pytest.param(b"--b\r\n\r\none\r\n\r\n--b--", [b"\r\none\r\n"], id="line end of its own"),
        pytest.param(b"--b \t\r\n\r\none\r\n--b-- \r\n", [b"\r\none"], id="padding"),
        pytest.param(b"--b\r\nX: y\r\n\r\n--b--\r\n", [b"X: y\r\n"], id="part without body"),
        pytest.param(b"--b\r\nX: y\r\n--b--\r\n", [b"X: y"], id="part cut in its header"),
        pytest.param(b"--b\r\n\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"", b"\r\ntwo"], id="empty part"),
        pytest.param(b"--b\r\n\r\nx --b\r\n>--b\r\n--b--\r\n", [b"\r\nx --b\r\n>--b"], id="boundary within lines"),
        pytest.param(b"--b\r\n\r\n--a\r\n--b--\r\n", [b"\r\n--a"], id="another boundary"),
    ],
)
def test_finds_the_parts(body: bytes, parts: list[bytes]) -> None:
    """A delimiter is a whole line; nothing else is one, and nobody doubts it."""
    entity = parse_entity(HEAD + body)
    assert [child.octets for child in entity.children] == parts
    assert not entity.ambiguous


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        pytest.param(b"--b\r\n\r\none\r\n", [b"\r\none\r\n"], id="no last delimiter"),
        pytest.param(b"--b", [b""], id="nothing but a delimiter"),
        pytest.param(b"--b\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"", b"\r\ntwo"], id="nothing between two"),
        pytest.param(b"--b\r\n--b--\r\n", [b""], id="nothing before the last"),
        pytest.param(b"one\r\n", [], id="no delimiter"),
        pytest.param(b"--b--\r\n", [], id="no part"),
        pytest.param(
            b"--b\r\n\r\none\r\n--bx\r\n\r\ntwo\r\n--b--\r\n", [b"\r\none\r\n--bx\r\n\r\ntwo"], id="longer line"
        ),
        pytest.param(b"--b\r\n\r\none\r\n--b--x\r\n--b--\r\n", [b"\r\none\r\n--b--x"], id="text behind the last"),
        pytest.param(
            b"--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"\r\none"], id="goes on behind the last"
        ),
        pytest.param(
            b"--b\r\n\r\none\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"\r\none\n--b\r\n\r\ntwo"], id="after a bare LF"
        ),
        pytest.param(
            b"--b\r\n\r\none\r--b\r\n\r\ntwo\r\n--b--\r\n", [b"\r\none\r--b\r\n\r\ntwo"], id="after a bare CR"
        ),
        pytest.param(
            b"--b\r\n\r\none\r\n--b\n\r\ntwo\r\n--b--\r\n", [b"\r\none\r\n--b\n\r\ntwo"], id="before a bare LF"
        ),
        pytest.param(
            b"--b\r\n\r\none\r\n --b\r\n\r\ntwo\r\n--b--\r\n", [b"\r\none\r\n --b\r\n\r\ntwo"], id="after a blank"
        ),
        pytest.param(b"\t--b\r\n\r\none\r\n--b\r\n\r\n2\r\n--b--\r\n", [b"\r\n2"], id="after a tab, first line"),
    ],
)
def test_marks_where_readers_find_other_parts(body: bytes, parts: list[bytes]) -> None:
    """One reading is taken, by whole lines, and the entity says that there are others."""
    entity = parse_entity(HEAD + body)
    assert [child.octets for child in entity.children] == parts
    assert entity.ambiguous
    assert find_ambiguity(entity) == entity.ambiguity


@pytest.mark.parametrize(
    ("header", "essence", "encoding"),
    [
        pytest.param(b"Content-Type: a/b\r\nContent-Type: c/d", "a/b", "7bit", id="two Content-Type"),
        pytest.param(b"Content-Type: a/b\r\ncontent-type: a/b", "a/b", "7bit", id="the same twice"),
        pytest.param(b"Content-Type : a/b", "a/b", "7bit", id="blank before the colon"),
        pytest.param(b"\0Content-Type: a/b", "text/plain", "7bit", id="NUL before the name"),
        pytest.param(b"X: y\r\n\r \r\nContent-Type: a/b", "a/b", "7bit", id="bare CR"),
        pytest.param(CTE + b" base64\r\n" + CTE + b" 7bit", "text/plain", "base64", id="two encodings"),
        pytest.param(CTE + b" base64 (x)", "text/plain", "base64", id="comment in an encoding"),
        pytest.param(CTE + b" base64;", "text/plain", "base64;", id="semicolon behind an encoding"),
        pytest.param(CTE + b' "base64"', "text/plain", '"base64"', id="quoted encoding"),
        pytest.param(CTE + b" =?utf-8?q?base64?=", "text/plain", "=?utf-8?q?base64?=", id="encoded word"),
        pytest.param(CTE + b" 7-bit", "text/plain", "7-bit", id="unknown encoding"),
        pytest.param(CTE + b" x-\xc3\xa4", "text/plain", "x-ä", id="private encoding beyond ASCII"),
        pytest.param(CTE, "text/plain", "", id="empty encoding"),
        pytest.param(
            b"Content-Type: multipart/mixed; boundary=b\r\n" + CTE + b" base64",
            "multipart/mixed",
            "base64",
            id="encoded multipart",
        ),
        pytest.param(
            b"Content-Type: message/rfc822\r\n" + CTE + b" base64", "message/rfc822", "base64", id="encoded message"
        ),
        pytest.param(b"Content-Type: multipart/mixed", "multipart/mixed", "7bit", id="no boundary"),
    ],
)
def test_marks_fields_with_two_readings(header: bytes, essence: str, encoding: str) -> None:
    """The first of two fields is read; what cannot be read has no children."""
    entity = parse_entity(header + b"\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n")
    assert (entity.content_type.essence, entity.transfer_encoding) == (essence, encoding)
    assert entity.children == ()
    assert entity.ambiguous


def test_reads_an_enclosed_message() -> None:
    """The child of a message/rfc822 is its body (RFC 2046 5.2.1)."""
    inner = b"Subject: inner\r\n" + multipart(leaf(b"text/plain", b"x"))
    entity = parse_entity(leaf(b"message/rfc822", inner))
    (child,) = entity.children
    assert child.octets == inner
    assert bodies(entity) == [b"x"]
    assert not find_ambiguity(entity)


def test_a_global_message_may_be_encoded() -> None:
    """RFC 6532 3.7 allows what RFC 2046 5.2.1 does not; it is a leaf then."""
    entity = parse_entity(leaf(b"message/global", b"QUI=", b"base64"))
    assert entity.children == ()
    assert not entity.ambiguous


def test_parts_of_a_digest_are_messages() -> None:
    """RFC 2046 5.1.5."""
    entity = parse_entity(multipart(b"\r\nSubject: x\r\n\r\nbody", leaf(b"text/plain", b"y"), subtype=b"digest"))
    assert [each.content_type.essence for each in walk(entity)] == [
        "multipart/digest",
        "message/rfc822",
        "text/plain",
        "text/plain",
    ]


def test_ambiguity_below_is_found() -> None:
    """An entity speaks for itself only; the search goes down."""
    entity = parse_entity(multipart(leaf(b"text/plain", b"x"), leaf(b"multipart/mixed", b"y")))
    assert not entity.ambiguous
    assert find_ambiguity(entity) == entity.children[1].ambiguity != ""


def test_reads_part_of_a_content() -> None:
    """Offsets are those of the whole content."""
    part = multipart(leaf(b"text/plain", b"x"))
    content = b"before\r\n" + part + b"--b\r\n\r\nbehind"
    entity = parse_entity(content, 8, 8 + len(part))
    assert entity.octets == part
    assert not entity.ambiguous


@pytest.mark.parametrize(
    ("encoding", "body", "expected"),
    [
        pytest.param(b"7bit", b"a=20", b"a=20", id="7bit"),
        pytest.param(b"8BIT", b"\xe4", b"\xe4", id="8bit"),
        pytest.param(b"Binary", b"\0", b"\0", id="binary"),
        pytest.param(b"BASE64", b"QUI=", b"AB", id="base64"),
        pytest.param(b"Quoted-Printable", b"a=20", b"a ", id="quoted-printable"),
    ],
)
def test_undoes_transfer_encodings(encoding: bytes, body: bytes, expected: bytes) -> None:
    """In any case of letters (RFC 2045 6.1)."""
    assert decode_body(parse_entity(leaf(b"text/plain", body, encoding))) == expected


@pytest.mark.parametrize(("encoding", "body"), [(b"base64", b"!"), (b"x-uuencode", b"x"), (b"", b"x")])
def test_refuses_transfer_encodings(encoding: bytes, body: bytes) -> None:
    """Malformed base64, and words that nobody defined."""
    entity = parse_entity(leaf(b"text/plain", body, encoding))
    with pytest.raises(MimeError):
        decode_body(entity)


def nested(depth: int) -> bytes:
    heads = (
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level) for level in range(depth)
    )
    return b"".join(heads) + b"\r\nx"


@pytest.mark.parametrize(
    ("content", "limits"),
    [
        pytest.param(nested(5), Limits(mime_depth=5), id="multiparts"),
        pytest.param(b"Content-Type: message/rfc822\r\n\r\n" * 5, Limits(mime_depth=5), id="messages"),
        pytest.param(multipart(*[b"\r\nx"] * 5), Limits(mime_parts=5), id="parts"),
        pytest.param(multipart(b"X: y\r\n" * 6 + b"\r\n"), Limits(header_fields=5), id="fields of a part"),
    ],
)
def test_limits_are_kept(content: bytes, limits: Limits) -> None:
    """One more than allowed is refused; what is allowed is read."""
    with pytest.raises(MimeError):
        parse_entity(content, limits=limits)
    one_more = Limits(
        mime_depth=limits.mime_depth + 1, mime_parts=limits.mime_parts + 1, header_fields=limits.header_fields + 1
    )
    assert parse_entity(content, limits=one_more).children


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(nested(1000), id="1,000 nested multiparts"),
        pytest.param(nested(59) + b"\r\n" * 2_000_000, id="nested multiparts around much"),
        pytest.param(b"Content-Type: message/rfc822\r\n\r\n" * 1000, id="1,000 nested messages"),
        pytest.param(HEAD + b"--b\r\n" * 100_000, id="100,000 delimiters"),
        pytest.param(HEAD + b"--b--\r\n" * 100_000, id="100,000 last delimiters"),
        pytest.param(HEAD + b"--bx\r\n" * 100_000, id="100,000 longer lines"),
        pytest.param(HEAD + b"x--b" * 100_000, id="100,000 boundaries in a line"),
        pytest.param(HEAD + (b" " * 500 + b"--b") * 20_000, id="20,000 boundaries behind blanks"),
        pytest.param(HEAD + b"\n--b" * 100_000, id="100,000 boundaries after bare LF"),
        pytest.param(b"X: y\r\n" * 100_000, id="100,000 fields"),
        pytest.param(b"X" * 1_000_000, id="a header without end"),
    ],
)
def test_work_is_bounded(content: bytes) -> None:
    """Each is refused before it costs more than a small multiple of its size."""
    with pytest.raises(MimeError):
        parse_entity(content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEAD + b"--b" + b" " * 1_000_000, id="padding"),
        pytest.param(HEAD + b"--b\r\n\r\n" + b"-" * 1_000_000 + b"\r\n--b--\r\n", id="hyphens"),
        pytest.param(HEAD + b"--b\r\n\r\n" + b"\r\n-" * 300_000 + b"\r\n--b--\r\n", id="almost delimiters"),
    ],
)
def test_much_of_one_thing_is_read(content: bytes) -> None:
    """What stays within the limits is read, in time that grows no faster than the content."""
    assert len(parse_entity(content).children) == 1


@given(mail_octets)
def test_any_octets_give_an_entity_within_its_bounds(content: bytes) -> None:
    """Nothing but limits raises; children lie in their parent, in order, and never overlap."""
    entity = parse_entity(content)
    assert entity.octets == content
    for each in walk(entity):
        assert each.start <= each.body_start <= each.end
        assert content[each.start : each.body_start] in (each.header.octets, each.header.octets + b"\r\n")
        position = each.body_start
        for child in each.children:
            assert position <= child.start <= child.end <= each.end
            position = child.end


@given(mail_octets)
def test_a_part_reads_alike_on_its_own(content: bytes) -> None:
    """What a part is does not hang on what lies around it, defaults of a digest apart."""
    for each in walk(parse_entity(content)):
        alone = parse_entity(each.octets)
        if each.header.first("content-type") is not None:
            assert alone.content_type == each.content_type
            assert [child.octets for child in alone.children] == [child.octets for child in each.children]


def test_texts_hold_no_content() -> None:
    """What ends up in a log does not show the message."""
    entity = parse_entity(b"Subject: secret\r\n" + multipart(leaf(b'text/plain; name="secret"', b"secret")))
    assert "secret" not in repr(list(walk(entity)))
    assert "secret" not in repr([field for each in walk(entity) for field in each.header.fields])
