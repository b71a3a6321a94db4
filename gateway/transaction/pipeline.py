"""The one path of a message, from MAIL to the reply to the final dot, as explicit states (:mod:`.state`).

Read it from the top: :meth:`Transaction.mail`, :meth:`~Transaction.rcpt`, :meth:`~Transaction.content`, and below them
the stages in the order in which they run. This is the only place where exceptions become outcomes: doubt is always a
temporary failure, and nothing that goes wrong here sends a message in a state that nobody chose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from gateway.envelope import Client, MailParameters, Path, Recipient
from gateway.errors import KeyMaterialError, MimeError, UpstreamBroken, UpstreamError, UpstreamUnavailable
from gateway.mime import Flaw
from gateway.outcome import Ending, Outcome, Reply, Session
from gateway.policy import Reason
from gateway.smime import Protectable, carries_opened_mark, prepare
from gateway.transaction.account import Account
from gateway.transaction.build import Materials, Outgoing, build_all
from gateway.transaction.claims import Claims
from gateway.transaction.commit import Commit
from gateway.transaction.decide import Decider
from gateway.transaction.examine import Examined, examine
from gateway.transaction.house import House, Ports, Route
from gateway.transaction.join import join, may_report, spread_refusals
from gateway.transaction.journal import journal_keys
from gateway.transaction.notify import send_report
from gateway.transaction.plan import Plan, Work, form_groups
from gateway.transaction.probe import Probe
from gateway.transaction.record import Stage
from gateway.transaction.report import build_report
from gateway.transaction.resolve import leaves_in_clear
from gateway.transaction.state import FOLLOWERS, RecipientState, State
from gateway.transaction.trace import received_field

FLAW_OUTCOMES = {
    Flaw.BARE_CR: Outcome.BARE_LINE_ENDING,
    Flaw.BARE_LF: Outcome.BARE_LINE_ENDING,
    Flaw.NUL: Outcome.NUL_OCTET,
    Flaw.LONG_LINE: Outcome.LINE_TOO_LONG,
}
"""How a breach of the line discipline ends a transaction."""


class _Refused(Exception):
    """The whole transaction ends this way, nothing having been sent."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.label)
        self.outcome = outcome


class Transaction:
    """One mail transaction.

    Made at MAIL; ended by :meth:`content`, :meth:`refuse` or :meth:`abort`, or by a refused :meth:`mail`, exactly once.
    Used by one task at a time.
    """

    def __init__(
        self, ports: Ports, house: House, route: Route, client: Client, path: Path, parameters: MailParameters
    ) -> None:
        self.id = ports.entropy.transaction_id()
        self._ports = ports
        self._house = house
        self._route = route
        self._client = client
        self._reverse_path = path
        self._parameters = parameters
        self._state = State.PROBE
        self._probe: Probe | None = None
        self._states: list[RecipientState] = []
        self._refused: list[RecipientState] = []
        self._account = Account(ports.clock, ports.observer, self.id, client)
        self._decider = Decider(ports, house, self.id, client, path)
        self._claims: Claims | None = None
        self._is_complete = False
        self.is_client_gone = False
        """Set by the session when the connection is lost."""

    @property
    def has_ended(self) -> bool:
        """Whether the client has been answered for good, or is gone."""
        return self._state is State.ENDED

    # --- PROBE

    async def mail(self, ahead: Sequence[Path] = ()) -> Reply:
        """MAIL: put to the upstream; a refusal ends the transaction.

        ``ahead``: what the client has pipelined behind it; those recipients are put to the upstream in the same write,
        and its replies kept until :meth:`rcpt` asks for them.
        """
        needs_utf8 = self._parameters.smtputf8
        with self._account.timed(Stage.PROBE):
            try:
                self._probe = Probe(await self._route.upstream.connect(), self._note_reply)
                if needs_utf8 and not self._probe.session.facts.smtputf8:
                    return self.refuse(Outcome.SMTPUTF8_REQUIRED)
                asked = [path for path in ahead[: self._house.limits.recipients] if self._is_put(path)]
                reply = await self._probe.mail(self._reverse_path, asked, smtputf8=needs_utf8)
            except UpstreamUnavailable:
                return self.refuse(Outcome.UPSTREAM_UNREACHABLE)
            except UpstreamBroken:
                self._note_reply("MAIL", 0)
                return self.refuse(Outcome.UPSTREAM_GONE)
        return Session.SENDER_OK.reply() if reply.is_positive else self._end(Ending.by_upstream(reply))

    async def rcpt(self, path: Path) -> Reply:
        """RCPT: what the envelope alone decides is answered now, the rest is the upstream's word."""
        recipient = Recipient(path=path)
        number = len(self._states) + len(self._refused)
        state = RecipientState(number=number, recipient=recipient, direction=self._decider.direction(recipient))
        if len(self._states) >= self._house.limits.recipients:
            state.ending = Ending(Outcome.TOO_MANY_RECIPIENTS)
        else:
            self._decider.decide_early(state)
        if state.ending is None:
            with self._account.timed(Stage.PROBE):
                await self._put_rcpt(state)
                if state.ending is None:
                    await self._decider.look_ahead(state)
        if state.ending is not None:
            self._refused.append(state)
            return state.ending.reply(self.id)
        self._states.append(state)
        return Session.RECIPIENT_OK.reply()

    def _is_put(self, path: Path) -> bool:
        """Whether the envelope alone leaves the word to the upstream."""
        recipient = Recipient(path=path)
        state = RecipientState(number=0, recipient=recipient, direction=self._decider.direction(recipient))
        self._decider.decide_early(state)
        return state.ending is None

    async def _put_rcpt(self, state: RecipientState) -> None:
        assert self._probe is not None
        try:
            reply = await self._probe.rcpt(state.recipient.path, state.number)
        except UpstreamBroken:
            self._note_reply("RCPT", 0)
            state.ending = Ending(Outcome.UPSTREAM_GONE)
            return
        if not reply.is_positive:
            state.ending = Ending.by_upstream(reply)

    # --- the ways to end without delivery

    def refuse(self, outcome: Outcome) -> Reply:
        """End the transaction without delivery."""
        return self._end(Ending(outcome))

    def refuse_flaw(self, flaw: Flaw) -> Reply:
        """End it for a breach of the line discipline."""
        return self.refuse(FLAW_OUTCOMES[flaw])

    def abort(self) -> None:
        """End it because the client did: RSET, QUIT, a lost connection. Where nobody could be served, that is why."""
        if self.has_ended:
            return
        is_refused = bool(self._refused) and not self._states
        self._end(join(self._refused).ending if is_refused else Ending(Outcome.CLIENT_GONE))

    # --- the final dot

    async def content(self, content: bytes, receive_seconds: float) -> Reply:
        """The mail data are here: decide, build, send, join. Never raises; always answers."""
        self._account.size = len(content)
        self._account.add_time(Stage.RECEIVE, receive_seconds)
        deadline = asyncio.get_running_loop().time() + self._route.deadline
        claims = Claims(self._ports.journal, lambda: self._journal_keys(content), self._tell_failure)
        self._claims = claims
        commit: Commit | None = None
        try:
            async with asyncio.timeout_at(deadline):
                with self._account.timed(Stage.PLAN):
                    examined, plan, protectable = await self._plan(content, claims)
                with self._account.timed(Stage.BUILD):
                    outgoing = await self._build(examined, plan, protectable)
                commit = self._open_commit(plan, claims)
                with self._account.timed(Stage.COMMIT):
                    await commit.stage(outgoing)
            # From here on time alone makes no 4yz (law 4).
            with self._account.timed(Stage.COMMIT):
                await commit.finish()
            with self._account.timed(Stage.SETTLE):
                ending = await self._settle(examined)
                await commit.remember()
            commit.release()
        except Exception as error:
            ending = await self._give_up(error, commit)
        self._is_complete = ending.outcome is Outcome.ACCEPTED
        return self._end(ending)

    async def confirm(self) -> None:
        """The reply of :meth:`content` has gone out to a client that is still there."""
        if self._is_complete and self._claims is not None and not self.is_client_gone:
            await self._claims.forget()

    async def _give_up(self, error: Exception, commit: Commit | None) -> Ending:
        """Turn what went wrong into the outcome; nothing that had no reply to its final dot counts as sent."""
        if commit is None or not commit.has_begun:
            outcome = self._outcome_of(error)
            if commit is not None:
                await commit.abandon(outcome)
            return Ending(outcome)
        # Somebody may have it: what the upstream said holds, for the others it is a temporary failure.
        self._tell_failure(error)
        await commit.abandon(Outcome.INTERNAL_ERROR)
        return join(self._states).ending

    def _outcome_of(self, error: Exception) -> Outcome:
        match error:
            case _Refused():
                return error.outcome
            case TimeoutError():
                return Outcome.DEADLINE_EXCEEDED
            case MimeError():
                return Outcome.FORM_REFUSED
            case KeyMaterialError():
                return Outcome.OWN_KEY_UNAVAILABLE
            case _:
                self._tell_failure(error)
                return Outcome.INTERNAL_ERROR

    def _tell_failure(self, error: Exception) -> None:
        self._ports.failed(self.id, error)

    # --- PLAN

    async def _plan(self, content: bytes, claims: Claims) -> tuple[Examined, Plan, Protectable | None]:
        self._move(State.PLAN)
        examined = await self._ports.compute(len(content), self._examine, content)
        if examined.is_looping:
            raise _Refused(Outcome.ROUTING_LOOP)
        await claims.skip_delivered(self._states)
        works = await self._decide([state for state in self._states if state.ending is None], examined)
        protectable = await self._prepare(content, works)
        spread_refusals(self._states, can_report=self._can_report())
        waiting = [(state, work) for state, work in works if state.ending is None]
        plan = form_groups(waiting, visible=examined.visible, limits=self._house.limits)
        if any(state.ending is None and state.group is None for state in self._states):
            raise AssertionError("a recipient has neither ended nor a group")
        self._account.groups = len(plan.groups)
        return examined, plan, protectable

    async def _decide(
        self, states: Sequence[RecipientState], examined: Examined
    ) -> Sequence[tuple[RecipientState, Work]]:
        """Return the work for those of these recipients that do not end here."""
        assert self._probe is not None
        self._decider.look_up_all(states, examined)
        works: list[tuple[RecipientState, Work]] = []
        for state in states:
            work = await self._decider.work_for(state, examined, is_confidential=self._probe.session.facts.confidential)
            if work is not None:
                works.append((state, work))
        return await self._keep_opened_mail_in(examined.content, works)

    async def _keep_opened_mail_in(
        self, content: bytes, works: list[tuple[RecipientState, Work]]
    ) -> list[tuple[RecipientState, Work]]:
        """Refuse those for whom something that this gateway has opened would leave in clear."""
        leaving = [state for state, work in works if leaves_in_clear(state, work)]
        secret = self._house.secret
        if not leaving or not await self._ports.compute(len(content), carries_opened_mark, content, secret):
            return works
        for state in leaving:
            state.refuse(Outcome.OPENED_MAIL_IN_CLEAR, Reason.OPENED_MAIL_IN_CLEAR)
        return [(state, work) for state, work in works if state.ending is None]

    def _examine(self, content: bytes) -> Examined:
        house = self._house
        return examine(content, limits=house.limits, secret=house.secret, hostname=house.hostname)

    async def _prepare(self, content: bytes, works: Sequence[tuple[RecipientState, Work]]) -> Protectable | None:
        """Take the message apart where anybody's is to be protected."""
        if not any(work.protects for _, work in works):
            return None
        return await self._ports.compute(len(content), prepare, content, self._house.limits)

    # --- BUILD

    async def _build(self, examined: Examined, plan: Plan, protectable: Protectable | None) -> tuple[Outgoing, ...]:
        self._move(State.BUILD)
        house = self._house
        moment = self._ports.clock.now()
        materials = Materials(
            content=examined.content,
            header=examined.header.octets,
            protectable=protectable,
            trace=received_field(
                self._client,
                hostname=house.hostname,
                transaction=self.id,
                moment=moment,
                secret=house.secret,
                smtputf8=self._parameters.smtputf8,
                hide_client=self._route.hide_client,
            ),
            transaction=self.id,
            moment=moment,
            authserv_id=house.authserv_id,
            is_our_name=None if self._route.trusts_results else house.internal.covers,
            secret=house.secret,
            limits=house.limits.for_our_own,
            boundaries=self._ports.entropy.boundary,
        )
        outgoing = await self._ports.compute(len(examined.content), build_all, plan.groups, materials)
        self._account.add_unprotected(plan)
        self._account.add_actions([action for one in outgoing for action in one.actions])
        return outgoing

    # --- COMMIT

    def _open_commit(self, plan: Plan, claims: Claims) -> Commit:
        self._move(State.COMMIT)
        assert self._probe is not None
        probe, self._probe = self._probe, None
        return Commit(
            upstream=self._route.upstream,
            probe=probe.session,
            probed=probe.recipients,
            reverse_path=self._reverse_path,
            smtputf8=self._parameters.smtputf8,
            claims=claims,
            is_partial_by_plan=plan.has_put_off,
            can_report=self._can_report(),
            is_client_gone=lambda: self.is_client_gone,
            note_reply=self._note_reply,
        )

    def _journal_keys(self, content: bytes) -> Mapping[int, bytes]:
        paths = [state.recipient.path for state in self._states]
        house = self._house
        keys = journal_keys(house.secret, self._client.listener, self._reverse_path, content, paths, house.limits)
        return {state.number: key for state, key in zip(self._states, keys, strict=True)}

    # --- SETTLE

    async def _settle(self, examined: Examined) -> Ending:
        self._move(State.SETTLE)
        joined = join(self._states)
        if joined.reportable and self._can_report() and await self._send_report(joined.reportable, examined):
            return Ending(Outcome.ACCEPTED)
        return joined.ending

    def _can_report(self) -> bool:
        sender = self._reverse_path.address
        is_ours = self._client.proven and sender is not None and sender.domain in self._house.internal
        return may_report(self._states, is_sender_ours=is_ours, has_route=self._house.reports is not None)

    async def _send_report(self, refused: Sequence[RecipientState], examined: Examined) -> bool:
        """Tell the sender who did not get it; whether that was accepted. Without it the refusal goes to all."""
        assert self._house.reports is not None
        try:
            async with asyncio.timeout(self._route.deadline):
                report = self._build_report(refused, examined)
                return await send_report(self._house.reports, self._reverse_path, report)
        except (UpstreamError, TimeoutError):
            return False
        except Exception as error:  # the others have the message: a bug here must not have it sent again
            self._tell_failure(error)
            return False

    def _build_report(self, refused: Sequence[RecipientState], examined: Examined) -> tuple[bytes, ...]:
        return build_report(
            refused,
            reverse_path=self._reverse_path,
            header=examined.header.octets,
            hostname=self._house.hostname,
            transaction=self.id,
            moment=self._ports.clock.now(),
            boundary=self._ports.entropy.boundary(),
        )

    # --- ENDED

    def _end(self, ending: Ending) -> Reply:
        self._move(State.ENDED)
        self._decider.close()
        if self._probe is not None:
            self._probe.session.release()
            self._probe = None
        reply = ending.reply(self.id)
        states = sorted([*self._states, *self._refused], key=lambda state: state.number)
        try:
            self._account.close(self._reverse_path, states, ending.outcome, reply)
        except Exception as error:  # what is told of a transaction does not change how it ended
            self._tell_failure(error)
        return reply

    def _move(self, state: State) -> None:
        if state not in FOLLOWERS[self._state]:
            raise AssertionError(f"no way from {self._state} to {state}")
        self._state = state

    def _note_reply(self, command: str, code: int) -> None:
        self._account.add_reply(self._route.upstream_name, command, code)
