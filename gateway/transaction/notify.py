"""Sending a delivery status notification by the reports' route."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.envelope import NULL_PATH, Path
from gateway.transaction.ports import Upstream


async def send_report(route: Upstream, recipient: Path, report: Sequence[bytes]) -> bool:
    """Send a report (RFC 3461 6.2: from ``<>``); return whether the next hop took it.

    Raises :class:`~gateway.errors.UpstreamError`.
    """
    session = await route.connect()
    try:
        mail, replies = await session.begin(NULL_PATH, [recipient], smtputf8=not recipient.octets.isascii())
        if not mail.is_positive or not replies[0].is_positive or await session.data(report) is not None:
            return False
        return (await session.finish()).is_positive
    finally:
        session.release()
