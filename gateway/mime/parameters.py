"""Content-Type and Content-Disposition: a value and its parameters, and whether they can be read in two ways.

What it does: reads the fields of RFC 2045 5.1 and RFC 2183 2 with the parameter continuations and charsets of RFC
2231, and the deviations that mail in use has (blanks around ``=``, unquoted blanks in a file name, a last semicolon).
What it refuses: nothing; a field that cannot be read counts as ``text/plain`` (RFC 2045 5.2). Where other readers may
arrive at another type, boundary or parameter, ``ambiguity`` says why, and a caller that decides on the field refuses
it then. What decides on structure (multipart, PKCS #7; ``boundary``, ``protocol``, ``smime-type``) is judged strictly,
the rest only where it could hide such a parameter.
Known gap: none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from gateway.mime.words import decode_charset

_TOKEN = r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]"
_TYPE = re.compile(rf"({_TOKEN}++)([ \t]*+)/([ \t]*+)({_TOKEN}++)[ \t]*+")
_KIND = re.compile(rf"({_TOKEN}++)[ \t]*+")
# No possessive groups: Python before 3.11.5 matches them wrongly (its issue 106052), and Debian 12 has 3.11.2.
_PARAMETER = re.compile(
    r"""
    ;[ \t]*+
    (?: ([^\x00-\x20=;"(),\\\x7f]++) ([ \t]*+) = ([ \t]*+) (?: ("[^"\\]*+(?:\\.[^"\\]*+)*") | ([^;"]*+) ) )?
    [ \t]*+ (?=;|\Z)
    """,
    re.VERBOSE,
)
_COMMENT_EDGE = re.compile(r'[()]|\\.|"')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPE = re.compile(r"\\(.)")
_CONTINUATION = re.compile(r"([^*]+)\*(?:(0|[1-9][0-9]{0,3})(\*?))?")
_BOUNDARY = re.compile(r"[!-~](?:[ -~]{0,68}[!-~])?")
_STRUCTURAL = frozenset({"boundary", "protocol", "smime-type"})
_PKCS7 = ("pkcs7-", "x-pkcs7-")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentType:
    """A Content-Type (RFC 2045 5.1)."""

    type: str
    """Top-level type, lower case."""
    subtype: str
    """Subtype, lower case."""
    parameters: Mapping[str, str] = field(hash=False, repr=False)
    """By name in lower case; quotes, escapes, RFC 2231 forms undone. Of a parameter given twice the first."""
    ambiguity: str = ""
    """Why another reader may arrive at another type, boundary or parameter; empty where none can."""

    @property
    def ambiguous(self) -> bool:
        """Whether there are two readings."""
        return bool(self.ambiguity)

    @property
    def essence(self) -> str:
        """Type and subtype: ``text/plain``."""
        return f"{self.type}/{self.subtype}"

    @property
    def boundary(self) -> bytes:
        """The boundary (RFC 2046 5.1.1) in octets; empty where there is none."""
        return self.parameters.get("boundary", "").encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """A Content-Disposition (RFC 2183)."""

    kind: str
    """``inline``, ``attachment`` or another token, lower case; empty where the field cannot be read."""
    parameters: Mapping[str, str] = field(hash=False, repr=False)
    """As in :class:`ContentType`."""
    ambiguity: str = ""
    """As in :class:`ContentType`."""

    @property
    def ambiguous(self) -> bool:
        """Whether there are two readings."""
        return bool(self.ambiguity)


DEFAULT_TYPE = ContentType(type="text", subtype="plain", parameters=MappingProxyType({}))
"""What an entity without Content-Type is (RFC 2045 5.2)."""


_CACHED_OCTETS = 96
"""Longer values are not remembered: they seldom come again, and foreign text must not fill the memory."""


def parse_content_type(value: bytes | str) -> ContentType:
    """Read the value of a Content-Type field, folded or not."""
    return _parse_content_type(value) if len(value) <= _CACHED_OCTETS else _parse_content_type.__wrapped__(value)


@lru_cache(maxsize=512)
def _parse_content_type(value: bytes | str) -> ContentType:
    original = _decode(value)
    text, has_comment, ambiguity = _prepare(original)
    match = _TYPE.match(text)
    if match is None:
        return ContentType(
            type="text", subtype="plain", parameters=MappingProxyType({}), ambiguity="a Content-Type without type"
        )
    main, subtype = match[1].lower(), match[4].lower()
    if match[2] or match[3] or text[match.end() : match.end() + 1] not in ("", ";"):
        ambiguity = ambiguity or "a type that is not followed by a semicolon, or with blanks in it"
    is_strict = main == "multipart" or subtype.startswith(_PKCS7)
    if is_strict and has_comment:
        ambiguity = ambiguity or "a comment in a Content-Type that decides on structure"
    parameters, cause = _read_parameters(text, match.end(), is_strict=is_strict)
    ambiguity = ambiguity or cause
    if main == "multipart":
        ambiguity = ambiguity or _judge_boundary(parameters.get("boundary", ""), original)
    return ContentType(type=main, subtype=subtype, parameters=MappingProxyType(parameters), ambiguity=ambiguity)


def parse_disposition(value: bytes | str) -> Disposition:
    """Read the value of a Content-Disposition field, folded or not."""
    text, _, ambiguity = _prepare(_decode(value))
    match = _KIND.match(text)
    if match is None:
        return Disposition(kind="", parameters=MappingProxyType({}), ambiguity="a Content-Disposition without type")
    parameters, cause = _read_parameters(text, match.end(), is_strict=False)
    return Disposition(kind=match[1].lower(), parameters=MappingProxyType(parameters), ambiguity=ambiguity or cause)


def _decode(value: bytes | str) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _prepare(value: str) -> tuple[str, bool, str]:
    """Unfold, strip and free of comments; whether there was one; the first cause for a second reading."""
    text = value.replace("\r\n", "").strip(" \t")
    ambiguity = "a control character in a MIME field" if _CONTROL.search(text) else ""
    if "(" not in text:
        return text, False, ambiguity
    stripped, cause = strip_comments(text)
    return stripped, stripped != text, ambiguity or cause


def strip_comments(text: str) -> tuple[str, str]:
    """Leave out comments (RFC 5322 3.2.2) that stand outside quoted strings.

    The second value says why a reader that does not know comments may read something else: the comment stands before
    the first semicolon, holds a special character of the field's grammar, or does not end.
    """
    pieces: list[str] = []
    depth = start = 0
    is_quoted = False
    ambiguity = ""
    for edge in _COMMENT_EDGE.finditer(text):
        if edge[0] == '"' and not depth:
            is_quoted = not is_quoted
        elif edge[0] == "(" and not is_quoted:
            if not depth:
                pieces.append(text[start : edge.start()])
                start = edge.start()
            depth += 1
        elif edge[0] == ")" and depth:
            depth -= 1
            if not depth:
                comment, start = text[start : edge.end()], edge.end()
                if ";" not in "".join(pieces[:1]) or re.search(r'[;="\\]', comment):
                    ambiguity = "a comment in a MIME field where readers differ"
    if depth:
        return "".join(pieces), "an unclosed comment in a MIME field"
    return "".join([*pieces, text[start:]]).strip(" \t"), ambiguity


def _read_parameters(text: str, position: int, *, is_strict: bool) -> tuple[dict[str, str], str]:
    """Read ``; name=value`` up to the end; the second value is the first cause for a second reading."""
    plain: dict[str, str] = {}
    extended: dict[str, str] = {}
    causes: list[str] = []
    last_quote = text.rfind('"')
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            following = text.find(";", position + 1)
            if is_strict or position <= last_quote:
                causes.append("a malformed parameter")
            if following < 0 or text.find('"', position, following) >= 0:
                break
            position = following
            continue
        position = match.end()
        if match[1] is None:
            continue
        name, quoted = match[1].lower(), match[4]
        raw = match[5].rstrip(" \t") if quoted is None else quoted[1:-1]
        if name.partition("*")[0] in _STRUCTURAL:
            is_regular = (
                not match[2] and not match[3] and not re.search(r"[ \t,()\\]" if quoted is None else r"\\", raw)
            )
            causes.extend(
                [] if is_regular and "*" not in name else [f"the parameter {_known(name)} in an unusual form"]
            )
        target = extended if "*" in name else plain
        if name in target:
            causes.append(f"the parameter {_known(name)} given twice")
        target.setdefault(name, raw if quoted is None else _ESCAPE.sub(r"\1", raw))
    if extended:
        for name, value in _join_extended(extended).items():
            if name not in plain or name not in _STRUCTURAL:
                plain[name] = value
    return plain, causes[0] if causes else ""


def _known(name: str) -> str:
    """A parameter's name for a text: only names of ours, foreign text never."""
    base = name.partition("*")[0]
    return base if base in _STRUCTURAL else "of another name"


def _join_extended(segments: Mapping[str, str]) -> dict[str, str]:
    """Put continuations together and undo the percent form (RFC 2231 3, 4); what does not fit is left out."""
    collected: dict[str, dict[int, tuple[bool, str]]] = {}
    for name, value in segments.items():
        match = _CONTINUATION.fullmatch(name)
        if match is not None:
            is_encoded = match[2] is None or bool(match[3])
            collected.setdefault(match[1], {}).setdefault(int(match[2] or 0), (is_encoded, value))
    return {base: _join_segments(parts) for base, parts in collected.items() if 0 in parts}


def _join_segments(parts: Mapping[int, tuple[bool, str]]) -> str:
    octets = bytearray()
    charset = "utf-8"
    for number in range(len(parts)):
        if number not in parts:
            break
        is_encoded, value = parts[number]
        if is_encoded and not number and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        encoded = value.encode("utf-8", "surrogateescape")
        octets += unquote_to_bytes(encoded) if is_encoded else encoded
    text = decode_charset(bytes(octets), charset or "utf-8")
    return octets.decode("utf-8", "replace") if text is None else text


def _judge_boundary(boundary: str, original: str) -> str:
    """Say why the parts that this boundary delimits may not be the same for every reader (RFC 2046 5.1.1).

    A blank within it is allowed, but not one at which ``original``, the field before unfolding, was folded.
    """
    if not boundary:
        return "a multipart without boundary"
    is_folded = " " in boundary and boundary not in original
    if is_folded or not _BOUNDARY.fullmatch(boundary) or (boundary.startswith("=?") and boundary.endswith("?=")):
        return "a boundary with characters or a length that RFC 2046 does not allow"
    return ""
