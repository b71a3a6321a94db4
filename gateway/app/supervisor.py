"""The supervisor: one process that carries no mail; it starts the workers, watches them, and answers the monitoring.

* Ports are decided here, and kept (:mod:`.sockets`).
* Workers come in generations. A generation is in force once all of it listen; if one dies before, it never comes into
  force: at the start that ends the process, at a reload the one before stays.
* A worker in force that dies is started again, with a pause that grows while it keeps dying.
* SIGHUP reads all files again: where they are good, a new generation is started and the old one drains; where not, the
  problems are logged and nothing changes. SIGTERM and SIGINT drain all workers and end.
* Workers hold the other end of a lifeline: if the supervisor is killed, they drain by themselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import gateway
from gateway.app.load import Loaded, load
from gateway.app.process import Assignment
from gateway.app.sockets import Ports, StartFailed, cannot_listen
from gateway.app.system import SystemClock
from gateway.app.worker import make_log
from gateway.errors import ConfigurationError, Problem
from gateway.observe import Health, SupervisorMetrics, WebServer, WorkerState
from gateway.settings import Endpoint, Settings
from gateway.stores import remove_dead

METRICS_LISTENER = "metrics"
"""Name of the monitoring's listener in the log."""
RESTART_PAUSES = (0.1, 0.5, 2.0, 5.0, 15.0)
"""Seconds before a dead worker is started again; the last for all further deaths."""
STEADY = 60.0
"""Seconds after which a worker that dies counts as a first death again."""


@dataclass(slots=True, kw_only=True)
class _Child:
    """One worker process."""

    name: str
    process: asyncio.subprocess.Process
    lifeline: socket.socket
    started: float
    generation: int
    is_told_to_end: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it listens, or has died before its generation was in force."""
    failure: str = ""
    """Why it died before its generation was in force; empty where it did not."""


class Supervisor:
    """Runs the gateway of one settings file; :meth:`run` returns when all workers have ended."""

    def __init__(self, settings_file: Path) -> None:
        self._file = settings_file
        self._clock = SystemClock()
        self._loaded = load(settings_file, self._clock.now)
        self._log = make_log(sys.stderr.buffer, self._clock, self._loaded, "")
        self._ports = Ports()
        self._children: dict[str, _Child] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._count = 0
        self._generation = 0
        """The one in force; 0: none yet."""
        self._reloading = asyncio.Lock()
        self._ending = asyncio.Event()
        self._deaths: dict[int, int] = {}
        # Files of counters, not of mail: a new folder for each run, gone with it.
        self._metrics_folder = tempfile.TemporaryDirectory(prefix="smime-gateway-metrics-")
        self._health = Health(self._settings.workers)
        self._metrics = SupervisorMetrics(Path(self._metrics_folder.name), self._health)
        self._web: WebServer | None = None

    @property
    def _settings(self) -> Settings:
        return self._loaded.settings

    async def run(self) -> int:
        """Start, supervise, drain; return the exit status. Raises :class:`StartFailed`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        self._tell_problems(self._loaded)
        self._remove_dead_locks()
        try:
            self._ports = self._ports.reserve(self._settings)
            self._start_web()
            self._log.service_started(gateway.__version__, self._settings.workers)
            await self._start_generation()
            self._tell_listening()
            await self._ending.wait()
            return 0
        finally:
            await self._end()

    # --- what is announced

    def _start_web(self) -> None:
        if self._settings.metrics is None:
            return
        endpoint = self._settings.metrics.listen
        try:
            self._web = WebServer(endpoint.host, endpoint.port, self._metrics.registry, self._health)
        except OSError as error:
            raise cannot_listen(self._settings, ("metrics", "listen"), endpoint, error) from error
        self._web.start()

    def _tell_listening(self) -> None:
        for name, endpoint in self._ports.listen.items():
            self._log.listening(name, str(endpoint), endpoint.port)
        if self._web is not None:
            endpoint = Endpoint(*self._web.address)
            self._log.listening(METRICS_LISTENER, str(endpoint), endpoint.port)

    # --- workers

    async def _start_generation(self) -> None:
        """Start as many workers as the settings ask for, and put them in force when all listen.

        Raises :class:`StartFailed`; what was started is told to end then.
        """
        number = self._generation + 1
        children = [await self._start_child(place, number) for place in range(self._settings.workers)]
        for child in children:
            await _first_of(child.settled, self._ending)
        failures = [child.failure for child in children if child.failure]
        if failures or self._ending.is_set():
            self._tell_to_end(children)
            raise StartFailed("\n".join(failures) or "told to end before it was ready")
        self._generation = number
        self._health.want(self._settings.workers)

    async def _start_child(self, place: int, generation: int) -> _Child:
        self._count += 1
        name = f"w{self._count}"
        ours, theirs = socket.socketpair()
        with theirs:
            assignment = Assignment(
                settings=str(self._file), name=name, listen=self._ports.listen, lifeline=theirs.fileno()
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway",
                "worker",
                assignment.to_json(),
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics_folder.name},
            )
        ours.setblocking(False)
        started = asyncio.get_running_loop().time()
        child = _Child(name=name, process=process, lifeline=ours, started=started, generation=generation)
        self._children[name] = child
        self._health.worker(name, WorkerState.STARTING)
        self._log.worker_started(name, process.pid)
        watcher = asyncio.create_task(self._watch(child, place))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return child

    async def _watch(self, child: _Child, place: int) -> None:
        """Follow one worker from its start to its end."""
        if await asyncio.get_running_loop().sock_recv(child.lifeline, 1):
            self._health.worker(child.name, WorkerState.READY)
            child.settled.set()
        status = await child.process.wait()
        child.lifeline.close()
        del self._children[child.name]
        self._health.worker(child.name, WorkerState.DEAD)
        unexpected = not child.is_told_to_end
        self._metrics.worker_died(child.process.pid, unexpected=unexpected)
        self._remove_dead_locks()
        if not unexpected:
            return
        self._log.worker_died(child.name, child.process.pid, _describe(status))
        if child.generation > self._generation:
            child.failure = f"worker {child.name} ended with {_describe(status)} before it listened"
            child.settled.set()
            return
        await self._start_again(child, place)

    async def _start_again(self, child: _Child, place: int) -> None:
        lived = asyncio.get_running_loop().time() - child.started
        deaths = 0 if lived > STEADY else self._deaths.get(place, 0)
        self._deaths[place] = deaths + 1
        await asyncio.sleep(RESTART_PAUSES[min(deaths, len(RESTART_PAUSES) - 1)])
        # One whose generation has gone meanwhile has its successor already.
        if child.generation == self._generation and not self._ending.is_set():
            await self._start_child(place, child.generation)

    def _remove_dead_locks(self) -> None:
        """Remove the life signs that ended workers left; what cannot be removed now is at the next occasion."""
        with suppress(OSError):
            remove_dead(self._settings.resolve(self._settings.state) / "workers")

    def _tell_to_end(self, children: Sequence[_Child]) -> None:
        for child in children:
            child.is_told_to_end = True
            # It takes no more mail from now on.
            self._health.worker(child.name, WorkerState.DEAD)
            with suppress(ProcessLookupError):
                child.process.send_signal(signal.SIGTERM)

    # --- reload

    def _reload_soon(self) -> None:
        task = asyncio.create_task(self._reload())
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _reload(self) -> None:
        """Read everything again; where it is good, start new workers, then let the old ones drain."""
        async with self._reloading:
            old = list(self._children.values())
            loaded, ports = self._loaded, self._ports
            problems: Sequence[Problem] = ()
            try:
                self._loaded = load(self._file, self._clock.now)
                self._ports = ports.reserve(self._settings)
                await self._start_generation()
            except ConfigurationError as error:
                problems = error.problems
            except StartFailed as error:
                problems = [
                    Problem(file=str(self._file), line=None, key="", text=text) for text in str(error).split("\n")
                ]
            self._metrics.reloaded(ok=not problems)
            if problems:
                tried, self._loaded, self._ports = self._ports, loaded, ports
                tried.close(besides=ports)
                self._log.reload_failed(problems)
                return
            ports.close(besides=self._ports)
            self._tell_problems(self._loaded)
            self._tell_to_end(old)
            self._log.reloaded()
            self._tell_listening()

    def _tell_problems(self, loaded: Loaded) -> None:
        for problem in loaded.problems:
            self._log.configuration_problem(problem)
        for warning in loaded.warnings:
            self._log.configuration_warning(warning)

    # --- the end

    async def _end(self) -> None:
        self._health.draining()
        self._ending.set()
        self._tell_to_end(list(self._children.values()))
        # A worker drains by itself within its time; what is left after it is stuck.
        deadline = self._settings.drain + 15
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                while self._children:
                    await asyncio.gather(*(child.process.wait() for child in self._children.values()))
                    await asyncio.sleep(0)
        for child in self._children.values():
            with suppress(ProcessLookupError):
                child.process.kill()
        if self._web is not None:
            self._web.stop()
        self._ports.close()
        self._metrics_folder.cleanup()


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _describe(status: int) -> str:
    return f"exit {status}" if status >= 0 else signal.Signals(-status).name


def serve(settings_file: Path) -> int:
    """Run the gateway; return the exit status. Raises :class:`ConfigurationError`, :class:`StartFailed`."""

    async def main() -> int:
        return await Supervisor(settings_file).run()

    return asyncio.run(main())
