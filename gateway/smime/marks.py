"""Our own keyed marks on mail: the trace token that betrays a loop, and the mark on what this gateway has opened.

What it does: writes both and finds them again. A mark is an id and an HMAC-SHA256 over it (RFC 2104), cut to 128 bits,
with a domain of its own for each kind: one cannot pass for the other, and nobody without the secret can make one.

- The *trace token* stands in the comment of our Received field (RFC 5321 4.4). Received fields are not unique evidence
  (anyone may write "by gw1.acme.example"), a token is.
- The *opened mark* is a header field on every message that left here with an encrypted layer removed. A bounce, an
  automatic reply or a forward that carries the message out again has the field somewhere in its octets: in the header,
  in a message/rfc822 part, quoted in a text, or inside a base64 attachment. All of these are found.

Known gaps: a mark in another form (a compressed archive, a picture of the text) is not found, nor one in base64 whose
field name was written in other letter case.
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.mime import find

OPENED_MARK_FIELD: Final = "SMIME-Gateway-Opened"
"""Name of the header field on opened mail."""

_MAC_OCTETS: Final = 16
_TRACE_DOMAIN: Final = b"smime-gateway trace token 1\0"
_OPENED_DOMAIN: Final = b"smime-gateway opened mark 1\0"
_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_TRACE_TOKEN: Final = re.compile(r"(?<![0-9A-Za-z_.-])([0-9A-Za-z_-]{1,64})\.([0-9a-f]{32})(?![0-9A-Za-z_.-])")
_OPENED_NAME: Final = OPENED_MARK_FIELD.encode() + b":"
_OPENED_NAME_LOWER: Final = _OPENED_NAME.lower()
# Between the words: folding, quoting of replies ("> "), soft line breaks of quoted-printable ("=" CRLF).
_OPENED_VALUE: Final = re.compile(rb"[\s>=]{0,16}([0-9A-Za-z_-]{1,64})[\s>=]{1,16}([0-9a-f]{32})(?![0-9a-f])")
_VALUE_OCTETS: Final = 160
"""No value of ours is longer, folding and quoting included."""


def _base64_needles(text: bytes) -> tuple[tuple[bytes, int], ...]:
    """Return the three spellings of ``text`` inside base64, each with how far its first group begins before it."""
    needles = []
    for shift, lead in ((0, 0), (1, 2), (2, 3)):
        encoded = binascii.b2a_base64(b"\0" * shift + text, newline=False)
        whole = (shift + len(text)) * 8 // 6
        needles.append((encoded[lead:whole], lead))
    return tuple(needles)


_BASE64_NEEDLES: Final = _base64_needles(_OPENED_NAME)
_BASE64_HALVES: Final = tuple(
    half for needle, _ in _BASE64_NEEDLES for half in (needle[: len(needle) // 2], needle[len(needle) // 2 :])
)
"""A line end can stand in one half of a needle only: where no half occurs, no needle does."""
_NAME_HINTS: Final = tuple(first + second + b"-" for first in (b"a", b"A") for second in (b"y", b"Y"))
"""A piece of the field's name in every mixture of case; base64 has no ``-``, so it is rare elsewhere."""
_NOT_BASE64: Final = re.compile(rb"[^0-9A-Za-z+/]")


def trace_token(secret: bytes, transaction_id: str) -> str:
    """Return the token for the comment of our Received field: ``id.mac``, the mac as 32 hex digits.

    Raise :class:`ValueError` for an id that is not 1 to 64 letters, digits, ``-`` or ``_``.
    """
    return f"{transaction_id}.{_mac(secret, _TRACE_DOMAIN, transaction_id)}"


def count_own_visits(received: Iterable[str], secret: bytes, hostname: str) -> int:
    """Count the Received values that say ``by hostname`` and carry a valid token of ours."""
    by_us = re.compile(rf"(?:^|\s)by\s+{re.escape(hostname)}(?=[\s;(]|$)", re.IGNORECASE)
    return sum(1 for value in received if by_us.search(value) and _has_own_token(value, secret))


def _has_own_token(value: str, secret: bytes) -> bool:
    return any(_is_mac(secret, _TRACE_DOMAIN, found[1], found[2]) for found in _TRACE_TOKEN.finditer(value))


def opened_mark(secret: bytes, transaction_id: str) -> bytes:
    """Return the field ``SMIME-Gateway-Opened: id mac`` with its CRLF; raise :class:`ValueError` as above."""
    return f"{OPENED_MARK_FIELD}: {transaction_id} {_mac(secret, _OPENED_DOMAIN, transaction_id)}\r\n".encode("ascii")


def carries_opened_mark(content: bytes, secret: bytes) -> bool:
    """Whether a valid mark of ours stands anywhere in the octets, in clear or in base64.

    Work is linear in the length; a message without any sign of the field's name costs ten searches at memory speed.
    """
    return _has_mark(content, secret) or any(_has_mark(text, secret) for text in _base64_candidates(content))


def _has_mark(content: bytes, secret: bytes) -> bool:
    if all(find(content, hint) < 0 for hint in _NAME_HINTS):
        return False
    folded = content.lower()
    at = folded.find(_OPENED_NAME_LOWER)
    while at >= 0:
        end = at + len(_OPENED_NAME)
        found = _OPENED_VALUE.match(content[end : end + _VALUE_OCTETS])
        if found and _is_mac(secret, _OPENED_DOMAIN, found[1].decode("ascii"), found[2].decode("ascii")):
            return True
        at = folded.find(_OPENED_NAME_LOWER, end)
    return False


def _base64_candidates(content: bytes) -> Iterator[bytes]:
    """Yield decoded stretches of base64 that begin with the field's name (or up to two octets before it)."""
    if all(find(content, half) < 0 for half in _BASE64_HALVES):
        return
    flat = content.translate(None, b"\r\n")
    for needle, lead in _BASE64_NEEDLES:
        at = flat.find(needle)
        while at >= 0:
            group = flat[max(at - lead, 0) : at + 4 * _VALUE_OCTETS // 3]
            end = _NOT_BASE64.search(group)
            if end:
                group = group[: end.start()]
            yield binascii.a2b_base64(group[: len(group) // 4 * 4])
            at = flat.find(needle, at + len(needle))


def _mac(secret: bytes, domain: bytes, transaction_id: str) -> str:
    if not _ID.fullmatch(transaction_id):
        raise ValueError("a transaction id is 1 to 64 letters, digits, - or _")
    return hmac.digest(secret, domain + transaction_id.encode("ascii"), "sha256")[:_MAC_OCTETS].hex()


def _is_mac(secret: bytes, domain: bytes, transaction_id: str, mac: str) -> bool:
    return hmac.compare_digest(_mac(secret, domain, transaction_id), mac)
