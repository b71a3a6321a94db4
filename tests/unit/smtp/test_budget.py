"""The memory budget: it never goes below nothing, and gives what it was given back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.budget import Budget


@pytest.mark.parametrize(("octets", "granted"), [(0, True), (1, True), (100, True), (101, False)])
def test_what_is_there_is_granted_and_no_more(octets: int, granted: bool) -> None:
    budget = Budget(100)
    assert budget.take(octets) is granted
    assert budget.free == 100 - octets * granted


def test_a_refusal_takes_nothing() -> None:
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)
    assert not budget.take(1)
    budget.give(100)
    assert budget.free == 100


@given(st.integers(0, 1000), st.lists(st.integers(0, 300)))
def test_it_always_adds_up(limit: int, wanted: list[int]) -> None:
    """Whatever is asked for, what was granted and what is free are the limit together."""
    budget = Budget(limit)
    granted = [octets for octets in wanted if budget.take(octets)]
    assert budget.free == limit - sum(granted) >= 0
    for octets in granted:
        budget.give(octets)
    assert budget.free == limit
