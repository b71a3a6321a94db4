"""Servers of a measurement: they end with it, with all they started, and their CPU time is counted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.processes import BenchError, Server, cpu_seconds, family, greets, wait_for

BUSY = (
    "import subprocess, sys, time\nchild = subprocess.Popen([sys.executable, '-c', %r])\nchild.wait()\ntime.sleep(60)"
)
BURN = "import time\nwhile time.process_time() < 0.25: pass\nprint('burnt', flush=True)\ntime.sleep(%d)"


@pytest.mark.parametrize("seconds", [60, 0], ids=["child lives", "child has ended"])
def test_cpu_time_of_all(tmp_path: Path, seconds: int) -> None:
    """The time of a child counts, while it lives and after it has ended; all processes end with the server."""
    log = tmp_path / "log"
    with Server([sys.executable, "-c", BUSY % (BURN % seconds)], log=log) as server:
        members: set[int] = set()

        def is_done() -> bool:
            members.update(family(server.pid))
            return "burnt" in server.log_tail() and (seconds > 0 or len(family(server.pid)) == 1)

        server.wait_ready(is_done, what="the child has burnt its time", seconds=20)
        assert 0.2 <= server.cpu_seconds() < 10
        assert len(members) == 2
    assert not server.is_running
    assert all(not Path(f"/proc/{pid}").exists() for pid in members)


def test_a_server_that_ends(tmp_path: Path) -> None:
    """A server that does not start is told with the end of its log."""
    server = Server([sys.executable, "-c", "raise SystemExit('no such port')"], log=tmp_path / "log")
    with pytest.raises(BenchError, match=r"(?s)ended before this: it is ready.*no such port"):
        server.wait_ready(lambda: False, what="it is ready", seconds=20)


def test_a_server_that_is_never_ready(tmp_path: Path) -> None:
    """Nothing is waited for longer than was said, and the server is ended."""
    server = Server([sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log")
    with pytest.raises(BenchError, match=r"it is ready: not within 0\.1 s"):
        server.wait_ready(lambda: False, what="it is ready", seconds=0.1)
    assert not server.is_running


def test_nobody_there() -> None:
    """A process that is gone has no CPU time, a port without a server no greeting, and waiting has an end."""
    assert cpu_seconds(2**22 + os.getpid()) == 0
    assert not greets(9)
    with pytest.raises(BenchError, match="nothing: not within 0 s"):
        wait_for(lambda: False, what="nothing", seconds=0)
