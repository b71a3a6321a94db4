"""The event loops of these tests: what runs on asyncio's own runs on uvloop too, where that is installed."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.loopback import LOOPS, Run, run_on


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine to its end, on each loop."""
    return partial(run_on, LOOPS[request.param])
