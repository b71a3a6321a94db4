"""Secured entities and the message around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MimeError
from gateway.limits import Limits
from gateway.mime import (
    build_multipart_signed,
    build_pkcs7_mime,
    decode_body,
    is_safe_for_signing,
    join_message,
    parse_content_type,
    parse_entity,
    parse_header,
    split_content_fields,
    split_multipart_signed,
)
from tests.unit.mime.octets import leaf, mail_octets, multipart

PROTOCOL = b'; protocol="application/pkcs7-signature"'
SIGNATURE = leaf(b"application/pkcs7-signature", b"QUI=", b"base64")


def signed(*parts: bytes, parameters: bytes = PROTOCOL + b"; micalg=SHA-256") -> bytes:
    return multipart(*parts, subtype=b"signed" + parameters)


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=300))
def test_a_signed_part_comes_back_to_the_octet(signed_part: bytes, signature: bytes) -> None:
    """What was framed is what is split, and the frame itself is safe."""
    fields, body = build_multipart_signed(signed_part, signature, micalg="sha-256", boundary="=-gateway-1")
    assert body[1] is signed_part
    assert is_safe_for_signing(b"".join([fields, body[0], body[2]]))
    entity = parse_entity(join_message(b"From: a@b\r\n", fields, body))
    assert entity.transfer_encoding == "7bit"
    parts = split_multipart_signed(entity)
    assert parts.signed_part == signed_part
    assert parts.signature == signature
    assert (parts.signature_type, parts.micalg) == ("application/pkcs7-signature", "sha-256")


@pytest.mark.parametrize(
    ("micalg", "boundary"),
    [
        pytest.param("sha-256", "b", id="boundary in the signed part"),
        pytest.param("sha-256", "", id="empty boundary"),
        pytest.param("sha-256", "x" * 71, id="71 octets"),
        pytest.param("sha-256", 'x"', id="quote in the boundary"),
        pytest.param("sha-256", "x\r\ny", id="line end in the boundary"),
        pytest.param("sha-256", "x\n", id="line end behind the boundary"),
        pytest.param("sha-256; x=y", "x", id="parameter in the micalg"),
        pytest.param("", "x", id="empty micalg"),
    ],
)
def test_refuses_to_build_what_would_not_be_read_back(micalg: str, boundary: str) -> None:
    """Arguments come from us; a wrong one is a bug and no MimeError."""
    with pytest.raises(ValueError):  # noqa: PT011 - which one is no matter
        build_multipart_signed(b"\r\n--b", b"x", micalg=micalg, boundary=boundary)


@pytest.mark.parametrize(
    "entity",
    [
        pytest.param(signed(b"\r\nx", SIGNATURE), id="as RFC 1847 has it"),
        pytest.param(signed(b"\r\nx", SIGNATURE.replace(b"pkcs7", b"x-pkcs7")), id="old name in the part"),
        pytest.param(signed(b"\r\nx", SIGNATURE, parameters=PROTOCOL.replace(b"pkcs7", b"x-pkcs7")), id="old protocol"),
    ],
)
def test_splits_a_signed_multipart(entity: bytes) -> None:
    """Two parts, and a protocol that the second has."""
    parts = split_multipart_signed(parse_entity(entity))
    assert (parts.signed_part, parts.signature) == (b"\r\nx", b"AB")
    assert parts.micalg in ("sha-256", "")
    assert "AB" not in repr(parts)


@pytest.mark.parametrize(
    "entity",
    [
        pytest.param(multipart(b"\r\nx", SIGNATURE), id="multipart/mixed"),
        pytest.param(signed(b"\r\nx"), id="one part"),
        pytest.param(signed(b"\r\nx", SIGNATURE, SIGNATURE), id="three parts"),
        pytest.param(signed(b"\r\nx", SIGNATURE)[:-7], id="no last delimiter"),
        pytest.param(signed(b"\r\nx", SIGNATURE) + b"--b\r\n\r\ny\r\n--b--\r\n", id="goes on behind the last"),
        pytest.param(signed(b"\r\nx", SIGNATURE, parameters=b""), id="no protocol"),
        pytest.param(signed(b"\r\nx", leaf(b"application/pgp-signature", b"x")), id="another signature type"),
        pytest.param(signed(SIGNATURE, b"\r\nx"), id="parts the other way round"),
        pytest.param(signed(b"\r\nx", b"Content-Type: text/html\r\n" + SIGNATURE), id="signature part of two types"),
        pytest.param(signed(b"\r\nx", SIGNATURE.replace(b"QUI=", b"QUI!")), id="signature that is no base64"),
        pytest.param(b"Content-Type: text/plain\r\n" + signed(b"\r\nx", SIGNATURE), id="two types"),
        pytest.param(b"Content-Transfer-Encoding: base64\r\n" + signed(b"\r\nx", SIGNATURE), id="encoded"),
        pytest.param(signed(b"\r\nx\r\n--b", SIGNATURE), id="boundary in the signed part"),
    ],
)
def test_refuses_other_signed_multiparts(entity: bytes) -> None:
    """RFC 1847 2.1 has two parts and a protocol; anything else has no signature to speak of."""
    with pytest.raises(MimeError):
        split_multipart_signed(parse_entity(entity))


@pytest.mark.parametrize(
    ("smime_type", "name"),
    [
        ("signed-data", "smime.p7m"),
        ("enveloped-data", "smime.p7m"),
        ("authEnveloped-data", "smime.p7m"),
        ("compressed-data", "smime.p7z"),
        ("certs-only", "smime.p7c"),
    ],
)
def test_builds_a_cms_entity(smime_type: str, name: str) -> None:
    """File names as in RFC 8551 3.2.1."""
    fields, body = build_pkcs7_mime(b"\x30\x80" * 100, smime_type=smime_type)
    entity = parse_entity(fields + b"\r\n" + body)
    assert entity.content_type.essence == "application/pkcs7-mime"
    assert dict(entity.content_type.parameters) == {"smime-type": smime_type, "name": name}
    assert decode_body(entity) == b"\x30\x80" * 100
    assert not entity.ambiguous
    assert is_safe_for_signing(entity.octets)


def test_refuses_an_smime_type_that_is_no_token() -> None:
    """It would be written into a header field."""
    with pytest.raises(ValueError, match="smime-type"):
        build_pkcs7_mime(b"", smime_type="x\r\ny")


@pytest.mark.parametrize(
    ("message", "outer", "entity"),
    [
        pytest.param(
            b"From: a@b\r\nMime-Version: 1.0\r\nContent-Type: text/html;\r\n charset=x\r\nSubject: c\r\n d\r\n"
            b"CONTENT-ID: <e>\r\n\r\nbody",
            b"From: a@b\r\nSubject: c\r\n d\r\n",
            b"Content-Type: text/html;\r\n charset=x\r\nCONTENT-ID: <e>\r\n\r\nbody",
            id="fields go to their side, verbatim",
        ),
        pytest.param(
            b"From: a@b\r\n\r\nbody",
            b"From: a@b\r\n",
            b"Content-Type: text/plain; charset=us-ascii\r\n\r\nbody",
            id="no MIME",
        ),
        pytest.param(
            b"From: a@b\r\n\r\n\xe4", b"From: a@b\r\n", b"Content-Type: text/plain\r\n\r\n\xe4", id="no charset known"
        ),
        pytest.param(
            b"Subject: \xe4\r\n\r\nbody",
            b"Subject: \xe4\r\n",
            b"Content-Type: text/plain; charset=us-ascii\r\n\r\nbody",
            id="octets beyond ASCII in the header only",
        ),
        pytest.param(
            b"Content-Transfer-Encoding: base64\r\n\r\nQUI=",
            b"",
            b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: base64\r\n\r\nQUI=",
            id="encoding without a type",
        ),
        pytest.param(b"Content-Type: a/b", b"", b"Content-Type: a/b\r\n\r\n", id="cut in its header"),
        pytest.param(
            b"From x\r\nFrom: a@b\r\nContent-Type: a/b\r\n\r\n",
            b"From x\r\nFrom: a@b\r\n",
            b"Content-Type: a/b\r\n\r\n",
            id="mbox line stays outside",
        ),
    ],
)
def test_splits_a_message(message: bytes, outer: bytes, entity: bytes) -> None:
    """Content-* and MIME-Version describe the content (RFC 2045 3), all else the message."""
    assert split_content_fields(message) == (outer, entity)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", id="two types"),
        pytest.param(b"Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n", id="two boundaries"),
        pytest.param(
            b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\n", id="two encodings"
        ),
        pytest.param(b"From: a@b\r\nno field\r\nContent-Type: a/b\r\n\r\n", id="line that is no field"),
        pytest.param(b" folded\r\nFrom: a@b\r\n\r\n", id="begins with folding"),
        pytest.param(b"From: a@b\r\n \r\nContent-Type: a/b\r\n\r\n", id="line of blanks"),
        pytest.param(b"From: a@b\nContent-Type: a/b\r\n\r\n", id="bare LF"),
        pytest.param(b"From: a@b\0\r\n\r\n", id="NUL"),
    ],
)
def test_refuses_to_split_what_has_two_readings(message: bytes) -> None:
    """Whichever half went outside, one of the readers would be told something else."""
    with pytest.raises(MimeError):
        split_content_fields(message)


@pytest.mark.parametrize(
    ("message", "outer", "entity"),
    [
        pytest.param(
            b"From: a@b\r\nno field\r\nContent-Type: a/b\r\n\r\nx",
            b"From: a@b\r\n no field\r\n",
            b"Content-Type: a/b\r\n\r\nx",
            id="line that is no field is folded",
        ),
        pytest.param(
            b"Subject: y\r\nContent-Type: multipart/mixed;\r\nboundary=b\r\n\r\nx",
            b"Subject: y\r\n",
            b"Content-Type: multipart/mixed;\r\nboundary=b\r\n\r\nx",
            id="it stays with the field before it",
        ),
        pytest.param(
            b"Subject: y\r\nMIME-Version:\r\n1.0\r\nTo : z\r\n\r\nx",
            b"Subject: y\r\nTo: z\r\n",
            b"Content-Type: text/plain; charset=us-ascii\r\n\r\nx",
            id="or goes with it",
        ),
        pytest.param(
            b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\nx",
            b"",
            b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\nx",
            id="two types stay within",
        ),
    ],
)
def test_splits_what_has_two_readings_where_asked(message: bytes, outer: bytes, entity: bytes) -> None:
    """Outside there is one reading; what describes the content stays as the sender wrote it."""
    assert split_content_fields(message, may_be_ambiguous=True) == (outer, entity)
    assert not parse_header(outer).ambiguous


@pytest.mark.parametrize("stray", [b"\0", b"\r", b"\n"])
def test_never_splits_a_header_with_stray_octets(stray: bytes) -> None:
    """What stands outside is written to the next hop, and may not hold what the line discipline refuses."""
    with pytest.raises(MimeError):
        split_content_fields(b"Subject: a" + stray + b"Bcc: b@c\r\n\r\n", may_be_ambiguous=True)


@given(mail_octets)
def test_fields_outside_have_one_reading_whatever_came_in(message: bytes) -> None:
    """NUL and stray line ends are refused even then."""
    try:
        outer, _ = split_content_fields(message, may_be_ambiguous=True)
    except MimeError:
        return
    assert not parse_header(outer).ambiguous


def test_limits_are_kept_in_splitting() -> None:
    """The header section of the message is bounded as any other."""
    with pytest.raises(MimeError):
        split_content_fields(b"A: b\r\n" * 4 + b"\r\n", Limits(header_fields=3))


@given(mail_octets)
def test_any_message_is_split_without_loss_or_refused(message: bytes) -> None:
    """Every field is on one side, and the body is the body."""
    try:
        outer, entity = split_content_fields(message)
    except MimeError:
        return
    header = parse_header(message)
    fields = [field.octets for field in header.fields if field.key != "mime-version"]
    again = [field.octets for side in (outer, entity) for field in parse_header(side).fields]
    given_back = [octets for octets in again if octets.rstrip(b"\r\n") in {field.rstrip(b"\r\n") for field in fields}]
    assert sorted(octets.rstrip(b"\r\n") for octets in given_back) == sorted(field.rstrip(b"\r\n") for field in fields)
    assert parse_entity(entity).body == message[header.end :]
    assert parse_content_type(parse_header(entity).fields[0].body) is not None
    joined = parse_header(join_message(outer, entity[: parse_header(entity).end - 2], [message[header.end :]]))
    assert joined.first("mime-version") is not None


def test_joins_a_message() -> None:
    """Outer fields, MIME-Version, Content fields, empty line, body."""
    assert (
        join_message(b"From: a@b\r\n", b"Content-Type: a/b\r\n", [b"bo", b"dy"])
        == b"From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: a/b\r\n\r\nbody"
    )
    assert join_message(b"", b"", []) == b"MIME-Version: 1.0\r\n\r\n"


@pytest.mark.parametrize("section", [b"A: b", b"A: b\r\n\r\n", b"\r\nA: b\r\n", b"A: b\r\n\r\nC: d\r\n"])
def test_refuses_to_join_what_is_no_section(section: bytes) -> None:
    """A field that runs into the next, or a body that begins early, is a bug of the caller."""
    for outer, content in ((section, b""), (b"", section)):
        with pytest.raises(ValueError, match="section"):
            join_message(outer, content, [])
