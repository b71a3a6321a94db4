"""The whole path without any connection: the real pipeline and stores, and nothing is written or sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.address import Address
from gateway.app.load import load
from gateway.app.offline import Processed, process
from gateway.lookup import Found
from gateway.pkix import PathValidator, load_certificate
from gateway.smime import unprotect
from gateway.stores import load_or_create_secret
from tests.support.house import House
from tests.support.letters import Letter
from tests.unit.smime import agents

ALICE, BOB, CAROL, DAVE = "alice@acme.example", "bob@acme.example", "carol@bank.example", "dave@bank.example"
NEXT = ("192.0.2.1", 25)
PROTECT = "default: {sign: required, encrypt: if-possible, no_certificate: sign}\n"
OPEN = "default: {decrypt: strict, verify: report}\n"


def now() -> datetime:
    """The house's certificates are valid by the machine's clock."""
    return datetime.now(UTC)


def run(house: House, *to: str, sender: str | None = ALICE, content: bytes = b"", **options: Any) -> Processed:
    """Process one message by the house's files."""
    return asyncio.run(
        process(
            load(house.settings, now),
            content=content or Letter.plain(sender=sender or "", to=", ".join(to)).octets,
            reverse_path=Address(sender) if sender else None,
            recipients=[Address(one) for one in to],
            **{"listener": "users", "client_address": "127.0.0.1", **options},
        )
    )


def layers(house: House, content: bytes, *readers: str) -> Sequence[str]:
    """Return what these people find in a message, from the outside in."""
    found = unprotect(
        content,
        keys=[agents.decryption_key(house.people[reader]) for reader in readers],
        anchors=PathValidator([load_certificate(pki.root.certificate_der) for pki in (house.acme, house.partner)]),
        moment=now(),
    )
    return [layer.type for layer in found.report.layers]


def test_each_recipient_by_policy(house: House) -> None:
    """carol gets it signed and encrypted, dave has no certificate and gets it signed: two messages, one record."""
    house.write(NEXT, policy=PROTECT)
    done = run(house, CAROL, DAVE)
    assert (done.reply.code, done.record.outcome, done.record.groups) == (250, "accepted", 2)
    by_name = {message.recipients[0].octets.decode(): message for message in done.messages}
    assert {str(message.reverse_path) for message in done.messages} == {f"<{ALICE}>"}
    assert layers(house, by_name[CAROL].content, CAROL) == ["encrypted", "signed"]
    assert layers(house, by_name[DAVE].content) == ["signed"]
    assert by_name[DAVE].content.startswith(b"Received: ")


@pytest.mark.parametrize("client", ["127.0.0.1", "192.0.2.7"], ids=["proven", "not proven"])
def test_whoever_is_not_proven_has_no_signature(house: House, client: str) -> None:
    """Law 9; ``--client`` says who asks."""
    house.write(NEXT, policy=PROTECT)
    done = run(house, DAVE, client_address=client)
    is_proven = client == "127.0.0.1"
    assert done.record.proof == ("network" if is_proven else "none")
    assert done.reply.code == (250 if is_proven else 550)
    assert len(done.messages) == is_proven


def test_by_listener(house: House) -> None:
    """The other listener proves nothing."""
    house.write(NEXT, policy=PROTECT)
    done = run(house, DAVE, listener="border")
    assert (done.record.listener, done.record.proof, done.messages) == ("border", "none", ())


def test_everybody_refused_at_rcpt(house: House) -> None:
    house.write(NEXT, policy="default: reject\n")
    done = run(house, CAROL, DAVE)
    assert (done.reply.code, done.record.outcome, done.messages) == (550, "rejected-by-policy", ())


def test_some_refused_at_rcpt(house: House) -> None:
    house.write(NEXT, policy='rules:\n  - {name: no, match: {recipient: "dave@*"}, then: reject}\ndefault: pass\n')
    done = run(house, DAVE, CAROL)
    assert done.reply.code == 250
    assert [one.outcome for one in done.record.recipients] == ["rejected-by-policy", "accepted"]
    assert [path.octets.decode() for message in done.messages for path in message.recipients] == [CAROL]


def test_refused_at_the_final_dot(house: House) -> None:
    house.write(NEXT, policy='rules:\n  - {name: no, match: {sender: "*@*"}, then: reject}\ndefault: pass\n')
    done = run(house, CAROL)
    assert (done.reply.code, done.record.outcome, done.messages) == (550, "rejected-by-policy", ())


def test_a_bounce(house: House) -> None:
    house.write(NEXT, policy="default: pass\n")
    done = run(house, ALICE, sender=None, content=Letter.plain(sender="mailer-daemon@x.example", to=ALICE).octets)
    assert done.reply.code == 250
    assert done.messages[0].reverse_path.is_null


LINKS = {
    "loopback": (("127.0.0.1", 25), {}, True),
    "loopback by name": (("localhost", 25), {}, True),
    "IPv6 loopback": (("[::1]", 25), {}, True),
    "elsewhere": (("192.0.2.1", 25), {}, False),
    "a name that looks alike": (("127.example", 25), {}, False),
    "a link that is trusted": (("192.0.2.1", 25), {"trusted_link": True}, True),
    "TLS that is verified": (("mta.acme.example", 25), {"tls": "verified"}, True),
    "TLS that is not": (("mta.acme.example", 25), {"tls": "offered"}, False),
}


@pytest.mark.parametrize(("upstream", "options", "is_confidential"), LINKS.values(), ids=LINKS)
def test_opened_mail_needs_a_link_that_may_carry_it(
    house: House, upstream: tuple[str, int], options: dict[str, object], is_confidential: bool
) -> None:
    """Law 10, told by the settings alone, for nobody is connected to."""
    bob = house.people[BOB]
    (house.folder / "partners" / "bob.crt").write_bytes(bob.certificate_pem + bob.chain_pem)
    house.write(NEXT, policy=PROTECT)
    [message] = run(house, BOB).messages
    assert layers(house, message.content, BOB) == ["encrypted", "signed"]
    house.write(upstream, policy=OPEN, upstream_options=options)
    done = run(house, BOB, content=message.content, listener="border")
    if is_confidential:
        assert done.reply.code == 250
        assert layers(house, done.messages[0].content, BOB) == ["signed"]
        assert b"\r\nHello." in done.messages[0].content
    else:
        assert (done.record.outcome, done.messages) == ("link-not-trusted", ())


def test_a_report_is_one_of_the_messages(house: House) -> None:
    """Some accepted and others refused for good: the sender is told by the route of reports (law 3)."""
    house.write(
        NEXT,
        reports=True,
        policy='rules:\n  - {name: no, match: {recipient: "dave@*", sender: "*@*"}, then: reject}\ndefault: pass\n',
    )
    done = run(house, CAROL, DAVE)
    assert done.reply.code == 250
    mail, report = done.messages
    assert mail.recipients[0].octets.decode() == CAROL
    assert (report.reverse_path.is_null, report.recipients[0].octets.decode()) == (True, ALICE)
    assert b"multipart/report" in report.content


@pytest.mark.parametrize("has_secret", [False, True], ids=["none there", "one there"])
def test_nothing_is_written(house: House, has_secret: bool) -> None:
    """A secret that is there is used, for the marks are to be the gateway's own; none is left behind."""
    house.write(NEXT, policy=PROTECT)
    state = house.folder / "state"
    if has_secret:
        state.mkdir(mode=0o700)
        load_or_create_secret(state / "secret")
    before = sorted(house.folder.rglob("*"))
    assert run(house, CAROL).reply.code == 250
    assert sorted(house.folder.rglob("*")) == before


class BrokenKeyring:
    """Answers, but not with what was asked for."""

    async def find_signer(self, _sender: Address) -> Found[str]:
        return Found("no identity")


def test_what_nobody_expected_is_raised(house: House) -> None:
    """In a gateway it would be 451 and a line of the log; whoever runs the command is told."""
    house.write(NEXT, policy=PROTECT)
    broken = replace(load(house.settings, now), keyring=BrokenKeyring())  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        asyncio.run(
            process(
                broken,
                content=Letter.plain(sender=ALICE, to=DAVE).octets,
                reverse_path=Address(ALICE),
                recipients=[Address(DAVE)],
                listener="users",
                client_address="127.0.0.1",
            )
        )
