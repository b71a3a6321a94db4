"""The SMTP edge: listener, session machine, upstream client.

The protocol is sans-IO (:mod:`.session`, :mod:`.data`, :mod:`.paths`, :mod:`.replies`): octets in, events and replies
out. Around it are thin shells on asyncio: :mod:`.listener` towards clients; :mod:`.connection`, :mod:`.dialogue` and
:mod:`.upstream` towards the next hop, :mod:`.dialer` as the one way out.
"""

from __future__ import annotations

from gateway.smtp.budget import Budget
from gateway.smtp.dialer import Dialer, dial
from gateway.smtp.dialogue import UpstreamOptions
from gateway.smtp.listener import Deliveries, Listener, ListenerOptions
from gateway.smtp.proof import SenderProof
from gateway.smtp.upstream import Upstream

__all__ = [
    "Budget",
    "Deliveries",
    "Dialer",
    "Listener",
    "ListenerOptions",
    "SenderProof",
    "Upstream",
    "UpstreamOptions",
    "dial",
]
