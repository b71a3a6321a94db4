"""What fails at which port, and what the client hears: for each row also that nothing was sent.

Rows: every port by {none, unavailable, slow beyond its time, raises, wrong type} by {required, if-possible that defers,
if-possible that skips}. This proves laws 5 and 6 (fails closed; unknown is not absent), and that whoever hears 4yz or
5yz still has the only copy. What an upstream can do wrong is in ``test_failure_upstream.py``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import KeyMaterialError
from gateway.lookup import Found, Nothing, Unavailable
from gateway.outcome import Outcome
from gateway.transaction.house import INLINE_OCTETS
from gateway.transaction.ports import Delivery, JournalError
from tests.support.doubles import SLOW, AnswerBook, FixedClock, JournalDouble, ObserverDouble
from tests.unit.smime import agents
from tests.unit.transaction.company import (
    ALICE,
    BOB,
    CAROL,
    DEFER,
    ERIN,
    INBOUND,
    PASS,
    REQUIRED,
    SIGN,
    SKIP,
    TWO_GROUPS,
    Company,
    Sent,
    late,
    layers,
    message,
    path,
)

UNANSWERED = {
    "unavailable": Unavailable("directory down"),
    "slow": SLOW,
    "raises": OSError("no route"),
    "raises a bug": ZeroDivisionError(),
    "gives None": None,
    "gives a list": [],
    "gives a string": "found",
}
"""Everything that is no answer."""
NONE = {"none": Nothing()}
EMPTY = {"none": Nothing(), "found, and nothing in it": Found(())}


def table(**rows: Any) -> Any:
    return pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in rows.items()])


@pytest.fixture(params=["decided at RCPT", "decided at the final dot"])
def form(request: pytest.FixtureRequest) -> Any:
    return (lambda policy: policy) if request.param == "decided at RCPT" else late


def assert_refused(company: Company, sent: Sent, outcome: Outcome) -> None:
    """The client was refused this way, and the upstream has seen no octet of the message."""
    assert (sent.reply.code, sent.reply.enhanced) == (outcome.code, outcome.enhanced)
    assert sent.outcome == outcome.label
    assert company.upstream.dots == []
    assert b"".join(session.octets for session in company.upstream.sessions) == b""
    assert company.failures == []


def assert_sent(company: Company, sent: Sent, *expected_layers: str, notes: tuple[str, ...] = ()) -> None:
    """One message went to carol, with these layers, and the record says what was left out."""
    assert sent.reply.code == 250
    [dot] = company.upstream.dots
    assert dot.recipients == (CAROL,)
    assert layers(dot.content, CAROL) == list(expected_layers)
    assert sent.of(CAROL).notes == notes


# ---------------------------------------------------------------- certificates of recipients


@table(**EMPTY)
def test_certificates_none_and_required(act: Any, form: Any) -> None:
    """Without a certificate what is required is refused for good; an empty answer is none."""
    company = Company(policy=form(REQUIRED), certificates=AnswerBook({CAROL: act}))
    assert_refused(company, company.send(message(CAROL), CAROL), Outcome.PROTECTION_IMPOSSIBLE)


@table(**UNANSWERED)
def test_certificates_unanswered_and_required(act: Any, form: Any) -> None:
    """No answer is never "no certificate": the client tries again."""
    company = Company(policy=form(REQUIRED), certificates=AnswerBook({CAROL: act}))
    assert_refused(company, company.send(message(CAROL), CAROL), Outcome.LOOKUP_UNAVAILABLE)


@table(**EMPTY)
@pytest.mark.parametrize("policy", [DEFER, SKIP], ids=["defer", "skip"])
def test_certificates_none_and_if_possible(policy: str, act: Any, form: Any) -> None:
    """The rule's ``no_certificate: sign`` decides, and says so."""
    company = Company(policy=form(policy), certificates=AnswerBook({CAROL: act}))
    assert_sent(company, company.send(message(CAROL), CAROL), "signed", notes=("no-certificate",))


@table(**UNANSWERED)
def test_certificates_unanswered_if_possible_and_defer(act: Any, form: Any) -> None:
    """The rule says wait."""
    company = Company(policy=form(DEFER), certificates=AnswerBook({CAROL: act}))
    assert_refused(company, company.send(message(CAROL), CAROL), Outcome.LOOKUP_UNAVAILABLE)


@table(**UNANSWERED)
def test_certificates_unanswered_if_possible_and_skip(act: Any, form: Any) -> None:
    """The rule says go on without, which is counted."""
    company = Company(policy=form(SKIP), certificates=AnswerBook({CAROL: act}))
    assert_sent(company, company.send(message(CAROL), CAROL), "signed", notes=("lookup-skipped",))


# ---------------------------------------------------------------- our signing keys


@table(**NONE, **UNANSWERED, **{"found, and nothing in it": Found(None)})
@pytest.mark.parametrize("policy", [SIGN, REQUIRED], ids=["sign", "sign and encrypt"])
def test_signer_and_required(policy: str, act: Any, form: Any) -> None:
    """A signature that cannot be made is our own trouble (451 4.3.5), and the message never leaves unsigned."""
    company = Company(policy=form(policy), signers=AnswerBook({ALICE: act}))
    sent = company.send(message(CAROL), CAROL)
    if isinstance(act, Found):  # what no store may give: seen as a bug of ours, and refused all the same
        assert [str(failure) for failure in company.failures] == ["what is required would give way"]
        company.failures.clear()
        assert_refused(company, sent, Outcome.INTERNAL_ERROR)
    else:
        assert_refused(company, sent, Outcome.OWN_KEY_UNAVAILABLE)


@table(**NONE)
@pytest.mark.parametrize("policy", [DEFER, SKIP], ids=["defer", "skip"])
def test_signer_none_and_if_possible(policy: str, act: Any, form: Any) -> None:
    """Who has no key sends unsigned where that is allowed."""
    company = Company(policy=form(policy), signers=AnswerBook({ALICE: act}))
    assert_sent(company, company.send(message(CAROL), CAROL), "encrypted", notes=("no-signer",))


@table(**UNANSWERED)
def test_signer_unanswered_if_possible_and_defer(act: Any, form: Any) -> None:
    """A key that is there and cannot be used is waited for."""
    company = Company(policy=form(DEFER), signers=AnswerBook({ALICE: act}))
    assert_refused(company, company.send(message(CAROL), CAROL), Outcome.OWN_KEY_UNAVAILABLE)


@table(**UNANSWERED)
def test_signer_unanswered_if_possible_and_skip(act: Any, form: Any) -> None:
    """Or gone on without, which is counted."""
    company = Company(policy=form(SKIP), signers=AnswerBook({ALICE: act}))
    assert_sent(company, company.send(message(CAROL), CAROL), "encrypted", notes=("signer-unavailable",))


# ---------------------------------------------------------------- our decryption keys, and the alias map

OPEN_REQUIRED = "default: {decrypt: required}\n"
OPEN_STRICT = "default: {decrypt: strict}\n"
OPEN_STRICT_SKIP = "default: {decrypt: strict, unavailable: skip}\n"
OPEN_DEFER = "default: {decrypt: if-possible}\n"
OPEN_SKIP = "default: {decrypt: if-possible, unavailable: skip}\n"
ASKS_VERIFICATION = """\
rules:
  - name: asks
    match: {verification: fail}
    then: reject
default: pass
"""
FROM_ERIN = agents.MESSAGE.replace(b"alice@acme.example", ERIN.encode())


def closed_for_bob() -> bytes:
    return agents.encrypted(FROM_ERIN, [agents.person(BOB)])


def books(port: str, act: Any) -> dict[str, AnswerBook]:
    """Return the two books in which the look-up of bob's keys goes this way."""
    if port == "aliases":
        return {"aliases": AnswerBook({BOB: act})}
    return {"keys": AnswerBook({BOB: act})}


@table(**UNANSWERED)
@pytest.mark.parametrize("port", ["keys", "aliases"])
@pytest.mark.parametrize(
    "policy",
    [OPEN_REQUIRED, OPEN_STRICT, OPEN_DEFER, INBOUND, ASKS_VERIFICATION],
    ids=["required", "strict", "if-possible and defer", "strict and report", "a rule asks what is inside"],
)
def test_keys_unanswered(policy: str, port: str, act: Any) -> None:
    """Without an answer about our keys, closed mail waits: also where a rule asks for what lies under it."""
    company = Company(policy=policy, **books(port, act))
    sent = company.send(closed_for_bob(), BOB, sender=ERIN)
    assert_refused(company, sent, Outcome.OWN_KEY_UNAVAILABLE)


@table(**UNANSWERED)
@pytest.mark.parametrize("port", ["keys", "aliases"])
@pytest.mark.parametrize("policy", [OPEN_SKIP, OPEN_STRICT_SKIP], ids=["if-possible", "strict"])
def test_keys_unanswered_and_skip(policy: str, port: str, act: Any) -> None:
    """The rule says: hand it on closed."""
    company = Company(policy=policy, **books(port, act))
    sent = company.send(closed_for_bob(), BOB, sender=ERIN)
    assert sent.reply.code == 250
    [dot] = company.upstream.dots
    assert layers(dot.content) == ["(encrypted)"]
    assert sent.of(BOB).notes == ("key-unavailable",)


@table(**EMPTY)
def test_keys_none_and_required(act: Any) -> None:
    """Required and no key: refused, by the one reply for everything under an encrypted layer."""
    company = Company(policy=OPEN_REQUIRED, keys=AnswerBook({BOB: act}))
    sent = company.send(closed_for_bob(), BOB, sender=ERIN)
    assert_refused(company, sent, Outcome.LAYER_REFUSED)


@table(**EMPTY)
@pytest.mark.parametrize("policy", [OPEN_STRICT, OPEN_DEFER, OPEN_SKIP], ids=["strict", "defer", "skip"])
def test_keys_none_and_not_required(policy: str, act: Any) -> None:
    """Mail for somebody else's key is handed on closed."""
    company = Company(policy=policy, keys=AnswerBook({BOB: act}))
    sent = company.send(closed_for_bob(), BOB, sender=ERIN)
    assert (sent.reply.code, sent.of(BOB).reason) == (250, "no-key")
    assert layers(company.upstream.dots[0].content) == ["(encrypted)"]


def test_keys_that_break_while_in_use() -> None:
    """A key that is found and does not work is our own trouble, for signing and for opening."""

    class Broken:
        scheme = agents.TestKey(agents.person(ALICE).key).scheme

        def sign(self, *_: object) -> bytes:
            raise KeyMaterialError("the token is gone")

        def unwrap(self, *_: object) -> bytes:
            raise KeyMaterialError("the token is gone")

    broken: Any = Broken()
    signer = agents.signing_identity(agents.certificate(agents.person(ALICE)), [], broken)
    signing = Company(policy=SIGN, signers=AnswerBook({ALICE: Found(signer)}))
    assert_refused(signing, signing.send(message(CAROL), CAROL), Outcome.OWN_KEY_UNAVAILABLE)

    key = agents.DecryptionKey(certificate=agents.certificate(agents.person(BOB)), key=broken)
    opening = Company(policy=OPEN_SKIP, keys=AnswerBook({BOB: Found((key,))}))
    sent = opening.send(closed_for_bob(), BOB, sender=ERIN)
    assert_refused(opening, sent, Outcome.OWN_KEY_UNAVAILABLE)


# ---------------------------------------------------------------- journal

JOURNAL = {
    "unavailable": (JournalError("disk full"), Outcome.JOURNAL_UNAVAILABLE),
    "slow": (SLOW, Outcome.DEADLINE_EXCEEDED),
    "raises": (OSError("no such disk"), Outcome.INTERNAL_ERROR),
    "raises a bug": (ZeroDivisionError(), Outcome.INTERNAL_ERROR),
}
TWO = message(CAROL, ERIN)


@pytest.mark.parametrize(("act", "outcome"), JOURNAL.values(), ids=JOURNAL)
@pytest.mark.parametrize("policy", [PASS, TWO_GROUPS], ids=["one message", "two messages"])
def test_journal_read(policy: str, act: Any, outcome: Outcome) -> None:
    """Where an earlier attempt may have been, nothing is sent before the journal has answered."""
    journal = JournalDouble({"may_hold_any": True, "read": act})
    company = Company(policy=policy, journal=journal)
    sent = company.send(TWO, CAROL, ERIN)
    bugs, company.failures = company.failures, []
    assert_refused(company, sent, outcome)
    assert len(bugs) == (outcome is Outcome.INTERNAL_ERROR)


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        *((act, outcome) for act, outcome in JOURNAL.values() if act is not SLOW),
        (False, Outcome.ATTEMPT_RUNNING),
        (None, Outcome.ACCEPTED),
    ],
    ids=[*(name for name in JOURNAL if name != "slow"), "refused", "works"],
)
def test_journal_claim(act: Any, outcome: Outcome) -> None:
    """What can end in a partial outcome is not sent before it is written that it is sent."""
    company = Company(policy=TWO_GROUPS, journal=JournalDouble({"claim": act}))
    sent = company.send(TWO, CAROL, ERIN)
    assert sent.outcome == outcome.label
    assert len(company.upstream.dots) == (2 if outcome is Outcome.ACCEPTED else 0)
    assert len(company.failures) == (outcome is Outcome.INTERNAL_ERROR)


@table(unavailable=JournalError("disk full"), raises=OSError("no such disk"), bug=ZeroDivisionError())
def test_journal_settle(act: Any) -> None:
    """Once the upstream has spoken, its word is the reply: what the journal cannot write it writes later."""
    company = Company(policy=TWO_GROUPS, journal=JournalDouble({"settle": act}))
    sent = company.send(TWO, CAROL, ERIN)
    assert sent.reply.code == 250
    assert company.upstream.recipients == [CAROL, ERIN]
    assert company.failures == ([] if isinstance(act, JournalError) else [act, act])


def test_journal_that_cannot_tell_whether_it_holds_any() -> None:
    """It may not raise; if it does, nothing is sent."""
    company = Company(journal=JournalDouble({"may_hold_any": OSError()}))
    sent = company.send(message(CAROL), CAROL)
    assert len(company.failures) == 1
    company.failures.clear()
    assert_refused(company, sent, Outcome.INTERNAL_ERROR)


def test_journal_is_not_asked_without_need() -> None:
    """One message to all, and a journal that is empty for certain: no call of it, and no pass over the content."""
    company = Company()
    assert company.send(message(CAROL), CAROL).reply.code == 250
    assert company.journal.calls == []
    assert company.known(message(CAROL), CAROL) == [Delivery.UNKNOWN]


# ---------------------------------------------------------------- clock, entropy, offload, observer


class _Raising:
    """A port of which one method raises from its ``after``-th call on."""

    def __init__(self, port: Any, method: str, after: int = 0) -> None:
        self._port, self._method, self._left = port, method, after

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._port, name)
        self._left -= 1
        if self._left < 0:
            raise RuntimeError(f"no {name}")
        return getattr(self._port, name)


def test_no_boundary_to_be_had() -> None:
    """Entropy that fails while a message is built: nothing is sent."""
    company = Company(policy=SIGN)
    company.entropy = _Raising(company.entropy, "boundary")
    sent = company.send(message(CAROL), CAROL)
    assert len(company.failures) == 1
    company.failures.clear()
    assert_refused(company, sent, Outcome.INTERNAL_ERROR)


def test_no_time_to_be_had() -> None:
    """A clock that fails while a message is built: nothing is sent."""
    company = Company(policy=SIGN, clock=_Raising(FixedClock(), "now", after=2))
    sent = company.send(message(CAROL), CAROL)
    assert len(company.failures) == 1
    company.failures.clear()
    assert_refused(company, sent, Outcome.INTERNAL_ERROR)


@pytest.mark.parametrize("policy", [PASS, TWO_GROUPS], ids=["one message", "two messages"])
@pytest.mark.parametrize("calls", range(32))
def test_a_clock_that_fails_at_any_call(calls: int, policy: str) -> None:
    """Whenever it fails: 250 where all have the message, 4yz or no transaction where nobody has."""
    company = Company(policy=policy, clock=_Raising(FixedClock(), "monotonic", after=calls))

    async def main() -> Any:
        try:
            transaction = company.begin()
            await transaction.mail()
            for address in (CAROL, ERIN):
                await transaction.rcpt(path(address))
        except RuntimeError:
            for session in company.upstream.sessions:
                session.discard()
            return None
        return await transaction.content(TWO, 0.0)

    reply = company.run(main())
    if company.upstream.dots:
        assert (reply.code, company.upstream.recipients) == (250, [CAROL, ERIN])
        assert Delivery.RUNNING not in company.journal.rows.values()
    else:
        assert reply is None or (reply.code, reply.enhanced) == (451, "4.3.0")


async def _slow_offload(*_: Any) -> Any:
    await asyncio.Event().wait()


async def _broken_offload(*_: Any) -> Any:
    raise RuntimeError("no threads")


@pytest.mark.parametrize(
    ("offload", "outcome"),
    [(_slow_offload, Outcome.DEADLINE_EXCEEDED), (_broken_offload, Outcome.INTERNAL_ERROR)],
    ids=["slow", "raises"],
)
def test_offload_of_a_large_message(offload: Any, outcome: Outcome) -> None:
    """Work on a large message leaves the loop; what goes wrong there sends nothing."""
    company = Company(policy=SIGN, offload=offload)
    sent = company.send(message(CAROL, body=b"x" * 70 + b"\r\n" + b"y\r\n" * (INLINE_OCTETS // 3)), CAROL)
    company.failures.clear()
    assert_refused(company, sent, outcome)


def test_observer_that_raises_changes_nothing() -> None:
    """What is told of a transaction does not change how it ended: 250 stays 250."""
    company = Company(observer=ObserverDouble({"ended": RuntimeError("no disk")}))

    async def main() -> Any:
        transaction = company.begin()
        await transaction.mail()
        await transaction.rcpt(path(CAROL))
        return await transaction.content(message(CAROL), 0.0)

    assert company.run(main()).code == 250
    assert [str(failure) for failure in company.failures] == ["no disk"]
    assert company.upstream.recipients == [CAROL]


def test_observer_that_raises_at_the_start() -> None:
    """There is no transaction then, and the session answers for it; nothing is connected."""
    company = Company(observer=ObserverDouble({"started": RuntimeError("no disk")}))

    async def main() -> None:
        with pytest.raises(RuntimeError, match="no disk"):
            company.begin()

    company.run(main())
    assert company.upstream.sessions == []
