"""The mail log: one line for each event, whole, bounded, and without anything it must not hold."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DecryptionFailed, Problem, UpstreamBroken
from gateway.observe import LogFormat, MailLog, adopt
from gateway.observe.lines import LINE_OCTETS
from tests.unit.observe.conftest import RECIPIENT, RECORD, Log, MakeRecipient, MakeRecord

if TYPE_CHECKING:
    from collections.abc import Callable

NASTY = st.text(st.sampled_from([*'a "\\\n\r\x1b=,ü', "\udcff", "\u202e", "\U0001f600"]), max_size=600)


def test_a_transaction_is_one_line(log: Log, make_record: MakeRecord) -> None:
    """Everything an admin asks for first, in one JSON object."""
    log.log.started("users")
    log.log.ended(make_record())
    assert log.events() == [
        {
            "time": "2026-03-01T12:00:00.123Z",
            "level": "info",
            "event": "transaction",
            "id": "0k3v9q0000000001",
            "listener": "users",
            "client": "192.0.2.7",
            "helo": "client.acme.example",
            "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
            "proof": "network",
            "from": "alice@acme.example",
            "size": 4711,
            "outcome": "accepted",
            "code": 250,
            "reply": "Ok: queued as 4XyZ",
            "verification": "",
            "groups": 1,
            "ms": 42.3,
            "acts": ["sign:rsa-sha256:ok", "encrypt:aes-256-cbc:ok"],
            "recipients": [
                {
                    "to": ["bob@bank.example"],
                    "direction": "outbound",
                    "rule": "must-encrypt",
                    "reason": "protected",
                    "actions": ["sign", "encrypt"],
                    "outcome": "accepted",
                    "reply": "250 2.0.0 Ok: queued as 4XyZ",
                }
            ],
        }
    ]


def test_a_transaction_on_the_console(console: Log, make_record: MakeRecord) -> None:
    """The same for people."""
    console.log.ended(make_record())
    assert console.lines() == [
        b"2026-03-01T12:00:00.123Z info    transaction worker=w1 id=0k3v9q0000000001 listener=users client=192.0.2.7 "
        b'helo=client.acme.example tls="TLSv1.3 TLS_AES_256_GCM_SHA384" proof=network from=alice@acme.example '
        b'size=4711 outcome=accepted code=250 reply="Ok: queued as 4XyZ" groups=1 ms=42.3 '
        b"acts=sign:rsa-sha256:ok,encrypt:aes-256-cbc:ok recipients={to=bob@bank.example direction=outbound "
        b'rule=must-encrypt reason=protected actions=sign,encrypt outcome=accepted reply="250 2.0.0 Ok: '
        b'queued as 4XyZ"}'
    ]


def test_recipients_that_were_treated_alike_stand_together(
    log: Log,
    make_record: MakeRecord,
    make_recipient: MakeRecipient,
) -> None:
    """In the order of their first; a note sets them apart."""
    recipients = (
        make_recipient(recipient="a"),
        make_recipient(recipient="b", notes=("lookup-skipped",)),
        make_recipient(recipient="c"),
        make_recipient(recipient="d", outcome="upstream-transient"),
    )
    log.log.ended(make_record(recipients=recipients))
    shown = log.events()[0]["recipients"]
    assert [(one["to"], one.get("notes"), one["outcome"]) for one in shown] == [
        (["a", "c"], None, "accepted"),
        (["b"], ["lookup-skipped"], "accepted"),
        (["d"], None, "upstream-transient"),
    ]


@pytest.mark.parametrize("log_format", list(LogFormat))
@pytest.mark.parametrize("number", [30, 1000])
def test_many_recipients_stay_within_one_write(
    make_record: MakeRecord,
    make_recipient: MakeRecipient,
    log_format: LogFormat,
    number: int,
) -> None:
    """A line is never longer than what a pipe takes whole; who is left out is counted."""
    log = Log(log_format)
    recipients = tuple(
        make_recipient(recipient=f"recipient-{count}@bank.example", reply=f"250 queued as {count}")
        for count in range(number)
    )
    log.log.ended(make_record(recipients=recipients))
    (line,) = log.lines()
    assert len(line) < LINE_OCTETS
    if log_format is LogFormat.JSON:
        event = json.loads(line)
        assert sum(len(one["to"]) for one in event["recipients"]) + event["omitted"] == number
        assert event["recipients"]


@given(NASTY, NASTY, NASTY, NASTY, st.sampled_from(LogFormat), st.integers(0, 5))
def test_foreign_text_does_not_break_a_line(
    helo: str,
    sender: str,
    recipient: str,
    reply: str,
    log_format: LogFormat,
    number: int,
) -> None:
    """Whatever a peer says: one line, bounded, UTF-8, nothing in it that a terminal acts on."""
    log = Log(log_format)
    log.log.ended(
        replace(
            RECORD,
            helo=helo,
            reverse_path=sender,
            reply=reply,
            recipients=(replace(RECIPIENT, recipient=recipient, reply=reply),) * number,
        )
    )
    (line,) = log.lines()
    assert len(line) < LINE_OCTETS
    assert line.decode().isprintable()


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        ("accepted", "info"),
        ("rejected-by-policy", "info"),
        ("upstream-transient", "info"),
        ("own-key-unavailable", "warning"),
        ("internal-error", "warning"),
        ("journal-unavailable", "warning"),
    ],
)
def test_what_an_admin_has_to_mend_is_a_warning(
    log: Log,
    make_record: MakeRecord,
    outcome: str,
    level: str,
) -> None:
    """A refusal by policy or by an upstream is daily business; our own failures are not."""
    log.log.ended(make_record(outcome=outcome))
    assert log.events()[0]["level"] == level


PROBLEM = Problem(file="gateway.yaml", line=3, key="listeners.users", text="unknown key 'tsl', did you mean 'tls'?")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            lambda log: log.service_started("0.1.0", 2),
            {"event": "started", "version": "0.1.0", "workers": 2},
            id="started",
        ),
        pytest.param(
            lambda log: log.worker_started("w1", 17),
            {"event": "worker-started", "started": "w1", "pid": 17},
            id="worker-started",
        ),
        pytest.param(
            lambda log: log.worker_died("w1", 17, "SIGKILL"),
            {"event": "worker-died", "level": "error", "died": "w1", "pid": 17, "status": "SIGKILL"},
            id="worker-died",
        ),
        pytest.param(
            lambda log: log.listening("users", "[::]:587", 587),
            {"event": "listening", "listener": "users", "address": "[::]:587", "port": 587},
            id="listening",
        ),
        pytest.param(
            lambda log: log.reloaded(["policies/10-main.yaml"]),
            {"event": "reloaded", "changed": ["policies/10-main.yaml"]},
            id="reloaded",
        ),
        pytest.param(
            lambda log: log.configuration_problem(PROBLEM),
            {
                "event": "configuration-problem",
                "level": "error",
                "file": "gateway.yaml",
                "line": 3,
                "key": "listeners.users",
                "problem": "unknown key 'tsl', did you mean 'tls'?",
            },
            id="problem",
        ),
        pytest.param(lambda log: log.draining(3), {"event": "draining", "in_flight": 3}, id="draining"),
        pytest.param(
            lambda log: log.drained(1.23456, 0),
            {"event": "drained", "level": "info", "seconds": 1.235, "abandoned": 0},
            id="drained",
        ),
        pytest.param(
            lambda log: log.drained(30.0, 2),
            {"event": "drained", "level": "warning", "abandoned": 2},
            id="drained-too-late",
        ),
        pytest.param(
            lambda log: log.session_refused("users", "192.0.2.7", "too many"),
            {"event": "session-refused", "listener": "users", "client": "192.0.2.7", "cause": "too many"},
            id="session-refused",
        ),
        pytest.param(
            lambda log: log.upstream_lost("submission", "reset\r\nevent=faked"),
            {"event": "upstream-lost", "level": "warning", "cause": "reset\\x0d\\x0aevent=faked"},
            id="upstream",
        ),
        pytest.param(
            lambda log: log.lookup_unavailable("0" * 16, "certificates", "no answer\nin time"),
            {"event": "lookup-unavailable", "level": "warning", "id": "0" * 16, "cause": "no answer\\x0ain time"},
            id="look-up",
        ),
        pytest.param(
            lambda log: log.journal_failed("state/journal.db: database is locked"),
            {"event": "journal-failed", "level": "error", "cause": "state/journal.db: database is locked"},
            id="journal-failed",
        ),
        pytest.param(lambda log: log.journal_recovered(), {"event": "journal-recovered"}, id="journal-recovered"),
        pytest.param(
            lambda log: log.records_failed(Path("state"), OSError(28, "No space left on device")),
            {"event": "records-failed", "level": "error", "file": "state", "cause": "No space left on device"},
            id="records-failed",
        ),
        pytest.param(
            lambda log: log.records_recovered(7), {"event": "records-recovered", "lost": 7}, id="records-recovered"
        ),
    ],
)
def test_events_of_the_service(log: Log, call: Callable[[MailLog], None], expected: dict[str, Any]) -> None:
    """One method, one line."""
    call(log.log)
    (event,) = log.events()
    assert event | expected == event


def test_a_failed_reload_lists_every_problem(log: Log) -> None:
    """One line for the reload, one for each problem."""
    log.log.reload_failed([PROBLEM, PROBLEM])
    assert [event["event"] for event in log.events()] == [
        "reload-failed",
        "configuration-problem",
        "configuration-problem",
    ]


def fail(cause: Exception, text: str) -> Exception:
    """Return an exception as it is caught, with a traceback and a cause."""
    try:
        try:
            raise cause
        except Exception as error:
            raise RuntimeError(text) from error
    except RuntimeError as error:
        return error


def test_unexpected_errors_tell_kind_and_place_and_no_text(log: Log) -> None:
    """The text of an exception may hold anything, a subject too."""
    log.log.unexpected("build", fail(ValueError("Subject: secret"), "secret again"))
    (event,) = log.events()
    assert event["error"] == ["RuntimeError", "ValueError"]
    assert event["places"][0].startswith("test_maillog.py:")
    assert event["level"] == "error"
    assert b"secret" not in log.lines()[0]


@pytest.mark.parametrize("error", [DecryptionFailed(), UpstreamBroken("connection lost")])
def test_our_own_errors_tell_their_text(log: Log, error: Exception) -> None:
    """They promise to hold no content."""
    log.log.unexpected("commit", error)
    assert log.events()[0]["cause"] == str(error)


def test_what_libraries_log_arrives_as_warnings(log: Log) -> None:
    """Warnings and worse, without tracebacks; never aiosmtpd's debug output, which holds message data."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        adopt(log.log)
        logging.getLogger("mail.log").info("DATA: secret")
        logging.getLogger("mail.log").warning("%s\r\nodd", "something")
        logging.getLogger("mail.log").warning("%d", "not a number")
        try:
            raise ValueError("secret")
        except ValueError:
            logging.getLogger("mail.log").exception("session failed")
    finally:
        logging.captureWarnings(False)
        root.handlers[:], level = before[0], before[1]
        root.setLevel(level)
    first, second = log.events()
    assert (first["event"], first["logger"], first["text"]) == ("library", "mail.log", "something\\x0d\\x0aodd")
    assert (second["event"], second["where"], second["error"]) == (
        "unexpected",
        "mail.log: session failed",
        ["ValueError"],
    )
    assert b"secret" not in b"".join(log.lines())
