"""The listener: asyncio around the session machine; one object per listener, one per connection.

What it does: accepts connections, feeds octets to :class:`~gateway.smtp.session.ServerSession`, carries its events to a
transaction and the replies back, starts TLS, watches the clock, drains. It holds no rule of SMTP and none of mail.

A delivery runs in a task that the worker owns: a client that closes, or a session that times out, does not cancel what
is on its way to the upstream (:class:`Deliveries`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import cast

from gateway.envelope import Client, MailParameters, Path, TlsFacts
from gateway.outcome import Outcome, Reply, Session
from gateway.smtp.budget import Budget
from gateway.smtp.data import MailData
from gateway.smtp.proof import SenderProof, tls_facts
from gateway.smtp.replies import format_reply
from gateway.smtp.session import (
    Answer,
    Content,
    Data,
    Event,
    Mail,
    Quit,
    Rcpt,
    Reset,
    ServerSession,
    SessionOptions,
    StartTls,
)
from gateway.transaction.pipeline import Transaction

READ_AHEAD = 65536
"""Octets of commands held while one is being answered; beyond it the connection is not read."""
TLS_HANDSHAKE = 30.0
"""Seconds for a TLS handshake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerOptions:
    """One listener of the settings, resolved."""

    name: str
    hostname: str
    tls: ssl.SSLContext | None = None
    tls_required: bool = False
    proof: SenderProof
    idle: float = 300.0
    """Seconds without a command or a chunk of mail data (RFC 5321 4.5.3.2.7)."""
    linger: float = 30.0
    """Seconds that a client has to take the last replies when the session is over."""
    sessions: int = 1000
    message_limit: Callable[[], int]
    """The SIZE to offer now."""


class Deliveries:
    """The deliveries of a worker; they outlive the sessions that began them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Reply]] = set()

    def start(self, delivery: Coroutine[object, object, Reply]) -> asyncio.Task[Reply]:
        """Run a delivery."""
        task = asyncio.get_running_loop().create_task(delivery)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self, timeout: float) -> int:
        """Wait for all, ``timeout`` seconds at most; return how many have not ended."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        return len(self._tasks)


class Listener:
    """Accepts connections for one listener of the settings."""

    def __init__(
        self,
        options: ListenerOptions,
        begin: Callable[[Client, Path, MailParameters], Transaction],
        *,
        failed: Callable[[Exception], None],
        deliveries: Deliveries,
        budget: Budget,
        opened: Callable[[], None],
        closed: Callable[[], None],
        refused: Callable[[str, str], None] = lambda _client, _cause: None,
    ) -> None:
        """Make it; ``refused`` hears the address of a client that we sent away before any mail, and why."""
        self.options = options
        self.begin = begin
        self.failed = failed
        self.opened = opened
        self.closed = closed
        self.refused = refused
        self.deliveries = deliveries
        self.budget = budget
        self.connections: set[ServerConnection] = set()
        self.is_draining = False

    def connection(self) -> ServerConnection:
        """Make the protocol of a new connection (asyncio's protocol factory)."""
        return ServerConnection(self)

    async def drain(self, timeout: float) -> None:
        """End idle sessions with 421, let the others finish what they are at for ``timeout`` seconds, then close."""
        self.is_draining = True
        for connection in list(self.connections):
            connection.drain()
        deadline = asyncio.get_running_loop().time() + timeout
        while self.connections and asyncio.get_running_loop().time() < deadline:
            tasks = [connection.task for connection in self.connections if connection.task is not None]
            await asyncio.wait(tasks, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        for connection in list(self.connections):
            connection.abort()


class ServerConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._options = listener.options
        self._loop = asyncio.get_running_loop()
        self._reserved = 0
        self._session = ServerSession(
            SessionOptions(
                hostname=self._options.hostname,
                tls_offered=self._options.tls is not None,
                tls_required=self._options.tls_required,
                message_limit=self._options.message_limit,
                reserve=self._reserve,
            )
        )
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._wakeup = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_reading = True
        self._has_place = True
        self._is_lost = False
        self._has_eof = False
        self._last_octets = self._loop.time()
        self._data_begun = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._transaction: Transaction | None = None
        self._tls: TlsFacts | None = None
        self._peer: tuple[str, int] = ("0.0.0.0", 0)
        self._proof = "none"
        self.task: asyncio.Task[None] | None = None

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client has connected."""
        # uvloop's transports have the interface and not the base class.
        self._transport = cast(asyncio.Transport, transport)
        self._peer = (transport.get_extra_info("peername") or self._peer)[:2]
        self._judge_client()
        self._listener.connections.add(self)
        self._has_place = len(self._listener.connections) <= self._options.sessions
        self._listener.opened()
        self.task = self._loop.create_task(self._run())
        self._watch_idle()

    def data_received(self, data: bytes) -> None:
        """asyncio: octets came; mail data go to their reader at once, without waking the session's task."""
        self._last_octets = self._loop.time()
        if self._session.receive(data):
            self._wakeup.set()
        self._regulate()

    def eof_received(self) -> bool:
        """asyncio: the client sends no more; what it is owed an answer for is still answered."""
        self._has_eof = True
        if self._transaction is not None:
            # Nearly always it has given up and will try again. One that only closed its side is told to: 4yz.
            self._transaction.is_client_gone = True
        self._wakeup.set()
        return self._tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: gone."""
        self._is_lost = True
        if self._transaction is not None:
            self._transaction.is_client_gone = True
        if self._watch is not None:
            self._watch.cancel()
        self._wakeup.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """asyncio: the client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """asyncio: it does again."""
        self._writable.set()

    def _regulate(self) -> None:
        wants = self._session.in_data or self._session.buffered <= READ_AHEAD
        if wants is not self._is_reading and self._transport is not None and not self._is_lost:
            self._is_reading = wants
            (self._transport.resume_reading if wants else self._transport.pause_reading)()

    def _watch_idle(self) -> None:
        """Look from time to time instead of moving a timer at each chunk."""
        quiet = self._loop.time() - self._last_octets
        if quiet >= self._options.idle and self._listener_waits():
            self._say_and_close(Session.IDLE.reply())
            return
        pause = max(min(1.0, self._options.idle), self._options.idle - quiet)
        self._watch = self._loop.call_later(pause, self._watch_idle)

    def _listener_waits(self) -> bool:
        """Whether it is the client's turn."""
        return self._session.in_data or not self._session.is_answering

    # --- the session's task

    async def _run(self) -> None:
        try:
            if await self._greet():
                while not self._is_lost and await self._next():
                    pass
        except Exception as error:  # a bug of ours: the client keeps the mail, and the log has the place
            self._listener.failed(error)
            self._say(self._refuse_all())
        finally:
            await self._flush()
            self._close()

    async def _greet(self) -> bool:
        if self._listener.is_draining or not self._has_place:
            busy = Session.SHUTTING_DOWN if self._listener.is_draining else Session.TOO_MANY_SESSIONS
            self._listener.refused(self._peer[0], busy.value[2])
            self._say(busy.reply())
            return False
        self._say(self._session.greeting())
        return True

    async def _next(self) -> bool:
        """Handle the next event; whether the session goes on."""
        # Before looking: what comes while the replies are flushed must wake us again.
        self._wakeup.clear()
        event = self._session.next_event()
        self._regulate()
        if event is None:
            await self._flush()
            if self._has_eof:
                return False
            if self._listener.is_draining and self._transaction is None:
                self._say(Session.SHUTTING_DOWN.reply())
                return False
            await self._wakeup.wait()
            return True
        return await self._handle(event)

    async def _handle(self, event: Event) -> bool:
        match event:
            case Answer(reply):
                self._say(reply)
            case Mail(path, parameters):
                self._answer(await self._mail(path, parameters))
            case Rcpt(path):
                self._answer(await self._current().rcpt(path))
            case Data():
                self._data_begun = self._loop.time()
                self._answer(Session.SEND_DATA.reply())
            case Content(data):
                transaction = self._current()
                self._answer(await self._content(data))
                # Without delay: until the client has it, it may try again.
                await self._flush()
                if not self._has_gone:
                    await transaction.confirm()
            case Reset(reply):
                self._abort_transaction()
                self._answer(reply)
            case StartTls(reply):
                return await self._start_tls(reply)
            case Quit(reply):
                self._abort_transaction()
                self._answer(reply)
                return False
        return True

    async def _mail(self, path: Path, parameters: MailParameters) -> Reply:
        transaction = self._listener.begin(self._client(), path, parameters)
        transaction.is_client_gone = self._has_gone
        self._transaction = transaction
        reply = await transaction.mail(self._session.recipients_ahead())
        if transaction.has_ended:
            self._transaction = None
        return reply

    async def _content(self, data: MailData) -> Reply:
        transaction = self._current()
        try:
            if data.too_large:
                return transaction.refuse(Outcome.MESSAGE_TOO_LARGE)
            if data.over_budget:
                return transaction.refuse(Outcome.MEMORY_BUDGET)
            if data.flaw is not None:
                return transaction.refuse_flaw(data.flaw)
            seconds = self._loop.time() - self._data_begun
            delivery = self._listener.deliveries.start(transaction.content(data.content, seconds))
            return await asyncio.shield(delivery)
        finally:
            self._transaction = None
            self._release()

    async def _start_tls(self, reply: Reply) -> bool:
        assert self._transport is not None
        assert self._options.tls is not None
        self._abort_transaction()
        self._answer(reply)
        await self._flush()
        self._session.tls_starting()
        try:
            transport = await self._loop.start_tls(
                self._transport, self, self._options.tls, server_side=True, ssl_handshake_timeout=TLS_HANDSHAKE
            )
        except (OSError, TimeoutError) as error:
            cause = getattr(error, "verify_message", "") or getattr(error, "reason", "") or type(error).__name__
            self._listener.refused(self._peer[0], f"TLS handshake failed: {cause}")
            return False
        if transport is None:
            return False
        self._transport = transport
        self._tls = tls_facts(transport)
        self._judge_client()
        self._session.tls_started()
        return True

    def _client(self) -> Client:
        return Client(
            listener=self._options.name,
            address=self._peer[0],
            port=self._peer[1],
            helo=self._session.helo,
            esmtp=self._session.esmtp,
            tls=self._tls,
            proven=self._proof != "none",
            proof=self._proof,
        )

    def _judge_client(self) -> None:
        """Judge what the connection proves: when it is made, and again under TLS."""
        self._proof = self._options.proof.judge(self._peer[0], self._tls)

    @property
    def _has_gone(self) -> bool:
        """Whether the client cannot be sure to have heard us."""
        return self._is_lost or self._has_eof or self._transport is None or self._transport.is_closing()

    def _refuse_all(self) -> Reply:
        transaction, self._transaction = self._transaction, None
        if transaction is None or transaction.has_ended:
            return Outcome.INTERNAL_ERROR.reply()
        return transaction.refuse(Outcome.INTERNAL_ERROR)

    def _current(self) -> Transaction:
        assert self._transaction is not None
        return self._transaction

    def _abort_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None
        self._release()

    def _answer(self, reply: Reply) -> None:
        # The machine first: what the client has pipelined behind is then read in the right state.
        self._session.answer(reply)
        self._say(reply)

    def _say(self, reply: Reply) -> None:
        """Put a reply out; replies to pipelined commands go in one write (RFC 2920 3.2)."""
        self._out.append(format_reply(reply))

    async def _flush(self) -> None:
        """Write what is out; before every wait for the client, and before the end."""
        if self._out and not self._is_lost and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._last_octets = self._loop.time()
        self._out.clear()
        if not self._writable.is_set():
            await self._writable.wait()

    def _reserve(self, octets: int) -> bool:
        if not self._listener.budget.take(octets):
            return False
        self._reserved += octets
        return True

    def _release(self) -> None:
        self._listener.budget.give(self._reserved)
        self._reserved = 0

    # --- the end

    def drain(self) -> None:
        """Wake the session so that it sees the drain."""
        self._wakeup.set()

    def abort(self) -> None:
        """Close now; a delivery on its way goes on."""
        if self._transport is not None:
            self._transport.abort()

    def _say_and_close(self, reply: Reply) -> None:
        if self._transport is None or self._is_lost:
            return
        if not self._writable.is_set():
            # It does not read: this reply would wait behind all the others.
            self.abort()
            return
        self._transport.write(format_reply(reply))
        self._close_transport()

    def _close(self) -> None:
        self._abort_transaction()
        self._listener.connections.discard(self)
        self._listener.closed()
        if self._watch is not None:
            self._watch.cancel()
        self._close_transport()

    def _close_transport(self) -> None:
        """Close when the client has taken what was written, or does not take it in time."""
        if self._transport is not None and not self._is_lost:
            self._transport.close()
            self._watch = self._loop.call_later(self._options.linger, self._transport.abort)
