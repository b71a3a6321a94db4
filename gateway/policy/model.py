"""The vocabulary of a policy: reasons, decisions, rules; treatments are in :mod:`gateway.policy.treatment`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gateway.policy.facts import Facts, Stage
from gateway.policy.treatment import Treatment

DEFAULT_RULE = "default"
"""The name under which decisions of ``default`` appear; no rule may have it."""


class ContentKind(StrEnum):
    """What a message is, by its outermost entity (RFC 8551 3.9)."""

    PLAIN = "plain"
    CLEAR_SIGNED = "clear-signed"
    SIGNED_DATA = "signed-data"
    ENVELOPED_DATA = "enveloped-data"
    AUTH_ENVELOPED_DATA = "authEnveloped-data"
    COMPRESSED_DATA = "compressed-data"
    CERTS_ONLY = "certs-only"
    MALFORMED = "malformed"


KIND_GROUPS: dict[str, frozenset[str]] = {
    "signed": frozenset({ContentKind.CLEAR_SIGNED, ContentKind.SIGNED_DATA}),
    "encrypted": frozenset({ContentKind.ENVELOPED_DATA, ContentKind.AUTH_ENVELOPED_DATA}),
}
"""Words of a rule that stand for several kinds."""


class Verification(StrEnum):
    """The result words of RFC 8601 2.7."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Action(StrEnum):
    """What kind of thing a decision asks for."""

    PROTECT = "protect"
    """Sign, encrypt."""
    UNPROTECT = "unprotect"
    """Decrypt, verify."""
    PASS = "pass"
    """Hand on as it came."""
    REJECT = "reject"
    """Refuse this recipient (550 5.7.1)."""


class Reason(StrEnum):
    """Why something was decided or came out as it did; a closed set, used in log, metrics, records and tests."""

    RULE_MATCHED = "rule-matched"
    """A rule decided."""
    DEFAULT = "default"
    """No rule matched."""

    PASSED = "passed"
    """Handed on as it came, because a rule or the default says so."""
    REJECTED = "rejected"
    """Refused, because a rule or the default says so."""

    PROTECTED = "protected"
    """Everything that was asked for was done."""
    ALREADY_SIGNED = "already-signed"
    """The message came signed; its signature stays."""
    ALREADY_ENCRYPTED = "already-encrypted"
    """The message came encrypted; it stays so."""
    NO_CERTIFICATE = "no-certificate"
    """The recipient has no certificate."""
    CERTIFICATE_UNUSABLE = "certificate-unusable"
    """The recipient has certificates, and none can be used."""
    LOOKUP_UNAVAILABLE = "lookup-unavailable"
    """A look-up did not answer."""
    LOOKUP_SKIPPED = "lookup-skipped"
    """A look-up did not answer, and the rule says ``unavailable: skip``."""
    NO_SIGNER = "no-signer"
    """There is no key of ours for the sender."""
    SIGNER_UNAVAILABLE = "signer-unavailable"
    """There is a key for the sender, and it cannot be used now."""
    SENDER_NOT_PROVEN = "sender-not-proven"
    """The transaction does not prove its sender, so nothing is signed for it."""
    SENDER_AMBIGUOUS = "sender-ambiguous"
    """There is not exactly one From address."""
    OPENED_MAIL_IN_CLEAR = "opened-mail-in-clear"
    """The message carries what this gateway has opened, and would leave in clear."""
    TOO_MANY_COPIES = "too-many-copies"
    """The transaction has more hidden recipients or treatments than the limits allow."""

    NOT_PROTECTED = "not-protected"
    """Nothing to open or verify."""
    NO_KEY = "no-key"
    """No key of this recipient fits the encrypted layer."""
    KEY_UNAVAILABLE = "key-unavailable"
    """A key of this recipient exists, and cannot be used now."""
    OPENED = "opened"
    """Encrypted layers were opened."""
    UNSUPPORTED_LAYER = "unsupported-layer"
    """An encrypted layer is in an algorithm that is not implemented."""
    BROKEN_LAYER = "broken-layer"
    """An encrypted layer cannot be opened, whatever the cause."""
    VERIFIED = "verified"
    """The result is ``pass``."""
    NOT_VERIFIED = "not-verified"
    """The result is another word."""
    LINK_NOT_TRUSTED = "link-not-trusted"
    """Opened mail may not travel to this upstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a policy says of one recipient, why, and where it is written."""

    treatment: Treatment
    action: Action
    reason: Reason
    """:attr:`Reason.RULE_MATCHED` or :attr:`Reason.DEFAULT`."""
    rule: str
    """Name of the rule; ``default`` where none matched."""
    file: str
    """The policy document; of an absent ``default``, the first one."""
    line: int | None
    """Line of the rule, from 1; ``None`` for an absent ``default``."""

    def to_json(self) -> dict[str, object]:
        """Return the decision with the keys ``rule``, ``action``, ``reason``, ``treatment``, ``file`` and ``line``."""
        return {
            "rule": self.rule,
            "action": str(self.action),
            "reason": str(self.reason),
            "treatment": self.treatment.to_json(),
            "file": self.file,
            "line": self.line,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """No rule can be taken or passed over before more is known."""

    stage: Stage
    """The stage whose facts are needed next."""
    rule: str
    """The rule that asks for them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Condition:
    """One key of a ``match`` or ``unless``, compiled."""

    key: str
    """``recipient``, ``header.subject``."""
    stage: Stage
    """When it can be told; :attr:`test` is called only with facts of this stage or a later one."""
    written: str
    """As it stands in the document, for explanations."""
    test: Callable[[Facts], bool]
    """Total and pure."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """A rule: where all of ``match`` hold, and not all of ``unless``, the decision is taken."""

    name: str
    match: tuple[Condition, ...]
    unless: tuple[Condition, ...]
    """Empty: no exception."""
    decision: Decision

    @property
    def file(self) -> str:
        """The document it stands in."""
        return self.decision.file

    @property
    def line(self) -> int | None:
        """Its line in the document."""
        return self.decision.line


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """Rules in order, and what holds where none matches."""

    rules: tuple[Rule, ...]
    default: Decision
    listeners: tuple[tuple[str, str, int | None], ...] = ()
    """Every listener that a rule names, with file and line: to be compared with the settings."""
