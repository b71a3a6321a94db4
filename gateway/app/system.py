"""The real clock, entropy and way off the event loop: what a simulation replaces."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from gateway.transaction.ports import Clock

T = TypeVar("T")

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class SystemClock:
    """:class:`gateway.transaction.ports.Clock` of this machine."""

    def now(self) -> datetime:
        """See the port."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See the port; the same clock as the event loop's."""
        return time.monotonic()


class SystemEntropy:
    """:class:`gateway.transaction.ports.Entropy` from the operating system."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def transaction_id(self) -> str:
        """Nine digits of milliseconds, seven of chance, base 36: ids sort by time until the year 5188."""
        milliseconds = int(self._clock.now().timestamp() * 1000)
        return _base36(milliseconds, 9) + _base36(secrets.randbelow(36**7), 7)

    def boundary(self) -> str:
        """Not to be guessed by whoever wrote the message; ``=_`` cannot stand in quoted-printable or base64."""
        return f"=_{secrets.token_hex(16)}"


async def offload(function: Callable[..., T], /, *arguments: object) -> T:
    """:class:`gateway.transaction.ports.Offload`: the event loop's own threads."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def _base36(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
