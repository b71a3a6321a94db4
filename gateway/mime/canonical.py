"""The form of a MIME entity that a signature is made over (RFC 8551 3.1, RFC 1847 2.1).

What it does: leaves an entity as it is where every relay will do so too, and otherwise changes the transfer encoding of
those leaves alone that would not survive (RFC 8551 3.1.3): octets beyond 7 bits, NUL, stray CR or LF, lines longer than
998 octets; and, since old relays change them, blanks before a line end and lines that begin with ``From ``. Text goes
to quoted-printable, the rest to base64 (RFC 8551 3.1.2); what the leaf holds stays the same to the octet. Multiparts
and enclosed messages around it that said 8bit or binary say 7bit then. A preamble or epilogue that would not survive
loses its trailing blanks, or is left out: nobody is shown it (RFC 2046 5.1.1).

What it refuses, with :class:`~gateway.errors.MimeError`: to change what is protected already (all below a
multipart/signed, every PKCS #7 part) or what can be read in two ways; header fields with octets beyond ASCII (RFC
6532) or with lines no relay takes. Where only trailing blanks or ``From `` lines are at stake, such parts stay as they
are: they came this far. Trailing blanks within header fields stay too, since folding white space means nothing.
Known gap: no form that keeps 8 bits, for entities that are encrypted and not signed or that travel by SMTPUTF8.
"""

from __future__ import annotations

from bisect import bisect_left
from enum import IntEnum

from gateway.errors import MimeError
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime.entity import Entity, decode_body, parse_entity
from gateway.mime.search import find
from gateway.mime.transfer import encode_base64_lines, encode_quoted_printable
from gateway.mime.wire import BARE_CR, BARE_LF, find_long_line, has_whole_lines

_UNSAFE_AT_LINE_ENDS = (b" \r\n", b"\t\r\n", b"\r\nFrom ")
"""A blank before a line end, and a line that begins with ``From ``."""

_PKCS7 = ("pkcs7-", "x-pkcs7-")
_NEVER_ENCODED = frozenset({"message/partial", "message/external-body"})
"""Composite types that are leaves here; they have to be 7bit (RFC 2046 5.2.2, 5.2.3)."""
_BEYOND_ASCII = bytes(range(128, 256))
_SHORT_TEXT = 1024
"""Octets up to which text goes to quoted-printable however much of it is beyond ASCII: it stays readable."""

_Edit = tuple[int, int, bytes]
"""Replace the octets from the first offset to the second by others."""


class Danger(IntEnum):
    """What may happen to octets on their way."""

    NONE = 0
    """Nothing."""
    TOUCHED = 1
    """Some relays change blanks before a line end or lines that begin with ``From ``."""
    BROKEN = 2
    """Not 7-bit text in lines: a relay must re-encode it or refuse it."""


def is_safe_for_signing(content: bytes) -> bool:
    """Whether no relay has a reason to change these octets (RFC 8551 3.1.3).

    True: 7 bits, no NUL, CRLF line ends only, no line longer than 998 octets, none that ends in a blank or begins with
    ``From ``. For an entity it is sufficient: :func:`canonical_entity` returns one that is safe as it is.
    """
    return (
        content.isascii()
        and has_whole_lines(content)
        and not content.startswith(b"From ")
        and not content.endswith((b" ", b"\t"))
        and find_long_line(content) < 0
        and all(find(content, unsafe) < 0 for unsafe in _UNSAFE_AT_LINE_ENDS)
    )


def judge(octets: bytes) -> Danger:
    """Tell what may happen to these octets on their way."""
    if is_safe_for_signing(octets):
        return Danger.NONE
    if not octets.isascii() or b"\0" in octets or BARE_CR.search(octets) or BARE_LF.search(octets):
        return Danger.BROKEN
    return Danger.TOUCHED if find_long_line(octets) < 0 else Danger.BROKEN


def canonical_entity(content: bytes, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return one MIME entity (header section and body) in the form to be signed: the same object if it is already.

    Raises :class:`~gateway.errors.MimeError` where that cannot be had without changing what may not be changed, and
    where the entity exceeds ``limits``.
    """
    if is_safe_for_signing(content):
        return content
    edits = _find_edits(parse_entity(content, limits=limits))
    return _apply(content, edits) if edits else content


def _apply(content: bytes, edits: list[_Edit]) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for start, end, octets in edits:
        pieces.append(content[position:start])
        pieces.append(octets)
        position = end
    return b"".join([*pieces, content[position:]])


def _find_edits(root: Entity) -> list[_Edit]:
    """All changes that the entity needs, in the order of their offsets."""
    edits: list[_Edit] = []
    relabelled: list[Entity] = []
    waiting: list[tuple[Entity, bool, tuple[bytes, ...]]] = [(root, False, ())]
    while waiting:
        entity, is_fixed, delimiters = waiting.pop()
        _check_header(entity)
        is_fixed = is_fixed or _may_not_change(entity)
        if not entity.children:
            edits.extend(_edit_leaf(entity, delimiters, is_fixed=is_fixed))
            continue
        if entity.content_type.type == "multipart":
            delimiter = b"--" + entity.content_type.boundary
            edits.extend(_edit_gaps(entity, delimiter, is_fixed=is_fixed))
            delimiters = (*delimiters, delimiter)
        if entity.transfer_encoding != "7bit":
            relabelled.append(entity)
        waiting.extend((child, is_fixed, delimiters) for child in entity.children)
    edits.sort(key=_offsets)
    offsets = [edit[0] for edit in edits]
    for entity in relabelled:
        index = bisect_left(offsets, entity.body_start)
        if index < len(offsets) and offsets[index] < entity.end:
            edits.append(_edit_encoding(entity, b"7bit"))
    return sorted(edits, key=_offsets)


def _may_not_change(entity: Entity) -> bool:
    """Whether the entity is protected, has two readings, or has a type that takes no transfer encoding."""
    essence = entity.content_type.essence
    is_protected = essence == "multipart/signed" or entity.content_type.subtype.startswith(_PKCS7)
    return is_protected or entity.ambiguous or essence in _NEVER_ENCODED


def _offsets(edit: _Edit) -> tuple[int, int]:
    return edit[0], edit[1]


def _check_header(entity: Entity) -> None:
    """Refuse a header section that no change of a transfer encoding makes fit for transport."""
    octets = entity.header.octets
    if not octets.isascii():
        raise MimeError("a header field of a MIME entity needs SMTPUTF8")
    if judge(octets) is Danger.BROKEN:
        raise MimeError("a header section of a MIME entity has a NUL, a stray CR or LF, or a line too long")


def _edit_leaf(entity: Entity, delimiters: tuple[bytes, ...], *, is_fixed: bool) -> list[_Edit]:
    """Change the transfer encoding of a leaf where its body would not survive."""
    body = entity.body
    danger = judge(body)
    if danger is Danger.NONE:
        return []
    if is_fixed:
        if danger is Danger.BROKEN:
            raise MimeError("a part that may not be changed is not 7-bit text in lines")
        return []
    try:
        content = decode_body(entity)
    except MimeError:
        if danger is Danger.BROKEN:
            raise
        return []
    encoding, encoded = _encode(entity, content, delimiters)
    return [_edit_encoding(entity, encoding), (entity.body_start, entity.end, encoded)]


def _encode(entity: Entity, content: bytes, delimiters: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Choose a transfer encoding and apply it (RFC 8551 3.1.2)."""
    is_text = entity.content_type.type in ("text", "message") or entity.transfer_encoding == "quoted-printable"
    is_in_lines = not (BARE_CR.search(content) or BARE_LF.search(content))
    if entity.transfer_encoding != "base64" and is_text and is_in_lines and not _is_shorter_in_base64(content):
        encoded = encode_quoted_printable(content)
        # What stood within a line, or in hex, may begin a line now, and there it would end the part.
        if not any(delimiter in encoded for delimiter in delimiters):
            return b"quoted-printable", encoded
    return b"base64", encode_base64_lines(content)


def _is_shorter_in_base64(text: bytes) -> bool:
    """Whether quoted-printable would grow a longer text by more than the third that base64 adds."""
    return len(text) > _SHORT_TEXT and 6 * (len(text) - len(text.translate(None, _BEYOND_ASCII))) > len(text)


def _edit_encoding(entity: Entity, encoding: bytes) -> _Edit:
    """Write the Content-Transfer-Encoding field, in the place of the one there is."""
    start = entity.start
    for each in entity.header.fields:
        end = start + len(each.octets)
        if each.key == "content-transfer-encoding":
            return start, end, each.name.encode("ascii") + b": " + encoding + b"\r\n"
        start = end
    return start, start, b"Content-Transfer-Encoding: " + encoding + b"\r\n"


def _edit_gaps(entity: Entity, delimiter: bytes, *, is_fixed: bool) -> list[_Edit]:
    """Mend what lies around the parts of a multipart: preamble, delimiters, epilogue."""
    edits: list[_Edit] = []
    position = entity.body_start
    for child in entity.children:
        edits.extend(_edit_gap(entity, position, child.start, delimiter + b"\r\n", is_fixed=is_fixed))
        position = child.end
    edits.extend(_edit_gap(entity, position, entity.end, delimiter + b"--\r\n", is_fixed=is_fixed))
    return edits


def _edit_gap(entity: Entity, start: int, end: int, delimiter: bytes, *, is_fixed: bool) -> list[_Edit]:
    """Take trailing blanks away, or everything but the delimiter where that does not suffice."""
    gap = entity.content[start:end]
    danger = judge(gap)
    if danger is Danger.BROKEN and is_fixed:
        raise MimeError("a multipart that may not be changed is not 7-bit text in lines")
    if danger is Danger.NONE or is_fixed:
        return []
    mended = b"\r\n".join([line.rstrip(b" \t") for line in gap.split(b"\r\n")])
    if judge(mended) is not Danger.NONE:
        mended = delimiter if start == entity.body_start else b"\r\n" + delimiter
    return [(start, end, mended)]
