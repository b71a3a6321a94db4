"""The mail log: one line for each transaction, one for each event of the service; nobody else formats such lines.

What it does: one method for each event. A transaction's line names its id, client, reverse-path, its recipients with
direction, rule, reason, actions, outcome and reply, the joined outcome and how long it took. Recipients that were
treated alike stand together. Two forms of the same lines: JSON (one object per line) and console (for people).

What it never writes: subjects, header fields, bodies, key material, the text of exceptions that are not ours. Foreign
text goes through :func:`~gateway.observe.text.printable`. A line is one ``write`` of at most 4096 octets, so that the
lines of several workers on one pipe never mix; recipients that would make it longer are counted instead (``omitted``)
and stand in the decision record (:mod:`gateway.observe.records`).

What it raises: :class:`OSError` when the stream cannot be written; :mod:`gateway.observe.events` keeps that away from
the mail. Known gaps: a console line is not meant to be parsed; a pipe whose reader stands still holds up its writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from gateway.errors import GatewayError, Problem
from gateway.observe.lines import LogFormat, make_logger
from gateway.observe.text import printable
from gateway.outcome import Outcome
from gateway.transaction.ports import Clock
from gateway.transaction.record import Record

_ALARMING = frozenset(
    outcome.label
    for outcome in (
        Outcome.OWN_KEY_UNAVAILABLE,
        Outcome.JOURNAL_UNAVAILABLE,
        Outcome.LINK_NOT_TRUSTED,
        Outcome.INTERNAL_ERROR,
    )
)
"""Outcomes whose cause is here, and which an admin has to mend."""


class MailLog:
    """Writes to one stream; implements ``ports.Observer``. Keeps no state but the stream, and none of structlog's."""

    def __init__(
        self, stream: BinaryIO, clock: Clock, log_format: LogFormat = LogFormat.JSON, *, worker: str = ""
    ) -> None:
        """Prepare. ``worker`` is the id of this process, in every line; empty in the supervisor."""
        self._log = make_logger(stream, clock, log_format, worker)

    # Transactions

    def started(self, listener: str) -> None:
        """Write nothing: a transaction's line comes at its end."""

    def ended(self, record: Record) -> None:
        """Write the transaction's line."""
        write = self._log.warning if record.outcome in _ALARMING else self._log.info
        event: dict[str, object] = {
            "id": record.transaction,
            "listener": record.listener,
            "client": record.client,
            "helo": printable(record.helo, 128),
            "tls": record.tls,
            "proof": record.proof,
            "from": printable(record.reverse_path, 320),
            "size": record.size,
            "outcome": record.outcome,
            "code": record.code,
            "reply": printable(record.reply, 256),
            "verification": record.verification,
            "groups": record.groups,
            "ms": round(record.seconds * 1000, 1),
        }
        acts = [":".join(filter(None, (act.action, act.algorithm, act.result, act.reason))) for act in record.actions]
        if acts:
            event["acts"] = list(dict.fromkeys(acts))[:16]
        write("transaction", **event, recipients=record.recipients)

    def unexpected(self, where: str, error: BaseException) -> None:
        """Say that code of ours failed in a way nobody foresaw: kinds of exceptions and places, never their text."""
        self._log.error("unexpected", where=printable(where, 256), **_describe(error))

    # The service

    def service_started(self, version: str, workers: int) -> None:
        """Say that the supervisor runs."""
        self._log.info("started", version=version, workers=workers)

    def worker_started(self, worker: str, pid: int) -> None:
        """Say that the supervisor has started a worker."""
        self._log.info("worker-started", started=worker, pid=pid)

    def worker_died(self, worker: str, pid: int, status: str) -> None:
        """Say that a worker ended without being told to; ``status`` is ``exit 1`` or ``SIGKILL``."""
        self._log.error("worker-died", died=worker, pid=pid, status=status)

    def listening(self, listener: str, address: str, port: int) -> None:
        """Say that a listener takes connections at ``address``, ``[::]:587``, whose port is ``port``."""
        self._log.info("listening", listener=listener, address=address, port=port)

    def reloaded(self, changed: Sequence[str] = ()) -> None:
        """Say that settings, policies and stores were read again and are in force; ``changed`` names what differs."""
        self._log.info("reloaded", changed=[printable(name, 64) for name in changed[:8]])

    def reload_failed(self, problems: Sequence[Problem]) -> None:
        """Say that a reload found problems and that what was in force stays so; each problem gets a line."""
        self._log.error("reload-failed", problems=len(problems))
        for problem in problems:
            self.configuration_problem(problem)

    def configuration_problem(self, problem: Problem) -> None:
        """Say what is wrong in the admin's files."""
        self._log.error("configuration-problem", **_describe_problem(problem))

    def configuration_warning(self, problem: Problem) -> None:
        """Say what should be looked at in the admin's files: what expires soon."""
        self._log.warning("configuration-warning", **_describe_problem(problem))

    def draining(self, in_flight: int) -> None:
        """Say that no new sessions are taken, and how many transactions have still to end."""
        self._log.info("draining", in_flight=in_flight)

    def drained(self, seconds: float, abandoned: int) -> None:
        """Say that this worker ends, how long it took, and how many transactions did not end in time."""
        write = self._log.warning if abandoned else self._log.info
        write("drained", seconds=round(seconds, 3), abandoned=abandoned)

    def session_refused(self, listener: str, client: str, cause: str) -> None:
        """Say that a session was ended by us before any transaction: too many, a broken TLS handshake, idle."""
        self._log.info("session-refused", listener=listener, client=client, cause=printable(cause))

    def upstream_lost(self, upstream: str, cause: str) -> None:
        """Say that a connection to a next hop could not be had, ended, stalled or spoke nonsense."""
        self._log.warning("upstream-lost", upstream=upstream, cause=printable(cause))

    def lookup_unavailable(self, transaction: str, lookup: str, cause: str) -> None:
        """Say that a look-up of a signer, of certificates or of keys had no answer, and for which transaction."""
        self._log.warning("lookup-unavailable", id=transaction, lookup=lookup, cause=printable(cause))

    def journal_failed(self, cause: str) -> None:
        """Say that the delivery journal does not work; once, until it works again."""
        self._log.error("journal-failed", cause=printable(cause))

    def journal_recovered(self) -> None:
        """Say that the delivery journal works again."""
        self._log.info("journal-recovered")

    def records_failed(self, path: Path, error: OSError) -> None:
        """Say that decision records cannot be written; once, until they can again."""
        self._log.error("records-failed", file=printable(str(path), 256), cause=printable(error.strerror or "unknown"))

    def records_recovered(self, lost: int) -> None:
        """Say that decision records are written again, and how many were not."""
        self._log.warning("records-recovered", lost=lost)

    def observer_failed(self, observer: str, error: Exception) -> None:
        """Say that one of the observers of transactions fails; once, until it works again."""
        self._log.error("observer-failed", observer=observer, **_describe(error))

    def library(self, name: str, level: int, text: str) -> None:
        """Write what a library logged, at its level (see :mod:`gateway.observe.libraries`)."""
        self._log.log(level, "library", logger=name, text=printable(text))


def _describe_problem(problem: Problem) -> Mapping[str, object]:
    return {
        "file": printable(problem.file, 256),
        "line": problem.line,
        "key": printable(problem.key, 128),
        "problem": printable(problem.text),
    }


def _describe(error: BaseException) -> Mapping[str, object]:
    """Return the kinds of an exception and its causes, and the innermost places; our own exceptions' text as well."""
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(kinds) < 8:
        kinds.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    text = printable(str(error)) if isinstance(error, GatewayError) else ""
    return {"error": kinds, "places": places[-8:], "cause": text}
