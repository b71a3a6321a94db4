"""From a decision to work: what one recipient gets, given what the look-ups answered.

This is where ``required`` fails closed, where an unavailable look-up defers or is skipped as the rule says, and where
each way of not doing something leaves its reason. The functions end a recipient (``state.refuse``) or return its work.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.address import Address
from gateway.lookup import Answer, Found, Nothing, Unavailable
from gateway.outcome import Outcome
from gateway.policy import (
    DecryptMode,
    Direction,
    NoCertificate,
    OnUnavailable,
    Reason,
    Requirement,
    Treatment,
    VerifyMode,
)
from gateway.smime import (
    NotOpened,
    ProblemCode,
    RecipientCertificate,
    Report,
    SignedForm,
    SigningIdentity,
    Unprotected,
)
from gateway.transaction.plan import PASS, Work
from gateway.transaction.state import RecipientState


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningCase:
    """What is known about signing this message, the same for every recipient with the same treatment."""

    is_proven: bool
    """Whether the transaction proves its sender."""
    senders: tuple[Address, ...]
    is_signed: bool
    """Whether the message came with a signature that is intact, valid and names the sender."""


def choose_signer(treatment: Treatment, case: SigningCase) -> Address | None:
    """Return whose identity is to be looked up; ``None`` where no signature may or need be made."""
    if treatment.sign is Requirement.NEVER or not case.is_proven or len(case.senders) != 1 or case.is_signed:
        return None
    return treatment.sign_as or case.senders[0]


def resolve_protect(
    state: RecipientState,
    treatment: Treatment,
    signing: SigningCase,
    signer_answer: Answer[SigningIdentity] | None,
    certificates: Answer[tuple[RecipientCertificate, ...]] | None,
) -> Work | None:
    """Return the work of the sending agent, or ``None``: the recipient has ended.

    The answers are ``None`` where no look-up was made.
    """
    signer = _resolve_signer(state, treatment, signing, signer_answer)
    if state.ending is not None:
        return None
    state.reason = Reason.PROTECTED
    work = _resolve_encryption(state, treatment, signer, certificates)
    if work is not None and not _keeps_what_is_required(work, treatment, signing):
        raise AssertionError("what is required would give way")
    return work


def _keeps_what_is_required(work: Work, treatment: Treatment, signing: SigningCase) -> bool:
    """The last look before anything is built: nothing above may let ``required`` give way (law 5)."""
    is_signed = work.signer is not None or signing.is_signed
    return (treatment.encrypt is not Requirement.REQUIRED or bool(work.certificates)) and (
        treatment.sign is not Requirement.REQUIRED or is_signed
    )


def _resolve_encryption(
    state: RecipientState,
    treatment: Treatment,
    signer: SigningIdentity | None,
    certificates: Answer[tuple[RecipientCertificate, ...]] | None,
) -> Work | None:
    if certificates is None or treatment.encrypt is Requirement.NEVER:
        return _signed_only(state, treatment, signer)
    match certificates:
        case Found(value) if value:
            return Work(signer=signer, form=SignedForm[treatment.form.name], certificates=value)
        case Found() | Nothing():
            return _without_certificate(state, treatment, signer)
        case Unavailable():
            if treatment.encrypt is Requirement.REQUIRED or treatment.unavailable is OnUnavailable.DEFER:
                state.refuse(Outcome.LOOKUP_UNAVAILABLE, Reason.LOOKUP_UNAVAILABLE)
                return None
            state.notes.append(Reason.LOOKUP_SKIPPED)
            return _signed_only(state, treatment, signer)


def _without_certificate(state: RecipientState, treatment: Treatment, signer: SigningIdentity | None) -> Work | None:
    if treatment.encrypt is Requirement.REQUIRED or treatment.no_certificate is NoCertificate.REFUSE:
        state.refuse(Outcome.PROTECTION_IMPOSSIBLE, Reason.NO_CERTIFICATE)
        return None
    state.notes.append(Reason.NO_CERTIFICATE)
    return _signed_only(state, treatment, None if treatment.no_certificate is NoCertificate.CLEAR else signer)


def _signed_only(state: RecipientState, treatment: Treatment, signer: SigningIdentity | None) -> Work:
    if signer is None:
        state.reason = state.notes[-1] if state.notes else Reason.PASSED
        return PASS
    return Work(signer=signer, form=SignedForm[treatment.form.name])


def _resolve_signer(
    state: RecipientState, treatment: Treatment, case: SigningCase, answer: Answer[SigningIdentity] | None
) -> SigningIdentity | None:
    if treatment.sign is Requirement.NEVER:
        return None
    if case.is_signed:
        state.notes.append(Reason.ALREADY_SIGNED)
        return None
    required = treatment.sign is Requirement.REQUIRED
    outcome, reason, refuses = Outcome.OWN_KEY_UNAVAILABLE, Reason.NO_SIGNER, required
    if not case.is_proven or len(case.senders) != 1:
        outcome = Outcome.PROTECTION_IMPOSSIBLE
        reason = Reason.SENDER_AMBIGUOUS if case.is_proven else Reason.SENDER_NOT_PROVEN
    elif isinstance(answer, Found):
        return answer.value
    elif isinstance(answer, Unavailable):
        # A key that is there and cannot be used: our fault, not the sender's, so 4yz.
        reason, refuses = Reason.SIGNER_UNAVAILABLE, required or treatment.unavailable is OnUnavailable.DEFER
    if refuses:
        state.refuse(outcome, reason)
    else:
        state.notes.append(reason)
    return None


def resolve_unprotect(
    state: RecipientState, treatment: Treatment, unprotected: Unprotected, *, has_keys: bool, is_confidential: bool
) -> Work | None:
    """Return the work of the receiving agent, or ``None``: the recipient has ended.

    ``has_keys`` tells whether there was any key of this recipient to try, ``is_confidential`` whether the upstream may
    carry opened mail (law 10).
    """
    opens = treatment.decrypt is not DecryptMode.NEVER and unprotected.opened is not None
    if not _may_stay_closed(treatment.decrypt, unprotected.report, has_keys=has_keys):
        # One reply for every cause, whatever it was (law 10).
        state.refuse(Outcome.LAYER_REFUSED, Reason.BROKEN_LAYER)
        return None
    if treatment.verify is VerifyMode.REQUIRED and unprotected.report.result != "pass":
        state.refuse(_verification_refusal(unprotected), Reason.NOT_VERIFIED)
        return None
    if opens and not is_confidential:
        state.refuse(Outcome.LINK_NOT_TRUSTED, Reason.LINK_NOT_TRUSTED)
        return None
    reports = treatment.verify is not VerifyMode.NEVER
    state.reason = _found(unprotected, opens=opens, reports=reports)
    if opens and reports:
        state.notes.append(Reason.VERIFIED if unprotected.report.result == "pass" else Reason.NOT_VERIFIED)
    return Work(unprotected=unprotected, hands_on_opened=opens, reports=reports)


def _may_stay_closed(mode: DecryptMode, report: Report, *, has_keys: bool) -> bool:
    """Whether the layers that the message keeps may be handed on as they are."""
    closed = [layer.reason for layer in report.layers if layer.reason is not None]
    if mode is DecryptMode.REQUIRED:
        # What lies under a signature is looked into for the report, and stays closed in the message.
        return not closed and ProblemCode.ENCRYPTED_INSIDE_SIGNED not in report.codes
    if mode is DecryptMode.STRICT and has_keys:
        # An outermost layer in an algorithm that we do not have is known before any key is used: nobody has tampered
        # with it. What is under an opened layer may have been changed through it, and hears the one word.
        is_outermost = len(closed) == 1 and report.layers[0].reason is NotOpened.UNSUPPORTED
        return is_outermost or all(reason is NotOpened.NO_KEY for reason in closed)
    return True


def _verification_refusal(unprotected: Unprotected) -> Outcome:
    is_under_encryption = any(layer.type == "encrypted" for layer in unprotected.report.layers)
    if unprotected.report.result == "fail" and not is_under_encryption:
        return Outcome.INTEGRITY_REFUSED
    return Outcome.LAYER_REFUSED


_CLOSED_REASONS = {
    NotOpened.NO_KEY: Reason.NO_KEY,
    NotOpened.UNSUPPORTED: Reason.UNSUPPORTED_LAYER,
}


def _found(unprotected: Unprotected, *, opens: bool, reports: bool) -> Reason:
    report = unprotected.report
    closed = next((layer.reason for layer in report.layers if layer.reason is not None), None)
    if opens:
        return Reason.OPENED
    if closed is not None:
        return _CLOSED_REASONS.get(closed, Reason.BROKEN_LAYER)
    if not report.layers:
        return Reason.NOT_PROTECTED
    if not reports:
        return Reason.PASSED
    return Reason.VERIFIED if report.result == "pass" else Reason.NOT_VERIFIED


def leaves_in_clear(state: RecipientState, work: Work) -> bool:
    """Whether the message leaves the house in clear for this recipient: then it may carry nothing opened (law 10)."""
    return state.direction is Direction.OUTBOUND and not work.certificates
