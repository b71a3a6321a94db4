"""The scenes of the demo: what is sent, and what has to have become of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from gateway.app.system import SystemClock
from gateway.cli.demo.house import OWN, PARTNERS, STRANGER, House, Person
from gateway.cli.demo.openssl import OpenSsl
from gateway.smime import (
    SigningIdentity,
    assemble,
    envelop,
    prepare,
    recipient_certificate,
    seal,
    sign,
)
from gateway.stores import load_identity

ALICE, BOB = OWN
CAROL, ERIN = PARTNERS
DAVE = "dave@bank.example"
"""Must be encrypted to by the shipped policy, and has no certificate."""
OLGA = "olga@outside.example"
"""Has no certificate, and need not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What a scene's check may look at."""

    messages: dict[str, list[bytes]]
    """What is in the mailbox of each recipient of the scene."""
    openssl: OpenSsl
    house: House

    def only(self, recipient: str) -> bytes:
        """Return the one message of a mailbox; raises :class:`AssertionError` for none or several."""
        assert len(self.messages[recipient]) == 1
        return self.messages[recipient][0]

    def last(self, recipient: str) -> bytes:
        """Return the newest message of a mailbox; raises :class:`AssertionError` for none."""
        assert self.messages[recipient]
        return self.messages[recipient][-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One message."""

    title: str
    listener: str
    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes
    code: int
    """The reply that the client has to get."""
    describe: Callable[[Arrived], str]
    """Says what arrived, from its octets; raises :class:`AssertionError` where it is not what it should be."""
    cross_check: Callable[[Arrived], str]
    """Says what openssl found; raises :class:`AssertionError` where it differs."""


def make_scenes(house: House) -> list[Scene]:
    """Return the scenes in their order."""
    return [*_outbound(), *_inbound(house)]


# --- outbound


def _outbound() -> list[Scene]:
    return [
        Scene(
            title="to a partner with a certificate",
            listener="users",
            reverse_path=ALICE,
            recipients=(CAROL,),
            content=_text(ALICE, CAROL, "Offer", "The price is 42.\r\n"),
            code=250,
            describe=lambda arrived: _kind_of(arrived.only(CAROL), "enveloped-data", "signed and encrypted"),
            cross_check=lambda arrived: _opens_and_verifies(arrived, CAROL, b"The price is 42."),
        ),
        Scene(
            title="to an outsider without one",
            listener="users",
            reverse_path=ALICE,
            recipients=(OLGA,),
            content=_text(ALICE, OLGA, "Hello", "Nice to meet you.\r\n"),
            code=250,
            describe=lambda arrived: _kind_of(arrived.only(OLGA), "multipart/signed", "clear-signed"),
            cross_check=lambda arrived: _verifies(arrived, OLGA),
        ),
        Scene(
            title="to a domain that must be encrypted to, no certificate",
            listener="users",
            reverse_path=ALICE,
            recipients=(DAVE,),
            content=_text(ALICE, DAVE, "Account", "Never in clear.\r\n"),
            code=550,
            describe=lambda arrived: _nothing(arrived, DAVE),
            cross_check=lambda _: "-",
        ),
        Scene(
            title="To and Bcc in one transaction",
            listener="users",
            reverse_path=ALICE,
            recipients=(CAROL, ERIN),
            content=_text(ALICE, CAROL, "Minutes", "For you, and unseen for another.\r\n"),
            code=250,
            describe=_each_its_own,
            cross_check=_only_for_its_own,
        ),
    ]


def _each_its_own(arrived: Arrived) -> str:
    first, second = arrived.last(CAROL), arrived.only(ERIN)
    assert first != second
    _kind_of(first, "enveloped-data", "")
    _kind_of(second, "enveloped-data", "")
    return "two messages, each its own EnvelopedData"


def _only_for_its_own(arrived: Arrived) -> str:
    house, openssl = arrived.house, arrived.openssl
    first, second = arrived.last(CAROL), arrived.only(ERIN)
    assert openssl.decrypt(first, house.people[CAROL]) is not None
    assert openssl.decrypt(second, house.people[ERIN]) is not None
    assert openssl.recipients(first) == openssl.recipients(second) == 1
    return "openssl: one RecipientInfo in each, its own key opens it"


# --- inbound


def _inbound(house: House) -> list[Scene]:
    carol, alice, stranger = house.people[CAROL], house.people[ALICE], house.people[STRANGER]
    reply = _text(CAROL, ALICE, "Re: Offer", "Agreed.\r\n")
    # Somebody outside writes our words into the message: they have to be gone when it is delivered.
    forged = b"Authentication-Results: smime.gw1.acme.example; smime=pass\r\n"
    signed = _sign(reply, carol)
    return [
        Scene(
            title="encrypted and signed reply from the partner",
            listener="border",
            reverse_path=CAROL,
            recipients=(ALICE,),
            content=forged + _encrypt(signed, alice),
            code=250,
            describe=lambda arrived: _delivered(arrived.last(ALICE), b"Agreed.", "smime=pass", "decrypted, smime=pass"),
            cross_check=lambda arrived: _verifies(arrived, ALICE),
        ),
        Scene(
            title="signed mail, tampered with on the way",
            listener="border",
            reverse_path=CAROL,
            recipients=(BOB,),
            content=forged + signed.replace(b"Agreed.", b"Refused"),
            code=250,
            describe=lambda arrived: _delivered(arrived.only(BOB), b"Refused", "smime=fail", "delivered, smime=fail"),
            cross_check=_does_not_verify,
        ),
        Scene(
            title="encrypted to somebody else's key",
            listener="border",
            reverse_path=CAROL,
            recipients=(ALICE,),
            content=_encrypt(reply, stranger),
            code=250,
            describe=lambda arrived: _kind_of(arrived.last(ALICE), "enveloped-data", "handed on closed"),
            cross_check=_stays_closed,
        ),
    ]


def _delivered(message: bytes, text: bytes, result: str, words: str) -> str:
    fields, _, _ = message.partition(b"\r\n\r\n")
    results = [line for line in fields.split(b"\r\n") if b"smime=" in line]
    assert text in message
    assert len(results) == 1, "exactly one result: ours"
    assert result.encode() in results[0]
    return words


def _does_not_verify(arrived: Arrived) -> str:
    assert not arrived.openssl.verify(arrived.only(BOB))
    return "openssl does not verify it either"


def _stays_closed(arrived: Arrived) -> str:
    message, house = arrived.last(ALICE), arrived.house
    assert arrived.openssl.decrypt(message, house.people[ALICE]) is None
    opened = arrived.openssl.decrypt(message, house.people[STRANGER])
    assert opened is not None
    assert b"Agreed." in opened
    return "openssl: not with Alice's key, whole with the other"


# --- what the checks share


def _kind_of(message: bytes, kind: str, words: str) -> str:
    fields, _, body = message.partition(b"\r\n\r\n")
    assert kind.encode() in fields
    if kind == "enveloped-data":
        assert b"Content-Type: text/plain" not in body
    return words


def _nothing(arrived: Arrived, recipient: str) -> str:
    assert arrived.messages[recipient] == []
    return "nothing left the house"


def _opens_and_verifies(arrived: Arrived, recipient: str, text: bytes) -> str:
    opened = arrived.openssl.decrypt(arrived.only(recipient), arrived.house.people[recipient])
    assert opened is not None
    assert text in opened
    assert arrived.openssl.verify(opened)
    return "openssl decrypts, signature verifies"


def _verifies(arrived: Arrived, recipient: str) -> str:
    assert arrived.openssl.verify(arrived.last(recipient))
    return "openssl: signature verifies"


def _text(sender: str, to: str, subject: str, text: str) -> bytes:
    message_id = f"<{secrets.token_hex(8)}@demo.example>"
    header = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\n"
    return f"{header}\r\n{text}".encode()


def _sign(message: bytes, person: Person) -> bytes:
    protectable = prepare(message)
    boundary = f"=_{secrets.token_hex(16)}"
    protected = sign(protectable, _identity(person), moment=SystemClock().now(), boundary=boundary)
    return b"".join(assemble(protectable.outer_fields, protected))


def _identity(person: Person) -> SigningIdentity:
    return load_identity([person.key_file, person.certificate_file]).signing_identity()


def _encrypt(message: bytes, person: Person) -> bytes:
    protectable = prepare(message)
    protected = envelop(seal(protectable.entity), [recipient_certificate(person.certificate)])
    return b"".join(assemble(protectable.outer_fields, protected))
