"""Sending the outgoing messages of a transaction: each up to its final dot, then the dots.

Before the first final dot nothing is done: every failure still gives the client a 4yz or 5yz for a message that nobody
has. From the first dot on only the upstream's replies count, and the delivery journal, where there is more than one
message, remembers who has it: keys are written as in doubt before the first dot, settled after each reply (law 3).

The probe of the transaction carries the message where one message goes to all its recipients; otherwise it is reset and
the groups begin anew, on as many connections as the upstream allows, those beyond in further rounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.envelope import Path
from gateway.errors import UpstreamBroken, UpstreamUnavailable
from gateway.outcome import Ending, Outcome
from gateway.transaction.build import Outgoing
from gateway.transaction.claims import Claims
from gateway.transaction.join import spread_refusals
from gateway.transaction.ports import Upstream, UpstreamSession
from gateway.transaction.state import RecipientState


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """A message that is sent up to its final dot."""

    outgoing: Outgoing
    session: UpstreamSession
    members: tuple[RecipientState, ...]


class Commit:
    """The sending of one transaction. :meth:`stage` may be cancelled at any await; :meth:`finish` may not."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        probe: UpstreamSession,
        probed: Sequence[int],
        reverse_path: Path,
        smtputf8: bool,
        claims: Claims,
        is_partial_by_plan: bool,
        can_report: bool,
        is_client_gone: Callable[[], bool],
        note_reply: Callable[[str, int], None],
    ) -> None:
        """Take over ``probe``, on which the recipients ``probed`` are accepted.

        ``is_partial_by_plan``: some recipients are put off while others are served.
        """
        self._upstream = upstream
        self._probe: UpstreamSession | None = probe
        self._probed = tuple(probed)
        self._reverse_path = reverse_path
        self._smtputf8 = smtputf8
        self._claims = claims
        self._is_partial = is_partial_by_plan or claims.has_history
        self._can_report = can_report
        self._is_client_gone = is_client_gone
        self._note_reply = note_reply
        self._sessions: list[UpstreamSession] = [probe]
        self._states: list[RecipientState] = []
        self._rounds: list[list[Outgoing]] = []
        self._staged: list[_Staged] = []
        self.has_begun = False
        """Whether a final dot has been sent."""

    async def stage(self, outgoing: Sequence[Outgoing]) -> None:
        """Send the first round up to its final dots; ends recipients that the upstream refuses now."""
        self._states = [state for one in outgoing for state in one.group.members]
        self._is_partial = self._is_partial or len(outgoing) > 1
        step = max(1, self._upstream.connections)
        self._rounds = [list(outgoing[start : start + step]) for start in range(0, len(outgoing), step)]
        # A round of which nothing is left does not end the others: nothing has been sent for anybody yet.
        while self._rounds and not self._staged:
            await self._stage_round(self._rounds.pop(0))
            spread_refusals(self._states, can_report=self._can_report)
            self._drop_refused()

    async def finish(self) -> None:
        """Send the final dots and take the replies; then the further rounds. Every recipient has ended after it."""
        if not self._staged:
            return
        if self._is_client_gone():
            # Nothing is sent yet, and the client will try again: sending now would double it.
            await self.abandon(Outcome.CLIENT_GONE)
            return
        if self._is_partial and (refusal := await self._claims.claim(_open(self._states))) is not None:
            await self.abandon(refusal)
            return
        await self._finish_round()
        while self._rounds:
            coming = self._rounds.pop(0)
            await self._stage_round(coming)
            await self._claims.settle([state for one in coming for state in one.group.members if state.ending])
            await self._finish_round()

    async def abandon(self, outcome: Outcome) -> None:
        """Close every connection now, and end the recipients that are open: nothing more is sent for them."""
        for session in self._sessions:
            session.discard()
        self._staged, self._rounds = [], []
        _end(self._states, Ending(outcome))
        await self._claims.settle(self._states)

    async def remember(self) -> None:
        """Write who has it where the client has gone and will try again; an ordinary message has no claims."""
        if self.has_begun and self._is_client_gone():
            await self._claims.remember(self._states)

    def release(self) -> None:
        """Give every connection back. Idempotent."""
        for session in self._sessions:
            session.release()

    # --- one round

    async def _stage_round(self, outgoing: Sequence[Outgoing]) -> None:
        self._staged = []
        if len(outgoing) == 1:
            staged = await self._stage_one(outgoing[0], 0)
            self._staged = [staged] if staged is not None else []
            return
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._stage_one(one, place)) for place, one in enumerate(outgoing)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        self._staged = [staged for task in tasks if (staged := task.result()) is not None]

    def _drop_refused(self) -> None:
        """Close what is sent up to its final dot for recipients of whom none is left."""
        for staged in self._staged:
            if not _open(staged.members):
                staged.session.discard()
        self._staged = [staged for staged in self._staged if _open(staged.members)]

    async def _stage_one(self, outgoing: Outgoing, place: int) -> _Staged | None:
        try:
            try:
                return await self._send(outgoing, place)
            except UpstreamBroken:
                # Nothing was sent that counts; one more try on a connection of its own (law 2).
                return await self._send_anew(outgoing)
        except UpstreamUnavailable:
            if place > 0:
                # The next hop may allow fewer connections than we do: on those there are, one after the other.
                self._rounds.insert(0, [outgoing])
            else:
                _end(outgoing.group.members, Ending(Outcome.UPSTREAM_UNREACHABLE))
        except UpstreamBroken:
            _end(outgoing.group.members, Ending(Outcome.UPSTREAM_GONE))
        return None

    async def _send(self, outgoing: Outgoing, place: int) -> _Staged | None:
        members = _open(outgoing.group.members)
        if not members or place > 0 or self._probe is None:
            return await self._send_anew(outgoing)
        probe, self._probe = self._probe, None
        needs_headers_only = outgoing.is_opened and probe.facts.dsn
        if tuple(state.number for state in members) == self._probed and not needs_headers_only:
            return await self._send_content(outgoing, members, probe)
        await probe.reset()
        return await self._send_envelope(outgoing, members, probe)

    async def _send_anew(self, outgoing: Outgoing) -> _Staged | None:
        # Looked at again: a first try may have ended some of them before it broke.
        members = _open(outgoing.group.members)
        if not members:
            return None
        session = await self._upstream.connect()
        self._sessions.append(session)
        return await self._send_envelope(outgoing, members, session)

    async def _send_envelope(
        self, outgoing: Outgoing, members: tuple[RecipientState, ...], session: UpstreamSession
    ) -> _Staged | None:
        mail, replies = await session.begin(
            self._reverse_path,
            [state.recipient.path for state in members],
            smtputf8=self._smtputf8,
            headers_only=outgoing.is_opened,
        )
        self._note_reply("MAIL", mail.code)
        if not mail.is_positive:
            _end(members, Ending.by_upstream(mail))
            session.release()
            return None
        for state, reply in zip(members, replies, strict=True):
            self._note_reply("RCPT", reply.code)
            if not reply.is_positive:
                state.ending = Ending.by_upstream(reply)
        accepted = _open(members)
        if not accepted:
            session.release()
            return None
        return await self._send_content(outgoing, accepted, session)

    async def _send_content(
        self, outgoing: Outgoing, members: tuple[RecipientState, ...], session: UpstreamSession
    ) -> _Staged | None:
        if (obstacle := _obstacle(outgoing, session)) is not None:
            _end(members, Ending(obstacle))
            session.release()
            return None
        refusal = await session.data(outgoing.buffers, hold=not self._is_partial)
        if refusal is not None:
            self._note_reply("DATA", refusal.code)
            _end(members, Ending.by_upstream(refusal))
            session.release()
            return None
        return _Staged(outgoing=outgoing, session=session, members=members)

    async def _finish_round(self) -> None:
        for staged in self._staged:
            if not _open(staged.members):
                staged.session.discard()
                await self._claims.settle(staged.members)
                continue
            self.has_begun = True
            try:
                reply = await staged.session.finish()
                ending = Ending.by_upstream(reply)
            except UpstreamBroken:
                # It may or may not have the message; the client keeps it (RFC 5321 4.2.5).
                reply, ending = None, Ending(Outcome.UPSTREAM_GONE)
            self._note_reply(".", reply.code if reply else 0)
            _end(staged.members, ending)
            await self._claims.settle(staged.members)
            staged.session.release()
            endings = [state.ending for state in self._states if state.ending is not None]
            if all(ending.outcome.is_permanent for ending in endings):
                # Nobody has it, and every word so far is final: it can still be everybody's, without a partial outcome.
                # After a transient one we go on, or one recipient who is put off again and again holds up all others.
                spread_refusals(self._states, can_report=self._can_report)


def _obstacle(outgoing: Outgoing, session: UpstreamSession) -> Outcome | None:
    """Return why this message may not travel on this connection."""
    facts = session.facts
    if outgoing.is_opened and not facts.confidential:
        return Outcome.LINK_NOT_TRUSTED
    if not facts.eight_bit and not all(map(bytes.isascii, outgoing.buffers)):
        return Outcome.EIGHT_BIT_REQUIRED
    return None


def _open(states: Sequence[RecipientState]) -> tuple[RecipientState, ...]:
    return tuple(state for state in states if state.ending is None)


def _end(states: Sequence[RecipientState], ending: Ending) -> None:
    for state in states:
        if state.ending is None:
            state.ending = ending
