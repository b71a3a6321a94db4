"""Which workers live: each holds a lock on a file of its own, and the kernel lets go of it when the worker dies.

What it does: :class:`WorkerLock` holds ``flock(2)`` on ``<folder>/<owner id>`` for the life of a worker. Another worker
takes an owner for dead when it can have that lock, or when there is no such file. No lease, no clock: a worker that
stands still for an hour is alive, one that was killed is dead at once, in whatever state it was.

Rules that make it right:

* An id is used once. The file is made with ``O_EXCL``; a worker that finds its id taken does not start.
* Testing takes a *shared* lock, so that two testers never mistake each other for the owner, and closes only its own
  descriptor: a flock belongs to the open file description, so a test never takes a lock away from its owner.
* Between making its file and locking it a worker may lose the file to a sweep; it then sees that the path no longer
  names its file, and makes another. Nobody can ask for its id before that, since it has claimed nothing yet.
* A sweep removes a file only while it holds the lock on just that file.
* "I cannot tell" (no permission, no descriptors left) is raised as :class:`OSError` and never read as dead.

What it refuses: an id that is not 1 to 64 characters of ``0-9A-Za-z-``. Known gaps: the lock is inherited by ``fork``,
so acquire it in the worker process itself and start no children by fork without exec; the folder has to be on a file
system where flock holds for all workers that share it (a local one; the journal, an SQLite file, needs that anyway).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Protocol

_OWNER = re.compile(r"[0-9A-Za-z-]{1,64}")


class Liveness(Protocol):
    """Who this worker is, and which others live."""

    @property
    def owner(self) -> str:
        """Id of this worker, never used by another, before or after."""
        ...

    def is_alive(self, owner: str) -> bool:
        """Tell whether the worker ``owner`` lives; :class:`OSError` when that cannot be told."""
        ...


class WorkerLock:
    """The life sign of one worker process; implements :class:`Liveness`. A context manager, or acquire and release."""

    def __init__(self, folder: Path, owner: str) -> None:
        """Prepare; no file is touched before :meth:`acquire`."""
        if not _OWNER.fullmatch(owner):
            raise ValueError("an owner id is 1 to 64 characters of 0-9 A-Z a-z -")
        self._folder = folder
        self._owner = owner
        self._descriptor: int | None = None

    @property
    def owner(self) -> str:
        """Id of this worker."""
        return self._owner

    def acquire(self) -> None:
        """Take the lock; :class:`FileExistsError` for an id that was used before, other :class:`OSError` as they come.

        Returns at once: nobody but a test, which lasts microseconds, ever locks a new file.
        """
        if self._descriptor is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / self._owner
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _names(path, descriptor):
                    self._descriptor = descriptor
                    return
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def release(self) -> None:
        """Let go, and remove the file. From now on this worker is dead to all others. Idempotent."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            path = self._folder / self._owner
            if _names(path, descriptor):
                path.unlink()
        finally:
            os.close(descriptor)

    def is_alive(self, owner: str) -> bool:
        """Tell whether ``owner`` lives. For this worker itself: whether others can see that it does."""
        if not _OWNER.fullmatch(owner):
            return False
        path = self._folder / owner
        if owner == self._owner:
            return self._descriptor is not None and _names(path, self._descriptor)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def __enter__(self) -> WorkerLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def remove_dead(folder: Path) -> int:
    """Remove the files of dead workers; return how many. Changes no answer: an owner without a file is dead too."""
    removed = 0
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return 0
    for name in names:
        if _OWNER.fullmatch(name):
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                removed += _remove_if_dead(folder / name)
    return removed


def _remove_if_dead(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _names(path, descriptor):
            return False
        path.unlink()
        return True
    finally:
        os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
