"""A worker killed at any step of a transaction: Postfix in front tries again, and nothing is lost or doubled.

::

    Postfix ──▶ relay ──▶ gateway, three workers ──▶ relay ──▶ upstream double

The upstream's answers and the relays stop the transaction at the step in question; then the worker that has it gets
SIGKILL, and the step is released. The one exception is between the upstream's 250 and the client's: an acceptance that
the client does not hear of is sent again (RFC 5321 4.2.5, 6.1). It has tests of its own at the end. Of a message that
goes out in several, only the one whose acceptance is not yet written down has it: see "second in turn".
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.support.house import House
from tests.support.letters import Letter
from tests.support.peers import free_port, wait_for
from tests.support.postfix import Postfix
from tests.support.process import GatewayProcess
from tests.support.relay import Cut, Relay, Way, after, after_octets, before
from tests.support.script import Gate, Script, Step, default
from tests.support.sink import Sink
from tests.support.swaks import swaks

pytestmark = pytest.mark.e2e

ALICE = "alice@acme.example"
CAROL, ERIN = "carol@bank.example", "erin@partner.example"
FRANK = "frank@outside.example"
ONE_GROUP = (CAROL, ERIN)
"""Both in To, both encrypted to: one outgoing message."""
TWO_GROUPS = (CAROL, FRANK)
"""One encrypted, one only signed: two outgoing messages."""
LARGE = 8_000_000
"""Octets that the socket buffers between gateway and upstream do not hold: Linux gives a sender 4 MiB at most."""
KILLS = 5
"""After so many the gateway is started anew."""
HALF = b"the middle of the mail data"


@dataclass(frozen=True)
class World:
    """What lives as long as this module."""

    gateway: GatewayProcess
    front: Postfix
    ahead: Relay
    """Between Postfix and the gateway."""
    behind: Relay
    """Between the gateway and the upstream."""
    upstream_port: int
    queued: list[str] = field(default_factory=list)
    """What Postfix has taken, by its ids."""

    def send(self, to: tuple[str, ...], *, text: str = "Hello.") -> None:
        """Give a message to Postfix, which accepts it."""
        letter = Letter.plain(text, sender=ALICE, to=", ".join(to))
        done = swaks(self.front.host, self.front.port, sender=ALICE, to=to, message=letter.octets)
        assert done.code == "250", done.transcript
        self.queued.append(done.reply.rpartition(" ")[2])

    def deliver_all(self) -> None:
        """Have Postfix try until it has nothing left."""
        self.front.deliver_all(*self.queued)

    def worker_at(self, gate: Gate) -> int:
        """Wait until the transaction stands at the gate; return the process id of the worker that has it."""
        gate.wait()
        return self.gateway.worker_at(self.behind.peers[-1])

    def kill_at(self, gate: Gate) -> None:
        """Kill the worker that has the transaction at the gate, and open the gate."""
        self.kill(self.worker_at(gate))
        gate.open()

    def kill(self, pid: int) -> None:
        """Kill a worker, and wait until that is noticed."""
        os.kill(pid, signal.SIGKILL)
        self.gateway.wait_log("worker-died", pid=pid, status="SIGKILL")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start all but the upstream, whose answers differ by test."""
    port = free_port()
    with ExitStack() as stack:
        ahead, behind = stack.enter_context(Relay()), stack.enter_context(Relay())
        behind.target = ("127.0.0.1", port)
        house = House(tmp_path_factory.mktemp("house"))
        listener = {"client": "queueing", "sender_proof": {"networks": ["127.0.0.0/8"]}}
        host = f"{behind.host}:{behind.port}"
        house.write(
            (behind.host, behind.port),
            listeners={"parallel": listener, "serial": {**listener, "upstream": "single"}},
            upstreams={
                "next": {"hosts": [host], "tls": "none"},
                "single": {"hosts": [host], "tls": "none", "connections_per_transaction": 1},
            },
            workers=3,
        )
        gateway = stack.enter_context(GatewayProcess(house.settings))
        front = stack.enter_context(Postfix(hostname="front.test", relayhost=(ahead.host, ahead.port)))
        ahead.target = (gateway.host, gateway.port("parallel"))
        yield World(gateway, front, ahead, behind, port)


@pytest.fixture(autouse=True)
def afresh(world: World) -> None:
    """By default all groups of a transaction are sent at once. The more workers die, the slower they are replaced."""
    if len(world.gateway.log("worker-died")) >= KILLS:
        world.gateway.kill()
        world.gateway.start()
    world.ahead.target = (world.gateway.host, world.gateway.port("parallel"))


def assert_once(world: World, sink: Sink, to: tuple[str, ...]) -> None:
    """Everything is delivered: nothing queued or returned, each recipient has it from exactly one transaction."""
    world.deliver_all()
    assert received(sink) == dict.fromkeys(to, 1)


def received(sink: Sink) -> dict[str, int]:
    """Return how many accepted transactions each recipient was in."""
    lines = [line for delivery in sink.accepted for line in delivery.recipients]
    return dict(Counter(line.decode().partition("<")[2].rstrip(">") for line in lines))


def nth(number: int, gate: Gate) -> list:
    """Return acts that hold at the ``number``-th time, counted from 1."""
    return [*[default()] * (number - 1), gate.hold()]


# ---------------------------------------------------------------- while the client speaks


BY_CLIENT: dict[str, tuple[Way, Cut, int]] = {
    "after MAIL": (Way.TO_SERVER, before(b"RCPT"), 1),
    "after RCPT": (Way.TO_SERVER, before(b"DATA"), 3),
    "after 354": (Way.TO_CLIENT, before(b"354"), 3),
    "in the middle of the data": (Way.TO_SERVER, after(HALF), 3),
    "at the final dot": (Way.TO_SERVER, before(b"\r\n.\r\n"), 3),
}
"""Where the client's side stands, and how many commands the upstream has heard by then, EHLO not counted."""


@pytest.mark.parametrize("to", [ONE_GROUP, TWO_GROUPS], ids=["one group", "two groups"])
@pytest.mark.parametrize("step", BY_CLIENT)
def test_while_the_client_speaks(world: World, step: str, to: tuple[str, ...]) -> None:
    """The gateway has heard so much and no more."""
    way, cut, heard = BY_CLIENT[step]
    gate = world.ahead.shut_at(way, cut)
    with Sink(port=world.upstream_port) as sink:
        world.send(to, text=f"Hello, {HALF.decode()}, goodbye.")
        wait_for(lambda: sink.connections and len(sink.connections[0].commands) > heard, what="the probe")
        world.kill_at(gate)
        assert_once(world, sink, to)


# ---------------------------------------------------------------- while the upstream is asked


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "second RCPT", "DATA", "DOT"])
def test_while_the_upstream_answers_one_group(world: World, step: str) -> None:
    """The upstream holds back its answer; at the dot it has the message, does not say so, and forgets it."""
    gate = Gate()
    acts = [gate.stall()] if step == "DOT" else nth(2 if step.startswith("second") else 1, gate)
    with Sink([Script({Step[step.split()[-1]]: acts}), Script()], port=world.upstream_port) as sink:
        world.send(ONE_GROUP)
        world.kill_at(gate)
        assert_once(world, sink, ONE_GROUP)


def first_of_two(gate: Gate) -> dict[str, list[Script]]:
    """Answers to the first group, which goes out on the connection of the probe: MAIL, RCPT, RCPT, RSET."""
    return {
        "RSET": [Script({Step.RSET: [gate.hold()]})],
        "MAIL": [Script({Step.MAIL: nth(2, gate)})],
        "RCPT": [Script({Step.RCPT: nth(3, gate)})],
        "DATA": [Script({Step.DATA: [gate.hold()]})],
        "DOT": [Script({Step.DOT: [gate.stall()]})],
    }


def second_of_two(gate: Gate) -> dict[str, list[Script]]:
    """Answers to the second group, on a connection of its own."""
    return {
        "EHLO": [Script(), Script({Step.EHLO: [gate.hold()]})],
        "MAIL": [Script(), Script({Step.MAIL: [gate.hold()]})],
        "RCPT": [Script(), Script({Step.RCPT: [gate.hold()]})],
        "DATA": [Script(), Script({Step.DATA: [gate.hold()]})],
        "DOT": [Script(), Script({Step.DOT: [gate.stall()]})],
    }


def second_in_turn(gate: Gate) -> dict[str, list[Script]]:
    """Answers to the second group where the first has been accepted before it begins, on the same connection."""
    return {
        "MAIL, between the groups": [Script({Step.MAIL: nth(3, gate)})],
        "RCPT": [Script({Step.RCPT: nth(4, gate)})],
        "DATA": [Script({Step.DATA: nth(2, gate)})],
        "DOT": [Script({Step.DOT: [default(), gate.stall()]})],
    }


ORDERS: dict[str, tuple[str, Callable[[Gate], dict[str, list[Script]]]]] = {
    "first of two": ("parallel", first_of_two),
    "second of two": ("parallel", second_of_two),
    "second in turn": ("serial", second_in_turn),
}


@pytest.mark.parametrize(
    ("order", "step"), [(order, step) for order, (_, steps) in ORDERS.items() for step in steps(Gate())]
)
def test_while_the_upstream_answers_two_groups(world: World, order: str, step: str) -> None:
    """Both at once, or one after the other: what is accepted already is not sent again, what is not is."""
    listener, steps = ORDERS[order]
    world.ahead.target = (world.gateway.host, world.gateway.port(listener))
    gate = Gate()
    with Sink([*steps(gate)[step], Script()], port=world.upstream_port) as sink:
        world.send(TWO_GROUPS)
        world.kill_at(gate)
        assert_once(world, sink, TWO_GROUPS)


@pytest.mark.parametrize(
    ("to", "connection"),
    [(ONE_GROUP, 0), (TWO_GROUPS, 0), (TWO_GROUPS, 1)],
    ids=["one group", "first of two", "second of two"],
)
def test_in_the_middle_of_the_outgoing_content(world: World, to: tuple[str, ...], connection: int) -> None:
    """The upstream has read the beginning of a large message and reads no more."""
    gate = world.behind.shut_at(Way.TO_SERVER, after_octets(200_000), connection=connection)
    line = "a line of some seventy octets that says nothing at all, again and again\r\n"
    with Sink(port=world.upstream_port) as sink:
        world.send(to, text=line * (LARGE // len(line)))
        world.kill_at(gate)
        assert_once(world, sink, to)


# ---------------------------------------------------------------- the exception, and where it ends


@pytest.mark.parametrize("to", [ONE_GROUP, TWO_GROUPS], ids=["one group", "two groups"])
def test_the_exception_an_acceptance_that_nobody_has_noted(world: World, to: tuple[str, ...]) -> None:
    """Killed after the upstream's 250 and before it could be passed on or written down: that group is sent twice."""
    gate = Gate()
    with Sink([Script({Step.DOT: [gate.hold()]}), Script()], port=world.upstream_port) as sink:
        world.send(to)
        pid = world.worker_at(gate)
        os.kill(pid, signal.SIGSTOP)
        gate.open()
        wait_for(lambda: sink.accepted, what="the upstream's 250")
        world.kill(pid)
        world.deliver_all()

        assert received(sink) == ({CAROL: 2, ERIN: 2} if to == ONE_GROUP else {CAROL: 2, FRANK: 1})


@pytest.mark.parametrize("to", [ONE_GROUP, TWO_GROUPS], ids=["one group", "two groups"])
def test_the_exception_a_reply_that_never_arrives(world: World, to: tuple[str, ...]) -> None:
    """Our 250 is on its way when the worker and the connection die: the client has not heard it, and sends again.

    The journal does not help here: it forgets a message whose client was told, or the same octets could not be sent
    again on purpose.
    """
    forgotten = {"call": "forget", "result": "done"}
    count = world.gateway.metric("smime_gateway_journal_calls_total", **forgotten)
    gate = world.ahead.shut_at(Way.TO_CLIENT, before(b"250 2.0.0 accepted by the next hop"))
    with Sink(port=world.upstream_port) as sink:
        world.send(to)
        pid = world.worker_at(gate)
        if to == TWO_GROUPS:
            wait_for(
                lambda: world.gateway.metric("smime_gateway_journal_calls_total", **forgotten) > count,
                what="the journal has forgotten",
            )
        # The gate stays shut: the reply never comes.
        world.kill(pid)
        world.deliver_all()

        assert received(sink) == dict.fromkeys(to, 2)
