"""Explanations: why a policy decides as it does for one recipient, as JSON and as text.

What it does: puts the facts beside the trace of the evaluation, every key of every rule up to the one that decided.
Values of header fields are not shown, only whether a key holds: an explanation may be pasted into a ticket. Text from
outside is shown with its control characters escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.policy.evaluate import KeyTrace, RuleTrace, Trace, trace
from gateway.policy.facts import Facts
from gateway.policy.model import Decision, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The facts, and the way from them to the decision."""

    facts: Facts
    trace: Trace

    @property
    def decision(self) -> Decision | None:
        """The decision; ``None`` where a later stage has to be waited for."""
        return self.trace.decision if isinstance(self.trace.decision, Decision) else None

    def to_json(self) -> dict[str, object]:
        """Return it as JSON.

        ``{"recipient", "stage", "facts": {…}, "decision": {…} | null, "undecided": {"stage", "rule"} | null, "rules":
        [{"rule", "file", "line", "state", "match": [{"key", "written", "stage", "state"}], "unless": […]}]}``
        """
        end = self.trace.decision
        return {
            "recipient": _harmless(str(self.facts.envelope.recipient)),
            "stage": self.facts.stage.label,
            "facts": _describe(self.facts),
            "decision": end.to_json() if isinstance(end, Decision) else None,
            "undecided": None if isinstance(end, Decision) else {"stage": end.stage.label, "rule": end.rule},
            "rules": [_rule_to_json(rule) for rule in self.trace.rules],
        }

    def lines(self) -> Iterator[str]:
        """Yield the lines of a text for people."""
        facts = _describe(self.facts)
        yield f"{facts.pop('reverse_path')} -> {facts.pop('recipient')}"
        yield "  facts: " + ", ".join(f"{key} {_show(value)}" for key, value in facts.items())
        for rule in self.trace.rules:
            yield f"  {_place(rule.file, rule.line)} {rule.rule}: {rule.state}"
            yield from (f"      {_show_key(key)}" for key in rule.match)
            yield from (f"      unless {_show_key(key)}" for key in rule.unless)
        end = self.trace.decision
        if isinstance(end, Decision):
            treatment = "".join(f", {key}: {value}" for key, value in end.treatment.to_json().items())
            yield f"  decision: {end.action} by {end.rule} ({_place(end.file, end.line)}){treatment}"
        else:
            yield f"  undecided: the rule {end.rule} asks for what is known at stage {end.stage.label}"


def explain(policy: Policy, facts: Facts) -> Explanation:
    """Evaluate, and tell how it came out; total and pure as :func:`~gateway.policy.evaluate.evaluate` is."""
    return Explanation(facts=facts, trace=trace(policy, facts))


def _describe(facts: Facts) -> dict[str, object]:
    """Return what the rules can see, header fields excepted, with foreign text made harmless."""
    envelope = facts.envelope
    known: dict[str, object] = {
        "reverse_path": _harmless(str(envelope.reverse_path or "<>")),
        "recipient": _harmless(str(envelope.recipient)),
        "direction": str(envelope.direction),
        "listener": envelope.listener,
        "client": _harmless(envelope.client),
        "proven": envelope.proven,
        "tls": envelope.tls,
    }
    if facts.message is not None:
        known["sender"] = [_harmless(str(sender)) for sender in facts.message.senders]
        known["size"] = facts.message.size
        known["kind"] = facts.message.kind
    if facts.verification is not None:
        known["verification"] = facts.verification
    return known


def _harmless(text: str) -> str:
    """Escape what is not printable; an address may hold surrogates and controls."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def _rule_to_json(rule: RuleTrace) -> dict[str, object]:
    return {
        "rule": rule.rule,
        "file": rule.file,
        "line": rule.line,
        "state": str(rule.state),
        "match": [_key_to_json(key) for key in rule.match],
        "unless": [_key_to_json(key) for key in rule.unless],
    }


def _key_to_json(key: KeyTrace) -> dict[str, object]:
    return {"key": key.key, "written": key.written, "stage": key.stage.label, "state": str(key.state)}


def _show_key(key: KeyTrace) -> str:
    return f"{key.key}: {key.written}  [{key.state}]"


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(str(one) for one in value) or "-"
    return str(value) or "-"


def _place(file: str, line: int | None) -> str:
    return file if line is None else f"{file}:{line}"
