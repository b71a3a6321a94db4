"""The delivery journal: claims, settlements, dead workers, expiry, failures; real SQLite throughout."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.stores.journal import SqliteJournal
from gateway.stores.liveness import WorkerLock
from gateway.transaction.ports import Delivery, JournalError

T = TypeVar("T")
A, B, C, D = (bytes([number]) * 32 for number in range(4))
UNKNOWN, ACCEPTED, ABANDONED, RUNNING = Delivery.UNKNOWN, Delivery.ACCEPTED, Delivery.ABANDONED, Delivery.RUNNING


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


class Worker:
    """A liveness that is told who lives."""

    def __init__(self, owner: str, alive: set[str]) -> None:
        self.owner = owner
        self._alive = alive
        alive.add(owner)
        self.asked: Callable[[str], None] = lambda owner: None

    def is_alive(self, owner: str) -> bool:
        self.asked(owner)
        return owner in self._alive


async def inline(function: Callable[..., T], /, *arguments: object) -> T:
    """Offload to nowhere."""
    return function(*arguments)


def run(call: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(call)


class House:
    """Several workers that share one database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.alive: set[str] = set()
        self._journals = ExitStack()

    def journal(self, owner: str, **options: Any) -> SqliteJournal:
        return self.journal_of(Worker(owner, self.alive), **options)

    def journal_of(self, worker: Worker, **options: Any) -> SqliteJournal:
        journal = SqliteJournal(self.path, inline, worker, self.clock, **{"busy_timeout": timedelta(0), **options})
        self._journals.callback(journal.close)
        return journal

    def close(self) -> None:
        self._journals.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "state" / "journal.db")
    yield house
    house.close()


def states(journal: SqliteJournal, *keys: bytes) -> list[Delivery]:
    known = run(journal.read(keys))
    return [known[key] for key in keys]


def lock(path: Path) -> closing[sqlite3.Connection]:
    """Another program's write transaction."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return closing(other)


def test_the_life_of_a_claim(house: House) -> None:
    """Claimed keys run for everybody; settled they are accepted, or as if they had never been."""
    one, two = house.journal("one"), house.journal("two")
    assert states(one, A, B) == [UNKNOWN, UNKNOWN]
    assert run(one.claim([A, B]))
    assert states(one, A, B, C) == states(two, A, B, C) == [RUNNING, RUNNING, UNKNOWN]
    run(one.settle([A], [B]))
    assert states(one, A, B) == states(two, A, B) == [ACCEPTED, UNKNOWN]
    assert run(two.claim([B]))
    run(two.settle([B], []))
    assert states(one, A, B) == [ACCEPTED, ACCEPTED]


@pytest.mark.parametrize("claimant", ["one", "two"])
@pytest.mark.parametrize("accepted", [False, True], ids=["running", "accepted"])
def test_a_claim_is_all_or_nothing(house: House, claimant: str, accepted: bool) -> None:
    """One key that is running or accepted, also by the same worker, refuses the claim, and nothing is written."""
    journals = {name: house.journal(name) for name in ("one", "two")}
    assert run(journals["one"].claim([A]))
    if accepted:
        run(journals["one"].settle([A], []))
    assert not run(journals[claimant].claim([B, A, C]))
    assert states(journals[claimant], A, B, C) == [ACCEPTED if accepted else RUNNING, UNKNOWN, UNKNOWN]


def test_a_refused_attempt_does_not_settle_what_another_runs(house: House) -> None:
    """Forgetting is only for one's own claims, also within one worker."""
    one = house.journal("one")
    assert run(one.claim([A]))
    assert not run(one.claim([A, B]))
    two = house.journal("two")
    run(two.settle([], [A, B]))
    assert states(one, A) == [RUNNING]


def test_dead_workers_leave_abandoned_rows_that_can_be_taken_over(house: House) -> None:
    """In doubt and its worker dead: abandoned, for everybody, until somebody claims it."""
    one, two, three = (house.journal(name) for name in ("one", "two", "three"))
    assert run(one.claim([A, B]))
    run(one.settle([A], []))
    house.alive.discard("one")
    assert states(two, A, B) == [ACCEPTED, ABANDONED]
    assert run(two.claim([B, C]))
    assert states(three, A, B, C) == [ACCEPTED, RUNNING, RUNNING]
    assert not run(three.claim([B]))


def test_nobody_can_settle_while_a_worker_is_judged(house: House) -> None:
    """A worker that settles and dies just when it is asked for would read as abandoned; the lock keeps it from that."""
    one = house.journal("one")
    worker = Worker("two", house.alive)
    two = house.journal_of(worker)
    assert run(one.claim([A]))
    judged: list[str] = []

    def settle(owner: str) -> None:
        if owner == "one":
            judged.append(owner)
            with pytest.raises(JournalError, match="locked"):
                one._run({(A, 1): True}, one._nothing, 0, ())
            house.alive.discard("one")

    worker.asked = settle
    assert states(two, A) == [ABANDONED]
    assert judged == ["one"]


def test_expiry(house: House) -> None:
    """Accepted and abandoned rows are forgotten after their time; what a live worker holds never is."""
    one, two = house.journal("one", kept=timedelta(days=5)), house.journal("two")
    assert run(one.claim([A]))
    run(one.settle([A], []))
    assert run(one.claim([B]))
    assert run(two.claim([C]))
    house.alive.discard("two")
    house.clock.moment += timedelta(days=5)
    assert states(one, A, B, C) == [ACCEPTED, RUNNING, ABANDONED]
    house.clock.moment += timedelta(seconds=1)
    assert states(one, A, B, C) == [UNKNOWN, RUNNING, UNKNOWN]
    assert count(house.path) == 1
    assert run(one.claim([A, C]))
    assert states(one, A, B, C) == [RUNNING, RUNNING, RUNNING]


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        number: int = connection.execute("SELECT count(*) FROM deliveries").fetchone()[0]
    return number


def test_expiry_is_bounded_for_each_call(house: House) -> None:
    """A long backlog of expired rows is removed little by little, and is forgotten from the start."""
    one = house.journal("one")
    keys = [number.to_bytes(32, "big") for number in range(1200)]
    assert run(one.claim(keys))
    run(one.settle(keys, []))
    assert states(one, *keys) == [ACCEPTED] * 1200
    house.clock.moment += timedelta(days=6)
    assert states(one, *keys) == [UNKNOWN] * 1200
    assert count(house.path) == 1100
    assert run(one.claim([A]))
    assert count(house.path) == 1001


def test_emptiness_is_told_only_when_certain(house: House) -> None:
    """Not before a look; then until anybody anywhere may have written; and again once all is forgotten."""
    one, two = house.journal("one"), house.journal("two")
    assert one.may_hold_any()
    assert states(one, A) == [UNKNOWN]
    assert not one.may_hold_any()
    assert two.may_hold_any()
    assert states(two, A) == [UNKNOWN]
    assert run(two.claim([A]))
    assert one.may_hold_any()
    assert two.may_hold_any()
    run(two.settle([], [A]))
    assert not two.may_hold_any()
    assert one.may_hold_any()
    assert states(one, A) == [UNKNOWN]
    assert not one.may_hold_any()
    assert states(two, B) == [UNKNOWN]
    run(one.settle([B], []))
    assert one.may_hold_any()
    assert two.may_hold_any()
    house.clock.moment += timedelta(days=6)
    assert states(one, B) == [UNKNOWN]
    assert not one.may_hold_any()


def test_emptiness_is_not_claimed_while_another_writes(house: House) -> None:
    """A reader that cannot have the write lock leaves the question open, and answers at once all the same."""
    one = house.journal("one", busy_timeout=timedelta(hours=1))
    one.open()
    with lock(house.path):
        assert states(one, A) == [UNKNOWN]
        assert one.may_hold_any()
    assert states(one, A) == [UNKNOWN]
    assert not one.may_hold_any()
    with one._database.transaction("BEGIN") as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 3_600_000


def test_emptiness_without_its_file_is_not_certain(house: House) -> None:
    """Whoever removes the file beside the database costs looks, no truth."""
    one = house.journal("one")
    assert states(one, A) == [UNKNOWN]
    (house.path.parent / "journal.db-generation").unlink()
    assert one.may_hold_any()
    assert run(one.claim([A]))
    assert states(one, A) == [RUNNING]


def test_a_settlement_outlives_a_locked_database(house: House) -> None:
    """It is raised, remembered, and written before anything else as soon as that can be."""
    one, two = house.journal("one"), house.journal("two")
    assert run(one.claim([A, B]))
    with lock(house.path):
        with pytest.raises(JournalError, match="locked"):
            run(one.settle([A], [B]))
        assert one.may_hold_any()
        with pytest.raises(JournalError, match="locked"):
            run(one.claim([C]))
    assert states(two, A, B) == [RUNNING, RUNNING]
    assert states(one, A, B) == [ACCEPTED, UNKNOWN]
    assert states(two, A, B) == [ACCEPTED, UNKNOWN]


def test_what_is_forgotten(house: House) -> None:
    """What is accepted, whoever wrote it; what runs or was abandoned stays, and so does what was not named."""
    one, two, three = (house.journal(name) for name in ("one", "two", "three"))
    run(one.settle([A, B], []))
    assert run(one.claim([C]))
    assert run(three.claim([D]))
    house.alive.discard("three")
    run(two.forget([A, A, C, D, bytes(31)]))
    assert states(one, A, B, C, D) == [UNKNOWN, ACCEPTED, RUNNING, ABANDONED]
    run(one.settle([C], []))
    assert states(two, C) == [ACCEPTED]
    run(two.forget([]))
    assert states(two, A, B, C, D) == [UNKNOWN, ACCEPTED, ACCEPTED, ABANDONED]


def test_what_is_forgotten_can_be_claimed_again(house: House) -> None:
    """The same octets submitted anew are another message, with a life of its own."""
    one = house.journal("one")
    assert run(one.claim([A, B]))
    run(one.settle([A, B], []))
    assert not run(one.claim([A, B]))
    run(one.forget([A, B]))
    assert run(one.claim([A, B]))
    run(one.forget([A, B]))
    assert states(one, A, B) == [RUNNING, RUNNING]


def test_a_journal_that_has_forgotten_all_is_empty_again(house: House) -> None:
    """For the worker that saw it at once, for the others at their next look; a row that is left keeps it open."""
    one, two = house.journal("one"), house.journal("two")
    run(one.settle([A, B], []))
    run(one.forget([A]))
    assert one.may_hold_any()
    assert two.may_hold_any()
    run(one.forget([B]))
    assert not one.may_hold_any()
    assert two.may_hold_any()
    assert states(two, B) == [UNKNOWN]
    assert not two.may_hold_any()
    assert count(house.path) == 0


def test_more_is_forgotten_than_one_statement_takes(house: House) -> None:
    """A message may have a thousand recipients."""
    one = house.journal("one")
    keys = [number.to_bytes(32, "big") for number in range(1200)]
    run(one.settle(keys, []))
    run(one.forget(keys))
    assert (count(house.path), one.may_hold_any()) == (0, False)


def test_forgetting_that_fails_changes_nothing(house: House) -> None:
    """It is raised and not tried again: what stays is accepted until it expires."""
    one = house.journal("one")
    run(one.settle([A], []))
    with lock(house.path), pytest.raises(JournalError, match="locked"):
        run(one.forget([A]))
    assert states(one, A) == [ACCEPTED]


def test_an_outstanding_settlement_is_written_before_it_is_forgotten(house: House) -> None:
    """Else it would be written later, and the message would be known for ever after it was forgotten."""
    one = house.journal("one")
    assert run(one.claim([A, B]))
    with lock(house.path), pytest.raises(JournalError, match="locked"):
        run(one.settle([A], [B]))
    run(one.forget([A, B]))
    assert (count(house.path), one.may_hold_any()) == (0, False)
    assert states(one, A, B) == [UNKNOWN, UNKNOWN]


def test_settling_waits_for_other_writers(house: House) -> None:
    """Locked for some attempts is not locked for good: each attempt is one more offloaded transaction."""
    attempts = 0
    locked = ExitStack()

    async def offload(function: Callable[..., T], /, *arguments: object) -> T:
        nonlocal attempts
        attempts += 1
        if attempts == 4:
            locked.close()
        return function(*arguments)

    one = SqliteJournal(house.path, offload, Worker("one", house.alive), house.clock, busy_timeout=timedelta(0))
    with closing(one):
        assert run(one.claim([A]))
        locked.enter_context(lock(house.path))
        run(one.settle([A], []))
        assert attempts == 4
        assert states(one, A) == [ACCEPTED]


def test_a_late_settlement_does_not_forget_a_later_claim(house: House) -> None:
    """Threads run in any order: what was settled for one claim leaves the next claim of the same key alone."""
    one = house.journal("one")
    assert run(one.claim([A]))
    run(one.settle([], [A]))
    assert run(one.claim([A]))
    one._run({(A, 1): False}, one._nothing, 0, ())
    assert states(one, A) == [RUNNING]


@pytest.mark.parametrize("written", [False, True], ids=["thread-runs-later", "thread-ran-before"])
def test_a_cancelled_claim_leaves_nothing(house: House, written: bool) -> None:
    """Whether its thread has written it or comes later: the keys are free for the next attempt."""
    late: list[Callable[[], object]] = []

    async def offload(function: Callable[..., T], /, *arguments: object) -> T:
        if not late and written:
            function(*arguments)
        if not late:
            late.append(lambda: function(*arguments))
            raise asyncio.CancelledError
        return function(*arguments)

    one = SqliteJournal(house.path, offload, Worker("one", house.alive), house.clock, busy_timeout=timedelta(0))
    with closing(one):
        with pytest.raises(asyncio.CancelledError):
            run(one.claim([A]))
        assert one.may_hold_any()
        if not written:
            assert states(one, A) == [UNKNOWN]
            late[0]()
        assert states(one, A) == [UNKNOWN]
        assert run(one.claim([A]))


def test_a_cancelled_claim_forgets_nothing_of_other_workers(house: House) -> None:
    """Numbers of claims count within a worker: the first claim of one is not the first of another."""
    late: list[object] = [asyncio.CancelledError]

    async def offload(function: Callable[..., T], /, *arguments: object) -> T:
        if late:
            late.clear()
            raise asyncio.CancelledError
        return function(*arguments)

    one = house.journal("one")
    two = SqliteJournal(house.path, offload, Worker("two", house.alive), house.clock, busy_timeout=timedelta(0))
    with closing(two):
        assert run(one.claim([A]))
        with pytest.raises(asyncio.CancelledError):
            run(two.claim([A]))
        assert states(two, A) == [RUNNING]


def test_a_worker_that_others_take_for_dead_claims_nothing(house: House) -> None:
    """Its lock file is gone: what it claimed would be sent by others as well."""
    one = house.journal("one")
    house.alive.discard("one")
    with pytest.raises(JournalError, match="lock of this worker"):
        run(one.claim([A]))


def test_liveness_that_cannot_be_told_is_a_failure(house: House) -> None:
    """Neither dead nor alive is guessed."""
    one = house.journal("one")
    worker = Worker("two", house.alive)
    two = house.journal_of(worker)
    assert run(one.claim([A]))

    def fail(owner: str) -> None:
        if owner == "one":
            raise OSError(errno.EMFILE, "Too many open files", "state/workers/one")

    worker.asked = fail
    for call in (two.read([A]), two.claim([A])):
        with pytest.raises(JournalError, match="state/workers/one: Too many open files"):
            run(call)


def test_a_full_disk(house: House) -> None:
    """A claim that does not fit is a JournalError and leaves nothing; reading and settling still go."""
    one = house.journal("one", max_pages=8)
    assert run(one.claim([A]))
    many = [number.to_bytes(32, "big") for number in range(1000, 3000)]
    with pytest.raises(JournalError, match=r"journal\.db: database or disk is full"):
        run(one.claim(many))
    assert set(states(one, *many)) == {UNKNOWN}
    run(one.settle([A], []))
    assert states(one, A) == [ACCEPTED]


def corrupt(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def folder(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/journal.db")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        pytest.param(corrupt, r"journal\.db: file is not a database", id="corrupt"),
        pytest.param(newer, r"journal\.db: made by another version \(schema 99, expected 1\)", id="newer"),
        pytest.param(folder, r"journal\.db: unable to open database file", id="folder"),
        pytest.param(dangling, r"journal\.db: unable to open database file", id="dangling"),
    ],
)
def test_what_cannot_be_used_is_refused(house: House, damage: Callable[[Path], None], text: str) -> None:
    """At load time and in every call: path and cause."""
    house.path.parent.mkdir(parents=True)
    damage(house.path)
    one = house.journal("one")
    with pytest.raises(JournalError, match=text):
        one.open()
    for call in (one.read([A]), one.claim([A]), one.settle([A], []), one.forget([A])):
        with pytest.raises(JournalError, match=text):
            run(call)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The file system's refusals are the journal's failures too."""
    (tmp_path / "state").touch()
    house = House(tmp_path / "state" / "journal.db")
    with pytest.raises(JournalError, match="state: "):
        house.journal("one").open()


def test_a_database_that_breaks_while_in_use(house: House) -> None:
    """Octets overwritten under a running worker: a JournalError, nothing else."""
    one = house.journal("one")
    keys = [number.to_bytes(32, "big") for number in range(500)]
    assert run(one.claim(keys))
    one.close()
    house.path.write_bytes(house.path.read_bytes()[:4096] + b"\xff" * 8192)
    other = house.journal("other")
    with pytest.raises(JournalError, match=r"journal\.db: "):
        run(other.read(keys))


def test_files_are_private_and_durable(house: House) -> None:
    """The database says who sent mail when, so it is the gateway's user's alone; commits survive a crash."""
    one = house.journal("one")
    one.open()
    one.open()
    assert run(one.claim([A]))
    modes = {path.name: path.stat().st_mode & 0o777 for path in house.path.parent.iterdir()}
    assert modes == dict.fromkeys(("journal.db", "journal.db-wal", "journal.db-shm", "journal.db-generation"), 0o600)
    with one._database.transaction("BEGIN") as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_nothing_to_do(house: House) -> None:
    """Empty lists are no special case for callers."""
    one = house.journal("one")
    assert run(one.read([])) == {}
    assert run(one.claim([]))
    run(one.settle([], []))
    run(one.forget([]))
    assert not one.may_hold_any()


CLAIMER = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from gateway.stores.journal import SqliteJournal
from gateway.stores.liveness import WorkerLock

class Clock:
    def now(self): return datetime(2026, 3, 1, 12, tzinfo=UTC)
    def monotonic(self): return 0.0

async def main(state, owner):
    with WorkerLock(state / "workers", owner) as lock:
        journal = SqliteJournal(state / "journal.db", asyncio.to_thread, lock, Clock())
        print("ready", flush=True)
        for line in sys.stdin:
            word, *keys = line.split()
            keys = [bytes.fromhex(key) for key in keys]
            if word == "claim":
                print(await journal.claim(keys), flush=True)
            elif word == "settle":
                print(await journal.settle(keys, []), flush=True)
            elif word == "race":
                claims = await asyncio.gather(*(journal.claim([key]) for key in keys))
                print(*(int(claim) for claim in claims), flush=True)
        journal.close()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


class Claimer:
    """A real worker process that makes journal calls on command."""

    def __init__(self, state: Path, owner: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(state), owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.read() == "ready"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def write(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")

    def say(self, *words: str) -> str:
        self.write(*words)
        return self.read()

    def __enter__(self) -> Claimer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


def test_a_killed_process_abandons_what_it_had_in_doubt(tmp_path: Path) -> None:
    """The whole thing with a real process: running while it lives, abandoned the instant it is killed."""
    with Claimer(tmp_path, "other") as other, WorkerLock(tmp_path / "workers", "self") as own:
        journal = SqliteJournal(tmp_path / "journal.db", inline, own, Clock())
        with closing(journal):
            assert states(journal, A) == [UNKNOWN]
            assert not journal.may_hold_any()
            assert other.say("claim", A.hex(), B.hex()) == "True"
            assert journal.may_hold_any()
            assert other.say("settle", B.hex()) == "None"
            assert states(journal, A, B) == [RUNNING, ACCEPTED]
            assert not run(journal.claim([A]))
            other.process.kill()
            other.process.wait()
            assert states(journal, A, B) == [ABANDONED, ACCEPTED]
            assert run(journal.claim([A]))
            assert states(journal, A) == [RUNNING]


def test_of_several_processes_exactly_one_gets_a_key(tmp_path: Path) -> None:
    """Workers that make the database at the same time and then race for the same keys, each in several threads."""
    keys = [number.to_bytes(32, "big").hex() for number in range(25)]
    with ExitStack() as stack:
        claimers = [stack.enter_context(Claimer(tmp_path, f"worker-{number}")) for number in range(3)]
        for claimer in claimers:
            claimer.write("race", *keys)
        won = [[int(word) for word in claimer.read().split()] for claimer in claimers]
    assert [sum(claims) for claims in zip(*won, strict=True)] == [1] * len(keys)
