"""What a transaction has to know of a message before it decides: one pass over its header section, and its kind.

Pure. Raises :class:`~gateway.errors.MimeError` where a message is not readable within the limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.address import Address
from gateway.errors import MimeError
from gateway.limits import Limits
from gateway.mime import Entity, HeaderSection, decode_words, parse_entity, parse_mailboxes
from gateway.policy import MessageFacts
from gateway.smime import Classification, classify_entity, count_own_visits

VISIBLE_FIELDS = ("To", "Cc", "Resent-To", "Resent-Cc")
"""Fields that show a recipient to the others; Bcc does not (RFC 5322 3.6.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A message, examined."""

    content: bytes = field(repr=False)
    entity: Entity = field(repr=False)
    """It as a MIME entity, with all its parts."""
    classification: Classification
    facts: MessageFacts
    """What the policy may know."""
    senders: tuple[Address, ...]
    """The addresses of every From field; empty where one cannot be read."""
    visible: frozenset[str]
    """Keys of the addresses named in To, Cc, Resent-To and Resent-Cc."""
    is_looping: bool

    @property
    def header(self) -> HeaderSection:
        """The header section of the message."""
        return self.entity.header


def examine(content: bytes, *, limits: Limits, secret: bytes, hostname: str) -> Examined:
    """Examine a message; ``secret`` and ``hostname`` make our own trace and marks known."""
    entity = parse_entity(content, limits=limits)
    header = entity.header
    received = [one.value for one in header.all("Received")]
    visits = count_own_visits(received, secret, hostname)
    classification = classify_entity(entity, limits)
    senders = _addresses_or_none(header, "From")
    return Examined(
        content=content,
        entity=entity,
        classification=classification,
        facts=MessageFacts(
            senders=senders, headers=_Headers(header), size=len(content), kind=classification.kind.value
        ),
        senders=senders,
        visible=frozenset(_visible(header)),
        is_looping=len(received) > limits.received_fields or visits >= limits.own_visits,
    )


def _addresses_or_none(header: HeaderSection, name: str) -> tuple[Address, ...]:
    try:
        return tuple(box.address for one in header.all(name) for box in parse_mailboxes(one.body))
    except MimeError:
        return ()


def _visible(header: HeaderSection) -> Iterator[str]:
    for name in VISIBLE_FIELDS:
        for one in header.all(name):
            # A field that cannot be read shows nobody for sure: its recipients get copies of their own.
            try:
                yield from (box.address.key for box in parse_mailboxes(one.body))
            except MimeError:
                continue


class _Headers(Mapping[str, tuple[str, ...]]):
    """The fields by lower-case name, decoded when a rule asks."""

    def __init__(self, header: HeaderSection) -> None:
        self._header = header

    def __getitem__(self, name: str) -> tuple[str, ...]:
        values = tuple(decode_words(one.value) for one in self._header.all(name))
        if not values:
            raise KeyError(name)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(one.key for one in self._header.fields))

    def __len__(self) -> int:
        return len({one.key for one in self._header.fields})
