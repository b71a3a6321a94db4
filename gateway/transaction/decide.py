"""Deciding for each recipient: facts, policy, look-ups, work.

The stages at which facts become known are kept: at RCPT only the envelope, at the final dot the message, and where a
rule asks for it what opening and verifying found. What is found out is found out once per transaction, however many
recipients ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gateway.envelope import Client, Path, Recipient
from gateway.lookup import Answer, Found, Nothing, Unavailable
from gateway.outcome import Outcome
from gateway.policy import (
    Action,
    Decision,
    DecryptMode,
    Direction,
    EnvelopeFacts,
    Facts,
    OnUnavailable,
    Reason,
    Requirement,
    Treatment,
    Undecided,
    direction_of,
    evaluate,
)
from gateway.smime import DecryptionKey, Identity, Kind, RecipientCertificate, Unprotected, unprotect
from gateway.transaction.examine import Examined
from gateway.transaction.gather import Gatherer
from gateway.transaction.house import House, Ports
from gateway.transaction.plan import PASS, Work
from gateway.transaction.resolve import SigningCase, choose_signer, resolve_protect, resolve_unprotect
from gateway.transaction.state import RecipientState


class Decider:
    """The decisions of one transaction."""

    def __init__(self, ports: Ports, house: House, transaction: str, client: Client, reverse_path: Path) -> None:
        self._ports = ports
        self._house = house
        self._client = client
        self._reverse_path = reverse_path
        self._moment = ports.clock.now()
        self._gatherer = Gatherer(
            signers=ports.signers,
            keys=ports.keys,
            certificates=ports.certificates,
            aliases=ports.aliases,
            timeout=house.lookup_timeout,
            unavailable=partial(ports.unavailable, transaction),
        )
        self._unprotected: dict[tuple[str, ...], Unprotected] = {}

    def direction(self, recipient: Recipient) -> Direction:
        """Which way the message goes for this recipient."""
        return direction_of(
            recipient.address,
            proven=self._client.proven,
            reverse_path=self._reverse_path.address,
            internal=self._house.internal,
        )

    def close(self) -> None:
        """Drop look-ups nobody waits for any more."""
        self._gatherer.close()

    # --- at RCPT

    def decide_early(self, state: RecipientState) -> None:
        """Decide by the envelope alone, where that is enough; a rejection ends the recipient."""
        decision = evaluate(self._house.policy, self._facts(state))
        if isinstance(decision, Undecided):
            return
        state.decision = decision
        if decision.action is Action.REJECT:
            state.refuse(Outcome.REJECTED_BY_POLICY, Reason.REJECTED)

    async def look_ahead(self, state: RecipientState) -> None:
        """Start this recipient's look-ups; refuse now where required encryption is certain to fail.

        At RCPT the refusal names the recipient, and the others are served.
        """
        decision = state.decision
        if decision is None or decision.treatment.encrypt is Requirement.NEVER:
            return
        address = state.recipient.address
        self._gatherer.start_certificates(address)
        if decision.treatment.encrypt is Requirement.REQUIRED:
            match await self._gatherer.certificates(address):
                case Nothing():
                    state.refuse(Outcome.PROTECTION_IMPOSSIBLE, Reason.NO_CERTIFICATE)
                case Unavailable():
                    state.refuse(Outcome.LOOKUP_UNAVAILABLE, Reason.LOOKUP_UNAVAILABLE)

    # --- at the final dot

    def look_up_all(self, states: Sequence[RecipientState], examined: Examined) -> None:
        """Start the look-ups that are known to be needed, so that they run together and not one after the other."""
        if examined.classification.kind.is_encrypted or len(states) == 1:
            return
        for state in states:
            decision = evaluate(self._house.policy, self._facts(state, examined))
            if isinstance(decision, Decision) and decision.treatment.encrypt is not Requirement.NEVER:
                self._gatherer.start_certificates(state.recipient.address)

    async def work_for(self, state: RecipientState, examined: Examined, *, is_confidential: bool) -> Work | None:
        """Decide for good and gather what the treatment needs; ``None``: the recipient has ended.

        ``is_confidential`` tells whether the upstream may carry opened mail.
        """
        decision = evaluate(self._house.policy, self._facts(state, examined))
        if isinstance(decision, Undecided):
            # A rule asks what verification says: open and verify first, then decide.
            keys = await self._keys_for(state, examined)
            if isinstance(keys, Unavailable):
                # What lies under the encryption is not known, which is not the same as unsigned.
                state.refuse(Outcome.OWN_KEY_UNAVAILABLE, Reason.KEY_UNAVAILABLE)
                return None
            found = await self._open(examined, keys.value if isinstance(keys, Found) else ())
            decision = evaluate(self._house.policy, self._facts(state, examined, found))
        if isinstance(decision, Undecided):
            raise AssertionError("a policy is total once everything is known")
        state.decision = decision
        match decision.action:
            case Action.REJECT:
                state.refuse(Outcome.REJECTED_BY_POLICY, Reason.REJECTED)
                return None
            case Action.PASS:
                state.reason = Reason.PASSED
                return PASS
            case Action.PROTECT:
                return await self._protect(state, decision.treatment, examined)
            case Action.UNPROTECT:
                return await self._unprotect(state, decision.treatment, examined, is_confidential=is_confidential)

    def _facts(
        self, state: RecipientState, examined: Examined | None = None, found: Unprotected | None = None
    ) -> Facts:
        client = self._client
        envelope = EnvelopeFacts(
            listener=client.listener,
            direction=state.direction,
            reverse_path=self._reverse_path.address,
            recipient=state.recipient.address,
            proven=client.proven,
            tls=client.tls is not None,
            client=client.address,
        )
        return Facts(
            envelope=envelope,
            message=examined.facts if examined else None,
            verification=found.report.result.value if found else None,
        )

    # --- the sending agent

    async def _protect(self, state: RecipientState, treatment: Treatment, examined: Examined) -> Work | None:
        if examined.classification.kind.is_encrypted:
            state.reason = Reason.ALREADY_ENCRYPTED
            return PASS
        encrypts = treatment.encrypt is not Requirement.NEVER
        if encrypts:
            self._gatherer.start_certificates(state.recipient.address)
        signing = SigningCase(
            is_proven=self._client.proven,
            senders=examined.senders,
            is_signed=treatment.sign is not Requirement.NEVER and await self._came_signed(examined),
        )
        signer = choose_signer(treatment, signing)
        answer = await self._gatherer.signer(signer) if signer else None
        certificates: Answer[tuple[RecipientCertificate, ...]] | None = None
        if encrypts:
            certificates = await self._gatherer.certificates(state.recipient.address)
        return resolve_protect(state, treatment, signing, answer, certificates)

    async def _came_signed(self, examined: Examined) -> bool:
        """Whether the sender's own signature is on it: intact, valid, by a certificate that names the sender."""
        if not examined.classification.kind.is_signed:
            return False
        layers = (await self._open(examined, ())).report.layers
        signers = layers[0].signers if layers else ()
        return bool(signers) and all(
            signer.intact and signer.valid and signer.identity is Identity.MATCH for signer in signers
        )

    # --- the receiving agent

    async def _unprotect(
        self, state: RecipientState, treatment: Treatment, examined: Examined, *, is_confidential: bool
    ) -> Work | None:
        keys: Answer[tuple[DecryptionKey, ...]] = Nothing()
        if treatment.decrypt is not DecryptMode.NEVER:
            keys = await self._keys_for(state, examined)
        if isinstance(keys, Unavailable):
            if treatment.decrypt is DecryptMode.REQUIRED or treatment.unavailable is OnUnavailable.DEFER:
                state.refuse(Outcome.OWN_KEY_UNAVAILABLE, Reason.KEY_UNAVAILABLE)
                return None
            state.notes.append(Reason.KEY_UNAVAILABLE)
        at_hand = keys.value if isinstance(keys, Found) else ()
        found = await self._open(examined, at_hand)
        return resolve_unprotect(state, treatment, found, has_keys=bool(at_hand), is_confidential=is_confidential)

    async def _keys_for(self, state: RecipientState, examined: Examined) -> Answer[tuple[DecryptionKey, ...]]:
        if examined.classification.kind is Kind.PLAIN:
            return Nothing()
        return await self._gatherer.decryption_keys(state.recipient.address)

    async def _open(self, examined: Examined, keys: Sequence[DecryptionKey]) -> Unprotected:
        """Open and verify, once for each set of keys."""
        known = tuple(sorted(key.certificate.sha256 for key in keys))
        if known not in self._unprotected:
            content = examined.content
            self._unprotected[known] = await self._ports.compute(len(content), self._run_unprotect, content, keys)
        return self._unprotected[known]

    def _run_unprotect(self, content: bytes, keys: Sequence[DecryptionKey]) -> Unprotected:
        house = self._house
        return unprotect(content, keys=keys, anchors=house.anchors, moment=self._moment, limits=house.limits)
