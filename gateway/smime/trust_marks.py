"""Trust marks from outside: found and removed, so that nobody borrows our word.

What it does: takes from a header section every Authentication-Results field that claims our authserv-id (RFC 8601 5),
every field of our own family (``SMIME-Gateway-*``), and our subject tags. All other fields stay verbatim.

A reader of the field may be sloppier than RFC 8601 2.2, so finding ours is generous: letter case, folding, comments at
any depth, quoted-strings with quoted pairs, version numbers and blanks before the colon do not hide it; a field that
cannot be parsed goes if our id is anywhere in it. Fields of other authserv-ids stay; whom to trust of them is not
decided here. Known gap: ARC-Authentication-Results stay (RFC 8617 seals them).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Final

from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime import Field, decode_words, fold_field, parse_header

OWN_FIELDS: Final = "smime-gateway-"
"""How the names of all our own header fields begin, lower case."""
_RESULTS_FIELD: Final = "authentication-results"
_BLANK: Final = re.compile(r"\s+")
_BLANKS: Final = bytes(code for code in range(128) if chr(code).isspace())
_ID_END: Final = re.compile(r"[\s()<>@,;:\\\"/\[\]?=]")
_ENCODED_WORD_OCTETS: Final = 39
"""Octets of text in one encoded-word: it is then 64 characters long (RFC 2047 2 allows 75): ``Subject:`` fits."""


def strip_trust_marks(
    fields: bytes,
    *,
    authserv_id: str,
    is_our_name: Callable[[str], bool] | None = None,
    subject_tags: Sequence[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """Return header fields without forged marks of ours.

    ``fields``: whole fields, each ending in CRLF, without the empty line. ``is_our_name`` tells of an authserv-id
    (lower case) whether it is a name in our own domains: where it is given, results in such a name go too, since nobody
    else may speak in it (RFC 8601 5). ``subject_tags``: texts that we put into a Subject, such as ``[verified]``.
    Raise :class:`~gateway.errors.MimeError` beyond the limits.
    """
    if not subject_tags and _is_without_marks(fields):
        return fields
    header = parse_header(fields, limits=limits, end=len(fields))
    ours = _folded(authserv_id)
    kept = []
    for field in header.fields:
        key, value = _name_and_value(field)
        if key.startswith(OWN_FIELDS):
            continue
        if key == _RESULTS_FIELD and (claims_authserv_id(value, ours) or _claims_our_name(value, is_our_name)):
            continue
        kept.append(_without_tags(field, subject_tags) if key == "subject" else field.octets)
    return b"".join(kept)


def _is_without_marks(fields: bytes) -> bool:
    """Whether nothing in ASCII fields can be taken for the name of one that we would remove, however it is written."""
    squeezed = fields.translate(None, _BLANKS).lower()
    return fields.isascii() and b"authentication-results" not in squeezed and b"smime-gateway-" not in squeezed


def _name_and_value(field: Field) -> tuple[str, str]:
    """Return name (lower case) and value; of a line that is no field, what a sloppy reader would take for them."""
    if field.name:
        return field.key, field.value
    name, _, value = field.octets.decode("utf-8", "surrogateescape").partition(":")
    return _folded(name), value


def claims_authserv_id(value: str, authserv_id: str) -> bool:
    """Whether an Authentication-Results value says that ``authserv_id`` wrote it, or may be read so."""
    ours = _folded(authserv_id)
    try:
        return _folded(_authserv_id_of(value)) == ours
    except ValueError:
        return ours in _folded(value)


def _claims_our_name(value: str, is_our_name: Callable[[str], bool] | None) -> bool:
    try:
        return is_our_name is not None and is_our_name(_folded(_authserv_id_of(value)))
    except ValueError:
        return False


def _folded(text: str) -> str:
    return _BLANK.sub("", text).casefold()


def _authserv_id_of(value: str) -> str:
    """Return the authserv-id (RFC 8601 2.2). Raise :class:`ValueError` where there is none to be parsed."""
    at = _after_comments(value, 0)
    if value.startswith('"', at):
        text, at = _quoted_string(value, at)
    else:
        end = _ID_END.search(value, at)
        text = value[at : end.start() if end else len(value)]
        at += len(text)
    if not text or value[_after_comments(value, at) :][:1] not in ("", ";", "/", *"0123456789"):
        raise ValueError("no authserv-id")
    return text


def _after_comments(value: str, at: int) -> int:
    """Return the offset behind white space and comments (CFWS, RFC 5322 3.2.2)."""
    depth = 0
    while at < len(value):
        one = value[at]
        if one == "(":
            depth += 1
        elif one == ")" and depth:
            depth -= 1
        elif one == "\\" and depth:
            at += 1
        elif not depth and not one.isspace():
            return at
        at += 1
    if depth:
        raise ValueError("a comment without end")
    return at


def _quoted_string(value: str, at: int) -> tuple[str, int]:
    text: list[str] = []
    at += 1
    while at < len(value):
        if value[at] == '"':
            return "".join(text), at + 1
        if value[at] == "\\":
            at += 1
        text.append(value[at : at + 1])
        at += 1
    raise ValueError("a quoted-string without end")


def _without_tags(field: Field, tags: Sequence[str]) -> bytes:
    """Return a Subject field without our tags; verbatim when it has none."""
    spelled = [tag.strip().lower() for tag in tags if tag.strip()]
    if not spelled:
        return field.octets
    text = decode_words(field.value)
    left = _without(text, spelled)
    return field.octets if left == text else _subject(field.name, _BLANK.sub(" ", left).strip())


def _without(text: str, tags: Sequence[str]) -> str:
    """Return the text without the tags, in any letter case, and without those that a removal brings together.

    One pass from the left: ``[ver[verified]ified]`` needs no second one, and nesting costs nothing.
    """
    folded = "".join(one.lower() if len(one.lower()) == 1 else one for one in text)  # offsets stay the same
    if not any(tag in folded for tag in tags):
        return text
    kept: list[int] = []
    tail = ""
    longest = max(len(tag) for tag in tags)
    for at, one in enumerate(folded):
        kept.append(at)
        tail = tail[-longest:] + one
        for tag in tags:
            if tail.endswith(tag):
                del kept[-len(tag) :]
                tail = "".join(folded[place] for place in kept[-longest:])
    return "".join(text[place] for place in kept)


def _subject(name: str, text: str) -> bytes:
    if text.isascii() and text.isprintable():
        try:
            return fold_field(name, text)
        except ValueError:  # longer than a line may be: encoded words fold
            pass
    octets = text.encode("utf-8", "replace")
    words = []
    while octets:
        end = _ENCODED_WORD_OCTETS
        while end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1
        words.append(f"=?utf-8?b?{base64.b64encode(octets[:end]).decode('ascii')}?=")
        octets = octets[end:]
    return fold_field(name, " ".join(words))
