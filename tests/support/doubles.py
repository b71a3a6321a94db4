"""Doubles for the ports of a transaction (``gateway/transaction/ports.py``), and a loop whose time costs nothing.

Doubles stand at the ports and nowhere else. Each is scripted by *acts*: what a call comes to.

    upstream = UpstreamDouble(Rule(Step.RCPT, refusal(550, "5.1.1 no such user"), path="bob@bank.example"))
    upstream = UpstreamDouble(Rule(Step.DOT, BROKEN, connection=1), connections=4)
    certificates = AnswerBook({"carol@bank.example": Found((certificate,)), "dave@bank.example": SLOW})
    journal = JournalDouble({"claim": JournalError("disk full")})

A look-up, a call of the journal or a step of the upstream that is ``SLOW`` does not come back by itself: it waits
until it is cancelled, or until :meth:`UpstreamDouble.go_on`. :func:`run` drives a coroutine on a loop whose clock jumps
to the next timer when nothing else is to be done, so that a deadline of a minute passes at once and no test sleeps.

The upstream double keeps the books that matter: every final dot that was sent, every message that it accepted, each
connection's octets, and every use of a connection that the port forbids (:attr:`UpstreamDouble.misuses`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final, TypeVar

from gateway.address import Address
from gateway.envelope import Path
from gateway.errors import UpstreamBroken, UpstreamUnavailable
from gateway.lookup import Found, Nothing
from gateway.outcome import Reply
from gateway.transaction.ports import Delivery, UpstreamFacts
from gateway.transaction.record import Record
from tests.support.pki import MOMENT

T = TypeVar("T")


# ---------------------------------------------------------------- time


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while there is something to do, and else jumps to the next timer."""

    def __init__(self) -> None:
        """Begin at 0."""
        super().__init__()
        self._jumped = 0.0

    def time(self) -> float:
        """Return the seconds that have passed for everybody on this loop."""
        return self._jumped

    def _run_once(self) -> None:
        inner: Any = self
        if not inner._ready:
            timers = [handle.when() for handle in inner._scheduled if not handle.cancelled()]
            if not timers:
                raise AssertionError("everybody waits, and no timer runs: nothing would ever happen again")
            self._jumped = max(self._jumped, min(timers))
        parent: Any = super()
        parent._run_once()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a :class:`JumpingLoop`."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


class FixedClock:
    """``ports.Clock``: civil time stands still; the other one is the loop's."""

    def __init__(self, moment: datetime = MOMENT) -> None:
        """Stand at ``moment``."""
        self.moment = moment

    def now(self) -> datetime:
        """See the port."""
        return self.moment

    def monotonic(self) -> float:
        """See the port."""
        return asyncio.get_running_loop().time()


class CountingEntropy:
    """``ports.Entropy`` that counts."""

    def __init__(self) -> None:
        """Begin at 1."""
        self._ids = itertools.count(1)
        self._boundaries = itertools.count(1)

    def transaction_id(self) -> str:
        """See the port."""
        return f"{next(self._ids):016d}"

    def boundary(self) -> str:
        """See the port."""
        return f"=_boundary_{next(self._boundaries):04d}"


async def inline(function: Callable[..., T], /, *arguments: object) -> T:
    """``ports.Offload`` without threads."""
    await asyncio.sleep(0)
    return function(*arguments)


# ---------------------------------------------------------------- acts


class _Slow:
    """Does not come back by itself."""

    def __init__(self, then: object = None) -> None:
        self.then = then

    def __repr__(self) -> str:
        return "SLOW" if self.then is None else f"slowly({self.then})"


class _Broken:
    """The connection breaks."""

    def __repr__(self) -> str:
        return "BROKEN"


SLOW: Final = _Slow()
BROKEN: Final = _Broken()

Act = object
"""``SLOW``, :func:`slowly`, ``BROKEN``, an exception to raise, or what is returned: an answer, a reply, nonsense."""


def slowly(act: Act) -> Act:
    """Return an act of an upstream that comes after :meth:`UpstreamDouble.go_on`."""
    return _Slow(act)


async def _act(act: Act) -> Any:
    if isinstance(act, _Slow):
        await asyncio.Event().wait()
    if isinstance(act, BaseException):
        raise act
    return act


class AnswerBook:
    """The four look-up ports at once: an act for each address; the others get ``default``."""

    def __init__(self, acts: Mapping[str, Act] | None = None, default: Act = Nothing()) -> None:  # noqa: B008
        """Take acts by address; addresses are compared as the gateway does."""
        self.acts = {Address(address).key: act for address, act in (acts or {}).items()}
        self.default = default
        self.asked: list[str] = []
        """Keys of the addresses that were asked for, in order."""

    async def _answer(self, address: Address) -> Any:
        self.asked.append(address.key)
        return await _act(self.acts.get(address.key, self.default))

    async def find_signer(self, sender: Address) -> Any:
        """See ``ports.SigningKeys``."""
        return await self._answer(sender)

    async def find_certificates(self, recipient: Address) -> Any:
        """See ``ports.RecipientCertificates``."""
        return await self._answer(recipient)

    async def find_keys(self, recipients: Sequence[Address]) -> Any:
        """See ``ports.DecryptionKeys``: the first of these addresses that is in the book answers."""
        known = [address for address in recipients if address.key in self.acts]
        return await self._answer((known or list(recipients))[0])

    async def resolve(self, recipient: Address) -> Any:
        """See ``ports.Aliases``; the default stands for nobody but itself."""
        if recipient.key in self.acts or not isinstance(self.default, Nothing):
            return await self._answer(recipient)
        return Found((recipient,))


# ---------------------------------------------------------------- journal


class JournalDouble:
    """``ports.Journal`` in a dict, with an act for each call that is to go another way.

    ``acts`` maps ``may_hold_any``, ``read``, ``claim``, ``settle`` and ``forget`` to an act for every call of that
    name, or to a list of acts for the first ones; ``None`` in a list is a call that works. A call with an act does
    nothing else.
    """

    def __init__(self, acts: Mapping[str, Act] | None = None) -> None:
        """Begin empty."""
        self.rows: dict[bytes, Delivery] = {}
        self.calls: list[str] = []
        """Names of the calls, in order; ``may_hold_any`` is not noted."""
        self._acts = {name: list(act) if isinstance(act, list) else act for name, act in (acts or {}).items()}
        self._held: set[bytes] = set()

    def may_hold_any(self) -> bool:
        """See the port."""
        act = self._next("may_hold_any")
        if isinstance(act, BaseException):
            raise act
        return bool(self.rows) if act is None else act  # type: ignore[return-value]

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Delivery]:
        """See the port."""
        self.calls.append("read")
        if (act := self._next("read")) is not None:
            answer: Mapping[bytes, Delivery] = await _act(act)
            return answer
        return {key: self.rows[key] for key in keys if key in self.rows}

    async def claim(self, keys: Sequence[bytes]) -> bool:
        """See the port."""
        self.calls.append("claim")
        if (act := self._next("claim")) is not None:
            answer: bool = await _act(act)
            return answer
        if any(self.rows.get(key) in (Delivery.ACCEPTED, Delivery.RUNNING) for key in keys):
            return False
        self.rows.update(dict.fromkeys(keys, Delivery.RUNNING))
        self._held.update(keys)
        return True

    async def settle(self, accepted: Sequence[bytes], not_accepted: Sequence[bytes]) -> None:
        """See the port. Forgets only what is claimed, and keeps what is accepted, claimed or not."""
        self.calls.append("settle")
        if (act := self._next("settle")) is not None:
            await _act(act)
            return
        for key in not_accepted:
            if key in self._held:
                self._held.discard(key)
                del self.rows[key]
        for key in accepted:
            self._held.discard(key)
            self.rows[key] = Delivery.ACCEPTED

    async def forget(self, keys: Sequence[bytes]) -> None:
        """See the port. What is not accepted stays."""
        self.calls.append("forget")
        if (act := self._next("forget")) is not None:
            await _act(act)
            return
        for key in keys:
            if self.rows.get(key) is Delivery.ACCEPTED:
                del self.rows[key]

    def die(self) -> None:
        """Let the process that holds the claims die: what it was sending is abandoned."""
        self.rows.update(dict.fromkeys(self._held, Delivery.ABANDONED))
        self._held.clear()

    def _next(self, name: str) -> Act | None:
        act = self._acts.get(name)
        if isinstance(act, list):
            return act.pop(0) if act else None
        return act


# ---------------------------------------------------------------- observers


class ObserverDouble:
    """``ports.Observer`` that keeps everything; ``acts`` maps a method's name to an exception that it raises."""

    def __init__(self, acts: Mapping[str, Exception] | None = None) -> None:
        """Begin empty."""
        self._acts = dict(acts or {})
        self.listeners: list[str] = []
        self.records: list[Record] = []

    def started(self, listener: str) -> None:
        """See the port."""
        self.listeners.append(listener)
        self._act("started")

    def ended(self, record: Record) -> None:
        """See the port."""
        self.records.append(record)
        self._act("ended")

    def _act(self, name: str) -> None:
        if name in self._acts:
            raise self._acts[name]


# ---------------------------------------------------------------- upstream


class Step(Enum):
    """A call of an upstream at which an act may stand."""

    CONNECT = auto()
    MAIL = auto()
    """``mail``, or ``begin`` without recipients: MAIL of the probe."""
    RCPT = auto()
    """``rcpt``: a RCPT of the probe."""
    BEGIN = auto()
    """``begin`` with recipients: MAIL of a group."""
    BEGIN_RCPT = auto()
    """``begin``: a RCPT of a group."""
    DATA = auto()
    """DATA: the reply that is 354 by default."""
    CONTENT = auto()
    """The octets between 354 and the final dot."""
    DOT = auto()
    """The final dot and its reply."""
    RESET = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """What a step comes to, where ``connection`` (from 0, by the order of connecting) and ``path`` fit.

    The first rule that fits counts; with ``times`` it is used up after so many.
    """

    step: Step
    act: Act
    connection: int | None = None
    path: str | None = None
    times: int | None = None


def refusal(code: int, text: str = "") -> Reply:
    """Return a reply; ``text`` may begin with an enhanced status code."""
    enhanced, _, rest = text.partition(" ")
    if enhanced.count(".") != 2 or not enhanced[0].isdigit():
        enhanced, rest = "", text
    return Reply(code, enhanced, (rest or "said the next hop",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One final dot that was sent, and what came of it."""

    connection: int
    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    smtputf8: bool
    headers_only: bool
    reply: Reply | None
    """``None``: it never came."""

    @property
    def is_accepted(self) -> bool:
        """Whether the upstream has the message, and said so."""
        return self.reply is not None and self.reply.is_positive


class _State(Enum):
    READY = auto()
    ENVELOPE = auto()
    SENDING = auto()
    BROKEN = auto()
    OVER = auto()


FACTS = UpstreamFacts(size=None, eight_bit=True, smtputf8=True, dsn=True, confidential=True)


class UpstreamDouble:
    """``ports.Upstream``: accepts everything, but for its rules."""

    def __init__(
        self,
        *rules: Rule,
        connections: int = 4,
        allows: int | None = None,
        facts: UpstreamFacts = FACTS,
        facts_of: Mapping[int, UpstreamFacts] | None = None,
        holds: bool = False,
    ) -> None:
        """Prepare.

        ``allows``: how many connections the next hop lets stand at once, whatever we would take; the others cannot be
        had. ``facts_of``: what single connections can do, by number; the others can do ``facts``. ``holds``: content
        that may be held back is sent with its dot.
        """
        self.holds = holds
        self.connections = connections
        self.allows = allows
        self.facts = facts
        self.facts_of = facts_of or {}
        self.sessions: list[SessionDouble] = []
        self.dots: list[Dot] = []
        """Every final dot, in the order in which they were sent."""
        self.misuses: list[str] = []
        """What was asked of a connection in a state in which the port forbids it."""
        self.refused = 0
        """How many connections could not be had because of ``allows``."""
        self.is_waiting = asyncio.Event()
        """Set while a step is slow."""
        self._rules = rules
        self._used: Counter[int] = Counter()
        self._go_on = asyncio.Event()
        self._attempts = itertools.count()

    async def connect(self) -> SessionDouble:
        """See the port."""
        number = next(self._attempts)
        act = self.next_act(Step.CONNECT, number)
        session = SessionDouble(self, number)
        answer = await self.perform(act, session)
        if self.allows is not None and sum(one.is_standing for one in self.sessions) >= self.allows:
            self.refused += 1
            raise UpstreamUnavailable("too many connections")
        self.sessions.append(session)
        return session if answer is None else answer

    def next_act(self, step: Step, connection: int, path: Path | None = None) -> Act | None:
        """Return the act of the first rule that fits; ``None``: as usual."""
        for place, rule in enumerate(self._rules):
            fits = rule.step is step and rule.connection in (None, connection)
            if fits and rule.path is not None:
                fits = path is not None and path.octets.decode() == rule.path
            if fits and (rule.times is None or self._used[place] < rule.times):
                self._used[place] += 1
                return rule.act
        return None

    async def perform(self, act: Act | None, session: SessionDouble) -> Any:
        """Do an act on a session; what is slow breaks when it is cancelled, and is as usual after :meth:`go_on`."""
        if isinstance(act, _Broken):
            session.break_off()
            raise UpstreamBroken("as the script says")
        try:
            if isinstance(act, _Slow):
                self.is_waiting.set()
                await self._go_on.wait()
                return await self.perform(act.then, session)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            session.break_off()
            raise
        if isinstance(act, BaseException):
            raise act
        return act

    def go_on(self) -> None:
        """Let everything that is slow go on as usual."""
        self._go_on.set()

    # What the tests ask.

    @property
    def accepted(self) -> list[Dot]:
        """The messages that the upstream has accepted."""
        return [dot for dot in self.dots if dot.is_accepted]

    @property
    def recipients(self) -> list[str]:
        """Everybody to whom a message was accepted, once for each message, sorted."""
        return sorted(recipient for dot in self.accepted for recipient in dot.recipients)

    @property
    def leaked(self) -> list[int]:
        """Numbers of the connections that were neither released nor discarded."""
        return [session.number for session in self.sessions if not session.is_over]


class SessionDouble:
    """``ports.UpstreamSession``."""

    def __init__(self, upstream: UpstreamDouble, number: int) -> None:
        """Be connection ``number`` of ``upstream``, after EHLO."""
        self._upstream = upstream
        self.number = number
        self.octets = b""
        """Mail data that was sent on it, of all its messages."""
        self.commands: list[str] = []
        self.is_discarded = False
        self._state = _State.READY
        self._reverse_path = ""
        self._recipients: list[str] = []
        self._content = b""
        self._smtputf8 = self._headers_only = self._is_held = False

    @property
    def facts(self) -> UpstreamFacts:
        """See the port."""
        return self._upstream.facts_of.get(self.number, self._upstream.facts)

    @property
    def is_over(self) -> bool:
        """Whether it was given back."""
        return self._state is _State.OVER

    @property
    def is_standing(self) -> bool:
        """Whether it takes one of the connections that the next hop allows."""
        return self._state not in (_State.BROKEN, _State.OVER)

    async def mail(self, reverse_path: Path, *, smtputf8: bool = False, headers_only: bool = False) -> Reply:
        """See the port."""
        return await self._mail(Step.MAIL, reverse_path, smtputf8=smtputf8, headers_only=headers_only)

    async def rcpt(self, forward_path: Path) -> Reply:
        """See the port."""
        return await self._rcpt(Step.RCPT, forward_path)

    async def begin(
        self, reverse_path: Path, forward_paths: Sequence[Path], *, smtputf8: bool = False, headers_only: bool = False
    ) -> tuple[Reply, tuple[Reply, ...]]:
        """See the port."""
        step = Step.BEGIN if forward_paths else Step.MAIL
        mail = await self._mail(step, reverse_path, smtputf8=smtputf8, headers_only=headers_only)
        if self._state is not _State.ENVELOPE:
            return mail, ()
        return mail, tuple([await self._rcpt(Step.BEGIN_RCPT, path) for path in forward_paths])

    async def data(self, buffers: Sequence[bytes], *, hold: bool = False) -> Reply | None:
        """See the port."""
        self._use("DATA", _State.ENVELOPE)
        reply = await self._step(Step.DATA)
        if reply is not None:
            return reply  # type: ignore[no-any-return]
        self._state = _State.SENDING
        self._content = b"".join(buffers)
        self._is_held = hold and self._upstream.holds
        return None if self._is_held else await self._send_content()

    async def _send_content(self) -> Any:
        middle = len(self._content) // 2
        self.octets += self._content[:middle]
        answer = await self._step(Step.CONTENT)
        self.octets += self._content[middle:]
        return answer

    async def finish(self) -> Reply:
        """See the port."""
        self._use(".", _State.SENDING)
        if self._is_held:
            await self._send_content()
        act = self._upstream.next_act(Step.DOT, self.number)
        place = len(self._upstream.dots)
        dot = Dot(
            connection=self.number,
            reverse_path=self._reverse_path,
            recipients=tuple(self._recipients),
            content=self._content,
            smtputf8=self._smtputf8,
            headers_only=self._headers_only,
            reply=None,
        )
        self._upstream.dots.append(dot)
        reply = await self._upstream.perform(act, self)
        reply = refusal(250, "2.0.0 taken") if reply is None else reply
        if isinstance(reply, Reply):
            self._upstream.dots[place] = replace(dot, reply=reply)
        self._clear(_State.READY)
        return reply

    async def reset(self) -> None:
        """See the port."""
        self._use("RSET", _State.READY, _State.ENVELOPE)
        await self._step(Step.RESET)
        self._clear(_State.READY)

    def release(self) -> None:
        """See the port."""
        self._state = _State.OVER

    def discard(self) -> None:
        """See the port."""
        if self._state is not _State.OVER:
            self.is_discarded = True
        self._state = _State.OVER

    def break_off(self) -> None:
        """End the connection under whoever uses it."""
        if self._state is not _State.OVER:
            self._state = _State.BROKEN

    async def _mail(self, step: Step, reverse_path: Path, *, smtputf8: bool, headers_only: bool) -> Reply:
        self._use(f"MAIL FROM:{reverse_path}", _State.READY)
        reply = await self._step(step)
        if reply is None or (isinstance(reply, Reply) and reply.is_positive):
            self._state = _State.ENVELOPE
            self._reverse_path, self._smtputf8, self._headers_only = str(reverse_path), smtputf8, headers_only
        return refusal(250, "2.1.0 sender ok") if reply is None else reply

    async def _rcpt(self, step: Step, forward_path: Path) -> Reply:
        self._use(f"RCPT TO:{forward_path}", _State.ENVELOPE)
        reply = await self._step(step, forward_path)
        if reply is None or (isinstance(reply, Reply) and reply.is_positive):
            self._recipients.append(forward_path.octets.decode())
        return refusal(250, "2.1.5 recipient ok") if reply is None else reply

    async def _step(self, step: Step, path: Path | None = None) -> Any:
        return await self._upstream.perform(self._upstream.next_act(step, self.number, path), self)

    def _use(self, command: str, *allowed: _State) -> None:
        self.commands.append(command)
        if self._state is _State.BROKEN:
            raise UpstreamBroken("broken before")
        if self._state not in allowed:
            self._upstream.misuses.append(f"{self.number}: {command} in {self._state.name}")
            raise AssertionError(self._upstream.misuses[-1])

    def _clear(self, state: _State) -> None:
        self._state = state
        self._reverse_path, self._recipients, self._content = "", [], b""
