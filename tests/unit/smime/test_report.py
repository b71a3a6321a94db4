"""The report folds to the words of RFC 8601 exactly as the contract of the command line says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from gateway.cms import Verdict
from gateway.pkix import PathState, RevocationState
from gateway.smime import (
    Identity,
    Layer,
    LayerType,
    NotOpened,
    Problem,
    ProblemCode,
    Report,
    ResultWord,
    SignatureState,
    SignerReport,
)
from gateway.smime.report import fold_signers

GOOD = SignerReport(
    email=("alice@acme.example",),
    subject="CN=alice",
    issuer="CN=ca",
    serial="0A",
    digest="sha256",
    signature="rsa",
    signing_time=datetime(2026, 6, 1, 14, tzinfo=timezone(timedelta(hours=2))),
    intact=True,
    valid=True,
    path=PathState.VALID,
    revocation=RevocationState.UNCHECKED,
    identity=Identity.MATCH,
    algorithm=Verdict.ACCEPTABLE,
    certificate_der=b"alice",
)
CO_SIGNER = replace(GOOD, identity=Identity.MISMATCH, certificate_der=b"notary", serial="0B")
W = ResultWord


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param({}, W.PASS, id="all good"),
        pytest.param({"revocation": RevocationState.GOOD}, W.PASS, id="not revoked"),
        pytest.param({"revocation": RevocationState.UNKNOWN}, W.PASS, id="revocation unknown"),
        pytest.param(
            {"revocation": RevocationState.GOOD, "revocation_asked": True}, W.PASS, id="not revoked, and asked for"
        ),
        pytest.param(
            {"revocation": RevocationState.UNKNOWN, "revocation_asked": True}, W.TEMPERROR, id="unknown, and asked for"
        ),
        pytest.param(
            {"revocation": RevocationState.UNKNOWN, "revocation_asked": True, "identity": Identity.MISMATCH},
            W.POLICY,
            id="unknown, and not acceptable anyway",
        ),
        pytest.param({"intact": False}, W.FAIL, id="content changed"),
        pytest.param({"valid": False}, W.FAIL, id="signature wrong"),
        pytest.param({"intact": False, "path": PathState.EXPIRED}, W.FAIL, id="wrong before not acceptable"),
        *(
            pytest.param({"path": state}, W.POLICY, id=f"path {state}")
            for state in PathState
            if state is not PathState.VALID
        ),
        pytest.param({"revocation": RevocationState.REVOKED}, W.POLICY, id="revoked"),
        *(
            pytest.param({"identity": identity}, W.POLICY, id=f"identity {identity}")
            for identity in Identity
            if identity is not Identity.MATCH
        ),
        pytest.param({"algorithm": Verdict.LEGACY}, W.POLICY, id="legacy"),
        pytest.param({"algorithm": Verdict.REFUSED}, W.POLICY, id="refused"),
        pytest.param({"state": SignatureState.UNSUPPORTED}, W.NEUTRAL, id="unsupported"),
        pytest.param({"state": SignatureState.NO_CERTIFICATE}, W.PERMERROR, id="no certificate"),
    ],
)
def test_one_signer(change: dict[str, object], word: ResultWord) -> None:
    """Each judgement alone decides."""
    assert fold_signers([replace(GOOD, **change)]) is word  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signers", "word"),
    [
        pytest.param([], W.PERMERROR, id="nobody"),
        pytest.param([GOOD, GOOD], W.PASS, id="twice the same"),
        pytest.param([GOOD, replace(GOOD, valid=False)], W.PASS, id="one of the signer's is enough"),
        pytest.param([replace(GOOD, algorithm=Verdict.REFUSED), GOOD], W.PASS, id="old and new algorithm"),
        pytest.param([GOOD, CO_SIGNER], W.PASS, id="co-signer who is not the sender"),
        pytest.param([CO_SIGNER], W.POLICY, id="only somebody else"),
        pytest.param([GOOD, replace(CO_SIGNER, valid=False)], W.FAIL, id="co-signer wrong"),
        pytest.param([GOOD, replace(CO_SIGNER, path=PathState.UNTRUSTED)], W.POLICY, id="co-signer untrusted"),
        pytest.param([GOOD, replace(CO_SIGNER, state=SignatureState.UNSUPPORTED)], W.PASS, id="co-signer unsupported"),
        pytest.param([replace(GOOD, valid=False), CO_SIGNER], W.FAIL, id="sender wrong, co-signer right"),
        pytest.param(
            [replace(GOOD, path=PathState.EXPIRED), replace(CO_SIGNER, state=SignatureState.NO_CERTIFICATE)],
            W.PERMERROR,
            id="the worst of those that do not pass",
        ),
    ],
)
def test_several_signers(signers: list[SignerReport], word: ResultWord) -> None:
    """Alternatives of one signer, and every signer that must be."""
    assert fold_signers(signers) is word
    assert fold_signers(signers[::-1]) is word


def test_json_is_the_object_of_the_contract() -> None:
    """Keys and words exactly; what can be written with the standard library's json."""
    report = Report(
        result=W.PASS,
        layers=(
            Layer(
                type=LayerType.ENCRYPTED,
                form="enveloped-data",
                algorithm="aes-256-cbc",
                recipients=({"serial": "0A"},),
                opened=False,
                reason=NotOpened.NO_KEY,
            ),
            Layer(type=LayerType.SIGNED, form="signed-data", signers=(GOOD,)),
            Layer(type=LayerType.COMPRESSED, form="compressed-data"),
            Layer(type=LayerType.CERTS_ONLY, form="signed-data"),
        ),
        problems=(Problem(code=ProblemCode.NO_KEY, text="none"),),
    )
    assert json.loads(json.dumps(report.to_json())) == {
        "result": "pass",
        "layers": [
            {
                "type": "encrypted",
                "form": "enveloped-data",
                "algorithm": "aes-256-cbc",
                "recipients": [{"serial": "0A"}],
                "opened": False,
                "reason": "no-key",
            },
            {
                "type": "signed",
                "form": "signed-data",
                "signers": [
                    {
                        "email": ["alice@acme.example"],
                        "subject": "CN=alice",
                        "issuer": "CN=ca",
                        "serial": "0A",
                        "digest": "sha256",
                        "signature": "rsa",
                        "signing_time": "2026-06-01T12:00:00Z",
                        "intact": True,
                        "valid": True,
                        "path": "valid",
                        "revocation": "unchecked",
                        "identity": "match",
                        "algorithm": "acceptable",
                        "reason": "",
                    }
                ],
            },
            {"type": "compressed", "form": "compressed-data"},
            {"type": "certs-only", "form": "signed-data"},
        ],
        "problems": [{"code": "no-key", "text": "none"}],
    }


def test_the_words_are_those_of_the_contract() -> None:
    """A new word is a change of the contract."""
    assert {word.value for word in ResultWord} == {
        "none", "pass", "fail", "policy", "neutral", "temperror", "permerror",
    }  # fmt: skip
    assert {word.value for word in NotOpened} == {"no-key", "broken", "unsupported", "not-mime", "refused"}
    assert {word.value for word in Identity} == {"match", "mismatch", "ambiguous", "absent"}
    assert {word.value for word in LayerType} == {"signed", "encrypted", "compressed", "certs-only"}


def test_no_time_stays_none() -> None:
    """A signature without signingTime has null in JSON."""
    assert replace(GOOD, signing_time=None).to_json()["signing_time"] is None


def test_views_of_a_report() -> None:
    """The outermost signed layer, whether anything is encrypted, and the codes."""
    signed = Layer(type=LayerType.SIGNED, form="signed-data")
    encrypted = Layer(type=LayerType.ENCRYPTED, form="enveloped-data")
    problem = Problem(code=ProblemCode.BROKEN, text="")
    report = Report(result=W.NONE, layers=(encrypted, signed), problems=(problem, problem))
    assert report.signed is signed
    assert report.is_encrypted
    assert report.codes == {ProblemCode.BROKEN}
    empty = Report(result=W.NONE)
    assert empty.signed is None
    assert not empty.is_encrypted
