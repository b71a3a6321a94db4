"""What the upstream double answers, step by step: the vocabulary of :mod:`tests.support.sink`.

A :class:`Script` maps a :class:`Step` to one act (each time) or to a list of acts (in order, then the default again)::

    Script({Step.RCPT: [reply("550 5.1.1 no such user")]})          the first RCPT is refused, others are accepted
    Script({Step.DOT: reply("451 4.3.0 busy")})                     every final dot is put off
    Script({Step.DOT: [close()]})                                   the connection ends without an answer to the dot
    Script({Step.DATA: [hold(event)]})                              354 only after ``event`` is set
    Script({Step.DOT: [gate.stall()]})                              stands still at a dot (:class:`Gate`), never answers
    Script({Step.EHLO: [send(b"250-first", then=After.CLOSE)]})     half a reply
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Step(Enum):
    """A moment at which the upstream speaks."""

    CONNECT = auto()
    """The greeting."""
    EHLO = auto()
    """EHLO, LHLO."""
    HELO = auto()
    STARTTLS = auto()
    AUTH = auto()
    """The final reply to AUTH, whatever the mechanism."""
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    """The reply that should be 354."""
    DOT = auto()
    """The reply to the mail data; over LMTP asked once per accepted recipient."""
    BDAT = auto()
    """The reply to a chunk that is not the last; the last one's is ``DOT``."""
    RSET = auto()
    NOOP = auto()
    VRFY = auto()
    QUIT = auto()
    OTHER = auto()
    """A command that is none of these."""


class After(Enum):
    """What happens behind the octets of an act."""

    GO_ON = auto()
    CLOSE = auto()
    """FIN: an orderly end."""
    RESET = auto()
    """RST: what is under way is lost."""
    HANG = auto()
    """Silence until the client goes or the double stops; what the client sends is still read."""


class Gate:
    """A place where a conversation can be stopped: the test waits until it stands there, and lets it go on.

    ``Script({Step.MAIL: [gate.hold()]})``, or :meth:`tests.support.relay.Relay.shut_at`.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        """Set when it stands there."""
        self.opened = threading.Event()
        """Set to let it go on."""

    def wait(self, *, seconds: float = 10.0) -> None:
        """Wait until the conversation stands here."""
        assert self.reached.wait(seconds), "the conversation did not come to the gate"

    def open(self) -> None:
        """Let it go on."""
        self.opened.set()

    def hold(self) -> Act:
        """Stop in front of the default answer, and give it when the gate is open."""
        return Act(octets=None, until=self.opened, reached=self.reached)

    def stall(self) -> Act:
        """Stop in front of the answer; when the gate is open, end the connection without one."""
        return Act(octets=b"", then=After.CLOSE, until=self.opened, reached=self.reached)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One answer."""

    octets: bytes | None
    """What is sent, verbatim; ``None``: the default answer of this step."""
    then: After = After.GO_ON
    until: threading.Event | None = None
    """Wait for this before anything is sent."""
    reached: threading.Event | None = None
    """Set before the waiting begins."""
    split: int = 0
    """Send in segments of so many octets; 0: at once."""


def reply(*lines: str, then: After = After.GO_ON) -> Act:
    """Answer with these lines as they stand, ``"250-first", "250 last"``; CRLF is put behind each."""
    return Act(octets="".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape"), then=then)


def send(octets: bytes, *, then: After = After.GO_ON, split: int = 0) -> Act:
    """Send exactly these octets: garbage, half a reply, a bare LF, several replies at once."""
    return Act(octets=octets, then=then, split=split)


def hang() -> Act:
    """Say nothing."""
    return Act(octets=b"", then=After.HANG)


def close() -> Act:
    """End the connection without an answer."""
    return Act(octets=b"", then=After.CLOSE)


def reset() -> Act:
    """Break the connection without an answer."""
    return Act(octets=b"", then=After.RESET)


def hold(event: threading.Event) -> Act:
    """Give the default answer, but only when ``event`` is set."""
    return Act(octets=None, until=event)


def default(*, then: After = After.GO_ON, split: int = 0) -> Act:
    """Give the default answer; in a list, to leave the first times alone; or answer, and then close."""
    return Act(octets=None, then=then, split=split)


class Script:
    """The acts of one connection. Use a new one for each connection that shall begin at the beginning."""

    def __init__(self, steps: Mapping[Step, Act | Sequence[Act]] | None = None) -> None:
        """Take one act (each time) or several (in order, then the default) per step."""
        self._always = {step: acts for step, acts in (steps or {}).items() if isinstance(acts, Act)}
        self._queued = {step: list(acts) for step, acts in (steps or {}).items() if not isinstance(acts, Act)}
        self._lock = threading.Lock()

    def next_act(self, step: Step) -> Act:
        """Return what to do now, and remember that it was done."""
        with self._lock:
            if queued := self._queued.get(step):
                return queued.pop(0)
        return self._always.get(step, Act(octets=None))
