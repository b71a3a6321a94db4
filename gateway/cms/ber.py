"""Reads the frame of BER octets (X.690 8) without copying: a cursor that descends, slices and skips.

The outer layers of CMS hold the whole mail, so they are walked in place and the content is copied once, when it is
taken out. What the elements mean is known in the modules that call this one.

Definite and indefinite lengths, primitive and constructed OCTET STRING (streaming sending agents write both).

Refused (:class:`~gateway.errors.CmsError`): elements that reach beyond what encloses them, missing end-of-contents,
tag numbers above 30 (CMS has none), nesting deeper than :data:`MOST_DEPTH`, and more elements than
:func:`element_budget` grants. So work is linear in the size of the input and nothing recurses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from gateway.cms.der import CONSTRUCTED, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET
from gateway.errors import CmsError

MOST_DEPTH = 64
"""Deepest nesting of elements. A certificate in a time stamp in a SignerInfo is at about 20."""

_END_OF_CONTENTS = b"\x00\x00"
INDEFINITE = -1


def element_budget(size: int) -> int:
    """Return how many elements are looked at in ``size`` octets.

    Small structures have one in some 10 octets, the segments of a content are seldom shorter than 1000.
    """
    return min(5_000 + size // 16, 500_000)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An AlgorithmIdentifier."""

    oid: str
    """Dotted."""
    parameters: bytes | None
    """The raw element; ``None`` if absent."""

    @property
    def has_no_parameters(self) -> bool:
        """Parameters absent or NULL; both are written for algorithms that have none (RFC 5754 2)."""
        return self.parameters is None or self.parameters == b"\x05\x00"


class Reader:
    """A cursor over BER octets. Methods read the element at the cursor and move behind it; all raise ``CmsError``."""

    __slots__ = ("_budget", "_end", "_frames", "_limit", "octets", "position")

    def __init__(self, octets: bytes, budget: int | None = None) -> None:
        """Stand at the begin; ``budget`` is how many elements are looked at, by default :func:`element_budget`."""
        self.octets = octets
        self.position = 0
        self._frames: list[tuple[int, int]] = []
        self._end = self._limit = len(octets)
        self._budget = element_budget(len(octets)) if budget is None else budget

    def peek(self) -> int:
        """Return the identifier octet at the cursor, 0 at the end of the innermost entered element."""
        position = self.position
        if position == self._end:
            return 0
        if position >= self._limit:
            raise CmsError("octets end before the element does")
        return self.octets[position]

    def header(self) -> tuple[int, int, int]:
        """Return (identifier octet, begin of contents, end of contents or ``INDEFINITE``); the cursor stays."""
        octets, position = self.octets, self.position
        self._budget -= 1
        if self._budget < 0:
            raise CmsError("too many elements")
        start = position + 2
        if start > self._limit:
            raise CmsError("octets end before the element does")
        tag, count = octets[position], octets[position + 1]
        if tag & 0x1F == 0x1F:
            raise CmsError("tag number above 30")
        if count >= 0x80:
            if count == 0x80:
                if not tag & CONSTRUCTED:
                    raise CmsError("indefinite length of a primitive element")
                return tag, start, INDEFINITE
            start += count & 0x7F
            if count > 0x88 or start > self._limit:
                raise CmsError("malformed length")
            count = int.from_bytes(octets[position + 2 : start], "big")
        end = start + count
        if end > self._limit:
            raise CmsError("an element reaches beyond what encloses it")
        return tag, start, end

    def _expect(self, tag: int) -> None:
        found = self.peek()
        if found != tag:
            raise CmsError(f"expected an element with tag {tag:#04x}, found {found:#04x}")

    def enter(self, tag: int) -> None:
        """Go to the first element inside the constructed element at the cursor, which must have this tag."""
        self._expect(tag)
        if len(self._frames) >= MOST_DEPTH:
            raise CmsError("nested too deep")
        _, start, end = self.header()
        self._frames.append((self._end, self._limit))
        self._end = end
        if end != INDEFINITE:
            self._limit = end
        self.position = start

    def leave(self) -> None:
        """Go behind the innermost entered element, all of which must have been read."""
        if self._end != INDEFINITE:
            if self.position != self._end:
                raise CmsError("unexpected further element")
        else:
            end = self.position + 2
            if end > self._limit or self.octets[self.position : end] != _END_OF_CONTENTS:
                raise CmsError("unexpected further element")
            self.position = end
        self._end, self._limit = self._frames.pop()

    def skip(self) -> None:
        """Go behind the element at the cursor, whatever it is."""
        if not self.peek():
            raise CmsError("expected an element, found none")
        octets, still_open = self.octets, 0
        while True:
            if still_open and octets[self.position : self.position + 2] == _END_OF_CONTENTS:
                still_open -= 1
                self.position += 2
            else:
                _, start, end = self.header()
                if end == INDEFINITE:
                    still_open += 1
                    if still_open > MOST_DEPTH:
                        raise CmsError("nested too deep")
                self.position = start if end == INDEFINITE else end
            if self.position > self._limit:
                raise CmsError("octets end before the element does")
            if not still_open:
                return

    def element(self, tag: int) -> bytes:
        """Return the element at the cursor as it stands, header included."""
        self._expect(tag)
        begin = self.position
        self.skip()
        return self.octets[begin : self.position]

    def contents(self, tag: int) -> bytes:
        """Return the contents of the element at the cursor, which must have this tag and a definite length."""
        self._expect(tag)
        _, start, end = self.header()
        if end == INDEFINITE:
            raise CmsError("indefinite length where it may not be")
        self.position = end
        return self.octets[start:end]

    def octet_string(self, tag: int = OCTET_STRING) -> bytes:
        """Return the value of an OCTET STRING (or one with an implicit ``tag``), primitive or in segments."""
        if self.peek() != tag | CONSTRUCTED:
            return self.contents(tag)
        view = memoryview(self.octets)
        segments: list[memoryview] = []
        depth = len(self._frames)
        self.enter(tag | CONSTRUCTED)
        while len(self._frames) > depth:
            found = self.peek()
            if found == OCTET_STRING:
                _, start, end = self.header()
                segments.append(view[start:end])
                self.position = end
            elif found == OCTET_STRING | CONSTRUCTED:
                self.enter(found)
            else:
                self.leave()
        return b"".join(segments)

    def integer(self) -> int:
        """Return the value of an INTEGER."""
        contents = self.contents(INTEGER)
        if not contents:
            raise CmsError("an INTEGER without contents")
        return int.from_bytes(contents, "big", signed=True)

    def oid(self) -> str:
        """Return the value of an OBJECT IDENTIFIER, dotted."""
        return _dotted(self.contents(OBJECT_IDENTIFIER))

    def algorithm(self) -> Algorithm:
        """Return the value of an AlgorithmIdentifier."""
        self.enter(SEQUENCE)
        oid = self.oid()
        tag = self.peek()
        algorithm = Algorithm(oid, self.element(tag) if tag else None)
        self.leave()
        return algorithm


@lru_cache(maxsize=512)
def _dotted(contents: bytes) -> str:
    if not contents or len(contents) > 64 or contents[-1] & 0x80:
        raise CmsError("malformed OBJECT IDENTIFIER")
    arcs: list[int] = []
    arc = 0
    for octet in contents:
        if arc == 0 and octet == 0x80:
            raise CmsError("malformed OBJECT IDENTIFIER")
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def is_der(octets: bytes) -> bool:
    """Tell whether the elements in ``octets`` are framed as DER: definite least lengths, no segments, SETs in order.

    A SET is taken for a SET OF (X.690 11.6). Primitive contents are not judged. Raises ``CmsError`` for what is not
    even BER.
    """
    return _is_der(octets, in_order=False, depth=0)


def _is_der(octets: bytes, *, in_order: bool, depth: int) -> bool:
    if depth > MOST_DEPTH:
        return False
    reader = Reader(octets)
    previous = b""
    while tag := reader.peek():
        begin = reader.position
        _, start, end = reader.header()
        if end == INDEFINITE or start - begin != _least_header(end - start):
            return False
        reader.position = end
        if in_order:
            element = octets[begin:end]
            if element < previous:
                return False
            previous = element
        if tag & CONSTRUCTED:
            if tag < 0x40 and tag not in (SEQUENCE, SET):
                return False  # a string in segments
            if not _is_der(octets[start:end], in_order=tag == SET, depth=depth + 1):
                return False
        elif tag | CONSTRUCTED in (SEQUENCE, SET):
            return False
    return reader.position == len(octets)


def _least_header(count: int) -> int:
    return 2 if count < 0x80 else 2 + (count.bit_length() + 7) // 8
