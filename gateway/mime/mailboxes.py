"""Address lists of header fields (RFC 5322 3.4), read strictly.

What it does: finds the mailboxes of a From, Sender, To, Cc or Bcc field: groups, comments, quoted strings, domain
literals, display names with stray dots and the obsolete route (RFC 5322 4.4) included. What it refuses, with
:class:`~gateway.errors.MimeError`: whatever two readers might read as two addresses. Identity is decided on the result,
so there is no lenient mode: white space or a comment inside an addr-spec, an encoded word used as address, a second
``@``, an unclosed quote, a control or invisible character.
Known gap: obsolete local parts with white space around their dots (RFC 5322 4.4) are refused on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.address import Address
from gateway.errors import MimeError
from gateway.mime.words import decode_words

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_TOKEN = re.compile(
    rf'(?P<atom>{_ATEXT})|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<literal>\[[!-Z^-~]*\])|(?P<special>[.@<>,:;])'
)
_BLANKS = re.compile(r"[ \t]*")
_COMMENT_EDGE = re.compile(r"[()]|\\.")
_ESCAPE = re.compile(r"\\(.)")
_DOT_ATOM = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*")
_DOMAIN = re.compile(r"[A-Za-z0-9_\u0080-\U0010ffff-]+(?:\.[A-Za-z0-9_\u0080-\U0010ffff-]+)*")

_USUAL = re.compile(
    r" ?(?:([A-Za-z0-9-]+(?: [A-Za-z0-9-]+)*) (?=<))?(<)?"
    r"([A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)(?(2)>)"
)
"""One mailbox as nearly all mail has it: plain words, then an address without anything that needs quoting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """One mailbox (RFC 5322 3.4)."""

    display_name: str
    """The display name, quotes and encoded words undone, for people only; may be empty and hold any character."""
    address: Address
    """The addr-spec, without comments; a local part that needs no quotes has none."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A lexical token (RFC 5322 3.2) that is neither comment nor white space."""

    kind: str
    text: str
    is_apart: bool
    """Whether white space or a comment stands before it."""


def parse_mailboxes(value: bytes | str) -> tuple[Mailbox, ...]:
    """Read the body of an address field, folded or not; the mailboxes of a group are listed in place.

    An empty group has none. Raises :class:`~gateway.errors.MimeError` for all that cannot be read in one way only, an
    empty list among it.
    """
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    text = text.removesuffix("\r\n").replace("\r\n ", " ").replace("\r\n\t", "\t")
    if usual := _USUAL.fullmatch(text):
        return (Mailbox(display_name=usual[1] or "", address=Address(usual[3])),)
    mailboxes: list[Mailbox] = []
    has_group = is_after_group = False
    group: str | None = None
    for element, end in _split_elements(_split_tokens(text)):
        if element and is_after_group:
            raise MimeError("no comma after a group of an address list")
        colon = _find_group(element)
        if colon >= 0:
            if group is not None:
                raise MimeError("a group within a group of an address list")
            group, has_group = _read_phrase(element[:colon]), True
        if len(element) > colon + 1:
            mailboxes.append(_read_mailbox(element[colon + 1 :]))
        if end == ";" and group is None:
            raise MimeError("the end of a group without its start in an address list")
        is_after_group = end == ";"
        group = None if is_after_group else group
    if group is not None or not (mailboxes or has_group):
        raise MimeError("an unfinished or empty address list")
    return tuple(mailboxes)


def _split_tokens(text: str) -> Iterator[_Token]:
    """Tokens of an unfolded value, comments (RFC 5322 3.2.2) left out."""
    if _CONTROL.search(text):
        raise MimeError("a control character in an address list")
    position = _skip_blanks(text, 0)
    is_apart = position > 0
    while position < len(text):
        if text[position] == "(":
            position, is_apart = _skip_comment(text, position), True
        else:
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise MimeError("an address list with a character that is not allowed there")
            yield _Token(match.lastgroup, match[0], is_apart)
            position, is_apart = match.end(), False
        after = _skip_blanks(text, position)
        is_apart, position = is_apart or after > position, after


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    assert match is not None
    return match.end()


def _skip_comment(text: str, position: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(edge[0], 0)
        if not depth:
            return edge.end()
    raise MimeError("an unclosed comment in an address list")


def _split_elements(tokens: Iterator[_Token]) -> Iterator[tuple[list[_Token], str]]:
    """Elements of the list, each with what ends it: ``,`` or ``;`` or nothing. Empty ones occur (RFC 5322 4.4)."""
    element: list[_Token] = []
    is_in_angle = False
    for token in tokens:
        if token.text in (",", ";") and token.kind == "special" and not is_in_angle:
            yield element, token.text
            element = []
            continue
        element.append(token)
        if token.kind == "special" and token.text in "<>":
            is_in_angle = token.text == "<"
    yield element, ""


def _find_group(element: Sequence[_Token]) -> int:
    """Index of the colon that ends the name of a group, or -1."""
    for index, token in enumerate(element):
        if token.kind == "special" and token.text in ":<":
            return index if token.text == ":" else -1
    return -1


def _read_phrase(tokens: Sequence[_Token]) -> str:
    """Read a display name (RFC 5322 3.2.5, with the dots of RFC 5322 4.1)."""
    if not tokens or tokens[0].text == "." or any(t.kind not in ("atom", "quoted") and t.text != "." for t in tokens):
        raise MimeError("an address list with a display name that needs quotes")
    pieces: list[str] = []
    for token in tokens:
        text = _ESCAPE.sub(r"\1", token.text[1:-1]) if token.kind == "quoted" else token.text
        pieces.append(f" {text}" if token.is_apart and pieces else text)
    return decode_words("".join(pieces))


def _read_mailbox(tokens: Sequence[_Token]) -> Mailbox:
    """Read a name-addr or a bare addr-spec."""
    angles = [index for index, token in enumerate(tokens) if token.kind == "special" and token.text in "<>"]
    if not angles:
        return Mailbox(display_name="", address=_read_addr_spec(tokens))
    opening, closing = angles[0], len(tokens) - 1
    if angles != [opening, closing] or tokens[opening].text != "<" or tokens[closing].text != ">":
        raise MimeError("an address list with unpaired angle brackets")
    display_name = _read_phrase(tokens[:opening]) if opening else ""
    return Mailbox(display_name=display_name, address=_read_addr_spec(_skip_route(tokens[opening + 1 : closing])))


def _skip_route(tokens: Sequence[_Token]) -> Sequence[_Token]:
    """Leave out an obsolete route, ``@a,@b:`` (RFC 5322 4.4)."""
    if not tokens or tokens[0].text != "@":
        return tokens
    colon = next((index for index, token in enumerate(tokens) if token.text == ":"), -1)
    hops = "".join(token.text for token in tokens[:colon]).split(",")
    if colon < 0 or not all(hop.startswith("@") and _DOMAIN.fullmatch(hop, 1) for hop in hops):
        raise MimeError("an address list with a malformed route")
    return tokens[colon + 1 :]


def _read_addr_spec(tokens: Sequence[_Token]) -> Address:
    """Read an addr-spec (RFC 5322 3.4.1) whose tokens touch each other."""
    at = next((index for index, token in enumerate(tokens) if token.text == "@"), -1)
    if at < 0 or any(token.is_apart for token in tokens[1:]):
        raise MimeError("an address list with an address that is none, or has gaps")
    local = "".join(token.text for token in tokens[:at])
    domain = "".join(token.text for token in tokens[at + 1 :])
    if at == 1 and tokens[0].kind == "quoted":
        content = _ESCAPE.sub(r"\1", local[1:-1])
        local = content if _DOT_ATOM.fullmatch(content) else local
        is_local = bool(content)
    else:
        is_local = _DOT_ATOM.fullmatch(local) is not None
    is_domain = _DOMAIN.fullmatch(domain) is not None or (len(tokens) == at + 2 and tokens[-1].kind == "literal")
    spec = f"{local}@{domain}"
    if not (is_local and is_domain) or "=?" in spec or not spec.isprintable():
        raise MimeError("an address list with an address that cannot be read in one way only")
    return Address(spec)
