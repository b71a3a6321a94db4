"""Joining what happened to each recipient into the one reply that the client gets (law 3). Pure.

========================================  ====================================================================
all accepted                              250
none accepted                             the most telling reply: transient before permanent, the upstream's own
                                          words before ours
some accepted, others transient           that 4yz; the journal makes the retry skip those that have it
some accepted, others permanent           250 where a report can be sent to the sender, else the 5yz for all
========================================  ====================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.outcome import Ending, Outcome
from gateway.policy import Direction
from gateway.transaction.state import RecipientState


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The verdict over all recipients."""

    ending: Ending
    """What the client hears, unless a report takes its place."""
    reportable: tuple[RecipientState, ...] = ()
    """Recipients refused for good while others have the message: each needs a report, or the refusal goes to all."""


def join(states: Sequence[RecipientState]) -> Joined:
    """Join the endings of all recipients; every one has ended."""
    endings = [state.ending for state in states if state.ending is not None]
    assert endings
    assert len(endings) == len(states)
    refusals = [ending for ending in endings if ending.outcome is not Outcome.ACCEPTED]
    if not refusals:
        return Joined(ending=Ending(Outcome.ACCEPTED, endings[0].upstream if len(endings) == 1 else None))
    telling = min(refusals, key=_rank)
    if len(refusals) == len(endings) or telling.outcome.is_transient:
        return Joined(ending=telling)
    refused = tuple(state for state in states if state.ending is not None and state.ending.outcome.is_permanent)
    return Joined(ending=telling, reportable=refused)


def may_report(states: Sequence[RecipientState], *, is_sender_ours: bool, has_route: bool) -> bool:
    """Whether refusals of single recipients can be told to the sender by a report in place of a 5yz for all.

    Only outbound, where the sender is ours and proven: a report to anybody else would be backscatter.
    """
    return has_route and is_sender_ours and all(state.direction is not Direction.INBOUND for state in states)


def spread_refusals(states: Sequence[RecipientState], *, can_report: bool) -> None:
    """Before anything is sent: let a refusal that cannot stand beside deliveries end the open recipients too.

    A transient refusal defers everybody, since nothing is lost by trying all again and nothing has to be remembered. A
    permanent one goes to all where no report can tell it. Only the cap on copies puts single recipients off by design.
    """
    refusals = [
        state.ending
        for state in states
        if state.ending is not None and state.ending.outcome not in (Outcome.ACCEPTED, Outcome.TOO_MANY_COPIES)
    ]
    if not refusals:
        return
    telling = min(refusals, key=_rank)
    if telling.outcome.is_permanent and can_report:
        return
    for state in states:
        if state.ending is None:
            state.ending = telling


def _rank(ending: Ending) -> tuple[bool, bool, int]:
    return (ending.outcome.is_permanent, ending.upstream is None, _ORDER[ending.outcome])


_ORDER = {outcome: place for place, outcome in enumerate(Outcome)}
