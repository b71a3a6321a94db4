"""Header sections: read into fields without losing an octet, and written one field at a time.

What it does: finds the fields of a header section (RFC 5322 2.2, obsolete forms of RFC 5322 4.5 included), each with
its octets as they stood, so that every selection of fields is a verbatim copy; folds a new field (RFC 5322 2.1.1,
2.2.3). What it refuses: to read more than :class:`~gateway.limits.Limits` allow, and to write a value with which
anything but this one field could be written. It never refuses what is merely ugly: a line that is no field becomes a
nameless one. Where two readers may find different fields in the same octets, ``ambiguity`` says why.
Known gap: none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.errors import MimeError
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime.wire import MAX_LINE, find_flaw

PREFERRED_LINE = 78
"""Octets in a line, without CRLF, beyond which a new field is folded where it can be (RFC 5322 2.1.1)."""

_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_BLANK_LINES = re.compile(rb"(?:\r\n[ \t]++)+(?=\r\n|\Z)")
_BLANK_LINE = re.compile(rb"\r\n[ \t]+(?:\r\n|\Z)")
_NAME = re.compile(rb"[!-9;-~]+")
_WORD = re.compile(rb"[ \t]*[^ \t]+")
_UNWRITABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\xc2\x85|\xe2\x80[\xa8\xa9]")
"""Control characters but HT, and the line separators U+0085, U+2028, U+2029, at which some readers split text too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One header field, or a line that is none."""

    name: str
    """The name as written, ASCII; empty for a line that is no field (no colon, no valid name, mbox ``From `` line)."""
    octets: bytes = field(repr=False)
    """The whole field, verbatim, with folding and final CRLF (which only the end of the content can take away)."""
    body: bytes = field(repr=False)
    """What follows the colon, verbatim, with folding and final CRLF; all of it for a line that is no field."""

    @property
    def key(self) -> str:
        """The name in lower case."""
        return self.name.lower()

    @property
    def value(self) -> str:
        """The body unfolded (RFC 5322 2.2.3) and stripped; octets that are not UTF-8 are surrogate-escaped."""
        return self.body.replace(b"\r\n", b"").strip(b" \t").decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSection:
    """The header section of a message or MIME entity."""

    fields: tuple[Field, ...]
    """In the order of the octets; their ``octets`` joined are :attr:`octets`."""
    octets: bytes = field(repr=False)
    """The section verbatim, without the empty line that ends it."""
    end: int
    """Offset in the content at which the body starts."""
    ambiguity: str = ""
    """Why two readers may find different fields or another end here; empty where none can."""

    @property
    def ambiguous(self) -> bool:
        """Whether there are two readings of this section."""
        return bool(self.ambiguity)

    def all(self, name: str) -> tuple[Field, ...]:
        """Return the fields of that name, in any case of letters, in order."""
        key = name.lower()
        return tuple(each for each in self.fields if each.name.lower() == key)

    def first(self, name: str) -> Field | None:
        """Return the first field of that name, or ``None``."""
        key = name.lower()
        return next((each for each in self.fields if each.name.lower() == key), None)

    def without(self, names: Collection[str]) -> bytes:
        """Return all other fields, verbatim; what is not empty ends in CRLF."""
        keys = {name.lower() for name in names}
        return join_fields(each for each in self.fields if each.name.lower() not in keys)

    def only(self, names: Collection[str]) -> bytes:
        """Return the fields of these names, verbatim and in their order; what is not empty ends in CRLF."""
        keys = {name.lower() for name in names}
        return join_fields(each for each in self.fields if each.name.lower() in keys)


def join_fields(fields: Iterable[Field]) -> bytes:
    """Join the octets of fields. A last one that its content cut short gets its CRLF, so that nothing runs into it."""
    joined = b"".join([each.octets for each in fields])
    return joined if not joined or joined.endswith(b"\r\n") else joined + b"\r\n"


def make_regular(fields: Iterable[Field]) -> bytes:
    """Join fields so that every reader finds the same ones; regular fields stay octet for octet.

    A line that is no field becomes a folded part of the field before it (that is what broke it off, where mail programs
    fold wrongly), before the first field it is left out; white space before a colon and lines of blanks go.
    """
    pieces: list[bytes] = []
    for each in fields:
        if each.name:
            raw_name = each.octets.partition(b":")[0]
            name = each.name.encode("ascii")
            pieces.append(each.octets if raw_name == name else name + each.octets[len(raw_name) :])
        elif pieces and each.octets.strip():
            pieces.append(b" " + each.octets)
    joined = _BLANK_LINES.sub(b"", b"".join(pieces))
    return joined if not joined or joined.endswith(b"\r\n") else joined + b"\r\n"


def parse_header(
    content: bytes, start: int = 0, limits: Limits = DEFAULT_LIMITS, *, end: int | None = None
) -> HeaderSection:
    """Read the header section that begins at ``start`` and goes to the first empty line, or to ``end``.

    Raises :class:`~gateway.errors.MimeError` where the section is larger than ``limits`` allow, and for nothing else.
    """
    stop = len(content) if end is None else end
    if content.startswith(b"\r\n", start, stop):
        return HeaderSection(fields=(), octets=b"", end=start + 2)
    empty_line = content.find(b"\r\n\r\n", start, min(stop, start + limits.header_octets + 2))
    if empty_line < 0 and stop - start > limits.header_octets:
        raise MimeError(f"a header section is larger than {limits.header_octets} octets")
    octets = content[start : empty_line + 2 if empty_line >= 0 else stop]
    lines = _FIELD_END.split(octets.removesuffix(b"\r\n")) if octets else []
    if len(lines) > limits.header_fields:
        raise MimeError(f"a header section has more than {limits.header_fields} fields")
    fields, ambiguity = _read_fields(lines, whole_lines=octets.endswith(b"\r\n"))
    return HeaderSection(
        fields=fields,
        octets=octets,
        end=empty_line + 4 if empty_line >= 0 else stop,
        ambiguity=ambiguity or _find_two_readings(octets),
    )


def _read_fields(lines: list[bytes], *, whole_lines: bool) -> tuple[tuple[Field, ...], str]:
    """Make fields of unfolded lines; the second value is the first cause for a second reading."""
    fields: list[Field] = []
    ambiguity = ""
    last = len(lines) - 1
    for number, line in enumerate(lines):
        raw_name, _, body = line.partition(b":")
        name, is_regular = _read_name(raw_name) if len(raw_name) < _CACHED_NAME else _read_name.__wrapped__(raw_name)
        line_end = b"\r\n" if whole_lines or number < last else b""
        if not name or len(raw_name) == len(line):
            name, body = "", line
            is_regular = number == 0 and line.startswith(b"From ")
            ambiguity = ambiguity or ("" if is_regular else "a line of a header section is no field")
        elif not is_regular:
            ambiguity = ambiguity or "white space before the colon of a header field"
        fields.append(Field(name=name, octets=line + line_end, body=body + line_end))
    return tuple(fields), ambiguity


_CACHED_NAME = 64
"""Names from this length on are not remembered: foreign text must not fill the memory."""


@lru_cache(maxsize=1024)
def _read_name(raw: bytes) -> tuple[str, bool]:
    """Read what stands before the colon: the name, empty if it is none, and whether the colon follows at once."""
    name = raw.rstrip(b" \t")
    return (name.decode("ascii"), len(name) == len(raw)) if _NAME.fullmatch(name) else ("", False)


def _find_two_readings(octets: bytes) -> str:
    """Say why readers may split this section differently, apart from single lines that are no field."""
    flaw = find_flaw(octets, max_line=None)
    if flaw is not None:
        return f"{flaw[0]} in a header section"
    # Some readers unfold a line of blanks (RFC 5322 4.2), others take it for the end of the section.
    return "a line of blanks in a header section" if _BLANK_LINE.search(octets) else ""


def fold_field(name: str, value: str) -> bytes:
    """Write one header field, folded at white space so that lines stay within 78 octets where that can be done.

    Unfolding gives ``value`` again, without blanks at its ends; surrogate escapes become the octets they stand for, all
    else UTF-8 (RFC 6532 where that is not ASCII). Raises :class:`ValueError` for a name that is none, for a control
    character or line separator in the value (so no second field can be written), and where no line end within 998
    octets can be had (RFC 5322 2.1.1).
    """
    if not name.isascii() or not _NAME.fullmatch(name.encode("ascii")):
        raise ValueError("not the name of a header field")
    octets = value.encode("utf-8", "surrogateescape").strip(b" \t")
    if _UNWRITABLE.search(octets):
        raise ValueError("a control character in the value of a header field")
    lines: list[bytes] = []
    line = name.encode("ascii") + b":"
    for number, word in enumerate(_WORD.findall(octets)):
        piece = word if number else b" " + word
        if number and len(line) + len(piece) > PREFERRED_LINE:
            lines.append(line)
            line = piece
        else:
            line += piece
    lines.append(line)
    if max(map(len, lines)) > MAX_LINE:
        raise ValueError(f"a header field that cannot be folded within {MAX_LINE} octets")
    return b"\r\n".join(lines) + b"\r\n"
