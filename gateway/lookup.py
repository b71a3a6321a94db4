"""The three answers of every look-up: found, none, unavailable.

*Unknown is not absent*: a directory that does not answer has not said that there is no certificate. So no look-up in
this program returns ``None`` or an empty list for "I could not ask".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """The source answered, and this is it."""

    value: T


@dataclass(frozen=True, slots=True)
class Nothing:
    """The source answered: there is none."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The source did not answer. ``cause`` is for the log: no content, no secrets."""

    cause: str


Answer = Found[T] | Nothing | Unavailable
