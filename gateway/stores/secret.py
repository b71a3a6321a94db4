"""A secret of this gateway in a file, made at first use; several processes may start at once.

What it does: reads 32 octets of the operating system's randomness from a file of mode 0600, or makes it: written whole
under another name first and then linked into place, so that every process sees either nothing or all of it, and the
first one's is everybody's. It keys our marks and trace tokens. Refuses with :class:`KeyMaterialError`: a file of
another length, or one that others may read; it is never replaced silently, since marks made with it would be lost.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gateway.errors import KeyMaterialError
from gateway.stores.keys import check_private_file, read_octets

SECRET_OCTETS = 32
"""256 bits: as strong as HMAC-SHA-256 can use."""


def load_or_create_secret(path: Path) -> bytes:
    """Return the secret at ``path``, making the file (and its folder, 0700) if it is not there.

    Raise :class:`KeyMaterialError` with what to do.
    """
    if not os.path.lexists(path):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(path)
        except OSError as error:
            raise KeyMaterialError(f"{path}: cannot be made: {error.strerror or error}") from None
    check_private_file(path)
    secret = read_octets(path)
    if len(secret) != SECRET_OCTETS:
        raise KeyMaterialError(f"{path}: not {SECRET_OCTETS} octets; restore it, or remove it to make a new one")
    return secret


def _create(path: Path) -> None:
    """Write a new secret under a name of its own and link it to ``path``, unless another process was first."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_OCTETS))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        _sync_folder(path.parent)
    finally:
        os.unlink(temporary)


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a crash: marks that are out must not outlive their key."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
