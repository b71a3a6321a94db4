"""Decision records: what ``smime-gateway why`` answers from.

What it does: :class:`DecisionRecords` appends one JSON line for each transaction to ``<folder>/YYYY-MM-DD.jsonl`` (the
UTC date of the record's moment), by one ``write`` to a descriptor opened with O_APPEND, so that the lines of several
workers never mix. Files are readable by the gateway's user only: they name who wrote to whom. When a worker opens a new
day's file, files of days more than ``kept`` before it are removed. :func:`find_record` finds a transaction again.

What it refuses: a line longer than :data:`LINE_OCTETS` is written with fewer recipients (``omitted_recipients`` counts
the rest). A disk that fails does not fail the mail: the record is lost and counted, and the log says so once. Known
gaps: records are not flushed to the disk one by one, so a crash of the machine loses the last seconds; a disk that
stands still holds up its writer.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from contextlib import suppress
from datetime import UTC, date, timedelta
from pathlib import Path

from gateway.observe.maillog import MailLog
from gateway.observe.metrics import Metrics
from gateway.transaction.record import Record

KEPT = timedelta(days=30)
"""How long the files of a day are kept."""
LINE_OCTETS = 1024 * 1024
"""Longest line, its end included; a thousand recipients are some 300 KB."""

_DAY_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl")
_TRANSACTION = re.compile(r"[0-9A-Za-z-]{1,64}")
_ENCODE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class DecisionRecords:
    """Writes the records of one worker; implements ``ports.Observer``. Never raises :class:`OSError`."""

    def __init__(self, folder: Path, *, log: MailLog, metrics: Metrics, kept: timedelta = KEPT) -> None:
        """Prepare; no file is touched yet."""
        self._folder = folder
        self._kept = kept
        self._log = log
        self._metrics = metrics
        self._lost = 0
        self._day: date | None = None
        self._descriptor: int | None = None

    def started(self, listener: str) -> None:
        """Write nothing."""

    def ended(self, record: Record) -> None:
        """Append the record to its day's file."""
        try:
            self._append(self._open(record.moment.astimezone(UTC).date()), encode_record(record))
        except OSError as error:
            self._failed(error)
        else:
            if self._lost:
                lost, self._lost = self._lost, 0
                self._log.records_recovered(lost)

    def close(self) -> None:
        """Close the file. Idempotent; the next record opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._day = self._descriptor = None

    def _open(self, day: date) -> int:
        # The file may have been removed under us; a record written to it then would be lost.
        if self._descriptor is not None and self._day == day and os.fstat(self._descriptor).st_nlink:
            return self._descriptor
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{day.isoformat()}.jsonl"
        is_new = not path.exists()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._day = day
        if is_new:
            self._remove_old(day)
        return self._descriptor

    def _append(self, descriptor: int, line: bytes) -> None:
        written = os.write(descriptor, line)
        if written != len(line):
            # The disk is full. End the torn line, so that it spoils no other; where even that fails, the reader copes.
            with suppress(OSError):
                os.write(descriptor, b"\n")
            raise OSError(0, "only part of a record could be written")

    def _remove_old(self, day: date) -> None:
        for path, old in _day_files(self._folder):
            if day - old > self._kept:
                with suppress(OSError):  # it can wait; the record at hand cannot
                    path.unlink()

    def _failed(self, error: OSError) -> None:
        with suppress(OSError):
            self.close()
        self._lost += 1
        self._metrics.record_lost()
        if self._lost == 1:
            self._log.records_failed(self._folder, error)


def encode_record(record: Record) -> bytes:
    """Return the line of a record, its end included: ASCII, at most :data:`LINE_OCTETS`."""
    data = record.to_json()
    recipients = data["recipients"]
    shown = len(recipients)
    while True:
        line = _ENCODE(data).encode("ascii") + b"\n"
        if len(line) <= LINE_OCTETS or not shown:
            return line
        shown //= 2
        data["recipients"] = recipients[:shown]
        data["omitted_recipients"] = len(recipients) - shown


def find_record(folder: Path, transaction: str) -> Record | None:
    """Find the record of a transaction, newest day first; ``None`` if there is none.

    A record that cannot be read any more (a torn line) counts as none. Raise :class:`OSError` where a file cannot be
    read, and :class:`ValueError` for what is no transaction id.
    """
    if not _TRANSACTION.fullmatch(transaction):
        raise ValueError("not a transaction id")
    beginning = b'{"transaction":"' + transaction.encode("ascii") + b'",'
    for path, _ in sorted(_day_files(folder), reverse=True):
        found = _find_in(path, beginning)
        if found is not None:
            return found
    return None


def _find_in(path: Path, beginning: bytes) -> Record | None:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.find(beginning)
            while start >= 0:
                end = content.find(b"\n", start)
                with suppress(ValueError):
                    return Record.from_json(json.loads(content[start : end if end >= 0 else len(content)]))
                start = content.find(beginning, start + 1)
    return None


def _day_files(folder: Path) -> list[tuple[Path, date]]:
    files: list[tuple[Path, date]] = []
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            match = _DAY_FILE.fullmatch(name)
            if match:
                with suppress(ValueError):
                    files.append((folder / name, date.fromisoformat(match[1])))
    return files
