"""One upstream connection: octets out, replies in, and the certainty of when it may no longer be trusted.

It knows how many replies are due. Octets that nobody asked for, a reply out of the grammar, an end in the middle of a
reply, a standstill: each breaks it for good, so that a late or early reply never counts for another command (a reply
readable before our final dot is not an acceptance).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import select
import ssl
from collections import deque
from collections.abc import Iterable
from typing import cast

from gateway.errors import UpstreamBroken
from gateway.outcome import Reply
from gateway.smtp.replies import ReplyReader

CLOSED = "closed by us"
"""The cause of an end that is nobody's fault."""


class Connection(asyncio.Protocol):
    """A connection as asyncio's protocol. Not for more than one task at a time."""

    def __init__(self) -> None:
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        # The greeting is due before anything is asked, and may be here before anybody waits for it.
        self._due = 1
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._poll: select.poll | None = None
        self._transport: asyncio.Transport | None = None
        self._broken = ""
        self.is_loopback = False
        """Whether the peer is this machine."""
        self.tls_verified = False
        self.tls_active = False

    @property
    def is_broken(self) -> bool:
        """Whether it must not be used again."""
        return bool(self._broken)

    @property
    def breach(self) -> str:
        """Why it broke; empty where it did not, or we closed it."""
        return "" if self._broken == CLOSED else self._broken

    async def greeting(self, timeout: float) -> Reply:
        """Wait for the reply that opens the session, ``timeout`` seconds. Raises UpstreamBroken."""
        (reply,) = await self._take(1, timeout)
        return reply

    async def exchange(self, octets: bytes, replies: int, timeout: float) -> list[Reply]:
        """Write ``octets`` and wait for as many replies; ``timeout`` in seconds for all. Raises UpstreamBroken."""
        self._due += replies
        self.write((octets,))
        return await self._take(replies, timeout)

    async def _take(self, replies: int, timeout: float) -> list[Reply]:
        self._deadline = self._loop.time() + timeout
        try:
            while len(self._replies) < replies:
                await self._wait()
        except asyncio.CancelledError:
            self.break_off("cancelled between command and reply")
            raise
        return [self._replies.popleft() for _ in range(replies)]

    def write(self, buffers: Iterable[bytes]) -> None:
        """Hand octets to the transport. Raises UpstreamBroken."""
        if self._transport is None or self.is_broken:
            raise UpstreamBroken(self._broken or "not connected")
        for buffer in buffers:
            self._transport.write(buffer)

    async def drain(self, timeout: float) -> None:
        """Wait until the transport takes more; raises UpstreamBroken where that takes over ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._writable.wait()
        except TimeoutError:
            raise self.break_off("standstill while sending") from None
        if self.is_broken:
            raise UpstreamBroken(self._broken)

    async def settle(self) -> None:
        """Let the loop read what has already arrived, so that an early reply is seen now; raises UpstreamBroken."""
        if self._poll is None or self._poll.poll(0):
            # One turn of the loop to poll the socket, one to run what it found.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if self.is_broken:
            raise UpstreamBroken(self._broken)

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str, timeout: float) -> None:
        """Turn to TLS after a 220. Raises UpstreamBroken, also when the certificate does not verify."""
        if self.is_broken or self._transport is None:
            raise UpstreamBroken(self._broken or "not connected")
        try:
            transport = await self._loop.start_tls(
                self._transport, self, context, server_hostname=server_hostname, ssl_handshake_timeout=timeout
            )
        except ssl.SSLCertVerificationError as error:
            raise self.break_off(f"TLS certificate not accepted: {error.verify_message}") from error
        except (OSError, ssl.SSLError, TimeoutError) as error:
            raise self.break_off(f"TLS handshake failed: {type(error).__name__}") from error
        if transport is None:
            raise self.break_off("connection lost in the TLS handshake")
        self._transport = transport
        self.tls_active = True
        self.tls_verified = context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname

    def close(self) -> None:
        """Close after what was written has gone out."""
        if self._transport is not None and not self.is_broken:
            self._broken = CLOSED
            if self._watch is not None:
                self._watch.cancel()
            self._transport.close()

    def break_off(self, cause: str) -> UpstreamBroken:
        """Close now and for good; return the exception to raise."""
        if not self.is_broken:
            self._broken = cause
            if self._transport is not None:
                self._transport.abort()
            if self._watch is not None:
                self._watch.cancel()
            self._writable.set()
            self._wake()
        return UpstreamBroken(self._broken)

    async def _wait(self) -> None:
        if self.is_broken:
            raise UpstreamBroken(self._broken)
        self._waiter = self._loop.create_future()
        if self._watch is not None and self._watch.when() > self._deadline:
            # It runs for an earlier command that was given longer.
            self._watch.cancel()
            self._watch = None
        if self._watch is None:
            self._watch = self._loop.call_at(self._deadline, self._look_at_deadline)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look_at_deadline(self) -> None:
        """Break off what has waited too long; one timer serves all commands, set anew only when it has run."""
        self._watch = None
        if self._waiter is None:
            return
        if self._loop.time() >= self._deadline:
            self.break_off("no reply in time")
        else:
            self._watch = self._loop.call_at(self._deadline, self._look_at_deadline)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        # uvloop's transports have the interface and not the base class.
        self._transport = cast(asyncio.Transport, transport)
        self.is_loopback = _is_loopback(transport)
        # Only a simulated network has no socket to ask.
        if (sock := transport.get_extra_info("socket")) is not None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """asyncio: octets came."""
        try:
            replies = self._reader.receive(data)
        except UpstreamBroken as error:
            self.break_off(str(error))
            return
        if len(replies) > self._due or (self._reader.is_partial and len(replies) == self._due):
            self.break_off(f"unsolicited reply {replies[0].code}" if replies else "unsolicited octets")
            return
        self._due -= len(replies)
        self._replies += replies
        if replies:
            self._wake()

    def eof_received(self) -> bool:
        """asyncio: the peer will send no more."""
        self.break_off("closed by the next hop")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: gone."""
        self.break_off("connection lost" if exc is None else f"connection lost: {type(exc).__name__}")

    def pause_writing(self) -> None:
        """asyncio: the transport is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """asyncio: the transport takes more."""
        self._writable.set()


def _is_loopback(transport: asyncio.BaseTransport) -> bool:
    peer = transport.get_extra_info("peername") or ("",)
    with contextlib.suppress(ValueError, TypeError):
        return ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback
    return False
