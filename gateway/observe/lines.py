"""Lines of the mail log: structlog's processors, bound to one stream.

What it does: adds time (UTC, milliseconds), level and worker to an event, groups the recipients that were treated
alike, renders JSON or console text, and sees to it that a line fits :data:`LINE_OCTETS`. What it refuses: nothing; what
does not fit is left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC
from enum import StrEnum
from typing import Any, BinaryIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from gateway.observe.text import printable
from gateway.transaction.ports import Clock
from gateway.transaction.record import RecipientRecord

LINE_OCTETS = 4096
"""Longest line, its end included: what one ``write`` puts into a pipe whole (POSIX PIPE_BUF, as Linux has it)."""


class LogFormat(StrEnum):
    """How lines look."""

    JSON = "json"
    """One JSON object per line, UTF-8."""
    CONSOLE = "console"
    """Time, level, event, ``key=value``."""


def make_logger(stream: BinaryIO, clock: Clock, log_format: LogFormat, worker: str) -> FilteringBoundLogger:
    """Return a logger that writes to ``stream``; nothing of structlog's global configuration is read or set."""
    logger = structlog.wrap_logger(
        structlog.BytesLogger(stream),
        processors=[_Stamp(clock, worker), _Fit(_FORMS[log_format])],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        context_class=dict,
    )
    return cast("FilteringBoundLogger", logger.bind())


class _Stamp:
    """Puts time, level and worker first."""

    def __init__(self, clock: Clock, worker: str) -> None:
        self._clock = clock
        self._fixed: dict[str, Any] = {"worker": worker} if worker else {}

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        now = self._clock.now().astimezone(UTC)
        time = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z"
        return {"time": time, "level": method, "event": event.pop("event"), **self._fixed, **event}


class _Fit:
    """Renders an event; with fewer recipients when the line would be too long."""

    def __init__(self, form: Callable[[EventDict], bytes]) -> None:
        self._form = form

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        recipients: Sequence[RecipientRecord] | None = event.pop("recipients", None)
        if recipients is None:
            return self._form(event)
        shown = len(recipients)
        while True:
            event["recipients"] = _group(recipients[:shown])
            if shown < len(recipients):
                event["omitted"] = len(recipients) - shown
            line = self._form(event)
            if len(line) < LINE_OCTETS or not shown:
                return line
            shown //= 2


def _group(recipients: Sequence[RecipientRecord]) -> list[dict[str, object]]:
    """Return one object for all recipients that were treated alike, in the order of their first."""
    groups: dict[tuple[object, ...], dict[str, object]] = {}
    names: dict[tuple[object, ...], list[str]] = {}
    for one in recipients:
        key = (one.direction, one.rule, one.reason, one.actions, one.notes, one.outcome, one.reply)
        if key not in groups:
            names[key] = []
            groups[key] = {
                "to": names[key],
                "direction": one.direction,
                "rule": printable(one.rule, 64),
                "reason": one.reason,
                "actions": one.actions,
                "outcome": one.outcome,
                "reply": printable(one.reply, 256),
            }
            if one.notes:
                groups[key]["notes"] = one.notes
        names[key].append(printable(one.recipient, 320))
    return list(groups.values())


_DUMPS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _json(event: EventDict) -> bytes:
    return _DUMPS(event).encode("utf-8", "backslashreplace")


def _console(event: EventDict) -> bytes:
    rest = {key: value for key, value in event.items() if key not in ("time", "level", "event")}
    pairs = " ".join(f"{key}={_plain(value)}" for key, value in rest.items() if value not in ("", None, [], ()))
    return f"{event['time']} {event['level']:<7} {event['event']} {pairs}".encode("utf-8", "backslashreplace")


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(f"{key}={_plain(one)}" for key, one in value.items() if one not in ("", (), [])) + "}"
    if isinstance(value, (list, tuple)):
        return ",".join(_plain(one) for one in value)
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text or not text else text


_FORMS: dict[LogFormat, Callable[[EventDict], bytes]] = {LogFormat.JSON: _json, LogFormat.CONSOLE: _console}
