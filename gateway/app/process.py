"""The process around a worker: event loop, signals, and the lifeline to its supervisor.

The supervisor starts it with an :class:`Assignment`. It writes one octet to the lifeline when it listens; when the
lifeline ends (the supervisor is gone), on SIGTERM and on SIGINT it drains and ends. A start that fails ends the process
with one line on standard error and status 1.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.app.load import load
from gateway.app.system import SystemClock
from gateway.app.worker import Worker, make_log
from gateway.errors import GatewayError
from gateway.observe import Registry, adopt
from gateway.settings import Endpoint
from gateway.transaction.ports import JournalError


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a supervisor tells a worker; travels as one JSON argument."""

    settings: str
    """The settings file."""
    name: str
    """The worker's name in log lines."""
    listen: Mapping[str, Endpoint]
    """Where each listener is to listen, ports decided."""
    lifeline: int
    """File descriptor of the socket to the supervisor."""

    def to_json(self) -> str:
        """Write it."""
        listen = {name: [endpoint.host, endpoint.port] for name, endpoint in self.listen.items()}
        return json.dumps({"settings": self.settings, "name": self.name, "listen": listen, "lifeline": self.lifeline})

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        """Read it."""
        data = json.loads(text)
        listen = {name: Endpoint(host, port) for name, (host, port) in data["listen"].items()}
        return cls(settings=data["settings"], name=data["name"], listen=listen, lifeline=data["lifeline"])


def bind(endpoint: Endpoint, *, shared: bool, holds: bool = False) -> socket.socket:
    """Bind, not listen. ``shared`` lets other workers bind the same port (SO_REUSEPORT). Raises :class:`OSError`.

    ``holds``: nobody but who shares the port may bind it, though it does not listen; then it cannot be had while
    connections of another program that had the port before are fading away (TIME_WAIT).
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        # Two of which both have SO_REUSEADDR may be bound to one port as long as neither listens.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, not holds)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def run_worker(assignment: Assignment) -> int:
    """Run one worker until it has drained; return the exit status."""
    try:
        return _run(_serve(assignment))
    except (GatewayError, OSError, JournalError) as error:
        print(f"smime-gateway: worker {assignment.name}: {error}", file=sys.stderr)
        return 1


def _run(main: Coroutine[object, object, int]) -> int:
    """Run on uvloop where it is installed, else on asyncio's own loop: chosen here and nowhere else."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(assignment: Assignment) -> int:
    clock = SystemClock()
    loaded = load(Path(assignment.settings), clock.now)
    log = make_log(os.fdopen(os.dup(2), "wb", buffering=0), clock, loaded, assignment.name)
    adopt(log)
    worker = Worker(loaded, clock=clock, log=log, registry=Registry())
    # Before anybody knows that it listens: from then on a signal drains.
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    await worker.start({name: bind(endpoint, shared=True) for name, endpoint in assignment.listen.items()})
    # What is here now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    lifeline = socket.socket(fileno=assignment.lifeline)
    lifeline.setblocking(False)
    lifeline.send(b"+")
    # Nothing is ever sent to a worker: what becomes readable is the end of the supervisor.
    loop.add_reader(lifeline, ending.set)
    await ending.wait()
    loop.remove_reader(lifeline)
    await worker.drain()
    return 0
