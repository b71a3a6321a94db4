"""The events of transactions, handed to every observer: mail log, metrics, decision records.

What it does: :class:`Observers` is the one ``ports.Observer`` that a worker's pipeline gets; each event goes to each
observer in turn. An observer that raises (a disk, a closed pipe, a bug) costs neither the mail nor the other observers
their event: the failure is counted every time, and logged once until that observer works again.

:class:`ObservedJournal` does the same for the delivery journal: it counts and times each call, and logs once when the
journal stops and when it works again. What it raises: what the journal raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from gateway.observe.maillog import MailLog
from gateway.observe.metrics import Metrics
from gateway.transaction.ports import Clock, Delivery, Journal, JournalError, Observer
from gateway.transaction.record import Record

T = TypeVar("T")


class Observers:
    """Hands each event to several observers; implements ``ports.Observer`` and never raises."""

    def __init__(self, observers: Mapping[str, Observer], *, log: MailLog, metrics: Metrics) -> None:
        """Prepare. The names of ``observers`` label their failures; ``log`` and ``metrics`` hear of these."""
        self._observers = dict(observers)
        self._log = log
        self._metrics = metrics
        self._failing: set[str] = set()

    def started(self, listener: str) -> None:
        """See ``ports.Observer``."""
        for name, observer in self._observers.items():
            self._tell(name, observer.started, listener)

    def ended(self, record: Record) -> None:
        """See ``ports.Observer``."""
        for name, observer in self._observers.items():
            self._tell(name, observer.ended, record, mends=True)

    def _tell(self, name: str, call: Callable[[T], None], event: T, *, mends: bool = False) -> None:
        try:
            call(event)
        except Exception as error:
            self._failed(name, error)
        else:
            # Only the end of a transaction makes every observer work; that the others go well says nothing.
            if mends and self._failing:
                self._failing.discard(name)

    def _failed(self, name: str, error: Exception) -> None:
        # The log or the metrics may themselves be what fails.
        with suppress(Exception):
            self._metrics.observer_failed(name)
        if name not in self._failing:
            self._failing.add(name)
            with suppress(Exception):
                self._log.observer_failed(name, error)


class ObservedJournal:
    """A delivery journal whose calls are counted and timed; implements ``ports.Journal``."""

    def __init__(self, journal: Journal, *, log: MailLog, metrics: Metrics, clock: Clock) -> None:
        """Prepare."""
        self._journal = journal
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._works = True

    def may_hold_any(self) -> bool:
        """See ``ports.Journal``; not counted."""
        return self._journal.may_hold_any()

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Delivery]:
        """See ``ports.Journal``."""
        began = self._clock.monotonic()
        try:
            known = await self._journal.read(keys)
        except JournalError as error:
            self._ended("read", "failed", began, error)
            raise
        self._ended("read", "done", began)
        return known

    async def claim(self, keys: Sequence[bytes]) -> bool:
        """See ``ports.Journal``."""
        began = self._clock.monotonic()
        try:
            claimed = await self._journal.claim(keys)
        except JournalError as error:
            self._ended("claim", "failed", began, error)
            raise
        self._ended("claim", "done" if claimed else "refused", began)
        return claimed

    async def settle(self, accepted: Sequence[bytes], not_accepted: Sequence[bytes]) -> None:
        """See ``ports.Journal``."""
        began = self._clock.monotonic()
        try:
            await self._journal.settle(accepted, not_accepted)
        except JournalError as error:
            self._ended("settle", "failed", began, error)
            raise
        self._ended("settle", "done", began)

    async def forget(self, keys: Sequence[bytes]) -> None:
        """See ``ports.Journal``."""
        began = self._clock.monotonic()
        try:
            await self._journal.forget(keys)
        except JournalError as error:
            self._ended("forget", "failed", began, error)
            raise
        self._ended("forget", "done", began)

    def _ended(self, call: str, result: str, began: float, error: JournalError | None = None) -> None:
        # Neither log nor metrics may turn what the journal has done into a failure.
        with suppress(Exception):
            self._metrics.journal_called(call, result, self._clock.monotonic() - began)
            works = error is None
            if works != self._works:
                self._works = works
                if error is None:
                    self._log.journal_recovered()
                else:
                    self._log.journal_failed(str(error))
