"""Invariant: any octets give a value or our exception, and whatever is handed on holds the octets that came in.

In particular: parsing covers the content without gap or overlap, the canonical form can travel by 7 bits, holds in each
leaf what was there and is not changed again, and a message that is split and joined keeps every field and its body.
And where nothing is marked as having two readings, the standard library's reader finds the same parts.

``python -m tests.fuzz.fuzz_mime [SECONDS [SEED]]`` mutates messages that are minted here, until the time is over or the
invariant is broken; then it prints the seed and the round, with which :func:`run` gives the same octets again.
"""

from __future__ import annotations

import email
import random
import sys
import time

from gateway.errors import GatewayError, InputError
from gateway.mime import (
    Entity,
    build_multipart_signed,
    canonical_entity,
    decode_body,
    decode_words,
    find_ambiguity,
    find_flaw,
    fold_field,
    is_safe_for_signing,
    join_message,
    parse_disposition,
    parse_entity,
    parse_header,
    parse_mailboxes,
    split_content_fields,
    split_multipart_signed,
    to_crlf,
    walk,
)

_OUTER = (
    b"From: =?utf-8?q?J=C3=BC?= <a@b.example>\r\n"
    b'To: Team: x@y, "Z, z" <z@y>;\r\n'
    b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n folded\r\n"
)
_TEXT = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Gr\xc3\xbc\xc3\x9fe \r\nFrom me\r\n"
)
_QUOTED = (
    b"Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/html\r\n\r\n=2D-in--\r\nsoft=\r\nbreak \r\n"
)
_IMAGE = (
    b"Content-Type: image/png; name*0*=utf-8''a%C3%A4; name*1=b\r\nContent-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="a (b).png"\r\n\r\nQUJDREVGR0g=\r\n'
)
_SIGNATURE = (
    b"Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\nMIAG\r\n"
)


def _multipart(subtype: bytes, boundary: bytes, *parts: bytes) -> bytes:
    head = b"Content-Type: multipart/" + subtype + b';\r\n boundary="' + boundary + b'"\r\n\r\npreamble\r\n'
    return head + b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


_MIXED = _multipart(b"mixed", b"out", _multipart(b"alternative", b"in", _TEXT, _QUOTED), _IMAGE)
_SIGNED = _multipart(b'signed; protocol="application/pkcs7-signature"; micalg=sha-256', b"sig", _MIXED, _SIGNATURE)
SEEDS = [
    _OUTER + b"MIME-Version: 1.0\r\n" + entity
    for entity in (
        b"\r\nplain\r\n",
        _TEXT,
        _QUOTED,
        _IMAGE,
        _MIXED,
        _SIGNED,
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + _OUTER + _TEXT,
        _multipart(b"digest", b"dig", b"\r\nSubject: x\r\n\r\nbody", b"Content-Type: text/plain\r\n\r\ny"),
    )
]
_ALPHABET = [bytes([octet]) for octet in b'\r\n\0 \t:;="(),\\-<>@*?%.aQ\xff'] + [
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\n\n",
    b"\xc3\xa4",
    b"From ",
    b"--out\r\n",
    b"--out--\r\n",
    b"--in",
    b"boundary=in",
    b"; boundary=out",
    b"multipart/mixed",
    b"Content-Type: ",
    b"Content-Transfer-Encoding: base64\r\n",
    b"=?utf-8?b?",
    b"?=",
    b"x" * 999,
]


def mutate(octets: bytes, chance: random.Random) -> bytes:
    """Cut, copy, swap and insert, in places that need not be sensible."""
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(octets))
        end = min(len(octets), start + chance.choice([0, 1, 2, 8, 40, 400]))
        piece = chance.choice(
            [b"", octets[start:end] * 2, chance.choice(_ALPHABET), chance.choice(_ALPHABET) + octets[start:end]]
        )
        octets = octets[:start] + piece + octets[end:]
    return octets


def check(content: bytes) -> None:
    """Raise AssertionError, or whatever else breaks the invariant."""
    find_flaw(content)
    try:
        wire = to_crlf(content)
        assert to_crlf(wire) is wire
        entity = parse_entity(content)
    except InputError:
        return
    _check_cover(entity)
    _check_second_reader(entity)
    _check_fields(content)
    _check_canonical(content)
    _check_signed(entity)
    _check_split(content)


def _check_cover(entity: Entity) -> None:
    for each in walk(entity):
        assert b"".join(field.octets for field in each.header.fields) == each.header.octets
        assert each.octets in (each.header.octets + each.body, each.header.octets + b"\r\n" + each.body)
        position = each.body_start
        for child in each.children:
            assert position <= child.start <= child.end <= each.end
            position = child.end


def _check_second_reader(entity: Entity) -> None:
    ours = [(each.content_type.essence, b"" if each.children else each.body) for each in walk(entity)]
    is_clean = not find_ambiguity(entity) and find_flaw(entity.content, max_line=None) is None
    # The other reader looks into every type below message, whether it knows the subtype or not.
    if is_clean and all(not essence.startswith("message/") or essence == "message/rfc822" for essence, _ in ours):
        message = email.message_from_bytes(entity.content)
        theirs = []
        for each in message.walk():
            # The stored text and not get_payload(), which would decode it by the charset.
            text = "" if each.is_multipart() else each._payload  # type: ignore[attr-defined]
            theirs.append((each.get_content_type(), text.encode("ascii", "surrogateescape")))
        assert ours == theirs


def _check_fields(content: bytes) -> None:
    for field in parse_header(content).fields:
        parse_disposition(field.body)
        try:
            written = fold_field("X-Copy", decode_words(field.value))
        except ValueError:
            written = b""
        assert len(parse_header(written).fields) == bool(written)
        try:
            mailboxes = parse_mailboxes(field.body)
        except GatewayError:
            mailboxes = ()
        assert all(mailbox.address.spec.isprintable() for mailbox in mailboxes)


def _check_canonical(content: bytes) -> None:
    try:
        canonical = canonical_entity(content)
    except InputError:
        return
    assert canonical_entity(canonical) is canonical
    assert canonical.isascii()
    assert find_flaw(canonical) is None
    assert _leaves(canonical) == _leaves(content)


def _leaves(content: bytes) -> list[tuple[str, bytes]]:
    leaves = []
    for each in walk(parse_entity(content)):
        if not each.children:
            try:
                octets = decode_body(each)
            except InputError:
                octets = each.body
            leaves.append((each.content_type.essence, octets))
    return leaves


def _check_signed(entity: Entity) -> None:
    for each in walk(entity):
        try:
            parts = split_multipart_signed(each)
        except InputError:
            continue
        assert parts.signed_part == each.children[0].octets
    fields, body = build_multipart_signed(entity.octets, b"signature", micalg="sha-256", boundary="fuzz-0123456789")
    parts = split_multipart_signed(parse_entity(join_message(b"", fields, body)))
    assert (parts.signed_part, parts.signature) == (entity.octets, b"signature")


def _check_split(content: bytes) -> None:
    try:
        outer, entity = split_content_fields(content)
    except InputError:
        return
    inner = parse_entity(entity)
    header = parse_header(content)
    assert inner.body == content[header.end :]
    message = parse_header(join_message(outer, inner.header.octets, [inner.body]))
    before = {field.octets.removesuffix(b"\r\n") for field in header.fields if field.key != "mime-version"}
    assert before <= {field.octets.removesuffix(b"\r\n") for field in message.fields}
    if is_safe_for_signing(entity):
        assert canonical_entity(entity) is entity


def run(seed: int, rounds: int, *, first: int = 0) -> None:
    """Check this many mutations; each is told by seed and round alone."""
    for number in range(first, first + rounds):
        chance = random.Random(f"{seed}/{number}")
        try:
            check(mutate(chance.choice(SEEDS), chance))
        except Exception as error:
            error.add_note(f"seed {seed}, round {number}")
            raise


def main() -> None:
    """Run for as many seconds as the command line says, 60 without."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        run(seed, 100, first=number)
        number += 100
    print(f"seed {seed}: {number} rounds, the invariant holds")


if __name__ == "__main__":
    main()
