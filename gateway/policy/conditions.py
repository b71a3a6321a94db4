"""The keys of a ``match``: each compiled to a condition on the facts, tagged with the stage at which it can be told.

What it does: one builder per kind of key. A list is *any of*; text is compared without regard to case. The conditions
are total: whatever the facts hold, they answer true or false and raise nothing.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable

from gateway.address import Address
from gateway.documents import parse_size
from gateway.policy.facts import Direction, EnvelopeFacts, Facts, MessageFacts, Stage
from gateway.policy.model import KIND_GROUPS, Condition, ContentKind, Verification
from gateway.policy.patterns import AddressSet, Glob

_NO_MESSAGE = MessageFacts(senders=())


def match_direction(directions: Iterable[Direction], written: str) -> Condition:
    """``direction: outbound``."""
    wanted = frozenset(directions)
    return _on_envelope("direction", written, lambda facts: facts.direction in wanted)


def match_listener(names: Iterable[str], written: str) -> Condition:
    """``listener: users``: the exact name."""
    wanted = frozenset(names)
    return _on_envelope("listener", written, lambda facts: facts.listener in wanted)


def match_reverse_path(patterns: Iterable[str], written: str) -> Condition:
    """``reverse_path: "<>"``."""
    wanted = AddressSet(patterns)
    return _on_envelope("reverse_path", written, lambda facts: wanted.matches(facts.reverse_path))


def match_recipient(patterns: Iterable[str], written: str) -> Condition:
    """``recipient: "*@bank.example"``."""
    wanted = AddressSet(patterns)
    return _on_envelope("recipient", written, lambda facts: wanted.matches(facts.recipient))


def match_proven(wanted: bool) -> Condition:
    """``proven: true``."""
    return _on_envelope("proven", _show_switch(wanted), lambda facts: facts.proven is wanted)


def match_tls(wanted: bool) -> Condition:
    """``tls: true``."""
    return _on_envelope("tls", _show_switch(wanted), lambda facts: facts.tls is wanted)


def match_sender(patterns: Iterable[str], written: str) -> Condition:
    """``sender: "*@acme.example"``: one of the From addresses."""
    wanted = AddressSet(patterns)

    def test(message: MessageFacts) -> bool:
        senders: tuple[Address, ...] = message.senders
        return any(wanted.matches(sender) for sender in senders)

    return _on_message("sender", written, test)


def match_header(name: str, patterns: Iterable[str], written: str) -> Condition:
    """``header: {Subject: "*[secure]*"}``: one field of that name fits one pattern."""
    key = name.lower()
    globs = tuple(Glob(pattern) for pattern in patterns)

    def test(message: MessageFacts) -> bool:
        values = message.headers.get(key, ())
        return any(glob.matches(value) for value in values for glob in globs)

    return _on_message(f"header.{name}", written, test)


def match_size(written: str) -> Condition:
    """``size: ">10MiB"``; raises :class:`ValueError` for what is no bound."""
    compare, octets = parse_bound(written)
    return _on_message("size", written, lambda message: compare(message.size, octets))


def match_kind(kinds: Iterable[str], written: str) -> Condition:
    """``kind: [plain, signed]``."""
    wanted = frozenset(kind for word in kinds for kind in KIND_GROUPS.get(word, (word,)))
    return _on_message("kind", written, lambda message: message.kind in wanted)


def match_verification(words: Iterable[Verification], written: str) -> Condition:
    """``verification: [fail, permerror]`` (RFC 8601 2.7)."""
    wanted = frozenset(words)
    return Condition(
        key="verification",
        stage=Stage.UNPROTECTED,
        written=written,
        test=lambda facts: facts.verification in wanted,
    )


KIND_WORDS = (*(str(kind) for kind in ContentKind), *KIND_GROUPS)
"""Every word that ``kind`` takes."""

_BOUND = re.compile(r"(>=|<=|>|<) ?(.+)")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def parse_bound(value: object) -> tuple[Callable[[int, int], bool], int]:
    """Read ``">10MiB"`` as a comparison and octets; raise :class:`ValueError`."""
    found = _BOUND.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("expected a bound like '>10MiB' or '<1KiB' (>, >=, <, <=)")
    return _COMPARE[found[1]], parse_size(found[2])


def _on_envelope(key: str, written: str, test: Callable[[EnvelopeFacts], bool]) -> Condition:
    return Condition(key=key, stage=Stage.RCPT, written=written, test=lambda facts: test(facts.envelope))


def _on_message(key: str, written: str, test: Callable[[MessageFacts], bool]) -> Condition:
    def on_facts(facts: Facts) -> bool:
        # The evaluation never asks before the message is there.
        return test(facts.message or _NO_MESSAGE)

    return Condition(key=key, stage=Stage.DATA, written=written, test=on_facts)


def _show_switch(value: bool) -> str:
    return "true" if value else "false"
