"""Policy: what is to be done with a message, decided per recipient from facts, by the admin's rules.

Public API of the room. Documents come in as text (:func:`parse_policies`), facts as values (:class:`Facts`), and
:func:`evaluate` gives a :class:`Decision`, or :class:`Undecided` where a later stage has to be waited for.
"""

from __future__ import annotations

from gateway.policy.cases import (
    CaseResult,
    CaseTable,
    find_unhit,
    is_cases_file,
    parse_cases,
    run_cases,
)
from gateway.policy.evaluate import KeyState, KeyTrace, RuleState, RuleTrace, Trace, evaluate, trace
from gateway.policy.explain import Explanation, explain
from gateway.policy.facts import Direction, DomainSet, EnvelopeFacts, Facts, MessageFacts, Stage, direction_of
from gateway.policy.model import (
    DEFAULT_RULE,
    Action,
    Condition,
    ContentKind,
    Decision,
    Policy,
    Reason,
    Rule,
    Undecided,
    Verification,
)
from gateway.policy.parse import check_listeners, is_policy_file, parse_policies
from gateway.policy.treatment import (
    DecryptMode,
    NoCertificate,
    OnUnavailable,
    Requirement,
    SignedForm,
    Treatment,
    VerifyMode,
)

__all__ = [
    "DEFAULT_RULE",
    "Action",
    "CaseResult",
    "CaseTable",
    "Condition",
    "ContentKind",
    "Decision",
    "DecryptMode",
    "Direction",
    "DomainSet",
    "EnvelopeFacts",
    "Explanation",
    "Facts",
    "KeyState",
    "KeyTrace",
    "MessageFacts",
    "NoCertificate",
    "OnUnavailable",
    "Policy",
    "Reason",
    "Requirement",
    "Rule",
    "RuleState",
    "RuleTrace",
    "SignedForm",
    "Stage",
    "Trace",
    "Treatment",
    "Undecided",
    "Verification",
    "VerifyMode",
    "check_listeners",
    "direction_of",
    "evaluate",
    "explain",
    "find_unhit",
    "is_cases_file",
    "is_policy_file",
    "parse_cases",
    "parse_policies",
    "run_cases",
    "trace",
]
