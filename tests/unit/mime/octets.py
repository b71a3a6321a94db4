"""Strategies for hypothesis: octets that look like mail, closely enough to be read as such."""

from __future__ import annotations

from hypothesis import strategies as st

from gateway.mime import Entity, decode_body, walk

FRAGMENTS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b'"',
    b"(",
    b")",
    b"\\",
    b"=",
    b"<",
    b">",
    b"@",
    b",",
    b"a",
    b"\xc3\xa4",
    b"\xff",
    b"From ",
    b"From: a@b.example",
    b"Subject: x",
    b"Content-Type: text/plain",
    b"Content-Type: multipart/mixed; boundary=b",
    b'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="b"',
    b"Content-Type: multipart/digest; boundary=bb",
    b"Content-Type: message/rfc822",
    b"Content-Type: application/pkcs7-signature",
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b"Content-Transfer-Encoding: 8bit",
    b"--b",
    b"\r\n--b\r\n",
    b"\r\n--b--\r\n",
    b"\r\n--bb\r\n",
    b"QUJD",
    b"=?utf-8?q?",
    b"?=",
    b"x" * 700,
]

mail_octets = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join))
"""Any octets, and octets in the alphabet of mail."""

text_lines = st.lists(
    st.sampled_from(
        [b"plain", b"", b"trailing ", b"tab\t", b"From here", b"gr\xc3\xbc\xc3\x9fe", b"=3D", b"--b", b".", b"y" * 1200]
    ),
    max_size=6,
).map(b"\r\n".join)
"""Bodies with everything that may not survive, CRLF being the only line end."""


def leaf(content_type: bytes, body: bytes, encoding: bytes = b"8bit") -> bytes:
    """Write one part."""
    return b"Content-Type: " + content_type + b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body


def multipart(*parts: bytes, boundary: bytes = b"b", subtype: bytes = b"mixed", fields: bytes = b"") -> bytes:
    """Write a multipart."""
    head = b"Content-Type: multipart/" + subtype + b'; boundary="' + boundary + b'"\r\n' + fields + b"\r\n"
    return head + b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def contents(entity: Entity) -> list[tuple[str, bytes]]:
    """What the leaves of an entity hold, their transfer encodings undone."""
    return [(each.content_type.essence, decode_body(each)) for each in walk(entity) if not each.children]
