"""One run, and the rounds of a comparison: the same messages through one relay and the other, in turn.

The rate of a run is the same for every relay: messages ÷ (first MAIL of the load → last final dot at the sink). For a
gateway without a queue that is also the rate at which the client hears 250; Postfix says 250 earlier, when the message
is in its queue, and that rate is kept beside it as ``accepted``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.material import Case
from bench.processes import BenchError, wait_for
from bench.programs import Sink, run_load


class Relay(Protocol):
    """Something between load and sink."""

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run came to."""

    messages: int
    relayed: float
    """Messages a second, up to the last one's arrival at the sink."""
    accepted: float
    """Messages a second, up to the last 250 that the load generator heard."""
    cpu: float
    """Seconds of CPU time of the relay, per message."""
    latency_ms: dict[str, float]
    """From the final dot to its reply, at the load generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all runs share."""

    load: Path
    sink: Sink
    messages: int
    sessions: int

    def run(
        self, relay: Relay | None, port: int, case: Case, *, messages: int | None = None, sessions: int | None = None
    ) -> Run:
        """Send messages through ``port``, wait until the sink has all; raise :class:`BenchError` if one is missing."""
        count, kept = messages or self.messages, sessions or self.sessions
        self.sink.reset()
        before = relay.cpu_seconds() if relay else 0.0
        load = run_load(
            self.load,
            port=port,
            message=case.message,
            sender=case.sender,
            recipients=[case.recipient],
            messages=count,
            sessions=kept,
            seconds=_patience(count),
        )
        if load.errors:
            raise BenchError(
                f"{case.treatment}: {load.errors} of {count} messages not accepted: {'; '.join(load.samples)}"
            )
        wait_for(
            lambda: self.sink.counts().messages >= count, what="all messages at the sink", seconds=_patience(count)
        )
        cpu = relay.cpu_seconds() - before if relay else 0.0
        taken = self.sink.counts()
        if taken.messages != count:
            raise BenchError(f"{case.treatment}: {count} messages sent, {taken.messages} arrived")
        return Run(
            messages=count,
            relayed=count / ((taken.last - load.started_ns) / 1e9),
            accepted=count / load.seconds,
            cpu=cpu / count,
            latency_ms=load.latency_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The rounds of one treatment: in each the gateway, and before it Postfix where there is one."""

    case: Case
    gateway: tuple[Run, ...]
    postfix: tuple[Run, ...]
    """As many as ``gateway``, or none."""

    def relayed_ratios(self) -> list[float]:
        """Return gateway ÷ Postfix of each round, both up to the sink."""
        return [ours.relayed / theirs.relayed for ours, theirs in self._pairs()]

    def accepted_ratios(self) -> list[float]:
        """Return gateway ÷ Postfix of each round, the gateway up to the sink, Postfix only up to its 250."""
        return [ours.relayed / theirs.accepted for ours, theirs in self._pairs()]

    def _pairs(self) -> list[tuple[Run, Run]]:
        return list(zip(self.gateway, self.postfix, strict=False))


def median(runs: tuple[Run, ...], figure: Callable[[Run], float]) -> float:
    """Return the median of a figure over runs; 0 where there are none."""
    return statistics.median(map(figure, runs)) if runs else 0.0


def _patience(messages: int) -> int:
    """Seconds after which a run of so many messages is given up: at 20 a second something is wrong."""
    return 30 + messages // 20
