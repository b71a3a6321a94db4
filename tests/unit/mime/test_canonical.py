"""The form to be signed: nothing that a relay would change, and the same content to the octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MimeError
from gateway.mime import Entity, canonical_entity, decode_body, is_safe_for_signing, parse_entity, walk
from gateway.mime.canonical import Danger, judge
from tests.unit.mime.octets import contents, leaf, mail_octets, multipart, text_lines

HEAD = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
GERMAN = "Grüße aus Köln, und zwar viele, von allen, die hier sind.\r\n".encode()


@pytest.mark.parametrize(
    ("content", "danger"),
    [
        pytest.param(b"", Danger.NONE, id="empty"),
        pytest.param(b"a\r\n.\r\n\r\nb", Danger.NONE, id="text"),
        pytest.param(b"x" * 998 + b"\r\n", Danger.NONE, id="998 octets"),
        pytest.param(b"a From b\r\nFromage\r\n>From c\r\n", Danger.NONE, id="From elsewhere"),
        pytest.param(b"a \r\n", Danger.TOUCHED, id="trailing blank"),
        pytest.param(b"a\t\r\nb", Danger.TOUCHED, id="trailing tab"),
        pytest.param(b"a\r\n \r\n", Danger.TOUCHED, id="line of a blank"),
        pytest.param(b"a ", Danger.TOUCHED, id="trailing blank at the end"),
        pytest.param(b"From a\r\n", Danger.TOUCHED, id="From at the start"),
        pytest.param(b"a\r\nFrom b", Danger.TOUCHED, id="From at a line start"),
        pytest.param(b"\xc3\xa4", Danger.BROKEN, id="8 bits"),
        pytest.param(b"a\0", Danger.BROKEN, id="NUL"),
        pytest.param(b"a\rb", Danger.BROKEN, id="bare CR"),
        pytest.param(b"a\nb", Danger.BROKEN, id="bare LF"),
        pytest.param(b"a\r\n" + b"x" * 999, Danger.BROKEN, id="999 octets"),
        pytest.param(b"a \r\n" + b"x" * 999, Danger.BROKEN, id="both"),
    ],
)
def test_judges_octets(content: bytes, danger: Danger) -> None:
    """What may happen on the way decides whether there is a choice."""
    assert judge(content) is danger
    assert is_safe_for_signing(content) == (danger is Danger.NONE)


@given(st.one_of(mail_octets, text_lines))
def test_safe_means_safe_line_by_line(content: bytes) -> None:
    """The search of the whole buffer agrees with a look at each line."""
    lines = content.split(b"\r\n")
    in_order = all(len(line) <= 998 and max(line, default=0) < 128 and not set(line) & {0, 10, 13} for line in lines)
    untouched = not any(line.endswith((b" ", b"\t")) or line.startswith(b"From ") for line in lines)
    assert is_safe_for_signing(content) == (in_order and untouched)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(leaf(b"text/plain", b"hello\r\n"), id="label 8bit, content 7bit"),
        pytest.param(multipart(leaf(b"text/plain", b"a"), leaf(b"image/png", b"QUI=", b"base64")), id="multipart"),
        pytest.param(b"Content-Type: text/plain; \r\n charset=x\r\n\r\nhello", id="trailing blank in a header"),
        pytest.param(b"\r\nno header", id="no header"),
        pytest.param(b"", id="nothing"),
        pytest.param(
            multipart(leaf(b"text/plain", b"a \r\nFrom b", b"7bit"), b"\r\nx", subtype=b"signed"),
            id="touchable, signed",
        ),
        pytest.param(leaf(b"application/pkcs7-mime", b"QUI= \r\n", b"base64"), id="touchable, PKCS #7"),
        pytest.param(leaf(b"text/plain", b"a ", b"x-other"), id="touchable, unknown encoding"),
        pytest.param(leaf(b"text/plain", b"a! ", b"base64"), id="touchable, malformed base64"),
        pytest.param(leaf(b"message/partial", b"a ", b"7bit"), id="touchable, message/partial"),
        pytest.param(leaf(b"multipart/mixed", b"a "), id="touchable, two readings"),
        pytest.param(multipart(b"\r\nx").replace(b"--b\r\n", b"--b \r\n") + b"--b \r\n", id="padding, two readings"),
    ],
)
def test_leaves_what_may_stay(content: bytes) -> None:
    """The same object: nothing was copied, nothing can have changed."""
    assert canonical_entity(content) is content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            leaf(b"text/plain; charset=utf-8", b"gr\xc3\xbc\xc3\x9fe\r\n"),
            leaf(b"text/plain; charset=utf-8", b"gr=C3=BC=C3=9Fe\r\n", b"quoted-printable"),
            id="8bit text",
        ),
        pytest.param(
            b"Content-Type: text/plain\r\n\r\na \r\nFrom b\r\n",
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=20\r\n=46rom=\r\n b\r\n",
            id="field added",
        ),
        pytest.param(
            b"\r\na ", b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=20", id="field added to an empty header"
        ),
        pytest.param(
            b"content-transfer-encoding: BINARY\r\nContent-Type: image/png\r\n\r\n\0\r\xff",
            b"content-transfer-encoding: base64\r\nContent-Type: image/png\r\n\r\nAA3/\r\n",
            id="binary, field in its place",
        ),
        pytest.param(
            leaf(b"text/plain", b"a\nb\xc3\xa4"),
            leaf(b"text/plain", b"YQpiw6Q=\r\n", b"base64"),
            id="text with a bare LF",
        ),
        pytest.param(
            leaf(b"text/plain", b"a=20\r\nb  \r\n", b"quoted-printable"),
            leaf(b"text/plain", b"a=20\r\nb\r\n", b"quoted-printable"),
            id="quoted-printable with blanks from the way",
        ),
        pytest.param(
            leaf(b"image/png", b"a=0A ", b"quoted-printable"),
            leaf(b"image/png", b"YQo=\r\n", b"base64"),
            id="image, LF in hex",
        ),
        pytest.param(
            leaf(b"image/png", b"a=41 ", b"quoted-printable"),
            leaf(b"image/png", b"aA", b"quoted-printable"),
            id="image in quoted-printable",
        ),
        pytest.param(
            leaf(b"message/delivery-status", b"Action: failed \r\n", b"7bit"),
            leaf(b"message/delivery-status", b"Action: failed=20\r\n", b"quoted-printable"),
            id="delivery status",
        ),
        pytest.param(
            multipart(
                leaf(b"text/plain", b"\xc3\xa4"),
                leaf(b"text/plain", b"a"),
                fields=b"Content-Transfer-Encoding: 8bit\r\n",
            ),
            multipart(
                leaf(b"text/plain", b"=C3=A4", b"quoted-printable"),
                leaf(b"text/plain", b"a"),
                fields=b"Content-Transfer-Encoding: 7bit\r\n",
            ),
            id="one part of a multipart, and its label",
        ),
        pytest.param(
            multipart(
                leaf(b"text/plain", b"\xc3\xa4"),
                multipart(leaf(b"text/plain", b"a"), boundary=b"c", fields=b"Content-Transfer-Encoding: 8bit\r\n"),
            ),
            multipart(
                leaf(b"text/plain", b"=C3=A4", b"quoted-printable"),
                multipart(leaf(b"text/plain", b"a"), boundary=b"c", fields=b"Content-Transfer-Encoding: 8bit\r\n"),
            ),
            id="not the label of another multipart",
        ),
        pytest.param(
            leaf(b"message/rfc822", b"Subject: x\r\n" + leaf(b"text/plain", b"\xc3\xa4")),
            leaf(b"message/rfc822", b"Subject: x\r\n" + leaf(b"text/plain", b"=C3=A4", b"quoted-printable"), b"7bit"),
            id="enclosed message, and its label",
        ),
        pytest.param(
            HEAD + b"read this \r\n--b \r\n\r\nx\r\n--b \r\n\r\ny\r\n--b-- \r\nend\t",
            HEAD + b"read this\r\n--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\nend",
            id="blanks around the parts",
        ),
        pytest.param(
            HEAD + b"l\xe4s \r\n--b\r\n\r\nx\r\n--b--\r\nFrom x",
            HEAD + b"--b\r\n\r\nx\r\n--b--\r\n",
            id="preamble and epilogue that do not survive",
        ),
        pytest.param(
            HEAD + b"--b\r\n\r\n--b--\r\n\xe4",
            HEAD + b"--b\r\n\r\n--b--\r\n",
            id="epilogue behind an empty part",
        ),
    ],
)
def test_changes_what_must_change_and_no_more(content: bytes, expected: bytes) -> None:
    """The octets around a changed part are the same."""
    canonical = canonical_entity(content)
    assert canonical == expected
    assert contents(parse_entity(canonical)) == [(essence, body) for essence, body in contents(parse_entity(content))]
    assert canonical_entity(canonical) is canonical


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        pytest.param(leaf(b"text/plain", GERMAN * 100), "quoted-printable", id="longer text, mostly ASCII"),
        pytest.param(leaf(b"text/plain", "日本語\r\n".encode() * 200), "base64", id="longer text, mostly beyond ASCII"),
        pytest.param(leaf(b"text/plain", "日本語\r\n".encode()), "quoted-printable", id="short text"),
        pytest.param(leaf(b"text/plain", b"QUJD" * 300, b"base64"), "base64", id="base64 in one line"),
        pytest.param(leaf(b"text/plain", b"x" * 2000 + b"\r\n"), "quoted-printable", id="long line of text"),
        pytest.param(leaf(b"application/pdf", b"x" * 2000 + b"\r\n"), "base64", id="long line of another type"),
    ],
)
def test_chooses_a_transfer_encoding(content: bytes, encoding: str) -> None:
    """Text stays readable where that does not make it much longer (RFC 8551 3.1.2)."""
    entity = parse_entity(canonical_entity(content))
    assert entity.transfer_encoding == encoding
    assert is_safe_for_signing(entity.octets)
    assert decode_body(entity) == decode_body(parse_entity(content))


def test_text_that_would_end_its_part_goes_to_base64() -> None:
    """Soft line ends and undone hex can put a boundary at the start of a line."""
    long_line = b"x" * 75 + b"--b--\r\n" + b"\xc3\xa4" + b"y" * 1000
    for body, encoding in ((long_line, b"8bit"), (b"=2D-b--\r\n=C3=A4 ", b"quoted-printable")):
        content = multipart(leaf(b"text/plain", body, encoding))
        canonical = canonical_entity(content)
        (part,) = parse_entity(canonical).children
        assert part.transfer_encoding == "base64"
        assert decode_body(part) == decode_body(parse_entity(content).children[0])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(multipart(leaf(b"text/plain", b"\xc3\xa4"), b"\r\nx", subtype=b"signed"), id="signed part"),
        pytest.param(
            multipart(multipart(leaf(b"text/plain", b"\xc3\xa4"), boundary=b"c"), b"\r\nx", subtype=b"signed"),
            id="part of a signed part",
        ),
        pytest.param(multipart(b"\r\nx", subtype=b"signed") + b"\xe4", id="epilogue of a multipart/signed"),
        pytest.param(leaf(b"application/pkcs7-mime", b"\x30\x80", b"binary"), id="PKCS #7"),
        pytest.param(leaf(b"application/x-pkcs7-signature", b"\x30\x80", b"binary"), id="PKCS #7 signature"),
        pytest.param(leaf(b"text/plain", b"\xc3\xa4", b"7-bit"), id="unknown encoding"),
        pytest.param(leaf(b"text/plain", b"\xc3\xa4", b"x-other"), id="private encoding"),
        pytest.param(leaf(b"text/plain", b"\xc3\xa4QQ==", b"base64"), id="malformed base64"),
        pytest.param(leaf(b"multipart/mixed", b"\xc3\xa4"), id="no boundary"),
        pytest.param(multipart(leaf(b"text/plain", b"\xc3\xa4"))[:-7], id="no last delimiter"),
        pytest.param(leaf(b"message/external-body; access-type=x", b"\xc3\xa4"), id="message/external-body"),
        pytest.param(b"Content-Type: text/plain; name=\xe4\r\n\r\nx", id="field beyond ASCII"),
        pytest.param(
            leaf(b"message/rfc822", b"Subject: \xe4\r\n\r\nx"), id="field of an enclosed message beyond ASCII"
        ),
        pytest.param(b"X: " + b"y" * 999 + b"\r\n\r\nx", id="long line in a header"),
        pytest.param(b"X: a\nb\r\n\r\nx", id="bare LF in a header"),
        pytest.param(b"X: a\0\r\n\r\nx", id="NUL in a header"),
        pytest.param(
            b"Content-Type: text/plain\r\nContent-Type: image/png\r\n\r\n\xc3\xa4",
            id="two types, and a choice to be made",
        ),
    ],
)
def test_refuses_to_change_what_may_not_change(content: bytes) -> None:
    """Protected, unclear or not to be carried: the caller decides what becomes of the message."""
    with pytest.raises(MimeError):
        canonical_entity(content)


bodies = st.one_of(text_lines, st.binary(max_size=80))
leaves = st.builds(
    leaf,
    st.sampled_from([b"text/plain", b"text/html; charset=utf-8", b"image/png", b"application/octet-stream"]),
    bodies.filter(lambda body: b"--" not in body),
    st.sampled_from([b"7bit", b"8bit", b"binary", b"quoted-printable"]),
)
entities = st.one_of(
    leaves,
    st.lists(leaves, min_size=1, max_size=3).map(lambda parts: multipart(*parts)),
    st.lists(leaves, min_size=1, max_size=2).map(
        lambda parts: multipart(multipart(*parts, boundary=b"c"), leaf(b"message/rfc822", parts[0]), fields=b"X: y\r\n")
    ),
)


@given(entities)
def test_well_formed_entities_become_safe_and_hold_the_same(content: bytes) -> None:
    """Every octet that a leaf holds is there again, every type too, and nothing is left for a relay to change."""
    canonical = canonical_entity(content)
    assert is_safe_for_signing(canonical)
    assert contents(parse_entity(canonical)) == contents(parse_entity(content))
    assert canonical_entity(canonical) is canonical


def _readable(entity: Entity) -> list[tuple[str, bytes]]:
    leaves: list[tuple[str, bytes]] = []
    for each in walk(entity):
        if not each.children:
            try:
                leaves.append((each.content_type.essence, decode_body(each)))
            except MimeError:
                leaves.append((each.content_type.essence, each.body))
    return leaves


@given(mail_octets)
def test_any_octets_hold_the_same_or_are_refused(content: bytes) -> None:
    """Nothing but our exception is raised; what comes back can travel by 7 bits and is not changed again."""
    try:
        canonical = canonical_entity(content)
    except MimeError:
        return
    assert judge(canonical) is not Danger.BROKEN
    assert _readable(parse_entity(canonical)) == _readable(parse_entity(content))
    assert canonical_entity(canonical) is canonical
