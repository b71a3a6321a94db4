"""Mail that others wrote: it is read without exception, and no octet and no content of it is lost.

Each file as it is stored and in its wire form; what is refused is refused with our exception, and the share of refusals
is bounded, so that the rules stay fit for mail in use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import MimeError, WireError
from gateway.limits import Limits
from gateway.mime import (
    Entity,
    canonical_entity,
    decode_body,
    find_flaw,
    parse_entity,
    parse_mailboxes,
    split_content_fields,
    to_crlf,
    walk,
)
from tests.support.corpora import corpus

pytestmark = pytest.mark.corpora

FOLDER = corpus("mime-general")
LIMITS = Limits(header_fields=5000, header_octets=2 * 1024 * 1024)
"""One message has more fields than the default allows; and a file with LF line ends is one header as it is stored."""
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.name != "SOURCE.txt")
GROUPS = sorted({path.relative_to(FOLDER).parts[0] for path in FILES})


def files_of(group: str) -> list[Path]:
    return [path for path in FILES if path.relative_to(FOLDER).parts[0] == group]


def wire_form(stored: bytes) -> bytes:
    """Give a file its CRLF; a mixture of line ends is repaired here as its first writer may have meant it."""
    try:
        return to_crlf(stored)
    except WireError:
        return re.sub(rb"\r\n|\r|\n", b"\r\n", stored)


def pieces(entity: Entity) -> Iterator[bytes]:
    """All octets of an entity, taken from its header sections, leaves and what lies between them."""
    yield from (field.octets for field in entity.header.fields)
    yield entity.content[entity.start + len(entity.header.octets) : entity.body_start]
    position = entity.body_start
    for child in entity.children:
        yield entity.content[position : child.start]
        yield from pieces(child)
        position = child.end
    yield entity.content[position : entity.end]


def leaves(content: bytes) -> list[tuple[str, bytes]]:
    """What each leaf holds; its body as it stands where that cannot be decoded."""
    found = []
    for each in walk(parse_entity(content, limits=LIMITS)):
        if not each.children:
            try:
                octets = decode_body(each)
            except MimeError:
                octets = each.body
            found.append((each.content_type.essence, octets))
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_every_octet_comes_back(group: str) -> None:
    """Stored form and wire form, without exception; address fields give addresses or our exception."""
    for path in files_of(group):
        stored = path.read_bytes()
        for content in {stored, wire_form(stored)}:
            entity = parse_entity(content, limits=LIMITS)
            assert b"".join(pieces(entity)) == content, path.name
            for field in (field for name in ("from", "to", "cc") for field in entity.header.all(name)):
                try:
                    parse_mailboxes(field.body)
                except MimeError:
                    continue


@pytest.mark.parametrize("group", GROUPS)
def test_canonical_form_holds_the_same(group: str) -> None:
    """Each leaf holds what it held, the whole can travel by 7 bits, and a second pass changes nothing."""
    for path in files_of(group):
        content = wire_form(path.read_bytes())
        try:
            _, entity = split_content_fields(content, LIMITS)
            canonical = canonical_entity(entity, limits=LIMITS)
        except MimeError:
            continue
        assert leaves(canonical) == leaves(entity), path.name
        assert canonical.isascii(), path.name
        assert find_flaw(canonical) is None, path.name
        assert canonical_entity(canonical, limits=LIMITS) is canonical, path.name


def test_little_is_refused() -> None:
    """Malformed samples are over-represented here, and still nine in ten are taken."""
    refused = 0
    for path in FILES:
        try:
            _, entity = split_content_fields(wire_form(path.read_bytes()), LIMITS)
            canonical_entity(entity, limits=LIMITS)
        except MimeError:
            refused += 1
    assert refused * 10 <= len(FILES), f"{refused} of {len(FILES)} refused"


def test_mail_as_received_is_taken() -> None:
    """Of real mail from many programs, spam included, one in a hundred has two readings or cannot be carried."""
    group = files_of("spamassassin-public")
    if not group and os.environ.get("SMIME_CORPORA"):
        pytest.skip("no spamassassin-public in SMIME_CORPORA")
    refused = 0
    for path in group:
        try:
            _, entity = split_content_fields(wire_form(path.read_bytes()), LIMITS)
            canonical_entity(entity, limits=LIMITS)
        except MimeError:
            refused += 1
    assert refused * 100 <= len(group), f"{refused} of {len(group)} refused"
