"""The admin's files: YAML text in, a checked model out, every problem with its file, line and key.

What it does: reads one YAML document, keeps the line of every key, and validates it against a pydantic model. All that
is wrong is reported at once as :class:`~gateway.errors.ConfigurationError`; nothing else is raised, whatever the text.

Standards: YAML 1.2.2, of it one document with the core schema (10.3): mappings, sequences, text, whole numbers,
``true``/``false`` and ``null``. Refused, each with its line: duplicate keys, anchors and aliases, merge keys, tags,
directives, several documents, keys that are not text, nesting beyond :data:`MAX_DEPTH`, text beyond :data:`MAX_TEXT`.

Known gap: fractions are read as text, because no key takes one; sizes and durations carry a unit and are text anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    Strict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from gateway.address import Address
from gateway.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_DEPTH = 20
"""Deepest nesting of mappings and sequences; the documents of this program need seven."""
MAX_TEXT = 4 * 1024 * 1024
"""Longest document, in characters: a list of 10,000 addresses takes 400,000."""
MAX_PROBLEMS = 100
"""Most problems reported of one document; who makes more has the wrong file."""

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys of mappings, and positions in sequences from 0."""
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class StrictModel(BaseModel):
    """Base of the models of the admin's files: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML document that could be read; not yet validated."""

    file: str
    """Path as the admin wrote it."""
    data: object
    """Mappings, lists, text, whole numbers, booleans and ``None``; an empty document is an empty mapping."""
    lines: Mapping[KeyPath, int]
    """Line of each key and of each item of a sequence, from 1."""

    def locate(self, path: Sequence[str | int]) -> int | None:
        """Return the line of ``path``, or of what encloses it where it is not written."""
        known = (path[:length] for length in range(len(path), 0, -1) if tuple(path[:length]) in self.lines)
        return self.lines.get(tuple(next(known, ())))

    def problem(self, path: Sequence[str | int], text: str) -> Problem:
        """Make a problem of ``path`` in this document."""
        return Problem(file=self.file, line=self.locate(path), key=".".join(map(str, path)), text=text)


def validate(document: Document, model: type[M]) -> M:
    """Validate a document that was read; raise :class:`~gateway.errors.ConfigurationError`."""
    try:
        return model.model_validate(document.data, context=_FROM_DOCUMENT)
    except ValidationError as error:
        found = error.errors(include_url=False)[:MAX_PROBLEMS]
        raise ConfigurationError(*(_to_problem(detail, document, model) for detail in found)) from None


def read_document(text: str, file: str) -> Document:
    """Read one YAML document; raise :class:`~gateway.errors.ConfigurationError`."""
    if len(text) > MAX_TEXT:
        raise ConfigurationError(Problem(file=file, line=None, key="", text=f"longer than {MAX_TEXT} characters"))
    reader = _Reader(file)
    # Third-party parser: on some broken texts it raises what it did not mean to (an OverflowError for "\UFFFFFFFF").
    # Whatever it raises, the file cannot be read.
    try:
        data = reader.read(text)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(*reader.problems, _to_syntax_problem(error, text, file)) from None
    if reader.problems:
        raise ConfigurationError(*reader.problems)
    return Document(file=file, data={} if data is None else data, lines=reader.lines)


def suggest(word: str, known: Sequence[str]) -> str:
    """Return ``; did you mean 'encrypt'?`` for a word close to a known one, else nothing."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower()[:80], known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


# -- reading ----------------------------------------------------------------------------------------------------------

_NO_ALIAS = "aliases (*name) are not supported; text that begins with * has to stand in quotes"
_NO_ANCHOR = "anchors (&name) are not supported; text that begins with & has to stand in quotes"
_NO_MERGE = "merge keys (<<) are not supported"

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def _resolve_plain(text: str) -> object:
    """Resolve a plain scalar by the core schema (YAML 1.2.2 10.3.2); fractions stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return text


class _Reader:
    """Builds the tree of one document from the parser's events as they come: no aliases, bounded depth."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {(): 1}
        self.problems: list[Problem] = []
        self._events: Iterator[Any] = iter(())

    def read(self, text: str) -> object:
        """Read the whole text; what is wrong and does not stop the reading is in :attr:`problems`."""
        from ruamel.yaml import YAML

        self._events = iter(YAML(typ="safe", pure=True).parse(text))
        data: object = None
        documents = 0
        for event in self._events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    self._refuse(event, (), "one document per file: remove this '---' or what stands before it")
                    break
                if event.version is not None or event.tags:
                    self._refuse(event, (), "directives (%YAML, %TAG) are not supported; remove them")
            elif kind not in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"):
                data = self._read_node(event, (), 1)
        return data

    def _read_node(self, event: Any, path: KeyPath, depth: int) -> object:
        if depth > MAX_DEPTH:
            self._refuse(event, path, f"nested more than {MAX_DEPTH} deep")
            raise ConfigurationError(*self.problems)
        kind = type(event).__name__
        if kind == "AliasEvent":
            self._refuse(event, path, _NO_ALIAS)
            return None
        if getattr(event, "anchor", None) is not None:
            self._refuse(event, path, _NO_ANCHOR)
        if getattr(event, "ctag", None) is not None:
            self._refuse(event, path, "tags (!) are not supported")
        if kind == "MappingStartEvent":
            return self._read_mapping(path, depth)
        if kind == "SequenceStartEvent":
            return self._read_sequence(path, depth)
        return _resolve_plain(event.value) if event.style is None else event.value

    def _read_sequence(self, path: KeyPath, depth: int) -> list[object]:
        items: list[object] = []
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            here = (*path, len(items))
            self.lines[here] = event.start_mark.line + 1
            items.append(self._read_node(event, here, depth + 1))
        return items

    def _read_mapping(self, path: KeyPath, depth: int) -> dict[str, object]:
        mapping: dict[str, object] = {}
        while (kind := type(event := next(self._events)).__name__) != "MappingEndEvent":
            if kind != "ScalarEvent":
                self._refuse(event, path, "a key must be plain text")
                self._read_node(event, path, depth + 1)
                self._read_node(next(self._events), path, depth + 1)
                continue
            key: str = event.value
            here = (*path, key)
            if key in mapping:
                self._refuse(event, here, f"written twice, first in line {self.lines[here]}")
            elif not key or (key == "<<" and event.style is None):
                self._refuse(event, path, _NO_MERGE if key else "a key is missing before the colon")
            if event.anchor is not None or event.ctag is not None:
                self._refuse(event, here, "anchors and tags are not supported")
            self.lines.setdefault(here, event.start_mark.line + 1)
            mapping[key] = self._read_node(next(self._events), here, depth + 1)
        return mapping

    def _refuse(self, event: Any, path: KeyPath, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            line = event.start_mark.line + 1
            self.problems.append(Problem(file=self.file, line=line, key=".".join(map(str, path)), text=text))


def _to_syntax_problem(error: Exception, text: str, file: str) -> Problem:
    begun = getattr(error, "context_mark", None)
    mark = getattr(error, "problem_mark", None) or begun
    position = getattr(error, "position", None)
    line: int | None = None
    if mark is not None:
        line = mark.line + 1
    elif isinstance(position, int):
        line = text.count("\n", 0, position) + 1
    parts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
    what = ", ".join(part for part in parts if isinstance(part, str) and part) or "cannot be read"
    if begun is not None and begun.line + 1 != line:
        what += f", begun in line {begun.line + 1}"
    return Problem(file=file, line=line, key="", text=f"broken YAML: {what}")


# -- validation errors ------------------------------------------------------------------------------------------------

_TEXTS = {
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected keys with values",
    "model_type": "expected keys with values",
}


def _to_problem(detail: ErrorDetails, document: Document, model: type[BaseModel]) -> Problem:
    """Turn one error of pydantic into a problem; positions that only pydantic knows are left out of the key."""
    path: KeyPath = ()
    for step in detail["loc"]:
        if (*path, step) in document.lines:
            path = (*path, step)
    kind = detail["type"]
    if kind == "extra_forbidden":
        name = str(path[-1]) if path else ""
        return document.problem(path, f"unknown key '{name}'{suggest(name, _known_keys(model, path[:-1]))}")
    if kind == "missing":
        name = str(detail["loc"][-1])
        return document.problem((*path, name), f"required key '{name}' is missing")
    return document.problem(path, _explain(detail))


def _explain(detail: ErrorDetails) -> str:
    value = detail["input"]
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])
    if detail["type"] in ("enum", "literal_error"):
        words = re.findall(r"'([^']*)'", str(context["expected"]))
        hint = suggest(value, words) if isinstance(value, str) else ""
        return f"{_show(value)} is not one of {', '.join(words)}{hint}"
    text = _TEXTS.get(detail["type"])
    return f"{text}, not {_show(value)}" if text else detail["msg"].replace("Input should be", "should be")


def _show(value: object) -> str:
    """Show a value of the document, in a few words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "…")
    if isinstance(value, dict):
        return "keys with values"
    return "a list" if isinstance(value, list) else "nothing" if value is None else str(value)


def _known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys of the model that stands at ``path``."""
    here: object = model
    for step in path:
        nested = _find_model(here)
        if nested is None:
            here = _find_item(here)
        else:
            here = {field.alias or name: field.annotation for name, field in nested.model_fields.items()}.get(str(step))
    nested = _find_model(here)
    return [field.alias or name for name, field in nested.model_fields.items()] if nested else []


_CONTAINERS = (dict, list, tuple, Mapping)


def _find_model(annotation: object) -> type[BaseModel] | None:
    """Find the model in ``Model``, ``Model | None`` or an annotated form of them; containers are not looked into."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in _CONTAINERS:
        return None
    return next((found for argument in get_args(annotation) if (found := _find_model(argument))), None)


def _find_item(annotation: object) -> object:
    """Find what the items of a container are, through ``| None`` and annotations."""
    arguments = [argument for argument in get_args(annotation) if argument is not ...]
    if get_origin(annotation) in _CONTAINERS:
        return arguments[-1] if arguments else None
    return next((found for argument in arguments if (found := _find_item(argument)) is not None), None)


# -- scalars ----------------------------------------------------------------------------------------------------------

_SIZE = re.compile(r"([0-9]{1,12}) ?(B|KiB|MiB|GiB)")
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"([0-9]{1,9}) ?(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: object) -> int:
    """Read a size with its unit, ``50MiB``, as octets; raise :class:`ValueError`."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"expected a size with a unit, like 50MiB (B, KiB, MiB, GiB), not {_show(value)}")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def parse_duration(value: object) -> float:
    """Read a duration with its unit, ``8s``, as seconds; raise :class:`ValueError`."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"expected a duration with a unit, like 8s (ms, s, m, h, d), not {_show(value)}")
    return int(found[1]) * _DURATION_UNITS[found[2]]


_FROM_DOCUMENT = "document"
"""The context of values that somebody wrote; models built in code take octets and seconds as numbers."""


def _read_size(value: object, info: ValidationInfo) -> int:
    return value if info.context != _FROM_DOCUMENT and isinstance(value, int) else parse_size(value)


def _read_duration(value: object, info: ValidationInfo) -> float:
    return value if info.context != _FROM_DOCUMENT and isinstance(value, (int, float)) else parse_duration(value)


def _parse_path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"expected a path, not {_show(value)}")
    return Path(value)


def parse_address(value: object) -> Address:
    """Read a mail address; raise :class:`ValueError`."""
    if isinstance(value, Address):
        return value
    try:
        # Only what no mailbox has is refused here: blanks, control characters and brackets of a path.
        if not isinstance(value, str) or re.search(r"[\x00-\x20<>\x7f]", value):
            raise ValueError
        return Address(value)
    except ValueError:
        raise ValueError(f"expected a mail address, not {_show(value)}") from None


def _check_not_empty(value: T) -> T:
    if not value:
        raise ValueError("must not be empty")
    return value


NOT_EMPTY = AfterValidator(_check_not_empty)
"""For lists and mappings that need an entry (pydantic's ``min_length`` does not count the entries that are wrong)."""
Size = Annotated[
    int, BeforeValidator(_read_size), WithJsonSchema({"type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$"})
]
"""Octets; written with a unit."""
Duration = Annotated[
    float, BeforeValidator(_read_duration), WithJsonSchema({"type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$"})
]
"""Seconds; written with a unit."""
Count = Annotated[int, Strict()]
"""A whole number."""
Switch = Annotated[bool, Strict()]
"""``true`` or ``false``."""
WrittenPath = Annotated[Path, PlainValidator(_parse_path), WithJsonSchema({"type": "string"})]
"""A path as it was written; a relative one starts at the folder of the settings file."""
WrittenAddress = Annotated[
    Address, PlainValidator(parse_address), WithJsonSchema({"type": "string", "format": "email"})
]
"""A mail address."""
