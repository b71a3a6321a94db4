"""The states of a transaction: which follows which, and that the pipeline makes no other move."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.outcome import Ending, Outcome
from gateway.policy import Reason
from gateway.transaction.state import FOLLOWERS, State
from tests.unit.transaction.company import CAROL, Company, message, path, state


def test_every_state_leads_to_the_end() -> None:
    """From each state a transaction can end, and after the end nothing follows."""
    assert set(FOLLOWERS) == set(State)
    assert all(State.ENDED in followers for one, followers in FOLLOWERS.items() if one is not State.ENDED)
    assert FOLLOWERS[State.ENDED] == frozenset()


def test_states_follow_in_one_order() -> None:
    """Each state but the last has one successor beside the end, and no way leads back."""
    way = [State.PROBE]
    while following := FOLLOWERS[way[-1]] - {State.ENDED}:
        [successor] = following
        way.append(successor)
    assert way == [State.PROBE, State.PLAN, State.BUILD, State.COMMIT, State.SETTLE]


def test_the_docstring_draws_the_states_that_are() -> None:
    """The drawing names each of them."""
    from gateway.transaction import state as module

    assert all(one.name in (module.__doc__ or "") for one in State)


def test_the_mail_data_cannot_come_twice() -> None:
    """A second final dot in one transaction would be a bug of the session's: nothing is sent for it."""
    company = Company()

    async def main() -> Any:
        transaction = company.begin()
        await transaction.mail()
        await transaction.rcpt(path(CAROL))
        await transaction.content(message(CAROL), 0.0)
        with pytest.raises(AssertionError, match="no way from ended"):
            await transaction.content(message(CAROL), 0.0)

    company.run(main())
    assert len(company.upstream.dots) == 1


def test_a_recipient_is_refused_with_its_reason() -> None:
    """And has then not accepted."""
    one = state()
    assert (one.ending, one.reason, one.has_accepted) == (None, None, False)
    one.refuse(Outcome.PROTECTION_IMPOSSIBLE, Reason.NO_CERTIFICATE)
    assert (one.ending, one.reason, one.has_accepted) == (
        Ending(Outcome.PROTECTION_IMPOSSIBLE),
        Reason.NO_CERTIFICATE,
        False,
    )
    one.ending = Ending(Outcome.ACCEPTED)
    assert one.has_accepted
