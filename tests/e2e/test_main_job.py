"""The main job among real mail servers: swaks, the gateway, Postfix, Dovecot; ``openssl cms`` has the last word.

Outbound the mailboxes are those of the partner, inbound our own; one Postfix and one Dovecot stand for both. Peers and
gateway live as long as this module, so a message is found again by its Message-ID.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.dovecot import Dovecot, without_delivery_fields
from tests.support.house import House
from tests.support.letters import ATTACHMENTS, Letter, binary, parts_of
from tests.support.openssl import CmsRefused, OpenSsl
from tests.support.peers import wait_for
from tests.support.pki import issue
from tests.support.postfix import Postfix
from tests.support.process import GatewayProcess
from tests.support.swaks import Swaks, swaks
from tests.support.tls import write_tls_files

pytestmark = pytest.mark.e2e

ALICE, BOB = "alice@acme.example", "bob@acme.example"
CAROL, ERIN = "carol@bank.example", "erin@partner.example"
FRANK = "frank@outside.example"
"""Outside, without a certificate, and none is needed."""
DAVE = "dave@bank.example"
"""Must be encrypted to, and has no certificate."""
DOMAINS = ["acme.example", "bank.example", "partner.example", "outside.example"]
OURS = b"smime.gw1.acme.example"


@dataclass(frozen=True)
class World:
    """Everything that runs."""

    house: House
    gateway: GatewayProcess
    mailboxes: Postfix
    dovecot: Dovecot
    openssl: OpenSsl

    def send(
        self, letter: Letter, *to: str, sender: str, listener: str = "users", options: tuple[str, ...] = ()
    ) -> str:
        """Send by swaks, expect 250, return the transaction's id."""
        done = self.try_send(letter, *to, sender=sender, listener=listener, options=options)
        assert done.code == "250", done.transcript + self.gateway.tail()
        found = re.search(r"\[(\w{16})\]$", done.reply)
        assert found, done.reply
        return found[1]

    def try_send(
        self, letter: Letter, *to: str, sender: str, listener: str = "users", options: tuple[str, ...] = ()
    ) -> Swaks:
        """Send by swaks."""
        port = self.gateway.port(listener)
        return swaks(self.gateway.host, port, *options, sender=sender, to=to, message=letter.octets)

    def arrived(self, user: str, letter: Letter) -> bytes:
        """Wait for the message in the user's mailbox; once, by IMAP and by POP3 the same octets. Return them."""
        found = wait_for(lambda: self._by_imap(user, letter), what=f"{letter.message_id} for {user}", interval=0.05)
        assert len(found) == 1
        assert self._by_pop3(user, letter) == found
        return without_delivery_fields(found[0])

    def _by_imap(self, user: str, letter: Letter) -> list[bytes]:
        return [message for message in self.dovecot.messages(user) if _names(message, letter)]

    def _by_pop3(self, user: str, letter: Letter) -> list[bytes]:
        with self.dovecot.pop3(user) as session:
            count, _ = session.stat()
            found = [b"\r\n".join(session.retr(number)[1]) + b"\r\n" for number in range(1, count + 1)]
        return [message for message in found if _names(message, letter)]

    def verified(self, signed: bytes) -> bytes:
        """Return the content of what openssl verifies."""
        return self.openssl.verify(signed)

    def opened(self, message: bytes, recipient: str) -> bytes:
        """Return what openssl decrypts as this recipient, after it has verified it."""
        return self.openssl.verify(self.openssl.decrypt(message, self.house.people[recipient]))


def _names(message: bytes, letter: Letter) -> bool:
    return f"\r\nMessage-ID: {letter.message_id}\r\n".encode() in message


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start everything once."""
    house = House(tmp_path_factory.mktemp("house"))
    openssl = OpenSsl(tmp_path_factory.mktemp("openssl"), anchors=house.anchors())
    certificate, ca = write_tls_files(house.folder)
    with ExitStack() as stack:
        dovecot = stack.enter_context(Dovecot([ALICE, BOB, CAROL, DAVE, ERIN, FRANK]))
        mailboxes = stack.enter_context(
            Postfix(
                hostname="mailboxes.test",
                lmtp=dovecot.lmtp_socket,
                domains=DOMAINS,
                users=dovecot.users,
                certificate=certificate,
                # By default it drops Bcc fields, and does not tell of TLS in Received.
                parameters={"message_drop_headers": "", "smtpd_tls_received_header": "yes"},
            )
        )
        host = f"{mailboxes.host}:{mailboxes.port}"
        proof = {"networks": ["127.0.0.0/8"]}
        house.write(
            (mailboxes.host, mailboxes.port),
            listeners={
                "users": {"sender_proof": proof},
                "border": {"client": "queueing"},
                "secure": {
                    "sender_proof": proof,
                    "tls": {"mode": "required", "certificate": str(certificate)},
                    "upstream": "verified",
                },
                "certified": {
                    "sender_proof": {"client_certificates": ["any"]},
                    "tls": {"mode": "required", "certificate": str(certificate), "client_ca": "anchors/acme.pem"},
                },
                "mistaken": {"sender_proof": proof, "upstream": "unverifiable"},
            },
            upstreams={
                "next": {"hosts": [host], "tls": "none"},
                "verified": {"hosts": [host], "tls": "verified", "ca": str(ca)},
                "unverifiable": {"hosts": [host], "tls": "verified", "ca": "anchors/acme.pem"},
            },
        )
        gateway = stack.enter_context(GatewayProcess(house.settings))
        yield World(house, gateway, mailboxes, dovecot, openssl)


# ---------------------------------------------------------------- outbound


def test_fields_arrive_as_sent_to_everybody(world: World) -> None:
    """To, Cc, Bcc, Reply-To, Date, Subject (also encoded) are the same octets in every copy."""
    more = (
        b"Cc: Erin <erin@partner.example>,\r\n\tfrank@outside.example\r\n"
        b"Bcc: bob@acme.example\r\n"
        b"Reply-To: =?utf-8?q?B=C3=BCro?= <office@acme.example>\r\n"
        b"X-Custom:   kept,  blanks and all \r\n"
    )
    letter = Letter.plain(sender=ALICE, to=CAROL, more=more, subject="=?utf-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?=")

    world.send(letter, CAROL, ERIN, FRANK, BOB, sender=ALICE)

    to_carol, to_erin = world.arrived(CAROL, letter), world.arrived(ERIN, letter)
    to_frank, to_bob = world.arrived(FRANK, letter), world.arrived(BOB, letter)
    for message in (to_carol, to_erin, to_frank, to_bob):
        assert b"\r\n" + letter.fields in message
    assert world.opened(to_carol, CAROL).endswith(b"\r\n\r\nHello.\r\n")
    assert world.opened(to_erin, ERIN).endswith(b"\r\n\r\nHello.\r\n")
    assert world.openssl.count_recipients(to_carol) == world.openssl.count_recipients(to_erin) == 2
    assert world.verified(to_frank).endswith(b"\r\n\r\nHello.\r\n")
    assert to_bob.endswith(letter.octets)


def test_a_hidden_recipient_has_a_copy_that_only_he_opens(world: World) -> None:
    """Who stands in no visible field gets an EnvelopedData of his own, and nobody else's names him."""
    letter = Letter.plain(sender=ALICE, to=CAROL)

    world.send(letter, CAROL, ERIN, sender=ALICE)

    to_carol, to_erin = world.arrived(CAROL, letter), world.arrived(ERIN, letter)
    assert world.openssl.count_recipients(to_carol) == world.openssl.count_recipients(to_erin) == 1
    assert world.opened(to_carol, CAROL) == world.opened(to_erin, ERIN)
    with pytest.raises(CmsRefused):
        world.openssl.decrypt(to_carol, world.house.people[ERIN])


@pytest.mark.parametrize("to", [FRANK, CAROL], ids=["signed", "signed and encrypted"])
def test_attachments_arrive_byte_for_byte(world: World, to: str) -> None:
    """Text, HTML, image, audio, video, arbitrary octets: types, names and decoded content are those that were sent."""
    letter = Letter.with_attachments(sender=ALICE, to=to)

    transaction = world.send(letter, to, sender=ALICE)

    message = world.arrived(to, letter)
    content = world.opened(message, to) if to == CAROL else world.verified(message)
    assert parts_of(content) == parts_of(letter.octets)
    sent = [(f"{kind}/{subtype}", name) for kind, subtype, name in ATTACHMENTS]
    assert [part[:2] for part in parts_of(content)][2:] == sent
    assert [part[2] for part in parts_of(content)][2:] == [binary(100_000, number) for number in range(4)]
    [event] = world.gateway.log("transaction", id=transaction)
    assert event["recipients"][0]["actions"] == (["sign", "encrypt"] if to == CAROL else ["sign"])


@pytest.mark.parametrize("to", [FRANK, CAROL, BOB], ids=["signed", "signed and encrypted", "as it is"])
@pytest.mark.parametrize("encoding", ["8bit", "none declared"])
def test_eight_bit_text(world: World, to: str, encoding: str) -> None:
    """UTF-8 on the wire is the same text when it arrives, whatever transfer encoding it needed for the signature."""
    text = "Grüße aus Köln, 5 €\r\nFrom: stands at the beginning, blanks at the end  \r\n.\r\nend\r\n"
    declared = b"Content-Transfer-Encoding: 8bit\r\n" if encoding == "8bit" else b""
    entity = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" + declared + b"\r\n" + text.encode()
    letter = Letter.make(entity, sender=ALICE, to=to)

    if encoding == "8bit":
        with smtplib.SMTP(world.gateway.host, world.gateway.port("users"), timeout=10) as client:
            client.sendmail(ALICE, [to], letter.octets, mail_options=["BODY=8BITMIME"])
    else:
        world.send(letter, to, sender=ALICE)

    message = world.arrived(to, letter)
    if to == BOB:
        assert message.endswith(letter.octets)
    content = {FRANK: world.verified, CAROL: lambda octets: world.opened(octets, CAROL), BOB: bytes}[to](message)
    [(kind, _, octets)] = parts_of(content)
    assert kind == "text/plain"
    assert octets.decode("utf-8") == text


def test_what_must_be_encrypted_and_cannot_is_refused_at_rcpt(world: World) -> None:
    """No certificate for a domain that must be encrypted to: 550 5.7.1 for that recipient, nothing in clear."""
    letter = Letter.plain(sender=ALICE, to=DAVE)

    done = world.try_send(letter, DAVE, sender=ALICE)

    assert (done.status, done.code) == (24, "550")
    assert "5.7.1 required protection is not possible" in done.reply


def test_an_unknown_user_is_refused_by_the_upstreams_own_reply(world: World) -> None:
    """At RCPT, in Postfix's own words; the other recipient of the same transaction gets the message."""
    letter = Letter.plain(sender=ALICE, to=FRANK)

    with smtplib.SMTP(world.gateway.host, world.gateway.port("users"), timeout=10) as client:
        client.ehlo("client.test")
        assert client.mail(ALICE)[0] == 250
        code, text = client.rcpt("nobody@outside.example")
        assert client.rcpt(FRANK)[0] == 250
        assert client.data(letter.octets)[0] == 250

    assert code == 550
    assert text == b"5.1.1 <nobody@outside.example>: Recipient address rejected: User unknown in virtual mailbox table"
    assert world.verified(world.arrived(FRANK, letter)).endswith(b"Hello.\r\n")


def test_mail_between_our_own_people_goes_as_it_is(world: World) -> None:
    """By the shipped policy nothing but our Received field is added."""
    letter = Letter.with_attachments(sender=ALICE, to=BOB, size=1000)

    world.send(letter, BOB, sender=ALICE)

    assert world.arrived(BOB, letter).endswith(letter.octets)


def test_a_large_message(world: World) -> None:
    """Some megabytes, signed and encrypted, are the same octets again."""
    letter = Letter.with_attachments(sender=ALICE, to=CAROL, size=1_000_000)

    world.send(letter, CAROL, sender=ALICE)

    assert parts_of(world.opened(world.arrived(CAROL, letter), CAROL)) == parts_of(letter.octets)


# ---------------------------------------------------------------- inbound


def trace_of(message: bytes, letter: Letter) -> bytes:
    """Return what stands above the first field that was sent."""
    return message[: message.index(letter.fields[:20])]


def results_of(message: bytes) -> list[bytes]:
    """Return the Authentication-Results fields of the header section, unfolded."""
    header = re.sub(rb"\r\n[ \t]+", b" ", message.partition(b"\r\n\r\n")[0])
    return re.findall(rb"(?im)^Authentication-Results: (.*?)\r?$", header)


FORGED = b"Authentication-Results: " + OURS + b"; smime=pass body.smime-identifier=mallory@bank.example\r\n"


@pytest.mark.parametrize("form", ["encrypted", "signed and encrypted", "signed, opaque and encrypted"])
def test_mail_to_us_is_opened(world: World, form: str) -> None:
    """What openssl has encrypted to Alice is delivered opened, attachments whole, with the one word that is ours."""
    people, openssl = world.house.people, world.openssl
    whole = Letter.with_attachments(sender=CAROL, to=ALICE)
    inner = whole.entity
    if form != "encrypted":
        inner = openssl.sign(whole.entity, people[CAROL], opaque="opaque" in form)
    letter = Letter(FORGED + whole.fields, openssl.encrypt(inner, people[ALICE]), whole.message_id)

    transaction = world.send(letter, ALICE, sender=CAROL, listener="border")

    message = world.arrived(ALICE, letter)
    assert whole.fields in message
    assert b"enveloped-data" not in message
    word = b"none" if form == "encrypted" else b"pass"
    [result] = results_of(message)
    assert result.startswith(OURS + b"; smime=" + word)
    if form == "encrypted":
        content = message
    else:
        assert b"body.smime-identifier=carol@bank.example" in result
        content = world.verified(message)
    assert parts_of(content) == parts_of(whole.octets)
    [event] = world.gateway.log("transaction", id=transaction)
    assert event["verification"] == word.decode()


@pytest.mark.parametrize("opaque", [False, True], ids=["multipart/signed", "signed-data"])
def test_signed_mail_to_us_is_verified_and_untouched(world: World, opaque: bool) -> None:
    """A signed message arrives octet by octet below the two fields that we add, and openssl still verifies it."""
    whole = Letter.with_attachments(sender=CAROL, to=BOB)
    signed = world.openssl.sign(whole.entity, world.house.people[CAROL], opaque=opaque)
    letter = Letter(whole.fields, signed, whole.message_id)

    world.send(letter, BOB, sender=CAROL, listener="border")

    message = world.arrived(BOB, letter)
    assert message.endswith(letter.octets)
    [result] = results_of(trace_of(message, letter))
    assert result.startswith(OURS + b"; smime=pass body.smime-identifier=carol@bank.example")
    assert parts_of(world.verified(message)) == parts_of(whole.octets)


def test_tampered_mail_is_told(world: World) -> None:
    """A changed word under a signature: delivered with smime=fail, and openssl does not verify it either."""
    whole = Letter.plain("The price is 42.", sender=CAROL, to=BOB)
    signed = world.openssl.sign(whole.entity, world.house.people[CAROL])
    letter = Letter(FORGED + whole.fields, signed.replace(b"is 42", b"is 41"), whole.message_id)

    world.send(letter, BOB, sender=CAROL, listener="border")

    message = world.arrived(BOB, letter)
    [result] = results_of(message)
    assert result.startswith(OURS + b"; smime=fail reason=")
    with pytest.raises(CmsRefused):
        world.verified(message)


def test_mail_that_we_cannot_open_goes_on_closed(world: World) -> None:
    """Encrypted to somebody else: handed on as it is."""
    whole = Letter.plain(sender=CAROL, to=ALICE)
    closed = world.openssl.encrypt(whole.entity, world.house.people[ERIN])
    letter = Letter(whole.fields, closed, whole.message_id)

    world.send(letter, ALICE, sender=CAROL, listener="border")

    message = world.arrived(ALICE, letter)
    assert message.endswith(letter.octets)
    assert world.openssl.decrypt(message, world.house.people[ERIN]).endswith(b"Hello.\r\n")


def test_there_and_back(world: World) -> None:
    """What we protect for a partner we can open ourselves: an answer that is encrypted and signed by our own rules."""
    letter = Letter.with_attachments(sender=ALICE, to=CAROL, size=5000)
    world.send(letter, CAROL, sender=ALICE)
    inside = world.openssl.decrypt(world.arrived(CAROL, letter), world.house.people[CAROL])
    back = Letter.make(b"", sender=ALICE, to=BOB)
    back = Letter(back.fields, world.openssl.encrypt(inside, world.house.people[BOB]), back.message_id)

    world.send(back, BOB, sender=ALICE, listener="border")

    message = world.arrived(BOB, back)
    [result] = results_of(message)
    assert result.startswith(OURS + b"; smime=pass body.smime-identifier=alice@acme.example")
    assert parts_of(world.verified(message)) == parts_of(letter.octets)


def test_what_was_opened_does_not_leave_in_clear(world: World) -> None:
    """Mail that came encrypted and was opened carries a mark: forwarded, it goes encrypted or not at all."""
    whole = Letter.plain("For your eyes only.", sender=CAROL, to=ALICE)
    closed = world.openssl.encrypt(whole.entity, world.house.people[ALICE])
    world.send(Letter(whole.fields, closed, whole.message_id), ALICE, sender=CAROL, listener="border")
    opened = world.arrived(ALICE, whole)
    forwarded = Letter.make(b"", sender=ALICE, to=FRANK)
    head = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="f"\r\n\r\n--f\r\n'
    attached = head + b"Content-Type: message/rfc822\r\n\r\n" + opened + b"\r\n--f--\r\n"
    forwarded = Letter(forwarded.fields, attached, forwarded.message_id)

    refused = world.try_send(forwarded, FRANK, sender=ALICE)
    world.send(forwarded, CAROL, sender=ALICE)

    assert refused.code == "550"
    assert "5.7.1 mail that was delivered encrypted may not leave in clear" in refused.reply
    assert b"For your eyes only." in world.opened(world.arrived(CAROL, forwarded), CAROL)


# ---------------------------------------------------------------- TLS


def test_tls_on_both_sides(world: World) -> None:
    """STARTTLS from swaks to the gateway, and from the gateway to Postfix, whose certificate it verifies."""
    letter = Letter.plain(sender=ALICE, to=CAROL)

    transaction = world.send(letter, CAROL, sender=ALICE, listener="secure", options=("--tls",))

    message = re.sub(rb"\r\n[ \t]+", b" ", world.arrived(CAROL, letter))
    by_postfix, by_us = re.findall(rb"(?m)^Received: (.*)\r$", message)[:2]
    assert re.search(rb"from gw1\.acme\.example .*\(using TLSv1\.[23] .*by mailboxes\.test", by_postfix)
    assert re.search(rb"\(TLSv1\.[23] [A-Z0-9_-]+; proven by network\) by gw1\.acme\.example .* with ESMTPS id ", by_us)
    [event] = world.gateway.log("transaction", id=transaction)
    assert event["tls"].startswith("TLSv1.")


def test_mail_waits_for_tls_where_it_is_required(world: World) -> None:
    """Without STARTTLS, MAIL hears 530."""
    done = world.try_send(Letter.plain(sender=ALICE, to=CAROL), CAROL, sender=ALICE, listener="secure")

    assert (done.status, done.reply) == (23, "530 5.7.0 must issue a STARTTLS command first")


def test_an_upstream_that_cannot_be_verified_gets_nothing(world: World) -> None:
    """Its certificate is by another CA than the settings name: 451, the log says why, no mail leaves."""
    letter = Letter.plain(sender=ALICE, to=FRANK)

    done = world.try_send(letter, FRANK, sender=ALICE, listener="mistaken")

    assert (done.status, done.code) == (23, "451")
    assert "4.4.1 the next hop does not answer" in done.reply
    [lost] = world.gateway.wait_log("upstream-lost", upstream="unverifiable")
    assert re.search(r"certificate .* issuer", lost["cause"])


def test_a_client_certificate_proves_the_sender(world: World) -> None:
    """Where only certificates prove a sender: mail is signed with one of ours, and refused with another or none."""
    folder = world.house.folder / "clients"
    for name, issuer in (("known", world.house.acme.root), ("unknown", world.house.partner.root)):
        usage = {"key_usage": ("digitalSignature",), "ext_key_usage": ("clientAuth",)}
        issue(name, issuer=issuer, **usage).pem_files(folder, name=name)
    letter = Letter.plain(sender=ALICE, to=FRANK)

    def options(name: str) -> tuple[str, ...]:
        return ("--tls", "--tls-cert", str(folder / f"{name}.crt"), "--tls-key", str(folder / f"{name}.key"))

    bare = world.try_send(letter, FRANK, sender=ALICE, listener="certified", options=("--tls",))
    other = world.try_send(letter, FRANK, sender=ALICE, listener="certified", options=options("unknown"))
    transaction = world.send(letter, FRANK, sender=ALICE, listener="certified", options=options("known"))

    assert bare.code == "550"
    assert "5.7.1 required protection is not possible" in bare.reply
    assert other.code != "250"
    [refused] = world.gateway.wait_log("session-refused", listener="certified")
    assert refused["cause"].startswith("TLS handshake failed: ")
    [event] = world.gateway.log("transaction", id=transaction)
    assert event["proof"] == "client-certificate"
    assert world.verified(world.arrived(FRANK, letter)).endswith(b"Hello.\r\n")
