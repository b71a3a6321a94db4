"""What a message is as a whole, and whether layers hide inside."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MimeError
from gateway.limits import Limits
from gateway.mime import build_multipart_signed, join_message, parse_entity
from gateway.smime import Kind, SignedForm, classify, prepare
from gateway.smime.classify import look
from tests.unit.smime.agents import BOUNDARY, MESSAGE, encrypted, signed

CERTS_ONLY_HEAD = b"Content-Type: application/pkcs7-mime; smime-type=certs-only; name=smime.p7c\r\n"
# ContentInfo with a SignedData (version 1) without digests, content, certificates or signers; id-data; an empty one.
NO_SIGNERS = bytes.fromhex(
    "302306092a864886f70d010702a016301402010131003 00b06092a864886f70d0107013100".replace(" ", "")
)
ID_DATA = bytes.fromhex("300f06092a864886f70d010701a0020400")


BROKEN_SIGNED_DATA = bytes.fromhex("301506092a864886f70d010702a0083006020101020101")


def clear_signed_by(der: bytes) -> bytes:
    """The tests' message, clear-signed, with this CMS object for a signature."""
    taken = prepare(MESSAGE)
    fields, body = build_multipart_signed(taken.entity, der, micalg="sha-256", boundary=BOUNDARY)
    return join_message(taken.outer_fields, fields, body)


def cms_entity(fields: bytes, octets: bytes) -> bytes:
    return (
        b"From: a@b.example\r\n"
        + fields
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(octets).replace(b"\n", b"\r\n")
    )


def inside_mixed(*parts: bytes) -> bytes:
    body = b"".join(b"--outer\r\n" + part + b"\r\n" for part in parts)
    return b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n" + body + b"--outer--\r\n"


def entity_of(message: bytes) -> bytes:
    """The Content fields and body of a message of ours: what a list puts into its multipart."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = head[head.index(b"Content-Type:") :]
    return fields + b"\r\n\r\n" + body


def kinds(message: bytes) -> Kind:
    return classify(message).kind


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(lambda: MESSAGE, Kind.PLAIN, id="plain"),
        pytest.param(lambda: b"", Kind.PLAIN, id="empty"),
        pytest.param(signed, Kind.CLEAR_SIGNED, id="clear-signed"),
        pytest.param(lambda: signed(form=SignedForm.OPAQUE), Kind.SIGNED_DATA, id="opaque"),
        pytest.param(encrypted, Kind.ENVELOPED_DATA, id="encrypted"),
        pytest.param(lambda: encrypted(signed()), Kind.ENVELOPED_DATA, id="signed and encrypted"),
        pytest.param(
            lambda: (
                encrypted().replace(b" smime-type=enveloped-data;", b"").replace(b"smime-type=enveloped-data;", b"")
            ),
            Kind.ENVELOPED_DATA,
            id="no smime-type",
        ),
        pytest.param(
            lambda: encrypted().replace(b"enveloped-data", b"signed-data"), Kind.ENVELOPED_DATA, id="wrong smime-type"
        ),
        pytest.param(
            lambda: encrypted().replace(b"application/pkcs7-mime", b"application/x-pkcs7-mime"),
            Kind.ENVELOPED_DATA,
            id="x-pkcs7-mime",
        ),
        pytest.param(
            lambda: encrypted().replace(b"application/pkcs7-mime", b"application/octet-stream"),
            Kind.ENVELOPED_DATA,
            id="octet-stream with the name smime.p7m",
        ),
        pytest.param(
            lambda: signed().replace(b"application/pkcs7-signature", b"application/x-pkcs7-signature"),
            Kind.CLEAR_SIGNED,
            id="x-pkcs7-signature",
        ),
        pytest.param(
            lambda: signed().replace(b'protocol="application/pkcs7-signature"', b"x=y"),
            Kind.MALFORMED,
            id="no protocol",
        ),
        pytest.param(
            lambda: signed().replace(
                b'protocol="application/pkcs7-signature"', b'protocol="application/pgp-signature"'
            ),
            Kind.PLAIN,
            id="another protocol",
        ),
        pytest.param(lambda: cms_entity(CERTS_ONLY_HEAD, NO_SIGNERS), Kind.CERTS_ONLY, id="certs-only"),
        pytest.param(
            lambda: cms_entity(CERTS_ONLY_HEAD.replace(b"smime-type=certs-only; ", b""), NO_SIGNERS),
            Kind.CERTS_ONLY,
            id="certs-only without smime-type",
        ),
        pytest.param(
            lambda: signed(form=SignedForm.OPAQUE).replace(b"smime-type=signed-data", b"smime-type=certs-only"),
            Kind.SIGNED_DATA,
            id="signatures under the name of certs-only",
        ),
        pytest.param(lambda: cms_entity(CERTS_ONLY_HEAD, ID_DATA), Kind.MALFORMED, id="CMS of another type"),
        pytest.param(
            lambda: cms_entity(CERTS_ONLY_HEAD, BROKEN_SIGNED_DATA), Kind.SIGNED_DATA, id="broken signed-data"
        ),
        pytest.param(lambda: clear_signed_by(ID_DATA), Kind.MALFORMED, id="another CMS type as signature"),
        pytest.param(
            lambda: (
                encrypted()
                .replace(b"application/pkcs7-mime", b"application/octet-stream")
                .replace(b'; filename="smime.p7m"', b"")
            ),
            Kind.ENVELOPED_DATA,
            id="octet-stream with the name in Content-Type",
        ),
        pytest.param(lambda: cms_entity(CERTS_ONLY_HEAD, b"\x30\x80"), Kind.MALFORMED, id="no CMS"),
        pytest.param(lambda: cms_entity(CERTS_ONLY_HEAD, b""), Kind.MALFORMED, id="nothing"),
        pytest.param(
            lambda: encrypted().replace(b"base64\r\n", b"base64\r\nX: y\r\n").replace(b"MII", b"M!I"),
            Kind.MALFORMED,
            id="no base64",
        ),
        pytest.param(
            lambda: cms_entity(b"Content-Type: application/octet-stream; name=x.p7m\r\n", b"zip"),
            Kind.PLAIN,
            id="a file",
        ),
        pytest.param(
            lambda: signed().replace(b"multipart/signed;", b"multipart/signed; boundary=x;"),
            Kind.MALFORMED,
            id="two boundaries",
        ),
        pytest.param(
            lambda: signed().replace(b"\r\n\r\n", b"\r\nContent-Type: text/html\r\n\r\n", 1),
            Kind.MALFORMED,
            id="two Content-Type fields",
        ),
    ],
)
def test_kind(make: object, kind: Kind) -> None:
    """By Content-Type and CMS content type (RFC 8551 3.9)."""
    assert kinds(make()) is kind  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "in_signed", "in_encrypted"),
    [
        pytest.param(signed, False, False, id="the whole"),
        pytest.param(lambda: signed(form=SignedForm.OPAQUE), False, False, id="the whole, opaque"),
        pytest.param(lambda: inside_mixed(entity_of(signed())), True, False, id="footer of a list"),
        pytest.param(lambda: inside_mixed(entity_of(signed(form=SignedForm.OPAQUE))), True, False, id="opaque part"),
        pytest.param(lambda: inside_mixed(entity_of(encrypted())), False, True, id="encrypted part"),
        pytest.param(
            lambda: inside_mixed(entity_of(encrypted()).replace(b"smime-type=enveloped-data", b"x=y")),
            False,
            True,
            id="encrypted part without smime-type",
        ),
        pytest.param(
            lambda: inside_mixed(entity_of(encrypted()).replace(b"pkcs7-mime", b"octet-stream")),
            False,
            True,
            id="encrypted part as a file",
        ),
        pytest.param(
            lambda: inside_mixed(b"Content-Type: message/rfc822\r\n\r\n" + signed()), True, False, id="forwarded"
        ),
        pytest.param(
            lambda: signed(inside_mixed(entity_of(signed())), boundary="another"),
            True,
            False,
            id="below a signed layer",
        ),
        pytest.param(lambda: signed(signed(), boundary="another"), False, False, id="signed twice"),
        pytest.param(
            lambda: inside_mixed(b"Content-Type: application/pkcs7-mime\r\n\r\nno\r\n"), False, False, id="junk"
        ),
    ],
)
def test_nested(make: object, in_signed: bool, in_encrypted: bool) -> None:
    """Layers that are a proper part of the message are told, whatever the whole is."""
    found = classify(make())  # type: ignore[operator]
    assert (found.nested_signed, found.nested_encrypted) == (in_signed, in_encrypted)
    assert found.nested is (in_signed or in_encrypted)


def test_limits() -> None:
    """Too deep is not readable."""
    message = b"Content-Type: message/rfc822\r\n\r\n" * 10
    with pytest.raises(MimeError):
        classify(message, Limits(mime_depth=3))


def test_a_part_too_many() -> None:
    """A multipart/signed with a third part is not a signed message with something extra: it is malformed."""
    message = signed().replace(
        b"--=_boundary_of_the_test--", b"--=_boundary_of_the_test\r\n\r\nx\r\n--=_boundary_of_the_test--"
    )
    assert classify(message).kind is Kind.MALFORMED
    assert classify(message).reason


@given(st.data())
def test_any_cut_and_any_octets(data: st.DataObject) -> None:
    """A message cut or changed anywhere has a kind; nothing else happens."""
    message = data.draw(st.sampled_from([signed(), encrypted(), signed(form=SignedForm.OPAQUE)]))
    at = data.draw(st.integers(0, len(message)))
    noise = data.draw(st.binary(max_size=8))
    for changed in (message[:at], message[:at] + noise + message[at + len(noise) :], noise + message[at:]):
        assert isinstance(look(parse_entity(changed)).kind, Kind)
