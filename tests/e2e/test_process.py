"""The harness of the real process: it is found, heard, asked, ended and killed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.house import House
from tests.support.process import GatewayProcess
from tests.support.sink import Sink
from tests.support.swaks import swaks

pytestmark = pytest.mark.e2e

MESSAGE = (
    b"From: alice@acme.example\r\nTo: dave@bank.example\r\nSubject: hello\r\n"
    b"Date: Mon, 01 Jun 2026 12:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\n\r\nHello Dave\r\n"
)


def test_start_talk_and_drain(sink: Sink, tmp_path: Path) -> None:
    """A process on free ports takes a message, tells of it in log and metrics, and ends with 0 on SIGTERM."""
    house = House(tmp_path)
    house.write((sink.host, sink.port), policy="default: pass\n")
    with GatewayProcess(house.settings) as gateway:
        done = swaks(
            gateway.host, gateway.port("users"), sender="alice@acme.example", to=["dave@bank.example"], message=MESSAGE
        )
        assert done.code == "250", done.transcript + gateway.tail()
        [delivery] = [one for one in sink.wait(1) if one.accepted]
        [event] = gateway.wait_log("transaction")
        status, text = gateway.get("/metrics")
        assert (status, gateway.get("/healthz")[0], gateway.get("/no-such-page")[0]) == (200, 200, 404)
        assert gateway.stop() == 0

    assert delivery.recipients == (b"RCPT TO:<dave@bank.example>",)
    assert b"Subject: hello\r\n" in delivery.content
    assert b"Hello Dave" in delivery.content
    assert event["outcome"] == "accepted"
    assert "smime_gateway_" in text


def test_kill_and_start_again(sink: Sink, tmp_path: Path) -> None:
    """A killed process leaves no worker behind, and starts again in the same folders."""
    house = House(tmp_path)
    house.write((sink.host, sink.port), policy="default: pass\n")
    with GatewayProcess(house.settings) as gateway:
        gateway.kill()
        assert gateway.process.returncode == -signal.SIGKILL
        gateway.start()
        assert gateway.get("/readyz")[0] == 200


def test_a_start_that_fails_is_told(tmp_path: Path) -> None:
    """Settings that cannot be read end the start at once, with what the process said."""
    settings = tmp_path / "gateway.yaml"
    settings.write_text("listeners: 7\n")

    with pytest.raises(AssertionError, match=r"ended with status 1 before(.|\n)*listeners"), GatewayProcess(settings):
        pass
