"""The delivery journal as one transaction uses it: claims are always settled, keys are made when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.errors import MimeError
from gateway.outcome import Ending, Outcome
from gateway.transaction.claims import Claims
from gateway.transaction.ports import Delivery, JournalError
from gateway.transaction.state import RecipientState
from tests.support.doubles import JournalDouble, run
from tests.unit.transaction.company import state

A, B, C = b"a", b"b", b"c"


class Case:
    """Three recipients, a journal, and how often keys were made."""

    def __init__(self, **acts: Any) -> None:
        self.journal = JournalDouble(acts)
        self.states = [state(number) for number in range(3)]
        self.made = 0
        self.failures: list[Exception] = []
        self.claims = Claims(self.journal, self._make, self.failures.append)

    def _make(self) -> Mapping[int, bytes]:
        self.made += 1
        return {0: A, 1: B, 2: C}

    def end(self, *outcomes: Outcome | None) -> list[RecipientState]:
        for one, outcome in zip(self.states, outcomes, strict=True):
            one.ending = Ending(outcome) if outcome else None
        return self.states


OK, BUSY = Outcome.ACCEPTED, Outcome.UPSTREAM_TRANSIENT


def test_what_is_claimed_is_settled_once() -> None:
    """Each recipient by his own ending; settling again, or those who were never claimed, writes nothing."""
    case = Case()

    async def main() -> None:
        assert await case.claims.claim(case.states[:2]) is None
        assert case.journal.rows == {A: Delivery.RUNNING, B: Delivery.RUNNING}
        case.end(OK, BUSY, OK)
        await case.claims.settle(case.states)
        assert case.journal.rows == {A: Delivery.ACCEPTED}
        await case.claims.settle(case.states)

    run(main())
    assert case.journal.calls == ["claim", "settle"]
    assert case.made == 1


@pytest.mark.parametrize(
    ("act", "outcome"),
    [(False, Outcome.ATTEMPT_RUNNING), (JournalError("full"), Outcome.JOURNAL_UNAVAILABLE)],
    ids=["refused", "unavailable"],
)
def test_what_could_not_be_claimed_is_not_settled(act: Any, outcome: Outcome) -> None:
    """It belongs to somebody else, or was not written."""
    case = Case(claim=act)

    async def main() -> None:
        assert await case.claims.claim(case.states) is outcome
        await case.claims.settle(case.end(BUSY, BUSY, BUSY))

    run(main())
    assert case.journal.calls == ["claim"]


def test_keys_are_not_made_without_need() -> None:
    """A journal that is empty for certain costs nothing."""
    case = Case(may_hold_any=False)
    run(case.claims.skip_delivered(case.states))
    run(case.claims.settle(case.end(OK, OK, OK)))
    assert (case.made, case.journal.calls, case.claims.has_history) == (0, [], False)


@pytest.mark.parametrize(
    ("known", "endings", "history"),
    [
        ({}, (None, None, None), False),
        ({A: Delivery.ACCEPTED}, (OK, None, None), True),
        ({B: Delivery.ABANDONED}, (None, None, None), True),
        ({A: Delivery.ACCEPTED, C: Delivery.RUNNING}, (Outcome.ATTEMPT_RUNNING,) * 3, True),
    ],
)
def test_who_is_skipped(known: dict[bytes, Delivery], endings: tuple[Any, ...], history: bool) -> None:
    """Only who has it for certain; a running attempt holds everybody up."""
    case = Case(may_hold_any=True)
    case.journal.rows = known
    run(case.claims.skip_delivered(case.states))
    assert tuple(one.ending and one.ending.outcome for one in case.states) == endings
    assert case.claims.has_history is history


def test_what_is_remembered() -> None:
    """Only who has accepted, though nothing was claimed."""
    case = Case()
    run(case.claims.remember(case.end(OK, BUSY, OK)))
    assert case.journal.rows == {A: Delivery.ACCEPTED, C: Delivery.ACCEPTED}


def test_what_is_forgotten() -> None:
    """Who was skipped, claimed or remembered and has accepted; nothing in doubt, and nobody twice."""
    case = Case(may_hold_any=True)
    case.journal.rows = {A: Delivery.ACCEPTED}

    async def main() -> None:
        await case.claims.skip_delivered(case.states)
        assert await case.claims.claim(case.states[1:]) is None
        case.end(OK, OK, BUSY)
        await case.claims.settle(case.states[1:2])
        await case.claims.remember(case.states[:2])
        await case.claims.forget()

    run(main())
    assert case.journal.rows == {C: Delivery.RUNNING}
    assert case.journal.calls == ["read", "claim", "settle", "settle", "forget"]


def test_nothing_to_forget_costs_nothing() -> None:
    """An ordinary message: no key is made, and the journal is not called."""
    case = Case(may_hold_any=False)
    run(case.claims.skip_delivered(case.end(OK, OK, OK)))
    run(case.claims.forget())
    assert (case.made, case.journal.calls) == (0, [])
    case = Case()
    run(case.claims.remember(case.end(BUSY, BUSY, BUSY)))
    run(case.claims.forget())
    assert case.journal.calls == []


@pytest.mark.parametrize("error", [JournalError("full"), ZeroDivisionError()], ids=["unavailable", "a bug"])
def test_forgetting_never_raises(error: Exception) -> None:
    """The client has its 250; a journal that cannot forget keeps what it knows. Only a bug is told from here."""
    case = Case(forget=error)
    run(case.claims.remember(case.end(OK, BUSY, OK)))
    run(case.claims.forget())
    assert case.journal.rows == {A: Delivery.ACCEPTED, C: Delivery.ACCEPTED}
    assert case.failures == ([] if isinstance(error, JournalError) else [error])


def test_writing_never_raises() -> None:
    """The upstream has spoken by then: whatever goes wrong is told, and the reply stays."""
    bug = ZeroDivisionError()
    case = Case(settle=[JournalError("full"), bug])
    run(case.claims.remember(case.end(OK, OK, OK)))
    run(case.claims.remember(case.states))
    assert case.failures == [bug]

    def unreadable() -> Mapping[int, bytes]:
        raise MimeError("too long")

    claims = Claims(case.journal, unreadable, case.failures.append)
    run(claims.remember(case.states))
    run(claims.forget())
    assert [type(one) for one in case.failures] == [ZeroDivisionError, MimeError]
