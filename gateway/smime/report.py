"""The report of the receiving agent: layers, signers and problems, and the one word they fold into.

What it does: keeps apart what is known of each signature (content intact, signature valid, path, revocation, identity,
algorithm) and folds it to the result words of RFC 8601 2.7 as RFC 7281 3 uses them for S/MIME:

- *pass*: intact, valid, path valid, certificate names the sender, algorithm acceptable, for every signer that must be
- *fail*: content or signature wrong
- *policy*: cryptographically right and not acceptable
- *temperror*: revocation was asked for, and is not known at this time
- *neutral*: cannot be processed; *permerror*: malformed, or the signer's certificate is not to be had (RFC 7281 3.1)
- *none*: no signed layer covers the whole message

Several SignerInfos of one signer are alternatives: one that passes is enough (RFC 5652 5). Of several signers each must
hold cryptographically and have a path, and one of them must be the sender; a co-signer whose algorithm is not supported
does not spoil a signature that passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway.cms import Verdict
from gateway.pkix import PathState, RevocationState
from gateway.smime.words import Identity, LayerType, NotOpened, ProblemCode, ResultWord, SignatureState


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerReport:
    """What is known of one SignerInfo. Never one bool: each judgement stands for itself."""

    email: tuple[str, ...] = ()
    """Addresses that the certificate names; foreign text."""
    subject: str = ""
    """Subject of the certificate (RFC 4514); foreign text."""
    issuer: str = ""
    """Issuer (RFC 4514), from the certificate or else from the SignerIdentifier; foreign text."""
    serial: str = ""
    """Serial number in hexadecimal digits, upper case, an even number of them."""
    digest: str = ""
    """Label of the digest algorithm, ``sha256``."""
    signature: str = ""
    """Label of the signature algorithm, ``rsa``."""
    signing_time: datetime | None = None
    """What the signer claims (RFC 5652 11.3); proves nothing."""
    state: SignatureState = SignatureState.CHECKED
    intact: bool = False
    """The message digest is that of the content."""
    valid: bool = False
    """The signature is that of the certificate's key."""
    path: PathState = PathState.UNCHECKED
    revocation: RevocationState = RevocationState.UNCHECKED
    revocation_asked: bool = False
    """CRLs were given to judge by, beside those that the message brought: then *unknown* is not enough."""
    identity: Identity = Identity.ABSENT
    algorithm: Verdict = Verdict.REFUSED
    """The weakest of what the signature is made with."""
    reason: str = ""
    """Why it is not as it should be, one sentence of ours; empty when all is well."""
    certificate_der: bytes | None = None
    """The signer's certificate."""

    @property
    def word(self) -> ResultWord:
        """The result if this were the only signature."""
        return self._fold(with_identity=True)

    @property
    def word_beside_sender(self) -> ResultWord:
        """The result as a co-signer, who need not be the sender."""
        return self._fold(with_identity=False)

    def _fold(self, *, with_identity: bool) -> ResultWord:
        if self.state is SignatureState.UNSUPPORTED:
            return ResultWord.NEUTRAL
        if self.state is SignatureState.NO_CERTIFICATE:
            return ResultWord.PERMERROR
        if not (self.intact and self.valid):
            return ResultWord.FAIL
        acceptable = (
            self.path is PathState.VALID
            and self.revocation is not RevocationState.REVOKED
            and self.algorithm is Verdict.ACCEPTABLE
            and (self.identity is Identity.MATCH or not with_identity)
        )
        if acceptable and self.revocation_asked and self.revocation is not RevocationState.GOOD:
            return ResultWord.TEMPERROR
        return ResultWord.PASS if acceptable else ResultWord.POLICY

    def to_json(self) -> dict[str, Any]:
        """Return the object of the CLI contract."""
        return {
            "email": list(self.email),
            "subject": self.subject,
            "issuer": self.issuer,
            "serial": self.serial,
            "digest": self.digest,
            "signature": self.signature,
            "signing_time": _rfc3339(self.signing_time),
            "intact": self.intact,
            "valid": self.valid,
            "path": self.path.value,
            "revocation": self.revocation.value,
            "identity": self.identity.value,
            "algorithm": self.algorithm.value,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One S/MIME layer that is the whole of the message, or the whole content of the layer above it."""

    type: LayerType
    form: str
    """``multipart/signed``, ``signed-data``, ``enveloped-data``, ``authEnveloped-data`` or ``compressed-data``."""
    signers: tuple[SignerReport, ...] = ()
    """Signed layers only."""
    algorithm: str = ""
    """Encrypted layers only: label of the content encryption, or its OID."""
    recipients: tuple[Mapping[str, str], ...] = ()
    """Encrypted layers only: how each RecipientInfo names its recipient."""
    opened: bool = False
    """Encrypted layers only."""
    reason: NotOpened | None = None
    """Encrypted layers only: why it was not opened."""

    def to_json(self) -> dict[str, Any]:
        """Return the object of the CLI contract."""
        found: dict[str, Any] = {"type": self.type.value, "form": self.form}
        if self.type is LayerType.SIGNED:
            found["signers"] = [signer.to_json() for signer in self.signers]
        elif self.type is LayerType.ENCRYPTED:
            found["algorithm"] = self.algorithm
            found["recipients"] = [dict(recipient) for recipient in self.recipients]
            found["opened"] = self.opened
            found["reason"] = self.reason.value if self.reason else None
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is to be said about the message."""

    code: ProblemCode
    text: str
    """One sentence of ours, without content of the message."""

    def to_json(self) -> dict[str, str]:
        """Return the object of the CLI contract."""
        return {"code": self.code.value, "text": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the receiving agent found."""

    result: ResultWord
    """About the outermost signed layer that covers the whole message."""
    layers: tuple[Layer, ...] = ()
    """Outermost first."""
    problems: tuple[Problem, ...] = ()

    @property
    def signed(self) -> Layer | None:
        """The outermost signed layer, of which ``result`` speaks."""
        return next((layer for layer in self.layers if layer.type is LayerType.SIGNED), None)

    @property
    def is_encrypted(self) -> bool:
        """Whether any layer of it is encrypted, opened or not."""
        return any(layer.type is LayerType.ENCRYPTED for layer in self.layers)

    @property
    def codes(self) -> frozenset[ProblemCode]:
        """The codes of all problems."""
        return frozenset(problem.code for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Return the object of the CLI contract."""
        return {
            "result": self.result.value,
            "layers": [layer.to_json() for layer in self.layers],
            "problems": [problem.to_json() for problem in self.problems],
        }


_SEVERITY: Final = (
    ResultWord.FAIL,
    ResultWord.PERMERROR,
    ResultWord.TEMPERROR,
    ResultWord.NEUTRAL,
    ResultWord.POLICY,
    ResultWord.PASS,
)
"""Worst first."""


def fold_signers(signers: Sequence[SignerReport]) -> ResultWord:
    """Fold the signers of one layer; a signed layer without any is malformed."""
    if not signers:
        return ResultWord.PERMERROR
    people = _people(signers)
    words = [_best(signer.word for signer in group) for group in people]
    if ResultWord.PASS not in words:
        return _worst(words)
    beside = (
        _best(signer.word_beside_sender for signer in group)
        for group, word in zip(people, words, strict=True)
        if word is not ResultWord.PASS
    )
    return _worst([ResultWord.PASS, *(word for word in beside if word is not ResultWord.NEUTRAL)])


def fold_beside_sender(signers: Sequence[SignerReport]) -> ResultWord:
    """Fold the signers of an inner layer, of which nobody has to be the sender of the message."""
    if not signers:
        return ResultWord.PERMERROR
    return _worst(_best(signer.word_beside_sender for signer in group) for group in _people(signers))


def _people(signers: Sequence[SignerReport]) -> list[list[SignerReport]]:
    """Group SignerInfos by who signed."""
    groups: dict[object, list[SignerReport]] = {}
    for signer in signers:
        groups.setdefault(signer.certificate_der or (signer.issuer, signer.serial), []).append(signer)
    return list(groups.values())


def _worst(words: Iterable[ResultWord]) -> ResultWord:
    return min(words, key=_SEVERITY.index)


def _best(words: Iterable[ResultWord]) -> ResultWord:
    return max(words, key=_SEVERITY.index)


def _rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
