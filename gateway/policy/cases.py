"""Decision tables: what a policy has to decide, written beside it and checked by ``policy test``.

What it does: reads a table (``10-main.cases.yaml`` beside ``10-main.yaml``), makes the facts of each case and compares
the decision. A case has all facts from the start: what it does not name is an empty, unprotected message on a
connection that proves nothing. So what passes here is what the last stage decides.

Known gap: a table cannot say that a decision is made at RCPT already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from gateway.address import Address
from gateway.documents import (
    NOT_EMPTY,
    Document,
    Size,
    StrictModel,
    Switch,
    WrittenAddress,
    parse_address,
    read_document,
    suggest,
    validate,
)
from gateway.errors import ConfigurationError, Problem
from gateway.policy.document import HeaderName, Texts, to_list
from gateway.policy.evaluate import evaluate
from gateway.policy.facts import Direction, DomainSet, EnvelopeFacts, Facts, MessageFacts, direction_of
from gateway.policy.model import DEFAULT_RULE, Action, ContentKind, Decision, Policy, Undecided, Verification
from gateway.policy.patterns import NULL_REVERSE_PATH
from gateway.policy.treatment import (
    TREATMENT_KEYS,
    DecryptMode,
    NoCertificate,
    OnUnavailable,
    Requirement,
    SignedForm,
    VerifyMode,
)
from gateway.settings import OwnDomain


def _parse_reverse_path(value: object) -> Address | None:
    return None if value == NULL_REVERSE_PATH else parse_address(value)


class ExpectDocument(StrictModel):
    """What has to come out: the rule, and of the rest what is written."""

    rule: str
    action: Action | None = None
    sign: Requirement | None = None
    encrypt: Requirement | None = None
    decrypt: DecryptMode | None = None
    verify: VerifyMode | None = None
    no_certificate: NoCertificate | None = None
    unavailable: OnUnavailable | None = None
    sign_as: WrittenAddress | None = None
    form: SignedForm | None = None


class CaseDocument(StrictModel):
    """One case."""

    name: str = ""
    reverse_path: Annotated[
        Address | None, PlainValidator(_parse_reverse_path), WithJsonSchema({"type": "string"}), Field(alias="from")
    ]
    to: WrittenAddress
    sender: Annotated[tuple[WrittenAddress, ...], BeforeValidator(to_list)] | None = None
    """Absent: the reverse-path."""
    header: dict[HeaderName, Texts] = Field(default_factory=dict)
    size: Size = 1024
    kind: ContentKind = ContentKind.PLAIN
    listener: str = ""
    proven: Switch = False
    tls: Switch = False
    direction: Direction | None = None
    """Absent: told from ``internal``, as the gateway does."""
    verification: Verification = Verification.NONE
    expect: ExpectDocument

    @property
    def label(self) -> str:
        """How a report calls it."""
        return self.name or f"{self.reverse_path or NULL_REVERSE_PATH} -> {self.to}"


class CasesDocument(StrictModel):
    """A decision table."""

    internal: tuple[OwnDomain, ...] = ()
    """Our own domains in this table, as ``internal.domains`` of the settings."""
    cases: Annotated[tuple[CaseDocument, ...], NOT_EMPTY]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTable:
    """A table that was read."""

    document: Document
    model: CasesDocument

    @property
    def file(self) -> str:
        """Path as the admin wrote it."""
        return self.document.file


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case, run."""

    label: str
    """Its name, or from and to."""
    file: str
    line: int | None
    decision: Decision
    differences: tuple[str, ...]
    """What came out otherwise than expected, one sentence each; empty: passed."""

    @property
    def passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.differences

    def to_json(self) -> dict[str, object]:
        """Return it as JSON."""
        return {
            "case": self.label,
            "file": self.file,
            "line": self.line,
            "passed": self.passed,
            "differences": list(self.differences),
            "decision": self.decision.to_json(),
        }


def is_cases_file(name: str) -> bool:
    """Whether a file of a policy folder is a decision table."""
    return name.endswith(".cases.yaml") and not name.startswith(".")


def parse_cases(text: str, file: str) -> CaseTable:
    """Read a decision table; raise :class:`~gateway.errors.ConfigurationError`."""
    document = read_document(text, file)
    table = CaseTable(document=document, model=validate(document, CasesDocument))
    if not table.model.internal:
        problems = [
            Problem(
                file=file,
                line=document.locate(("cases", position)),
                key=f"cases.{position}",
                text="needs 'direction', or 'internal' (our own domains) at the head of the table",
            )
            for position, case in enumerate(table.model.cases)
            if case.direction is None
        ]
        if problems:
            raise ConfigurationError(*problems)
    return table


def run_cases(policy: Policy, table: CaseTable) -> tuple[CaseResult, ...]:
    """Run every case of a table against the whole policy."""
    internal = DomainSet(table.model.internal)
    results: list[CaseResult] = []
    for position, case in enumerate(table.model.cases):
        decision = evaluate(policy, facts_of_case(case, internal))
        # The last stage leaves nothing undecided.
        assert not isinstance(decision, Undecided)
        results.append(
            CaseResult(
                label=case.label,
                file=table.file,
                line=table.document.locate(("cases", position)),
                decision=decision,
                differences=tuple(_compare(case.expect, decision, policy)),
            )
        )
    return tuple(results)


def find_unhit(policy: Policy, results: tuple[CaseResult, ...]) -> tuple[str, ...]:
    """Return the rules, and ``default``, by which no case was decided."""
    hit = {result.decision.rule for result in results}
    return tuple(name for name in (*(rule.name for rule in policy.rules), DEFAULT_RULE) if name not in hit)


def facts_of_case(case: CaseDocument, internal: DomainSet) -> Facts:
    """Make the facts of a case, of the last stage."""
    senders = case.sender
    if senders is None:
        senders = () if case.reverse_path is None else (case.reverse_path,)
    direction = case.direction or direction_of(
        case.to, proven=case.proven, reverse_path=case.reverse_path, internal=internal
    )
    return Facts(
        envelope=EnvelopeFacts(
            listener=case.listener,
            direction=direction,
            reverse_path=case.reverse_path,
            recipient=case.to,
            proven=case.proven,
            tls=case.tls,
        ),
        message=MessageFacts(
            senders=senders,
            headers={name.lower(): values for name, values in case.header.items()},
            size=case.size,
            kind=str(case.kind),
        ),
        verification=str(case.verification),
    )


def _compare(expect: ExpectDocument, decision: Decision, policy: Policy) -> Iterator[str]:
    if expect.rule != decision.rule:
        names = [*(rule.name for rule in policy.rules), DEFAULT_RULE]
        hint = "" if expect.rule in names else f", and there is no rule of that name{suggest(expect.rule, names)}"
        place = decision.file if decision.line is None else f"{decision.file}:{decision.line}"
        yield f"expected rule {expect.rule}{hint}; {decision.rule} ({place}) decides"
    if expect.action is not None and expect.action is not decision.action:
        yield f"expected action {expect.action}; it is {decision.action}"
    for key in TREATMENT_KEYS:
        wanted, found = getattr(expect, key), getattr(decision.treatment, key)
        if wanted is not None and wanted != found:
            yield f"expected {key}: {wanted}; it is {found}"
