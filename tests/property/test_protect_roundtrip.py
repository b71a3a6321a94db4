"""unprotect(protect(m)) gives the canonical m, and the header fields of m stay octet for octet."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MimeError
from gateway.mime import canonical_entity, is_safe_for_signing, parse_header, split_content_fields
from gateway.smime import (
    Protectable,
    ResultWord,
    SignedForm,
    assemble,
    authentication_results,
    check_enveloped,
    check_signed,
    envelop,
    prepare,
    seal,
    sign,
    strip_trust_marks,
)
from gateway.smime.header_protection import restore_subject
from tests.support.pki import MOMENT
from tests.unit.smime.agents import alice, bob, received, recipient, signer

FROM = b"From: alice@acme.example\r\n"

names = st.from_regex(re.compile(r"X-[A-Za-z]{1,8}", re.ASCII), fullmatch=True)
values = st.lists(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20), min_size=1, max_size=5
).map("\r\n ".join)
outer_fields = st.lists(st.tuples(names, values).map(lambda pair: f"{pair[0]}: {pair[1]}\r\n".encode()), max_size=5)
lines = st.lists(
    st.one_of(
        st.binary(max_size=120).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")),
        st.sampled_from([b"", b".", b"From here on", b"trailing ", b"--", b"--b", b"=", b"x" * 1500]),
    ),
    max_size=12,
).map(lambda found: b"".join(line + b"\r\n" for line in found))
encodings = st.sampled_from([b"", b"Content-Transfer-Encoding: 8bit\r\n", b"Content-Transfer-Encoding: binary\r\n"])


@st.composite
def entities(draw: st.DrawFn, depth: int = 2) -> bytes:
    """A MIME entity: text, octets, multiparts of them, enclosed messages."""
    kind = draw(st.sampled_from(["text", "octets", "multipart", "message"] if depth else ["text", "octets"]))
    if kind == "text":
        return b"Content-Type: text/plain; charset=utf-8\r\n" + draw(encodings) + b"\r\n" + draw(lines)
    if kind == "octets":
        return b"Content-Type: application/octet-stream\r\n" + draw(encodings) + b"\r\n" + draw(lines)
    if kind == "message":
        return b"Content-Type: message/rfc822\r\n" + draw(encodings) + b"\r\n" + FROM + draw(entities(depth - 1))
    boundary = f"b{depth}=_".encode()
    parts = b"".join(
        b"--" + boundary + b"\r\n" + draw(entities(depth - 1)) + b"\r\n" for _ in range(draw(st.integers(1, 3)))
    )
    head = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n' + draw(encodings)
    return head + b"\r\n" + parts + b"--" + boundary + b"--\r\n"


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message of such an entity."""
    fields = draw(outer_fields)
    place = draw(st.integers(0, len(fields)))
    return b"".join([*fields[:place], FROM, *fields[place:], b"MIME-Version: 1.0\r\n", draw(entities())])


def prepared(message: bytes) -> Protectable | None:
    try:
        return prepare(message)
    except MimeError:
        return None


@settings(deadline=None)
@given(messages(), st.sampled_from(list(SignedForm)))
def test_signing_and_verifying(message: bytes, form: SignedForm) -> None:
    """Signed, checked, verified: pass, and the signed part is the canonical entity."""
    taken = prepared(message)
    if taken is None:
        return
    buffers = assemble(taken.outer_fields, sign(taken, signer(alice()), moment=MOMENT, boundary="=_outer", form=form))
    check_signed(buffers, taken, signer(alice()), form=form)
    found = received(b"".join(buffers))
    assert found.report.result is ResultWord.PASS
    assert found.opened is None
    assert is_safe_for_signing(taken.entity) or canonical_entity(taken.entity) is taken.entity


@settings(deadline=None)
@given(messages(), st.booleans())
def test_encrypting_and_opening(message: bytes, with_signature: bool) -> None:
    """Encrypted, checked, opened: the same outer fields, the same entity, octet for octet."""
    taken = prepared(message)
    if taken is None:
        return
    inner: tuple[bytes, ...] = (taken.entity,)
    if with_signature:
        inner = sign(taken, signer(alice()), moment=MOMENT, boundary="=_outer").buffers
    sealed = seal(inner)
    recipients = [recipient(bob())]
    buffers = assemble(taken.outer_fields, envelop(sealed, recipients))
    check_enveloped(buffers, sealed, recipients, outer_fields=taken.outer_fields)
    found = received(b"".join(buffers), bob())
    assert found.report.layers[0].opened
    assert found.opened is not None
    assert split_content_fields(found.opened) == (taken.outer_fields, b"".join(inner))
    assert found.report.result is (ResultWord.PASS if with_signature else ResultWord.NONE)


@given(messages())
def test_protecting_keeps_the_outer_fields(message: bytes) -> None:
    """All that is no content field is in the result verbatim, in order, and first."""
    taken = prepared(message)
    if taken is None:
        return
    header = parse_header(message)
    kept = b"".join(
        field.octets for field in header.fields if not field.key.startswith("content-") and field.key != "mime-version"
    )
    assert taken.outer_fields == kept


@given(outer_fields, st.integers(0, 5))
def test_inserting_a_field_keeps_all_other_octets(fields: list[bytes], place: int) -> None:
    """Our result field and a restored Subject change nothing beside them; stripping takes away what was inserted."""
    found = received(FROM + b"\r\nplain\r\n")
    written = authentication_results("gw.acme.example", found.report)
    place = min(place, len(fields))
    whole = b"".join([*fields[:place], written, *fields[place:]])
    assert strip_trust_marks(whole, authserv_id="gw.acme.example") == b"".join(fields)
    subject = b"Subject: new\r\n"
    with_subject = b"".join([*fields[:place], b"Subject: old\r\n", *fields[place:]])
    assert restore_subject(with_subject, subject) == b"".join([*fields[:place], subject, *fields[place:]])
