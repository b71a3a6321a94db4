"""Real connections over loopback, both ends in one event loop: a next hop and a client by hand, TLS, loops.

Nothing here sleeps: what is awaited either comes at once or fails after :data:`SECONDS`. Silence of a peer is tested
with a time limit of :data:`SHORT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, TypeVar

from cryptography import x509

from gateway.smtp.connection import Connection
from gateway.smtp.dialer import dial
from tests.support.peers import LOOPBACK
from tests.support.pki import Issued, issue, issue_ca, write_private

T = TypeVar("T")

SECONDS = 5.0
"""The longest wait for what has to come."""
SHORT = 0.2
"""The wait for what does not come."""
NARROW = 4096
"""Octets that a narrow socket buffers."""

Factory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: dict[str, Factory] = {"asyncio": asyncio.SelectorEventLoop}
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""The fixture ``run``: runs a coroutine to its end, on each of the loops."""


def run_on(factory: Factory, main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end; whatever the loop had to report of callbacks and forgotten tasks is a failure."""
    reports: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, report: reports.append(report))
        async with asyncio.timeout(4 * SECONDS):
            return await main

    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(watched())
    assert reports == []
    return result


async def until(look: Callable[[], object]) -> None:
    """Turn the loop until ``look`` returns something true; for another thread, make room between two looks."""
    async with asyncio.timeout(SECONDS):
        for _ in range(100):
            if look():
                return
            await asyncio.sleep(0)
        while not look():
            await asyncio.sleep(0.001)


async def turn() -> None:
    """Turn the loop so often that what is under way on this machine arrives."""
    for _ in range(20):
        await asyncio.sleep(0)


# ---------------------------------------------------------------- TLS


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """A CA and what it has issued, valid for a century: TLS is judged by the machine's clock."""

    ca: Issued
    server: Issued
    """For 127.0.0.1 and localhost."""
    client: Issued

    def server_context(self, folder: Path, *, client_ca: Issued | None = None) -> ssl.SSLContext:
        """Return a server's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _load(context, self.server, folder / "server.pem")
        if client_ca is not None:
            context.load_verify_locations(cadata=client_ca.certificate_pem.decode())
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client_context(self, folder: Path | None = None, *, identity: Issued | None = None) -> ssl.SSLContext:
        """Return a client's context that trusts the CA; with a certificate of its own where there is ``identity``."""
        context = ssl.create_default_context(cadata=self.ca.certificate_pem.decode())
        if identity is not None and folder is not None:
            _load(context, identity, folder / "client.pem")
        return context


@functools.cache
def tls_material(name: str = "TLS") -> TlsMaterial:
    """Return the material of a CA of this name."""
    since, until = datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
    ca = issue_ca(f"{name} CA", key_kind="ec-p256", not_before=since, not_after=until)

    def end_entity(index: int, use: str, *names: x509.GeneralName) -> Issued:
        return issue(
            f"{name} {use}",
            issuer=ca,
            other_names=names,
            key_kind="ec-p256",
            key_index=index,
            not_before=since,
            not_after=until,
            key_usage=("digitalSignature",),
            ext_key_usage=(use,),
        )

    names = (x509.DNSName("localhost"), x509.IPAddress(ip_address(LOOPBACK)))
    return TlsMaterial(ca=ca, server=end_entity(0, "serverAuth", *names), client=end_entity(1, "clientAuth"))


def unverified_context() -> ssl.SSLContext:
    """Return a client's context that takes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load(context: ssl.SSLContext, identity: Issued, file: Path) -> None:
    write_private(file, identity.certificate_pem + identity.key_octets())
    context.load_cert_chain(file)


# ---------------------------------------------------------------- the next hop, by hand


class Peer(asyncio.Protocol):
    """One connection at the next hop: hears everything, says what the test says."""

    def __init__(self, greeting: bytes) -> None:
        self._greeting = greeting
        self.received = bytearray()
        self.chunks: list[bytes] = []
        """What came, in the pieces in which it came."""
        self.has_end = False
        """Whether the other side has closed."""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.say(self._greeting)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.chunks.append(data)

    def eof_received(self) -> bool:
        self.has_end = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_end = True

    def say(self, octets: bytes) -> None:
        """Send exactly this."""
        if octets:
            self.transport.write(octets)

    async def hear(self, last: bytes) -> bytes:
        """Wait until this is the last that came; return everything that did, and begin anew."""
        await until(lambda: self.received.endswith(last))
        heard = bytes(self.received)
        self.received.clear()
        self.chunks.clear()
        return heard

    def reset(self) -> None:
        """Break the connection: RST."""
        reset(self.transport)


class Hop:
    """A next hop that listens."""

    def __init__(self, greeting: bytes) -> None:
        self._greeting = greeting
        self.peers: list[Peer] = []
        self.host = LOOPBACK
        self.port = 0

    def accept(self) -> Peer:
        """Make the protocol of a new connection."""
        peer = Peer(self._greeting)
        self.peers.append(peer)
        return peer

    async def peer(self, number: int = 0) -> Peer:
        """Wait for a connection, by the order of connecting."""
        await until(lambda: len(self.peers) > number)
        return self.peers[number]


@contextlib.asynccontextmanager
async def next_hop(greeting: bytes = b"220 hop.test ready\r\n") -> AsyncIterator[Hop]:
    """Listen; every connection hears ``greeting`` at once."""
    hop = Hop(greeting)
    server = await asyncio.get_running_loop().create_server(hop.accept, LOOPBACK, 0)
    hop.port = server.sockets[0].getsockname()[1]
    try:
        yield hop
    finally:
        server.close()
        for peer in hop.peers:
            peer.transport.abort()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def connected(greeting: bytes = b"220 hop.test ready\r\n") -> AsyncIterator[tuple[Connection, Peer]]:
    """Give a connection whose greeting is taken, and its other end."""
    async with next_hop(greeting) as hop:
        connection = await dial(hop.host, hop.port, Connection)
        try:
            peer = await hop.peer()
            await connection.greeting(SECONDS)
            yield connection, peer
        finally:
            connection.break_off("the test is over")
            await until(lambda: peer.has_end)


# ---------------------------------------------------------------- the client, by hand


class Caller:
    """A client: what it sends is sent to the octet, what comes back is read strictly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.heard = b""
        """Everything that came."""

    @classmethod
    async def call(cls, port: int, *, is_narrow: bool = False) -> Self:
        """Connect. ``is_narrow``: next to nothing is read ahead by system and loop."""
        sock = socket.socket()
        sock.setblocking(False)
        if is_narrow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, port))
        return cls(*await asyncio.open_connection(sock=sock, limit=NARROW if is_narrow else 2**16))

    @property
    def unsent(self) -> int:
        """Octets that the other side has not taken, nor the system for it."""
        return self._writer.transport.get_write_buffer_size()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()
        await turn()

    def send(self, octets: bytes) -> None:
        """Send exactly these octets."""
        self._writer.write(octets)

    async def sent(self) -> None:
        """Wait until the other side has taken nearly all of it."""
        async with asyncio.timeout(SECONDS):
            await self._writer.drain()

    async def read_reply(self) -> bytes:
        """Read one whole reply."""
        reply = b""
        async with asyncio.timeout(SECONDS):
            while True:
                line = await self._reader.readline()
                self.heard += line
                assert re.fullmatch(rb"[2-5]\d\d[ -][^\r\n]*\r\n", line), f"no reply: {reply!r} {line!r}"
                reply += line
                if line[3:4] == b" ":
                    return reply

    async def expect(self, *codes: int) -> bytes:
        """Read one reply for each code, and compare; return the last."""
        reply = b""
        for code in codes:
            reply = await self.read_reply()
            assert reply.startswith(str(code).encode()), f"expected {code}, got {reply!r}"
        return reply

    async def ask(self, octets: bytes, *codes: int) -> bytes:
        """Send and expect."""
        self.send(octets)
        return await self.expect(*codes)

    async def read_end(self) -> bytes:
        """Read to the end of the connection; return what came before it."""
        async with asyncio.timeout(SECONDS):
            try:
                octets = await self._reader.read()
            except ConnectionError:
                return b""
        self.heard += octets
        return octets

    async def read_chunk(self) -> bytes:
        """Return what comes next, in the piece in which it comes."""
        async with asyncio.timeout(SECONDS):
            octets = await self._reader.read(2**16)
        self.heard += octets
        return octets

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands, after 220."""
        async with asyncio.timeout(SECONDS):
            await self._writer.start_tls(context, server_hostname=LOOPBACK)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self._writer.write_eof()

    def close(self) -> None:
        """Close in order."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection: RST."""
        reset(self._writer.transport)


def reset(transport: asyncio.BaseTransport) -> None:
    """Break a connection: RST."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()  # type: ignore[attr-defined]
