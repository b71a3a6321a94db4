"""What the harness of the real peers shares: finding them, folders, free ports, waiting, and ending what was started.

A peer that is missing skips the test and names the Debian packages; with ``CI`` set it fails the test instead, so that
a suite never turns green because nothing ran. A process is ended by the process id that we started, never by its name.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": SYSTEM_PATH, "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}
"""What a peer gets as its environment: nothing of ours, no ``MAIL_CONFIG`` of another instance."""


def in_ci() -> bool:
    """Whether a missing peer is a failure."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def lacking(what: str) -> NoReturn:
    """Skip the running test because ``what`` is not there, or fail it in CI."""
    if in_ci():
        pytest.fail(f"{what} (missing in CI)", pytrace=False)
    pytest.skip(what)


def require(*programs: str, packages: str, root: bool = False) -> None:
    """Skip (in CI fail) unless every program can be found and, with ``root``, we may switch users.

    ``programs`` are names on the system's PATH or absolute paths, ``packages`` the Debian packages that bring them.
    """
    absent = [program for program in programs if shutil.which(program, path=SYSTEM_PATH) is None]
    if absent:
        lacking(f"{', '.join(absent)} not installed: apt-get install {packages}, or make peers as root")
    if root and os.geteuid() != 0:
        lacking(f"{programs[0]} switches users, so this test must run as root")


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on. Another process may take it: starters try again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(look: Callable[[], T], *, what: str, seconds: float = 10.0, interval: float = 0.02) -> T:
    """Call ``look`` until it returns something true, and return that; AssertionError names ``what`` after the time."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(interval)


def answers(port: int, *, host: str = LOOPBACK) -> bool:
    """Whether a TCP connection can be opened."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


class Peer:
    """A running program of somebody else under :mod:`tests.support.reaper`: its daemons end with it, all with us."""

    def __init__(self, *command: str, directory: Path | None = None) -> None:
        """Start it, with :data:`ENVIRONMENT` and nothing on its standard streams."""
        self._reaper = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(__file__).with_name("reaper.py")), *command],
            env=ENVIRONMENT,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._reaper.stdout is not None
        self.pid = int(self._reaper.stdout.readline())
        """The program's own process id, for faults: SIGSTOP, SIGCONT, SIGKILL."""

    @property
    def is_running(self) -> bool:
        """Whether the program has not ended."""
        return self._reaper.poll() is None

    def stop(self, *, seconds: float = 10.0) -> int:
        """End the program and everything that it started; return its exit status."""
        with self._reaper as reaper:
            assert reaper.stdin is not None
            reaper.stdin.close()
            return reaper.wait(seconds)


@contextmanager
def peer_folder(name: str) -> Iterator[Path]:
    """Give a folder with a short name that a peer's own users can reach (pytest's are for its user only)."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
