"""The SQLite file under the delivery journal: connections, transactions, and what its failures mean.

What it does: makes the file (mode 0600) with its schema, in WAL mode with ``synchronous=FULL``, so that a committed
transaction survives a crash of the machine; gives whole transactions as context managers; turns everything that SQLite
or the file system refuses into a :class:`~gateway.transaction.ports.JournalError` that names path and cause.

Transactions are begun by hand (``BEGIN`` to read, ``BEGIN IMMEDIATE`` to write): left to themselves, drivers begin with
a read lock and fail in the middle when another writer was faster. Waiting for another writer is SQLite's own
(``busy_timeout``).

What it refuses: a schema version that is not ours. Never opens and closes the database file other than through SQLite:
closing any descriptor of it would drop the locks of every connection of this process (POSIX locks).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.transaction.ports import JournalError


class DatabaseLocked(JournalError):
    """Another writer held the database for longer than ``busy_timeout``."""


class Database:
    """One SQLite file, as seen by one worker. Every method blocks: call it off the event loop, or at load time."""

    def __init__(
        self, path: Path, metadata: sa.MetaData, version: int, *, busy_milliseconds: int, max_pages: int | None
    ) -> None:
        """Prepare; no file is touched yet. ``max_pages`` bounds the database's growth, in pages of 4096 octets."""
        self._path = path
        self._metadata = metadata
        self._version = version
        self._busy_milliseconds = busy_milliseconds
        # The pool keeps every connection (0: no bound; there are no more than offloading threads). The last one to
        # close would write the whole WAL back and remove it.
        self._engine = sa.create_engine(
            sa.URL.create("sqlite+pysqlite", database=str(path)),
            isolation_level="AUTOCOMMIT",
            pool_size=0,
            connect_args={"timeout": busy_milliseconds / 1000},
        )
        sa.event.listen(self._engine, "connect", _Pragmas(max_pages))

    def prepare(self) -> None:
        """Make the file or check its schema version. The caller sees to it that no other worker does so just now."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with self._engine.connect() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar_one()
            if mode != "wal":
                raise JournalError(f"{self._path}: WAL is not possible here (journal mode {mode})")
        with self.transaction("BEGIN IMMEDIATE") as connection:
            found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if found == 0:
                self._metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {self._version}")
            elif found != self._version:
                raise JournalError(f"{self._path}: made by another version (schema {found}, expected {self._version})")

    @contextmanager
    def transaction(self, begin: str) -> Iterator[sa.Connection]:
        """Run one transaction; rolled back when its block raises."""
        with self._engine.connect() as connection:
            try:
                connection.exec_driver_sql(begin)
                yield connection
                connection.exec_driver_sql("COMMIT")
            finally:
                _roll_back(connection)

    @contextmanager
    def transaction_if_free(self) -> Iterator[sa.Connection]:
        """Run one writing transaction; :class:`DatabaseLocked` at once if another writer is at work."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
            try:
                with self.failures():
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                connection.exec_driver_sql("COMMIT")
            finally:
                _roll_back(connection)
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {self._busy_milliseconds}")

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what SQLite and the file system raise into :class:`JournalError`."""
        try:
            yield
        except DBAPIError as error:
            kind = DatabaseLocked if _is_locked(error.orig) else JournalError
            raise kind(f"{self._path}: {error.orig}") from error
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise JournalError(f"{self._path}: {error}") from error
        except OSError as error:
            raise JournalError(f"{error.filename or self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._engine.dispose()


class _Pragmas:
    """What each new connection is told."""

    def __init__(self, max_pages: int | None) -> None:
        self._lines = ["PRAGMA synchronous = FULL"]
        if max_pages is not None:
            self._lines.append(f"PRAGMA max_page_count = {max_pages}")

    def __call__(self, connection: sqlite3.Connection, _: object) -> None:
        for line in self._lines:
            connection.execute(line).close()


def _roll_back(connection: sa.Connection) -> None:
    """End whatever transaction is open; nothing where SQLite has ended it (it does on a full disk)."""
    connection.connection.rollback()


def _is_locked(error: object) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, sqlite3.OperationalError) and code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
