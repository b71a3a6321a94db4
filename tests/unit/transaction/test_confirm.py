"""When the journal forgets: the client has been told 250 for all, so the same octets again are another message.

Until then they are a retry. Rows: how the transaction ended, by what the journal holds afterwards, and by what becomes
of the same message when it comes again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.outcome import Outcome
from gateway.transaction.ports import Delivery, JournalError
from tests.support.doubles import BROKEN, SLOW, JournalDouble, Rule, Step, UpstreamDouble, refusal
from tests.unit.transaction.company import (
    CAROL,
    DAVE,
    ERIN,
    PASS,
    REQUIRED,
    TWO_GROUPS,
    Company,
    Sent,
    certificates,
    message,
    path,
)

ACCEPTED, UNKNOWN, RUNNING = Delivery.ACCEPTED, Delivery.UNKNOWN, Delivery.RUNNING
EVERYBODY = [CAROL, ERIN]
CONTENT = message(*EVERYBODY)
NO = refusal(550, "5.7.1 no")
BUSY = refusal(451, "4.3.0 busy")
DAVE_REFUSED_AND_TWO_GROUPS = """\
rules:
  - name: no
    match: {recipient: "dave@*", sender: "*@*"}
    then: reject
  - name: signed
    match: {recipient: "*@bank.example"}
    then: {sign: required}
default: pass
"""


def attempt(company: Company, *rules: Rule, to: list[str] = EVERYBODY, confirms: bool = True) -> tuple[Sent, list[str]]:
    """Send the message to an upstream of its own; return what the client heard, and who got it now."""
    company.upstream = UpstreamDouble(*rules)
    sent = company.send(CONTENT, *to, confirms=confirms)
    return sent, company.upstream.recipients


@pytest.mark.parametrize("confirms", [True, False], ids=["told", "never told"])
def test_the_same_message_in_two_groups_again(confirms: bool) -> None:
    """Who was told that all have it and sends it again means it; who was never told tries again."""
    company = Company(policy=TWO_GROUPS)
    sent, delivered = attempt(company, confirms=confirms)
    assert (sent.reply.code, delivered) == (250, EVERYBODY)
    assert company.known(CONTENT, *EVERYBODY) == [UNKNOWN if confirms else ACCEPTED] * 2
    sent, delivered = attempt(company, confirms=confirms)
    assert (sent.reply.code, delivered) == (250, EVERYBODY if confirms else [])


@pytest.mark.parametrize("confirms", [True, False], ids=["told", "never told"])
def test_an_ordinary_message_takes_no_journal(confirms: bool) -> None:
    """One message to all leaves nothing to forget."""
    company = Company(policy=PASS)
    for _ in range(2):
        sent, delivered = attempt(company, confirms=confirms)
        assert (sent.reply.code, delivered) == (250, EVERYBODY)
    assert company.journal.calls == []


@pytest.mark.parametrize("act", [BUSY, BROKEN, NO], ids=["4yz", "broken", "5yz"])
def test_nothing_is_forgotten_before_all_have_it(act: Any) -> None:
    """The reply reached the client, and says that not all have it: those who have are remembered for the retry.

    With the retry that serves the last one, those of the attempt before are forgotten too.
    """
    company = Company(policy=TWO_GROUPS)
    sent, delivered = attempt(company, Rule(Step.DOT, act, connection=1))
    assert (sent.reply.is_positive, delivered) == (False, [CAROL])
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, UNKNOWN]
    assert "forget" not in company.journal.calls
    sent, delivered = attempt(company)
    assert (sent.reply.code, delivered) == (250, [ERIN])
    assert company.journal.rows == {}
    sent, delivered = attempt(company)
    assert (sent.reply.code, delivered) == (250, EVERYBODY)


@pytest.mark.parametrize("act", [BUSY, NO, BROKEN], ids=["4yz", "5yz", "broken"])
def test_a_message_that_nobody_has(act: Any) -> None:
    """Nothing is known of it, and nothing is forgotten."""
    company = Company(policy=TWO_GROUPS)
    sent, delivered = attempt(company, Rule(Step.DOT, act))
    assert (sent.reply.is_positive, delivered) == (False, [])
    assert "forget" not in company.journal.calls
    assert company.journal.rows == {}


def test_while_another_attempt_runs_nothing_is_forgotten() -> None:
    """The client was told to come again."""
    company = Company(policy=TWO_GROUPS)
    company.know(ACCEPTED, CONTENT, CAROL)
    company.know(RUNNING, CONTENT, ERIN)
    sent, _ = attempt(company)
    assert sent.outcome == Outcome.ATTEMPT_RUNNING.label
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, RUNNING]


def test_who_is_put_off_by_the_cap() -> None:
    """Attempt by attempt; only the one that serves the last of them ends the message."""
    hidden = [f"hidden{number}@bank.example" for number in range(5)]
    company = Company(policy=REQUIRED, certificates=certificates(*hidden))
    company.limits = replace(company.limits, hidden_copies=2)
    remembered = []
    for _ in range(3):
        company.send(message("list@bank.example"), *hidden, confirms=True)
        remembered.append(len(company.journal.rows))
    assert remembered == [2, 4, 0]
    assert company.upstream.recipients == hidden


def test_a_report_in_place_of_a_refusal_is_a_complete_success() -> None:
    """The client was told 250 and does not come again."""
    company = Company(policy=TWO_GROUPS, reports=UpstreamDouble())
    sent, delivered = attempt(company, Rule(Step.DOT, NO, connection=1))
    assert (sent.reply.code, delivered) == (250, [CAROL])
    assert company.journal.rows == {}


def test_a_report_that_cannot_be_sent_is_none() -> None:
    """The refusal went to the client for all; those who have it stay known."""
    company = Company(policy=TWO_GROUPS, reports=UpstreamDouble(Rule(Step.DOT, BUSY)))
    sent, delivered = attempt(company, Rule(Step.DOT, NO, connection=1))
    assert (sent.reply, delivered) == (NO, [CAROL])
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, UNKNOWN]


def test_other_entries_stay() -> None:
    """Of another message, of another recipient of the same one, and of a recipient who was refused at RCPT."""
    other = message(*EVERYBODY, subject="other numbers")
    company = Company(policy=TWO_GROUPS)
    company.know(ACCEPTED, other, *EVERYBODY)
    company.know(ACCEPTED, CONTENT, DAVE, "frank@bank.example")
    sent, delivered = attempt(company, Rule(Step.RCPT, NO, path=DAVE), to=[CAROL, DAVE, ERIN])
    assert (sent.reply.code, delivered) == (250, EVERYBODY)
    assert company.known(other, *EVERYBODY) == [ACCEPTED, ACCEPTED]
    assert company.known(CONTENT, CAROL, DAVE, ERIN, "frank@bank.example") == [UNKNOWN, ACCEPTED, UNKNOWN, ACCEPTED]


# ---------------------------------------------------------------- a client that goes away


def deliver_and_lose(company: Company, *, when: str) -> None:
    """Deliver to all; the client goes while the first dot is out, or when its reply is on the way."""
    company.upstream = UpstreamDouble(Rule(Step.DOT, SLOW, connection=0))

    async def main() -> None:
        transaction = company.begin()
        delivery = asyncio.create_task(company.sending(CONTENT, *EVERYBODY, transaction=transaction))
        await company.upstream.is_waiting.wait()
        transaction.is_client_gone = when == "during"
        company.upstream.go_on()
        assert (await delivery).outcome == "accepted"
        transaction.is_client_gone = True
        await transaction.confirm()

    company.run(main())
    assert company.upstream.recipients == EVERYBODY


@pytest.mark.parametrize("policy", [PASS, TWO_GROUPS], ids=["one message", "two messages"])
def test_a_client_that_goes_during_the_delivery(policy: str) -> None:
    """Its retry is swallowed; when that one has been answered, the same octets are a new message again."""
    company = Company(policy=policy)
    deliver_and_lose(company, when="during")
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, ACCEPTED]
    sent, delivered = attempt(company)
    assert (sent.reply.code, delivered) == (250, [])
    assert company.journal.rows == {}
    sent, delivered = attempt(company)
    assert (sent.reply.code, delivered) == (250, EVERYBODY)


def test_a_client_that_goes_while_its_reply_is_on_the_way() -> None:
    """What is remembered stays."""
    company = Company(policy=TWO_GROUPS)
    deliver_and_lose(company, when="after")
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, ACCEPTED]
    assert attempt(company)[1] == []


# ---------------------------------------------------------------- when it cannot be done, or is nothing to be done


@pytest.mark.parametrize("error", [JournalError("locked"), ZeroDivisionError()], ids=["unavailable", "a bug"])
def test_forgetting_that_fails_changes_nothing(error: Exception) -> None:
    """The client has its 250 and nothing is raised; what stays known is taken for a retry, and ends at the next one."""
    company = Company(policy=TWO_GROUPS, journal=JournalDouble({"forget": [error]}))
    sent, delivered = attempt(company)
    assert (sent.reply.code, delivered) == (250, EVERYBODY)
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, ACCEPTED]
    assert company.failures == ([] if isinstance(error, JournalError) else [error])
    sent, delivered = attempt(company)
    assert (sent.reply.code, delivered) == (250, [])
    assert company.journal.rows == {}


@pytest.mark.parametrize("end", ["open", "aborted", "refused", "refused at MAIL"])
def test_a_transaction_without_delivery_confirms_nothing(end: str) -> None:
    """Whoever confirms, and when: without a message that was accepted it is nothing."""
    company = Company(policy=TWO_GROUPS)
    company.know(ACCEPTED, CONTENT, *EVERYBODY)
    if end == "refused at MAIL":
        company.upstream = UpstreamDouble(Rule(Step.MAIL, NO))

    async def main() -> None:
        transaction = company.begin()
        await transaction.mail()
        if end != "refused at MAIL":
            await transaction.rcpt(path(CAROL))
        if end == "refused":
            transaction.refuse(Outcome.MESSAGE_TOO_LARGE)
        if end == "aborted":
            transaction.abort()
        await transaction.confirm()
        transaction.abort()

    company.run(main())
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, ACCEPTED]
    assert company.journal.calls == []


def test_a_refusal_by_policy_beside_two_messages() -> None:
    """A report was sent for the one who may not have it: complete, and forgotten."""
    company = Company(policy=DAVE_REFUSED_AND_TWO_GROUPS, reports=UpstreamDouble())
    sent, delivered = attempt(company, to=[DAVE, *EVERYBODY])
    assert (sent.reply.code, delivered) == (250, EVERYBODY)
    assert "forget" in company.journal.calls
    assert company.journal.rows == {}
