"""The Prometheus series of one worker, and their sum over all workers.

What it does: :class:`Metrics` holds every series that a worker counts, in a registry of its own (no global one, so that
several workers can live in one process under test). Label sets are closed (:mod:`gateway.observe.labels`); each series
exists from the start with 0, and its child is looked up once, so that an event costs a dictionary look-up and an
addition. ``docs/metrics.md`` describes each series; a test compares both ways.

Where ``PROMETHEUS_MULTIPROC_DIR`` is set before the first import of prometheus_client (the supervisor sets it for its
worker processes), values live in files there and :class:`~gateway.observe.supervisor.SupervisorMetrics` sums them.

What it refuses: nothing; a word outside its set counts as ``other``. Known gap: two Metrics objects in one process
share their values in that mode.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from math import inf
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from gateway.observe import labels
from gateway.observe.labels import OTHER, CertificateUse
from gateway.outcome import Outcome
from gateway.transaction.record import RecipientRecord, Record, Stage

M = TypeVar("M", bound=MetricWrapperBase)

PREFIX = "smime_gateway_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, inf)
"""Bounds for stages: half a millisecond is a small message, 50 and 90 s are the deadlines of listeners."""
OCTETS = (1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6, inf)
"""Bounds for messages."""
STORE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0, inf)
"""Bounds for journal calls: one disk flush up to four waits for a lock."""

_ACCEPTED = Outcome.ACCEPTED.label
_TOTAL = str(Stage.TOTAL)


class Metrics:
    """The series of one worker; implements ``ports.Observer``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        listeners: Sequence[str] = (),
        upstreams: Sequence[str] = (),
        observers: Sequence[str] = (),
        version: str = "",
    ) -> None:
        """Register every series; names of listeners, upstreams and observers are those that may occur."""
        made = _Maker(registry)
        where, hops = (*listeners, OTHER), (*upstreams, OTHER)
        self._in_flight = made.gauge(
            "transactions_in_flight", "Transactions that have begun and not ended.", "livesum", listener=where
        )
        self._transactions = made.counter(
            "transactions",
            "Transactions that have ended.",
            listener=where,
            direction=labels.DIRECTIONS,
            outcome=labels.OUTCOMES,
        )
        self._recipients = made.counter(
            "recipients",
            "Recipients of transactions that have ended.",
            direction=labels.DIRECTIONS,
            outcome=labels.OUTCOMES,
        )
        self._reasons = made.counter("reasons", "Reasons given for the treatment of recipients.", reason=labels.REASONS)
        self._refusals = made.counter("refusals", "Recipients not accepted, by reason.", reason=labels.REASONS)
        self._protections: dict[tuple[str, ...], Counter] = made.counter_of(
            "protections",
            "Messages signed, encrypted and decrypted.",
            ("action", "algorithm", "result"),
            [
                key
                for action, algorithms in labels.ALGORITHMS.items()
                for key in product((action,), algorithms, labels.RESULTS)
            ],
        )
        self._verifications = made.counter(
            "verifications", "Messages verified, by RFC 8601 result.", result=labels.VERIFICATIONS
        )
        self._stages = made.histogram(
            "stage_seconds", "Duration of the stages of transactions.", SECONDS, stage=labels.STAGES
        )
        self._octets = made.histogram("message_octets", "Size of messages as received.", OCTETS)[()]
        self._replies = made.counter(
            "upstream_replies",
            "Replies of upstreams.",
            upstream=hops,
            command=labels.COMMANDS,
            **{"class": labels.CLASSES},
        )
        self._lost = made.counter("upstream_connections_lost", "Connections to upstreams that failed.", upstream=hops)
        self._sessions = made.counter("sessions", "Client sessions opened.", listener=where)
        self._open_sessions = made.gauge("sessions_open", "Client sessions open now.", "livesum", listener=where)
        self._journal = made.counter(
            "journal_calls", "Calls of the delivery journal.", call=labels.JOURNAL_CALLS, result=labels.JOURNAL_RESULTS
        )
        self._journal_seconds = made.histogram(
            "journal_seconds", "Duration of journal calls.", STORE_SECONDS, call=labels.JOURNAL_CALLS
        )
        self._certificates = made.gauge(
            "certificates",
            "Own certificates, by the time they have left.",
            "livemax",
            use=tuple(CertificateUse),
            expires=tuple(name for name, _ in labels.WINDOWS),
        )
        self._next_expiry = made.gauge(
            "certificate_next_expiry_timestamp_seconds",
            "When the next own certificate expires, seconds since 1970.",
            "livemin",
            use=tuple(CertificateUse),
        )
        for gauge in self._next_expiry.values():
            gauge.set(inf)
        self._lost_records = made.counter("records_lost", "Decision records that could not be written.")[()]
        self._observer_failures = made.counter(
            "observer_failures", "Failures of observers of transactions.", observer=(*observers, OTHER)
        )
        made.gauge(
            "build_info",
            "Version of the program and of Python; always 1.",
            "livemax",
            version=(version,),
            python=(platform.python_version(),),
        )[version, platform.python_version()].set(1)

    # ports.Observer

    def started(self, listener: str) -> None:
        """Count a transaction in."""
        _child(self._in_flight, listener).inc()

    def ended(self, record: Record) -> None:
        """Count a transaction out, and all that its record tells."""
        _child(self._in_flight, record.listener).dec()
        directions = {recipient.direction for recipient in record.recipients}
        direction = _joined(directions)
        _child(self._transactions, record.listener, direction, record.outcome).inc()
        self._stages[_TOTAL,].observe(record.seconds)
        for stage, seconds in record.stages.items():
            if stage != _TOTAL and (histogram := self._stages.get((stage,))) is not None:
                histogram.observe(seconds)
        if record.size:
            self._octets.observe(record.size)
        if record.verification:
            _child(self._verifications, record.verification).inc()
        for recipient in record.recipients:
            self._count_recipient(recipient)
        for act in record.actions:
            if act.action in labels.ALGORITHMS:
                _child(self._protections, act.action, act.algorithm or labels.NO_ALGORITHM, act.result).inc()
        for reply in record.upstream_replies:
            _child(self._replies, reply.upstream, reply.command, labels.class_of(reply.code)).inc()

    def _count_recipient(self, recipient: RecipientRecord) -> None:
        _child(self._recipients, recipient.direction, recipient.outcome).inc()
        for reason in (recipient.reason, *recipient.notes):
            if reason:
                _child(self._reasons, reason).inc()
        if recipient.outcome != _ACCEPTED:
            decided = recipient.outcome in labels.DECIDED_HERE and recipient.reason
            _child(self._refusals, recipient.reason if decided else recipient.outcome).inc()

    # Events of the service

    def session_opened(self, listener: str) -> None:
        """Count a client session in."""
        _child(self._sessions, listener).inc()
        _child(self._open_sessions, listener).inc()

    def session_closed(self, listener: str) -> None:
        """Count a client session out."""
        _child(self._open_sessions, listener).dec()

    def upstream_lost(self, upstream: str) -> None:
        """Count a connection that could not be had, ended, stalled or spoke nonsense."""
        _child(self._lost, upstream).inc()

    def journal_called(self, call: str, result: str, seconds: float) -> None:
        """Count a call of the journal: a word of ``JOURNAL_CALLS`` and one of ``JOURNAL_RESULTS``."""
        self._journal[call, result].inc()
        self._journal_seconds[call,].observe(seconds)

    def record_lost(self) -> None:
        """Count a decision record that could not be written."""
        self._lost_records.inc()

    def observer_failed(self, observer: str) -> None:
        """Count a failure of an observer."""
        _child(self._observer_failures, observer).inc()

    def set_certificates(self, use: CertificateUse, not_after: Iterable[datetime], moment: datetime) -> None:
        """Tell when own certificates for ``use`` expire; at load, at reload, and now and then, since days go by."""
        expiries = sorted(not_after)
        for name, count in _in_windows([expiry - moment for expiry in expiries]).items():
            self._certificates[use, name].set(count)
        self._next_expiry[use,].set(next((expiry.timestamp() for expiry in expiries if expiry > moment), inf))


def _in_windows(left: Sequence[timedelta]) -> dict[str, int]:
    counts = dict.fromkeys((name for name, _ in labels.WINDOWS), 0)
    for time in left:
        counts[next(name for name, days in labels.WINDOWS if time.days < days)] += 1
    return counts


def _child(children: Mapping[tuple[str, ...], M], *key: str) -> M:
    """Return the child for ``key``; each word that has none counts as ``other``."""
    found = children.get(key)
    return found if found is not None else _nearest(children, key)


def _joined(directions: set[str]) -> str:
    if len(directions) == 1:
        return next(iter(directions))
    return labels.MIXED if directions else OTHER


def _nearest(children: Mapping[tuple[str, ...], M], key: tuple[str, ...]) -> M:
    return next(children[candidate] for candidate in product(*((word, OTHER) for word in key)) if candidate in children)


class _Maker:
    """Registers metrics and makes all their children."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, **sets: Sequence[str]) -> dict[tuple[str, ...], Counter]:
        return self.counter_of(name, text, tuple(sets), list(product(*sets.values())))

    def counter_of(
        self,
        name: str,
        text: str,
        names: Sequence[str],
        keys: Sequence[tuple[str, ...]],
    ) -> dict[tuple[str, ...], Counter]:
        return _children(Counter(f"{PREFIX}{name}_total", text, names, registry=self._registry), keys)

    def gauge(
        self,
        name: str,
        text: str,
        mode: Literal["livesum", "livemax", "livemin"],
        **sets: Sequence[str],
    ) -> dict[tuple[str, ...], Gauge]:
        metric = Gauge(PREFIX + name, text, tuple(sets), registry=self._registry, multiprocess_mode=mode)
        return _children(metric, list(product(*sets.values())))

    def histogram(
        self,
        name: str,
        text: str,
        buckets: Sequence[float],
        **sets: Sequence[str],
    ) -> dict[tuple[str, ...], Histogram]:
        metric = Histogram(PREFIX + name, text, tuple(sets), registry=self._registry, buckets=buckets)
        return _children(metric, list(product(*sets.values())))


def _children(metric: M, keys: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], M]:
    return {key: metric.labels(*key) if key else metric for key in keys}
