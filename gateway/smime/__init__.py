"""S/MIME as the two agents of RFC 8551 see it: protect (sending agent) and unprotect (receiving agent)."""

from gateway.smime.check import check_enveloped, check_signed
from gateway.smime.classify import Classification, Kind, classify, classify_entity
from gateway.smime.marks import OPENED_MARK_FIELD, carries_opened_mark, count_own_visits, opened_mark, trace_token
from gateway.smime.model import (
    DecryptionKey,
    RecipientCertificate,
    SigningIdentity,
    recipient_certificate,
    signing_identity,
)
from gateway.smime.protect import (
    Protectable,
    Protected,
    Sealed,
    SignedForm,
    assemble,
    envelop,
    prepare,
    seal,
    sign,
)
from gateway.smime.report import Layer, Problem, Report, SignerReport
from gateway.smime.results import authentication_results
from gateway.smime.trust_marks import strip_trust_marks
from gateway.smime.unprotect import Unprotected, inspect, unprotect
from gateway.smime.words import Identity, LayerType, NotOpened, ProblemCode, ResultWord, SignatureState

__all__ = [
    "OPENED_MARK_FIELD",
    "Classification",
    "DecryptionKey",
    "Identity",
    "Kind",
    "Layer",
    "LayerType",
    "NotOpened",
    "Problem",
    "ProblemCode",
    "Protectable",
    "Protected",
    "RecipientCertificate",
    "Report",
    "ResultWord",
    "Sealed",
    "SignatureState",
    "SignedForm",
    "SignerReport",
    "SigningIdentity",
    "Unprotected",
    "assemble",
    "authentication_results",
    "carries_opened_mark",
    "check_enveloped",
    "check_signed",
    "classify",
    "classify_entity",
    "count_own_visits",
    "envelop",
    "inspect",
    "opened_mark",
    "prepare",
    "recipient_certificate",
    "seal",
    "sign",
    "signing_identity",
    "strip_trust_marks",
    "trace_token",
    "unprotect",
]
