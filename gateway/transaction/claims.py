"""The delivery journal as one transaction uses it: who has the message already, who is being sent it, who got it.

A message of several outgoing ones can end in a partial outcome: some recipients accepted, the client told to try again.
The journal then makes its retry skip those that have it (law 3):

- *skip* before anything is decided, so that a recipient who has the message takes no work and no place under the caps;
- *claim* right before the first final dot, only where a partial outcome is possible;
- *settle* right after each reply of the upstream; what was claimed is always settled, whatever happens on the way, or
  its retries would be put off for as long as this process lives;
- *forget* once the client has its 250: it will not come again, and the same octets sent anew are another message;
- *remember* what an ordinary message has accepted where the client has gone and will try again.

Keys are made only when one of these needs them: they cost a pass over the content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gateway.outcome import Ending, Outcome
from gateway.transaction.ports import Delivery, Journal, JournalError
from gateway.transaction.state import RecipientState


class Claims:
    """The journal's entries of one transaction.

    ``make_keys`` makes the key of every recipient, by its number. ``failed`` is told of what the journal must not raise
    and raised all the same, once the upstream has spoken: the reply to the client is the upstream's.
    """

    def __init__(
        self,
        journal: Journal,
        make_keys: Callable[[], Mapping[int, bytes]],
        failed: Callable[[Exception], None],
    ) -> None:
        self._journal = journal
        self._make_keys = make_keys
        self._failed = failed
        self._keys: Mapping[int, bytes] | None = None
        self._held: set[int] = set()
        self._accepted: set[int] = set()
        """Recipients that the journal knows as accepted."""
        self.has_history = False
        """Whether the journal knows of an earlier attempt at this message."""

    async def skip_delivered(self, states: Sequence[RecipientState]) -> None:
        """End the recipients that have this message from an earlier attempt; all, where that cannot be told now."""
        if not self._journal.may_hold_any():
            return
        try:
            known = await self._journal.read(self._keys_of(states))
        except JournalError:
            _end(states, Outcome.JOURNAL_UNAVAILABLE)
            return
        deliveries = [known.get(key, Delivery.UNKNOWN) for key in self._keys_of(states)]
        self.has_history = any(one is not Delivery.UNKNOWN for one in deliveries)
        if Delivery.RUNNING in deliveries:
            _end(states, Outcome.ATTEMPT_RUNNING)
            return
        delivered = [state for state, one in zip(states, deliveries, strict=True) if one is Delivery.ACCEPTED]
        self._accepted = {state.number for state in delivered}
        _end(delivered)

    async def claim(self, states: Sequence[RecipientState]) -> Outcome | None:
        """Write these recipients as in doubt; return why they may not be sent now, ``None`` where they may."""
        try:
            is_ours = await self._journal.claim(self._keys_of(states))
        except JournalError:
            return Outcome.JOURNAL_UNAVAILABLE
        if not is_ours:
            return Outcome.ATTEMPT_RUNNING
        self._held = {state.number for state in states}
        return None

    async def settle(self, states: Sequence[RecipientState]) -> None:
        """Write what became of those of these recipients that are claimed."""
        ours = [state for state in states if state.number in self._held]
        self._held -= {state.number for state in ours}
        await self._write(ours)

    async def remember(self, states: Sequence[RecipientState]) -> None:
        """Write those of these recipients that have accepted, claimed or not."""
        await self._write([state for state in states if state.has_accepted])

    async def forget(self) -> None:
        """Forget what the journal knows of this message: the client has been told that everybody has it."""
        if not self._accepted or self._keys is None:
            return
        try:
            await self._journal.forget([self._keys[number] for number in sorted(self._accepted)])
        except JournalError:
            # They expire; until then the same octets again would be taken for a retry. The log has been told.
            return
        except Exception as error:
            self._failed(error)

    async def _write(self, states: Sequence[RecipientState]) -> None:
        if not states:
            return
        accepted = [state for state in states if state.has_accepted]
        others = [state for state in states if not state.has_accepted]
        self._accepted |= {state.number for state in accepted}
        try:
            await self._journal.settle(self._keys_of(accepted), self._keys_of(others))
        except JournalError:
            # It has tried again by itself, remembers what it could not write, and has told the log.
            return
        except Exception as error:
            self._failed(error)

    def _keys_of(self, states: Sequence[RecipientState]) -> list[bytes]:
        if self._keys is None:
            self._keys = self._make_keys()
        return [self._keys[state.number] for state in states]


def _end(states: Sequence[RecipientState], outcome: Outcome = Outcome.ACCEPTED) -> None:
    for state in states:
        state.ending = Ending(outcome)
