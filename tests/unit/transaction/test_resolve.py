"""From a decision and what the look-ups answered to work: the whole table of the sending agent, and the receiving one.

The table of the sending agent is complete: every treatment that loads, by every answer about signer and certificates,
by proven or not, by senders, by signed already or not. What has to come of each row is written a second time below, in
words of the documentation, and compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.address import Address
from gateway.lookup import Found, Nothing, Unavailable
from gateway.outcome import Outcome
from gateway.policy import (
    DecryptMode,
    Direction,
    NoCertificate,
    OnUnavailable,
    Reason,
    Requirement,
    SignedForm,
    Treatment,
    VerifyMode,
)
from gateway.smime import Layer, LayerType, NotOpened, Problem, ProblemCode, Report, ResultWord, Unprotected
from gateway.transaction.plan import PASS, Work
from gateway.transaction.resolve import (
    SigningCase,
    choose_signer,
    leaves_in_clear,
    resolve_protect,
    resolve_unprotect,
)
from tests.unit.smime import agents
from tests.unit.transaction.company import ALICE, CAROL, state

SIGNER = agents.signer(agents.alice())
CERTIFICATE = agents.recipient(agents.person(CAROL))
ONE, TWO = (Address(ALICE),), (Address(ALICE), Address("bob@acme.example"))
REQUIRED, IF_POSSIBLE, NEVER = Requirement.REQUIRED, Requirement.IF_POSSIBLE, Requirement.NEVER


def treatments() -> Iterator[Treatment]:
    """Yield every treatment that protects and loads."""
    for sign, encrypt, fallback, unavailable in itertools.product(
        Requirement, Requirement, NoCertificate, OnUnavailable
    ):
        try:
            one = Treatment(sign=sign, encrypt=encrypt, no_certificate=fallback, unavailable=unavailable)
        except ValueError:
            continue
        if one.protects:
            yield one


def cases() -> Iterator[SigningCase]:
    for is_proven, senders, is_signed in itertools.product((True, False), (ONE, TWO, ()), (True, False)):
        yield SigningCase(is_proven=is_proven, senders=senders, is_signed=is_signed)


ANSWERS = {"found": True, "none": Nothing(), "unavailable": Unavailable("down")}


Expected = tuple[Outcome | None, Reason | None, Any]


def expected_signature(treatment: Treatment, case: SigningCase, answer: str) -> Expected:
    """Return (outcome that ends it, note or reason, whether we sign), by docs/policy.md."""
    if treatment.sign is NEVER:
        return None, None, False
    if case.is_signed:
        return None, Reason.ALREADY_SIGNED, False
    if not case.is_proven:
        reason, outcome = Reason.SENDER_NOT_PROVEN, Outcome.PROTECTION_IMPOSSIBLE
    elif len(case.senders) != 1:
        reason, outcome = Reason.SENDER_AMBIGUOUS, Outcome.PROTECTION_IMPOSSIBLE
    elif answer == "found":
        return None, None, True
    else:
        outcome = Outcome.OWN_KEY_UNAVAILABLE
        reason = Reason.NO_SIGNER if answer == "none" else Reason.SIGNER_UNAVAILABLE
    waits = reason is Reason.SIGNER_UNAVAILABLE and treatment.unavailable is OnUnavailable.DEFER
    return (outcome if treatment.sign is REQUIRED or waits else None), reason, False


def expected_encryption(treatment: Treatment, answer: str) -> Expected:
    """Return (outcome that ends it, note or reason, what is done: encrypt, sign or nothing)."""
    if treatment.encrypt is NEVER:
        return None, None, "sign"
    if answer == "found":
        return None, None, "encrypt"
    if answer == "none":
        if treatment.no_certificate is NoCertificate.REFUSE:
            return Outcome.PROTECTION_IMPOSSIBLE, Reason.NO_CERTIFICATE, ""
        done = "sign" if treatment.no_certificate is NoCertificate.SIGN else "nothing"
        return None, Reason.NO_CERTIFICATE, done
    if treatment.encrypt is REQUIRED or treatment.unavailable is OnUnavailable.DEFER:
        return Outcome.LOOKUP_UNAVAILABLE, Reason.LOOKUP_UNAVAILABLE, ""
    return None, Reason.LOOKUP_SKIPPED, "sign"


@pytest.mark.parametrize("treatment", [pytest.param(one, id="-".join(one.to_json().values())) for one in treatments()])
def test_the_sending_agent(treatment: Treatment) -> None:
    """Each row of the table comes out as the documentation of policies says, with its reason, and nothing else."""
    for case, signer_answer, certificate_answer in itertools.product(cases(), ANSWERS, ANSWERS):
        one = state()
        chosen = choose_signer(treatment, case)
        signer: Any = None
        if chosen is not None:
            signer = Found(SIGNER) if signer_answer == "found" else ANSWERS[signer_answer]
        certificates: Any = None
        if treatment.encrypt is not NEVER:
            certificates = Found((CERTIFICATE,)) if certificate_answer == "found" else ANSWERS[certificate_answer]

        work = resolve_protect(one, treatment, case, signer, certificates)

        refusal, why, signs = expected_signature(treatment, case, signer_answer)
        notes = [why] if why else []
        if refusal is None:
            refusal, why, done = expected_encryption(treatment, certificate_answer)
            notes += [why] if why and refusal is None else []
        if refusal is not None:
            assert (work, one.ending and one.ending.outcome, one.reason) == (None, refusal, why)
            continue
        assert work is not None
        assert one.ending is None
        assert one.notes == notes
        assert bool(work.certificates) is (done == "encrypt")
        assert (work.signer is not None) is (signs and done != "nothing")
        assert one.reason is (Reason.PROTECTED if work.protects else (notes[-1] if notes else Reason.PASSED))
        # Law 5, said once more without any of the above.
        assert treatment.encrypt is not REQUIRED or work.certificates
        assert treatment.sign is not REQUIRED or work.signer or case.is_signed


def test_whose_identity_is_looked_up() -> None:
    """The sender's, or the fixed one; nobody's where no signature may or need be made."""
    fixed = Address("office@acme.example")
    good = SigningCase(is_proven=True, senders=ONE, is_signed=False)
    assert choose_signer(Treatment(sign=REQUIRED), good) == ONE[0]
    assert choose_signer(Treatment(sign=IF_POSSIBLE, sign_as=fixed), good) == fixed
    assert choose_signer(Treatment(encrypt=REQUIRED), good) is None
    for bad in cases():
        if bad != good:
            assert choose_signer(Treatment(sign=REQUIRED, sign_as=fixed), bad) is None


@pytest.mark.parametrize("form", SignedForm)
def test_the_form_is_the_rules(form: SignedForm) -> None:
    """It matters only where we sign: what is passed is passed, whatever the form."""
    case = SigningCase(is_proven=True, senders=ONE, is_signed=False)
    signed = resolve_protect(state(), Treatment(sign=REQUIRED, form=form), case, Found(SIGNER), None)
    assert signed is not None
    assert signed.form.name == form.name
    unsigned = resolve_protect(state(), Treatment(sign=IF_POSSIBLE, form=form), case, Nothing(), None)
    assert unsigned is PASS


def test_what_is_required_never_gives_way_to_a_store_that_lies() -> None:
    """A look-up that says found and gives nothing: refused where it means none, and else a bug that ends all."""
    case = SigningCase(is_proven=True, senders=ONE, is_signed=False)
    one = state()
    assert resolve_protect(one, Treatment(encrypt=REQUIRED), case, None, Found(())) is None
    assert one.ending is not None
    assert one.ending.outcome is Outcome.PROTECTION_IMPOSSIBLE
    nothing: Any = Found(None)
    with pytest.raises(AssertionError, match="would give way"):
        resolve_protect(state(), Treatment(sign=REQUIRED), case, nothing, None)
    with pytest.raises(AssertionError, match="would give way"):
        resolve_protect(state(), Treatment(encrypt=REQUIRED), case, None, None)


# ---------------------------------------------------------------- the receiving agent


def closed_layer(reason: NotOpened | None) -> Layer:
    return Layer(type=LayerType.ENCRYPTED, form="enveloped-data", opened=reason is None, reason=reason)


SIGNED = Layer(type=LayerType.SIGNED, form="multipart/signed")


def found(*layers: Layer, result: ResultWord = ResultWord.NONE, opened: bool = False, codes: Any = ()) -> Unprotected:
    problems = tuple(Problem(code=code, text="") for code in codes)
    report = Report(result=result, layers=layers, problems=problems)
    return Unprotected(report=report, opened=b"opened" if opened else None)


def resolve(treatment: Treatment, seen: Unprotected, *, has_keys: bool = True, is_confidential: bool = True) -> Any:
    """Return (work, state)."""
    one = state(direction=Direction.INBOUND)
    work = resolve_unprotect(one, treatment, seen, has_keys=has_keys, is_confidential=is_confidential)
    assert (work is None) is (one.ending is not None)
    return work, one


MODES = {
    "required": DecryptMode.REQUIRED,
    "strict": DecryptMode.STRICT,
    "if-possible": DecryptMode.IF_POSSIBLE,
    "never": DecryptMode.NEVER,
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("reason", NotOpened)
@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "no keys"])
@pytest.mark.parametrize("under", [True, False], ids=["under an opened one", "alone"])
def test_closed_layers(mode: DecryptMode, reason: NotOpened, has_keys: bool, under: bool) -> None:
    """Required refuses each, by one reply; strict those that a fitting key does not open; the others hand them on."""
    layers = (closed_layer(None), closed_layer(reason)) if under else (closed_layer(reason),)
    treatment = Treatment(decrypt=mode, verify=VerifyMode.REPORT)
    work, one = resolve(treatment, found(*layers, opened=under), has_keys=has_keys)
    untouched = reason is NotOpened.NO_KEY or (reason is NotOpened.UNSUPPORTED and not under)
    refuses = mode is DecryptMode.REQUIRED or (mode is DecryptMode.STRICT and has_keys and not untouched)
    if refuses:
        assert (one.ending.outcome, one.reason) == (Outcome.LAYER_REFUSED, Reason.BROKEN_LAYER)
    else:
        assert work.hands_on_opened is (under and mode is not DecryptMode.NEVER)
        words = {NotOpened.NO_KEY: Reason.NO_KEY, NotOpened.UNSUPPORTED: Reason.UNSUPPORTED_LAYER}
        alone = words.get(reason, Reason.BROKEN_LAYER)
        assert one.reason is (Reason.OPENED if work.hands_on_opened else alone)


@pytest.mark.parametrize("first", NotOpened)
@pytest.mark.parametrize("second", NotOpened)
def test_strict_and_two_closed_layers(first: NotOpened, second: NotOpened) -> None:
    """Of two, both must lack a key: what is unsupported passes as the outermost layer alone, where it hides nothing."""
    treatment = Treatment(decrypt=DecryptMode.STRICT, verify=VerifyMode.REPORT)
    work, one = resolve(treatment, found(closed_layer(first), closed_layer(second)))
    if first is second is NotOpened.NO_KEY:
        assert (work.hands_on_opened, one.ending) == (False, None)
    else:
        assert (one.ending.outcome, one.reason) == (Outcome.LAYER_REFUSED, Reason.BROKEN_LAYER)


def test_strict_hands_on_what_is_unsupported_only_where_nothing_else_is_asked() -> None:
    """Required verification refuses it: nothing is known of what lies under it."""
    seen = found(closed_layer(NotOpened.UNSUPPORTED))
    work, one = resolve(Treatment(decrypt=DecryptMode.STRICT, verify=VerifyMode.REQUIRED), seen)
    assert (work, one.ending.outcome, one.reason) == (None, Outcome.LAYER_REFUSED, Reason.NOT_VERIFIED)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_encryption_under_a_signature(mode: DecryptMode) -> None:
    """It was looked into and stays in the message: only required refuses that."""
    seen = found(SIGNED, closed_layer(None), result=ResultWord.PASS, codes=[ProblemCode.ENCRYPTED_INSIDE_SIGNED])
    work, one = resolve(Treatment(decrypt=mode, verify=VerifyMode.REPORT), seen)
    if mode is DecryptMode.REQUIRED:
        assert one.ending.outcome is Outcome.LAYER_REFUSED
    else:
        assert not work.hands_on_opened


@pytest.mark.parametrize("mode", [DecryptMode.REQUIRED, DecryptMode.STRICT, DecryptMode.IF_POSSIBLE])
@pytest.mark.parametrize("is_confidential", [True, False], ids=["confidential", "not confidential"])
def test_opened_mail_and_the_link(mode: DecryptMode, is_confidential: bool) -> None:
    """Opened mail waits for a link that may carry it."""
    work, one = resolve(
        Treatment(decrypt=mode), found(closed_layer(None), opened=True), is_confidential=is_confidential
    )
    if is_confidential:
        assert (work.hands_on_opened, work.reports, one.reason) == (True, False, Reason.OPENED)
    else:
        assert (one.ending.outcome, one.reason) == (Outcome.LINK_NOT_TRUSTED, Reason.LINK_NOT_TRUSTED)


@pytest.mark.parametrize("result", ResultWord)
@pytest.mark.parametrize("encrypted", [True, False], ids=["under encryption", "in clear"])
def test_required_verification(result: ResultWord, encrypted: bool) -> None:
    """Only pass is delivered; a wrong signature is told as such only where no encrypted layer is above it."""
    layers = (closed_layer(None), SIGNED) if encrypted else (SIGNED,)
    treatment = Treatment(decrypt=DecryptMode.IF_POSSIBLE, verify=VerifyMode.REQUIRED)
    work, one = resolve(treatment, found(*layers, result=result, opened=encrypted))
    if result is ResultWord.PASS:
        assert work.reports
        assert one.reason is (Reason.OPENED if encrypted else Reason.VERIFIED)
        assert one.notes == ([Reason.VERIFIED] if encrypted else [])
    else:
        plain = result is ResultWord.FAIL and not encrypted
        assert one.ending.outcome is (Outcome.INTEGRITY_REFUSED if plain else Outcome.LAYER_REFUSED)
        assert one.reason is Reason.NOT_VERIFIED


@pytest.mark.parametrize(
    ("seen", "reports", "reason"),
    [
        (found(), True, Reason.NOT_PROTECTED),
        (found(), False, Reason.NOT_PROTECTED),
        (found(SIGNED, result=ResultWord.PASS), True, Reason.VERIFIED),
        (found(SIGNED, result=ResultWord.FAIL), True, Reason.NOT_VERIFIED),
        (found(SIGNED, result=ResultWord.FAIL), False, Reason.PASSED),
    ],
)
def test_what_is_only_reported(seen: Unprotected, reports: bool, reason: Reason) -> None:
    """Delivered whatever was found, with the reason."""
    verify = VerifyMode.REPORT if reports else VerifyMode.NEVER
    work, one = resolve(Treatment(decrypt=DecryptMode.STRICT, verify=verify), seen)
    assert (work.reports, one.reason, one.notes) == (reports, reason, [])


def test_opened_mail_that_does_not_verify_says_both() -> None:
    """The reason and a note."""
    seen = found(closed_layer(None), SIGNED, result=ResultWord.POLICY, opened=True)
    _, one = resolve(Treatment(decrypt=DecryptMode.STRICT, verify=VerifyMode.REPORT), seen)
    assert (one.reason, one.notes) == (Reason.OPENED, [Reason.NOT_VERIFIED])


@pytest.mark.parametrize("direction", Direction)
def test_what_leaves_in_clear(direction: Direction) -> None:
    """Only to the outside, and only without encryption."""
    one = state(direction=direction)
    outside = direction is Direction.OUTBOUND
    assert leaves_in_clear(one, PASS) is outside
    assert leaves_in_clear(one, Work(signer=SIGNER)) is outside
    assert leaves_in_clear(one, Work(certificates=(CERTIFICATE,))) is False
