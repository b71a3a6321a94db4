"""What the tests of the room share: a clock that stands still, a record to vary, a log to read."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
from prometheus_client import CollectorRegistry

from gateway.observe import LogFormat, MailLog, Metrics
from gateway.transaction.record import ActionRecord, RecipientRecord, Record, UpstreamRecord

RECIPIENT = RecipientRecord(
    recipient="bob@bank.example",
    direction="outbound",
    rule="must-encrypt",
    reason="protected",
    actions=("sign", "encrypt"),
    group=0,
    outcome="accepted",
    reply="250 2.0.0 Ok: queued as 4XyZ",
)
RECORD = Record(
    transaction="0k3v9q0000000001",
    moment=datetime(2026, 3, 1, 12, tzinfo=UTC),
    listener="users",
    client="192.0.2.7",
    helo="client.acme.example",
    tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
    proof="network",
    reverse_path="alice@acme.example",
    size=4711,
    recipients=(RECIPIENT,),
    outcome="accepted",
    code=250,
    enhanced="2.0.0",
    reply="Ok: queued as 4XyZ",
    verification="",
    seconds=0.0423,
    actions=(
        ActionRecord(action="sign", algorithm="rsa-sha256", result="ok"),
        ActionRecord(action="encrypt", algorithm="aes-256-cbc", result="ok"),
    ),
    upstream_replies=tuple(
        UpstreamRecord(upstream="submission", command=command, code=code)
        for command, code in (("MAIL", 250), ("RCPT", 250), ("DATA", 354), (".", 250))
    ),
    stages={"probe": 0.01, "plan": 0.001, "build": 0.002, "commit": 0.02},
    groups=1,
)


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


class Log:
    """A mail log, and what it has written."""

    def __init__(self, log_format: LogFormat = LogFormat.JSON, **options: Any) -> None:
        self.stream = io.BytesIO()
        self.log = MailLog(self.stream, Clock(), log_format, **options)

    def lines(self) -> list[bytes]:
        """Return the lines so far, without their ends."""
        text = self.stream.getvalue()
        assert not text or text.endswith(b"\n")
        return text.split(b"\n")[:-1]

    def events(self) -> list[dict[str, Any]]:
        """Return the lines so far, read as JSON."""
        return [json.loads(line) for line in self.lines()]


class MakeRecord(Protocol):
    """Make a record that differs from the usual one in some fields."""

    def __call__(self, **changes: Any) -> Record: ...


class MakeRecipient(Protocol):
    """Make a recipient's record that differs from the usual one in some fields."""

    def __call__(self, **changes: Any) -> RecipientRecord: ...


@pytest.fixture
def make_record() -> MakeRecord:
    def make(**changes: Any) -> Record:
        return replace(RECORD, **changes)

    return make


@pytest.fixture
def make_recipient() -> MakeRecipient:
    def make(**changes: Any) -> RecipientRecord:
        return replace(RECIPIENT, **changes)

    return make


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def console() -> Log:
    return Log(LogFormat.CONSOLE, worker="w1")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(
        registry, listeners=["users", "border"], upstreams=["submission"], observers=["log", "records"], version="1.2.3"
    )
