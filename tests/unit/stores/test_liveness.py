"""The life signs of workers: who holds his lock lives, who was killed is dead at once, a test changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.stores.liveness import WorkerLock, remove_dead

HOLDER = """
import sys
from pathlib import Path
from gateway.stores.liveness import WorkerLock
lock = WorkerLock(Path(sys.argv[1]), sys.argv[2])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


@contextmanager
def holder(folder: Path, owner: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that holds the lock of ``owner``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_killed_process_is_dead_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    """SIGSTOP leaves it alive however long it stands; SIGKILL makes it dead, and its file proves nothing."""
    asker = WorkerLock(tmp_path, "asker")
    with holder(tmp_path, "other") as process:
        assert asker.is_alive("other")
        process.send_signal(signal.SIGSTOP)
        assert asker.is_alive("other")
        process.kill()
        process.wait()
        assert not asker.is_alive("other")
        assert (tmp_path / "other").exists()
        assert remove_dead(tmp_path) == 1
        assert not asker.is_alive("other")


def test_a_process_that_ends_well_takes_its_file_along(tmp_path: Path) -> None:
    """Releasing removes the file, and the owner is dead to others."""
    with holder(tmp_path, "other") as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0
    assert os.listdir(tmp_path) == []
    assert not WorkerLock(tmp_path, "asker").is_alive("other")


def test_asking_never_takes_a_lock_away(tmp_path: Path) -> None:
    """However often a living owner is asked for, from whatever process, it stays alive; a sweep spares it."""
    with WorkerLock(tmp_path, "one") as one, WorkerLock(tmp_path, "two") as two, holder(tmp_path, "three"):
        for _ in range(50):
            assert all(asker.is_alive(owner) for asker in (one, two) for owner in ("one", "two", "three"))
        assert remove_dead(tmp_path) == 0
        assert all(asker.is_alive(owner) for asker in (one, two) for owner in ("one", "two", "three"))
    assert not one.is_alive("one")
    assert not two.is_alive("one")


def test_two_askers_at_once_do_not_take_each_other_for_the_owner(tmp_path: Path) -> None:
    """A dead owner is dead to each of many that ask for it at the same time."""
    (tmp_path / "dead").touch()
    askers = [WorkerLock(tmp_path, f"asker-{number}") for number in range(4)]
    answers: list[bool] = []

    def ask(asker: WorkerLock) -> None:
        answers.extend(asker.is_alive("dead") for _ in range(300))

    threads = [threading.Thread(target=ask, args=(asker,)) for asker in askers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 1200
    assert not any(answers)


def test_a_worker_whose_file_is_gone_knows_it(tmp_path: Path) -> None:
    """Others take it for dead then, so it must not go on claiming; releasing leaves a stranger's file alone."""
    lock = WorkerLock(tmp_path, "one")
    lock.acquire()
    assert lock.is_alive("one")
    (tmp_path / "one").unlink()
    assert not lock.is_alive("one")
    (tmp_path / "one").touch()
    assert not lock.is_alive("one")
    lock.release()
    assert (tmp_path / "one").exists()


def test_acquiring_survives_sweeps(tmp_path: Path) -> None:
    """A sweep may remove a file between its making and its locking; the worker then makes another."""
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            remove_dead(tmp_path)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        locks = [WorkerLock(tmp_path, f"worker-{number}") for number in range(200)]
        for lock in locks:
            lock.acquire()
    finally:
        over.set()
        sweeper.join()
    asker = WorkerLock(tmp_path, "asker")
    assert all(asker.is_alive(lock.owner) for lock in locks)
    for lock in locks:
        lock.release()


def test_an_id_is_used_once(tmp_path: Path) -> None:
    """A worker that finds its id taken does not start, whether the other lives or is dead."""
    with WorkerLock(tmp_path, "one") as one:
        one.acquire()
        with pytest.raises(FileExistsError):
            WorkerLock(tmp_path, "one").acquire()
        assert one.is_alive("one")
    one.release()
    (tmp_path / "one").touch()
    with pytest.raises(FileExistsError):
        WorkerLock(tmp_path, "one").acquire()


@pytest.mark.parametrize("owner", ["", ".", "..", "../one", "a/b", "a.b", "ä", "x" * 65, "one\n"])
def test_ids_that_could_name_other_files_are_refused(tmp_path: Path, owner: str) -> None:
    """They cannot be held, and are dead."""
    with pytest.raises(ValueError, match="owner id"):
        WorkerLock(tmp_path, owner)
    assert not WorkerLock(tmp_path, "asker").is_alive(owner)


def test_what_cannot_be_told_is_not_dead(tmp_path: Path) -> None:
    """An error of the file system is raised, never read as "no such worker"."""
    folder = tmp_path / "file"
    folder.touch()
    with pytest.raises(NotADirectoryError):
        WorkerLock(folder, "asker").is_alive("other")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        WorkerLock(tmp_path, "asker").is_alive("loop")


def test_nothing_to_sweep(tmp_path: Path) -> None:
    """A folder that does not exist yet holds no dead; names that are no ids are left alone."""
    assert remove_dead(tmp_path / "none") == 0
    (tmp_path / "README.txt").touch()
    assert remove_dead(tmp_path) == 0
    assert (tmp_path / "README.txt").exists()


def test_locks_are_private(tmp_path: Path) -> None:
    """Folder and file belong to the gateway's user alone."""
    with WorkerLock(tmp_path / "workers", "one"):
        assert (tmp_path / "workers").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "workers" / "one").stat().st_mode & 0o777 == 0o600
