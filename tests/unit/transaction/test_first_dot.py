"""A refusal for good at the first final dot is everybody's; a transient one holds nobody up (law 3).

Rows: the first dots by {4yz, 5yz, broken}, for two and five messages, on one connection and on several, with a route
for reports and without. At the end a model of its own says for any replies to five dots who gets it and what is heard.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outcome import Outcome, Reply
from gateway.transaction.ports import Delivery
from tests.support.doubles import BROKEN, Rule, Step, UpstreamDouble, refusal
from tests.unit.transaction.company import REQUIRED, Company, certificates, message

HIDDEN = [f"hidden{number}@bank.example" for number in range(5)]
CONTENT = message("list@bank.example")
BUSY = refusal(450, "4.2.0 busy")
NO = refusal(550, "5.1.1 no such user")
OK = refusal(250, "2.0.0 taken")
GONE = Outcome.UPSTREAM_GONE
ACTS = {"4yz": BUSY, "5yz": NO, "broken": BROKEN}


def company_of(acts: list[Any], *, connections: int, can_report: bool) -> Company:
    """Return a company whose upstream answers so to the dots, in their order; to further ones with 250."""
    upstream = UpstreamDouble(*(Rule(Step.DOT, act, times=1) for act in acts), connections=connections)
    reports = UpstreamDouble() if can_report else None
    return Company(policy=REQUIRED, upstream=upstream, reports=reports, certificates=certificates(*HIDDEN))


def reports_of(company: Company) -> int:
    return len(company.reports.accepted) if company.reports is not None else 0


@pytest.mark.parametrize("connections", [1, 2, 3, 9])
@pytest.mark.parametrize("groups", [2, 5])
def test_a_first_dot_that_is_refused_for_good(groups: int, connections: int) -> None:
    """It is the only one that is sent: everybody ends like the first one, and nothing is claimed afterwards."""
    people = HIDDEN[:groups]
    company = company_of([NO], connections=connections, can_report=False)
    sent = company.send(CONTENT, *people)
    assert sent.reply == NO
    assert len({one.outcome for one in sent.record.recipients}) == 1
    assert len(company.upstream.dots) == 1
    assert company.upstream.recipients == []
    first, *others = company.upstream.sessions
    assert not first.is_discarded
    assert all(session.is_discarded for session in others)
    assert len(others) == min(groups, connections) - 1, "a connection was made for somebody who had ended"
    assert company.journal.rows == {}


@pytest.mark.parametrize("act", [BUSY, BROKEN], ids=["4yz", "broken"])
@pytest.mark.parametrize("connections", [1, 2, 9])
@pytest.mark.parametrize("groups", [2, 5])
@pytest.mark.parametrize("can_report", [False, True], ids=["no reports", "reports"])
def test_a_first_dot_that_is_put_off(groups: int, connections: int, act: Any, can_report: bool) -> None:
    """The others are served all the same, or somebody who is always put off would hold them up for ever."""
    people = HIDDEN[:groups]
    company = company_of([act], connections=connections, can_report=can_report)
    sent = company.send(CONTENT, *people)
    assert sent.reply == (GONE.reply(sent.record.transaction) if act is BROKEN else act)
    assert len(company.upstream.dots) == groups
    assert company.upstream.recipients == people[1:]
    assert reports_of(company) == 0
    assert company.known(CONTENT, *people) == [Delivery.UNKNOWN, *[Delivery.ACCEPTED] * (groups - 1)]
    company.upstream = UpstreamDouble()
    assert company.send(CONTENT, *people).reply.code == 250
    assert company.upstream.recipients == people[:1]


@pytest.mark.parametrize("connections", [1, 2, 9])
@pytest.mark.parametrize("groups", [2, 5])
def test_a_permanent_refusal_that_can_be_reported(groups: int, connections: int) -> None:
    """It stands beside deliveries: the others are served, and the sender is told."""
    people = HIDDEN[:groups]
    company = company_of([NO], connections=connections, can_report=True)
    assert company.send(CONTENT, *people, confirms=True).reply.code == 250
    assert company.upstream.recipients == people[1:]
    assert (reports_of(company), company.journal.rows) == (1, {})


def test_a_permanent_refusal_before_a_transient_one() -> None:
    """The client tries again for the second's sake, so nothing is reported yet, and the first is asked again too."""
    company = company_of([NO, BUSY], connections=2, can_report=True)
    sent = company.send(CONTENT, *HIDDEN)
    assert sent.reply == BUSY
    assert (len(company.upstream.dots), reports_of(company)) == (5, 0)
    company.upstream = UpstreamDouble()
    assert company.send(CONTENT, *HIDDEN).reply.code == 250
    assert company.upstream.recipients == HIDDEN[:2]


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("connections", [1, 2, 9])
def test_once_somebody_has_it_the_others_are_served(connections: int, act: Any) -> None:
    """A partial outcome cannot be avoided any more: each further dot is sent, and the journal knows who has it."""
    company = company_of([OK, act], connections=connections, can_report=False)
    assert not company.send(CONTENT, *HIDDEN).reply.is_positive
    assert len(company.upstream.dots) == 5
    assert company.upstream.recipients == [one for one in HIDDEN if one != HIDDEN[1]]
    company.upstream = UpstreamDouble()
    assert company.send(CONTENT, *HIDDEN).reply.code == 250
    assert company.upstream.recipients == [HIDDEN[1]]


def test_who_has_it_from_an_earlier_attempt_stays_known() -> None:
    """In this attempt nobody has accepted: the open ones end together, and the retry serves exactly them."""
    company = company_of([NO], connections=2, can_report=False)
    company.know(Delivery.ACCEPTED, CONTENT, HIDDEN[0])
    sent = company.send(CONTENT, *HIDDEN, confirms=True)
    assert not sent.reply.is_positive
    assert sent.of(HIDDEN[0]).outcome == "accepted"
    assert len(company.upstream.dots) == 1
    assert company.known(CONTENT, *HIDDEN) == [Delivery.ACCEPTED, *[Delivery.UNKNOWN] * 4]
    company.upstream = UpstreamDouble()
    assert company.send(CONTENT, *HIDDEN).reply.code == 250
    assert company.upstream.recipients == HIDDEN[1:]


def expected(acts: list[Any], *, can_report: bool) -> tuple[int, list[str], int | None]:
    """Return how many dots are sent, who gets the message, and the code that the client hears; by law 3."""
    codes: list[int] = []
    for act in acts:
        codes.append(act.code if isinstance(act, Reply) else GONE.code)
        if not can_report and {code // 100 for code in codes} == {5}:
            break
    delivered = [one for one, code in zip(HIDDEN, codes, strict=False) if code == 250]
    deferred, refused = ([code for code in codes if code // 100 == kind] for kind in (4, 5))
    if deferred:
        # The upstream's own words before ours.
        heard = BUSY.code if BUSY.code in deferred else GONE.code
    elif refused and not (can_report and delivered):
        heard = NO.code
    else:
        heard = 250
    return len(codes), delivered, heard


@settings(max_examples=40, deadline=None)
@given(
    acts=st.lists(st.sampled_from([OK, BUSY, NO, BROKEN]), min_size=5, max_size=5),
    connections=st.integers(1, 6),
    can_report=st.booleans(),
)
def test_any_replies_to_five_dots(acts: list[Any], connections: int, can_report: bool) -> None:
    """Who gets it and what is heard is what the law says; a retry then serves exactly the others, each once."""
    company = company_of(acts, connections=connections, can_report=can_report)
    sent = company.send(CONTENT, *HIDDEN, confirms=True)
    delivered = company.upstream.recipients
    assert (len(company.upstream.dots), delivered, sent.reply.code) == expected(acts, can_report=can_report)
    assert reports_of(company) == (sent.reply.code == 250 and delivered != HIDDEN)
    if sent.reply.code == 250:
        assert company.journal.rows == {}
        return
    assert company.known(CONTENT, *HIDDEN) == [
        Delivery.ACCEPTED if one in delivered else Delivery.UNKNOWN for one in HIDDEN
    ]
    company.upstream = UpstreamDouble(connections=connections)
    assert company.send(CONTENT, *HIDDEN, confirms=True).reply.code == 250
    assert company.upstream.recipients == [one for one in HIDDEN if one not in delivered]
    assert company.journal.rows == {}
