"""Sending: the probe or a new envelope, rounds, the journal between attempts, a client that goes away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.outcome import Outcome
from gateway.transaction.ports import Delivery, JournalError
from tests.support.doubles import BROKEN, FACTS, SLOW, JournalDouble, Rule, Step, UpstreamDouble, refusal, slowly
from tests.unit.smime import agents
from tests.unit.transaction.company import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DAVE_REFUSED,
    ERIN,
    INBOUND,
    PASS,
    REQUIRED,
    SIGN,
    TWO_GROUPS,
    Company,
    certificates,
    late,
    message,
)

ACCEPTED, UNKNOWN, RUNNING, ABANDONED = Delivery.ACCEPTED, Delivery.UNKNOWN, Delivery.RUNNING, Delivery.ABANDONED
EVERYBODY = [CAROL, ERIN]
CONTENT = message(*EVERYBODY)
NO = refusal(550, "5.7.1 no")
BUSY = refusal(451, "4.3.0 busy")


# ---------------------------------------------------------------- which connection carries what


def test_one_message_to_all_goes_out_on_the_probe() -> None:
    """No second envelope, no second connection (law 2)."""
    company = Company(policy=SIGN)
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    [session] = company.upstream.sessions
    assert session.commands == [
        f"MAIL FROM:<{ALICE}>",
        f"RCPT TO:<{CAROL}>",
        f"RCPT TO:<{ERIN}>",
        "DATA",
        ".",
    ]
    assert not session.is_discarded


def test_a_recipient_whom_we_refuse_after_the_upstream_took_him_is_out_of_the_envelope() -> None:
    """Required encryption and no certificate: refused at RCPT, when the upstream has him in its envelope already."""
    company = Company(policy=REQUIRED)
    sent = company.send(message(CAROL, DAVE), CAROL, DAVE)
    assert [reply.code for reply in sent.rcpt] == [250, 550]
    [dot] = company.upstream.dots
    assert dot.recipients == (CAROL,)
    assert "RSET" in company.upstream.sessions[0].commands


def test_two_messages_take_a_connection_each_and_no_more() -> None:
    """The probe is reset and carries the first, a second connection the other; both are given back."""
    company = Company(policy=TWO_GROUPS)
    assert company.send(message(CAROL, ERIN, DAVE), CAROL, ERIN, DAVE).reply.code == 250
    assert [dot.recipients for dot in company.upstream.dots] == [(CAROL, DAVE), (ERIN,)]
    assert [dot.connection for dot in company.upstream.dots] == [0, 1]
    assert not any(session.is_discarded for session in company.upstream.sessions)


@pytest.mark.parametrize("connections", [0, 1, 2, 3, 9])
def test_many_messages_go_in_rounds(connections: int) -> None:
    """However many connections may be had, everybody gets his copy; all of a round are sent before its first dot."""
    hidden = [f"hidden{number}@bank.example" for number in range(5)]
    upstream = UpstreamDouble(connections=connections)
    company = Company(policy=REQUIRED, upstream=upstream, certificates=certificates(*hidden))
    assert company.send(message("list@bank.example"), *hidden).reply.code == 250
    assert [dot.recipients for dot in upstream.dots] == [(one,) for one in hidden]
    assert set(company.known(message("list@bank.example"), *hidden)) == {ACCEPTED}


def test_recipients_that_the_client_has_pipelined_are_put_to_the_upstream_at_once() -> None:
    """In one write with MAIL, each once; their replies are given when the client's RCPT is taken."""
    upstream = UpstreamDouble(Rule(Step.BEGIN_RCPT, NO, path=DAVE))
    company = Company(upstream=upstream)
    sent = company.send(CONTENT, CAROL, DAVE, ERIN, ahead=[CAROL, DAVE])
    assert [reply.code for reply in sent.rcpt] == [250, 550, 250]
    assert sent.rcpt[1] == NO
    assert upstream.recipients == EVERYBODY
    [session] = upstream.sessions
    assert session.commands == [
        f"MAIL FROM:<{ALICE}>",
        f"RCPT TO:<{CAROL}>",
        f"RCPT TO:<{DAVE}>",
        f"RCPT TO:<{ERIN}>",
        "DATA",
        ".",
    ]


def test_a_recipient_put_ahead_and_never_asked_for_is_out_of_the_envelope() -> None:
    """Whatever a session does with what it saw coming: only who was accepted to the client gets the message."""
    company = Company()
    assert company.send(message(CAROL), CAROL, ahead=[CAROL, DAVE]).reply.code == 250
    assert company.upstream.recipients == [CAROL]
    assert "RSET" in company.upstream.sessions[0].commands


def test_who_is_refused_by_the_envelope_alone_is_not_put_ahead() -> None:
    """Nor more than the limit allows."""
    policy = 'rules:\n  - name: no\n    match: {recipient: "dave@*"}\n    then: reject\ndefault: pass\n'
    company = Company(policy=policy)
    company.limits = replace(company.limits, recipients=1)
    sent = company.send(message(CAROL), DAVE, CAROL, ERIN, ahead=[DAVE, CAROL, ERIN])
    assert [reply.code for reply in sent.rcpt] == [550, 250, 452]
    assert company.upstream.sessions[0].commands[:3] == [f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{CAROL}>", "DATA"]


def test_the_only_message_may_be_held_until_its_dot() -> None:
    """It then goes out in one write with it; what breaks there is not tried again, since the upstream may have it."""
    company = Company(upstream=UpstreamDouble(holds=True))
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    upstream = UpstreamDouble(Rule(Step.CONTENT, BROKEN), holds=True)
    assert Company(upstream=upstream).send(CONTENT, *EVERYBODY).outcome == Outcome.UPSTREAM_GONE.label
    assert len(upstream.sessions) == 1


def test_messages_beside_others_are_never_held() -> None:
    """A connection that cannot carry the second one is found out before the first one's dot."""
    upstream = UpstreamDouble(Rule(Step.CONTENT, SLOW, connection=1), holds=True)
    assert Company(policy=TWO_GROUPS, upstream=upstream).send(CONTENT, *EVERYBODY).outcome == "deadline-exceeded"
    assert upstream.dots == []


def test_the_parameters_of_mail_go_with_every_message() -> None:
    """SMTPUTF8 is a property of the envelope: each new envelope says it again."""
    company = Company(policy=TWO_GROUPS)
    assert company.send(CONTENT, *EVERYBODY, smtputf8=True).reply.code == 250
    assert [dot.smtputf8 for dot in company.upstream.dots] == [True, True]


def test_a_recipient_named_twice_gets_one_message() -> None:
    """Also where he is hidden and would have a copy of his own."""
    company = Company(policy=REQUIRED)
    assert company.send(message(CAROL), CAROL, ERIN, "Erin@partner.example", ERIN).reply.code == 250
    assert [len(dot.recipients) for dot in company.upstream.dots] == [1, 3]


@pytest.mark.parametrize("offers", [True, False], ids=["8BITMIME", "no 8BITMIME"])
def test_octets_above_127_need_8bitmime(offers: bool) -> None:
    """RFC 6152 3: without the extension such a message is refused and not sent."""
    upstream = UpstreamDouble(facts=replace(FACTS, eight_bit=offers))
    sent = Company(upstream=upstream).send(message(CAROL, body=b"gr\xc3\xbc\xc3\x9fe\r\n"), CAROL)
    assert sent.outcome == (Outcome.ACCEPTED if offers else Outcome.EIGHT_BIT_REQUIRED).label
    assert len(upstream.dots) == offers
    assert Company(upstream=UpstreamDouble(facts=replace(FACTS, eight_bit=False))).send(CONTENT, CAROL).outcome == (
        "accepted"
    )


# ---------------------------------------------------------------- opened mail

CLOSED = agents.encrypted(agents.MESSAGE.replace(b"alice@acme.example", b"erin@partner.example"), [agents.person(BOB)])


@pytest.mark.parametrize("dsn", [True, False], ids=["DSN", "no DSN"])
def test_opened_mail_asks_for_headers_only(dsn: bool) -> None:
    """A bounce of it must not carry the clear text back (law 10): RET=HDRS, which needs an envelope of its own."""
    upstream = UpstreamDouble(facts=replace(FACTS, dsn=dsn))
    sent = Company(policy=INBOUND, upstream=upstream).send(CLOSED, BOB, sender=ERIN)
    assert sent.reply.code == 250
    [dot] = upstream.dots
    assert dot.headers_only is dsn
    assert ("RSET" in upstream.sessions[0].commands) is dsn


def test_opened_mail_does_not_travel_on_a_connection_that_is_not_confidential() -> None:
    """The probe was; the connection that took its place is not: nothing is sent (law 10)."""
    upstream = UpstreamDouble(
        Rule(Step.DATA, BROKEN, connection=0), facts_of={1: replace(FACTS, confidential=False)}, facts=FACTS
    )
    sent = Company(policy=INBOUND, upstream=upstream).send(CLOSED, BOB, sender=ERIN)
    assert sent.outcome == Outcome.LINK_NOT_TRUSTED.label
    assert upstream.dots == []
    assert b"".join(session.octets for session in upstream.sessions) == b""


# ---------------------------------------------------------------- the journal, from one attempt to the next


@pytest.mark.parametrize("policy", [PASS, TWO_GROUPS], ids=["one message", "two messages"])
@pytest.mark.parametrize(
    ("carol", "erin", "outcome", "delivered"),
    [
        (UNKNOWN, UNKNOWN, Outcome.ACCEPTED, [CAROL, ERIN]),
        (ACCEPTED, UNKNOWN, Outcome.ACCEPTED, [ERIN]),
        (UNKNOWN, ACCEPTED, Outcome.ACCEPTED, [CAROL]),
        (ACCEPTED, ACCEPTED, Outcome.ACCEPTED, []),
        (ABANDONED, UNKNOWN, Outcome.ACCEPTED, [CAROL, ERIN]),
        (ABANDONED, ABANDONED, Outcome.ACCEPTED, [CAROL, ERIN]),
        (ABANDONED, ACCEPTED, Outcome.ACCEPTED, [CAROL]),
        (RUNNING, UNKNOWN, Outcome.ATTEMPT_RUNNING, []),
        (RUNNING, ACCEPTED, Outcome.ATTEMPT_RUNNING, []),
        (RUNNING, RUNNING, Outcome.ATTEMPT_RUNNING, []),
    ],
)
def test_what_the_journal_knows(
    policy: str, carol: Delivery, erin: Delivery, outcome: Outcome, delivered: list[str]
) -> None:
    """Who has it is skipped, who was in doubt is served again, and while another attempt runs nobody is."""
    company = Company(policy=policy)
    for delivery, address in ((carol, CAROL), (erin, ERIN)):
        if delivery is not UNKNOWN:
            company.know(delivery, CONTENT, address)
    sent = company.send(CONTENT, *EVERYBODY)
    assert sent.outcome == outcome.label
    assert company.upstream.recipients == delivered
    assert {sent.of(address).outcome for address in EVERYBODY} == {outcome.label}
    if outcome is Outcome.ACCEPTED and delivered != EVERYBODY:
        assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, ACCEPTED]


def test_another_message_is_another_message() -> None:
    """What the journal knows of one message says nothing of the next one."""
    company = Company()
    company.know(ACCEPTED, CONTENT, *EVERYBODY)
    assert company.send(message(*EVERYBODY, subject="other numbers"), *EVERYBODY).reply.code == 250
    assert company.upstream.recipients == EVERYBODY


def test_who_has_the_message_needs_no_look_up() -> None:
    """A retry is not held up by a directory that fails now for somebody who was served at the first attempt."""
    company = Company(policy=late(REQUIRED))
    company.know(ACCEPTED, message(CAROL, DAVE), DAVE)
    assert company.send(message(CAROL, DAVE), CAROL, DAVE).reply.code == 250
    assert company.certificates.asked == [CAROL]
    assert company.upstream.recipients == [CAROL]


def test_two_attempts_at_once() -> None:
    """While the first one waits for a dot's reply, a second one is told to come again, and sends nothing."""
    upstream = UpstreamDouble(Rule(Step.DOT, SLOW, connection=0))
    company = Company(policy=TWO_GROUPS, upstream=upstream)

    async def main() -> Any:
        first = asyncio.create_task(company.sending(CONTENT, *EVERYBODY))
        await upstream.is_waiting.wait()
        assert company.known(CONTENT, *EVERYBODY) == [RUNNING, RUNNING]
        second = await company.sending(CONTENT, *EVERYBODY)
        upstream.go_on()
        return await first, second

    first, second = company.run(main())
    assert (first.outcome, second.outcome) == ("accepted", Outcome.ATTEMPT_RUNNING.label)
    assert upstream.recipients == EVERYBODY


def test_two_attempts_that_ask_the_journal_at_the_same_time() -> None:
    """Both have read that nobody has it; only one can claim, and it has not sent before."""
    journal = JournalDouble({"may_hold_any": [True, True]})
    company = Company(policy=TWO_GROUPS, journal=journal)

    async def main() -> Any:
        return await asyncio.gather(*(company.sending(CONTENT, *EVERYBODY) for _ in range(2)))

    company.run(main())
    assert sorted(record.outcome for record in company.observer.records) == ["accepted", Outcome.ATTEMPT_RUNNING.label]
    assert company.upstream.recipients == EVERYBODY


def test_a_process_that_dies_between_two_dots() -> None:
    """What it had settled is skipped by the next attempt, what it was sending is in doubt and is sent again."""
    upstream = UpstreamDouble(Rule(Step.DOT, SLOW, connection=1))
    company = Company(policy=TWO_GROUPS, upstream=upstream)

    async def main() -> None:
        delivery = asyncio.create_task(company.sending(CONTENT, *EVERYBODY))
        await upstream.is_waiting.wait()
        company.journal.die()
        delivery.cancel()
        await asyncio.wait([delivery])
        for session in upstream.sessions:
            session.discard()

    company.run(main())
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, ABANDONED]
    company.upstream = UpstreamDouble()
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    assert company.upstream.recipients == [ERIN]


def test_too_many_hidden_copies_make_progress() -> None:
    """Each attempt serves as many as the cap allows, others than before, until all have it (law 3)."""
    hidden = [f"hidden{number}@bank.example" for number in range(5)]
    content = message("list@bank.example")
    company = Company(policy=REQUIRED, certificates=certificates(*hidden))
    company.limits = replace(company.limits, hidden_copies=2)
    outcomes = [company.send(content, *hidden).outcome for _ in range(3)]
    assert outcomes == [Outcome.TOO_MANY_COPIES.label, Outcome.TOO_MANY_COPIES.label, "accepted"]
    assert company.upstream.recipients == hidden
    assert company.send(content, *hidden).outcome == "accepted"
    assert company.upstream.recipients == hidden


def test_who_is_put_off_by_the_cap_is_told_so_and_the_others_are_journaled() -> None:
    """452 for the transaction, though one outgoing message went out: its recipients are remembered."""
    content = message(CAROL)
    company = Company(policy=REQUIRED)
    company.limits = replace(company.limits, hidden_copies=0)
    sent = company.send(content, CAROL, ERIN)
    assert (sent.reply.code, sent.reply.enhanced) == (452, "4.5.3")
    assert company.upstream.recipients == [CAROL]
    assert company.known(content, CAROL, ERIN) == [ACCEPTED, UNKNOWN]
    assert (sent.of(CAROL).outcome, sent.of(ERIN).outcome) == ("accepted", Outcome.TOO_MANY_COPIES.label)
    assert sent.of(ERIN).reason == "too-many-copies"


def test_a_settlement_that_fails_leaves_the_reply_as_it_is() -> None:
    """The upstream has taken one and put off the other; that the journal cannot write now does not make it a 250."""
    upstream = UpstreamDouble(Rule(Step.DOT, BUSY, connection=1))
    company = Company(policy=TWO_GROUPS, upstream=upstream, journal=JournalDouble({"settle": JournalError("locked")}))
    assert company.send(CONTENT, *EVERYBODY).reply == BUSY


# ---------------------------------------------------------------- a client that goes away


def lose_client(company: Company, upstream: UpstreamDouble, content: bytes = CONTENT) -> Any:
    """Send; the client goes while the upstream is slow at the step of its rule."""

    async def main() -> Any:
        transaction = company.begin()
        delivery = asyncio.create_task(company.sending(content, *EVERYBODY, transaction=transaction))
        await upstream.is_waiting.wait()
        transaction.is_client_gone = True
        upstream.go_on()
        return await delivery

    return company.run(main())


@pytest.mark.parametrize("policy", [PASS, TWO_GROUPS], ids=["one message", "two messages"])
@pytest.mark.parametrize("step", [Step.DATA, Step.CONTENT], ids=["DATA", "content"])
def test_a_client_that_goes_before_the_first_dot(step: Step, policy: str) -> None:
    """It will send the message again: nothing is sent now, and nothing is remembered."""
    upstream = UpstreamDouble(Rule(step, SLOW, connection=0))
    company = Company(policy=policy, upstream=upstream)
    assert lose_client(company, upstream).outcome == Outcome.CLIENT_GONE.label
    assert upstream.dots == []
    assert company.known(CONTENT, *EVERYBODY) == [UNKNOWN, UNKNOWN]
    assert all(session.is_discarded for session in upstream.sessions)


@pytest.mark.parametrize("policy", [PASS, TWO_GROUPS], ids=["one message", "two messages"])
def test_a_client_that_goes_after_the_first_dot(policy: str) -> None:
    """The delivery goes on and is remembered, so that the retry sends it to nobody again."""
    upstream = UpstreamDouble(Rule(Step.DOT, SLOW, connection=0))
    company = Company(policy=policy, upstream=upstream)
    assert lose_client(company, upstream).outcome == "accepted"
    assert upstream.recipients == EVERYBODY
    assert company.known(CONTENT, *EVERYBODY) == [ACCEPTED, ACCEPTED]
    company.upstream = UpstreamDouble()
    assert company.send(CONTENT, *EVERYBODY).reply.code == 250
    assert company.upstream.dots == []


@pytest.mark.parametrize("policy", [PASS, TWO_GROUPS], ids=["one message", "two messages"])
def test_a_client_that_goes_and_an_upstream_that_refuses(policy: str) -> None:
    """What was not accepted is not remembered; the retry is served."""
    upstream = UpstreamDouble(Rule(Step.DOT, slowly(NO), connection=0), Rule(Step.DOT, NO))
    company = Company(policy=policy, upstream=upstream)
    assert lose_client(company, upstream).outcome == Outcome.UPSTREAM_PERMANENT.label
    assert company.known(CONTENT, *EVERYBODY) == [UNKNOWN, UNKNOWN]


def test_a_client_that_goes_while_the_report_is_sent() -> None:
    """The others have the message by then: that is remembered too."""
    reports = UpstreamDouble(Rule(Step.DOT, SLOW))
    upstream = UpstreamDouble(Rule(Step.BEGIN_RCPT, NO, path=CAROL))
    company = Company(policy=DAVE_REFUSED, upstream=upstream, reports=reports)

    async def main() -> Any:
        transaction = company.begin()
        delivery = asyncio.create_task(company.sending(CONTENT, DAVE, *EVERYBODY, transaction=transaction))
        await reports.is_waiting.wait()
        transaction.is_client_gone = True
        reports.go_on()
        return await delivery

    assert company.run(main()).reply.code == 250
    assert company.known(CONTENT, *EVERYBODY) == [UNKNOWN, ACCEPTED]
