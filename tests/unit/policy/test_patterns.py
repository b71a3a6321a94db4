"""Patterns: what fits, against a naive reference; and that neither size nor hostile text makes them slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Address
from gateway.policy.patterns import AddressSet, Glob, check_address_pattern


def as_expression(pattern: str) -> re.Pattern[str]:
    """The naive reference: a glob as a regular expression."""
    return re.compile(".*".join(re.escape(piece) for piece in pattern.split("*")), re.DOTALL)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "a\nb", True),
        ("a", "A", True),
        ("STRASSE", "straße", True),
        ("*[secure]*", "Re: [SECURE] x", True),
        ("*[secure]*", "secure", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*a", "aba", True),
        ("*ab*ab*", "abab", True),
        ("*ab*ab*", "aab", False),
        ("a.c", "abc", False),
        ("a?", "ab", False),
    ],
)
def test_glob(pattern: str, text: str, fits: bool) -> None:
    """Only * is special, case is ignored, the whole text has to fit."""
    assert Glob(pattern).matches(text) is fits


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_glob_is_the_naive_one(pattern: str, text: str) -> None:
    """The search by pieces finds what a regular expression finds."""
    assert Glob(pattern).matches(text) is bool(as_expression(pattern).fullmatch(text))


@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("Bob@Bank.example", "bob@bank.EXAMPLE", True),
        ("bob@bank.example", "bob@sub.bank.example", False),
        ("*@bank.example", "any.one@BANK.example", True),
        ("*@bank.example", "x@sub.bank.example", False),
        ("*@bank.example", "x@notbank.example", False),
        ("*@*.gov.example", "x@city.gov.example", True),
        ("*@*.gov.example", "x@a.b.gov.example", True),
        ("*@*.gov.example", "x@gov.example", False),
        ("*@*.gov.example", "x@.gov.example", False),
        ("*@*.gov.example", "x@evilgov.example", False),
        ("sales-*@acme.example", "sales-eu@acme.example", True),
        ("sales-*@acme.example", "sales@acme.example", False),
        ("a@*.example", "a@x.example", True),
        ("*@mail*.example", "a@mail7.example", True),
        ("*@*", "a@b", True),
        ("*@b.example", '"x@y"@b.example', True),
        ("x@*", '"x@y"@b.example', False),
        ('"x@y"@b.example', '"X@Y"@b.example', True),
    ],
)
def test_address_patterns(pattern: str, address: str, fits: bool) -> None:
    """The two halves are compared by themselves; a star never reaches across the @."""
    assert check_address_pattern(pattern) is None
    assert AddressSet([pattern, "other@other.test"]).matches(Address(address)) is fits


def test_null_reverse_path() -> None:
    """<> fits the null reverse-path, and nothing else does."""
    assert AddressSet(["<>"]).matches(None)
    assert not AddressSet(["*@*"]).matches(None)
    assert not AddressSet(["<>"]).matches(Address("a@b"))
    assert not AddressSet([]).matches(None)


HALF = st.sampled_from(["*", "a", "b", "a*", "*b", "a*b", "*.x", "*.a.x", "a.x", "x", "*a.x", "b.a.x", "*.*.x"])
NAME = st.sampled_from(["a", "b", "ab", "x", "a.x", "b.x", "a.a.x", "b.a.x", "c.b.a.x", "aa.x", ".x", "a..x"])


@given(st.lists(st.tuples(HALF, HALF), max_size=4), NAME, NAME)
def test_address_set_is_the_naive_one(patterns: list[tuple[str, str]], local: str, domain: str) -> None:
    """Hashing by address, domain and parent finds what comparing one by one finds.

    One thing is left to the hash: ``*.x`` asks for a label before the dot, a plain glob would take an empty one.
    """
    expected = any(
        as_expression(left).fullmatch(local)
        and as_expression(right).fullmatch(domain)
        and not (left == "*" and right.startswith("*.") and "*" not in right[1:] and domain.startswith("."))
        for left, right in patterns
    )
    found = AddressSet([f"{left}@{right}" for left, right in patterns]).matches(Address(f"{local}@{domain}"))
    if domain.startswith("."):
        # ".x" is no domain; what counts is that it is not wider than the naive reading.
        assert not found or any(as_expression(right).fullmatch(domain) for _, right in patterns)
    else:
        assert found is expected


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("bank.example", "write '*@bank.example' for a domain"),
        ("bob", "needs an @"),
        ("@bank.example", "needs an @"),
        ("bob@", "needs an @"),
        ("*", "needs an @"),
        ("", "needs an @"),
        ("bob@bank.example, eve@x.example", "blanks"),
        ("<bob@bank.example>", "blanks"),
        ("Bob bob@bank.example", "blanks"),
        ("<>", "only in reverse_path"),
    ],
)
def test_wrong_patterns(pattern: str, words: str) -> None:
    """What would never fit, or is a domain by mistake, is told."""
    assert words in (check_address_pattern(pattern) or "")


def test_null_is_allowed_where_it_is_asked_for() -> None:
    """reverse_path alone takes <>."""
    assert check_address_pattern("<>", allow_null=True) is None


def test_ten_thousand_entries_cost_no_more_than_ten() -> None:
    """Full addresses, domains and parents are found by hashing."""
    entries = [f"*@bank{number}.example" for number in range(5000)]
    entries += [f"*@*.gov{number}.example" for number in range(4000)]
    entries += [f"user{number}@corp.example" for number in range(1000)]
    patterns = AddressSet(entries)
    address = Address("someone@a.b.c.d.nowhere.example")
    start = time.process_time()
    for _ in range(10_000):
        assert not patterns.matches(address)
    # One by one this would be 10**8 comparisons.
    assert time.process_time() - start < 2
    assert patterns.matches(Address("x@y.gov3999.example"))


def test_hostile_text_is_not_slow() -> None:
    """Many stars against a long text that nearly fits: linear, where backtracking would never end."""
    start = time.process_time()
    assert not Glob("*a" * 30 + "*b").matches("a" * 200_000)
    assert not AddressSet(["*a*a*a*a*b@*a*a*a*c"]).matches(Address("a" * 50_000 + "@" + "a" * 50_000))
    assert time.process_time() - start < 2
