"""Whether a shared table is still empty, told by the size of a file.

What it does: every transaction that puts a row into the table first makes the file one octet longer, while it holds the
database's write lock. Who has seen the table empty, *also while holding the write lock*, remembers the file's size of
that instant. As long as the size is the same, nobody can have put a row in.

Why it cannot miss a row: a writer makes the file longer and commits in one holding of the lock, so for whoever holds it
next either both have happened or (after a rollback) only the first, which costs a look. A size that was seen never
comes back: the file only grows. A crash of the machine can take octets away again, but then the memory of every
process is gone too. No time stamps: theirs are too coarse for two writes within one tick of the kernel's clock.

What it raises: :class:`OSError` when the file cannot be written. Known gap: whoever puts an older file in its place
while workers run is not noticed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Snapshot = tuple[int, int, int]
"""Device, inode and size of the file."""


class Generation:
    """The file at ``path``, and what this process remembers of it."""

    def __init__(self, path: Path) -> None:
        """Prepare; no file is touched yet."""
        self._path = path
        self.known_empty: Snapshot | None = None
        """The snapshot at which the table was empty; set it after that transaction has ended."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the file where there is none, and hold an exclusive lock on it: for the making of the database."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def advance(self) -> None:
        """Say that a row is about to be put in. Only while holding the write lock."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"+")
        finally:
            os.close(descriptor)

    def look(self) -> Snapshot | None:
        """Return what there is now; ``None`` without a file."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size

    def is_known_empty(self) -> bool:
        """Whether the table is certainly empty. One ``stat``."""
        return self.known_empty is not None and self.known_empty == self.look()
