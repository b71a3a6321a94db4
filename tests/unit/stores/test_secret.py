"""The secret is made once, whole, closed to others, and never replaced."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import KeyMaterialError
from gateway.stores import load_or_create_secret
from gateway.stores.secret import SECRET_OCTETS
from tests.support.pki import write_private


def test_it_is_made_once(tmp_path: Path) -> None:
    """With its folder, mode 0600, and nothing left beside it."""
    path = tmp_path / "state" / "secret"
    secret = load_or_create_secret(path)
    assert len(secret) == SECRET_OCTETS
    assert load_or_create_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert load_or_create_secret(tmp_path / "other") != secret


def test_many_workers_agree(tmp_path: Path) -> None:
    """All of those that start at once have the same one."""
    path = tmp_path / "secret"
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(load_or_create_secret, [path] * 64))
    assert len(found) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("octets", [b"", b"x" * 31, b"x" * 33], ids=["empty", "short", "long"])
def test_a_damaged_one_is_refused_and_kept(tmp_path: Path, octets: bytes) -> None:
    """Marks made with it would be lost: a person decides."""
    path = tmp_path / "secret"
    write_private(path, octets)
    with pytest.raises(KeyMaterialError, match="32 octets"):
        load_or_create_secret(path)
    assert path.read_bytes() == octets


def test_one_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """It may be known already."""
    path = tmp_path / "secret"
    load_or_create_secret(path)
    os.chmod(path, 0o644)
    with pytest.raises(KeyMaterialError, match="chmod"):
        load_or_create_secret(path)


def test_where_nothing_can_be_made(tmp_path: Path) -> None:
    """Is our exception, with path and reason."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyMaterialError, match="secret"):
        load_or_create_secret(tmp_path / "file" / "secret")


def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    """Nothing is made through it."""
    path = tmp_path / "secret"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(KeyMaterialError):
        load_or_create_secret(path)
    assert not (tmp_path / "nowhere").exists()
