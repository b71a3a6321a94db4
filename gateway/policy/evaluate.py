"""Evaluation: facts in, a decision out, or the stage whose facts are needed first.

The first rule whose ``match`` holds and whose ``unless`` does not decides. A key that asks for facts of a later stage
is neither true nor false; a rule that is not already false by another key stops the evaluation as *undecided*, so that
no later rule decides in its place. Total: every policy gives a decision at the last stage. Pure: same facts, same
decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.policy.facts import Facts, Stage
from gateway.policy.model import Condition, Decision, Policy, Rule, Undecided


def evaluate(policy: Policy, facts: Facts) -> Decision | Undecided:
    """Decide for one recipient, or name the stage that is needed next."""
    known = facts.stage
    for rule in policy.rules:
        state = _test_rule(rule, facts, known)
        if state is True:
            return rule.decision
        if state is not False:
            return Undecided(stage=state, rule=rule.name)
    return policy.default


def _test_rule(rule: Rule, facts: Facts, known: Stage) -> bool | Stage:
    """Tell whether the rule applies, or which stage would tell."""
    matched = _test_all(rule.match, facts, known)
    if matched is False or not rule.unless:
        return matched
    excepted = _test_all(rule.unless, facts, known)
    if excepted is True:
        return False
    if excepted is False:
        return matched
    return excepted if matched is True else min(matched, excepted)


def _test_all(conditions: tuple[Condition, ...], facts: Facts, known: Stage) -> bool | Stage:
    """Three-valued *and*: false wins over unknown, unknown over true; unknown is the earliest stage that is missing."""
    needed: Stage | None = None
    for condition in conditions:
        if condition.stage > known:
            needed = condition.stage if needed is None else min(needed, condition.stage)
        elif not condition.test(facts):
            return False
    return True if needed is None else needed


class KeyState(StrEnum):
    """What one key of a rule came to."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "unknown"
    """Asks for facts of a later stage."""


class RuleState(StrEnum):
    """What one rule came to."""

    MATCHED = "matched"
    """It decided."""
    FAILED = "failed"
    """A key of ``match`` fails."""
    EXCEPTED = "excepted"
    """``match`` holds, and so does ``unless``."""
    UNDECIDED = "undecided"
    """More has to be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTrace:
    """One key, as it was tested."""

    key: str
    written: str
    """As it stands in the document."""
    stage: Stage
    state: KeyState


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTrace:
    """One rule, with every key tested, also behind the first that fails."""

    rule: str
    file: str
    line: int | None
    state: RuleState
    match: tuple[KeyTrace, ...]
    unless: tuple[KeyTrace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """An evaluation with its way: the rules up to the one that decided or stopped it."""

    decision: Decision | Undecided
    rules: tuple[RuleTrace, ...]


def trace(policy: Policy, facts: Facts) -> Trace:
    """Evaluate as :func:`evaluate` does, and keep what each rule and key came to."""
    known = facts.stage
    traces: list[RuleTrace] = []
    for rule in policy.rules:
        state = _test_rule(rule, facts, known)
        traces.append(_trace_rule(rule, facts, known, state))
        if state is True:
            return Trace(decision=rule.decision, rules=tuple(traces))
        if state is not False:
            return Trace(decision=Undecided(stage=state, rule=rule.name), rules=tuple(traces))
    return Trace(decision=policy.default, rules=tuple(traces))


def _trace_rule(rule: Rule, facts: Facts, known: Stage, state: bool | Stage) -> RuleTrace:
    if state is True:
        word = RuleState.MATCHED
    elif state is not False:
        word = RuleState.UNDECIDED
    else:
        failed = _test_all(rule.match, facts, known) is False
        word = RuleState.FAILED if failed else RuleState.EXCEPTED
    return RuleTrace(
        rule=rule.name,
        file=rule.file,
        line=rule.line,
        state=word,
        match=tuple(_trace_key(condition, facts, known) for condition in rule.match),
        unless=tuple(_trace_key(condition, facts, known) for condition in rule.unless),
    )


def _trace_key(condition: Condition, facts: Facts, known: Stage) -> KeyTrace:
    state = KeyState.UNKNOWN
    if condition.stage <= known:
        state = KeyState.HOLDS if condition.test(facts) else KeyState.FAILS
    return KeyTrace(key=condition.key, written=condition.written, stage=condition.stage, state=state)
