"""Each way in which a transaction can end is reached: one scenario for every :class:`~gateway.outcome.Outcome`.

A member that nothing reaches is dead weight in metrics and documentation, or a check that somebody forgot to make.
Those that only a session can bring about are ended here as the listener ends them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import UpstreamUnavailable
from gateway.limits import Limits
from gateway.lookup import Unavailable
from gateway.mime import Flaw
from gateway.outcome import Outcome
from gateway.smime import opened_mark
from gateway.transaction.pipeline import Transaction
from gateway.transaction.ports import Delivery, JournalError
from tests.support.doubles import BROKEN, FACTS, SLOW, AnswerBook, JournalDouble, Rule, Step, UpstreamDouble, refusal
from tests.unit.smime import agents
from tests.unit.transaction.company import (
    BOB,
    CAROL,
    ERIN,
    INBOUND,
    REQUIRED,
    SECRET,
    SIGN,
    Company,
    message,
    path,
)

MAIL = message(CAROL)
CLOSED = agents.encrypted(agents.MESSAGE, [agents.person(BOB)])
CHANGED = agents.signed().replace(b"The numbers.", b"The number's")


def sent(content: bytes = MAIL, *recipients: str, smtputf8: bool = False, **company: Any) -> str:
    """Send a message; return the label of the outcome."""
    label: str = Company(**company).send(content, *(recipients or (CAROL,)), smtputf8=smtputf8).outcome
    return label


def upstream(*rules: Rule, **options: Any) -> dict[str, Any]:
    return {"upstream": UpstreamDouble(*rules, **options)}


def ended(end: Callable[[Transaction], Any]) -> str:
    """End a transaction as a session does; return the label of the outcome."""
    company = Company()

    async def main() -> None:
        transaction = company.begin()
        await transaction.mail()
        await transaction.rcpt(path(CAROL))
        end(transaction)

    company.run(main())
    return company.observer.records[0].outcome


def running() -> str:
    company = Company()
    company.know(Delivery.RUNNING, MAIL, CAROL)
    label: str = company.send(MAIL, CAROL).outcome
    return label


SCENARIOS: dict[Outcome, Callable[[], str]] = {
    Outcome.ACCEPTED: sent,
    Outcome.REJECTED_BY_POLICY: lambda: sent(policy="default: reject\n"),
    Outcome.PROTECTION_IMPOSSIBLE: lambda: sent(policy=REQUIRED, certificates=AnswerBook()),
    Outcome.OPENED_MAIL_IN_CLEAR: lambda: sent(opened_mark(SECRET, "1") + MAIL),
    Outcome.LOOKUP_UNAVAILABLE: lambda: sent(policy=REQUIRED, certificates=AnswerBook(default=Unavailable("down"))),
    Outcome.OWN_KEY_UNAVAILABLE: lambda: sent(policy=SIGN, signers=AnswerBook()),
    Outcome.LINK_NOT_TRUSTED: lambda: sent(
        CLOSED, BOB, policy=INBOUND, **upstream(facts=replace(FACTS, confidential=False))
    ),
    Outcome.BARE_LINE_ENDING: lambda: ended(lambda one: one.refuse_flaw(Flaw.BARE_LF)),
    Outcome.NUL_OCTET: lambda: ended(lambda one: one.refuse_flaw(Flaw.NUL)),
    Outcome.FORM_REFUSED: lambda: sent(limits=Limits(header_fields=1)),
    Outcome.LINE_TOO_LONG: lambda: ended(lambda one: one.refuse_flaw(Flaw.LONG_LINE)),
    Outcome.LAYER_REFUSED: lambda: sent(CLOSED, BOB, policy="default: {decrypt: required}\n", keys=AnswerBook()),
    Outcome.INTEGRITY_REFUSED: lambda: sent(CHANGED, BOB, policy="default: {verify: required}\n"),
    Outcome.SMTPUTF8_REQUIRED: lambda: sent(smtputf8=True, **upstream(facts=replace(FACTS, smtputf8=False))),
    Outcome.EIGHT_BIT_REQUIRED: lambda: sent(MAIL + b"\xff\r\n", **upstream(facts=replace(FACTS, eight_bit=False))),
    Outcome.MESSAGE_TOO_LARGE: lambda: ended(lambda one: one.refuse(Outcome.MESSAGE_TOO_LARGE)),
    Outcome.TOO_MANY_RECIPIENTS: lambda: sent(limits=Limits(recipients=0)),
    Outcome.TOO_MANY_COPIES: lambda: sent(MAIL, ERIN, policy=REQUIRED, limits=Limits(hidden_copies=0)),
    Outcome.MEMORY_BUDGET: lambda: ended(lambda one: one.refuse(Outcome.MEMORY_BUDGET)),
    Outcome.ROUTING_LOOP: lambda: sent(b"Received: by x\r\n" * 2 + MAIL, limits=Limits(received_fields=1)),
    Outcome.UPSTREAM_UNREACHABLE: lambda: sent(**upstream(Rule(Step.CONNECT, UpstreamUnavailable("down")))),
    Outcome.UPSTREAM_GONE: lambda: sent(**upstream(Rule(Step.DOT, BROKEN))),
    Outcome.DEADLINE_EXCEEDED: lambda: sent(**upstream(Rule(Step.DATA, SLOW))),
    Outcome.UPSTREAM_TRANSIENT: lambda: sent(**upstream(Rule(Step.DOT, refusal(451, "4.3.0 busy")))),
    Outcome.UPSTREAM_PERMANENT: lambda: sent(**upstream(Rule(Step.DOT, refusal(554, "5.6.0 spam")))),
    Outcome.ATTEMPT_RUNNING: running,
    Outcome.JOURNAL_UNAVAILABLE: lambda: sent(
        journal=JournalDouble({"may_hold_any": True, "read": JournalError("disk full")})
    ),
    Outcome.INTERNAL_ERROR: lambda: sent(**upstream(Rule(Step.DATA, ZeroDivisionError()))),
    Outcome.CLIENT_GONE: lambda: ended(lambda one: one.abort()),
}


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.label)
def test_every_outcome_is_reached(outcome: Outcome) -> None:
    """By the scenario that stands beside it."""
    assert SCENARIOS[outcome]() == outcome.label
