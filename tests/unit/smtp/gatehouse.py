"""A listener on loopback with the real transactions behind it; doubles stand at their ports.

    async with Gatehouse() as gate, gate.caller() as client:
        await client.ask(b"EHLO client.example\r\n", 250)

Whatever happens in between, at the end everything has been given back: memory, connections to the next hop, sessions;
and each transaction that began has ended once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any, Self

from gateway.envelope import Client, MailParameters, Path
from gateway.limits import Limits
from gateway.pkix import PathValidator
from gateway.policy import DomainSet, parse_policies
from gateway.smtp.budget import Budget
from gateway.smtp.listener import Deliveries, Listener, ListenerOptions
from gateway.smtp.proof import SenderProof
from gateway.transaction.house import House, Ports, Route
from gateway.transaction.pipeline import Transaction
from tests.support.doubles import (
    AnswerBook,
    CountingEntropy,
    FixedClock,
    JournalDouble,
    ObserverDouble,
    UpstreamDouble,
    inline,
)
from tests.support.loopback import NARROW, SECONDS, Caller, turn
from tests.support.peers import LOOPBACK

HOSTNAME = "gw1.acme.example"
IN_FLIGHT = 1_000_000
LOOPBACK_NETWORK = SenderProof(networks=(ip_network("127.0.0.0/8"),))
EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<alice@acme.example>\r\n"
RCPT = b"RCPT TO:<bob@bank.example>\r\n"
ENVELOPE = MAIL + RCPT + b"DATA\r\n"
CONTENT = (
    b"From: alice@acme.example\r\nTo: bob@bank.example\r\nSubject: Numbers\r\n"
    b"Date: Mon, 01 Jun 2026 12:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\n\r\nThe numbers.\r\n"
)
MESSAGE = CONTENT + b".\r\n"


class Gatehouse:
    """The listener."""

    def __init__(
        self,
        *,
        upstream: Any = None,
        policy: str = "default: pass\n",
        tls: ssl.SSLContext | None = None,
        tls_required: bool = False,
        proof: SenderProof = LOOPBACK_NETWORK,
        idle: float = 60.0,
        linger: float = 60.0,
        sessions: int = 100,
        message_limit: int = 500_000,
        in_flight: int = IN_FLIGHT,
        recipients: int = 100,
        is_narrow: bool = False,
    ) -> None:
        """Describe it. ``is_narrow``: the system takes next to nothing for clients that do not read."""
        self.upstream = upstream or UpstreamDouble()
        self.observer = ObserverDouble()
        self.failures: list[BaseException] = []
        self.budget = Budget(in_flight)
        self.deliveries = Deliveries()
        self.sessions = [0, 0]
        """How many were opened and closed."""
        self.refused: list[tuple[str, str]] = []
        """Clients that were sent away before any mail, and why."""
        self.bug: Exception | None = None
        """Raised where a transaction should begin."""
        self.port = 0
        self._in_flight = in_flight
        self._is_narrow = is_narrow
        self._policy = parse_policies([("10-test.yaml", policy)])
        self._limits = Limits(recipients=recipients)
        self._clock, self._entropy = FixedClock(), CountingEntropy()
        self._options = ListenerOptions(
            name="users",
            hostname=HOSTNAME,
            tls=tls,
            tls_required=tls_required,
            proof=proof,
            idle=idle,
            linger=linger,
            sessions=sessions,
            message_limit=lambda: message_limit,
        )
        self.listener: Listener
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self.listener = Listener(
            self._options,
            self._begin,
            failed=self.failures.append,
            deliveries=self.deliveries,
            budget=self.budget,
            opened=lambda: self._count(0),
            closed=lambda: self._count(1),
            refused=lambda client, cause: self.refused.append((client, cause)),
        )
        self._server = await asyncio.get_running_loop().create_server(self.listener.connection, LOOPBACK, 0)
        sock = self._server.sockets[0]
        self.port = sock.getsockname()[1]
        if self._is_narrow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._server.close()
        await self.listener.drain(SECONDS)
        await turn()
        if kind is not None:
            return
        assert await self.deliveries.wait(SECONDS) == 0
        assert not self.listener.connections
        assert self.sessions[0] == self.sessions[1]
        assert self.budget.free == self._in_flight
        assert len(self.observer.records) == len(self.observer.listeners)
        if isinstance(self.upstream, UpstreamDouble):
            assert self.upstream.misuses == []
            assert self.upstream.leaked == []

    def _count(self, place: int) -> None:
        self.sessions[place] += 1

    def _begin(self, client: Client, path: Path, parameters: MailParameters) -> Transaction:
        if self.bug is not None:
            raise self.bug
        ports = Ports(
            clock=self._clock,
            entropy=self._entropy,
            offload=inline,
            signers=AnswerBook(),
            keys=AnswerBook(),
            certificates=AnswerBook(),
            aliases=AnswerBook(),
            journal=JournalDouble(),
            observer=self.observer,
            unavailable=lambda _transaction, _lookup, _cause: None,
            failed=lambda _where, error: self.failures.append(error),
        )
        house = House(
            hostname=HOSTNAME,
            authserv_id=HOSTNAME,
            internal=DomainSet(["acme.example"]),
            policy=self._policy,
            anchors=PathValidator([]),
            limits=self._limits,
            lookup_timeout=SECONDS,
            secret=b"s" * 32,
        )
        route = Route(upstream_name="next", upstream=self.upstream, deadline=SECONDS)
        return Transaction(ports, house, route, client, path, parameters)

    @asynccontextmanager
    async def caller(self, *, hello: bool = True) -> AsyncIterator[Caller]:
        """A client, by default one that has said EHLO."""
        async with await Caller.call(self.port, is_narrow=self._is_narrow) as client:
            if hello:
                await client.expect(220)
                await client.ask(EHLO, 250)
            yield client

    @property
    def outcomes(self) -> list[str]:
        """How the transactions have ended, in order."""
        return [record.outcome for record in self.observer.records]
