"""Typed reading of parsed JSON: each function gives a value of its type, or :class:`ValueError` that names the key.

What it refuses: everything of another type; a boolean is no number, a moment needs an offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def read_mapping(data: object) -> Mapping[str, Any]:
    """Return ``data`` as an object."""
    if not isinstance(data, Mapping):
        raise ValueError("an object was expected")
    return data


def read_text(data: Mapping[str, Any], key: str) -> str:
    """Return a string."""
    value = data.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key}: a string was expected")
    return value


def read_integer(data: Mapping[str, Any], key: str) -> int:
    """Return an integer."""
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key}: an integer was expected")
    return value


def read_number(data: Mapping[str, Any], key: str) -> float:
    """Return a number."""
    value = data.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{key}: a number was expected")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{key}: too large") from error


def read_items(data: Mapping[str, Any], key: str) -> Sequence[object]:
    """Return a list."""
    value = data.get(key)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{key}: a list was expected")
    return value


def read_words(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of strings."""
    words = read_items(data, key)
    if not all(isinstance(word, str) for word in words):
        raise ValueError(f"{key}: a list of strings was expected")
    return tuple(str(word) for word in words)


def read_moment(data: Mapping[str, Any], key: str) -> datetime:
    """Return a moment in UTC, written as in RFC 3339."""
    moment = datetime.fromisoformat(read_text(data, key))
    if moment.tzinfo is None:
        raise ValueError(f"{key}: an offset was expected")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{key}: out of range") from error
