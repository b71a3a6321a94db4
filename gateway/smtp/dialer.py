"""The one way out: every connection to a next hop is opened here, so that a simulation can stand in for the network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer(Protocol):
    """Opens a TCP connection."""

    async def __call__(self, host: str, port: int, factory: Callable[[], P]) -> P:
        """Connect to ``host``, resolving names, and return the connected protocol. Raises :class:`OSError`."""
        ...


async def dial(host: str, port: int, factory: Callable[[], P]) -> P:
    """The :class:`Dialer` of the real network."""
    _, protocol = await asyncio.get_running_loop().create_connection(factory, host, port)
    return protocol
