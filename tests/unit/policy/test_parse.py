"""Policy documents: what loads and how it is put together, what does not load and what is said of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gateway.address import Address
from gateway.errors import ConfigurationError
from gateway.policy import (
    Action,
    DecryptMode,
    NoCertificate,
    OnUnavailable,
    Policy,
    Reason,
    Requirement,
    SignedForm,
    Stage,
    Treatment,
    VerifyMode,
    check_listeners,
    is_policy_file,
    parse_policies,
)
from gateway.policy.cases import CaseDocument, CasesDocument, ExpectDocument
from gateway.policy.conditions import KIND_WORDS
from gateway.policy.document import MatchDocument, PolicyDocument, RuleDocument, ThenDocument
from tests.unit.policy.support import policy_of

DOCS = Path(__file__).parents[3] / "docs" / "policy.md"

SKETCH = """\
lists: {must_encrypt: ["*@bank.example", "*@*.gov.example"]}
rules:
  - name: reports
    match: {reverse_path: "<>"}
    then: pass
  - name: must-encrypt
    match: {direction: outbound, recipient: $must_encrypt}
    then: {sign: required, encrypt: required, no_certificate: refuse}
  - name: outbound
    match: {direction: outbound}
    then: {sign: required, encrypt: if-possible, no_certificate: sign, unavailable: skip}
  - name: inbound
    match: {direction: inbound}
    then: {decrypt: strict, verify: report}
default: pass
"""


def problems_of(*texts: str) -> list[tuple[str, int | None, str, str]]:
    with pytest.raises(ConfigurationError) as raised:
        parse_policies([(f"{number}0.yaml", text) for number, text in enumerate(texts, 1)])
    return [(problem.file, problem.line, problem.key, problem.text) for problem in raised.value.problems]


def rule(match: str = "direction: outbound", then: str = "pass", *more: str) -> str:
    lines = ["rules:", "  - name: r", f"    match: {{{match}}}", f"    then: {then}", *(f"    {line}" for line in more)]
    return "\n".join(lines)


def test_sketch() -> None:
    """The example of the design: names, order, treatments, places."""
    policy = policy_of(SKETCH)
    assert [(rule.name, rule.line) for rule in policy.rules] == [
        ("reports", 3),
        ("must-encrypt", 6),
        ("outbound", 9),
        ("inbound", 12),
    ]
    decisions = [rule.decision for rule in policy.rules]
    assert [decision.action for decision in decisions] == [
        Action.PASS,
        Action.PROTECT,
        Action.PROTECT,
        Action.UNPROTECT,
    ]
    assert decisions[1].treatment == Treatment(sign=Requirement.REQUIRED, encrypt=Requirement.REQUIRED)
    assert decisions[2].treatment == Treatment(
        sign=Requirement.REQUIRED,
        encrypt=Requirement.IF_POSSIBLE,
        no_certificate=NoCertificate.SIGN,
        unavailable=OnUnavailable.SKIP,
    )
    assert decisions[3].treatment == Treatment(decrypt=DecryptMode.STRICT, verify=VerifyMode.REPORT)
    assert all(decision.reason is Reason.RULE_MATCHED for decision in decisions)
    assert (policy.default.action, policy.default.reason, policy.default.rule, policy.default.line) == (
        Action.PASS,
        Reason.DEFAULT,
        "default",
        15,
    )


def test_every_key_of_then() -> None:
    """Nothing that is written is lost on the way into the treatment."""
    then = "{sign: if-possible, encrypt: if-possible, no_certificate: clear, unavailable: skip, form: opaque, "
    treatment = policy_of(rule(then=then + "sign_as: office@acme.example}")).rules[0].decision.treatment
    assert treatment == Treatment(
        sign=Requirement.IF_POSSIBLE,
        encrypt=Requirement.IF_POSSIBLE,
        no_certificate=NoCertificate.CLEAR,
        unavailable=OnUnavailable.SKIP,
        form=SignedForm.OPAQUE,
        sign_as=Address("office@acme.example"),
    )


@pytest.mark.parametrize("text", ["", "rules: []", "lists: {}", "# nothing"])
def test_an_absent_default_rejects(text: str) -> None:
    """What no rule speaks of is refused unless the admin says otherwise."""
    policy = policy_of(text)
    assert policy.rules == ()
    assert (policy.default.action, policy.default.line) == (Action.REJECT, None)
    assert policy.default.treatment == Treatment()


def test_default_may_be_a_treatment() -> None:
    """The default takes what a rule takes."""
    default = policy_of("default: {verify: report}").default
    assert (default.action, default.reason, default.rule) == (Action.UNPROTECT, Reason.DEFAULT, "default")


def test_documents_are_put_together_by_name() -> None:
    """In whatever order they come, file names decide; lists are known in all."""
    first = rule("recipient: $partners")
    second = (
        "lists: {partners: ['*@x.example']}\nrules: [{name: s, match: {proven: true}, then: reject}]\ndefault: pass"
    )
    for documents in ([("10.yaml", first), ("20.yaml", second)], [("20.yaml", second), ("10.yaml", first)]):
        policy = parse_policies(documents)
        assert [(rule.name, rule.file) for rule in policy.rules] == [("r", "10.yaml"), ("s", "20.yaml")]
        assert policy.default.file == "20.yaml"


def test_no_document() -> None:
    """No document is no policy, not one that rejects all."""
    with pytest.raises(ConfigurationError, match="no policy document"):
        parse_policies([])


def test_unless() -> None:
    """An exception is compiled like a match; its keys are tested at their stages."""
    (compiled,) = policy_of(rule("direction: outbound", "pass", "unless: {proven: false, size: '>1MiB'}")).rules
    assert [(one.key, one.stage, one.written) for one in compiled.unless] == [
        ("proven", Stage.RCPT, "false"),
        ("size", Stage.DATA, ">1MiB"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        pytest.param(rule(then="{encript: required}"), 4, "rules.0.then.encript", "did you mean 'encrypt'?", id="typo"),
        pytest.param(rule("recipent: a@b"), 3, "rules.0.match.recipent", "did you mean 'recipient'?", id="match typo"),
        pytest.param(rule("proven: true", "pas"), 4, "rules.0.then", "not one of pass, reject; did you", id="word"),
        pytest.param(rule(then=""), 4, "rules.0.then", "nothing is not one of pass, reject", id="empty then"),
        pytest.param(rule(then="[pass]"), 4, "rules.0.then", "a list is not one of", id="then list"),
        pytest.param(rule(then="{sign: yes}"), 4, "rules.0.then.sign", "not one of required, if-possible", id="yes"),
        pytest.param(rule(then="{sign:}"), 4, "rules.0.then.sign:", "unknown key", id="empty sign"),
        pytest.param(rule(then="{}"), 4, "rules.0.then", "does nothing; write 'then: pass'", id="nothing"),
        pytest.param(rule(then="{sign: never, verify: never}"), 4, "rules.0.then", "does nothing", id="all never"),
        pytest.param(
            rule(then="{encrypt: required, no_certificate: sign}"),
            4,
            "rules.0.then.no_certificate",
            "clear text",
            id="weak",
        ),
        pytest.param(
            rule(then="{sign: required, unavailable: skip}"), 4, "rules.0.then.unavailable", "required", id="weak skip"
        ),
        pytest.param(rule(then="{sign: required, sign_as: b}"), 4, "rules.0.then.sign_as", "address", id="sign_as b"),
        pytest.param(rule(then="{verify: report, sign_as: a@b}"), 4, "rules.0.then.sign_as", "sign", id="sign_as"),
        pytest.param(
            rule(then="{sign: required, sign_as: '*@b'}"), 4, "rules.0.then.sign_as", "pattern", id="sign_as *"
        ),
        pytest.param(
            rule(then="{sign: required, no_certificate: refuse}"),
            4,
            "rules.0.then.no_certificate",
            "no use without encrypt",
            id="idle no_certificate",
        ),
        pytest.param(
            rule(then="{encrypt: required, form: clear}"), 4, "rules.0.then.form", "no use without sign", id="idle form"
        ),
        pytest.param(
            rule("proven: true", "{sign: required, decrypt: strict}"), 4, "rules.0.then.decrypt", "two", id="both ways"
        ),
        pytest.param(
            rule(then="{decrypt: strict}"), 4, "rules.0.then.decrypt", "no use for decrypt", id="foreign mail"
        ),
        pytest.param(rule(""), 3, "rules.0.match", "an empty match", id="empty match"),
        pytest.param("rules: [{name: r, match: , then: pass}]", 1, "rules.0.match", "keys with values", id="no match"),
        pytest.param("rules: [{name: r, then: pass}]", 1, "rules.0.match", "is missing", id="match missing"),
        pytest.param(rule("proven: true", "pass", "unless:"), 5, "rules.0.unless", "has no value", id="unless nothing"),
        pytest.param(
            rule("proven: true", "pass", "unless: {}"), 5, "rules.0.unless", "empty exception", id="unless {}"
        ),
        pytest.param(rule("recipient: []"), 3, "rules.0.match.recipient", "fits nothing", id="empty list"),
        pytest.param(rule("recipient: "), 3, "rules.0.match.recipient", "expected text", id="nothing behind a key"),
        pytest.param(rule("recipient: bank.example"), 3, "rules.0.match.recipient", "write '*@bank", id="domain"),
        pytest.param(
            rule("recipient: '<>'"), 3, "rules.0.match.recipient", "only in reverse_path", id="null recipient"
        ),
        pytest.param(rule("recipient: $nowhere"), 3, "rules.0.match.recipient", "no list 'nowhere'", id="no list"),
        pytest.param(rule("direction: out"), 3, "rules.0.match.direction", "not one of outbound", id="direction"),
        pytest.param(rule("kind: sgned"), 3, "rules.0.match.kind", "did you mean 'signed'?", id="kind"),
        pytest.param(
            rule("verification: ok"), 3, "rules.0.match.verification", "not one of none, pass", id="word of 8601"
        ),
        pytest.param(rule("size: 10MiB"), 3, "rules.0.match.size", "a bound like", id="size"),
        pytest.param(rule("size: '>10'"), 3, "rules.0.match.size", "a size with a unit", id="size without unit"),
        pytest.param(rule("header: {}"), 3, "rules.0.match.header", "must not be empty", id="no header"),
        pytest.param(rule("header: {'A B': x}"), 3, "rules.0.match.header.A B", "RFC 5322 3.6.8", id="header name"),
        pytest.param(
            rule("header: {Subject: a, subject: b}"),
            3,
            "rules.0.match.header.subject",
            "same field twice",
            id="header twice",
        ),
        pytest.param(rule("proven: 1"), 3, "rules.0.match.proven", "true or false", id="proven"),
        pytest.param(
            "rules: [{name: default, match: {tls: true}, then: pass}]",
            1,
            "rules.0.name",
            "is not 'default'",
            id="reserved",
        ),
        pytest.param("rules: [{name: a b, match: {tls: true}, then: pass}]", 1, "rules.0.name", "letters", id="name"),
        pytest.param("default:", 1, "default", "has no value", id="empty default"),
        pytest.param("default: {encrypt: never}", 1, "default", "does nothing", id="default does nothing"),
        pytest.param("lists: {a b: []}", 1, "lists.a b", "a list's name", id="list name"),
        pytest.param("lists: {a: [$b]}", 1, "lists.a.0", "cannot name another list", id="list of lists"),
        pytest.param("lists: {a: }", 1, "lists.a", "expected a list", id="list of nothing"),
        pytest.param(
            "lists:\n  a:\n    - '*@x'\n    - x.example\n" + rule("recipient: $a"),
            4,
            "lists.a.1",
            "write '*@x.example'",
            id="entry of a list",
        ),
    ],
)
def test_what_does_not_load(text: str, line: int, key: str, words: str) -> None:
    """One mistake, one problem, at its line and key."""
    ((file, found_line, found_key, said),) = problems_of(text)
    assert (file, found_line, found_key) == ("10.yaml", line, key)
    assert words in said


def test_what_collides_across_documents() -> None:
    """Two rules or lists of one name, two defaults: told with the place of the first."""
    text = "lists: {l: []}\n" + rule() + "\ndefault: pass"
    assert problems_of(text, text) == [
        ("20.yaml", 1, "lists.l", "the list 'l' stands in 10.yaml already"),
        ("20.yaml", 3, "rules.0.name", "'r' is taken by the rule at 10.yaml:3"),
        ("20.yaml", 6, "default", "the default stands in 10.yaml already"),
    ]


def test_problems_of_all_documents_at_once() -> None:
    """A broken document does not hide the next one's problems."""
    assert [file for file, *_ in problems_of("a: [", "rulse: []", rule(""))] == ["10.yaml", "20.yaml", "30.yaml"]


def test_listeners_are_compared_with_the_settings() -> None:
    """A rule for a listener that does not exist would never match."""
    text = rule("listener: [users, bordr]", "pass", "unless: {listener: nowhere}")
    problems = check_listeners(policy_of(text), ["users", "border"])
    assert [(one.line, one.text) for one in problems] == [
        (3, "there is no listener 'bordr'; did you mean 'border'?"),
        (5, "there is no listener 'nowhere'"),
    ]


@pytest.mark.parametrize(
    ("name", "is_policy"),
    [
        ("10-main.yaml", True),
        ("10-main.cases.yaml", False),
        (".10.yaml", False),
        ("a.yml", False),
        ("README.md", False),
    ],
)
def test_files_of_a_folder(name: str, is_policy: bool) -> None:
    """Tables, hidden files and others are no policy documents."""
    assert is_policy_file(name) is is_policy


def test_json_schema_can_be_made() -> None:
    """Editors can be given a schema."""
    assert PolicyDocument.model_json_schema()["additionalProperties"] is False
    assert CasesDocument.model_json_schema()["additionalProperties"] is False


@given(st.text(alphabet="abil:{}[]\n \"'0$*@,", max_size=60), st.integers(0, len(SKETCH)))
def test_any_text_gives_a_policy_or_a_configuration_error(noise: str, position: int) -> None:
    """A sketch with noise in it: nothing but our own exception comes out, and each problem says where."""
    try:
        result: Policy | ConfigurationError = policy_of(SKETCH[:position] + noise + SKETCH[position:])
    except ConfigurationError as error:
        result = error
    if isinstance(result, ConfigurationError):
        assert all(problem.file and problem.text for problem in result.problems)


WORDS = st.sampled_from(
    ["required", "if-possible", "never", "strict", "report", "refuse", "sign", "clear", "skip", "x"]
)
KEYS = st.sampled_from(["sign", "encrypt", "decrypt", "verify", "no_certificate", "unavailable", "form"])


@given(st.dictionaries(KEYS, WORDS, max_size=5))
def test_any_then_loads_or_is_a_problem_of_then(then: dict[str, str]) -> None:
    """Treatment's own refusals never come out as another exception: the parser sees every weakness first."""
    text = rule("proven: true", "{" + ", ".join(f"{key}: {word}" for key, word in then.items()) + "}")
    try:
        policy = policy_of(text)
    except ConfigurationError as error:
        assert {problem.key.split(".")[2] for problem in error.problems} == {"then"}  # noqa: PT017
    else:
        assert policy.rules[0].decision.treatment.to_json().items() <= then.items()


# -- docs/policy.md ---------------------------------------------------------------------------------------------------


def table(heading: str) -> dict[str, tuple[str, ...]]:
    """Read the tables of one section of the documentation: key → the other cells."""
    text = DOCS.read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(f"\n## {heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `([a-z_.\[\]]+)` \|(.*)\|$", section, re.MULTILINE)
    return {key: tuple(cell.strip() for cell in rest.split("|")) for key, rest in rows}


def names_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    return {prefix + (field.alias or name) for name, field in model.model_fields.items()}


def test_docs_name_every_key() -> None:
    """Documents, rules, match, then and tables: the documentation has each key, and no other."""
    assert set(table("A document")) == names_of(PolicyDocument) | names_of(RuleDocument, "rules[].")
    assert set(table("match and unless")) == names_of(MatchDocument)
    assert set(table("then: the treatment")) == names_of(ThenDocument)
    cases = names_of(CaseDocument, "cases[].") - {"cases[].expect"}
    assert set(table("Decision tables")) == names_of(CasesDocument) | cases | names_of(
        ExpectDocument, "cases[].expect."
    )


def test_docs_name_every_default_and_word() -> None:
    """Defaults of a treatment, its words, kinds, directions and result words are those of the models."""
    for key, (default, words) in table("then: the treatment").items():
        model_default = ThenDocument.model_fields[key].default
        assert default == ("none" if model_default is None else f"`{model_default}`")
        if isinstance(
            model_default, Requirement | DecryptMode | VerifyMode | NoCertificate | OnUnavailable | SignedForm
        ):
            assert all(f"`{word}`" in words for word in type(model_default))
    rows = table("match and unless")
    assert all(f"`{word}`" in rows["kind"][1] for word in KIND_WORDS)
    for key, (stage, _) in rows.items():
        sample = {"header": "{A: b}", "size": "'>1B'", "kind": "plain", "verification": "pass", "direction": "inbound"}
        value = sample.get(key, "true" if key in ("proven", "tls") else "a@b")
        assert policy_of(rule(f"{key}: {value}")).rules[0].match[0].stage.label == stage


def test_examples_in_the_docs_load() -> None:
    """What people copy works."""
    policy, cases = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert [rule.name for rule in policy_of(policy).rules] == ["must-encrypt", "outbound", "inbound"]
    from gateway.policy import parse_cases, run_cases

    assert all(result.passed for result in run_cases(policy_of(policy), parse_cases(cases, "docs")))
