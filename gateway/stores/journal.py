"""The delivery journal in an SQLite file that all workers of one host share; implements ``ports.Journal``.

What it does: one row for each recipient of a message whose outcome may have to be known on the client's next attempt:
*in doubt*, with the worker that sends it, from before the first final dot; *accepted* from the upstream's 250 on, for
``kept``. A row in doubt whose worker is dead (:mod:`gateway.stores.liveness`) reads as abandoned and may be taken over.

How: each call is one call of ``offload``, and database transactions are begun and ended within it. A claim reads,
judges and writes under one BEGIN IMMEDIATE, so that what it has read still holds when it writes.

Three things that make it right:

* *Dead* is judged while the write lock is held. A worker could otherwise settle and die between the reading of its row
  and the look at its lock, and an accepted recipient would read as abandoned.
* A settlement that cannot be written (disk full, locked beyond all patience) is raised, and remembered: every later
  call of this worker writes it first. Without that the row would stay in doubt, and its retries would be put off, for
  as long as this worker lives.
* Each claim has a number. A settlement forgets only the rows of its own claim, however late its thread runs; a claim
  whose caller was cancelled is withdrawn, and its thread, if it comes later, writes nothing.

:meth:`SqliteJournal.may_hold_any` answers from the size of a file beside the database
(:mod:`gateway.stores.generation`).

What it refuses: what :mod:`gateway.stores.database` does, as :class:`~gateway.transaction.ports.JournalError`. Known
gaps: a civil clock that jumps forward by more than ``kept`` forgets accepted recipients; workers on other hosts need
another store, since WAL needs a local file system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from gateway.stores import deliveries
from gateway.stores.database import Database, DatabaseLocked
from gateway.stores.deliveries import SCHEMA_VERSION, State, metadata
from gateway.stores.generation import Generation
from gateway.stores.liveness import Liveness
from gateway.transaction.ports import Clock, Delivery, JournalError, Offload

T = TypeVar("T")

KEPT = timedelta(days=5)
"""How long accepted recipients are remembered: RFC 5321 4.5.4.1 has clients give up after four to five days."""

_SWEEP = 100
"""Most rows looked at for expiry in one call, so that none pays for a long backlog."""
_ATTEMPTS = 4
"""How often a settlement is tried while the database is locked, each for a whole ``busy_timeout``."""


@dataclass(slots=True)
class _Ticket:
    """One call of claim."""

    number: int
    withdrawn: bool = False
    """Set once, by the event loop; the thread looks at it when it holds the write lock."""


class SqliteJournal:
    """The journal of one worker. Build it, :meth:`open` it at load time, :meth:`close` it at the end."""

    def __init__(
        self,
        path: Path,
        offload: Offload,
        owner: Liveness,
        clock: Clock,
        kept: timedelta = KEPT,
        *,
        busy_timeout: timedelta = timedelta(seconds=5),
        max_pages: int | None = None,
    ) -> None:
        """Prepare; no file is touched yet.

        ``owner`` tells who this worker is and who lives, ``kept`` how long accepted recipients are remembered,
        ``busy_timeout`` how long one database transaction waits for others, ``max_pages`` how many pages of 4096
        octets the database may grow to.
        """
        self._path = path
        self._offload = offload
        self._liveness = owner
        self._clock = clock
        self._kept = int(kept.total_seconds())
        self._database = Database(
            path,
            metadata,
            SCHEMA_VERSION,
            max_pages=max_pages,
            busy_milliseconds=int(busy_timeout.total_seconds() * 1000),
        )
        self._generation = Generation(path.with_name(path.name + "-generation"))
        self._is_open = False
        self._numbers = count(1)
        self._held: dict[bytes, int] = {}
        """The claims of this worker that are not settled: their numbers."""
        self._unsettled: dict[tuple[bytes, int], bool] = {}
        """What has to be written: key and claim's number, and whether it was accepted."""

    def open(self) -> None:
        """Make or check the database. Blocking: call it at load time. Raise :class:`JournalError`."""
        with self._database.failures():
            self._prepare()

    def close(self) -> None:
        """Close the connections. Blocking; idempotent. Rows in doubt stay so until this worker is dead."""
        self._database.close()

    def may_hold_any(self) -> bool:
        """Whether any entry may exist. One ``stat``; ``False`` only when certain."""
        return bool(self._unsettled) or not self._generation.is_known_empty()

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Delivery]:
        """Return what is known of each key."""
        return await self._call(self._read, tuple(dict.fromkeys(keys)))

    async def claim(self, keys: Sequence[bytes]) -> bool:
        """Write the keys as in doubt; ``False``, and nothing written, if one is accepted or held by a live worker.

        This worker's own rows in doubt count as held: they belong to another attempt that still runs. Raise
        :class:`JournalError` also where others could not see that this worker lives (its lock file is gone).
        """
        wanted, ticket = tuple(dict.fromkeys(keys)), _Ticket(next(self._numbers))
        try:
            claimed = await self._call(self._claim, wanted, ticket)
        except JournalError:
            raise
        except BaseException:
            ticket.withdrawn = True
            self._unsettled.update({(key, ticket.number): False for key in wanted})
            raise
        if claimed:
            self._held.update(dict.fromkeys(wanted, ticket.number))
        return claimed

    async def settle(self, accepted: Sequence[bytes], not_accepted: Sequence[bytes]) -> None:
        """Write the outcome: accepted keys are kept, the others of a claim are forgotten.

        Tried again while the database is locked. Raise :class:`JournalError` when it cannot be written now; it is
        then written by a later call, and only a worker that dies before that loses it.
        """
        for key in not_accepted:
            if (number := self._held.pop(key, None)) is not None:
                self._unsettled[key, number] = False
        for key in accepted:
            self._unsettled[key, self._held.pop(key, 0)] = True
        for _ in range(_ATTEMPTS - 1):
            with suppress(DatabaseLocked):
                await self._call(self._nothing)
                return
        await self._call(self._nothing)

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Forget those of ``keys`` that are accepted."""
        await self._call(self._forget, tuple(dict.fromkeys(keys)))

    async def _call(self, work: Callable[..., T], *arguments: object) -> T:
        """Run one call off the event loop: outstanding settlements, then ``work(now, *arguments)``."""
        outstanding = dict(self._unsettled)
        now = int(self._clock.now().timestamp())
        result: T = await self._offload(self._run, outstanding, work, now, arguments)
        for settlement in outstanding:
            self._unsettled.pop(settlement, None)
        return result

    # Everything below runs in the offloaded thread, or at load time.

    def _prepare(self) -> None:
        if not self._is_open:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._generation.lock():
                self._database.prepare()
            self._is_open = True

    def _run(
        self,
        outstanding: Mapping[tuple[bytes, int], bool],
        work: Callable[..., T],
        now: int,
        arguments: tuple[object, ...],
    ) -> T:
        with self._database.failures():
            self._prepare()
            if outstanding:
                self._settle(now, outstanding)
            return work(now, *arguments)

    def _nothing(self, now: int) -> None:
        """Do nothing: the outstanding settlements are all there is to do."""

    def _read(self, now: int, keys: tuple[bytes, ...]) -> dict[bytes, Delivery]:
        with self._database.transaction("BEGIN") as connection:
            rows = deliveries.select(connection, keys)
            oldest = deliveries.oldest(connection)
        if any(row.state == State.IN_DOUBT for row in rows):
            with self._database.transaction("BEGIN IMMEDIATE") as connection:
                known = self._judge(deliveries.select(connection, keys), now)
        else:
            known = self._judge(rows, now)
        if oldest < now - self._kept if oldest is not None else not self._generation.is_known_empty():
            with suppress(DatabaseLocked):
                self._tidy(now)
        return {key: known.get(key, Delivery.UNKNOWN) for key in keys}

    def _claim(self, now: int, keys: tuple[bytes, ...], ticket: _Ticket) -> bool:
        owner = self._liveness.owner
        if not self._liveness.is_alive(owner):
            raise JournalError(f"{self._path}: the lock of this worker ({owner}) is gone, so others take it for dead")
        with self._database.transaction("BEGIN IMMEDIATE") as connection:
            self._sweep(connection, now)
            known = self._judge(deliveries.select(connection, keys), now)
            if ticket.withdrawn or not {Delivery.ACCEPTED, Delivery.RUNNING}.isdisjoint(known.values()):
                return False
            if keys:
                self._generation.advance()
                deliveries.write(connection, keys, State.IN_DOUBT, owner=owner, claim=ticket.number, moment=now)
        return True

    def _settle(self, now: int, outcomes: Mapping[tuple[bytes, int], bool]) -> None:
        owner = self._liveness.owner
        accepted = {key for (key, _), is_accepted in outcomes.items() if is_accepted}
        forgotten = [claimed for claimed, is_accepted in outcomes.items() if not is_accepted]
        with self._database.transaction("BEGIN IMMEDIATE") as connection:
            if forgotten:
                deliveries.forget(connection, owner, forgotten)
            if accepted:
                self._generation.advance()
                deliveries.write(connection, sorted(accepted), State.ACCEPTED, owner=owner, claim=0, moment=now)
            seen = self._generation.look() if deliveries.is_empty(connection) else None
        self._generation.known_empty = seen

    def _forget(self, now: int, keys: tuple[bytes, ...]) -> None:
        with self._database.transaction("BEGIN IMMEDIATE") as connection:
            found = deliveries.select(connection, keys)
            deliveries.delete(connection, [row.key for row in found if row.state == State.ACCEPTED])
            seen = self._generation.look() if deliveries.is_empty(connection) else None
        self._generation.known_empty = seen

    def _tidy(self, now: int) -> None:
        """Drop what has expired, and see whether nothing is left."""
        with self._database.transaction_if_free() as connection:
            self._sweep(connection, now)
            seen = self._generation.look() if deliveries.is_empty(connection) else None
        self._generation.known_empty = seen

    def _sweep(self, connection: sa.Connection, now: int) -> None:
        old = deliveries.select_older(connection, now - self._kept, _SWEEP)
        running = self._judge(old, now)
        if expired := [row.key for row in old if row.key not in running]:
            deliveries.delete(connection, expired)

    def _judge(self, rows: Sequence[deliveries.Row], now: int) -> dict[bytes, Delivery]:
        """Tell what rows mean; expired ones mean nothing. With rows in doubt among them, only under the write lock."""
        alive = {self._liveness.owner: True}
        known: dict[bytes, Delivery] = {}
        for row in rows:
            if row.state == State.IN_DOUBT and row.owner not in alive:
                alive[row.owner] = self._liveness.is_alive(row.owner)
            if row.state == State.IN_DOUBT and alive[row.owner]:
                known[row.key] = Delivery.RUNNING
            elif row.moment >= now - self._kept:
                known[row.key] = Delivery.ABANDONED if row.state == State.IN_DOUBT else Delivery.ACCEPTED
        return known
