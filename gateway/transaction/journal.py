"""Names for the entries of the delivery journal: which message for which recipient, told from octets alone.

A client that was answered 451 after some recipients had been accepted sends the same message again, minutes or days
later, perhaps from another address and to another worker, perhaps under a policy that has changed since. What stays the
same are the octets of its message, apart from the trace that the hops before us put on top, and the envelope's paths.
So an entry's key covers the listener, the reverse-path, a fingerprint of the content and one forward-path. It covers
neither the Message-ID alone (two messages can share one) nor the client's address nor the treatment.

Keys are made with a secret: who reads the journal cannot test whether a message he knows was sent to an address.

Standards: RFC 5321 4.4 (trace), RFC 5321 4.5.4.1 (retries), RFC 8601 and RFC 8617 (results and ARC of earlier hops),
RFC 2104 (HMAC). What it refuses: an empty secret. Known gap: an earlier hop that adds other fields, or changes the
content, on every attempt makes every attempt a message of its own; then nothing is skipped.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from gateway.envelope import Path
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime import parse_header

HOP_FIELDS = frozenset({"received", "return-path", "authentication-results"})
"""Header fields that earlier hops add and that differ between two attempts; lower case."""
HOP_PREFIXES = ("arc-", "x-ms-exchange-")
"""Beginnings of names of such fields: ARC sets (RFC 8617 4.1), the trace of Exchange; lower case."""

_PURPOSE = b"smime-gateway delivery journal 1"


def content_fingerprint(content: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the SHA-256 (32 octets) of ``content`` without the fields that earlier hops add.

    A field is left out whole, with its folded lines (RFC 5322 2.2.3); everything else counts octet by octet. Raise
    :class:`~gateway.errors.MimeError` for a header section beyond ``limits``.
    """
    header = parse_header(content, limits=limits)
    digest = hashlib.sha256()
    for field in header.fields:
        if not _is_of_a_hop(field.key):
            digest.update(field.octets)
    digest.update(memoryview(content)[len(header.octets) :])
    return digest.digest()


def journal_keys(
    secret: bytes,
    listener: str,
    reverse_path: Path,
    content: bytes,
    forward_paths: Sequence[Path],
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[bytes, ...]:
    """Return the key (32 octets) of each of ``forward_paths``, in their order; equal paths have equal keys.

    Paths count as written, so a client that changes the case of an address between attempts is not recognised. Hashes
    the whole content: some 0.7 ms for each MiB. Raise :class:`~gateway.errors.MimeError` as
    :func:`content_fingerprint` does, and :class:`ValueError` for an empty secret.
    """
    if not secret:
        raise ValueError("journal keys need a secret")
    shared = hmac.new(secret, digestmod=hashlib.sha256)
    for part in (_PURPOSE, listener.encode(), reverse_path.octets, content_fingerprint(content, limits)):
        shared.update(_framed(part))
    keys: list[bytes] = []
    for path in forward_paths:
        single = shared.copy()
        single.update(_framed(path.octets))
        keys.append(single.digest())
    return tuple(keys)


def _is_of_a_hop(key: str) -> bool:
    return key in HOP_FIELDS or key.startswith(HOP_PREFIXES)


def _framed(part: bytes) -> bytes:
    """Put the length before a part, so that no two lists of parts give the same octets."""
    return len(part).to_bytes(8, "big") + part
