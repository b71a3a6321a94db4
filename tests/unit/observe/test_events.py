"""The fan-out: every observer hears every event, and no failure of one costs the mail or the others anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from gateway.observe import MailLog, Metrics, ObservedJournal, Observers
from gateway.transaction.ports import Delivery, JournalError
from gateway.transaction.record import Record
from tests.unit.observe.conftest import RECORD, Clock, Log


class Listener:
    """Notes what it hears; fails while it is told to."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.fails = False

    def _hear(self, event: object) -> None:
        self.heard.append(event)
        if self.fails:
            raise RuntimeError("Subject: secret")

    def started(self, listener: str) -> None:
        self._hear(listener)

    def ended(self, record: Record) -> None:
        self._hear(record)


class Broken:
    """A stream that nobody reads any more."""

    def write(self, octets: bytes) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def tell(observers: Observers) -> None:
    observers.started("users")
    observers.ended(RECORD)


def failures(registry: CollectorRegistry, observer: str) -> float | None:
    return registry.get_sample_value("smime_gateway_observer_failures_total", {"observer": observer})


def test_everybody_hears_everything(log: Log, metrics: Metrics) -> None:
    """In order."""
    one, two = Listener(), Listener()
    tell(Observers({"one": one, "two": two}, log=log.log, metrics=metrics))
    assert one.heard == two.heard == ["users", RECORD]
    assert log.events() == []


def test_a_failing_observer_is_counted_and_told_once(log: Log, metrics: Metrics, registry: CollectorRegistry) -> None:
    """The others hear on; the log says so again only after it had worked in between; never what the exception says."""
    failing, other = Listener(), Listener()
    observers = Observers({"records": failing, "other": other}, log=log.log, metrics=metrics)
    failing.fails = True
    tell(observers)
    tell(observers)
    assert other.heard == ["users", RECORD] * 2
    assert failures(registry, "records") == 4
    assert [(event["event"], event["observer"], event["error"]) for event in log.events()] == [
        ("observer-failed", "records", ["RuntimeError"])
    ]
    failing.fails = False
    tell(observers)
    failing.fails = True
    tell(observers)
    assert len(log.events()) == 2
    assert b"secret" not in log.stream.getvalue()


def test_a_log_that_nobody_reads_stops_nothing(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Not even the log's own failure, which cannot be logged."""
    log = MailLog(Broken(), Clock())  # type: ignore[arg-type]
    other = Listener()
    tell(Observers({"log": log, "other": other}, log=log, metrics=metrics))
    assert other.heard == ["users", RECORD]
    assert failures(registry, "log") == 1


class Book:
    """A journal that does what it is told."""

    def __init__(self) -> None:
        self.error: JournalError | None = None
        self.forgotten: list[bytes] = []

    def _answer(self) -> None:
        if self.error is not None:
            raise self.error

    def may_hold_any(self) -> bool:
        return True

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Delivery]:
        self._answer()
        return dict.fromkeys(keys, Delivery.RUNNING)

    async def claim(self, keys: Sequence[bytes]) -> bool:
        self._answer()
        return bool(keys)

    async def settle(self, accepted: Sequence[bytes], not_accepted: Sequence[bytes]) -> None:
        self._answer()

    async def forget(self, keys: Sequence[bytes]) -> None:
        self._answer()
        self.forgotten = list(keys)


def test_journal_calls_are_counted(log: Log, metrics: Metrics, registry: CollectorRegistry, clock: Clock) -> None:
    """Each with its result; what the journal answers or raises comes through."""
    book = Book()
    journal = ObservedJournal(book, log=log.log, metrics=metrics, clock=clock)

    async def calls() -> None:
        assert journal.may_hold_any()
        assert await journal.read([b"a"]) == {b"a": Delivery.RUNNING}
        assert await journal.claim([b"a"])
        assert not await journal.claim([])
        await journal.settle([b"a"], [])
        await journal.forget([b"a", b"b"])
        book.error = JournalError("journal.db: database is locked")
        for call in (journal.read([]), journal.claim([]), journal.settle([], []), journal.forget([])):
            with pytest.raises(JournalError, match="locked"):
                await call
        book.error = None
        await journal.settle([b"a"], [])

    asyncio.run(calls())
    assert book.forgotten == [b"a", b"b"]
    counted = {
        (call, result): registry.get_sample_value("smime_gateway_journal_calls_total", {"call": call, "result": result})
        for call in ("read", "claim", "settle", "forget")
        for result in ("done", "refused", "failed")
    }
    assert {key: value for key, value in counted.items() if value} == {
        ("read", "done"): 1,
        ("claim", "done"): 1,
        ("claim", "refused"): 1,
        ("settle", "done"): 2,
        ("forget", "done"): 1,
        ("read", "failed"): 1,
        ("claim", "failed"): 1,
        ("settle", "failed"): 1,
        ("forget", "failed"): 1,
    }
    assert [event["event"] for event in log.events()] == ["journal-failed", "journal-recovered"]
    assert log.events()[0]["cause"] == "journal.db: database is locked"


def test_what_the_journal_has_done_stays_done(metrics: Metrics, clock: Clock) -> None:
    """A log that cannot be written does not turn a failed call into another failure, nor a good one into any."""
    book = Book()
    journal = ObservedJournal(book, log=MailLog(Broken(), clock), metrics=metrics, clock=clock)  # type: ignore[arg-type]

    async def calls() -> None:
        book.error = JournalError("full")
        with pytest.raises(JournalError, match="full"):
            await journal.claim([b"a"])
        book.error = None
        assert await journal.claim([b"a"])

    asyncio.run(calls())
