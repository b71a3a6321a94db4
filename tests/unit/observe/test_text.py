"""Foreign text on screens: one line, nothing that acts, and nothing mistaken for what it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observe import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("alice@acme.example", "alice@acme.example", id="plain"),
        pytest.param("jörg@bücher.example", "jörg@bücher.example", id="letters"),
        pytest.param("a b", "a b", id="space"),
        pytest.param("", "", id="empty"),
        pytest.param("a\r\nb", "a\\x0d\\x0ab", id="line-end"),
        pytest.param("\x1b[31mred", "\\x1b[31mred", id="terminal-escape"),
        pytest.param("a\u202eb", "a\\u202eb", id="direction-override"),
        pytest.param("a\x85b\u2028c", "a\\x85b\\u2028c", id="other-line-ends"),
        pytest.param("a\udcffb", "a\\udcffb", id="octet-that-was-no-utf-8"),
        pytest.param("a\\x0db", "a\\\\x0db", id="backslash"),
        pytest.param("\x00\x7f", "\\x00\\x7f", id="nul-and-delete"),
        pytest.param("\U000e0001", "\\U000e0001", id="beyond-the-first-plane"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    """By example."""
    assert printable(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 9 + "…"),
        ("\n" * 3, "\\x0a\\x0a\\…"),
        ("\n" * 10**6, "\\x0a\\x0a\\…"),
    ],
)
def test_long_text_is_cut(text: str, expected: str) -> None:
    """At the limit, escapes counted; what is cut says so."""
    assert printable(text, 10) == expected


@given(st.text(st.characters(codec=None)))
def test_anything_becomes_one_harmless_line(text: str) -> None:
    """Printable, bounded, and writable as UTF-8."""
    result = printable(text, 100)
    assert result.isprintable()
    assert len(result) <= 100
    result.encode()


@given(st.text(st.characters(codec=None), max_size=30), st.text(st.characters(codec=None), max_size=30))
def test_different_texts_stay_different(one: str, two: str) -> None:
    """What was escaped cannot be mistaken for what was written."""
    assert (printable(one) == printable(two)) is (one == two)
