"""CMS objects of many producers, cut out of whatever they come in: each gives a value or a CmsError."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cms import (
    ContentKind,
    check_signature,
    content_type_of,
    find_certificate,
    parse_enveloped_data,
    parse_signed_data,
)
from gateway.errors import CmsError
from tests.support.corpora import CORPORA

pytestmark = [
    pytest.mark.corpora,
    pytest.mark.skipif(not CORPORA.is_dir(), reason=f"no corpora in {CORPORA} (SMIME_CORPORA)"),
]

_ARMOUR = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----\s+([A-Za-z0-9+/=\s]+)-----END")
_BASE64 = re.compile(rb"(?:^|\n)\r?\n(M[A-Za-z0-9+/=\r\n]{200,})")


def objects(path: Path) -> Iterator[bytes]:
    """What in a file may be DER: itself, what is armoured, and what stands in base64 in a mail."""
    octets = path.read_bytes()
    if octets[:1] == b"\x30":
        yield octets
        return
    for found in (*_ARMOUR.findall(octets), *_BASE64.findall(octets)):
        text = b"".join(found.replace(b"=", b"").split())
        yield base64.b64decode(text[: len(text) - (len(text) % 4 == 1)] + b"=" * (-len(text) % 4))


def read(octets: bytes) -> ContentKind:
    """Read all of an object."""
    kind = content_type_of(octets)
    if kind is ContentKind.SIGNED:
        signed = parse_signed_data(octets)
        for signer in signed.signers:
            certificate = find_certificate(signer, signed.certificates)
            check_signature(signer, certificate or b"", signed.content or b"")
    elif kind is ContentKind.ENVELOPED:
        parse_enveloped_data(octets)
    return kind


def test_all_objects() -> None:
    """Nothing but a value or a CmsError, for whatever begins like DER; and every kind is among them."""
    kinds = set()
    for path in sorted(path for path in CORPORA.rglob("*") if path.is_file()):
        for octets in objects(path):
            try:
                kinds.add(read(octets))
            except CmsError:
                continue
    assert kinds == set(ContentKind)
