"""What the supervisor knows of its workers: their health, and the sum of their metrics.

What it does: :class:`Health` is what ``/healthz`` and ``/readyz`` answer from; :class:`SupervisorMetrics` adds the
supervisor's own series to the sum over the workers' files (prometheus_client's multi-process mode). The supervisor sets
``PROMETHEUS_MULTIPROC_DIR`` to that folder for its worker processes and does not have it set itself.

Counters of a worker that has ended stay in the sum, or it would fall: they are added to one pair of files for all that
have ended, so that the cost of a look does not grow with every reload; its gauges go
(:meth:`SupervisorMetrics.worker_died`). Known gap: what a worker has counted is lost if its file is found damaged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from struct import error as StructError
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.observe.metrics import PREFIX

_DAMAGED = (StructError, RuntimeError, ValueError, TypeError)
"""What reading a file raises that was just made, or cut off."""
_LOOKS = 3
"""How often a look is tried: a worker that starts makes its files empty and fills them in the next instant."""


class WorkerState(StrEnum):
    """What the supervisor knows of one worker."""

    STARTING = "starting"
    READY = "ready"
    DEAD = "dead"


class Health:
    """Whether this gateway lives and is ready. Written by the supervisor, read by the threads of the web server."""

    def __init__(self, workers: int) -> None:
        """Prepare: ``workers`` is how many there should be."""
        self._wanted = workers
        self._states: dict[str, WorkerState] = {}
        self._draining = False
        self._failure = ""
        self._lock = Lock()

    def want(self, workers: int) -> None:
        """Tell how many workers there should be from now on."""
        with self._lock:
            self._wanted = workers

    def worker(self, worker: str, state: WorkerState) -> None:
        """Tell the state of a worker; a dead one is forgotten."""
        with self._lock:
            if state is WorkerState.DEAD:
                self._states.pop(worker, None)
            else:
                self._states[worker] = state

    def draining(self) -> None:
        """Tell that no new mail is wanted: not ready any more, still alive."""
        with self._lock:
            self._draining = True

    def failed(self, cause: str) -> None:
        """Tell that only a restart helps: neither alive nor ready. ``cause`` is shown to whoever asks."""
        with self._lock:
            self._failure = cause

    @property
    def wanted_workers(self) -> int:
        """How many there should be."""
        with self._lock:
            return self._wanted

    @property
    def ready_workers(self) -> int:
        """How many workers take mail."""
        with self._lock:
            return sum(state is WorkerState.READY for state in self._states.values())

    def live(self) -> tuple[bool, str]:
        """Whether the process should be left running, and one line that says why."""
        with self._lock:
            return (False, self._failure) if self._failure else (True, "alive")

    def ready(self) -> tuple[bool, str]:
        """Whether all workers take mail, and one line that says why."""
        alive, line = self.live()
        if not alive:
            return False, line
        if self._draining:
            return False, "draining"
        ready, wanted = self.ready_workers, self.wanted_workers
        return ready >= wanted, f"{ready} of {wanted} workers ready"


class SupervisorMetrics:
    """The series of the whole gateway: the workers' sum and the supervisor's own."""

    def __init__(self, folder: Path, health: Health) -> None:
        """Register everything. ``folder`` is made, and emptied of what an earlier run left."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.glob("*.db"):
            left.unlink(missing_ok=True)
        self._folder = folder
        self._sum = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]
        self._lock = Lock()
        self._health = health
        self._deaths = 0
        self._reloads = {"ok": 0, "failed": 0}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def reloaded(self, *, ok: bool) -> None:
        """Count a reload; one that found problems changed nothing."""
        self._reloads["ok" if ok else "failed"] += 1

    def worker_died(self, pid: int, *, unexpected: bool) -> None:
        """Forget the gauges of a worker that has ended, keep its counters, and count it if nobody told it to."""
        self._deaths += unexpected
        # A look in between would count what has been added and not yet removed twice.
        with self._lock:
            mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
            for kind in ("counter", "histogram"):
                left = self._folder / f"{kind}_{pid}.db"
                if left.exists():
                    with suppress(*_DAMAGED):
                        _add_up(left, self._folder / f"{kind}_ended.db")
                    left.unlink()

    def collect(self) -> Iterator[Metric]:
        """Return all series, for the registry."""
        with self._lock:
            yield from self._collect_workers()
        yield GaugeMetricFamily(f"{PREFIX}workers_wanted", "Workers that should run.", self._health.wanted_workers)
        yield GaugeMetricFamily(f"{PREFIX}workers_ready", "Workers that take mail.", self._health.ready_workers)
        yield CounterMetricFamily(
            f"{PREFIX}worker_deaths_total", "Workers that ended without being told to.", self._deaths
        )
        reloads = CounterMetricFamily(
            f"{PREFIX}reloads_total", "Reloads of settings, policies and stores.", labels=["result"]
        )
        for result, count in self._reloads.items():
            reloads.add_metric([result], count)
        yield reloads

    def _collect_workers(self) -> list[Metric]:
        for _ in range(_LOOKS - 1):
            with suppress(*_DAMAGED):
                return list(self._sum.collect())  # type: ignore[no-untyped-call]
        return list(self._sum.collect())  # type: ignore[no-untyped-call]


def _add_up(left: Path, ended: Path) -> None:
    """Add the values of a file to those of another; all of them, or none where the first is damaged."""
    found = MmapedDict.read_all_values_from_file(left)  # type: ignore[no-untyped-call]
    values = {key: value for key, value, _, _ in found}
    for key in values:
        # A name that cannot be read would spoil every look from now on.
        _, _, _, _ = json.loads(key)
    total = MmapedDict(str(ended))  # type: ignore[no-untyped-call]
    try:
        for key, value in values.items():
            total.write_value(key, total.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]
