"""Arguments of MAIL and RCPT: paths verbatim, parameters typed.

Standards: RFC 5321 4.1.1.2, 4.1.1.3, 4.1.2 (paths), RFC 1870 (SIZE), RFC 6152 (BODY), RFC 6531 (SMTPUTF8).

Refused: a path without angle brackets, unquoted specials, controls, octets outside ASCII where SMTPUTF8 was not asked
for. A source route is read and dropped (RFC 5321 4.1.2, C); ``<Postmaster>`` without a domain is ours (4.5.1).
Known gap: an address literal is checked for its characters, not for being an address.
"""

from __future__ import annotations

import re

from gateway.address import Address
from gateway.envelope import NULL_PATH, MailParameters, Path

MAX_PATH = 1024
"""Octets in a path. RFC 5321 4.5.3.1.3 asks for 256; addresses in use (SRS, VERP) exceed it."""

_UTF8 = rb"\x80-\xff"
# Real senders also write a..b or a trailing dot; the address travels verbatim and its host decides (4.1.2, last part).
_LOOSE_STRING = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-" + _UTF8 + rb"]+"
_QUOTED = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e' + _UTF8 + rb']|\\[\x20-\x7e])*"'
_LABEL = rb"[A-Za-z0-9_" + _UTF8 + rb"](?:[A-Za-z0-9_\-" + _UTF8 + rb"]*[A-Za-z0-9_" + _UTF8 + rb"])?"
_DOMAIN = rb"(?:" + _LABEL + rb"(?:\." + _LABEL + rb")*\.?|\[[A-Za-z0-9:.\-]+\])"
_ROUTE = rb"(?:@" + _DOMAIN + rb"(?:,@" + _DOMAIN + rb")*:)?"
_PATH = re.compile(
    rb" ?<" + _ROUTE + rb"((?:" + _LOOSE_STRING + rb"|" + _QUOTED + rb")@" + _DOMAIN + rb")>(?: (.*))?\Z"
)
_NULL = re.compile(rb" ?<>(?: (.*))?\Z")
_POSTMASTER = re.compile(rb" ?<(postmaster)>(?: (.*))?\Z", re.IGNORECASE)
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?\Z")


class PathSyntaxError(ValueError):
    """The path cannot be read."""


class ParameterError(ValueError):
    """A parameter cannot be read; ``is_unknown`` tells 555 from 501."""

    def __init__(self, *, is_unknown: bool) -> None:
        super().__init__("unknown parameter" if is_unknown else "bad parameter")
        self.is_unknown = is_unknown


def parse_reverse_path(argument: bytes) -> tuple[Path, MailParameters]:
    """Read what follows ``MAIL FROM:``. Raises :class:`PathSyntaxError`, :class:`ParameterError`."""
    if match := _NULL.match(argument):
        return NULL_PATH, _parse_parameters(match[1])
    if (match := _PATH.match(argument)) is None:
        raise PathSyntaxError
    parameters = _parse_parameters(match[2])
    return _path(match[1], utf8=parameters.smtputf8), parameters


def parse_forward_path(argument: bytes, hostname: str, *, utf8: bool) -> Path:
    """Read what follows ``RCPT TO:``; ``utf8`` tells whether MAIL asked for SMTPUTF8.

    Raises :class:`PathSyntaxError`, :class:`ParameterError`.
    """
    if match := _POSTMASTER.match(argument):
        path = Path(octets=match[1], address=Address(f"postmaster@{hostname}"))
    elif match := _PATH.match(argument):
        path = _path(match[1], utf8=utf8)
    else:
        raise PathSyntaxError
    if _split(match[2]):
        raise ParameterError(is_unknown=True)
    return path


def _path(octets: bytes, *, utf8: bool) -> Path:
    if len(octets) > MAX_PATH or not (utf8 or octets.isascii()):
        raise PathSyntaxError
    try:
        return Path(octets=octets, address=Address(octets.decode("utf-8")))
    except ValueError as error:
        raise PathSyntaxError from error


def _parse_parameters(octets: bytes | None) -> MailParameters:
    size: int | None = None
    body: str | None = None
    smtputf8 = False
    seen = set()
    for keyword, value in _split(octets):
        if keyword in seen:
            raise ParameterError(is_unknown=False)
        seen.add(keyword)
        if keyword == "SIZE" and value.isdigit() and len(value) <= 20:
            size = int(value)
        elif keyword == "BODY" and value.upper() in ("7BIT", "8BITMIME"):
            body = value.upper()
        elif keyword == "SMTPUTF8" and not value:
            smtputf8 = True
        else:
            raise ParameterError(is_unknown=keyword not in ("SIZE", "BODY", "SMTPUTF8"))
    return MailParameters(size=size, body=body, smtputf8=smtputf8)


def _split(octets: bytes | None) -> list[tuple[str, str]]:
    parameters = []
    for word in (octets or b"").split():
        if (match := _PARAMETER.match(word)) is None:
            raise ParameterError(is_unknown=False)
        parameters.append((match[1].decode().upper(), (match[2] or b"").decode()))
    return parameters
