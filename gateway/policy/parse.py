"""Policy documents: YAML text in, one compiled :class:`~gateway.policy.model.Policy` out.

What it does: reads every document, puts them together in the order of their file names, and compiles the rules. All
problems of all documents are reported at once (:class:`~gateway.errors.ConfigurationError`).

What it refuses, beside unknown keys and words: a ``then`` by which ``required`` would give way
(:func:`~gateway.policy.treatment.find_weakness`), a ``then`` or a key of it that does nothing, an empty ``match`` (it
would catch all mail; that is ``default``), two rules or lists of one name, two defaults. An absent ``default`` rejects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.documents import Document, KeyPath, read_document, suggest, validate
from gateway.errors import ConfigurationError, Problem
from gateway.policy import conditions
from gateway.policy.document import REFERENCE, MatchDocument, PolicyDocument, RuleDocument, ThenDocument
from gateway.policy.facts import Direction
from gateway.policy.model import DEFAULT_RULE, Action, Condition, Decision, Policy, Reason, Rule
from gateway.policy.patterns import check_address_pattern
from gateway.policy.treatment import NOTHING, DecryptMode, Requirement, Treatment, VerifyMode, find_weakness


def parse_policies(documents: Iterable[tuple[str, str]]) -> Policy:
    """Compile policy documents, given as (file, text); their order is that of the file names.

    Raises :class:`~gateway.errors.ConfigurationError` with the problems of all of them.
    """
    compiler = _Compiler()
    for file, text in sorted(documents):
        compiler.read(text, file)
    return compiler.compile()


def is_policy_file(name: str) -> bool:
    """Whether a file of a policy folder is a policy document: ``*.yaml``, and no table of cases."""
    return name.endswith(".yaml") and not name.endswith(".cases.yaml") and not name.startswith(".")


def check_listeners(policy: Policy, names: Collection[str]) -> tuple[Problem, ...]:
    """Return a problem for each listener that a rule names and the settings (``names``) do not have."""
    return tuple(
        Problem(file=file, line=line, key="listener", text=f"there is no listener '{name}'{suggest(name, [*names])}")
        for name, file, line in policy.listeners
        if name not in names
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """A document with its model."""

    document: Document
    model: PolicyDocument


@dataclass(slots=True)
class _Compiler:
    """Collects the documents, then compiles them; problems are kept until the end."""

    sources: list[_Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    lists: dict[str, _Source] = field(default_factory=dict)
    listeners: list[tuple[str, str, int | None]] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    """Lists whose entries have been checked as address patterns."""

    def read(self, text: str, file: str) -> None:
        try:
            document = read_document(text, file)
            self.sources.append(_Source(document, validate(document, PolicyDocument)))
        except ConfigurationError as error:
            self.problems.extend(error.problems)

    def compile(self) -> Policy:
        if not self.sources and not self.problems:
            raise ConfigurationError(Problem(file="", line=None, key="", text="there is no policy document"))
        self._gather_lists()
        rules = tuple(self._compile_rules())
        default = self._compile_default()
        if self.problems:
            raise ConfigurationError(*self.problems)
        return Policy(rules=rules, default=default, listeners=tuple(self.listeners))

    def _gather_lists(self) -> None:
        for source in self.sources:
            for name, entries in source.model.lists.items():
                if name in self.lists:
                    text = f"the list '{name}' stands in {self.lists[name].document.file} already"
                    self._refuse(source, ("lists", name), text)
                self.lists.setdefault(name, source)
                for position, entry in enumerate(entries):
                    if REFERENCE.fullmatch(entry):
                        self._refuse(source, ("lists", name, position), "a list cannot name another list")

    def _compile_rules(self) -> Iterator[Rule]:
        places: dict[str, str] = {}
        for source in self.sources:
            for position, rule in enumerate(source.model.rules):
                here: KeyPath = ("rules", position)
                place = f"{source.document.file}:{source.document.locate(here)}"
                if rule.name in places:
                    self._refuse(source, (*here, "name"), f"'{rule.name}' is taken by the rule at {places[rule.name]}")
                places.setdefault(rule.name, place)
                yield self._compile_rule(source, here, rule)

    def _compile_rule(self, source: _Source, here: KeyPath, rule: RuleDocument) -> Rule:
        if not rule.match.model_fields_set:
            text = "an empty match would catch all mail; name what it has to fit, or write it as 'default'"
            self._refuse(source, (*here, "match"), text)
        if rule.unless is not None and not rule.unless.model_fields_set:
            self._refuse(source, (*here, "unless"), "an empty exception would except all mail; leave it out")
        if _opens_foreign_mail(rule):
            text = "mail to others is not encrypted to a key of ours; direction: outbound has no use for decrypt"
            self._refuse(source, (*here, "then", "decrypt"), text)
        return Rule(
            name=rule.name,
            match=tuple(self._compile_match(source, (*here, "match"), rule.match)),
            unless=tuple(self._compile_match(source, (*here, "unless"), rule.unless) if rule.unless else ()),
            decision=self._decide(source, (*here, "then"), rule.then, rule.name, source.document.locate(here)),
        )

    def _compile_default(self) -> Decision:
        written = [source for source in self.sources if source.model.default is not None]
        for source in written[1:]:
            self._refuse(source, ("default",), f"the default stands in {written[0].document.file} already")
        for source in written:
            assert source.model.default is not None
            line = source.document.locate(("default",))
            return self._decide(source, ("default",), source.model.default, DEFAULT_RULE, line)
        return Decision(
            treatment=NOTHING,
            action=Action.REJECT,
            reason=Reason.DEFAULT,
            rule=DEFAULT_RULE,
            file=self.sources[0].document.file if self.sources else "",
            line=None,
        )

    def _decide(
        self, source: _Source, here: KeyPath, then: ThenDocument | str, rule: str, line: int | None
    ) -> Decision:
        treatment = NOTHING
        if isinstance(then, str):
            action = Action(then)
        else:
            treatment = self._compile_treatment(source, here, then)
            action = Action.PROTECT if treatment.protects else Action.UNPROTECT
        reason = Reason.DEFAULT if rule == DEFAULT_RULE else Reason.RULE_MATCHED
        return Decision(
            treatment=treatment, action=action, reason=reason, rule=rule, file=source.document.file, line=line
        )

    def _compile_treatment(self, source: _Source, here: KeyPath, then: ThenDocument) -> Treatment:
        problem = find_weakness(then) or _find_idle(then)
        if problem is not None:
            key, text = problem
            self._refuse(source, (*here, key) if key else here, text)
            return NOTHING
        return Treatment(
            sign=then.sign,
            encrypt=then.encrypt,
            decrypt=then.decrypt,
            verify=then.verify,
            no_certificate=then.no_certificate,
            unavailable=then.unavailable,
            sign_as=then.sign_as,
            form=then.form,
        )

    def _compile_match(self, source: _Source, here: KeyPath, match: MatchDocument) -> Iterator[Condition]:
        """Yield the conditions in the order of the model: what is known first is tested first."""
        asked = match.model_fields_set
        if "direction" in asked:
            yield conditions.match_direction(match.direction, _join(match.direction))
        if "listener" in asked:
            yield self._compile_listener(source, (*here, "listener"), match.listener)
        if "reverse_path" in asked:
            patterns = self._expand_addresses(source, (*here, "reverse_path"), match.reverse_path, allow_null=True)
            yield conditions.match_reverse_path(patterns, _join(match.reverse_path))
        if "recipient" in asked:
            patterns = self._expand_addresses(source, (*here, "recipient"), match.recipient)
            yield conditions.match_recipient(patterns, _join(match.recipient))
        if "proven" in asked:
            yield conditions.match_proven(match.proven)
        if "tls" in asked:
            yield conditions.match_tls(match.tls)
        if "size" in asked:
            yield conditions.match_size(match.size)
        if "kind" in asked:
            yield conditions.match_kind(match.kind, _join(match.kind))
        if "sender" in asked:
            patterns = self._expand_addresses(source, (*here, "sender"), match.sender)
            yield conditions.match_sender(patterns, _join(match.sender))
        if "header" in asked:
            yield from self._compile_headers(source, (*here, "header"), match.header)
        if "verification" in asked:
            yield conditions.match_verification(match.verification, _join(match.verification))

    def _compile_listener(self, source: _Source, here: KeyPath, written: Sequence[str]) -> Condition:
        names = tuple(self._expand(source, here, written))
        for name in names:
            self.listeners.append((name, source.document.file, source.document.locate(here)))
        return conditions.match_listener(names, _join(written))

    def _compile_headers(
        self, source: _Source, here: KeyPath, header: Mapping[str, tuple[str, ...]]
    ) -> Iterator[Condition]:
        seen: set[str] = set()
        for name, written in header.items():
            if name.lower() in seen:
                self._refuse(source, (*here, name), "the same field twice; names differ in case only")
            seen.add(name.lower())
            patterns = tuple(self._expand(source, (*here, name), written))
            yield conditions.match_header(name, patterns, _join(written))

    def _expand_addresses(
        self, source: _Source, here: KeyPath, written: Sequence[str], *, allow_null: bool = False
    ) -> tuple[str, ...]:
        for position, text in enumerate(written):
            reference = REFERENCE.fullmatch(text)
            if reference is not None:
                self._check_list(reference[1])
                continue
            wrong = check_address_pattern(text, allow_null=allow_null)
            if wrong is not None:
                item = (*here, position)
                self._refuse(source, item if item in source.document.lines else here, wrong)
        return tuple(self._expand(source, here, written))

    def _check_list(self, name: str) -> None:
        """Check a list's entries as address patterns, where they stand, once."""
        if name in self.checked or name not in self.lists:
            return
        self.checked.add(name)
        source = self.lists[name]
        for position, entry in enumerate(source.model.lists[name]):
            wrong = check_address_pattern(entry, allow_null=True)
            if wrong is not None:
                self._refuse(source, ("lists", name, position), wrong)

    def _expand(self, source: _Source, here: KeyPath, written: Sequence[str]) -> Iterator[str]:
        for text in written:
            reference = REFERENCE.fullmatch(text)
            if reference is None:
                yield text
            elif reference[1] in self.lists:
                yield from self.lists[reference[1]].model.lists[reference[1]]
            else:
                self._refuse(source, here, f"there is no list '{reference[1]}'{suggest(reference[1], [*self.lists])}")

    def _refuse(self, source: _Source, path: KeyPath, text: str) -> None:
        self.problems.append(source.document.problem(path, text))


def _find_idle(then: ThenDocument) -> tuple[str, str] | None:
    """Return (key, text) for a key that would do nothing: who wrote it meant something else."""
    protects = then.sign is not Requirement.NEVER or then.encrypt is not Requirement.NEVER
    if not protects and then.decrypt is DecryptMode.NEVER and then.verify is VerifyMode.NEVER:
        return "", "this does nothing; write 'then: pass' to hand mail on as it comes"
    asked = then.model_fields_set
    if "no_certificate" in asked and then.encrypt is Requirement.NEVER:
        return "no_certificate", "has no use without encrypt"
    if "form" in asked and then.sign is Requirement.NEVER:
        return "form", "has no use without sign"
    return None


def _opens_foreign_mail(rule: RuleDocument) -> bool:
    return (
        isinstance(rule.then, ThenDocument)
        and rule.then.decrypt is not DecryptMode.NEVER
        and set(rule.match.direction) == {Direction.OUTBOUND}
    )


def _join(words: Iterable[str]) -> str:
    return ", ".join(words)
