"""A queueing client in front: whatever the upstream does meanwhile, in the end everybody has the message once.

::

    Postfix ──▶ gateway ──▶ upstream double, or Postfix and Dovecot

The gateway owns no message: each failure is passed to Postfix as a 4yz, and its retries do the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.support.dovecot import Dovecot
from tests.support.house import House
from tests.support.letters import Letter
from tests.support.peers import free_port, wait_for
from tests.support.postfix import Postfix
from tests.support.process import GatewayProcess
from tests.support.script import Act, Script, Step, close, default, reply, reset
from tests.support.sink import Sink
from tests.support.swaks import swaks

pytestmark = pytest.mark.e2e

ALICE, BOB = "alice@acme.example", "bob@acme.example"
CAROL, ERIN = "carol@bank.example", "erin@partner.example"
FRANK, GRACE = "frank@outside.example", "grace@outside.example"


@dataclass(frozen=True)
class World:
    """What lives as long as this module: Postfix, and the gateway behind it; its upstream is each test's own."""

    gateway: GatewayProcess
    front: Postfix
    upstream_port: int
    queued: list[str] = field(default_factory=list)
    """What Postfix has taken, by its ids."""

    def send(self, *to: str, sender: str = ALICE, shown: tuple[str, ...] | None = None) -> Letter:
        """Give a message to Postfix, which accepts it; ``shown`` are the recipients in To, by default all."""
        letter = Letter.plain(sender=sender, to=", ".join(shown or to))
        done = swaks(self.front.host, self.front.port, sender=sender, to=to, message=letter.octets)
        assert done.code == "250", done.transcript
        self.queued.append(done.reply.rpartition(" ")[2])
        return letter

    def deliver_all(self) -> None:
        """Have Postfix try until it has nothing left."""
        self.front.deliver_all(*self.queued)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start gateway and Postfix."""
    port = free_port()
    house = House(tmp_path_factory.mktemp("house"))
    listener = {"client": "queueing", "sender_proof": {"networks": ["127.0.0.0/8"]}}
    house.write(("127.0.0.1", port), listeners={"front": listener}, reports=True, limits={"hidden_copies": 1})
    with ExitStack() as stack:
        gateway = stack.enter_context(GatewayProcess(house.settings))
        front = stack.enter_context(Postfix(hostname="front.test", relayhost=(gateway.host, gateway.port("front"))))
        yield World(gateway, front, port)


def received(sink: Sink) -> dict[str, int]:
    """Return how many accepted transactions each recipient was in."""
    lines = [line for delivery in sink.accepted for line in delivery.recipients]
    return dict(Counter(line.decode().partition("<")[2].rstrip(">") for line in lines))


def test_upstream_down_and_up_again(world: World) -> None:
    """While nothing listens there, MAIL hears 451 4.4.1 and the queue keeps the mail; then all of it arrives once."""
    for _ in range(3):
        world.send(CAROL, FRANK)
    world.front.wait_log(r"status=deferred \(host .* said: 451 4\.4\.1 the next hop does not answer")

    with Sink(port=world.upstream_port) as sink:
        world.deliver_all()

        assert received(sink) == {CAROL: 3, FRANK: 3}
    assert len({re.search(rb"Message-ID: (.*)\r", delivery.content)[1] for delivery in sink.accepted}) == 3
    assert len(sink.accepted) == 6


BUSY = reply("451 4.3.0 busy")
GONE = reply("421 4.3.2 going down")


@pytest.mark.parametrize("to", [(CAROL, ERIN), (CAROL, FRANK)], ids=["one group", "two groups"])
@pytest.mark.parametrize("act", [BUSY, GONE, close(), reset()], ids=["451", "421", "FIN", "RST"])
@pytest.mark.parametrize("step", [Step.CONNECT, Step.EHLO, Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
def test_upstream_that_puts_off(world: World, step: Step, act: Act, to: tuple[str, ...]) -> None:
    """A refusal or a broken connection at any step, then none: everybody has it exactly once."""
    with Sink(Script({step: [act]}), port=world.upstream_port) as sink:
        world.send(*to)
        world.deliver_all()

        assert received(sink) == dict.fromkeys(to, 1)


def test_what_the_upstream_says_is_what_the_client_hears(world: World) -> None:
    """A 4yz to the final dot reaches Postfix in the upstream's own words."""
    with Sink(Script({Step.DOT: [reply("452 4.3.1 come back in the evening")]}), port=world.upstream_port):
        world.send(CAROL)
        world.front.wait_log(r"status=deferred \(host .* said: 452 4\.3\.1 come back in the evening")
        world.deliver_all()


# ---------------------------------------------------------------- partial acceptance


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("place", [0, 1], ids=["first group put off", "second group put off"])
def test_one_group_is_put_off_at_the_dot(world: World, place: int, times: int) -> None:
    """One outgoing message is accepted, the other hears 451: the retry sends only what is missing."""
    put_off = [Script({Step.DOT: [BUSY] * times}), Script()]
    scripts = put_off if place == 0 else put_off[::-1]
    # Both groups of the first attempt have a connection each; afterwards the one that is missing takes any of them.
    with Sink([*scripts, put_off[0]], port=world.upstream_port) as sink:
        world.send(CAROL, FRANK)
        world.deliver_all()

        assert received(sink) == {CAROL: 1, FRANK: 1}


@pytest.mark.parametrize("step", [Step.RCPT, Step.DOT])
def test_one_recipient_is_put_off(world: World, step: Step) -> None:
    """A recipient that the upstream defers holds nobody else up, and nobody gets the message twice."""
    acts = {Step.RCPT: [default(), default(), default(), reply("450 4.2.0 greylisted")], Step.DOT: [default(), BUSY]}
    with Sink(Script({step: acts[step]}), port=world.upstream_port) as sink:
        world.send(CAROL, FRANK, GRACE)
        world.deliver_all()

        assert received(sink) == {CAROL: 1, FRANK: 1, GRACE: 1}


def test_more_hidden_recipients_than_copies(world: World) -> None:
    """The cap on copies puts single recipients off by plan (452 4.5.3); retries reach all of them, each once."""
    with Sink(port=world.upstream_port) as sink:
        world.send(CAROL, ERIN, FRANK, shown=(FRANK,))
        world.deliver_all()

        assert received(sink) == {CAROL: 1, ERIN: 1, FRANK: 1}
    assert "4.5.3" in world.front.log()


def test_a_permanent_refusal_of_one_is_reported(world: World) -> None:
    """One outgoing message is accepted, the other refused for good: one report to the sender, and the rest is quiet."""
    with Sink(
        [Script(), Script({Step.DOT: [reply("554 5.7.0 not here")]}), Script()], port=world.upstream_port
    ) as sink:
        world.send(CAROL, FRANK)
        world.deliver_all()

        assert received(sink) == {CAROL: 1, ALICE: 1}
        [report] = [delivery for delivery in sink.accepted if delivery.mail.startswith(b"MAIL FROM:<>")]
    assert b"Content-Type: multipart/report; report-type=delivery-status" in report.content
    assert b"Final-Recipient: rfc822; frank@outside.example" in report.content
    assert b"554 5.7.0 not here" in report.content
    assert b"carol@bank.example" not in report.content.partition(b"message/delivery-status")[2].partition(b"rfc822-")[0]
    assert b"Hello." not in report.content


def test_a_permanent_refusal_of_all_is_the_clients_to_report(world: World) -> None:
    """A 5yz goes to Postfix, which bounces; the gateway sends no report of its own."""
    with Sink(Script({Step.DOT: [reply("554 5.7.0 not here")]}), port=world.upstream_port) as sink:
        world.send(CAROL)
        world.front.wait_log(r"status=bounced \(host .* said: 554 5\.7\.0 not here")
        world.deliver_all()

        assert received(sink) == {ALICE: 1}
        [bounce] = sink.accepted
    assert b"front.test" in bounce.content
    assert bounce.mail.startswith(b"MAIL FROM:<>")


# ---------------------------------------------------------------- real mailboxes behind


def test_mailboxes_that_come_back(world: World) -> None:
    """Postfix and Dovecot behind the gateway are down for a while: each mailbox has each message once."""
    letters = [world.send(CAROL, FRANK) for _ in range(3)]
    world.front.wait_log("status=deferred")
    domains = ["bank.example", "outside.example"]
    with (
        Dovecot([CAROL, FRANK]) as dovecot,
        Postfix(lmtp=dovecot.lmtp_socket, domains=domains, users=dovecot.users, port=world.upstream_port) as mailboxes,
    ):
        world.deliver_all()
        mailboxes.deliver_all()

        for user in (CAROL, FRANK):
            ids = [re.search(rb"\r\nMessage-ID: (.*)\r", message)[1] for message in dovecot.wait_messages(user, 3)]
            assert sorted(ids) == sorted(letter.message_id.encode() for letter in letters)


def test_inbound_mail_queues_too(world: World) -> None:
    """Mail to us waits in front of the gateway like any other."""
    world.send(BOB, sender=CAROL)
    wait_for(lambda: "said: 451 4.4.1" in world.front.log(), what="a deferral")
    with Sink(port=world.upstream_port) as sink:
        world.deliver_all()

        assert received(sink) == {BOB: 1}
