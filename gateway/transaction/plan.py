"""From decisions and materials to groups: which recipients share an outgoing message, and what is done with it.

Pure. Recipients with the same work form one group, each group one outgoing message. A recipient named in no visible
field (Bcc) never shares an EnvelopedData with others: it gets a copy of its own, over the same ciphertext, and the
number of such copies is capped (the rest hears 452 4.5.3 and is tried again).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.limits import Limits
from gateway.outcome import Outcome
from gateway.policy import Reason
from gateway.smime import RecipientCertificate, SignedForm, SigningIdentity, Unprotected
from gateway.transaction.state import RecipientState


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done with the message for one recipient, everything needed in hand."""

    signer: SigningIdentity | None = field(default=None, repr=False)
    """Who signs; ``None``: not signed by us."""
    form: SignedForm = SignedForm.CLEAR
    certificates: tuple[RecipientCertificate, ...] = field(default=(), repr=False)
    """This recipient's certificates to encrypt to; empty: not encrypted."""
    unprotected: Unprotected | None = field(default=None, repr=False)
    """What opening and verifying has found for this recipient's keys."""
    hands_on_opened: bool = False
    """Whether the opened message goes on in place of the one that came."""
    reports: bool = False
    """Whether an Authentication-Results field is written."""

    @property
    def protects(self) -> bool:
        """Whether it signs or encrypts."""
        return self.signer is not None or bool(self.certificates)

    @property
    def actions(self) -> tuple[str, ...]:
        """What is done, in words."""
        words = (
            ("sign", self.signer is not None),
            ("encrypt", bool(self.certificates)),
            ("decrypt", self.hands_on_opened),
            ("verify", self.reports),
        )
        return tuple(word for word, done in words if done) or ("pass",)

    @property
    def group_key(self) -> tuple[object, ...]:
        """Equal for recipients that can share one outgoing message."""
        signer = self.signer.certificate.sha256 if self.signer else None
        shown = id(self.unprotected) if self.reports or self.hands_on_opened else None
        return (signer, self.form, bool(self.certificates), shown, self.hands_on_opened, self.reports)


PASS = Work()
"""Handed on as it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One outgoing message and who gets it."""

    number: int
    work: Work = field(repr=False)
    """The work that all members share; ``certificates`` are those of all of them."""
    members: tuple[RecipientState, ...]
    """In the order of their RCPT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every outgoing message of a transaction, and whether the cap has put recipients off."""

    groups: tuple[Group, ...]
    has_put_off: bool
    """Some recipients hear 452 4.5.3 while others are served: a partial outcome by plan."""


def form_groups(works: Sequence[tuple[RecipientState, Work]], *, visible: frozenset[str], limits: Limits) -> Plan:
    """Form the groups of the recipients that are still open; number them and mark those over the cap as put off."""
    shared: dict[tuple[object, ...], list[tuple[RecipientState, Work]]] = {}
    hidden: set[str] = set()
    put_off = False
    for state, work in works:
        key = work.group_key
        address = state.recipient.address.key
        if work.certificates and address not in visible:
            if address not in hidden and len(hidden) >= limits.hidden_copies:
                state.refuse(Outcome.TOO_MANY_COPIES, Reason.TOO_MANY_COPIES)
                put_off = True
                continue
            hidden.add(address)
            # By the address: a client that names a recipient twice does not make him two messages.
            key = (*key, address)
        shared.setdefault(key, []).append((state, work))
    groups = tuple(_group(number, members) for number, members in enumerate(shared.values()))
    return Plan(groups=groups, has_put_off=put_off)


def _group(number: int, members: list[tuple[RecipientState, Work]]) -> Group:
    first = members[0][1]
    for state, work in members:
        state.group = number
        state.actions = work.actions
    certificates = tuple(_distinct(one for _, work in members for one in work.certificates))
    work = Work(
        signer=first.signer,
        form=first.form,
        certificates=certificates,
        unprotected=first.unprotected,
        hands_on_opened=first.hands_on_opened,
        reports=first.reports,
    )
    return Group(number=number, work=work, members=tuple(state for state, _ in members))


def _distinct(certificates: Iterable[RecipientCertificate]) -> Iterable[RecipientCertificate]:
    return {one.certificate.sha256: one for one in certificates}.values()
