"""The delivery journal against a dictionary: any sequence of claims, settlements, forgetting, deaths, passing days."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.stores.journal import KEPT, SqliteJournal
from gateway.transaction.ports import Delivery, JournalError

T = TypeVar("T")

KEYS = st.lists(st.sampled_from([bytes([number]) * 32 for number in range(5)]), max_size=4)
WORKERS = st.integers(0, 2)


@dataclass
class Row:
    """What the model knows of a key."""

    accepted: bool
    owner: str
    moment: datetime


@dataclass
class Worker:
    """One worker: liveness, and its journal."""

    owner: str
    alive: set[str]
    journal: SqliteJournal

    def is_alive(self, owner: str) -> bool:
        return owner in self.alive


class JournalMachine(RuleBasedStateMachine):
    """Three workers at one database; a worker that dies is followed by another with a new id."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.moment = datetime(2026, 3, 1, tzinfo=UTC)
        self.alive: set[str] = set()
        self.model: dict[bytes, Row] = {}
        self.fails = False
        self.born = 0
        self.workers = [self.begin() for _ in range(3)]

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return 0.0

    def begin(self) -> Worker:
        self.born += 1
        worker = Worker.__new__(Worker)
        journal = SqliteJournal(self.folder / "journal.db", self.offload, worker, self)
        worker.__init__(f"worker-{self.born}", self.alive, journal)  # type: ignore[misc]
        self.alive.add(worker.owner)
        return worker

    async def offload(self, function: Callable[..., T], /, *arguments: object) -> T:
        if self.fails:
            raise JournalError("the disk is full")
        return function(*arguments)

    def teardown(self) -> None:
        for worker in self.workers:
            worker.journal.close()
        shutil.rmtree(self.folder)

    def known(self, key: bytes) -> Delivery:
        row = self.model.get(key)
        if row is None:
            return Delivery.UNKNOWN
        if not row.accepted and row.owner in self.alive:
            return Delivery.RUNNING
        if row.moment < self.moment - KEPT:
            return Delivery.UNKNOWN
        return Delivery.ACCEPTED if row.accepted else Delivery.ABANDONED

    @staticmethod
    def run(call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(call)

    @rule(number=WORKERS, keys=KEYS)
    def read(self, number: int, keys: list[bytes]) -> None:
        assert self.run(self.workers[number].journal.read(keys)) == {key: self.known(key) for key in keys}

    @rule(number=WORKERS, keys=KEYS)
    def claim(self, number: int, keys: list[bytes]) -> None:
        worker = self.workers[number]
        free = not {self.known(key) for key in keys} & {Delivery.ACCEPTED, Delivery.RUNNING}
        assert self.run(worker.journal.claim(keys)) is free
        if free:
            self.model.update({key: Row(False, worker.owner, self.moment) for key in keys})

    @rule(
        number=WORKERS,
        accepted=st.sets(st.sampled_from([bytes([number]) * 32 for number in range(5)])),
        fails=st.booleans(),
    )
    def settle(self, number: int, accepted: set[bytes], fails: bool) -> None:
        """Settle all that a worker holds; where the disk fails at first, the next call of whatever kind writes it."""
        worker = self.workers[number]
        held = {key for key, row in self.model.items() if row.owner == worker.owner and not row.accepted}
        self.fails = fails
        try:
            self.run(worker.journal.settle(sorted(held & accepted), sorted(held - accepted)))
        except JournalError:
            assert fails
        self.fails = False
        if fails:
            assert not held or worker.journal.may_hold_any()
            self.run(worker.journal.read([]))
        for key in held:
            if key in accepted:
                self.model[key] = Row(True, worker.owner, self.moment)
            else:
                del self.model[key]

    @rule(number=WORKERS, keys=KEYS, fails=st.booleans())
    def forget(self, number: int, keys: list[bytes], fails: bool) -> None:
        """Any worker forgets what anybody has accepted, and nothing that is in doubt; where the disk fails, nothing."""
        self.fails = fails
        try:
            self.run(self.workers[number].journal.forget(keys))
        except JournalError:
            assert fails
        self.fails = False
        if not fails:
            self.model = {key: row for key, row in self.model.items() if key not in keys or not row.accepted}

    @rule(number=WORKERS)
    def die(self, number: int) -> None:
        dead = self.workers[number]
        dead.journal.close()
        self.alive.discard(dead.owner)
        self.workers[number] = self.begin()

    @rule(days=st.integers(1, 4))
    def wait(self, days: int) -> None:
        self.moment += timedelta(days=days)

    @invariant()
    def emptiness_is_certain(self) -> None:
        """Who says that there is nothing is right; the other way round nothing is promised."""
        for worker in self.workers:
            if not worker.journal.may_hold_any():
                assert {self.known(key) for key in self.model} <= {Delivery.UNKNOWN}


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_the_model_sees_a_journal_that_forgets_its_locks(tmp_path: Path) -> None:
    """The machine is no decoration: a journal that takes every other worker for dead is told apart from a right one."""
    machine = JournalMachine()
    try:
        one, two = machine.workers[:2]
        key = bytes(32)
        machine.claim(0, [key])
        two.is_alive = lambda owner: owner == two.owner  # type: ignore[method-assign]
        with pytest.raises(AssertionError):
            machine.read(1, [key])
        with closing(one.journal):
            machine.read(0, [key])
    finally:
        machine.teardown()
