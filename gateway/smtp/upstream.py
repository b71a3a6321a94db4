"""The route to one next hop: connections that are kept for the next transaction, and lent to one at a time.

A connection goes back to the pool only from a state in which no transaction is open on it; one that broke never does.
Known gaps: one host per upstream, no AUTH, no LMTP, no BDAT.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.envelope import Path
from gateway.errors import UpstreamBroken, UpstreamUnavailable
from gateway.outcome import Reply
from gateway.smtp.connection import CLOSED, Connection
from gateway.smtp.dialer import Dialer
from gateway.smtp.dialogue import Dialogue, UpstreamOptions
from gateway.transaction.ports import UpstreamFacts

A = TypeVar("A")


class Upstream:
    """A route to one next hop with kept connections; :class:`gateway.transaction.ports.Upstream`."""

    def __init__(self, options: UpstreamOptions, dialer: Dialer, lost: Callable[[str], None]) -> None:
        """Make it; ``lost`` is told the cause of each connection that could not be had, or broke."""
        self._options = options
        self._dialer = dialer
        self._lost = lost
        self._idle: list[tuple[Dialogue, asyncio.TimerHandle]] = []
        self._resets: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.size: int | None = None
        """SIZE that it offered last; ``None`` until then, or where it offers none."""

    @property
    def connections(self) -> int:
        """How many connections one transaction may hold at once."""
        return self._options.per_transaction

    @property
    def idle(self) -> int:
        """How many connections are kept now, and were in order when they were last heard of."""
        return sum(not dialogue.is_broken for dialogue, _ in self._idle)

    async def connect(self) -> LentSession:
        """Lend a connection, kept or new. Raises :class:`~gateway.errors.UpstreamUnavailable`."""
        while self._idle:
            dialogue, timer = self._idle.pop()
            timer.cancel()
            if not dialogue.is_broken:
                return LentSession(self, dialogue, is_reused=True)
        return LentSession(self, await self.open(), is_reused=False)

    async def open(self) -> Dialogue:
        """Open a new connection up to its EHLO. Raises :class:`~gateway.errors.UpstreamUnavailable`."""
        options = self._options
        connection: Connection | None = None
        try:
            async with asyncio.timeout(options.connect_timeout):
                connection = await self._dialer(options.host, options.port, Connection)
                dialogue = Dialogue(options, connection)
                await dialogue.open()
        except (OSError, TimeoutError, UpstreamBroken) as error:
            if connection is not None:
                connection.break_off(CLOSED)
            cause = str(error) or type(error).__name__
            self._lost(cause)
            raise UpstreamUnavailable(f"{options.name} ({options.host}:{options.port}): {cause}") from error
        self.size = dialogue.facts.size
        return dialogue

    def keep(self, dialogue: Dialogue) -> None:
        """Take a connection back; one with a transaction open is reset first, in the background."""
        if dialogue.breach:
            self._lost(dialogue.breach)
        if dialogue.is_broken or dialogue.is_sending:
            dialogue.close()
        elif dialogue.is_idle or self._has_enough:
            self._keep_idle(dialogue)
        else:
            task = asyncio.create_task(self._reset_and_keep(dialogue))
            self._resets.add(task)
            task.add_done_callback(self._resets.discard)

    async def _reset_and_keep(self, dialogue: Dialogue) -> None:
        try:
            await dialogue.reset()
        except UpstreamBroken:
            self._lost(dialogue.breach)
            return
        self._keep_idle(dialogue)

    def _keep_idle(self, dialogue: Dialogue) -> None:
        if self._has_enough:
            dialogue.close()
            return
        timer = asyncio.get_running_loop().call_later(self._options.kept_for, self._expire, dialogue)
        self._idle.append((dialogue, timer))

    @property
    def _has_enough(self) -> bool:
        return self._is_closed or self.idle >= self._options.kept

    def close(self) -> None:
        """Close every kept connection, and from now on each that comes back."""
        self._is_closed = True
        for reset in self._resets:
            reset.cancel()
        while self._idle:
            dialogue, timer = self._idle.pop()
            timer.cancel()
            dialogue.close()

    def _expire(self, dialogue: Dialogue) -> None:
        self._idle = [entry for entry in self._idle if entry[0] is not dialogue]
        dialogue.close()


class LentSession:
    """A connection lent to one transaction; :class:`gateway.transaction.ports.UpstreamSession`.

    A kept connection may have died unseen, or be about to: where the very first command on it breaks it, or is answered
    with 421, it is replaced by a new one, once; nothing has been asked of the next hop by then that could count.
    """

    def __init__(self, upstream: Upstream, dialogue: Dialogue, *, is_reused: bool) -> None:
        self._upstream = upstream
        self._dialogue = dialogue
        self._replaceable = is_reused
        self._is_over = False

    @property
    def facts(self) -> UpstreamFacts:
        """What the next hop offered."""
        return self._dialogue.facts

    async def mail(self, reverse_path: Path, *, smtputf8: bool = False, headers_only: bool = False) -> Reply:
        """See the port."""
        return await self._first(
            lambda dialogue: dialogue.mail(reverse_path, smtputf8=smtputf8, headers_only=headers_only)
        )

    async def begin(
        self, reverse_path: Path, forward_paths: Sequence[Path], *, smtputf8: bool = False, headers_only: bool = False
    ) -> tuple[Reply, tuple[Reply, ...]]:
        """See the port."""
        return await self._first(
            lambda dialogue: dialogue.begin(reverse_path, forward_paths, smtputf8=smtputf8, headers_only=headers_only)
        )

    async def rcpt(self, forward_path: Path) -> Reply:
        """See the port."""
        return await self._dialogue.rcpt(forward_path)

    async def data(self, buffers: Sequence[bytes], *, hold: bool = False) -> Reply | None:
        """See the port."""
        return await self._dialogue.data(buffers, hold=hold)

    async def finish(self) -> Reply:
        """See the port."""
        return await self._dialogue.finish()

    async def reset(self) -> None:
        """See the port."""
        await self._dialogue.reset()

    def release(self) -> None:
        """See the port."""
        if not self._is_over:
            self._is_over = True
            self._upstream.keep(self._dialogue)

    def discard(self) -> None:
        """See the port."""
        if not self._is_over:
            self._is_over = True
            self._dialogue.discard()
            self._upstream.keep(self._dialogue)

    async def _first(self, ask: Callable[[Dialogue], Awaitable[A]]) -> A:
        """Ask what opens a transaction; on a new connection where this one turns out to be dead."""
        is_replaceable, self._replaceable = self._replaceable, False
        try:
            answer = await ask(self._dialogue)
        except UpstreamBroken:
            if not is_replaceable:
                raise
        else:
            if not (is_replaceable and self._dialogue.is_broken):
                return answer
        try:
            self._dialogue = await self._upstream.open()
        except UpstreamUnavailable as error:
            raise UpstreamBroken(str(error)) from error
        return await ask(self._dialogue)
