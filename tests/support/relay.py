"""A TCP relay between two peers, with a gate that shuts at an exact octet: what came so far has passed, no more will.

    with Relay() as relay:
        relay.target = ("127.0.0.1", gateway.port("users"))
        gate = relay.shut_at(Way.TO_SERVER, after(b"half of the mail"))
        ...a client talks to relay.port...
        gate.wait()                              that octet has passed, and everything behind it waits
        gate.open()                              it goes on, and so does every later connection

The gate shuts once, on the first connection that comes to it. While it is shut the other direction still flows, and a
side that goes takes the other with it.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import threading
from collections.abc import Callable
from enum import Enum, auto
from types import TracebackType
from typing import Self

from tests.support.peers import LOOPBACK
from tests.support.script import Gate

Cut = Callable[[bytes], int | None]
"""Says how many octets of what one direction has carried so far may pass; ``None``: all, and the gate stays open."""
SMALL = 65536
"""Octets that a socket of ours buffers, so that a shut gate is felt by the sender soon."""


class Way(Enum):
    """A direction."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


def after(mark: bytes) -> Cut:
    """Shut behind the first occurrence of these octets."""
    return lambda carried: found + len(mark) if (found := carried.find(mark)) >= 0 else None


def before(mark: bytes) -> Cut:
    """Shut in front of their first occurrence; of octets that come in pieces, the first pieces have passed by then."""
    return lambda carried: found if (found := carried.find(mark)) >= 0 else None


def after_octets(count: int) -> Cut:
    """Shut behind so many octets."""
    return lambda carried: count if len(carried) >= count else None


class Relay:
    """The relay; a context manager that starts and stops it. It listens on loopback."""

    def __init__(self) -> None:
        """Describe it; set :attr:`target` before the first connection comes."""
        self.host = LOOPBACK
        self.port = 0
        self.target = (LOOPBACK, 0)
        self.peers: list[int] = []
        """The client's port of every connection, in order."""
        self.stopping = threading.Event()
        self._gate: tuple[Way, Cut, int, Gate] | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        listener.bind((self.host, 0))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._run(self._accept, listener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a thread of the relay does not end"

    def shut_at(self, way: Way, cut: Cut, *, connection: int = 0) -> Gate:
        """Make a gate for the ``connection``-th connection from now on, counted from 0; return it."""
        gate = Gate()
        self._gate = (way, cut, len(self.peers) + connection, gate)
        return gate

    # ------------------------------------------------------------ threads

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not self.stopping.is_set():
                if selector.select(0.05):
                    client, address = listener.accept()
                    self.peers.append(address[1])
                    self._run(self._carry, client, len(self.peers) - 1)

    def _carry(self, client: socket.socket, number: int) -> None:
        with client:
            try:
                server = socket.create_connection(self.target, timeout=5)
            except OSError:
                return
            with server:
                gates = {way: self._gate_of(way, number) for way in Way}
                _Pair(self, client, server, gates).run()

    def _gate_of(self, way: Way, number: int) -> tuple[Cut, Gate] | None:
        if self._gate is None or (self._gate[0], self._gate[2]) != (way, number):
            return None
        return self._gate[1], self._gate[3]


class _Pair:
    """The two sockets of one connection through the relay, carried by one thread."""

    def __init__(
        self,
        relay: Relay,
        client: socket.socket,
        server: socket.socket,
        gates: dict[Way, tuple[Cut, Gate] | None],
    ) -> None:
        self._relay = relay
        self._from = {Way.TO_SERVER: client, Way.TO_CLIENT: server}
        self._to = {Way.TO_SERVER: server, Way.TO_CLIENT: client}
        self._gates = gates
        self._carried = {way: bytearray() for way in Way}
        self._kept: dict[Way, bytes | None] = dict.fromkeys(Way)
        """What waits behind a shut gate."""

    def run(self) -> None:
        """Carry until one side goes."""
        with contextlib.suppress(OSError):
            while not self._relay.stopping.is_set():
                self._open_gates()
                for way in self._ready():
                    if self._kept[way] is not None or not self._pass_on(way):
                        return

    def _ready(self) -> list[Way]:
        """Return the directions with something to do: octets, or the sender's end. With a shut gate only the latter."""
        poll = select.poll()
        ways = {}
        for way, link in self._from.items():
            poll.register(link, select.POLLRDHUP if self._kept[way] is not None else select.POLLIN)
            ways[link.fileno()] = way
        return [ways[number] for number, _ in poll.poll(20)]

    def _pass_on(self, way: Way) -> bool:
        octets = self._from[way].recv(SMALL)
        if not octets:
            return False
        passing = octets
        if (guard := self._gates[way]) is not None:
            cut, gate = guard
            before = len(self._carried[way])
            self._carried[way] += octets
            found = cut(bytes(self._carried[way]))
            if found is not None:
                passing, self._kept[way] = octets[: max(0, found - before)], octets[max(0, found - before) :]
        self._to[way].sendall(passing)
        if self._kept[way] is not None:
            gate.reached.set()
        return True

    def _open_gates(self) -> None:
        for way, kept in self._kept.items():
            guard = self._gates[way]
            if kept is not None and guard is not None and guard[1].opened.is_set():
                self._gates[way], self._kept[way] = None, None
                self._to[way].sendall(kept)
