"""The self-check finds each way in which an outgoing message could be wrong."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.errors import SelfCheckFailed
from gateway.mime import parse_entity, split_multipart_signed
from gateway.smime import (
    Protected,
    SignedForm,
    assemble,
    check_enveloped,
    check_signed,
    envelop,
    prepare,
    seal,
    sign,
)
from tests.support.pki import MOMENT
from tests.unit.smime.agents import BOUNDARY, ENTITY, MESSAGE, TestKey, alice, bob, certificate, eve, recipient, signer
from tests.unit.smime.test_classify import BROKEN_SIGNED_DATA, NO_SIGNERS, clear_signed_by

TAKEN = prepare(MESSAGE)


def signed_message(form: SignedForm = SignedForm.CLEAR, **changes: object) -> list[bytes]:
    identity = replace(signer(alice()), **changes)  # type: ignore[arg-type]
    return assemble(TAKEN.outer_fields, sign(TAKEN, identity, moment=MOMENT, boundary=BOUNDARY, form=form))


@pytest.mark.parametrize("form", list(SignedForm))
def test_a_signed_message_stands(form: SignedForm) -> None:
    """What protect builds, the check passes, in both forms."""
    check_signed(signed_message(form), TAKEN, signer(alice()), form=form)


def refused_signed(message: bytes, form: SignedForm = SignedForm.CLEAR) -> str:
    with pytest.raises(SelfCheckFailed) as caught:
        check_signed([message], TAKEN, signer(alice()), form=form)
    return str(caught.value)


def test_a_changed_signed_part() -> None:
    """One octet."""
    message = b"".join(signed_message())
    assert "not the entity" in refused_signed(message.replace(b"The numbers", b"The Numbers"))


def test_a_damaged_signature() -> None:
    """The CMS object is still readable, its signature value is another."""
    message = b"".join(signed_message())
    der = bytearray(split_multipart_signed(parse_entity(message)).signature)
    original = base64.b64encode(bytes(der))
    der[-5] ^= 1
    flat = message.replace(b"\r\n", b"\n")
    damaged = base64.b64encode(bytes(der))
    changed = flat.replace(original[-12:], damaged[-12:]).replace(b"\n", b"\r\n")
    assert changed != message
    assert "does not verify" in refused_signed(changed)


def test_a_key_that_does_not_fit_the_certificate() -> None:
    """Somebody else's key behind Alice's certificate."""
    assert "does not verify" in refused_signed(b"".join(signed_message(key=TestKey(eve().key))))


def test_a_signature_by_somebody_else() -> None:
    """A perfect signature, and not the planned signer's."""
    message = assemble(TAKEN.outer_fields, sign(TAKEN, signer(eve()), moment=MOMENT, boundary=BOUNDARY))
    assert "certificate" in refused_signed(b"".join(message))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda octets: octets[: len(octets) // 2], id="cut"),
        pytest.param(lambda octets: octets.replace(b"multipart/signed", b"multipart/mixed"), id="another type"),
        pytest.param(lambda octets: octets.replace(b"MII", b"AAA"), id="no CMS"),
        pytest.param(lambda octets: b"", id="empty"),
        pytest.param(lambda octets: MESSAGE, id="clear text"),
    ],
)
def test_what_is_no_signed_message(change: Callable[[bytes], bytes]) -> None:
    """Never anything but SelfCheckFailed."""
    refused_signed(change(b"".join(signed_message())))


def test_a_second_content() -> None:
    """A detached signature that carries the content too: right in every other way."""
    opaque = sign(TAKEN, signer(alice()), moment=MOMENT, boundary=BOUNDARY, form=SignedForm.OPAQUE)
    der = base64.b64decode(opaque.body[0])
    assert "carries content" in refused_signed(clear_signed_by(der))


def test_no_signer() -> None:
    """A SignedData without SignerInfo is no signature."""
    assert "0 SignerInfos" in refused_signed(clear_signed_by(NO_SIGNERS))


def test_broken_signed_data() -> None:
    """It says that it is signed-data, and is none."""
    assert "cannot be read" in refused_signed(clear_signed_by(BROKEN_SIGNED_DATA))


def test_the_other_form() -> None:
    """Clear-signed was planned, opaque was built."""
    refused_signed(b"".join(signed_message(SignedForm.OPAQUE)), SignedForm.CLEAR)
    refused_signed(b"".join(signed_message(SignedForm.CLEAR)), SignedForm.OPAQUE)


def test_an_enveloped_message_stands() -> None:
    """For one and for several recipients, and with the outer fields compared."""
    sealed = seal(TAKEN.entity)
    for group in ([bob()], [bob(), eve(), alice()], [bob(), bob()]):
        recipients = [recipient(one) for one in group]
        message = assemble(TAKEN.outer_fields, envelop(sealed, recipients))
        check_enveloped(message, sealed, recipients)
        check_enveloped(message, sealed, recipients, outer_fields=TAKEN.outer_fields)


def refused_enveloped(message: list[bytes] | bytes, planned: list[object] | None = None, **further: object) -> str:
    recipients = [recipient(bob()), recipient(eve())] if planned is None else planned
    with pytest.raises(SelfCheckFailed) as caught:
        check_enveloped([message] if isinstance(message, bytes) else message, SEALED, recipients, **further)  # type: ignore[arg-type]
    return str(caught.value)


SEALED = seal(TAKEN.entity)


def enveloped(*people: object) -> list[bytes]:
    chosen = people or (bob(), eve())
    return assemble(TAKEN.outer_fields, envelop(SEALED, [recipient(one) for one in chosen]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "people",
    [
        pytest.param(lambda: (bob(),), id="one too few"),
        pytest.param(lambda: (bob(), eve(), alice()), id="one too many"),
        pytest.param(lambda: (bob(), alice()), id="somebody else"),
        pytest.param(lambda: (bob(), bob()), id="one twice"),
    ],
)
def test_other_recipients(people: Callable[[], tuple[object, ...]]) -> None:
    """The set and its count are the plan's: a Bcc in the wrong copy would show here."""
    assert "RecipientInfo" in refused_enveloped(enveloped(*people()))


def test_another_content() -> None:
    """The ciphertext of another entity, or another key."""
    other = seal(ENTITY + b"more")
    recipients = [recipient(bob()), recipient(eve())]
    message = assemble(TAKEN.outer_fields, envelop(other, recipients))
    refused_enveloped(message)
    swapped = replace(SEALED, encrypted=replace(SEALED.encrypted, iv=other.encrypted.iv))
    refused_enveloped(assemble(TAKEN.outer_fields, envelop(swapped, recipients)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda octets: octets + b"The numbers.\r\n", id="clear text behind"),
        pytest.param(lambda octets: octets.replace(b"\r\n\r\n", b"\r\n\r\nThe numbers.\r\n\r\n", 1), id="before"),
        pytest.param(lambda octets: octets[:-24] + b"\r\n \r\n" + octets[-24:], id="blanks inside"),
        pytest.param(lambda octets: octets[:-200], id="cut"),
        pytest.param(lambda octets: MESSAGE, id="clear text"),
        pytest.param(lambda octets: b"Content-Type: message/rfc822\r\n\r\n" * 99, id="not readable"),
    ],
)
def test_what_is_not_only_the_cms_object(change: Callable[[bytes], bytes]) -> None:
    """No clear text where it must not be."""
    refused_enveloped(change(b"".join(enveloped())))


def test_another_header() -> None:
    """A field that the plan does not have, or one that is missing."""
    planned = TAKEN.outer_fields
    refused_enveloped([b"X-Clear: text\r\n", *enveloped()], outer_fields=planned)
    refused_enveloped(enveloped(), outer_fields=planned + b"X-More: y\r\n")
    message = b"".join(enveloped()).replace(b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\r\nX-Clear: text\r\n")
    assert "header" in refused_enveloped(message, outer_fields=planned)


def test_protected_of_nothing() -> None:
    """An empty body is no enveloped-data."""
    broken = Protected(content_fields=b"Content-Type: application/pkcs7-mime\r\n", body=())
    refused_enveloped(assemble(TAKEN.outer_fields, broken))


def test_no_key_or_content_in_the_text() -> None:
    """The cause goes to the log: it names what is wrong, not what is inside."""
    text = refused_enveloped(b"".join(enveloped(alice())))
    assert "numbers" not in text
    assert certificate(alice()).subject not in text
