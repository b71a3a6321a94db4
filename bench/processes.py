"""Processes and ports of a measurement: starting, waiting, CPU time, ending; only what was started here is ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[1]
"""The folder that holds the packages ``bench`` and ``gateway``."""

_REAPER = ROOT / "tests" / "support" / "reaper.py"
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The measurement cannot be made; the text says why and what to do."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(ready: Callable[[], bool], *, what: str, seconds: float, pause: float = 0.02) -> None:
    """Wait until ``ready()`` holds; raise :class:`BenchError` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


def greets(port: int) -> bool:
    """Tell whether an SMTP server on the loopback interface gives its greeting on ``port``."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"220 " and connection.send(b"QUIT\r\n") == 6
    except OSError:
        return False


class Server:
    """A server process and what it starts, under ``tests/support/reaper.py``: all of it ends with us, however we end.

    A context manager; the relays of a measurement are made of it.
    """

    def __init__(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start ``command`` in the project's folder, with standard output and error to the new file ``log``."""
        self.log = log
        with log.open("wb") as errors:
            self._reaper = subprocess.Popen(
                # The reaper's own output is the process id; what the command prints goes to the log with its errors.
                [sys.executable, "-S", "-E", str(_REAPER), "/bin/sh", "-c", 'exec "$@" >&2', "sh", *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._reaper.stdout is not None
        self.pid = int(self._reaper.stdout.readline() or 0)
        """The process id of the command itself."""

    def __enter__(self) -> Self:
        """Return the server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._reaper.poll() is None

    def stop(self) -> None:
        """End the command and everything that it started: SIGTERM, and SIGKILL three seconds later."""
        with self._reaper as reaper:
            assert reaper.stdin is not None
            reaper.stdin.close()
            reaper.wait(15)

    def wait_ready(self, ready: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Wait until ``ready()`` holds; end the server and raise :class:`BenchError` with its log when it does not."""
        try:
            wait_for(lambda: not self.is_running or ready(), what=what, seconds=seconds)
            if not self.is_running:
                raise BenchError(f"ended before this: {what}")
        except BenchError as error:
            self.stop()
            raise BenchError(f"{error}\n{self.log_tail()}") from error

    def cpu_seconds(self) -> float:
        """Return user plus system time of all its processes so far, those that have ended included."""
        return cpu_seconds(self.pid)

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _stat(pid: int) -> list[str] | None:
    """Return ``/proc/PID/stat`` after the command name: state is field 0, parent 1, utime to cstime 11 to 14."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def family(pid: int) -> set[int]:
    """Return ``pid`` and the processes below it that live now."""
    parents = {
        int(entry.name): int(stat[1])
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (stat := _stat(int(entry.name)))
    }
    members = {pid}
    while grown := {child for child, parent in parents.items() if parent in members} - members:
        members |= grown
    return members


def cpu_seconds(pid: int) -> float:
    """Return user plus system time of ``pid`` and all processes below it, including children that have ended."""
    ticks = 0
    for member in family(pid):
        if stat := _stat(member):
            ticks += sum(int(value) for value in stat[11:15])
    return ticks / _TICKS_PER_SECOND
