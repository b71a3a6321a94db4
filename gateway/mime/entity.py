"""MIME entities as offsets into the octets of a message (RFC 2045, RFC 2046).

What it does: finds header section, body and parts of an entity, down through multiparts (RFC 2046 5.1) and enclosed
messages (RFC 2046 5.2.1), and copies nothing but header sections. A delimiter is a whole line; the CRLF before it
belongs to it and not to the part (RFC 2046 5.1.1). What it refuses, with :class:`~gateway.errors.MimeError`: what
exceeds :class:`~gateway.limits.Limits`, and structures whose search would cost many times the message's size. Anything
else is read as well as it can be; where another reader may find other parts, another type or another transfer encoding,
``ambiguity`` says why, and whoever decides on the entity or changes it refuses it then.
Known gaps: message/partial and message/external-body are leaves; so is a message/global in base64 or quoted-printable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.errors import MimeError
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime.fields import HeaderSection, parse_header
from gateway.mime.parameters import DEFAULT_TYPE, ContentType, parse_content_type, strip_comments
from gateway.mime.search import find
from gateway.mime.transfer import decode_base64, decode_quoted_printable

IDENTITY_ENCODINGS = frozenset({"7bit", "8bit", "binary"})
"""Transfer encodings under which the body is the content (RFC 2045 6.2)."""

_KNOWN_ENCODINGS = IDENTITY_ENCODINGS | {"base64", "quoted-printable"}
_ENCLOSED = frozenset({"message/rfc822", "message/global"})
_DIGEST_TYPE = ContentType(type="message", subtype="rfc822", parameters=MappingProxyType({}))
_DELIMITER_TAIL = re.compile(rb"(--)?[ \t]*+(?:\r\n|\Z)")
_SEARCH_FACTOR = 16
"""How many times the message's own size may be searched for delimiters, nesting included."""
_SEARCH_FLOOR = 1024 * 1024
_LONGEST_INDENT = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entity:
    """One MIME entity: the whole message, or a part of it. Compared by identity."""

    content: bytes = field(repr=False)
    """The octets of the whole message, shared by all its entities."""
    start: int
    """Offset of the header section."""
    body_start: int
    """Offset of the body; equal to :attr:`end` where there is none."""
    end: int
    """Offset behind the last octet; the CRLF that belongs to a delimiter is behind it."""
    header: HeaderSection = field(repr=False)
    content_type: ContentType
    """As declared, or the default of RFC 2045 5.2 (in a digest RFC 2046 5.1.5)."""
    transfer_encoding: str
    """Content-Transfer-Encoding in lower case, ``7bit`` where there is none (RFC 2045 6.1)."""
    children: tuple[Entity, ...] = field(default=(), repr=False)
    """The parts of a multipart in order, or the one message that a message/rfc822 encloses."""
    ambiguity: str = ""
    """Why another reader may find other parts, another type or encoding in this entity itself; empty where none can."""

    @property
    def ambiguous(self) -> bool:
        """Whether there are two readings of this entity itself; for all below it :func:`find_ambiguity`."""
        return bool(self.ambiguity)

    @property
    def octets(self) -> bytes:
        """Header section, empty line and body, verbatim."""
        return self.content[self.start : self.end]

    @property
    def body(self) -> bytes:
        """The body, verbatim."""
        return self.content[self.body_start : self.end]


def walk(entity: Entity) -> Iterator[Entity]:
    """The entity and all below it, each before its children, in the order of the octets."""
    waiting = [entity]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(current.children))


def find_ambiguity(entity: Entity) -> str:
    """Why the entity or one below it has two readings; empty where none has."""
    return next((each.ambiguity for each in walk(entity) if each.ambiguity), "")


def decode_body(entity: Entity) -> bytes:
    """Undo the transfer encoding of a leaf; the body itself under an identity encoding.

    Raises :class:`~gateway.errors.MimeError` for malformed base64 and for an encoding that RFC 2045 6.1 does not name.
    """
    if entity.transfer_encoding in IDENTITY_ENCODINGS:
        return entity.body
    if entity.transfer_encoding == "base64":
        return decode_base64(entity.body)
    if entity.transfer_encoding == "quoted-printable":
        return decode_quoted_printable(entity.body)
    raise MimeError("a transfer encoding that is not known")


class _Draft:
    """An entity whose children are still being read."""

    __slots__ = ("ambiguity", "children", "content_type", "encoding", "end", "header", "spans", "start")

    def __init__(self, header: HeaderSection, start: int, end: int, default: ContentType) -> None:
        self.header = header
        self.start = start
        self.end = end
        self.children: list[Entity] = []
        self.spans: list[tuple[int, int]] = []
        self.content_type, self.encoding, self.ambiguity = read_structure(header, default)

    def finish(self, content: bytes) -> Entity:
        """The entity, its children being complete."""
        return Entity(
            content=content,
            start=self.start,
            body_start=self.header.end,
            end=self.end,
            header=self.header,
            content_type=self.content_type,
            transfer_encoding=self.encoding,
            children=tuple(self.children),
            ambiguity=self.ambiguity,
        )


def parse_entity(
    content: bytes,
    start: int = 0,
    end: int | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    levels: int | None = None,
) -> Entity:
    """Read the entity that ``content[start:end]`` is, with all its parts, or those ``levels`` deep: 1 is its own parts.

    The work is proportional to the number of parts and, for each level of multiparts, to their octets, within a budget.
    Raises :class:`~gateway.errors.MimeError` where that or ``limits`` are exceeded, and for nothing else.
    """
    stop = len(content) if end is None else end
    reader = _Reader(content, stop - start, limits)
    stack = [reader.open(start, stop, DEFAULT_TYPE)]
    while True:
        draft = stack[-1]
        if draft.spans and (levels is None or len(stack) <= levels):
            if len(stack) >= limits.mime_depth:
                raise MimeError(f"MIME entities nested deeper than {limits.mime_depth}")
            default = _DIGEST_TYPE if draft.content_type.essence == "multipart/digest" else DEFAULT_TYPE
            stack.append(reader.open(*draft.spans.pop(), default))
            continue
        entity = stack.pop().finish(content)
        if not stack:
            return entity
        stack[-1].children.append(entity)


class _Reader:
    """Opens entities of one message and keeps count of what that costs."""

    __slots__ = ("_budget", "_content", "_limits", "_parts")

    def __init__(self, content: bytes, size: int, limits: Limits) -> None:
        self._content = content
        self._limits = limits
        self._parts = 0
        self._budget = _SEARCH_FACTOR * size + _SEARCH_FLOOR

    def open(self, start: int, end: int, default: ContentType) -> _Draft:
        """Read the header section of an entity and find where its parts lie."""
        self._parts += 1
        if self._parts > self._limits.mime_parts:
            raise MimeError(f"a message with more than {self._limits.mime_parts} MIME entities")
        header = parse_header(self._content, start, self._limits, end=end)
        draft = _Draft(header, start, end, default)
        if draft.encoding not in IDENTITY_ENCODINGS:
            return draft
        if draft.content_type.type == "multipart" and draft.content_type.boundary:
            self._budget -= end - header.end
            if self._budget < 0:
                raise MimeError("multiparts nested so that they cannot be read at a reasonable cost")
            spans, cause = self._find_parts(b"--" + draft.content_type.boundary, header.end, end)
            draft.ambiguity = draft.ambiguity or cause
            draft.spans = spans[::-1]
        elif draft.content_type.essence in _ENCLOSED:
            draft.spans = [(header.end, end)]
        return draft

    def _find_parts(self, delimiter: bytes, start: int, end: int) -> tuple[list[tuple[int, int]], str]:
        """Offsets of the parts of a multipart body, and the first cause for a second reading (RFC 2046 5.1.1)."""
        content = self._content
        spans: list[tuple[int, int]] = []
        causes: list[str] = []
        part_start = -1
        is_closed = False
        hits = 0
        position = start
        while (hit := find(content, delimiter, position, end)) >= 0:
            hits += 1
            if hits > 2 * self._limits.mime_parts:
                raise MimeError("a multipart with too many delimiters")
            position = hit + len(delimiter)
            if hit > start and content[hit - 2 : hit] != b"\r\n":
                causes.extend(_judge_indented(content, start, hit))
                continue
            tail = _DELIMITER_TAIL.match(content, position, end)
            if tail is None or is_closed:
                # RFC 2046 5.1.2 compares only the beginning of the line; readers in use compare all of it.
                causes.append("a delimiter with text behind it, or behind the last one")
                continue
            if part_start >= 0:
                # Two delimiters that share a line end: an empty part to some readers, none to others.
                causes.extend(["two delimiters with nothing between them"] if hit == part_start else [])
                spans.append((part_start, max(part_start, hit - 2)))
            is_closed = tail[1] is not None
            part_start = -1 if is_closed else tail.end()
            position = tail.end()
        if part_start >= 0:
            spans.append((part_start, end))
        if not is_closed:
            causes.append("a multipart without its last delimiter")
        elif not spans:
            causes.append("a multipart without parts")
        return spans, causes[0] if causes else ""


def _judge_indented(content: bytes, start: int, hit: int) -> list[str]:
    """Judge a boundary that does not follow a CRLF: within a line it is nothing, near its start there is doubt."""
    if content[hit - 1] in b"\r\n":
        return ["a delimiter after a bare CR or LF"]
    if content[hit - 1] not in b" \t":
        return []
    line_start = max(start, hit - _LONGEST_INDENT, content.rfind(b"\n", max(start, hit - _LONGEST_INDENT), hit) + 1)
    return [] if content[line_start:hit].strip(b" \t\r") else ["a delimiter after blanks"]


def read_structure(header: HeaderSection, default: ContentType = DEFAULT_TYPE) -> tuple[ContentType, str, str]:
    """Content-Type and Content-Transfer-Encoding of an entity, and the first cause for a second reading."""
    types = []
    encodings = []
    for each in header.fields:
        key = each.name.lower()
        if key == "content-type":
            types.append(each)
        elif key == "content-transfer-encoding":
            encodings.append(each)
    content_type = parse_content_type(types[0].body) if types else default
    encoding, cause = _read_encoding(encodings[0].value) if encodings else ("7bit", "")
    if len(types) > 1 or len(encodings) > 1:
        cause = "a Content-Type or Content-Transfer-Encoding field given twice"
    elif (content_type.type == "multipart" or content_type.essence == "message/rfc822") and (
        encoding not in IDENTITY_ENCODINGS
    ):
        cause = "a composite type in a transfer encoding (RFC 2045 6.4)"
    return content_type, encoding, header.ambiguity or content_type.ambiguity or cause


def _read_encoding(value: str) -> tuple[str, str]:
    """Read a Content-Transfer-Encoding; readers that do not know a word take the body as it is, or as unreadable."""
    encoding = value.lower()
    if encoding in _KNOWN_ENCODINGS:
        return encoding, ""
    stripped, _ = strip_comments(encoding)
    is_private = stripped == encoding and encoding.startswith("x-") and encoding.isascii() and encoding.isprintable()
    return stripped, "" if is_private else "a Content-Transfer-Encoding that RFC 2045 6.1 does not know"
