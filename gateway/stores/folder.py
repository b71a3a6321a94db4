"""Reads a folder of keys or certificates as a whole, so that one bad file costs only what is in it.

What it does: reads every file whose name ends in one of :data:`SUFFIXES`, in the order of their names, each with the
passphrase beside it (``NAME.pass`` for ``NAME.key``, ``NAME.p12``, ...), and keeps what could not be read together with
the mail addresses it was for, as far as they are known: from a certificate of the same name beside it, or because the
file is called by an address. Hidden files and subfolders are passed over, so mounted secrets (whose files are links
into a hidden folder) work. It raises nothing: what is wrong is a :class:`~gateway.errors.Problem`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.address import Address
from gateway.errors import KeyMaterialError, Problem
from gateway.stores.keys import check_private_file, read_passphrase
from gateway.stores.material import Material, read_material

SUFFIXES = frozenset({".pem", ".crt", ".cer", ".der", ".key", ".p12", ".pfx"})
"""Names of files that are read, in any case; their content decides what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A file that could not be read."""

    path: Path
    cause: str
    """What is wrong; starts with the path, or that of its passphrase file."""


@dataclass(slots=True, kw_only=True)
class Contents:
    """What one or several folders hold."""

    materials: list[Material] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """What has to be repaired."""
    warnings: list[Problem] = field(default_factory=list)
    """What should be looked at."""
    missing: list[str] = field(default_factory=list)
    """Causes for which a whole folder could not be read: nothing about its contents is known."""

    def addresses_of_broken(self) -> Iterator[tuple[str, str]]:
        """Yield (address key, cause) for every broken file whose addresses are known."""
        for broken in self.broken:
            stem = broken.path.stem
            certificates = [
                certificate
                for material in self.materials
                if material.path.parent == broken.path.parent and material.path.stem == stem
                for certificate in material.certificates
                if not certificate.is_ca
            ]
            emails = [email for certificate in certificates for email in certificate.emails]
            for key in dict.fromkeys(key_of(email) for email in [*emails, stem]):
                if key is not None:
                    yield key, broken.cause


def read_folders(folders: Sequence[Path], *, are_private: bool) -> Contents:
    """Read the folders, or single files, in order. ``are_private``: warn of files with keys that others may read."""
    contents = Contents()
    for folder in folders:
        try:
            paths = sorted(_list(folder))
        except OSError as error:
            cause = f"{folder}: {error.strerror or 'not readable'}"
            contents.missing.append(cause)
            contents.problems.append(problem(folder, f"{error.strerror or 'not readable'}: give a folder that exists"))
            continue
        for path in paths:
            _read(path, contents, are_private=are_private)
    return contents


def key_of(email: str) -> str | None:
    """Return the look-up key of a mail address, ``None`` for what is none."""
    try:
        return Address(email).key
    except ValueError:
        return None


def problem(path: Path, text: str) -> Problem:
    """Return a problem of a whole file."""
    return Problem(file=str(path), line=None, key="", text=text.removeprefix(f"{path}: "))


def _list(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return [
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file()
    ]


def _read(path: Path, contents: Contents, *, are_private: bool) -> None:
    passphrase_file = path.with_name(f"{path.stem}.pass")
    passphrase, cause = None, ""
    try:
        passphrase = read_passphrase(passphrase_file) if passphrase_file.is_file() else None
    except KeyMaterialError as error:
        cause = str(error)  # of account only if a file turns out to need it
    try:
        material = read_material(path, passphrase)
    except KeyMaterialError as error:
        cause = cause or str(error)
        contents.broken.append(Broken(path=path, cause=cause))
        contents.problems.append(problem(path, cause))
        return
    contents.materials.append(material)
    if are_private and material.keys:
        for private in (path, passphrase_file):
            _check_mode(private, contents)


def _check_mode(path: Path, contents: Contents) -> None:
    if not path.exists():
        return
    try:
        check_private_file(path)
    except KeyMaterialError as error:
        contents.problems.append(problem(path, str(error)))
