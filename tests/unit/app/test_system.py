"""The real clock, entropy and way off the loop: ids sort by time and nobody guesses them."""

from __future__ import annotations

import asyncio
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app.system import SystemClock, SystemEntropy, offload
from tests.support.doubles import FixedClock
from tests.support.pki import MOMENT

ID = re.compile(r"[0-9a-z]{16}")
THE_LAST = datetime(5188, 1, 1, tzinfo=UTC)


def test_civil_time_is_aware_and_the_other_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic()

    async def both() -> tuple[float, float, float]:
        loop = asyncio.get_running_loop()
        return loop.time(), clock.monotonic(), loop.time()

    before, between, after = asyncio.run(both())
    assert before <= between <= after


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(5187, 1, 1)), st.timedeltas(timedelta(milliseconds=1), timedelta(365))
)
def test_ids_sort_by_time(first: datetime, later: timedelta) -> None:
    """Whoever was made a millisecond earlier stands before, whatever chance adds."""
    clock = FixedClock(first.replace(tzinfo=UTC))
    entropy = SystemEntropy(clock)
    early = entropy.transaction_id()
    clock.moment += later
    late = entropy.transaction_id()
    assert ID.fullmatch(early)
    assert ID.fullmatch(late)
    assert early < late


@pytest.mark.parametrize("moment", [datetime(1970, 1, 1, tzinfo=UTC), MOMENT, THE_LAST])
def test_ids_have_one_length(moment: datetime) -> None:
    assert ID.fullmatch(SystemEntropy(FixedClock(moment)).transaction_id())


def test_ids_of_one_moment_differ() -> None:
    """Seven digits of chance: a worker with a thousand transactions in one millisecond does not repeat itself."""
    entropy = SystemEntropy(FixedClock())
    ids = [entropy.transaction_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert len({one[:9] for one in ids}) == 1


def test_boundaries_are_not_to_be_guessed_and_stand_in_no_encoded_text() -> None:
    """``=_`` is no quoted-printable and ``_`` no base64 (RFC 2045 6.7, 6.8); the length is RFC 2046's (5.1.1)."""
    entropy = SystemEntropy(FixedClock())
    boundaries = {entropy.boundary() for _ in range(1000)}
    assert len(boundaries) == 1000
    for boundary in boundaries:
        assert re.fullmatch(r"=_[0-9a-f]{32}", boundary)
        assert len(boundary) <= 70


def test_work_is_done_elsewhere_and_comes_back() -> None:
    def work(first: int, second: int) -> tuple[int, str]:
        return first // second, threading.current_thread().name

    async def main() -> None:
        value, name = await offload(work, 6, 3)
        assert value == 2
        assert name != threading.current_thread().name
        with pytest.raises(ZeroDivisionError):
            await offload(work, 6, 0)

    asyncio.run(main())
