"""Mail of every kind, from many programs: signed then verified, encrypted then opened, and it is the same mail.

Files that are stored with LF line ends are read with CRLF, as they were on the wire. Refused are only those whose line
ends are a mixture. What cannot be brought to 7 bits without changing a protected part, or a part with two readings, is
signed octet for octet inside a signed-data; those are counted, and named by cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.address import Address
from gateway.errors import MimeError, WireError
from gateway.limits import DEFAULT_LIMITS
from gateway.mime import find_flaw, parse_entity, split_content_fields, to_crlf
from gateway.smime import (
    Protectable,
    ResultWord,
    SignedForm,
    assemble,
    check_enveloped,
    check_signed,
    envelop,
    prepare,
    seal,
    sign,
)
from gateway.smime.classify import look
from tests.support.corpora import corpus
from tests.support.pki import MOMENT
from tests.unit.smime.agents import alice, bob, received, recipient, signer

pytestmark = pytest.mark.corpora
FOLDER = corpus("mime-general")
GROUPS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
ALICE = Address("alice@acme.example")
BOUNDARY = "=_01j9zk3t5w2x8b4c_protected"

LINE_ENDS = 15
"""Files with a mixture of line ends or a NUL: refused at the door."""
OPAQUE = 19
"""Files that are signed only inside a signed-data."""
TWO_READINGS = 30
"""Files that we do not open again where they were encrypted without a signature: the header of what would come out can
be read in two ways."""


def files_of(group: str) -> Iterator[tuple[str, Path]]:
    """Every message of one origin, with its name in the tables."""
    for path in sorted((FOLDER / group).rglob("*")):
        if path.is_file():
            yield path.relative_to(FOLDER).as_posix(), path


def read(path: Path) -> bytes | None:
    """The message as it was on the wire; ``None`` where the line discipline refuses it."""
    octets = path.read_bytes()
    if octets.startswith(b"From "):
        octets = octets.partition(b"\n")[2]
    try:
        message = to_crlf(octets)
    except WireError:
        return None
    return message if find_flaw(message, max_line=None) is None else None


def prepared(path: Path) -> Protectable | None:
    """The message taken apart; ``None`` where the line discipline refuses it."""
    message = read(path)
    return None if message is None else prepare(message)


@pytest.mark.parametrize("form", list(SignedForm), ids=lambda form: form.name.lower())
@pytest.mark.parametrize("group", GROUPS)
def test_signed_and_verified(group: str, form: SignedForm) -> None:
    """The self-check holds, the signature passes, what was signed is the canonical entity, the header is the same."""
    identity = signer(alice())
    for name, path in files_of(group):
        taken = prepared(path)
        if taken is None:
            continue
        fitting = taken.form_for(form)
        protected = sign(taken, identity, moment=MOMENT, boundary=BOUNDARY, form=fitting)
        buffers = assemble(taken.outer_fields, protected)
        check_signed(buffers, taken, identity, form=fitting, limits=DEFAULT_LIMITS.for_our_own)
        message = b"".join(buffers)
        found = received(message, sender=ALICE, limits=DEFAULT_LIMITS.for_our_own)
        assert found.report.result is ResultWord.PASS, f"{name}: {found.report.to_json()}"
        assert message.startswith(taken.outer_fields), name
        if fitting is SignedForm.CLEAR:
            assert look(parse_entity(message, limits=DEFAULT_LIMITS.for_our_own)).signed_part == taken.entity, name


@pytest.mark.parametrize("with_signature", [False, True], ids=["encrypted", "signed and encrypted"])
@pytest.mark.parametrize("group", GROUPS)
def test_encrypted_and_opened(group: str, with_signature: bool) -> None:
    """The self-check holds, the message opens, header and entity are what went in, octet for octet."""
    identity, recipients = signer(alice()), [recipient(bob())]
    for name, path in files_of(group):
        taken = prepared(path)
        if taken is None:
            continue
        inner: tuple[bytes, ...] = (taken.entity,)
        if with_signature:
            form = taken.form_for(SignedForm.CLEAR)
            inner = sign(taken, identity, moment=MOMENT, boundary=BOUNDARY, form=form).buffers
        sealed = seal(inner)
        buffers = assemble(taken.outer_fields, envelop(sealed, recipients))
        check_enveloped(buffers, sealed, recipients, outer_fields=taken.outer_fields, limits=DEFAULT_LIMITS.for_our_own)
        found = received(b"".join(buffers), bob(), sender=ALICE, limits=DEFAULT_LIMITS.for_our_own)
        if not with_signature and _has_two_readings(taken.entity):
            assert found.opened is None, name
            continue
        assert found.opened is not None, f"{name}: {found.report.to_json()}"
        assert split_content_fields(found.opened) == (taken.outer_fields, b"".join(inner)), name
        if with_signature:
            assert found.report.result is ResultWord.PASS, f"{name}: {found.report.to_json()}"


def test_what_is_refused_and_what_is_signed_otherwise() -> None:
    """Counted over the whole collection: a change of what we can sign shows here."""
    taken = [prepared(path) for group in GROUPS for _, path in files_of(group)]
    signable = [one for one in taken if one is not None]
    assert taken.count(None) == LINE_ENDS
    assert sum(not one.is_seven_bit for one in signable) == OPAQUE
    assert sum(_has_two_readings(one.entity) for one in signable) == TWO_READINGS


def _has_two_readings(entity: bytes) -> bool:
    try:
        split_content_fields(entity)
    except MimeError:
        return True
    return False
