"""The sending agent changes what it must and nothing else."""

from __future__ import annotations

import re

import pytest

from gateway.cms import ContentCipher, Digest, parse_enveloped_data, parse_signed_data
from gateway.errors import MimeError
from gateway.limits import Limits
from gateway.mime import decode_body, parse_entity, split_multipart_signed
from gateway.smime import SignedForm, assemble, check_signed, envelop, prepare, recipient_certificate, seal, sign
from tests.support.pki import MOMENT
from tests.unit.smime.agents import (
    BOUNDARY,
    ENTITY,
    MESSAGE,
    alice,
    bob,
    certificate,
    eve,
    pki,
    recipient,
    signed,
    signer,
)

OUTER = (
    b"Received: from client by gw\r\n"
    b"From: Alice <alice@acme.example>\r\n"
    b"To: Bob <bob@partner.example>\r\n"
    b"Subject: Numbers\r\n"
    b"X-Last: yes\r\n"
)


def test_a_message_is_taken_apart() -> None:
    """Content fields go inside; every other field stays outside, verbatim and in order."""
    taken = prepare(MESSAGE)
    assert taken.outer_fields == OUTER
    assert taken.entity == ENTITY


def test_outer_fields_stay_as_ugly_as_they_are() -> None:
    """Folding, blanks, order, repetition, raw 8-bit, and the case of names are the sender's."""
    outer = b"SUBJECT:  a\r\n\tb \r\nX-Name: \xc3\xa4\r\nReceived: 1\r\nreceived: 2\r\nBcc:\r\n"
    assert prepare(outer + b"content-TYPE: text/plain\r\n\r\nx\r\n").outer_fields == outer


def test_a_canonical_entity_is_not_copied_into_another_form() -> None:
    """Octets that are canonical already are signed as they are."""
    assert prepare(OUTER + ENTITY).entity == ENTITY


def test_a_message_without_content_fields_gets_the_default() -> None:
    """RFC 2045 5.2: what is signed says what it is."""
    assert prepare(b"From: a@b.example\r\n\r\nx\r\n").entity.lower().startswith(b"content-type: text/plain")


def test_an_entity_that_does_not_travel_is_encoded() -> None:
    """8-bit text is signed in quoted-printable, so that no relay can break the signature (RFC 8551 3.1.2)."""
    taken = prepare(
        b"From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    )
    assert b"quoted-printable" in taken.entity
    assert decode_body(parse_entity(taken.entity)) == b"Gr\xc3\xbc\xc3\x9fe\r\n"


def test_clear_signed_form() -> None:
    """RFC 8551 3.5.3: protocol, micalg and two parts, the first of them the entity."""
    message = signed()
    root = parse_entity(message)
    assert message.startswith(OUTER + b"MIME-Version: 1.0\r\nContent-Type: multipart/signed;")
    assert dict(root.content_type.parameters) == {
        "protocol": "application/pkcs7-signature",
        "micalg": "sha-256",
        "boundary": BOUNDARY,
    }
    parts = split_multipart_signed(root)
    assert parts.signed_part == ENTITY
    assert parse_signed_data(parts.signature).content is None


def test_opaque_form() -> None:
    """RFC 8551 3.5.2: the entity is the content of the signed-data."""
    message = signed(form=SignedForm.OPAQUE)
    root = parse_entity(message)
    assert message.startswith(OUTER + b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime;")
    assert root.content_type.parameters["smime-type"] == "signed-data"
    assert parse_signed_data(decode_body(root)).content == ENTITY


@pytest.mark.parametrize(
    ("digest", "micalg"), [(Digest.SHA256, "sha-256"), (Digest.SHA384, "sha-384"), (Digest.SHA512, "sha-512")]
)
def test_micalg_is_that_of_the_signer(digest: Digest, micalg: str) -> None:
    """RFC 8551 3.5.3.2."""
    protected = sign(prepare(MESSAGE), signer(alice(), digest=digest), moment=MOMENT, boundary=BOUNDARY)
    assert f"micalg={micalg}".encode() in re.sub(rb'["\s]', b"", protected.content_fields)


def test_signer_and_chain_travel_along() -> None:
    """The end-entity certificate and the issuing CA, not the root."""
    der = split_multipart_signed(parse_entity(signed())).signature
    assert set(parse_signed_data(der).certificates) == {alice().certificate_der, *alice().chain_der}


def test_a_boundary_that_occurs_in_the_entity_is_refused() -> None:
    """It would cut the signed part."""
    message = OUTER + b"Content-Type: text/plain\r\n\r\n--" + BOUNDARY.encode() + b"\r\n"
    with pytest.raises(ValueError, match="boundary"):
        sign(prepare(message), signer(alice()), moment=MOMENT, boundary=BOUNDARY)


def test_one_ciphertext_for_several_groups() -> None:
    """Sealed once; each group's message names its own recipients and shares nothing but the ciphertext."""
    sealed = seal(prepare(MESSAGE).entity)
    views = []
    for group in ([bob()], [eve()], [bob(), eve()]):
        message = b"".join(assemble(OUTER, envelop(sealed, [recipient(one) for one in group])))
        views.append(parse_enveloped_data(decode_body(parse_entity(message))))
    assert [len(view.recipients) for view in views] == [1, 1, 2]
    assert len({view.ciphertext for view in views}) == 1


def test_every_message_has_its_own_key() -> None:
    """Two seals of one entity have nothing in common."""
    first, second = seal(ENTITY), seal(ENTITY)
    assert first.encrypted.key != second.encrypted.key
    assert first.encrypted.iv != second.encrypted.iv
    assert first.encrypted.ciphertext != second.encrypted.ciphertext


def test_neither_key_nor_clear_text_is_shown() -> None:
    """A representation in a log tells nothing."""
    taken = prepare(MESSAGE)
    sealed = seal(taken.entity)
    shown = repr((taken, sealed, sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY), signer(alice())))
    assert "numbers" not in shown
    assert repr(sealed.encrypted.key)[2:-1] not in shown


def test_buffers_are_the_entity_to_encrypt() -> None:
    """Signing and encrypting: what is encrypted is the signed entity, with its Content fields, without MIME-Version."""
    protected = sign(prepare(MESSAGE), signer(alice()), moment=MOMENT, boundary=BOUNDARY)
    entity = b"".join(protected.buffers)
    assert entity.startswith(b"Content-Type: multipart/signed;")
    assert b"MIME-Version" not in entity
    assert b"".join(assemble(OUTER, protected)) == OUTER + b"MIME-Version: 1.0\r\n" + entity


@pytest.mark.parametrize("cipher", [cipher for cipher in ContentCipher if "aes" in cipher.label])
def test_cipher_is_a_choice(cipher: ContentCipher) -> None:
    """AES-256-CBC is only the default."""
    assert seal(ENTITY).encrypted.cipher is ContentCipher.AES_256_CBC
    assert seal([ENTITY], cipher).encrypted.cipher is cipher


def test_no_recipient_is_refused() -> None:
    """A message that nobody can open is not made."""
    with pytest.raises(ValueError, match="recipient"):
        envelop(seal(ENTITY), [])


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"Content-Type: message/rfc822\r\n\r\n" * 10 + b"\xe4\r\n", id="too deep to be encoded"),
        pytest.param(b"Content-Description: \xe4\r\n\r\n", id="8-bit field inside"),
        pytest.param(
            signed().replace(b"The numbers.", b"Gr\xc3\xbc\xc3\x9fe").removeprefix(OUTER + b"MIME-Version: 1.0\r\n"),
            id="8-bit in a foreign multipart/signed",
        ),
    ],
)
def test_what_has_no_seven_bit_form_is_signed_as_it_is(message: bytes) -> None:
    """Inside a signed-data, octet for octet: to re-encode it would break it, or sign our reading of it."""
    taken = prepare(message, Limits(mime_depth=3))
    assert taken.entity.endswith(message)
    assert taken.form_for(SignedForm.CLEAR) is SignedForm.OPAQUE
    with pytest.raises(ValueError, match="7-bit"):
        sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY)
    protected = sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY, form=SignedForm.OPAQUE)
    check_signed(assemble(b"", protected), taken, signer(alice()), form=SignedForm.OPAQUE)


@pytest.mark.parametrize(
    ("message", "outer"),
    [
        pytest.param(b"From: a@b.example\r\nno field\r\n\r\n", b"From: a@b.example\r\n no field\r\n", id="no field"),
        pytest.param(b"From x y\r\nFrom: a@b.example\r\nTo : c\r\n\r\n", b"From: a@b.example\r\nTo: c\r\n", id="To :"),
        pytest.param(b"From: a@b.example\r\n \r\n\t\r\nTo: c\r\n\r\n", b"From: a@b.example\r\nTo: c\r\n", id="blanks"),
        pytest.param(b"Content-Type: a/b\r\nContent-Type: c/d\r\nTo: c\r\n\r\n", b"To: c\r\n", id="two types"),
    ],
)
def test_what_stands_outside_has_one_reading(message: bytes, outer: bytes) -> None:
    """Else two readers would find different content fields under it."""
    assert prepare(message).outer_fields == outer


def test_limits_hold_for_our_own_users_too() -> None:
    """A header section is bounded."""
    with pytest.raises(MimeError):
        prepare(b"X: y\r\n" * 50 + b"\r\n", Limits(header_fields=40))


def test_an_elliptic_curve_signs_too() -> None:
    """ECDSA needs nothing else."""
    ellie = pki().identity("ellie@acme.example", key_kind="ec-p256")
    protected = sign(prepare(MESSAGE), signer(ellie), moment=MOMENT, boundary=BOUNDARY)
    assert protected.body


def test_recipients_are_prepared_once() -> None:
    """The same certificate gives the same constant part."""
    assert recipient_certificate(certificate(bob())).certificate == certificate(bob())
