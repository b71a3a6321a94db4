"""Invariant: any octets give a value or CmsError, in bounded time, and no signature is valid over what was not signed.

``python -m tests.fuzz.fuzz_cms [SECONDS [SEED]]`` mutates messages that are minted here, octet by octet and element by
element (then all lengths around it are right again), until the time is over or the invariant is broken; then it prints
the seed, the round and the octets: keys are made anew for each process, so the first two alone do not give them again.
"""

from __future__ import annotations

import functools
import random
import sys
import time
from dataclasses import dataclass

from gateway.cms import (
    ContentKind,
    Digest,
    SignatureScheme,
    check_signature,
    content_type_of,
    decrypt_content,
    der,
    encrypt_content,
    find_certificate,
    matches,
    open_enveloped_data,
    parse_enveloped_data,
    parse_signed_data,
    prepare_recipient,
    prepare_signer,
)
from gateway.cms.ber import Reader
from gateway.errors import CertificateError, CmsError, UnsupportedCms
from tests.support.pki import Issued, Pki
from tests.unit.cms.forge import (
    Key,
    attribute,
    enveloped_data,
    indefinite,
    key_identifier,
    key_transport,
    segments,
    signed_data,
    signer_info,
)

CONTENT = b"Content-Type: text/plain\r\n\r\nHello.\r\n" * 3
SECONDS = 2.0
"""Most processor time for one check, far above what any takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Whom the seeds are of, and the seeds."""

    signers: tuple[Issued, ...]
    recipient: Issued
    messages: tuple[bytes, ...]


@functools.cache
def seeds() -> Seeds:
    """Mint signers, a recipient and messages in many forms."""
    pki = Pki.make()
    rsa = pki.identity("rsa@acme.example")
    ecdsa = pki.identity("ecdsa@acme.example", key_kind="ec-p256")
    named = [rsa.certificate_der, ecdsa.certificate_der]
    unsigned = [attribute("1.2.840.113549.1.9.6", der.sequence(der.octet_string(b"x")))]
    usual = signer_info(rsa, CONTENT, unsigned=unsigned)
    by_key = signer_info(ecdsa, CONTENT, sid=key_identifier(ecdsa), version=3)
    bare = signer_info(ecdsa, CONTENT, attributes=None)
    encrypted = encrypt_content(CONTENT)
    transport = key_transport(rsa, encrypted.key)
    agreement = der.tlv(
        0xA1,
        der.integer(3),
        der.context(0, der.octet_string(b"originator")),
        der.sequence(der.oid("1.3.132.1.11.1")),
        der.sequence(der.sequence(der.tlv(0xA0, der.octet_string(b"id")), der.octet_string(b"key"))),
    )
    signed = [
        signed_data(usual, by_key, content=CONTENT, certificates=[*named, pki.issuing.certificate_der]),
        signed_data(bare, content=CONTENT, certificates=named[1:], crls=[pki.issuing.crl()]),
        signed_data(by_key, content=None, octets=segments(CONTENT, 40), certificates=named[1:]),
        signed_data(content=None, certificates=named),
    ]
    enveloped = [
        enveloped_data(agreement, transport, ciphertext=encrypted.ciphertext, iv=encrypted.iv),
        enveloped_data(transport, ciphertext=b"", octets=segments(encrypted.ciphertext, 16, 0x80), iv=encrypted.iv),
    ]
    whole = [*signed, *enveloped]
    return Seeds(
        signers=(rsa, ecdsa), recipient=rsa, messages=(*whole, *(indefinite(message, 5) for message in whole), *named)
    )


def mutate_octets(octets: bytes, chance: random.Random) -> bytes:
    """Flip, cut, copy and insert, in places that need not be sensible."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(octets))
        end = min(len(octets), start + chance.choice([0, 1, 1, 2, 8, 40]))
        piece = chance.choice(
            [b"", octets[start:end] * 2, chance.randbytes(end - start), b"\x80", b"\x00\x00", b"\x24\x80", b"\x30\x80"]
        )
        octets = octets[:start] + piece + octets[end:]
    return octets


def mutate_elements(octets: bytes, chance: random.Random) -> bytes:
    """Change, drop, double or move one element; what encloses it is written anew around it."""
    parts, reader = [], Reader(octets)
    if not octets[0] & 0x20:
        return chance.choice([mutate_octets(octets, chance), der.tlv(octets[0], chance.randbytes(3)), der.NULL])
    reader.enter(octets[0])
    while tag := reader.peek():
        parts.append(reader.element(tag))
    if not parts:
        return octets
    place = chance.randrange(len(parts))
    match chance.randrange(12):
        case 0:
            parts.pop(place)
        case 1:
            parts.insert(chance.randrange(len(parts) + 1), parts[place])
        case 2:
            chance.shuffle(parts)
        case 3:
            parts[place] = bytes([parts[place][0] ^ chance.choice([0x20, 0x80, 0xA0, 1, 2])]) + parts[place][1:]
        case 4:
            parts[place] = indefinite(parts[place], chance.randint(1, 4))
        case _:
            parts[place] = mutate_elements(parts[place], chance)
    return der.tlv(octets[0], *parts)


def mutate(octets: bytes, chance: random.Random) -> bytes:
    """Change it in one of the two ways."""
    if chance.random() < 0.5:
        return mutate_octets(octets, chance)
    for _ in range(chance.randint(1, 3)):
        try:
            octets = mutate_elements(octets, chance)
        except (CmsError, IndexError):
            break
    return octets


def check(octets: bytes) -> None:
    """Raise AssertionError, or whatever else breaks the invariant."""
    begin = time.process_time()
    try:
        kind = content_type_of(octets)
    except CmsError:
        kind = ContentKind.OTHER
    _check_signed(octets, kind)
    _check_enveloped(octets, kind)
    _check_certificate(octets)
    assert time.process_time() - begin < SECONDS


def _check_signed(octets: bytes, kind: ContentKind) -> None:
    try:
        signed = parse_signed_data(octets)
    except CmsError:
        return
    assert kind is ContentKind.SIGNED
    assert len(signed.content or b"") + sum(map(len, signed.certificates)) <= len(octets)
    signers = {one.certificate_der for one in seeds().signers}
    for signer in signed.signers:
        for certificate in {find_certificate(signer, signed.certificates) or b"", *signers}:
            for content in (signed.content or b"", CONTENT):
                try:
                    found = check_signature(signer, certificate, content)
                except UnsupportedCms:
                    continue
                is_forged = found.intact and found.valid and certificate in signers and content != CONTENT
                assert not is_forged


def _check_enveloped(octets: bytes, kind: ContentKind) -> None:
    recipient = seeds().recipient
    try:
        view = parse_enveloped_data(octets)
    except CmsError:
        return
    assert kind is ContentKind.ENVELOPED
    assert len(view.ciphertext) <= len(octets)
    for info in view.recipients:
        matches(info, recipient.certificate_der)
        try:
            assert len(open_enveloped_data(view, info, Key(recipient.key))) < len(view.ciphertext)
        except CmsError:
            continue
    for size in (16, 24, 32):
        try:
            assert len(decrypt_content(view, bytes(size))) < len(view.ciphertext)
        except CmsError:
            continue


def _check_certificate(octets: bytes) -> None:
    try:
        prepare_signer(octets, [octets], scheme=SignatureScheme.RSA_PKCS1V15, digest=Digest.SHA256)
        prepare_recipient(octets)
    except (CertificateError, UnsupportedCms):
        return


def run(seed: int, rounds: int, *, first: int = 0) -> None:
    """Check this many mutations."""
    for number in range(first, first + rounds):
        chance = random.Random(f"{seed}/{number}")
        octets = mutate(chance.choice(seeds().messages), chance)
        try:
            check(octets)
        except Exception as error:
            error.add_note(f"seed {seed}, round {number}: {octets.hex()}")
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
