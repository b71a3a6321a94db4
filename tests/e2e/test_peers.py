"""The real peers work, before anything of ours stands between them: what goes in at one end comes out at the other."""

from __future__ import annotations

import os
import smtplib
import time
from pathlib import Path

import pytest

from tests.support.dovecot import PASSWORD, Dovecot, without_delivery_fields
from tests.support.peers import free_port, wait_for
from tests.support.postfix import Postfix
from tests.support.script import Script, Step, reply
from tests.support.sink import Sink
from tests.support.swaks import swaks

pytestmark = pytest.mark.e2e

MESSAGE = (
    b"From: Bob <bob@partner.example>\r\n"
    b"To: alice@acme.example\r\n"
    b"Subject: octets\r\n"
    b"Date: Mon, 01 Jun 2026 12:00:00 +0000\r\n"
    b"Message-ID: <1@partner.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n"
    b".a line with a dot, one with only that, an empty one, trailing blanks, octets above 127\r\n"
    b".\r\n"
    b"\r\n"
    b"trailing  \t\r\n"
    b"gr\xc3\xbc\xc3\x9fe\r\n"
    b"From here it ends\r\n"
)


def without_received(message: bytes) -> bytes:
    """Return the message without what the two peers put on top."""
    return message[message.index(MESSAGE[:20]) :]


def test_postfix_delivers_to_dovecot_and_imap_and_pop3_read_it(mailboxes: Postfix, dovecot: Dovecot) -> None:
    """A message by swaks through Postfix, LMTP and a Maildir comes back by IMAP and by POP3, octet for octet."""
    done = swaks(
        mailboxes.host, mailboxes.port, sender="bob@partner.example", to=["alice@acme.example"], message=MESSAGE
    )

    assert done.code == "250", done.transcript
    [by_imap] = dovecot.wait_messages("alice@acme.example", 1)
    assert without_received(by_imap) == MESSAGE
    with dovecot.pop3("alice@acme.example") as session:
        _, lines, _ = session.retr(1)
    assert b"\r\n".join(lines) + b"\r\n" == by_imap
    assert dovecot.messages("bob@acme.example") == []
    mailboxes.wait_empty()


def test_delivery_fields_are_taken_off(mailboxes: Postfix, dovecot: Dovecot) -> None:
    """What Dovecot puts on top goes, what Postfix put on top stays."""
    swaks(mailboxes.host, mailboxes.port, sender="bob@partner.example", to=["alice@acme.example"], message=MESSAGE)

    [message] = dovecot.wait_messages("alice@acme.example", 1)

    assert message.startswith(b"Return-Path: <bob@partner.example>\r\n")
    assert without_delivery_fields(message).startswith(b"Received: from client.test")


def test_unknown_user_is_refused_at_rcpt(mailboxes: Postfix) -> None:
    """A recipient that is not there is refused, and the other one of the same transaction is not."""
    with smtplib.SMTP(mailboxes.host, mailboxes.port, timeout=5) as client:
        client.ehlo("client.test")
        client.mail("bob@partner.example")
        assert client.rcpt("nobody@acme.example")[0] == 550
        assert client.rcpt("alice@acme.example")[0] == 250


def test_postfix_retries_within_seconds(dovecot: Dovecot) -> None:
    """A queueing Postfix keeps what a 451 put off, tells why, and delivers it when the next hop is ready."""
    busy = Script({Step.DOT: [reply("451 4.3.0 busy"), reply("451 4.3.0 busy")]})
    with Sink(busy) as sink, Postfix(relayhost=(sink.host, sink.port)) as front:
        swaks(front.host, front.port, sender="alice@acme.example", to=["bob@partner.example"], message=MESSAGE)
        front.wait_log(r"status=deferred \(host .* said: 451 4\.3\.0 busy")
        front.wait_log(r"status=sent \(250 2\.0\.0 taken")
        front.wait_empty()

        deliveries = sink.wait(3)

    assert [delivery.accepted for delivery in deliveries] == [False, False, True]
    assert all(without_received(delivery.content) == MESSAGE for delivery in deliveries)


def test_queue_survives_a_restart() -> None:
    """While the next hop is down the message is queued; Postfix stops and starts; then flush delivers it."""
    port = free_port()
    with Postfix(relayhost=("127.0.0.1", port), parameters={"minimal_backoff_time": "600s"}) as front:
        swaks(front.host, front.port, sender="alice@acme.example", to=["bob@partner.example"], message=MESSAGE)
        front.wait_log("status=deferred .*Connection refused")
        front.stop()
        front.start()
        [queued] = wait_for(lambda: [entry for entry in front.queue() if entry.queue == "deferred"], what="the message")
        assert queued.recipients == ("bob@partner.example",)
        with Sink(port=port) as sink:
            front.flush()
            [delivery] = sink.wait(1)

    assert without_received(delivery.content) == MESSAGE


def test_postfix_authenticates_against_dovecot(dovecot: Dovecot) -> None:
    """AUTH PLAIN and LOGIN at Postfix are checked by Dovecot: the right password opens, the wrong one does not."""
    with Sink() as sink, Postfix(relayhost=(sink.host, sink.port), sasl=dovecot.auth_socket) as front:
        for mechanism, password, status in (("PLAIN", PASSWORD, 0), ("LOGIN", PASSWORD, 0), ("PLAIN", "no", 28)):
            options = ("--auth", mechanism, "--auth-user", "alice@acme.example", "--auth-password", password)
            done = swaks(
                front.host,
                front.port,
                *options,
                sender="alice@acme.example",
                to=["bob@partner.example"],
                message=MESSAGE,
            )
            assert done.status == status, done.transcript
        sink.wait(2)


def test_everything_ends_and_nothing_is_left(tmp_path: Path) -> None:
    """After the contexts are closed no process and no folder of the peers is there, and starting took no time."""
    begun = time.monotonic()
    with Dovecot(["alice@acme.example"]) as dovecot, Postfix(lmtp=dovecot.lmtp_socket, domains=["acme.example"]) as mta:
        started = time.monotonic() - begun
        pids = [mta.pid, dovecot.pid]
        swaks(mta.host, mta.port, sender="b@partner.example", to=["alice@acme.example"], message=MESSAGE)
        dovecot.wait_messages("alice@acme.example", 1)
        folders = [mta.config_folder.parent, dovecot.lmtp_socket.parent]
        children = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and any(str(folder) in _command_or_folder(entry) for folder in folders)
        ]
        pids += children

    assert started < 6
    assert not any(folder.exists() for folder in folders)
    assert [pid for pid in pids if _is_alive(pid)] == []


def _command_or_folder(process: Path) -> str:
    """Return a process's command line and current folder, as far as it can be seen."""
    try:
        return (process / "cmdline").read_bytes().decode("utf-8", "replace") + os.readlink(process / "cwd")
    except OSError:
        return ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
