"""Signed layers of the receiving agent: checks every SignerInfo of one layer and reports each judgement for itself.

What it does: finds the signer's certificate (in the message, else among those at hand), checks the signature over the
octets that the layer covers, builds the certification path, compares the certificate's addresses with the sender.

Standards: RFC 5652 5.4, 5.6; RFC 8551 2.2, 3.5; RFC 8550 3, 4. What a clear-signed layer covers is its first MIME part
and never the content that a SignedData may carry beside it (RFC 8551 3.5.3 forbids it): such a layer is malformed.

Never raises for what a message holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gateway.cms import SignedData, SignerInfo, check_signature, find_certificate, parse_signed_data
from gateway.errors import CertificateError, CmsError, UnsupportedCms
from gateway.limits import Limits
from gateway.pkix import Certificate, PathState, PathValidator, Purpose, load_certificate
from gateway.smime.classify import Kind, LayerView
from gateway.smime.identity import Sender, judge_identity
from gateway.smime.report import Layer, Problem, SignerReport, fold_beside_sender, fold_signers
from gateway.smime.words import Identity, LayerType, ProblemCode, ResultWord, SignatureState


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a signature is judged by."""

    anchors: PathValidator | None
    """``None`` leaves every path unchecked."""
    certificates: tuple[Certificate, ...]
    """Further certificates at hand."""
    crls: tuple[bytes, ...]
    moment: datetime
    sender: Sender
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedLayer:
    """A signed layer, checked."""

    layer: Layer
    result: ResultWord
    """As the outermost signed layer."""
    result_beside_sender: ResultWord
    """As an inner layer: its signers need not be the sender."""
    content: bytes | None
    """What the layer covers: the next layer's octets; ``None`` when it cannot be told."""
    problems: tuple[Problem, ...]


def verify_layer(view: LayerView, trust: Trust) -> VerifiedLayer:
    """Check one signed layer (of kind ``CLEAR_SIGNED`` or ``SIGNED_DATA``)."""
    form = _FORMS[view.kind]
    try:
        signed = parse_signed_data(view.der, trust.limits)
    except CmsError as error:
        return _unreadable(form, view.signed_part, error)
    content = signed.content if view.signed_part is None else view.signed_part
    problems = tuple(_problems_of(view, signed))
    certificates = _load(signed.certificates)
    signers = tuple(_check(info, signed, certificates, content, trust) for info in signed.signers)
    layer = Layer(type=LayerType.SIGNED, form=form, signers=signers)
    results = [fold_signers(signers), fold_beside_sender(signers)]
    if problems:
        results = [
            word if word is ResultWord.FAIL and content is not None else ResultWord.PERMERROR for word in results
        ]
    return VerifiedLayer(
        layer=layer, result=results[0], result_beside_sender=results[1], content=content, problems=problems
    )


_DATA: Final = "1.2.840.113549.1.7.1"
_FORMS: Final = {Kind.CLEAR_SIGNED: "multipart/signed", Kind.SIGNED_DATA: "signed-data"}


def unreadable_layer(claim: Kind, reason: str) -> VerifiedLayer:
    """Return the report of what says that it is signed and cannot be read at all."""
    return _unreadable(_FORMS[claim], None, CmsError(reason))


def _unreadable(form: str, content: bytes | None, error: CmsError) -> VerifiedLayer:
    unsupported = isinstance(error, UnsupportedCms)
    result = ResultWord.NEUTRAL if unsupported else ResultWord.PERMERROR
    return VerifiedLayer(
        layer=Layer(type=LayerType.SIGNED, form=form),
        result=result,
        result_beside_sender=result,
        content=content,
        problems=(
            Problem(
                code=ProblemCode.UNSUPPORTED if unsupported else ProblemCode.MALFORMED,
                text=f"a signed layer cannot be read: {error}",
            ),
        ),
    )


def _problems_of(view: LayerView, signed: SignedData) -> Iterable[Problem]:
    if not signed.signers:
        yield Problem(code=ProblemCode.NO_SIGNER, text="a signed layer has no SignerInfo")
    if view.signed_part is not None and signed.content is not None:
        yield Problem(
            code=ProblemCode.MALFORMED, text="a clear-signed layer carries a second content beside the signed part"
        )
    if view.signed_part is None and signed.content is None:
        yield Problem(code=ProblemCode.MALFORMED, text="a signed-data layer without content")
    if signed.content_type != _DATA:
        # Signatures of other protocols (time stamps, signed code) are SignedData too, and say nothing about mail.
        yield Problem(code=ProblemCode.MALFORMED, text=f"a signed layer of content type {signed.content_type}")


def _check(
    info: SignerInfo, signed: SignedData, certificates: Sequence[Certificate], content: bytes | None, trust: Trust
) -> SignerReport:
    found = SignerReport(
        issuer="",
        serial=serial_text(info.sid.serial),
        digest=info.digest_label,
        signature=info.signature_label,
        signing_time=info.signing_time,
        reason="the signer's certificate is neither in the message nor at hand",
        state=SignatureState.NO_CERTIFICATE,
    )
    at_hand = (*signed.certificates, *(certificate.der for certificate in trust.certificates))
    certificate = _find(info, at_hand)
    if certificate is None:
        return found
    found = replace(
        found,
        email=certificate.emails,
        subject=certificate.subject,
        issuer=certificate.issuer,
        serial=serial_text(certificate.serial),
        identity=judge_identity(trust.sender, certificate),
        certificate_der=certificate.der,
        reason="",
        state=SignatureState.CHECKED,
    )
    found = _check_signature(found, info, certificate, content)
    return _check_path(found, certificate, (*certificates, *trust.certificates), signed.crls, trust)


def _check_signature(
    found: SignerReport, info: SignerInfo, certificate: Certificate, content: bytes | None
) -> SignerReport:
    if content is None:
        return replace(found, reason="there is no content to check the signature against")
    try:
        check = check_signature(info, certificate.der, content)
    except UnsupportedCms as error:
        return replace(found, state=SignatureState.UNSUPPORTED, reason=str(error))
    return replace(
        found,
        intact=check.intact,
        valid=check.valid,
        digest=check.digest,
        signature=check.signature,
        algorithm=check.verdict,
        reason=check.reason,
    )


def _check_path(
    found: SignerReport, certificate: Certificate, others: Sequence[Certificate], crls: Sequence[bytes], trust: Trust
) -> SignerReport:
    if trust.anchors is None:
        return found
    path = trust.anchors.validate(
        certificate, others, moment=trust.moment, purpose=Purpose.SIGN, crls=(*trust.crls, *crls)
    )
    found = replace(found, path=path.state, revocation=path.revocation, revocation_asked=bool(trust.crls))
    return replace(found, reason=found.reason or _reason(found, path.reason))


def _reason(found: SignerReport, path_reason: str) -> str:
    if found.path is not PathState.VALID:
        return path_reason
    return _IDENTITY_REASONS.get(found.identity, "")


_IDENTITY_REASONS: Final = {
    Identity.MISMATCH: "the certificate does not name the sender",
    Identity.AMBIGUOUS: "the message does not say without doubt who the sender is",
    Identity.ABSENT: "there is no sender or no address to compare",
}


def _find(info: SignerInfo, at_hand: Sequence[bytes]) -> Certificate | None:
    der = find_certificate(info, at_hand)
    if der is None:
        return None
    try:
        return load_certificate(der)
    except CertificateError:
        return None


def _load(certificates_der: Iterable[bytes]) -> tuple[Certificate, ...]:
    loaded = []
    for der in certificates_der:
        try:
            loaded.append(load_certificate(der))
        except CertificateError:  # somebody else's broken certificate must not spoil the signer's path
            continue
    return tuple(loaded)


def serial_text(serial: int | None) -> str:
    """Return a serial number as hexadecimal digits, upper case, an even number of them; empty for ``None``."""
    if serial is None:
        return ""
    digits = f"{abs(serial):X}"
    return ("-" if serial < 0 else "") + ("0" if len(digits) % 2 else "") + digits
