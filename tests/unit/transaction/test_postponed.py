"""A next hop that allows fewer connections than we would take: its messages go on those there are, in later rounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import UpstreamUnavailable
from gateway.outcome import Outcome
from gateway.transaction.ports import Delivery
from tests.support.doubles import BROKEN, SLOW, JournalDouble, Rule, Step, UpstreamDouble, refusal
from tests.unit.transaction.company import (
    CAROL,
    DEADLINE,
    ERIN,
    REQUIRED,
    TWO_GROUPS,
    Company,
    certificates,
    message,
)

HIDDEN = [f"hidden{number}@bank.example" for number in range(5)]
LIST = message("list@bank.example")
EVERYBODY = [CAROL, ERIN]
CONTENT = message(*EVERYBODY)
ACCEPTED, UNKNOWN = Delivery.ACCEPTED, Delivery.UNKNOWN
BUSY = refusal(450, "4.2.0 busy")
NO = refusal(550, "5.1.1 no such user")
DOWN = UpstreamUnavailable("refused")


def two_groups(*rules: Rule, allows: int | None = 1, **options: Any) -> Company:
    """Return a company that would take two connections for two messages, where the next hop allows one."""
    return Company(policy=TWO_GROUPS, upstream=UpstreamDouble(*rules, allows=allows), **options)


@pytest.mark.parametrize("connections", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("allows", [1, 2, 3, 4, 5])
def test_fewer_connections_than_we_would_take(allows: int, connections: int) -> None:
    """Everybody gets the message, and gets it once; nobody tries a connection for ever."""
    upstream = UpstreamDouble(connections=connections, allows=allows)
    company = Company(policy=REQUIRED, upstream=upstream, certificates=certificates(*HIDDEN))
    assert company.send(LIST, *HIDDEN).reply.code == 250
    assert upstream.recipients == HIDDEN
    assert max(0, min(5, connections) - allows) <= upstream.refused < 5
    assert company.known(LIST, *HIDDEN) == [ACCEPTED] * 5
    company.upstream = UpstreamDouble()
    assert company.send(LIST, *HIDDEN, confirms=True).reply.code == 250
    assert (company.upstream.dots, company.journal.rows) == ([], {})


def test_a_first_dot_that_is_refused_for_good_ends_the_postponed_ones() -> None:
    """Nobody has the message, so nobody gets a part of it: not even a connection is asked for."""
    company = two_groups(Rule(Step.DOT, NO))
    assert company.send(CONTENT, *EVERYBODY).reply == NO
    assert (len(company.upstream.dots), len(company.upstream.sessions)) == (1, 1)
    assert company.journal.rows == {}


@pytest.mark.parametrize("act", [BUSY, BROKEN], ids=["4yz", "broken"])
def test_a_first_dot_that_is_put_off_does_not_hold_up_the_postponed_ones(act: Any) -> None:
    """They are served in their turn; the retry serves the first one alone."""
    company = two_groups(Rule(Step.DOT, act, connection=0))
    assert company.send(CONTENT, *EVERYBODY).reply.code // 100 == 4
    assert company.upstream.recipients == [ERIN]
    assert company.known(CONTENT, *EVERYBODY) == [UNKNOWN, ACCEPTED]
    company.upstream = UpstreamDouble(allows=1)
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    assert company.upstream.recipients == [CAROL]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (Rule(Step.CONNECT, DOWN, connection=2), 451),
        (Rule(Step.BEGIN, BUSY, connection=2), 450),
        (Rule(Step.BEGIN, NO, connection=2), 550),
        (Rule(Step.BEGIN_RCPT, BUSY, path=ERIN), 450),
        (Rule(Step.DATA, BUSY, connection=2), 450),
        (Rule(Step.DATA, 7, connection=2), 451),
        (Rule(Step.DOT, BUSY, connection=2), 450),
        (Rule(Step.DOT, BROKEN, connection=2), 451),
    ],
    ids=lambda part: part.step.name.lower() if isinstance(part, Rule) else None,
)
def test_a_postponed_message_that_fails_in_its_turn(rule: Rule, code: int) -> None:
    """The first one has been accepted by then: the journal knows it, and the retry serves the other one alone."""
    company = two_groups(rule)
    assert company.send(CONTENT, *EVERYBODY).reply.code == code
    assert company.upstream.recipients == [CAROL]
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, UNKNOWN]
    company.upstream, company.failures = UpstreamDouble(allows=1), []
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    assert company.upstream.recipients == [ERIN]


def test_a_postponed_message_that_breaks_is_tried_once_more() -> None:
    """As any other (law 2)."""
    company = two_groups(Rule(Step.CONTENT, BROKEN, connection=2))
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    assert company.upstream.recipients == EVERYBODY


def test_a_further_connection_that_breaks_and_cannot_be_had_again() -> None:
    """Its second try is what is postponed; whom the first one refused is not asked for again."""
    upstream = UpstreamDouble(
        Rule(Step.BEGIN_RCPT, NO, connection=1, path=ERIN),
        Rule(Step.CONTENT, BROKEN, connection=1),
        Rule(Step.CONNECT, DOWN, connection=2),
    )
    other = "frank@partner.example"
    company = Company(policy=TWO_GROUPS, upstream=upstream, reports=UpstreamDouble())
    assert company.send(CONTENT, *EVERYBODY, other).reply.code == 250
    assert upstream.recipients == [CAROL, other]
    assert f"RCPT TO:<{ERIN}>" not in upstream.sessions[-1].commands


def test_the_first_message_is_not_postponed() -> None:
    """Without any connection nothing can be sent: all are deferred, and no dot is out."""
    rules = [Rule(Step.CONNECT, DOWN, connection=number) for number in (1, 2)]
    company = two_groups(Rule(Step.RESET, BROKEN, connection=0), *rules, allows=None)
    assert company.send(CONTENT, *EVERYBODY).outcome == Outcome.UPSTREAM_UNREACHABLE.label
    assert company.upstream.dots == []
    assert company.journal.rows == {}


def test_a_first_message_of_which_nobody_is_left_does_not_end_the_postponed_one() -> None:
    """It was refused for good and can be reported: the postponed one goes before any dot, with a report."""
    reports = UpstreamDouble()
    company = two_groups(Rule(Step.BEGIN_RCPT, NO, path=CAROL), reports=reports)
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    assert company.upstream.recipients == [ERIN]
    assert len(reports.accepted) == 1


@pytest.mark.parametrize("step", [Step.BEGIN, Step.DATA, Step.DOT], ids=lambda step: step.name.lower())
def test_a_postponed_message_is_waited_for(step: Step) -> None:
    """A dot is out by then, so time alone makes no failure (law 4)."""
    upstream = UpstreamDouble(Rule(step, SLOW, connection=2), allows=1)
    company = Company(policy=TWO_GROUPS, upstream=upstream)

    async def main() -> Any:
        delivery = asyncio.create_task(company.sending(CONTENT, *EVERYBODY))
        await upstream.is_waiting.wait()
        assert upstream.recipients == [CAROL]
        assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, Delivery.RUNNING]
        asyncio.get_running_loop().call_later(10 * DEADLINE, upstream.go_on)
        return await delivery

    assert company.run(main()).reply.code == 250
    assert upstream.recipients == EVERYBODY


def test_a_client_that_goes_before_the_first_dot_takes_the_postponed_ones_with_it() -> None:
    """Nothing is sent for anybody, and nothing is claimed."""
    upstream = UpstreamDouble(Rule(Step.CONTENT, SLOW, connection=0), allows=1)
    company = Company(policy=TWO_GROUPS, upstream=upstream)

    async def main() -> Any:
        transaction = company.begin()
        delivery = asyncio.create_task(company.sending(CONTENT, *EVERYBODY, transaction=transaction))
        await upstream.is_waiting.wait()
        transaction.is_client_gone = True
        upstream.go_on()
        return await delivery

    sent = company.run(main())
    assert {one.outcome for one in sent.record.recipients} == {Outcome.CLIENT_GONE.label}
    assert (upstream.dots, company.journal.calls) == ([], [])


def test_a_claim_that_is_refused_ends_the_postponed_ones() -> None:
    """Another attempt holds one of them: nothing is sent for anybody."""
    company = two_groups(journal=JournalDouble({"claim": False}))
    sent = company.send(CONTENT, *EVERYBODY)
    assert {one.outcome for one in sent.record.recipients} == {Outcome.ATTEMPT_RUNNING.label}
    assert company.upstream.dots == []
