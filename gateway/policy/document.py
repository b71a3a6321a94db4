"""The models of a policy document: which keys there are, and which words each takes.

What it does: pydantic models for ``lists``, ``rules`` and ``default``. They check what one value tells by itself; what
needs the rest of the policy is told in :mod:`gateway.policy.parse`. ``docs/policy.md`` lists every key, which a test
compares.

What it refuses: unknown keys and words, keys without a value (``recipient:`` with nothing behind it would else widen a
rule), empty lists in a rule.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from gateway.address import Address
from gateway.documents import NOT_EMPTY, StrictModel, Switch, WrittenAddress, suggest
from gateway.policy.conditions import KIND_WORDS, parse_bound
from gateway.policy.facts import Direction
from gateway.policy.model import DEFAULT_RULE, Verification
from gateway.policy.treatment import (
    NOTHING,
    DecryptMode,
    NoCertificate,
    OnUnavailable,
    Requirement,
    SignedForm,
    VerifyMode,
)


def to_list(value: object) -> object:
    """One text, or several; never none."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, (list, tuple)):
        raise ValueError("expected text or a list of texts")
    if not value:
        raise ValueError("an empty list fits nothing; leave the key out, or name what it has to fit")
    return value


def _refuse_nothing(value: object) -> object:
    if value is None:
        raise ValueError("has no value; write one, or leave the key out")
    return value


def _check_bound(value: str) -> str:
    parse_bound(value)
    return value


def _check_kind(value: str) -> str:
    if value not in KIND_WORDS:
        hint = suggest(value, KIND_WORDS)
        raise ValueError(f"{value!r:.60} is not one of {', '.join(KIND_WORDS)}{hint}")
    return value


def _check_identity(value: Address | None) -> Address | None:
    if value is not None and "*" in value.spec:
        raise ValueError("expected the address of one identity, not a pattern")
    return value


def _check_rule_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value) or value == DEFAULT_RULE:
        raise ValueError("a rule's name has letters, digits, - and _ only, 64 at most, and is not 'default'")
    return value


def _check_list_name(value: str) -> str:
    if not REFERENCE.fullmatch(f"${value}"):
        raise ValueError("a list's name begins with a letter and has letters, digits, - and _ only, 64 at most")
    return value


def _check_header_name(value: str) -> str:
    if not re.fullmatch(r"[!-9;-~]{1,78}", value):
        raise ValueError("not the name of a header field (RFC 5322 3.6.8)")
    return value


REFERENCE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_-]{0,63})")
"""``$name`` in place of a pattern: the entries of that list."""
Texts = Annotated[tuple[str, ...], BeforeValidator(to_list)]
HeaderName = Annotated[str, AfterValidator(_check_header_name)]


class MatchDocument(StrictModel):
    """``match`` and ``unless``: every key that is written has to hold."""

    direction: Annotated[tuple[Direction, ...], BeforeValidator(to_list)] = ()
    listener: Texts = ()
    reverse_path: Texts = ()
    sender: Texts = ()
    recipient: Texts = ()
    proven: Switch = False
    tls: Switch = False
    header: Annotated[dict[HeaderName, Texts], NOT_EMPTY] = Field(default_factory=dict)
    size: Annotated[str, AfterValidator(_check_bound)] = ""
    kind: Annotated[tuple[Annotated[str, AfterValidator(_check_kind)], ...], BeforeValidator(to_list)] = ()
    verification: Annotated[tuple[Verification, ...], BeforeValidator(to_list)] = ()


class ThenDocument(StrictModel):
    """A ``then`` that is more than a word."""

    sign: Requirement = NOTHING.sign
    encrypt: Requirement = NOTHING.encrypt
    decrypt: DecryptMode = NOTHING.decrypt
    verify: VerifyMode = NOTHING.verify
    no_certificate: NoCertificate = NOTHING.no_certificate
    unavailable: OnUnavailable = NOTHING.unavailable
    sign_as: Annotated[WrittenAddress | None, BeforeValidator(_refuse_nothing), AfterValidator(_check_identity)] = None
    form: SignedForm = NOTHING.form


def _tell_then(value: object) -> str:
    return "<mapping>" if isinstance(value, (dict, ThenDocument)) else "<word>"


Then = Annotated[
    Annotated[ThenDocument, Tag("<mapping>")] | Annotated[Literal["pass", "reject"], Tag("<word>")],
    Discriminator(_tell_then),
]


class RuleDocument(StrictModel):
    """One item of ``rules``."""

    name: Annotated[str, AfterValidator(_check_rule_name)]
    match: MatchDocument
    unless: Annotated[MatchDocument | None, BeforeValidator(_refuse_nothing)] = None
    then: Then


class PolicyDocument(StrictModel):
    """A policy document."""

    lists: dict[Annotated[str, AfterValidator(_check_list_name)], tuple[str, ...]] = Field(default_factory=dict)
    rules: tuple[RuleDocument, ...] = ()
    default: Annotated[Then | None, BeforeValidator(_refuse_nothing)] = None
