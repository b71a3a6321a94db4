"""A few rounds of the harness with every run of the tests; long runs are started by hand or by night."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from gateway.cms import ContentKind, content_type_of
from gateway.errors import CmsError
from tests.fuzz.fuzz_cms import check, mutate_elements, run, seeds


def test_the_seeds_hold_the_invariant() -> None:
    """What nobody has mutated is no trouble, or every round would start from one."""
    for octets in seeds().messages:
        check(octets)


def test_element_mutations_often_keep_the_frame() -> None:
    """They reach what octet mutations seldom do: structures that are wrong inside sound lengths."""
    octets = seeds().messages[0]
    sound = 0
    for number in range(100):
        with suppress(CmsError):
            sound += content_type_of(mutate_elements(octets, random.Random(number))) is ContentKind.SIGNED
    assert sound > 30


@pytest.mark.parametrize("seed", range(4))
def test_mutations_hold_the_invariant(seed: int) -> None:
    """The same mutations each time, of messages with other keys."""
    run(seed, 150)
