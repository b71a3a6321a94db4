"""Who the sender of a message is, and whether a signer's certificate names that sender.

What it does: reads From, Sender and Reply-To of the outer header. RFC 8550 3 wants the signer's address compared with
From or Sender; a reader of mail sees one name, so everything that could make him see another name than the one compared
is *ambiguous*, and ambiguous is not a match: several From fields, several addresses in one, a From that cannot
be parsed, a display name that itself holds another address, a Sender that the certificate does not name, and a Reply-To
that it does not name behind a display name in From (the reader sees the name, and his answer goes elsewhere).

Known gaps: a list that adds its own Sender, and mail that honestly wants its answers elsewhere, are ambiguous too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.address import Address
from gateway.errors import MimeError
from gateway.mime import Field, HeaderSection, Mailbox, decode_words, parse_mailboxes
from gateway.pkix import Certificate
from gateway.smime.words import Identity

_ADDRESS_IN_TEXT: Final = re.compile(r"[^\s<>()\[\]\"',;:@]{1,64}@[^\s<>()\[\]\"',;:@]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """The sender as the header section tells it."""

    address: Address | None
    """The one address of From; ``None`` when there is none or more than one reading."""
    ambiguous: bool = False
    """The header section does not say without doubt who it is."""
    others: tuple[Address, ...] = ()
    """Further addresses that a reader may take for the sender: Sender, Reply-To, and those inside the display name."""


def sender_of(header: HeaderSection) -> Sender:
    """Read the sender from the header section of a message."""
    froms = header.all("from")
    if not froms:
        return Sender(address=None)
    mailboxes = _mailboxes(froms[0])
    if len(froms) > 1 or mailboxes is None or len(mailboxes) > 1:
        return Sender(address=None, ambiguous=True)
    if not mailboxes:
        return Sender(address=None)
    others = list(_addresses_in(mailboxes[0].display_name))
    for field in _further_fields(header, mailboxes[0]):
        named = _mailboxes(field)
        if named is None:
            return Sender(address=mailboxes[0].address, ambiguous=True)
        others.extend(mailbox.address for mailbox in named)
    return Sender(address=mailboxes[0].address, others=tuple(others))


def judge_identity(sender: Sender, certificate: Certificate) -> Identity:
    """Compare the sender with the addresses of a certificate."""
    if sender.ambiguous:
        return Identity.AMBIGUOUS
    if sender.address is None or not certificate.emails:
        return Identity.ABSENT
    if not certificate.names(sender.address):
        return Identity.MISMATCH
    return Identity.MATCH if all(certificate.names(other) for other in sender.others) else Identity.AMBIGUOUS


def _further_fields(header: HeaderSection, author: Mailbox) -> tuple[Field, ...]:
    """The fields whose addresses a reader may take for the sender's."""
    return header.all("sender") + (header.all("reply-to") if author.display_name else ())


def _mailboxes(field: Field) -> tuple[Mailbox, ...] | None:
    """The mailboxes of a field; none for an empty one, ``None`` where it has no certain reading."""
    if not field.value:
        return ()
    try:
        return parse_mailboxes(field.body)
    except MimeError:
        return None


def _addresses_in(display_name: str) -> list[Address]:
    return [Address(found) for found in _ADDRESS_IN_TEXT.findall(decode_words(display_name))]
