"""The process around a worker: what it is told, the ports it binds, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app.process import Assignment, bind, run_worker
from gateway.settings import Endpoint
from tests.support.dialog import Dialog
from tests.support.house import House
from tests.support.peers import LOOPBACK, free_port
from tests.support.process import ROOT

ENDPOINTS = st.builds(
    Endpoint, st.sampled_from(["127.0.0.1", "::", "fe80::1%eth0", "mx.acme.example"]), st.integers(1, 65535)
)


@given(st.text(), st.text(), st.dictionaries(st.text(), ENDPOINTS), st.integers(3, 1000))
def test_an_assignment_arrives_as_it_was_given(
    settings: str, name: str, listen: dict[str, Endpoint], lifeline: int
) -> None:
    assignment = Assignment(settings=settings, name=name, listen=listen, lifeline=lifeline)
    assert Assignment.from_json(assignment.to_json()) == assignment


# ---------------------------------------------------------------- ports


HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")
HOSTS = [LOOPBACK, "localhost", pytest.param("::1", marks=pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here"))]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("shared", [False, True])
def test_a_port_is_bound_and_not_listened_on(host: str, shared: bool) -> None:
    """A client is refused until somebody listens."""
    with bind(Endpoint(host, 0), shared=shared) as sock:
        assert not sock.getblocking()
        port = sock.getsockname()[1]
        assert port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port), timeout=1)
        sock.listen()
        socket.create_connection((host, port), timeout=1).close()


def test_workers_share_a_port_and_nobody_else_does() -> None:
    with bind(Endpoint(LOOPBACK, 0), shared=True) as first:
        port = first.getsockname()[1]
        with bind(Endpoint(LOOPBACK, port), shared=True) as second:
            assert second.getsockname() == first.getsockname()
            first.listen()
            second.listen()
            with pytest.raises(OSError, match="in use"):
                bind(Endpoint(LOOPBACK, port), shared=False)


def test_a_port_in_use() -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        endpoint = Endpoint(LOOPBACK, other.getsockname()[1])
        for shared in (False, True):
            with pytest.raises(OSError, match="in use"):
                bind(endpoint, shared=shared)


def test_a_port_can_be_bound_again_while_old_connections_fade_away() -> None:
    """A gateway that is started again does not wait for the system to forget its last clients (TIME_WAIT)."""
    with bind(Endpoint(LOOPBACK, 0), shared=False) as sock:
        sock.listen()
        port = sock.getsockname()[1]
        with socket.create_connection((LOOPBACK, port), timeout=1):
            sock.setblocking(True)
            sock.accept()[0].close()
    bind(Endpoint(LOOPBACK, port), shared=False).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-name.invalid"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(OSError, match=r"."):
        bind(Endpoint(host, 0), shared=False)


# ---------------------------------------------------------------- the process


@dataclass(frozen=True, slots=True)
class Started:
    """A worker process, and what its supervisor has of it."""

    process: subprocess.Popen[bytes]
    lifeline: socket.socket
    port: int

    def wait(self) -> int:
        return self.process.wait(20)


@contextmanager
def started(house: House) -> Iterator[Started]:
    """Start a worker and wait until it listens."""
    port = free_port()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assignment = Assignment(
            settings=str(house.settings),
            name="w1",
            listen={"users": Endpoint(LOOPBACK, port)},
            lifeline=theirs.fileno(),
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "worker", assignment.to_json()],
            cwd=ROOT,
            pass_fds=(theirs.fileno(),),
            stderr=subprocess.PIPE,
        )
        with process:
            theirs.close()
            ours.settimeout(20)
            try:
                assert ours.recv(1) == b"+"
                yield Started(process, ours, port)
            finally:
                process.kill()


ENDS: dict[str, Callable[[Started], None]] = {
    "SIGTERM": lambda worker: worker.process.send_signal(signal.SIGTERM),
    "SIGINT": lambda worker: worker.process.send_signal(signal.SIGINT),
    "the end of its supervisor": lambda worker: worker.lifeline.close(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_worker_drains(house: House, end: Callable[[Started], None]) -> None:
    """It says that it listens when it does, and ends with 0 when the last session has."""
    house.write(("127.0.0.1", free_port()), listeners={"users": {}}, policy="default: pass\n")
    with started(house) as worker, Dialog(LOOPBACK, worker.port) as talk:
        talk.expect("220")
        talk.command("EHLO client.test", "250")
        end(worker)
        talk.expect("421")
        talk.expect_closed()
        assert worker.wait() == 0


def test_a_start_that_fails_is_one_line_and_status_1(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """Here inside this process: it ends before any signal or log of the process is touched."""
    house.write(("127.0.0.1", 25))
    house.settings.write_text("listeners: 7\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assignment = Assignment(settings=str(house.settings), name="w7", listen={}, lifeline=theirs.fileno())
        assert run_worker(assignment) == 1
    assert capsys.readouterr().err.startswith("smime-gateway: worker w7: ")
