"""The real process: ``python -m gateway serve -c FILE``, its ports, its log, its end.

    with GatewayProcess(folder / "gateway.yaml") as gateway:
        gateway.port("users")                   the port of a listener; the settings say port 0
        gateway.get("/metrics")                 status and text from the metrics listener
        gateway.wait_log("transaction", outcome="accepted")
        gateway.stop()                          SIGTERM, and waits for the drain

The settings must have ``metrics`` and leave ``log.format`` at ``json``: when a listener is bound, the process logs the
event ``listening`` with ``listener`` (its name, ``metrics`` for the page of metrics and health) and ``port``, and
``/readyz`` answers 200 when it takes mail.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from tests.support.peers import LOOPBACK, wait_for

ROOT = Path(__file__).parents[2]
METRICS = "metrics"
"""The name under which the metrics listener announces its port."""


class GatewayProcess:
    """One gateway process; a context manager that starts it and makes sure that it ends."""

    def __init__(
        self,
        settings: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        ready: bool = True,
        seconds: float = 20.0,
    ) -> None:
        """Describe it. ``ready``: wait for ``/readyz`` (else only for the listeners); ``seconds``: at most so long."""
        self.settings = settings
        self.host = LOOPBACK
        self.lines: list[str] = []
        """Standard error so far, line by line."""
        self.events: list[dict[str, Any]] = []
        """Those of the lines that are JSON objects."""
        self._options = options
        # What a killed process leaves in the system's folder for temporary files goes with the test's.
        self._temporary = settings.parent / "tmp"
        self._environment = {**os.environ, "TMPDIR": str(self._temporary), **(environment or {})}
        self._ready = ready
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._close()

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Start it, also again after :meth:`stop` or :meth:`kill`: then with new ports and an empty log."""
        self._close()
        self.lines.clear()
        self.events.clear()
        self._temporary.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "-c", str(self.settings), *self._options],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self._wait(lambda: METRICS in self.ports, "the metrics listener")
        if self._ready:
            self._wait(lambda: self._status("/readyz") == 200, "/readyz answers 200")

    def stop(self, *, seconds: float = 30.0) -> int:
        """Send SIGTERM, wait for the drain, and return the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds=seconds)

    def kill(self) -> None:
        """Kill it, and its workers, at whatever they do."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGHUP reloads, SIGSTOP and SIGCONT make it stand still and go on."""
        self.process.send_signal(number)

    def wait(self, *, seconds: float = 30.0) -> int:
        """Wait until it has ended; return the exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the gateway has not ended within {seconds:g} s\n{self.tail()}") from None
        if self._reader is not None:
            self._reader.join(5)
        return status

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The child."""
        assert self._process is not None, "the gateway was not started"
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    # ------------------------------------------------------------ what it says

    @property
    def ports(self) -> dict[str, int]:
        """The bound port of every listener that was announced."""
        return {str(event["listener"]): int(event["port"]) for event in self.log("listening")}

    def port(self, listener: str) -> int:
        """Return the port of this listener."""
        return self.ports[listener]

    def log(self, event: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """Return the log events of this name whose fields have these values."""
        return [
            entry
            for entry in list(self.events)
            if event in (None, entry.get("event")) and all(entry.get(key) == value for key, value in fields.items())
        ]

    def wait_log(self, event: str, *, count: int = 1, seconds: float = 10.0, **fields: object) -> list[dict[str, Any]]:
        """Wait until ``count`` such events were logged; return all of them."""
        self._wait(lambda: len(self.log(event, **fields)) >= count, f"{count} log events {event} {fields}", seconds)
        return self.log(event, **fields)

    def get(self, path: str) -> tuple[int, str]:
        """Ask the metrics listener by HTTP; return status and body."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port(METRICS)}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode("utf-8", "replace")

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name that have these labels; 0 where there is none."""
        _, text = self.get("/metrics")
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(
            sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def tail(self, count: int = 40) -> str:
        """Return the last lines of standard error, for a failure's text."""
        return "\n".join(self.lines[-count:])

    # ------------------------------------------------------------ its workers

    @property
    def workers(self) -> dict[str, int]:
        """Name and process id of every worker that was started and has not ended."""
        started = {entry["started"]: entry["pid"] for entry in self.log("worker-started")}
        ended = [entry["died"] for entry in self.log("worker-died")]
        ended += [entry["worker"] for entry in self.log("drained")]
        return {name: pid for name, pid in started.items() if name not in ended}

    def worker_at(self, port: int) -> int:
        """Return the process id of the worker that has an open connection from this local port, to whom ever."""
        found: list[int] = []

        def look() -> bool:
            # The kernel's table is read in pieces: while others connect, a row may be missed, so it is read again.
            sockets = _sockets_from(port)
            found.extend(pid for pid in self.workers.values() if sockets & _open_files(pid))
            return bool(found)

        self._wait(look, f"a worker that speaks from port {port}")
        return found[0]

    # ------------------------------------------------------------ inside

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        for raw in process.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            self.lines.append(line)
            if line.startswith("{"):
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                self.events.append(event)

    def _status(self, path: str) -> int:
        try:
            return self.get(path)[0]
        except OSError:
            return 0

    def _wait(self, look: Callable[[], bool], what: str, seconds: float | None = None) -> None:
        """Wait, but not longer than the process lives."""
        process = self.process

        def look_or_ended() -> bool:
            return look() or process.poll() is not None

        try:
            wait_for(look_or_ended, what=what, seconds=seconds or self._seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
        if not look():
            if self._reader is not None:
                self._reader.join(5)
            assert look(), f"the gateway ended with status {process.returncode} before: {what}\n{self.tail()}"

    def _close(self) -> None:
        if self._process is not None and self._process.stderr is not None:
            if self._reader is not None:
                self._reader.join(5)
            self._process.stderr.close()


def _sockets_from(port: int) -> set[str]:
    """Return how ``/proc`` calls the TCP sockets with this local port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if int(row[1].partition(":")[2], 16) == port}


def _open_files(pid: int) -> set[str]:
    """Return what a process has open; nothing for one that has ended."""
    try:
        return {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return set()
