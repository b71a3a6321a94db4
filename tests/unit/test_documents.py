"""Reading of the admin's files: what is read, what is refused, and where a problem is said to stand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from gateway.address import Address
from gateway.documents import (
    MAX_DEPTH,
    MAX_PROBLEMS,
    MAX_TEXT,
    Count,
    Duration,
    Size,
    StrictModel,
    Switch,
    WrittenAddress,
    WrittenPath,
    parse_duration,
    parse_size,
    read_document,
    suggest,
    validate,
)
from gateway.errors import ConfigurationError, Problem


class Inner(StrictModel):
    encrypt: Switch = False
    mode: Literal["none", "required"] = "none"


class Model(StrictModel):
    inner: Inner | None = None
    named: dict[str, Inner] = Field(default_factory=dict)
    items: tuple[Inner, ...] | None = None
    count: Annotated[Count, Field(ge=1)] = 1
    size: Size = 1
    wait: Duration = 1.0
    path: WrittenPath | None = None
    address: WrittenAddress | None = None
    text: str = ""


def load_document(text: str, file: str, model: type[StrictModel]) -> Any:
    return validate(read_document(text, file), model)


def problems_of(text: str, model: type[StrictModel] = Model) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as raised:
        load_document(text, "etc/some.yaml", model)
    return raised.value.problems


@pytest.mark.parametrize(
    ("text", "data"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param("# only a comment\n", {}, id="comment"),
        pytest.param("---\na: 1\n...\n", {"a": 1}, id="document markers"),
        pytest.param("a: true\nb: False\nc: TRUE", {"a": True, "b": False, "c": True}, id="booleans"),
        pytest.param("a: yes\nb: on\nc: 'true'", {"a": "yes", "b": "on", "c": "true"}, id="not booleans in YAML 1.2"),
        pytest.param("a: 0o17\nb: 0x1F\nc: -3\nd: 017", {"a": 15, "b": 31, "c": -3, "d": 17}, id="whole numbers"),
        pytest.param("a: ~\nb: null\nc:\nd: ''", {"a": None, "b": None, "c": None, "d": ""}, id="nothing"),
        pytest.param("a: 1.5\nb: 1e3\nc: .inf", {"a": "1.5", "b": "1e3", "c": ".inf"}, id="fractions are text"),
        pytest.param("a: 2026-01-01\nb: 12:30:00", {"a": "2026-01-01", "b": "12:30:00"}, id="times are text"),
        pytest.param("1: a\ntrue: b\n~: c", {"1": "a", "true": "b", "~": "c"}, id="keys are text as written"),
        pytest.param("a: [x, {b: [y]}]", {"a": ["x", {"b": ["y"]}]}, id="nested"),
        pytest.param("a: 99999999999999999999999", {"a": "99999999999999999999999"}, id="too long for a number"),
        pytest.param("a: |\n  x\n  y\n", {"a": "x\ny\n"}, id="block text"),
        pytest.param("a: '5'", {"a": "5"}, id="quoted"),
        pytest.param("a: b\r\nc: d\r\n", {"a": "b", "c": "d"}, id="CRLF"),
        pytest.param("\ufeffa: b", {"a": "b"}, id="byte order mark"),
    ],
)
def test_reads(text: str, data: object) -> None:
    """The core schema of YAML 1.2, as far as the files of this program need it."""
    assert read_document(text, "f").data == data


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        pytest.param("a: 1\na: 2", 2, "a", "written twice, first in line 1", id="duplicate key"),
        pytest.param("x:\n  - a: 1\n    a: 2", 3, "x.0.a", "written twice", id="duplicate key, deep"),
        pytest.param("a: &x 1\n", 1, "a", "anchors", id="anchor"),
        pytest.param("a: 1\nb: *x\n", 2, "b", "aliases", id="alias"),
        pytest.param("&x a: 1\n", 1, "a", "anchors", id="anchor of a key"),
        pytest.param("a:\n  <<: {b: 1}\n", 2, "a", "merge", id="merge key"),
        pytest.param("a: !!python/name:os.system\n", 1, "a", "tags", id="tag"),
        pytest.param("a: !secret x\n", 1, "a", "tags", id="local tag"),
        pytest.param("!x a: 1\n", 1, "a", "tags", id="tag of a key"),
        pytest.param("%YAML 1.1\n---\na: yes\n", 2, "", "directives", id="directive"),
        pytest.param("a: 1\n---\nb: 1\n", 2, "", "one document", id="two documents"),
        pytest.param("? [a]\n: 1\n", 1, "", "plain text", id="key is a list"),
        pytest.param("a: {? {b: 1} : 2}\n", 1, "a", "plain text", id="key is a mapping"),
        pytest.param(": 1\n", 1, "", "missing before the colon", id="no key"),
        pytest.param("a: 1\nb: [1\n", 3, "", "begun in line 2", id="open bracket"),
        pytest.param("a: b: c\n", 1, "", "mapping values are not allowed here", id="two colons"),
        pytest.param("a: 1\n\tb: 1\n", 2, "", "broken YAML", id="tab"),
        pytest.param("a: 1\nb: 'x\n", 3, "", "begun in line 2", id="open quote"),
        pytest.param("a: 1\nb: \x07\n", 2, "", "special characters", id="control character"),
        pytest.param('a: "\\UFFFFFFFF"', None, "", "cannot be read", id="escape beyond Unicode"),
        pytest.param("[" * 5000, 1, ".".join(["0"] * MAX_DEPTH), "nested", id="deep list"),
        pytest.param("{a: " * 5000, 1, ".".join(["a"] * MAX_DEPTH), "nested", id="deep mapping"),
        pytest.param("a" * (MAX_TEXT + 1), None, "", "longer than", id="too long"),
    ],
)
def test_refuses(text: str, line: int | None, key: str, words: str) -> None:
    """What is no plain YAML document is refused with its line and its name."""
    with pytest.raises(ConfigurationError) as raised:
        read_document(text, "etc/some.yaml")
    problem = raised.value.problems[0]
    assert (problem.file, problem.line, problem.key) == ("etc/some.yaml", line, key)
    assert words in problem.text


def test_reports_all_problems_of_the_text() -> None:
    """One run shows everything: the admin does not fix and try again for each."""
    with pytest.raises(ConfigurationError) as raised:
        read_document("a: &x 1\na: 2\nb: *x\nc: !t 1\n", "f")
    assert [problem.line for problem in raised.value.problems] == [1, 2, 3, 4]


def test_number_of_problems_is_bounded() -> None:
    """A wrong file does not flood the console."""
    with pytest.raises(ConfigurationError) as raised:
        read_document("a: 1\n" * 5000, "f")
    assert len(raised.value.problems) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        pytest.param(
            "inner:\n  encript: true", 2, "inner.encript", "unknown key 'encript'; did you mean 'encrypt'?", id="typo"
        ),
        pytest.param("\ninner: {xyz: 1}", 2, "inner.xyz", "unknown key 'xyz'", id="unknown, nothing close"),
        pytest.param(
            "named:\n  a: {}\n  b:\n    mde: none",
            4,
            "named.b.mde",
            "unknown key 'mde'; did you mean 'mode'?",
            id="typo in a named section",
        ),
        pytest.param(
            "items:\n- {}\n- Mode: none",
            3,
            "items.1.Mode",
            "unknown key 'Mode'; did you mean 'mode'?",
            id="typo in an item",
        ),
        pytest.param("Inner: {}", 1, "Inner", "unknown key 'Inner'; did you mean 'inner'?", id="wrong case"),
        pytest.param("inner: [1]", 1, "inner", "expected keys with values, not a list", id="list for section"),
        pytest.param("items: {a: 1}", 1, "items", "expected a list, not keys with values", id="section for list"),
        pytest.param("items: x", 1, "items", "expected a list, not 'x'", id="text for list"),
        pytest.param("named:", 1, "named", "expected keys with values, not nothing", id="nothing for section"),
        pytest.param("count: '3'", 1, "count", "expected a whole number, not '3'", id="text for number"),
        pytest.param("count: 3.0", 1, "count", "expected a whole number, not '3.0'", id="fraction for number"),
        pytest.param("count: true", 1, "count", "expected a whole number, not true", id="boolean for number"),
        pytest.param("count: 0", 1, "count", "should be greater than or equal to 1", id="number too small"),
        pytest.param("inner: {encrypt: yes}", 1, "inner.encrypt", "expected true or false, not 'yes'", id="yes"),
        pytest.param("inner: {encrypt: 1}", 1, "inner.encrypt", "expected true or false, not 1", id="1 for true"),
        pytest.param("text: 5", 1, "text", "expected text, not 5", id="number for text"),
        pytest.param(
            "inner: {mode: requird}",
            1,
            "inner.mode",
            "'requird' is not one of none, required; did you mean 'required'?",
            id="wrong word",
        ),
        pytest.param("inner: {mode: 3}", 1, "inner.mode", "3 is not one of none, required", id="number for word"),
        pytest.param(
            "size: 50", 1, "size", "expected a size with a unit, like 50MiB (B, KiB, MiB, GiB), not 50", id="bare size"
        ),
        pytest.param(
            "wait: 8", 1, "wait", "expected a duration with a unit, like 8s (ms, s, m, h, d), not 8", id="bare wait"
        ),
        pytest.param("path: ''", 1, "path", "expected a path, not ''", id="empty path"),
        pytest.param("path: 5", 1, "path", "expected a path, not 5", id="number for path"),
        pytest.param("address: a b@c", 1, "address", "expected a mail address, not 'a b@c'", id="blank in address"),
        pytest.param("address: abc", 1, "address", "expected a mail address, not 'abc'", id="no address"),
        pytest.param("- 1", 1, "", "expected keys with values, not a list", id="list for document"),
        pytest.param("x", 1, "", "expected keys with values, not 'x'", id="text for document"),
    ],
)
def test_validation_problems(text: str, line: int, key: str, said: str) -> None:
    """Each problem of validation has the line, the dotted key and one plain sentence."""
    assert problems_of(text) == (Problem(file="etc/some.yaml", line=line, key=key, text=said),)


def test_missing_key_stands_at_its_section() -> None:
    """What is not written has the line of what should hold it."""

    class Needing(StrictModel):
        name: str

    class Outer(StrictModel):
        part: tuple[Needing, ...]

    assert problems_of("\npart:\n- name: a\n- {}", Outer) == (
        Problem(file="etc/some.yaml", line=4, key="part.1.name", text="required key 'name' is missing"),
    )


def test_long_values_are_cut() -> None:
    """A problem quotes a few words of the file, not the file."""
    assert len(problems_of(f"count: {'x' * 5000}")[0].text) < 120


def test_loads() -> None:
    """A good document is the model, with sizes as octets, durations as seconds, paths as written."""
    model = load_document(
        "inner: {encrypt: true}\nitems: [{}]\nsize: 2KiB\nwait: 1500ms\npath: a/../b/\naddress: A@B.example", "f", Model
    )
    assert model.inner is not None
    assert model.inner.encrypt
    assert (model.size, model.wait, str(model.path), str(model.address)) == (2048, 1.5, "a/../b", "A@B.example")


def test_models_can_be_built_in_code() -> None:
    """Code gives octets, seconds and values; only what somebody wrote needs its unit."""
    built = Model(size=2048, wait=1.5, path=Path("a"), address=Address("a@b.example"))
    assert built == load_document("size: 2KiB\nwait: 1500ms\npath: a\naddress: a@b.example", "f", Model)
    with pytest.raises(ValidationError, match="expected a size"):
        Model(size="2048")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "octets"),
    [("0B", 0), ("1KiB", 1024), ("50MiB", 52428800), ("50 MiB", 52428800), ("2GiB", 2147483648)],
)
def test_sizes(text: str, octets: int) -> None:
    """Units are powers of 1024."""
    assert parse_size(text) == octets


@pytest.mark.parametrize(
    "text", ["", "5", "5 kb", "5MB", "5mib", "-1KiB", "1.5MiB", "KiB", "9" * 13 + "B", "٣KiB", 5, None]
)
def test_no_sizes(text: object) -> None:
    """Nothing is guessed: no decimal units, no signs, no fractions, ASCII digits only."""
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("8s", 8), ("10m", 600), ("2h", 7200), ("5d", 432000), ("0s", 0), ("5 d", 432000)],
)
def test_durations(text: str, seconds: float) -> None:
    """Each unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "8S", "1h30m", "8 sec", "-1s", "1.5s", "8s ", "٣s", True, 8])
def test_no_durations(text: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_suggest() -> None:
    """Only what is close is suggested."""
    assert suggest("encript", ["sign", "encrypt"]) == "; did you mean 'encrypt'?"
    assert suggest("bananas", ["sign", "encrypt"]) == ""


@given(st.text() | st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#,\n\t \\Ux0<~", max_size=60))
@example("a: \ud800")
@example("a: \x85b")
@example("? ")
@example("? a\n: - b")
@example("- - - - - -")
@example("a: |9\n")
@example("*")
def test_any_text_gives_a_document_or_a_configuration_error(text: str) -> None:
    """Whatever the text is, nothing but our own exception comes out, and each problem can be printed."""
    problems: tuple[Problem, ...] = ()
    try:
        load_document(text, "f", Model)
    except ConfigurationError as error:
        problems = error.problems or (Problem(file="", line=None, key="", text=""),)
    assert all(problem.file == "f" and problem.text and str(problem) for problem in problems)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(alphabet="ab 1:#", max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner),
        max_leaves=10,
    )
)
def test_reads_what_json_writes(data: object) -> None:
    """JSON is YAML: what json writes is read back equal, and every key and item has a line."""
    import json

    document = read_document(json.dumps(data, indent=1), "f")
    assert document.data == ({} if data is None else data)
    lines = json.dumps(data, indent=1).splitlines()
    for path, line in document.lines.items():
        if path and isinstance(path[-1], str):
            assert json.dumps(path[-1]) in lines[line - 1]


def test_many_entries_are_read_in_time() -> None:
    """Reading is linear: ten thousand entries are a matter of a second or less."""
    text = "a:\n" + "".join(f"  - '*@bank{number}.example'\n" for number in range(10_000))
    start = time.process_time()
    assert len(read_document(text, "f").lines) == 10_002
    assert time.process_time() - start < 10
