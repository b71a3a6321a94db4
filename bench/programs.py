"""The two C programs of this folder, compiled and run: ``load`` sends, ``sink`` takes and counts."""

from __future__ import annotations

import json
import select
import shutil
import smtplib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.processes import BenchError

_SOURCES = Path(__file__).parent


def compile_program(name: str, folder: Path) -> Path:
    """Compile ``name``.c of this folder into ``folder`` and return the program; a warning is an error."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BenchError("no C compiler: install one (Debian: apt-get install gcc libc6-dev)")
    program = folder / name
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(_SOURCES / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or done.stderr:
        raise BenchError(f"{' '.join(command)}:\n{done.stderr}")
    return program


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the sink has taken since the last reset."""

    messages: int
    octets: int
    """Of the messages' data, without dot-stuffing."""
    first: int
    """CLOCK_MONOTONIC of the first MAIL, nanoseconds; 0 when there was none."""
    last: int
    """CLOCK_MONOTONIC of the last final dot, nanoseconds; 0 when there was none."""
    connections: int


class Sink:
    """A running sink on a free port of the loopback interface; a context manager."""

    def __init__(self, program: Path, *, dump: Path | None = None, count: int = 0, lifetime: int = 3600) -> None:
        """Start ``program``, for ``lifetime`` seconds at most; the first ``count`` messages are kept in ``dump``."""
        command = [str(program), "--lifetime", str(lifetime)]
        if dump is not None:
            command += ["--dump", str(dump), "--count", str(count)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], 10)
        words = self._process.stdout.readline().split() if readable else []
        if len(words) != 2 or words[0] != b"ready":
            self.stop()
            raise BenchError("the sink did not start")
        self.port = int(words[1])

    def __enter__(self) -> Sink:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()

    def stop(self) -> None:
        """End the process."""
        with self._process as process:
            process.terminate()

    def counts(self) -> Counts:
        """Ask for the counts (the connection that asks is counted as well)."""
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="bench.invalid", timeout=10) as client:
            code, text = client.docmd("XSTAT")
        if code != 250:
            raise BenchError("the sink does not tell its counts")
        pairs = (word.split("=") for word in text.decode("ascii").split() if "=" in word)
        return Counts(**{name: int(value) for name, value in pairs})

    def reset(self) -> None:
        """Set the counts to zero."""
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="bench.invalid", timeout=10) as client:
            if client.docmd("XRESET")[0] != 250:
                raise BenchError("the sink does not reset its counts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one run of the load generator reported; ``load.c`` says what each figure means."""

    messages: int
    errors: int
    samples: tuple[str, ...]
    timed_out: bool
    seconds: float
    started_ns: int
    ended_ns: int
    latency_ms: dict[str, float]
    pipelining: bool
    reconnects: int


def run_load(
    program: Path,
    *,
    port: int,
    message: Path,
    sender: str,
    recipients: Sequence[str],
    messages: int,
    sessions: int = 10,
    seconds: int = 120,
) -> Load:
    """Send ``messages`` copies of the file ``message`` to ``port`` over ``sessions`` kept connections.

    Ends after ``seconds`` at the latest. That messages were refused is in the result; that the program could not do its
    work raises :class:`~bench.processes.BenchError`.
    """
    command = [str(program), "--port", str(port), "--file", str(message), "--from", sender]
    for recipient in recipients:
        command += ["--to", recipient]
    command += ["--messages", str(messages), "--sessions", str(sessions), "--timeout", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode not in (0, 1):
        raise BenchError(f"load: {done.stderr.strip() or f'exit status {done.returncode}'}")
    report = json.loads(done.stdout)
    fields = {name: report[name] for name in Load.__dataclass_fields__}
    return Load(**fields | {"samples": tuple(report["samples"])})
