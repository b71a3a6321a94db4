"""Keeping account of a transaction: how long each stage took, what was done, what the upstream said; the record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.envelope import Client, Path
from gateway.outcome import Outcome, Reply
from gateway.smime import Unprotected
from gateway.transaction.plan import Plan
from gateway.transaction.ports import Clock, Observer
from gateway.transaction.record import ActionRecord, RecipientRecord, Record, Stage, UpstreamRecord
from gateway.transaction.state import RecipientState


class Account:
    """The account of one transaction."""

    def __init__(self, clock: Clock, observer: Observer, transaction: str, client: Client) -> None:
        self._clock = clock
        self._observer = observer
        self._transaction = transaction
        self._client = client
        self._moment = clock.now()
        self._started = clock.monotonic()
        self._stages: dict[str, float] = {}
        self._actions: list[ActionRecord] = []
        self._replies: list[UpstreamRecord] = []
        self._verification = ""
        self.size = 0
        """Octets of mail data as received."""
        self.groups = 0
        """Outgoing messages planned."""
        observer.started(client.listener)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Add the time spent inside to ``stage``."""
        begun = self._clock.monotonic()
        try:
            yield
        finally:
            self.add_time(stage, self._clock.monotonic() - begun)

    def add_time(self, stage: Stage, seconds: float) -> None:
        """Add to a stage."""
        self._stages[stage] = self._stages.get(stage, 0.0) + seconds

    def add_reply(self, upstream: str, command: str, code: int) -> None:
        """Note an upstream's reply; 0 where the connection broke before one came."""
        self._replies.append(UpstreamRecord(upstream=upstream, command=command, code=code))

    def add_actions(self, actions: Sequence[ActionRecord]) -> None:
        """Note what was signed and encrypted."""
        self._actions += actions

    def add_unprotected(self, plan: Plan) -> None:
        """Note what was opened and verified, once for each distinct result."""
        works = {id(group.work.unprotected): group.work for group in plan.groups if group.work.unprotected}
        for work in works.values():
            assert work.unprotected is not None
            if work.hands_on_opened:
                self._actions.append(
                    ActionRecord(action="decrypt", algorithm=_cipher_of(work.unprotected), result="ok")
                )
            if work.reports:
                self._verification = work.unprotected.report.result.value
                self._actions.append(
                    ActionRecord(action="verify", algorithm=_signature_of(work.unprotected), result=self._verification)
                )

    def close(
        self, reverse_path: Path | None, states: Sequence[RecipientState], outcome: Outcome, reply: Reply
    ) -> None:
        """End the account: tell the observer the stages and the record."""
        seconds = self._clock.monotonic() - self._started
        self._stages[Stage.TOTAL] = seconds
        client = self._client
        self._observer.ended(
            Record(
                transaction=self._transaction,
                moment=self._moment,
                listener=client.listener,
                client=client.address,
                helo=client.helo,
                tls=f"{client.tls.version} {client.tls.cipher}" if client.tls else "",
                proof=client.proof,
                reverse_path=_text(reverse_path),
                size=self.size,
                recipients=tuple(_recipient_record(state, outcome, reply) for state in states),
                actions=tuple(self._actions),
                upstream_replies=tuple(self._replies),
                outcome=outcome.label,
                code=reply.code,
                enhanced=reply.enhanced,
                reply=reply.lines[0],
                verification=self._verification,
                seconds=seconds,
                stages=dict(self._stages),
                groups=self.groups,
            )
        )


def _recipient_record(state: RecipientState, outcome: Outcome, reply: Reply) -> RecipientRecord:
    ending = state.ending
    return RecipientRecord(
        recipient=_text(state.recipient.path),
        direction=state.direction.value,
        rule=state.decision.rule if state.decision else "",
        reason=(state.reason.value if state.reason else ""),
        actions=state.actions,
        group=state.group,
        outcome=(ending.outcome if ending else outcome).label,
        reply=str((ending.upstream or ending.outcome.reply()) if ending else reply),
        notes=tuple(note.value for note in state.notes),
    )


def _text(path: Path | None) -> str:
    return path.octets.decode("utf-8", "replace") if path else ""


def _cipher_of(unprotected: Unprotected) -> str:
    return next((layer.algorithm for layer in unprotected.report.layers if layer.opened), "")


def _signature_of(unprotected: Unprotected) -> str:
    signers = (signer for layer in unprotected.report.layers for signer in layer.signers)
    return next((f"{signer.signature}-{signer.digest}" for signer in signers), "")
