"""The protected Subject comes back, and nothing else of the inner header goes out."""

from __future__ import annotations

import pytest

from gateway.limits import Limits
from gateway.mime import parse_entity, parse_header
from gateway.smime import Protectable, SignedForm, assemble, envelop, seal, sign
from gateway.smime.header_protection import protected_subject, restore_subject
from tests.support.pki import MOMENT
from tests.unit.smime.agents import BOUNDARY, alice, bob, received, recipient, signer

OUTER = b"Received: x\r\nSubject: [...]\r\nFrom: alice@acme.example\r\nTo: bob@partner.example\r\n"
INNER_SUBJECT = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n and more\r\n"


def payload(parameter: str, fields: bytes = INNER_SUBJECT) -> bytes:
    return (
        fields
        + b"From: alice@acme.example\r\nHP-Outer: Subject: [...]\r\nX-Inner: kept inside\r\n"
        + f"Content-Type: text/plain; charset=us-ascii{parameter}\r\n\r\nThe numbers.\r\n".encode()
    )


def encrypted(entity: bytes, *, outer: bytes = OUTER, form: SignedForm | None = None) -> bytes:
    buffers: tuple[bytes, ...] = (entity,)
    if form is not None:
        taken = Protectable(outer_fields=outer, entity=entity)
        buffers = sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY, form=form).buffers
    return b"".join(assemble(outer, envelop(seal(buffers), [recipient(bob())])))


@pytest.mark.parametrize("form", [None, *SignedForm])
@pytest.mark.parametrize("parameter", ['; hp="cipher"', "; hp=CIPHER", '; protected-headers="v1"'])
def test_the_subject_comes_back(parameter: str, form: SignedForm | None) -> None:
    """RFC 9788 and the older scheme, with and without a signature between; octet for octet, in its place."""
    opened = received(encrypted(payload(parameter), form=form), bob()).opened
    assert opened is not None
    head = opened.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert head.startswith(OUTER.replace(b"Subject: [...]\r\n", INNER_SUBJECT) + b"MIME-Version: 1.0\r\n")
    assert b"X-Inner" not in head
    assert b"HP-Outer" not in head


@pytest.mark.parametrize(
    "entity",
    [
        pytest.param(payload(""), id="not protected"),
        pytest.param(payload('; hp="clear"'), id="not hidden"),
        pytest.param(payload('; protected-headers="v2"'), id="unknown scheme"),
        pytest.param(payload('; hp="cipher"', b""), id="no subject inside"),
        pytest.param(payload('; hp="cipher"', INNER_SUBJECT * 2), id="two subjects inside"),
    ],
)
def test_the_subject_stays(entity: bytes) -> None:
    """Without a clear word the outer one stands."""
    opened = received(encrypted(entity), bob()).opened
    assert opened is not None
    assert opened.startswith(OUTER)


def test_a_subject_that_cannot_travel_stays_inside() -> None:
    """A line too long would not leave this house."""
    entity = parse_entity(payload('; hp="cipher"', b"Subject: " + b"x" * 1200 + b"\r\n"))
    assert protected_subject(entity) is None


def test_a_signed_message_keeps_its_subject() -> None:
    """Nothing is restored where nothing was opened."""
    taken = Protectable(outer_fields=OUTER, entity=payload('; hp="cipher"'))
    message = b"".join(assemble(OUTER, sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY)))
    assert received(message, bob()).opened is None


def test_a_subject_under_a_layer_that_stays_closed() -> None:
    """The inner layer stays encrypted in what goes out, so its Subject does too."""
    inner = encrypted(payload('; hp="cipher"'), outer=b"")
    taken = Protectable(outer_fields=OUTER, entity=inner.replace(b"MIME-Version: 1.0\r\n", b""))
    buffers = sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY).buffers
    message = b"".join(assemble(OUTER, envelop(seal(buffers), [recipient(bob())])))
    opened = received(message, bob()).opened
    assert opened is not None
    assert opened.startswith(OUTER)


def test_beyond_the_limits_nothing_is_restored() -> None:
    """An outer header that is not read is not changed."""
    outer = b"X: y\r\n" * 10
    assert restore_subject(outer, b"Subject: new\r\n", Limits(header_fields=5)) == outer


@pytest.mark.parametrize(
    ("outer", "restored"),
    [
        (b"A: 1\r\nSubject: x\r\nB: 2\r\n", b"A: 1\r\nSubject: new\r\nB: 2\r\n"),
        (b"A: 1\r\nsubject: x\r\nSubject: y\r\n y\r\nB: 2\r\n", b"A: 1\r\nSubject: new\r\nB: 2\r\n"),
        (b"A: 1\r\n", b"A: 1\r\nSubject: new\r\n"),
        (b"", b"Subject: new\r\n"),
    ],
)
def test_restore_subject(outer: bytes, restored: bytes) -> None:
    """In the place of the first, at the end where there is none; never two."""
    assert restore_subject(outer, b"Subject: new\r\n") == restored
    assert len(parse_header(restored + b"\r\n").all("subject")) == 1
