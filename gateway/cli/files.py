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


def read_certificates(paths: Sequence[Path]) -> tuple[Certificate, ...]:
    """Read certificates from files or folders, in order; every file has to hold one at least."""
    found: list[Certificate] = []
    for path in paths:
        files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
        for file in files:
            found += _read_certificates(file)
    return tuple(dict.fromkeys(found))


def _read_certificates(file: Path) -> tuple[Certificate, ...]:
    try:
        return load_certificates(file.read_bytes())
    except OSError as error:
        raise Usage(f"{file}: {error.strerror or 'not readable'}") from None
    except CertificateError as error:
        raise Usage(f"{file}: {error}") from None


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
