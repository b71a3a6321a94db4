"""A few rounds of the harness with every run of the tests; long runs are started by hand or by night."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzz_mime import SEEDS, check, run


@pytest.mark.parametrize(
    "content", [pytest.param(content, id=f"seed {number}") for number, content in enumerate(SEEDS)]
)
def test_the_seeds_hold_the_invariant(content: bytes) -> None:
    """What nobody has mutated is no trouble, or every round would start from one."""
    check(content)


@pytest.mark.parametrize("seed", range(4))
def test_mutations_hold_the_invariant(seed: int) -> None:
    """The same mutations each time, so that a failure is the change's own."""
    run(seed, 100)
