"""A worker is an object: two of them live in one loop and know nothing of each other but the folder of their state."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from gateway.app.load import load
from gateway.app.process import bind
from gateway.app.system import SystemClock
from gateway.app.worker import Worker, make_log
from gateway.observe import Registry
from gateway.settings import Endpoint
from gateway.smtp.connection import Connection
from tests.support.house import House
from tests.support.letters import Letter
from tests.support.loopback import SECONDS, Caller, Run, run_on, until
from tests.support.peers import LOOPBACK, free_port
from tests.support.script import Gate, Script, Step
from tests.support.sink import Sink

ALICE, CAROL, DAVE = "alice@acme.example", "carol@bank.example", "dave@bank.example"
PASS = "default: pass\n"


def now() -> datetime:
    """The house's certificates are valid by the machine's clock."""
    return datetime.now(UTC)


class Running:
    """A worker with its own registry and log, listening on free ports."""

    def __init__(self, house: House, **more: Any) -> None:
        loaded = load(house.settings, now)
        clock = SystemClock()
        self.registry = Registry()
        self._log = io.BytesIO()
        log = make_log(self._log, clock, loaded, "w1")  # type: ignore[arg-type]
        self.worker = Worker(loaded, clock=clock, log=log, registry=self.registry, **more)
        self.sockets = {name: bind(Endpoint(LOOPBACK, 0), shared=True) for name in loaded.settings.listeners}
        self.ports = {name: sock.getsockname()[1] for name, sock in self.sockets.items()}
        self.abandoned = -1

    async def __aenter__(self) -> Self:
        await self.worker.start(self.sockets)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.abandoned < 0:
            await self.drain()

    async def drain(self) -> None:
        self.abandoned = await self.worker.drain()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of its log of this name."""
        lines = [json.loads(line) for line in self._log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of its metrics."""
        return self.registry.get_sample_value(name, labels) or 0.0

    async def call(self, listener: str = "users") -> Caller:
        """Call it, and say EHLO."""
        client = await Caller.call(self.ports[listener])
        await client.expect(220)
        await client.ask(b"EHLO client.example\r\n", 250)
        return client


def transaction(*to: str) -> bytes:
    """Return everything up to the final dot."""
    letter = Letter.plain(sender=ALICE, to=", ".join(to))
    envelope = "".join(f"{line}\r\n" for line in [f"MAIL FROM:<{ALICE}>", *(f"RCPT TO:<{one}>" for one in to), "DATA"])
    return envelope.encode() + letter.octets + b".\r\n"


def codes(*to: str, last: int = 250) -> tuple[int, ...]:
    return (250, *[250] * len(to), 354, last)


def test_a_worker_from_start_to_drain(run: Run, house: House, sink: Sink) -> None:
    """The main job in one object: signed and encrypted by the house's policies, counted, logged, recorded, drained."""
    house.write((sink.host, sink.port))

    async def main() -> None:
        async with Running(house) as running:
            async with await running.call() as client:
                await client.ask(transaction(CAROL), *codes(CAROL))
                await client.ask(b"QUIT\r\n", 221)
                await client.read_end()
            await running.drain()
            assert running.abandoned == 0
            [event] = running.events("transaction")
            assert (event["outcome"], event["listener"], event["worker"]) == ("accepted", "users", "w1")
            assert [line["event"] for line in running.events("drained")] == ["drained"]
            assert running.metric("smime_gateway_transactions_in_flight", listener="users") == 0
            assert running.metric("smime_gateway_sessions", listener="users") == 0
            assert list((house.folder / "state" / "decisions").rglob("*"))
            assert not list((house.folder / "state" / "workers").iterdir())

    run(main())
    [delivery] = sink.wait(1)
    assert b"application/pkcs7-mime" in delivery.content
    assert sink.connections[0].verbs[-1] == "QUIT"


def test_two_workers_in_one_loop(run: Run, house: House, sink: Sink) -> None:
    """Nothing is module state: each counts, logs and connects for itself; secret and journal are the house's."""
    house.write((sink.host, sink.port), policy=PASS)

    async def main() -> None:
        async with Running(house) as first, Running(house) as second:
            for running, count in ((first, 1), (second, 2)):
                async with await running.call() as client:
                    for _ in range(count):
                        await client.ask(transaction(DAVE), *codes(DAVE))
            await first.drain()
            assert len(first.events("transaction")) == 1
            async with await second.call() as client:
                await client.ask(transaction(DAVE), *codes(DAVE))
            await second.drain()
            assert len(second.events("transaction")) == 3
            assert first.events("unexpected") == second.events("unexpected") == []
            assert len(list(house.folder.glob("state/secret"))) == 1

    run(main())
    assert len(sink.wait(4)) == 4
    assert len(sink.connections) == 2


def test_a_listener_for_each_in_the_settings(run: Run, house: House, sink: Sink) -> None:
    """Each proves and offers what is said of it."""
    house.write((sink.host, sink.port), policy="default: {sign: required}\n")

    async def main() -> None:
        async with Running(house) as running:
            async with await running.call("users") as client:
                await client.ask(transaction(DAVE), *codes(DAVE))
            async with await running.call("border") as client:
                await client.ask(transaction(DAVE), *codes(DAVE, last=550))
            assert [(one["listener"], one["proof"]) for one in running.events("transaction")] == [
                ("users", "network"),
                ("border", "none"),
            ]

    run(main())


def test_half_of_what_the_upstream_takes_is_offered(run: Run, house: House) -> None:
    """What leaves may be nearly twice as large; until the upstream has been heard, the settings' limit holds."""

    async def main() -> None:
        with Sink(extensions=("SIZE 200000",)) as sink:
            house.write((sink.host, sink.port), policy=PASS, limits={"message": "1MiB"})
            async with Running(house) as running, await running.call() as client:
                assert b"SIZE 1048576\r\n" in client.heard
                await client.ask(transaction(DAVE), *codes(DAVE))
                await client.ask(b"EHLO client.example\r\n", 250)
                assert b"SIZE 100000\r\n" in client.heard
                await client.ask(b"MAIL FROM:<a@b.example> SIZE=100001\r\n", 552)

    run(main())


def test_an_upstream_that_is_not_there(run: Run, house: House) -> None:
    """The client hears 451, the admin why."""
    house.write((LOOPBACK, free_port()), policy=PASS)

    async def main() -> None:
        async with Running(house) as running, await running.call() as client:
            await client.ask(b"MAIL FROM:<alice@acme.example>\r\n", 451)
            [lost] = running.events("upstream-lost")
            assert lost["upstream"] == "next"
            assert running.metric("smime_gateway_upstream_connections_lost_total", upstream="next") == 1

    run(main())


def test_the_way_out_can_be_replaced(run: Run, house: House) -> None:
    """Every connection is opened by the dialer that it was given: a simulation stands in for the network."""
    house.write(("mta.acme.example", 2525), policy=PASS)
    dialed: list[tuple[str, int]] = []

    async def dial(host: str, port: int, _factory: Callable[[], Connection]) -> Any:
        dialed.append((host, port))
        raise OSError("no network")

    async def main() -> None:
        async with Running(house, dialer=dial) as running, await running.call() as client:
            await client.ask(b"MAIL FROM:<alice@acme.example>\r\n", 451)

    run(main())
    assert dialed == [("mta.acme.example", 2525)]


def test_a_drain_waits_for_what_is_under_way(run: Run, house: House) -> None:
    """New clients are not taken, the running one has its reply, and then all connections are closed."""
    gate = Gate()

    async def main() -> None:
        with Sink(Script({Step.DOT: [gate.hold()]})) as sink:
            house.write((sink.host, sink.port), policy=PASS)
            async with Running(house) as running, await running.call() as client:
                client.send(transaction(DAVE))
                await until(gate.reached.is_set)
                draining = asyncio.create_task(running.drain())
                await until(lambda: running.events("draining"))
                with pytest.raises(OSError, match=r"."):
                    socket.create_connection((LOOPBACK, running.ports["users"]), timeout=1)
                assert not draining.done()
                gate.open()
                await client.expect(*codes(DAVE), 421)
                await draining
                assert running.abandoned == 0
                assert running.events("draining")[0]["in_flight"] == 1
            await until(lambda: sink.connections[0].ended)
            assert sink.connections[0].verbs[-1] == "QUIT"

    run(main())


def test_a_drain_has_an_end(run: Run, house: House) -> None:
    """What does not end in time is counted as abandoned; the client has not heard 250, so it keeps its mail."""
    gate = Gate()

    async def main() -> None:
        with Sink(Script({Step.DOT: [gate.hold()]})) as sink:
            house.write((sink.host, sink.port), policy=PASS, drain="0s")
            async with Running(house) as running, await running.call() as client:
                client.send(transaction(DAVE))
                await until(gate.reached.is_set)
                await running.drain()
                assert running.abandoned == 1
                assert b"accepted" not in await client.read_end()
                assert running.events("drained")[0]["abandoned"] == 1
                gate.open()
                # It goes on while the loop lives.
                await until(lambda: running.events("transaction"))

    run(main())


def test_a_start_that_fails(house: House) -> None:
    """A state folder that cannot be one ends the start; nothing listens."""
    house.write((LOOPBACK, 25), policy=PASS)
    (house.folder / "state").write_text("in the way")
    with pytest.raises(Exception, match="state"):
        Running(house)


def test_idle_clients_hear_421_at_the_drain(run: Run, house: House, sink: Sink) -> None:
    house.write((sink.host, sink.port), policy=PASS)

    async def main() -> None:
        async with Running(house) as running, await running.call() as idle:
            async with asyncio.timeout(SECONDS):
                await running.drain()
            await idle.expect(421)
            assert running.abandoned == 0

    run(main())


def test_on_a_loop_without_uvloop(house: House, sink: Sink) -> None:
    """uvloop is an option, not a need."""
    house.write((sink.host, sink.port), policy=PASS)

    async def main() -> None:
        async with Running(house) as running, await running.call() as client:
            await client.ask(transaction(DAVE), *codes(DAVE))

    run_on(asyncio.SelectorEventLoop, main())
