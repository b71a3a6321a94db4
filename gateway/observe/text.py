"""Foreign text made harmless for people's eyes and terminals.

What it does: :func:`printable` replaces what is not printable (control characters, line ends, escape sequences, marks
that change the direction of writing, surrogate escapes of octets that were no UTF-8) by backslash escapes, and cuts
what is long. What it leaves: letters of every script, and the space.
"""

from __future__ import annotations


def printable(text: str, limit: int = 512) -> str:
    """Return ``text`` on one line, without anything a terminal or log reader would act on, and at most ``limit`` long.

    A backslash is doubled, so that what was escaped cannot be mistaken for what was written.
    """
    if len(text) <= limit and text.isprintable() and "\\" not in text:
        return text
    # Cut before escaping: the work is bounded by the limit, whatever came in.
    escaped = "".join(_escape(character) for character in text[:limit])
    return escaped if len(text) <= limit and len(escaped) <= limit else escaped[: limit - 1] + "…"


def _escape(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return (
        character.encode("ascii", "backslashreplace").decode("ascii")
        if ord(character) > 0x7F
        else (f"\\x{ord(character):02x}")
    )
