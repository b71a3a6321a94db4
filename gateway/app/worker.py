"""A worker: one object built from what was loaded; it owns listeners, upstreams, deliveries and the memory budget.

Nothing of it is module state, so several can live in one process. :mod:`.process` wraps it into one of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import BinaryIO

import gateway
from gateway.app.load import Loaded
from gateway.app.system import SystemEntropy, offload
from gateway.envelope import Client, MailParameters, Path
from gateway.observe import (
    CertificateUse,
    DecisionRecords,
    LogFormat,
    MailLog,
    Metrics,
    ObservedJournal,
    Observers,
    Registry,
)
from gateway.policy import DomainSet
from gateway.settings import Upstream as UpstreamSettings
from gateway.settings import UpstreamTlsMode
from gateway.smtp.budget import Budget
from gateway.smtp.dialer import Dialer, dial
from gateway.smtp.dialogue import UpstreamOptions
from gateway.smtp.listener import Deliveries, Listener, ListenerOptions
from gateway.smtp.proof import SenderProof
from gateway.smtp.upstream import Upstream
from gateway.stores import SqliteJournal, WorkerLock, load_or_create_secret
from gateway.transaction.house import House, Ports, Route
from gateway.transaction.pipeline import Transaction
from gateway.transaction.ports import Clock, Observer
from gateway.transaction.ports import Upstream as RoutePort

EXPIRY_LOOK = 3600.0
"""Seconds between two looks at how long our own certificates last."""


class Worker:
    """Build it, :meth:`start` it on bound sockets, :meth:`drain` it."""

    def __init__(
        self, loaded: Loaded, *, clock: Clock, log: MailLog, registry: Registry, dialer: Dialer = dial
    ) -> None:
        settings = loaded.settings
        state = settings.resolve(settings.state)
        self._loaded = loaded
        self._clock = clock
        self._log = log
        self._metrics = Metrics(
            registry,
            listeners=tuple(settings.listeners),
            upstreams=tuple(settings.upstreams),
            observers=("log", "metrics", "records"),
            version=gateway.__version__,
        )
        self._records = DecisionRecords(
            state / "decisions", log=log, metrics=self._metrics, kept=timedelta(seconds=settings.records.kept)
        )
        self._lock = WorkerLock(state / "workers", secrets.token_hex(16))
        self._journal = SqliteJournal(
            state / "journal.sqlite", offload, self._lock, clock, timedelta(seconds=settings.journal.kept)
        )
        self._secret = load_or_create_secret(state / "secret")
        self._upstreams = {
            name: Upstream(_upstream_options(loaded, name, one), dialer, partial(self._upstream_lost, name))
            for name, one in settings.upstreams.items()
        }
        self._ports = self._make_ports()
        reports = settings.reports
        self._house = make_house(
            loaded, secret=self._secret, reports=self._upstreams[reports.upstream] if reports else None
        )
        self._budget = Budget(settings.limits.in_flight)
        self._deliveries = Deliveries()
        self._listeners = {name: self._make_listener(name) for name in settings.listeners}
        self._servers: list[asyncio.Server] = []
        self._expiry: asyncio.TimerHandle | None = None

    async def start(self, sockets: Mapping[str, socket.socket]) -> None:
        """Listen on bound sockets, one for each listener. Raises :class:`OSError`, :class:`JournalError`."""
        self._lock.acquire()
        self._journal.open()
        self._tell_expiry()
        loop = asyncio.get_running_loop()
        for name, listener in self._listeners.items():
            server = await loop.create_server(listener.connection, sock=sockets[name], backlog=1024)
            self._servers.append(server)

    async def drain(self) -> int:
        """Take no more connections, let transactions end, close; return how many sessions had to be cut off."""
        begun = self._clock.monotonic()
        for server in self._servers:
            server.close()
        sessions = sum(len(listener.connections) for listener in self._listeners.values())
        self._log.draining(sessions)
        timeout = self._loaded.settings.drain
        await asyncio.gather(*(listener.drain(timeout) for listener in self._listeners.values()))
        abandoned = await self._deliveries.wait(max(0.0, timeout - (self._clock.monotonic() - begun)))
        for upstream in self._upstreams.values():
            upstream.close()
        if self._expiry is not None:
            self._expiry.cancel()
        self._journal.close()
        self._records.close()
        self._lock.release()
        self._log.drained(self._clock.monotonic() - begun, abandoned)
        return abandoned

    def _make_ports(self) -> Ports:
        loaded = self._loaded
        observers: dict[str, Observer] = {"log": self._log, "metrics": self._metrics, "records": self._records}
        return Ports(
            clock=self._clock,
            entropy=SystemEntropy(self._clock),
            offload=offload,
            signers=loaded.keyring,
            keys=loaded.keyring,
            certificates=loaded.certificates,
            aliases=loaded.aliases,
            journal=ObservedJournal(self._journal, log=self._log, metrics=self._metrics, clock=self._clock),
            observer=Observers(observers, log=self._log, metrics=self._metrics),
            unavailable=self._log.lookup_unavailable,
            failed=self._log.unexpected,
        )

    def _make_listener(self, name: str) -> Listener:
        loaded = self._loaded
        one = loaded.settings.listeners[name]
        upstream = self._upstreams[one.upstream]
        limit = loaded.settings.limits.message
        certificates = one.sender_proof.client_certificates
        options = ListenerOptions(
            name=name,
            hostname=loaded.settings.identity.hostname,
            tls=loaded.listener_tls[name],
            tls_required=one.tls.mode == "required",
            proof=SenderProof(
                networks=one.sender_proof.networks,
                certificates=frozenset(certificates) - {"any"},
                any_certificate="any" in certificates,
            ),
            idle=one.idle,
            sessions=one.sessions,
            # What leaves may be nearly twice as large as what came.
            message_limit=lambda: min(limit, upstream.size // 2) if upstream.size else limit,
        )
        route = Route(
            upstream_name=one.upstream,
            upstream=upstream,
            deadline=one.deadline_seconds,
            trusts_results=bool(one.trust),
            hide_client=one.hide_client,
        )
        return Listener(
            options,
            self._begin(route),
            failed=partial(self._log.unexpected, f"session on {name}"),
            deliveries=self._deliveries,
            budget=self._budget,
            opened=partial(self._metrics.session_opened, name),
            closed=partial(self._metrics.session_closed, name),
            refused=partial(self._log.session_refused, name),
        )

    def _begin(self, route: Route) -> Callable[[Client, Path, MailParameters], Transaction]:
        def begin(client: Client, path: Path, parameters: MailParameters) -> Transaction:
            return Transaction(self._ports, self._house, route, client, path, parameters)

        return begin

    def _upstream_lost(self, name: str, cause: str) -> None:
        self._metrics.upstream_lost(name)
        self._log.upstream_lost(name, cause)

    def _tell_expiry(self) -> None:
        identities = self._loaded.keyring.identities
        now = self._clock.now()
        for use, is_for in ((CertificateUse.SIGN, "may_sign"), (CertificateUse.DECRYPT, "may_encrypt")):
            ends = [one.certificate.not_after for one in identities if getattr(one.certificate, is_for)]
            self._metrics.set_certificates(use, ends, now)
        self._metrics.set_certificates(CertificateUse.TLS, self._loaded.tls_ends, now)
        self._expiry = asyncio.get_running_loop().call_later(EXPIRY_LOOK, self._tell_expiry)


def make_house(loaded: Loaded, *, secret: bytes, reports: RoutePort | None) -> House:
    """Return what holds for every transaction; ``reports`` is the route of delivery status notifications."""
    settings = loaded.settings
    return House(
        hostname=settings.identity.hostname,
        authserv_id=settings.authserv_id,
        internal=DomainSet(settings.internal.domains),
        policy=loaded.policy,
        anchors=loaded.validator,
        limits=settings.limits.to_limits(),
        lookup_timeout=settings.limits.lookups,
        secret=secret,
        reports=reports,
    )


def make_log(stream: BinaryIO, clock: Clock, loaded: Loaded, worker: str) -> MailLog:
    """Return the mail log that the settings ask for."""
    return MailLog(stream, clock, LogFormat(loaded.settings.log.format.value), worker=worker)


def _upstream_options(loaded: Loaded, name: str, one: UpstreamSettings) -> UpstreamOptions:
    host = one.hosts[0]
    return UpstreamOptions(
        name=name,
        host=host.host,
        port=host.port,
        hostname=loaded.settings.identity.hostname,
        tls=loaded.upstream_tls[name],
        tls_required=one.tls is UpstreamTlsMode.VERIFIED,
        trusted_link=one.trusted_link,
        kept=one.connections,
        per_transaction=one.connections_per_transaction,
        connect_timeout=one.timeouts.connect,
        reply_timeout=one.timeouts.reply,
        final_timeout=one.timeouts.final,
    )
