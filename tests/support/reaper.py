"""Runs one peer so that nothing of it is left behind: ``python reaper.py PROGRAM ARGUMENT...``.

Prints the program's process id, then waits until the program ends, SIGTERM arrives, or standard input ends (because the
test process ended, however it ended); the two last send SIGTERM to its process group. What outlives the program becomes
ours (``PR_SET_CHILD_SUBREAPER``, Linux) and is ended by its process id; its remains are collected even where process 1
collects nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 3.0
"""Seconds between SIGTERM and SIGKILL."""


def main(arguments: list[str]) -> int:
    """Run the program; return its exit status."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    program = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: _send(-program.pid, signal.SIGTERM))
    print(program.pid, flush=True)
    threading.Thread(target=_watch, args=(program.pid,), daemon=True).start()
    status = 1
    while True:
        pid, raw = os.wait()
        if pid == program.pid:
            status = os.waitstatus_to_exitcode(raw)
            break
    _end_orphans()
    return status if status >= 0 else 128 - status


def _watch(pid: int) -> None:
    """End the program when our standard input ends."""
    while os.read(0, 1024):
        pass
    _send(-pid, signal.SIGCONT)
    _send(-pid, signal.SIGTERM)
    time.sleep(PATIENCE)
    _send(-pid, signal.SIGKILL)


def _end_orphans() -> None:
    """End what the program left to us."""
    end = time.monotonic() + PATIENCE
    sent = signal.SIGTERM
    for pid in _children():
        _send(pid, sent)
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        if time.monotonic() > end:
            sent = signal.SIGKILL
        if sent is signal.SIGKILL:
            for orphan in _children():
                _send(orphan, sent)
        time.sleep(0.01)


def _children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
