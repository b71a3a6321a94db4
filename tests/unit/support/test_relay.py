"""The relay passes octets on as they come, stops at exactly the octet it is told, and goes when a side goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.dialog import Dialog
from tests.support.peers import wait_for
from tests.support.relay import Cut, Relay, Way, after, after_octets, before
from tests.support.script import Gate, Script, Step
from tests.support.sink import Sink


@pytest.fixture
def relay(sink: Sink) -> Iterator[Relay]:
    """A relay in front of an upstream double."""
    with Relay() as running:
        running.target = (sink.host, sink.port)
        yield running


def test_it_passes_everything_on(relay: Relay, sink: Sink) -> None:
    """A conversation through it is the conversation without it, and it knows where the client's end is."""
    with Dialog(relay.host, relay.port) as talk:
        talk.expect("220")
        talk.command("EHLO client.test", "250")
        talk.command("MAIL FROM:<>", "250")
        talk.command("RCPT TO:<a@b.test>", "250")
        talk.message(b"x" * 500_000 + b"\r\n", "250")
        talk.command("QUIT", "221")
        talk.expect_closed()
    [delivery] = sink.wait(1)
    assert len(delivery.content) == 500_002
    assert len(relay.peers) == 1


@pytest.mark.parametrize(
    ("cut", "passed", "split"),
    [
        (after(b"HE"), b"NOOP\r\nHE", 0),
        (after(b"HE"), b"NOOP\r\nHE", 1),
        (before(b"HELO"), b"NOOP\r\n", 0),
        (after_octets(3), b"NOO", 0),
        (after_octets(3), b"NOO", 1),
    ],
    ids=["after", "after, octet by octet", "before", "after so many", "after so many, octet by octet"],
)
def test_a_gate_stops_at_the_octet(relay: Relay, sink: Sink, cut: Cut, passed: bytes, split: int) -> None:
    """What is in front of it has arrived, nothing behind it has; opened, the rest follows; later ones pass."""
    gate = relay.shut_at(Way.TO_SERVER, cut)
    with Dialog(relay.host, relay.port, split=split) as talk:
        talk.expect("220")
        talk.send(b"NOOP\r\nHELO x\r\n")
        gate.wait()
        wait_for(lambda: bytes(sink.connections[0].received) == passed, what="the octets in front of the gate")
        gate.open()
        for code in ("250", "250"):
            talk.expect(code)
        talk.command("NOOP", "250")
    with Dialog(relay.host, relay.port) as talk:
        talk.expect("220")
        talk.command("NOOP", "250")


def test_a_gate_for_what_the_server_says(relay: Relay, sink: Sink) -> None:
    """The client hears nothing behind the gate; a server that goes takes the client with it, though it is shut."""
    gate = relay.shut_at(Way.TO_CLIENT, before(b"250"))
    with Dialog(relay.host, relay.port) as talk:
        talk.expect("220")
        talk.send(b"NOOP\r\nQUIT\r\n")
        gate.wait()
        talk.expect_closed()
    assert sink.connections[0].verbs == ["NOOP", "QUIT"]


def test_a_gate_of_a_later_connection(relay: Relay, sink: Sink) -> None:
    """The first connection passes, the second is stopped."""
    gate = relay.shut_at(Way.TO_SERVER, after(b"NOOP"), connection=1)
    with Dialog(relay.host, relay.port) as first, Dialog(relay.host, relay.port) as second:
        first.expect("220")
        second.expect("220")
        first.command("NOOP", "250")
        second.line("NOOP")
        gate.wait()
        gate.open()
        second.expect("250")


def test_a_server_that_is_not_there() -> None:
    """The client's connection ends."""
    with Relay() as relay, Dialog(relay.host, relay.port) as talk:
        talk.expect_closed()


def test_gates_of_the_upstream_double() -> None:
    """``hold`` gives the usual answer when the gate is open, ``stall`` ends the connection in its place."""
    held, stalled = Gate(), Gate()
    scripts = [Script({Step.NOOP: [held.hold()]}), Script({Step.NOOP: [stalled.stall()]})]
    with Sink(scripts) as sink, Dialog(sink.host, sink.port) as first, Dialog(sink.host, sink.port) as second:
        for talk, gate in ((first, held), (second, stalled)):
            talk.expect("220")
            talk.line("NOOP")
            gate.wait()
            gate.open()
        first.expect("250")
        second.expect_closed()
