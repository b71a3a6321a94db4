"""Reading what commands are given: mail from standard input or a file, certificates, moments.

Every failure is a :class:`Usage` (exit status 2) or :class:`NotMail` (exit status 3), with one line for the admin.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from gateway.address import Address
from gateway.errors import CertificateError, GatewayError, WireError
from gateway.mime import find_flaw, parse_header, to_crlf
from gateway.pkix import Certificate, load_certificates


class Usage(GatewayError):
    """The options do not make sense together, or name what cannot be used."""


class NotMail(GatewayError):
    """The input is not readable as mail."""


def read_mail(path: Path | None = None) -> bytes:
    """Read one message from a file or standard input, with CRLF line ends.

    Lines that all end in LF are read as CRLF; a mixture, a NUL, or no header field at all is :class:`NotMail`.
    """
    try:
        octets = path.read_bytes() if path else sys.stdin.buffer.read()
    except OSError as error:
        raise NotMail(f"{path}: {error.strerror or 'not readable'}") from None
    name = str(path) if path else "standard input"
    try:
        content = to_crlf(octets)
    except WireError as error:
        raise NotMail(f"{name}: not readable as mail: {error}") from None
    if found := find_flaw(content, max_line=None):
        raise NotMail(f"{name}: not readable as mail: {found[0]} at octet {found[1]}")
    try:
        fields = parse_header(content).fields
    except GatewayError as error:
        raise NotMail(f"{name}: not readable as mail: {error}") from None
    if not any(field.name for field in fields):
        raise NotMail(f"{name}: not readable as mail: no header field")
    return content


def write_mail(buffers: Iterable[bytes]) -> None:
    """Write a message to standard output."""
    sys.stdout.buffer.writelines(buffers)
    sys.stdout.buffer.flush()


CERTIFICATE_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".der"})
"""Names of files in a folder that have to hold a certificate; others may: keys and notes lie there too."""


def read_certificates(paths: Sequence[Path]) -> tuple[Certificate, ...]:
    """Read certificates from files, each of which has to hold one, and folders, in the order of the names there."""
    found: list[Certificate] = []
    for path in paths:
        found += _read_folder(path) if path.is_dir() else _read_certificates(path)
    return tuple(dict.fromkeys(found))


def _read_folder(folder: Path) -> list[Certificate]:
    found: list[Certificate] = []
    for file in sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith(".")):
        try:
            found += _read_certificates(file)
        except Usage:
            if file.suffix.lower() in CERTIFICATE_SUFFIXES:
                raise
    if not found:
        raise Usage(f"{folder}: no certificate in this folder")
    return found


def _read_certificates(file: Path) -> tuple[Certificate, ...]:
    try:
        return load_certificates(file.read_bytes())
    except OSError as error:
        raise Usage(f"{file}: {error.strerror or 'not readable'}") from None
    except CertificateError as error:
        raise Usage(f"{file}: {error}") from None


def words(value: object) -> str:
    """Write a value of a report for people: yes and no, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def parse_address(text: str) -> Address:
    """Read a mail address."""
    try:
        return Address(text)
    except ValueError as error:
        raise Usage(f"{text}: {error}") from None


def parse_moment(text: str) -> datetime:
    """Read an RFC 3339 date and time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"--moment {text}: expected RFC 3339, 2026-06-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise Usage(f"--moment {text}: needs an offset, Z for UTC")
    return moment
