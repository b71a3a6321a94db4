"""What comes out of an encrypted layer travels as mail, or does not come out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import KeyTransport, RecipientInfo, RecipientKind
from gateway.errors import MimeError
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime import build_pkcs7_mime, decode_body, find_flaw, parse_entity
from gateway.smime import NotOpened, assemble, envelop, seal
from gateway.smime.opening import _describe, _may_name, _NotMime, carriable, open_layer
from gateway.smime.verify import serial_text
from tests.unit.smime.agents import ENTITY, bob, decryption_key, received, recipient, signed
from tests.unit.smime.test_classify import entity_of

OUTER = b"From: a@b.example\r\nSubject: x\r\n"


def opened(content: bytes) -> tuple[bytes | None, NotOpened | None]:
    """Encrypt these octets as they are to Bob, and open them as Bob."""
    message = b"".join(assemble(OUTER, envelop(seal(content), [recipient(bob())])))
    found = received(message, bob())
    return found.opened, found.report.layers[0].reason


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(ENTITY, id="as it should be"),
        pytest.param(ENTITY.replace(b"\r\n", b"\n"), id="LF line ends"),
        pytest.param(b"Content-Type: text/plain; charset=us-ascii\r\n\r\n", id="empty body"),
        pytest.param(b"Content-Type: text/plain; charset=us-ascii\r\n", id="no empty line"),
        pytest.param(b"From: a@b.example\r\nSubject: inner\r\n\r\nThe numbers.\r\n", id="a whole message"),
        pytest.param(b"\r\nThe numbers.\r\n", id="no header section"),
        pytest.param(b"Content-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n", id="8-bit text"),
    ],
)
def test_an_entity_comes_out(content: bytes) -> None:
    """With CRLF line ends, under the outer fields."""
    message, reason = opened(content)
    assert reason is None
    assert message is not None
    assert message.startswith(OUTER + b"MIME-Version: 1.0\r\nContent-Type: text/plain")
    assert find_flaw(message) is None
    assert b"inner" not in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"This is some sample content.", NotOpened.NOT_MIME, id="text"),
        pytest.param("Grüße und mehr\n".encode(), NotOpened.NOT_MIME, id="UTF-8 text"),
        pytest.param(b"Note: a line with a colon", NotOpened.NOT_MIME, id="text with a colon"),
        pytest.param(b"\r\n", None, id="empty entity"),
        pytest.param(b"", NotOpened.BROKEN, id="nothing"),
        pytest.param(bytes(range(256)), NotOpened.BROKEN, id="octets"),
        pytest.param(b"text and \x00", NotOpened.BROKEN, id="text with a NUL"),
        pytest.param("Grüße".encode("latin-1"), NotOpened.BROKEN, id="no UTF-8"),
        pytest.param(b"X: y\r\n" * 6000 + b"\r\n", NotOpened.BROKEN, id="beyond the limits"),
        pytest.param(
            b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n", NotOpened.BROKEN, id="two readings"
        ),
        pytest.param(
            entity_of(signed()).replace(b"The numbers", b"The\x00numbers"), NotOpened.BROKEN, id="NUL under a signature"
        ),
    ],
)
def test_what_does_not_come_out(content: bytes, reason: NotOpened | None) -> None:
    """Text that is no entity is told apart; everything else that is wrong is broken."""
    message, found = opened(content)
    assert found is reason
    assert (message is None) is (reason is not None)


def test_a_binary_part_is_encoded() -> None:
    """RFC 8551 3.1.2 lets binary into an encrypted layer; outside it travels in base64, the same octets."""
    octets = bytes(range(256)) * 4
    message, reason = opened(
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + octets
    )
    assert reason is None
    assert message is not None
    assert find_flaw(message) is None
    assert decode_body(parse_entity(message)) == octets


def test_a_binary_cms_object_is_encoded() -> None:
    """A signed layer in binary under an encrypted one: the CMS object stays the same to the octet."""
    der = b"\x30\x03\x02\x01\x00\n\r\x00"
    message, reason = opened(
        b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        + der
    )
    assert reason is None
    assert message is not None
    assert decode_body(parse_entity(message)) == der


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param("60864801650304012a", "60864801650304012e", NotOpened.UNSUPPORTED, id="cipher"),
        pytest.param("2a864886f70d010101", "2a864886f70d010107", NotOpened.UNSUPPORTED, id="key transport"),
        pytest.param("a08201", "a18201", NotOpened.BROKEN, id="structure"),
        pytest.param("020100", "020109", NotOpened.UNSUPPORTED, id="version"),
    ],
)
def test_other_algorithms(old: str, new: str, reason: NotOpened) -> None:
    """What is not implemented is unsupported; what cannot be read is broken."""
    message = b"".join(assemble(OUTER, envelop(seal(ENTITY), [recipient(bob())])))
    der = decode_body(parse_entity(message))
    changed = der.replace(bytes.fromhex(old), bytes.fromhex(new), 1)
    assert changed != der
    found = open_layer(changed, "enveloped-data", [decryption_key(bob())], DEFAULT_LIMITS)
    assert found.layer.reason is reason
    assert found.content is None


def test_recipients_are_described() -> None:
    """By serial number or by subject key identifier, as the RecipientInfo does."""
    info = RecipientInfo(
        issuer_der=None,
        serial=None,
        ski=b"\x01\xab",
        kind=RecipientKind.KEY_TRANSPORT,
        transport=KeyTransport.RSA_PKCS1V15,
        transport_label="rsa",
        encrypted_key=b"",
    )
    assert _describe(info) == {"kind": info.kind.value, "algorithm": "rsa", "subject_key_identifier": "01AB"}
    certificate = decryption_key(bob()).certificate
    assert not _may_name(info, certificate)
    assert _may_name(replace(info, ski=certificate.subject_key_identifier), certificate)
    assert [serial_text(number) for number in (None, 0, 10, 255, 256, -1)] == ["", "00", "0A", "FF", "0100", "-01"]


def test_limits_hold_inside() -> None:
    """What is under encryption is bounded like everything else."""
    with pytest.raises(MimeError):
        carriable(b"X: y\r\n" * 10 + b"\r\n", Limits(header_fields=5))


def test_a_cms_entity_of_ours_is_carried() -> None:
    """What protect builds needs no change."""
    fields, body = build_pkcs7_mime(b"\x30\x00", smime_type="signed-data")
    content = fields + b"\r\n" + body
    assert carriable(content, DEFAULT_LIMITS) == content


@given(st.binary(max_size=300))
def test_any_content(octets: bytes) -> None:
    """Any octets come out as lines that travel, or not at all."""
    try:
        content = carriable(octets, DEFAULT_LIMITS)
    except (MimeError, _NotMime):
        return
    assert find_flaw(content, max_line=None) is None


@given(st.binary(min_size=16, max_size=64))
def test_noise_is_broken(octets: bytes) -> None:
    """What a wrong key makes of a message is hardly ever called anything but broken."""
    noise = b"\x80" + octets  # the first octet of a continuation is no text and no field name
    with pytest.raises(MimeError):
        carriable(noise, DEFAULT_LIMITS)
