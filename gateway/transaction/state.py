"""The states of a mail transaction, and what is known of each recipient on the way.

::

    PROBE ──▶ PLAN ──▶ BUILD ──▶ COMMIT ──▶ SETTLE ──▶ ENDED
      │        │         │         │
      └────────┴─────────┴─────────┴──▶ ENDED      before the first final dot: nothing was sent, a failure is 4yz or 5yz

PROBE   MAIL and every RCPT are put to the upstream as they come; the mail data are received
PLAN    classify, evaluate the policy per recipient, gather keys and certificates, form groups
BUILD   make every outgoing message and check it
COMMIT  send every group up to its final dot, then the dots
SETTLE  join the replies, write the journal, report
ENDED   the client has its reply, or is gone; the record is written

All transitions are made in :mod:`gateway.transaction.pipeline` and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.envelope import Recipient
from gateway.outcome import Ending, Outcome
from gateway.policy import Decision, Direction, Reason


class State(StrEnum):
    """Where a transaction stands."""

    PROBE = "probe"
    PLAN = "plan"
    BUILD = "build"
    COMMIT = "commit"
    SETTLE = "settle"
    ENDED = "ended"


FOLLOWERS: dict[State, frozenset[State]] = {
    State.PROBE: frozenset({State.PLAN, State.ENDED}),
    State.PLAN: frozenset({State.BUILD, State.ENDED}),
    State.BUILD: frozenset({State.COMMIT, State.ENDED}),
    State.COMMIT: frozenset({State.SETTLE, State.ENDED}),
    State.SETTLE: frozenset({State.ENDED}),
    State.ENDED: frozenset(),
}
"""Which state may follow which."""


@dataclass(slots=True, kw_only=True)
class RecipientState:
    """One recipient's way through the transaction. Mutable; owned by its transaction alone."""

    number: int
    """Place among the transaction's RCPTs, from 0, the refused ones included."""
    recipient: Recipient
    direction: Direction
    decision: Decision | None = None
    """The last evaluation's; ``None`` while undecided."""
    reason: Reason | None = None
    """Why it came out as it did; the last word."""
    notes: list[Reason] = field(default_factory=list)
    """Further reasons: what was skipped or found on the way."""
    actions: tuple[str, ...] = ()
    """What was done with its message: ``sign encrypt decrypt verify pass reject``."""
    group: int | None = None
    """Number of the outgoing message it shares."""
    ending: Ending | None = None
    """How it ended; ``None`` while open."""

    @property
    def has_accepted(self) -> bool:
        """Whether the upstream has accepted the message for it, now or at an earlier attempt."""
        return self.ending is not None and self.ending.outcome is Outcome.ACCEPTED

    def refuse(self, outcome: Outcome, reason: Reason) -> None:
        """End it before anything was sent for it."""
        self.ending = Ending(outcome)
        self.reason = reason
