"""The upstream double keeps octets as they came, and answers what its script says, at the step that it says."""

from __future__ import annotations

import threading

import pytest

from tests.support.dialog import Dialog, run_dialog
from tests.support.script import Act, After, Script, Step, close, default, hang, hold, reply, reset, send
from tests.support.sink import Sink

MESSAGE = b"Subject: x\r\n\r\n.dot\r\n..\r\ntrailing \t\r\n\r\n\xff\x00\r.\n.\r\n"


def begin(talk: Dialog, recipients: int = 1) -> None:
    """Say all commands in front of DATA."""
    talk.expect("220")
    talk.command("EHLO client.test", "250")
    talk.command("MAIL FROM:<a@x.test>", "250")
    for number in range(recipients):
        talk.command(f"RCPT TO:<{number}@y.test>", "250")


def test_content_is_exact() -> None:
    """Dots are unstuffed, and nothing else is done to any octet."""
    with Sink() as sink, Dialog(sink.host, sink.port) as talk:
        begin(talk)
        talk.message(MESSAGE, "250")
        [delivery] = sink.wait(1)

    assert delivery.content == MESSAGE
    assert delivery.wire == MESSAGE.replace(b"\r\n.", b"\r\n..")
    assert delivery.mail == b"MAIL FROM:<a@x.test>"
    assert delivery.recipients == (b"RCPT TO:<0@y.test>",)
    assert sink.connections[0].verbs == ["EHLO", "MAIL", "RCPT", "DATA"]


@pytest.mark.parametrize("split", [0, 1, 3], ids=["at once", "octet by octet", "three octets"])
def test_pipelined_commands_in_any_segments(split: int) -> None:
    """The borders of segments mean nothing; what is pipelined behind the final dot is a command."""
    with Sink() as sink, Dialog(sink.host, sink.port) as talk:
        talk.expect("220")
        talk.send(
            b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<c@d>\r\nQUIT\r\n", split=split
        )
        for code in ("250", "250", "250", "354", "250", "250", "221"):
            talk.expect(code)
        talk.expect_closed()
        [delivery] = sink.wait(1)

    assert delivery.content == b"x\r\n"


def test_chunks() -> None:
    """BDAT counts octets; dots mean nothing in it."""
    with Sink(extensions=["CHUNKING"]) as sink, Dialog(sink.host, sink.port) as talk:
        begin(talk)
        talk.send(b"BDAT 5\r\n.\r\n..BDAT 3 LAST\r\n\r\n.")
        talk.expect("250")
        talk.expect("250")
        [delivery] = sink.wait(1)

    assert delivery.content == b".\r\n..\r\n."


def test_lmtp_answers_per_recipient() -> None:
    """Over LMTP every accepted recipient has its own reply."""
    with Sink(Script({Step.DOT: [default(), reply("452 4.2.2 full")]}), lmtp=True) as sink:
        with Dialog(sink.host, sink.port) as talk:
            begin(talk, recipients=3)
            talk.message(b"x\r\n", "250")
            talk.expect("452")
            talk.expect("250")
        [delivery] = sink.wait(1)

    assert [answer[:3] for answer in delivery.replies] == [b"250", b"452", b"250"]
    assert not delivery.accepted


@pytest.mark.parametrize(
    ("act", "says"),
    [
        pytest.param(close(), b"", id="close"),
        pytest.param(reset(), b"", id="reset"),
        pytest.param(send(b"25", then=After.CLOSE), b"25", id="half a reply"),
        pytest.param(send(b"\x00\xff\n", then=After.CLOSE), b"\x00\xff\n", id="garbage"),
        pytest.param(reply("250-one", "250 two", then=After.CLOSE), b"250-one\r\n250 two\r\n", id="reply and close"),
    ],
)
@pytest.mark.parametrize("step", [Step.CONNECT, Step.MAIL, Step.DOT], ids=lambda step: step.name)
def test_acts_that_end_the_connection(step: Step, act: Act, says: bytes) -> None:
    """At any step: exactly these octets, then the end."""
    heard = b""
    with Sink([Script({step: act}), Script()]) as sink:
        try:
            with Dialog(sink.host, sink.port) as talk:
                talk.send(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n")
                while octets := talk.receive():
                    heard += octets
        except ConnectionError:
            assert act.then is not After.GO_ON
        assert act.then is After.RESET or heard.endswith(says)
        with Dialog(sink.host, sink.port) as talk:
            talk.expect("220")


def test_hold_and_hang() -> None:
    """A held answer comes when the event is set; a hanging connection ends when the double does."""
    event = threading.Event()
    with Sink(Script({Step.DOT: [hold(event)], Step.QUIT: hang()})) as sink, Dialog(sink.host, sink.port) as talk:
        begin(talk)
        talk.command("DATA", "354")
        talk.send(b"x\r\n.\r\n")
        [delivery] = sink.wait_arrived(1)
        assert not delivery.answered
        event.set()
        talk.expect("250")
        assert sink.wait(1)[0].accepted
        talk.line("QUIT")
        sink.stop()
        talk.expect_closed()


def test_a_conversation_from_a_file() -> None:
    """The steps of a file are done in order, and a difference names its line."""
    text = """
# hostile lines go through as they are
< 220
> EHLO ${name}
< 250 (?m)^PIPELINING$
>> "MAIL FROM:<a@b>\\r\\nRCPT TO:<c@d>\\r\\n"
< 250
< 250
> DATA
< 354
>> "x" * 2000
>> "\\r\\n.\\r\\n"
< 2..
> QUIT
< 221
! closed
"""
    with Sink() as sink:
        run_dialog(text, sink.host, sink.port, values={"name": "client.test"})
        assert sink.wait(1)[0].content == b"x" * 2000 + b"\r\n"
        assert sink.connections[0].commands[0] == b"EHLO client.test"
        with pytest.raises(AssertionError, match="line 15, '< 221'"):
            run_dialog(text.replace("> QUIT", "> NOOP"), sink.host, sink.port, values={"name": "x"})
