"""The probe: MAIL and each RCPT, put to the upstream when they come, on the connection that may carry the message.

What the client has pipelined behind its MAIL is put in the same write, and the replies are kept until each RCPT asks
for its own. Raises what the upstream's port raises; nothing is decided here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from gateway.envelope import Path
from gateway.outcome import Reply
from gateway.transaction.ports import UpstreamSession


class Probe:
    """The upstream's side of a transaction before its mail data. ``note_reply`` is told of each reply."""

    def __init__(self, session: UpstreamSession, note_reply: Callable[[str, int], None]) -> None:
        self.session = session
        self._note_reply = note_reply
        self._ahead: deque[tuple[Path, Reply]] = deque()
        self._accepted: list[int] = []

    async def mail(self, reverse_path: Path, ahead: Sequence[Path], *, smtputf8: bool) -> Reply:
        """Put MAIL, and the recipients ``ahead`` of which the upstream will be asked anyway."""
        if not ahead:
            reply = await self.session.mail(reverse_path, smtputf8=smtputf8)
        else:
            reply, replies = await self.session.begin(reverse_path, ahead, smtputf8=smtputf8)
            self._ahead.extend(zip(ahead, replies, strict=False))
        self._note_reply("MAIL", reply.code)
        return reply

    async def rcpt(self, path: Path, number: int) -> Reply:
        """Return what the upstream says to a recipient; ``number`` is its place among the RCPTs."""
        if self._ahead and self._ahead[0][0] == path:
            _, reply = self._ahead.popleft()
        else:
            reply = await self.session.rcpt(path)
        self._note_reply("RCPT", reply.code)
        if reply.is_positive:
            self._accepted.append(number)
        return reply

    @property
    def recipients(self) -> tuple[int, ...]:
        """Numbers of the recipients who would get what is sent on it now; empty where that is not certain."""
        # One that was put ahead and never asked for would get it too: then the envelope has to be made anew.
        return () if self._ahead else tuple(self._accepted)
