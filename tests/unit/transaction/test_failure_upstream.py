"""What an upstream can do wrong at which step: the client's reply, who got the message, what the journal holds.

Rows: every step of an upstream by {4yz, 5yz, broken, slow, wrong type}, for one message to all and for two messages on
one and on two connections. After each row the client tries again, if it would, against an upstream that works: every
recipient then has the message, and nobody twice. This proves laws 1, 3 and 4.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import UpstreamUnavailable
from gateway.outcome import Outcome
from gateway.transaction.ports import Delivery
from tests.support.doubles import BROKEN, SLOW, Rule, Step, UpstreamDouble, refusal
from tests.unit.transaction.company import (
    CAROL,
    DAVE,
    DAVE_REFUSED,
    DEADLINE,
    ERIN,
    PASS,
    TWO_GROUPS,
    Company,
    Sent,
    message,
)

BUSY = refusal(450, "4.2.0 busy")
NO = refusal(550, "5.1.1 no such user")
DOWN = UpstreamUnavailable("refused")
WRONG = 7

ACCEPTED, UNKNOWN = Delivery.ACCEPTED, Delivery.UNKNOWN
EVERYBODY = [CAROL, ERIN]
CONTENT = message(*EVERYBODY)


def rows(*table: tuple[Any, ...]) -> Any:
    """Parametrise by (step, connection, act, reply code, enhanced status, who got it)."""
    return pytest.mark.parametrize(
        ("step", "connection", "act", "code", "enhanced", "delivered"),
        [pytest.param(*row, id="-".join(_name(part) for part in row[:3])) for row in table],
    )


def _name(part: Any) -> str:
    if isinstance(part, Step):
        return part.name.lower()
    return {None: "each", BUSY: "4yz", NO: "5yz", DOWN: "unavailable", WRONG: "wrong type"}.get(part, str(part).lower())


def try_again(company: Company) -> Sent:
    """Let the client send the same message again, to an upstream that works now."""
    company.upstream, company.failures = UpstreamDouble(), []
    sent: Sent = company.send(CONTENT, *EVERYBODY)
    return sent


def assert_ended(
    company: Company, sent: Sent, step: Step, code: int, enhanced: str, delivered: list[str], act: Any
) -> None:
    """The client has heard this, exactly these have the message, and no dot was sent where nobody should have it."""
    assert (sent.reply.code, sent.reply.enhanced) == (code, enhanced)
    assert company.upstream.recipients == delivered
    if not delivered and step is not Step.DOT:
        assert company.upstream.dots == []
    if not delivered and act is NO:
        assert len(company.upstream.dots) <= 1
    assert len(company.failures) == (act is WRONG)
    if act in (BUSY, NO) and code == act.code:
        assert sent.reply.lines == act.lines


# ---------------------------------------------------------------- one message to all: it goes out on the probe


@rows(
    (Step.CONNECT, 0, DOWN, 451, "4.4.1", []),
    (Step.MAIL, 0, BUSY, 450, "4.2.0", []),
    (Step.MAIL, 0, NO, 550, "5.1.1", []),
    (Step.MAIL, 0, BROKEN, 451, "4.4.2", []),
    (Step.RCPT, 0, BUSY, 450, "4.2.0", []),
    (Step.RCPT, 0, NO, 550, "5.1.1", []),
    (Step.RCPT, 0, BROKEN, 451, "4.4.2", []),
    (Step.DATA, 0, BUSY, 450, "4.2.0", []),
    (Step.DATA, 0, NO, 550, "5.1.1", []),
    (Step.DATA, 0, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.DATA, None, BROKEN, 451, "4.4.2", []),
    (Step.DATA, 0, SLOW, 451, "4.4.1", []),
    (Step.DATA, 0, WRONG, 451, "4.3.0", []),
    (Step.CONTENT, 0, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.CONTENT, None, BROKEN, 451, "4.4.2", []),
    (Step.CONTENT, 0, SLOW, 451, "4.4.1", []),
    (Step.DOT, 0, BUSY, 450, "4.2.0", []),
    (Step.DOT, 0, NO, 550, "5.1.1", []),
    (Step.DOT, 0, BROKEN, 451, "4.4.2", []),
    (Step.DOT, 0, WRONG, 451, "4.3.0", []),
)
def test_one_message(step: Step, connection: int | None, act: Any, code: int, enhanced: str, delivered: Any) -> None:
    """One message has no partial outcome, so the journal stays empty; the retry delivers to all."""
    company = Company(policy=PASS, upstream=UpstreamDouble(Rule(step, act, connection=connection)))
    sent = company.send(CONTENT, *EVERYBODY)
    assert_ended(company, sent, step, code, enhanced, delivered, act)
    assert company.known(CONTENT, *EVERYBODY) == [UNKNOWN, UNKNOWN]
    assert company.journal.calls == []
    if code // 100 == 4:
        assert try_again(company).reply.code == 250
        assert company.upstream.recipients == EVERYBODY


def test_a_recipient_refused_at_rcpt_does_not_hold_up_the_others() -> None:
    """The client hears the upstream's own words at that RCPT, and the message goes on the probe to the others."""
    company = Company(upstream=UpstreamDouble(Rule(Step.RCPT, NO, path=CAROL)))
    sent = company.send(CONTENT, *EVERYBODY)
    assert [reply.code for reply in sent.rcpt] == [550, 250]
    assert sent.rcpt[0] == NO
    assert sent.reply.code == 250
    assert company.upstream.recipients == [ERIN]
    assert len(company.upstream.sessions) == 1


def test_a_probe_that_breaks_between_two_recipients_is_opened_again() -> None:
    """Who was accepted before it broke gets the message on a new connection; the other was told to try again."""
    company = Company(upstream=UpstreamDouble(Rule(Step.RCPT, BROKEN, path=ERIN)))
    sent = company.send(CONTENT, *EVERYBODY)
    assert [reply.code for reply in sent.rcpt] == [250, 451]
    assert sent.reply.code == 250
    assert company.upstream.recipients == [CAROL]


def test_a_probe_that_breaks_and_cannot_be_opened_again() -> None:
    """Nothing was sent."""
    upstream = UpstreamDouble(Rule(Step.CONTENT, BROKEN, connection=0), Rule(Step.CONNECT, DOWN, connection=1))
    company = Company(upstream=upstream)
    assert company.send(CONTENT, *EVERYBODY).outcome == "upstream-unreachable"
    assert upstream.dots == []


def test_what_a_first_try_refused_is_not_asked_for_in_the_second() -> None:
    """A connection breaks after it has refused one recipient: he is not in the envelope of the second try.

    The upstream might take him there, and he would have the message beside a report that he has not.
    """
    upstream = UpstreamDouble(
        Rule(Step.BEGIN_RCPT, NO, connection=0, path=CAROL), Rule(Step.CONTENT, BROKEN, connection=0)
    )
    company = Company(policy=DAVE_REFUSED, upstream=upstream, reports=UpstreamDouble())
    assert company.send(CONTENT, DAVE, *EVERYBODY).reply.code == 250
    assert upstream.recipients == [ERIN]
    assert f"RCPT TO:<{CAROL}>" not in upstream.sessions[1].commands


# ---------------------------------------------------------------- two messages, each on its own connection


@rows(
    (Step.RESET, 0, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.RESET, 0, SLOW, 451, "4.4.1", []),
    (Step.CONNECT, 1, DOWN, 250, "2.0.0", EVERYBODY),
    (Step.CONNECT, 1, SLOW, 451, "4.4.1", []),
    (Step.BEGIN, 0, BUSY, 450, "4.2.0", []),
    (Step.BEGIN, 1, BUSY, 450, "4.2.0", []),
    (Step.BEGIN, 1, NO, 550, "5.1.1", []),
    (Step.BEGIN, 1, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.BEGIN, None, BROKEN, 451, "4.4.2", []),
    (Step.BEGIN, 1, SLOW, 451, "4.4.1", []),
    (Step.BEGIN, 1, WRONG, 451, "4.3.0", []),
    (Step.BEGIN_RCPT, 0, BUSY, 450, "4.2.0", []),
    (Step.BEGIN_RCPT, 1, NO, 550, "5.1.1", []),
    (Step.BEGIN_RCPT, 1, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.BEGIN_RCPT, 1, SLOW, 451, "4.4.1", []),
    (Step.DATA, 0, BUSY, 450, "4.2.0", []),
    (Step.DATA, 1, NO, 550, "5.1.1", []),
    (Step.DATA, 1, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.DATA, None, BROKEN, 451, "4.4.2", []),
    (Step.DATA, 1, SLOW, 451, "4.4.1", []),
    (Step.CONTENT, 0, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.CONTENT, None, BROKEN, 451, "4.4.2", []),
    (Step.CONTENT, 0, SLOW, 451, "4.4.1", []),
    (Step.DOT, 0, BUSY, 450, "4.2.0", [ERIN]),
    (Step.DOT, 1, BUSY, 450, "4.2.0", [CAROL]),
    (Step.DOT, None, BUSY, 450, "4.2.0", []),
    (Step.DOT, 0, NO, 550, "5.1.1", []),
    (Step.DOT, 1, NO, 550, "5.1.1", [CAROL]),
    (Step.DOT, None, NO, 550, "5.1.1", []),
    (Step.DOT, 0, BROKEN, 451, "4.4.2", [ERIN]),
    (Step.DOT, 1, BROKEN, 451, "4.4.2", [CAROL]),
    (Step.DOT, None, BROKEN, 451, "4.4.2", []),
    (Step.DOT, 1, WRONG, 451, "4.3.0", [CAROL]),
    (Step.DOT, 0, WRONG, 451, "4.3.0", []),
)
def test_two_messages(step: Step, connection: int | None, act: Any, code: int, enhanced: str, delivered: Any) -> None:
    """Before the first dot all or nothing; after it the journal knows who has it, and the retry serves the others."""
    company = Company(policy=TWO_GROUPS, upstream=UpstreamDouble(Rule(step, act, connection=connection)))
    sent = company.send(CONTENT, *EVERYBODY)
    assert_ended(company, sent, step, code, enhanced, delivered, act)
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED if one in delivered else UNKNOWN for one in EVERYBODY]
    assert try_again(company).reply.code == 250
    assert company.upstream.recipients == [one for one in EVERYBODY if one not in delivered]
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, ACCEPTED]


# ---------------------------------------------------------------- two messages, one after the other


@rows(
    (Step.RESET, 0, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.BEGIN, 0, BUSY, 450, "4.2.0", []),
    (Step.BEGIN, 0, NO, 550, "5.1.1", []),
    (Step.BEGIN, 0, SLOW, 451, "4.4.1", []),
    (Step.DATA, 0, BUSY, 450, "4.2.0", []),
    (Step.CONTENT, 0, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.DOT, 0, BUSY, 450, "4.2.0", [ERIN]),
    (Step.DOT, 0, NO, 550, "5.1.1", []),
    (Step.DOT, 0, BROKEN, 451, "4.4.2", [ERIN]),
    (Step.CONNECT, 1, DOWN, 451, "4.4.1", [CAROL]),
    (Step.BEGIN, 1, BUSY, 450, "4.2.0", [CAROL]),
    (Step.BEGIN, 1, NO, 550, "5.1.1", [CAROL]),
    (Step.BEGIN, 1, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.BEGIN_RCPT, 1, BUSY, 450, "4.2.0", [CAROL]),
    (Step.BEGIN_RCPT, 1, NO, 550, "5.1.1", [CAROL]),
    (Step.DATA, 1, BUSY, 450, "4.2.0", [CAROL]),
    (Step.DATA, 1, NO, 550, "5.1.1", [CAROL]),
    (Step.DATA, 1, WRONG, 451, "4.3.0", [CAROL]),
    (Step.CONTENT, 1, BROKEN, 250, "2.0.0", EVERYBODY),
    (Step.DOT, 1, BUSY, 450, "4.2.0", [CAROL]),
    (Step.DOT, 1, NO, 550, "5.1.1", [CAROL]),
    (Step.DOT, 1, BROKEN, 451, "4.4.2", [CAROL]),
    (Step.DOT, 1, WRONG, 451, "4.3.0", [CAROL]),
)
def test_two_rounds(step: Step, connection: int | None, act: Any, code: int, enhanced: str, delivered: Any) -> None:
    """With one connection the second message begins after the first's dot; nothing stays claimed, whatever happens."""
    upstream = UpstreamDouble(Rule(step, act, connection=connection), connections=1)
    company = Company(policy=TWO_GROUPS, upstream=upstream)
    sent = company.send(CONTENT, *EVERYBODY)
    assert_ended(company, sent, step, code, enhanced, delivered, act)
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED if one in delivered else UNKNOWN for one in EVERYBODY]
    assert try_again(company).reply.code == 250
    assert company.upstream.recipients == [one for one in EVERYBODY if one not in delivered]


def test_a_first_round_of_which_nothing_is_left_does_not_end_the_second() -> None:
    """The first message is refused to the last recipient and can be reported: the second one goes out all the same."""
    reports = UpstreamDouble()
    upstream = UpstreamDouble(Rule(Step.BEGIN_RCPT, NO, path=CAROL), connections=1)
    company = Company(policy=TWO_GROUPS, upstream=upstream, reports=reports)
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    assert upstream.recipients == [ERIN]
    assert len(reports.accepted) == 1


@pytest.mark.parametrize("step", [Step.BEGIN, Step.DATA, Step.DOT], ids=lambda step: step.name.lower())
def test_time_alone_makes_no_temporary_failure_after_the_first_dot(step: Step) -> None:
    """However long the second message takes once the first one's dot is out, its reply is waited for (law 4)."""
    upstream = UpstreamDouble(Rule(step, SLOW, connection=1), connections=1)
    company = Company(policy=TWO_GROUPS, upstream=upstream)

    async def main() -> Any:
        delivery = asyncio.create_task(company.sending(CONTENT, *EVERYBODY))
        await upstream.is_waiting.wait()
        assert upstream.recipients == [CAROL]
        asyncio.get_running_loop().call_later(10 * DEADLINE, upstream.go_on)
        return await delivery

    sent = company.run(main())
    assert sent.reply.code == 250
    assert sent.record.seconds >= 10 * DEADLINE
    assert upstream.recipients == EVERYBODY


def test_the_only_dot_is_waited_for() -> None:
    """The same for one message: a slow reply to its dot is not a failure."""
    upstream = UpstreamDouble(Rule(Step.DOT, SLOW))
    company = Company(upstream=upstream)

    async def main() -> Any:
        asyncio.get_running_loop().call_later(10 * DEADLINE, upstream.go_on)
        return await company.sending(CONTENT, *EVERYBODY)

    assert company.run(main()).reply.code == 250


def test_a_deadline_passes_when_it_says() -> None:
    """Before the first dot the client hears 451 in its time, not an upstream's time later."""
    company = Company(policy=TWO_GROUPS, upstream=UpstreamDouble(Rule(Step.DATA, SLOW)), deadline=90.0)
    sent = company.send(CONTENT, *EVERYBODY)
    assert (sent.outcome, sent.record.seconds) == (Outcome.DEADLINE_EXCEEDED.label, 90.0)
