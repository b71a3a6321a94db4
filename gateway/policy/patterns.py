"""Patterns of a policy: globs for text, and sets of address patterns that stay fast at ten thousand entries.

What it does: ``*`` stands for any number of characters, also none; every other character is itself; case is ignored.
An address pattern is matched in its two halves, so a ``*`` never reaches across the ``@``: ``*@bank.example`` is that
domain, ``*@*.gov.example`` everything below one. Both, and full addresses, are found by hashing; other forms are tried
one by one. Every test is linear in the length of the text: no regular expression, so no foreign text can make it slow.

Known gaps: a literal ``*`` cannot be written; domains are compared as written (no mapping between U- and A-labels).
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.address import Address
from gateway.policy.facts import has_parent

NULL_REVERSE_PATH = "<>"
"""The pattern that the null reverse-path matches, and no other does."""


class Glob:
    """One pattern for text."""

    __slots__ = ("_first", "_is_exact", "_last", "_middle")

    def __init__(self, pattern: str) -> None:
        """Compile ``pattern``."""
        pieces = pattern.casefold().split("*")
        self._is_exact = len(pieces) == 1
        self._first = pieces[0]
        self._last = pieces[-1]
        self._middle = [piece for piece in pieces[1:-1] if piece]

    def matches(self, text: str) -> bool:
        """Whether the whole of ``text`` fits."""
        folded = text.casefold()
        if self._is_exact:
            return folded == self._first
        if len(folded) < len(self._first) + len(self._last):
            return False
        if not (folded.startswith(self._first) and folded.endswith(self._last)):
            return False
        # Taking each piece at its first place is enough: what is right of it can only grow.
        position = len(self._first)
        end = len(folded) - len(self._last)
        for piece in self._middle:
            found = folded.find(piece, position, end)
            if found == -1:
                return False
            position = found + len(piece)
        return True


class AddressSet:
    """A set of address patterns."""

    __slots__ = ("_addresses", "_domains", "_globs", "_has_null", "_parents")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile ``patterns``; :func:`check_address_pattern` has seen each."""
        addresses: set[str] = set()
        domains: set[str] = set()
        parents: set[str] = set()
        globs: list[tuple[Glob, Glob]] = []
        self._has_null = False
        for pattern in patterns:
            if pattern == NULL_REVERSE_PATH:
                self._has_null = True
                continue
            local, _, domain = pattern.lower().rpartition("@")
            if "*" not in local and "*" not in domain:
                addresses.add(f"{local}@{domain}")
            elif local == "*" and "*" not in domain:
                domains.add(domain)
            elif local == "*" and domain.startswith("*.") and "*" not in domain[1:]:
                parents.add(domain[2:])
            else:
                globs.append((Glob(local), Glob(domain)))
        self._addresses = frozenset(addresses)
        self._domains = frozenset(domains)
        self._parents = frozenset(parents)
        self._globs = tuple(globs)

    def matches(self, address: Address | None) -> bool:
        """Whether ``address`` fits one of the patterns; ``None`` is the null reverse-path."""
        if address is None:
            return self._has_null
        if address.key in self._addresses:
            return True
        domain = address.domain
        if domain in self._domains or (self._parents and has_parent(domain, self._parents)):
            return True
        local = address.local
        return any(left.matches(local) and right.matches(domain) for left, right in self._globs)


def check_address_pattern(pattern: str, *, allow_null: bool = False) -> str | None:
    """Return what is wrong with a pattern, or ``None``."""
    if pattern == NULL_REVERSE_PATH:
        return None if allow_null else "'<>' has a place only in reverse_path"
    local, at, domain = pattern.rpartition("@")
    if not (local and at and domain):
        hint = f"; write '*@{pattern}' for a domain" if not at and "." in pattern else ""
        return f"{pattern!r:.80} is not an address pattern, it needs an @ between two halves{hint}"
    if any(character.isspace() or character in "<>," for character in pattern):
        return f"{pattern!r:.80} is not an address pattern: blanks, brackets and commas do not belong in it"
    return None
