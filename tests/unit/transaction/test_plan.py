"""Groups: who shares an outgoing message, who never does, and the cap on copies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits import Limits
from gateway.outcome import Outcome
from gateway.policy import Reason
from gateway.smime import Report, ResultWord, SignedForm, Unprotected
from gateway.transaction.plan import PASS, Plan, Work, form_groups
from gateway.transaction.state import RecipientState
from tests.unit.smime import agents
from tests.unit.transaction.company import ALICE, BOB, CAROL, ERIN, state

SIGN = Work(signer=agents.signer(agents.person(ALICE)))
LIMITS = Limits(hidden_copies=2)


def for_(*addresses: str) -> Work:
    """Return the work of encrypting to these."""
    return Work(certificates=tuple(agents.recipient(agents.person(address)) for address in addresses))


def plan_of(*works: tuple[str, Work], visible: tuple[str, ...] = (CAROL, ERIN)) -> tuple[Plan, list[RecipientState]]:
    states = [state(number, address) for number, (address, _) in enumerate(works)]
    pairs = [(one, work) for one, (_, work) in zip(states, works, strict=True)]
    return form_groups(pairs, visible=frozenset(visible), limits=LIMITS), states


def members(plan: Plan) -> list[list[int]]:
    return [[one.number for one in group.members] for group in plan.groups]


def unprotected() -> Unprotected:
    return Unprotected(report=Report(result=ResultWord.NONE), opened=b"x")


FIRST, SECOND = unprotected(), unprotected()


@pytest.mark.parametrize(
    ("one", "two", "share"),
    [
        (PASS, PASS, True),
        (PASS, SIGN, False),
        (SIGN, SIGN, True),
        (SIGN, Work(signer=agents.signer(agents.person(ALICE))), True),
        (SIGN, Work(signer=agents.signer(agents.person(BOB))), False),
        (SIGN, replace(SIGN, form=SignedForm.OPAQUE), False),
        (for_(CAROL), for_(ERIN), True),
        (for_(CAROL), PASS, False),
        (for_(CAROL), replace(for_(ERIN), signer=SIGN.signer), False),
        (PASS, Work(unprotected=FIRST), True),
        (Work(unprotected=FIRST, reports=True), Work(unprotected=FIRST, reports=True), True),
        (Work(unprotected=FIRST, reports=True), Work(unprotected=FIRST), False),
        (Work(unprotected=FIRST, reports=True), Work(unprotected=SECOND, reports=True), False),
        (Work(unprotected=FIRST, hands_on_opened=True), Work(unprotected=SECOND, hands_on_opened=True), False),
        (Work(unprotected=FIRST, hands_on_opened=True), Work(unprotected=FIRST, reports=True), False),
    ],
)
def test_who_shares_a_message(one: Work, two: Work, share: bool) -> None:
    """Equal work, and nothing that tells one what was found with the other's key."""
    plan, states = plan_of((CAROL, one), (ERIN, two))
    assert members(plan) == ([[0, 1]] if share else [[0], [1]])
    assert [one.group for one in states] == ([0, 0] if share else [0, 1])
    assert not plan.has_put_off


def test_a_group_encrypts_to_all_its_members_once() -> None:
    """Certificates of all, each once, in the order of their recipients."""
    plan, _ = plan_of((CAROL, for_(CAROL, BOB)), (ERIN, for_(BOB, ERIN)))
    [group] = plan.groups
    assert [one.certificate.emails[0] for one in group.work.certificates] == [CAROL, BOB, ERIN]


@pytest.mark.parametrize(
    ("work", "actions"),
    [
        (PASS, ("pass",)),
        (SIGN, ("sign",)),
        (for_(CAROL), ("encrypt",)),
        (replace(for_(CAROL), signer=SIGN.signer), ("sign", "encrypt")),
        (Work(unprotected=FIRST, hands_on_opened=True, reports=True), ("decrypt", "verify")),
        (Work(unprotected=FIRST, reports=True), ("verify",)),
        (Work(unprotected=FIRST), ("pass",)),
    ],
)
def test_what_is_done_in_words(work: Work, actions: tuple[str, ...]) -> None:
    """For the record."""
    _, [one] = plan_of((CAROL, work))
    assert one.actions == actions


def test_hidden_recipients_never_share_an_enveloped_data() -> None:
    """Not with visible ones, and not with each other; what is not encrypted they share."""
    hidden = ["h1@bank.example", "h2@bank.example"]
    plan, _ = plan_of((CAROL, for_(CAROL)), *((one, for_(one)) for one in hidden), (ERIN, for_(ERIN)))
    assert members(plan) == [[0, 3], [1], [2]]
    plan, _ = plan_of((CAROL, SIGN), *((one, SIGN) for one in hidden))
    assert members(plan) == [[0, 1, 2]]


def test_the_case_of_an_address_hides_nobody() -> None:
    """Who is named in To as erin@ and in RCPT as Erin@ is visible."""
    plan, _ = plan_of(("Carol@Bank.example", for_(CAROL)), (ERIN, for_(ERIN)))
    assert members(plan) == [[0, 1]]


def test_a_hidden_recipient_named_twice_is_one() -> None:
    """One message, one place under the cap."""
    plan, _ = plan_of(*((one, for_(BOB)) for one in ("h1@x.example", "H1@x.example", "h2@x.example", "h1@x.example")))
    assert members(plan) == [[0, 1, 3], [2]]
    assert not plan.has_put_off


def test_copies_beyond_the_cap_are_put_off() -> None:
    """452 4.5.3 for them; visible recipients and what needs no copy do not count."""
    hidden = [f"h{number}@bank.example" for number in range(4)]
    plan, states = plan_of((CAROL, for_(CAROL)), *((one, for_(one)) for one in hidden), (BOB, PASS))
    assert members(plan) == [[0], [1], [2], [5]]
    assert plan.has_put_off
    late = [one for one in states if one.ending is not None]
    assert [one.number for one in late] == [3, 4]
    assert {(one.ending and one.ending.outcome, one.reason) for one in late} == {
        (Outcome.TOO_MANY_COPIES, Reason.TOO_MANY_COPIES)
    }


def test_nobody_is_a_plan_too() -> None:
    """Without recipients there is nothing to send."""
    assert plan_of()[0] == Plan(groups=(), has_put_off=False)


WORKS = [PASS, SIGN, for_(CAROL), replace(for_(ERIN), signer=SIGN.signer), Work(unprotected=FIRST, reports=True)]


@given(st.lists(st.tuples(st.sampled_from([CAROL, ERIN, BOB, "h@x.example"]), st.integers(0, 4)), max_size=12))
def test_every_recipient_is_in_one_group_or_put_off(drawn: list[tuple[str, int]]) -> None:
    """And each group does for its members what was planned for each of them."""
    works = [(address, WORKS[place]) for address, place in drawn]
    plan, states = plan_of(*works)
    grouped = [number for group in members(plan) for number in group]
    put_off = [one.number for one in states if one.ending is not None]
    assert sorted(grouped + put_off) == list(range(len(works)))
    assert plan.has_put_off is bool(put_off)
    for group in plan.groups:
        for member in group.members:
            own = works[member.number][1]
            assert group.work.actions == own.actions == member.actions
            assert _digests(own) <= _digests(group.work)
            assert member.group == group.number


def _digests(work: Work) -> set[str]:
    return {one.certificate.sha256 for one in work.certificates}
