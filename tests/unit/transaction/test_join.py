"""Joining what happened to each recipient into one reply: the table of law 3."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outcome import Ending, Outcome
from gateway.policy import Direction
from gateway.transaction.join import join, may_report, spread_refusals
from tests.support.doubles import refusal
from tests.unit.transaction.company import state

OK = Ending(Outcome.ACCEPTED, refusal(250, "2.0.0 queued"))
HAD = Ending(Outcome.ACCEPTED)
BUSY = Ending.by_upstream(refusal(450, "4.2.0 busy"))
LOOKUP = Ending(Outcome.LOOKUP_UNAVAILABLE)
NO = Ending.by_upstream(refusal(550, "5.1.1 no such user"))
POLICY = Ending(Outcome.REJECTED_BY_POLICY)
CAP = Ending(Outcome.TOO_MANY_COPIES)


def states(*endings: Ending | None, direction: Direction = Direction.OUTBOUND) -> list[Any]:
    made = [state(number, direction=direction) for number in range(len(endings))]
    for one, ending in zip(made, endings, strict=True):
        one.ending = ending
    return made


@pytest.mark.parametrize(
    ("endings", "expected", "reportable"),
    [
        ((OK,), Outcome.ACCEPTED, ()),
        ((OK, HAD), Outcome.ACCEPTED, ()),
        ((BUSY,), BUSY, ()),
        ((NO,), NO, ()),
        ((NO, BUSY), BUSY, ()),
        ((POLICY, NO), NO, ()),
        ((LOOKUP, BUSY), BUSY, ()),
        ((POLICY, LOOKUP), LOOKUP, ()),
        ((OK, BUSY), BUSY, ()),
        ((OK, LOOKUP, NO), LOOKUP, ()),
        ((OK, CAP), CAP, ()),
        ((OK, NO), NO, (1,)),
        ((POLICY, OK, NO), NO, (0, 2)),
        ((HAD, POLICY), POLICY, (1,)),
    ],
    ids=lambda part: (
        ("-".join(ending.outcome.label for ending in part) if part and isinstance(part[0], Ending) else "x")
        if isinstance(part, tuple)
        else "x"
    ),
)
def test_the_table(endings: tuple[Ending, ...], expected: Any, reportable: tuple[int, ...]) -> None:
    """Transient before permanent, the upstream's words before ours; a report only beside deliveries."""
    joined = join(states(*endings))
    if isinstance(expected, Ending):
        assert joined.ending == expected
    else:
        assert joined.ending.outcome is expected
    assert tuple(one.number for one in joined.reportable) == reportable


def test_everybody_has_ended() -> None:
    """Joining with somebody open would be a bug: it does not give a reply."""
    for open_ones in ((), (None,), (OK, None)):
        with pytest.raises(AssertionError):
            join(states(*open_ones))


ALL = [Ending(outcome) for outcome in Outcome] + [OK, BUSY, NO]


@given(st.lists(st.sampled_from(ALL), min_size=1, max_size=6))
def test_what_joining_never_does(endings: list[Ending]) -> None:
    """250 only where everybody has it; 5yz only where nothing could be gained by trying again."""
    joined = join(states(*endings))
    assert (joined.ending.outcome is Outcome.ACCEPTED) is all(one.outcome is Outcome.ACCEPTED for one in endings)
    if joined.ending.outcome.is_permanent:
        assert not any(one.outcome.is_transient for one in endings)
    else:
        assert joined.reportable == ()


def test_the_reply_does_not_depend_on_the_order() -> None:
    """Of recipients; all permutations of three give one reply."""
    for endings in itertools.permutations((POLICY, LOOKUP, BUSY)):
        assert join(states(*endings)).ending == BUSY


# ---------------------------------------------------------------- before anything is sent


@pytest.mark.parametrize(
    ("endings", "can_report", "spread"),
    [
        ((None, None), False, None),
        ((None, LOOKUP), False, LOOKUP),
        ((None, LOOKUP), True, LOOKUP),
        ((None, POLICY), False, POLICY),
        ((None, POLICY), True, None),
        ((None, POLICY, BUSY), True, BUSY),
        ((None, CAP), False, None),
        ((None, CAP, POLICY), False, POLICY),
        ((None, CAP, POLICY), True, None),
        ((None, HAD), False, None),
        ((None, HAD, NO), False, NO),
    ],
)
def test_what_ends_the_open_ones_too(endings: Any, can_report: bool, spread: Ending | None) -> None:
    """A transient refusal defers all, a permanent one is for all where no report can tell it; the cap never spreads."""
    made = states(*endings)
    spread_refusals(made, can_report=can_report)
    assert made[0].ending == spread
    assert [one.ending for one in made[1:]] == list(endings[1:])


@pytest.mark.parametrize("is_sender_ours", [True, False])
@pytest.mark.parametrize("has_route", [True, False])
@pytest.mark.parametrize("direction", Direction)
def test_when_a_report_may_be_sent(is_sender_ours: bool, has_route: bool, direction: Direction) -> None:
    """By a route, to a sender of ours, and never where a recipient is inbound."""
    made = [*states(OK), *states(NO, direction=direction)]
    expected = is_sender_ours and has_route and direction is not Direction.INBOUND
    assert may_report(made, is_sender_ours=is_sender_ours, has_route=has_route) is expected
