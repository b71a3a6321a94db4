"""The load generator and the sink of the benchmark: what one sends is what the other counts, octet for octet."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.processes import BenchError
from bench.programs import Load, Sink, compile_program, run_load
from tests.support.peers import lacking
from tests.support.script import Act, After, Script, Step, close, reply, send
from tests.support.sink import EXTENSIONS
from tests.support.sink import Sink as ScriptedSink

TEXT = b"Subject: figures\r\n\r\nFirst line.\r\nLast line.\r\n"
MESSAGES = {
    "plain": TEXT,
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n.hidden\r\nin.side\r\n...\r\n.\r\n",
    "empty": b"",
    "header only": b"Subject: nothing\r\n",
    "large": TEXT + b"0123456789.\r\n" * 100_000,
}
ENDS_NOT = {
    "bare LF around": b"\n.\n",
    "bare LF before": b"\n.\r\n",
    "bare LF behind": b"\r\n.\nx",
    "bare CR around": b"\r.\r",
    "bare CR behind": b"\r\n.\rx",
    "CR CR LF": b"\r\r\n.\r\r\n",
    "dot behind text": b"a.\r\n",
    "stuffed": b"\r\n..\r\n",
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        lacking("no C compiler: apt-get install gcc libc6-dev")
    folder = tmp_path_factory.mktemp("bench")
    return {name: compile_program(name, folder) for name in ("load", "sink")}


@pytest.fixture
def sink(programs: dict[str, Path], tmp_path: Path) -> Iterator[Sink]:
    with Sink(programs["sink"], dump=tmp_path, count=1000, lifetime=60) as running:
        yield running


def send_all(programs: dict[str, Path], port: int, file: Path, **options: int) -> Load:
    return run_load(
        programs["load"],
        port=port,
        message=file,
        sender="alice@acme.example",
        recipients=["bob@partner.example", "carol@partner.example"],
        seconds=20,
        **options,
    )


@pytest.mark.parametrize("sessions", [1, 10])
@pytest.mark.parametrize("content", MESSAGES.values(), ids=MESSAGES)
def test_what_was_sent_arrives(
    programs: dict[str, Path], sink: Sink, tmp_path: Path, content: bytes, sessions: int
) -> None:
    """Both count the same; behind a Message-ID of its own each message is the file, dots and all."""
    file = tmp_path / "message"
    file.write_bytes(content)
    load = send_all(programs, sink.port, file, messages=25, sessions=sessions)
    assert (load.messages, load.errors, load.samples, load.reconnects) == (25, 0, (), 0)
    dumped = [path.read_bytes() for path in sorted(tmp_path.glob("*.eml"))]
    taken = sink.counts()
    assert taken.messages == len(dumped) == 25
    assert taken.octets == sum(map(len, dumped))
    assert load.started_ns <= taken.first <= taken.last <= load.ended_ns
    identities, bodies = zip(*(message.split(b"\r\n", 1) for message in dumped), strict=True)
    assert set(bodies) == {content}
    assert len(set(identities)) == 25
    assert all(identity.startswith(b"Message-ID: <") for identity in identities)


def test_connections_are_kept(programs: dict[str, Path], sink: Sink, tmp_path: Path) -> None:
    """Forty messages over four sessions are four connections; a reset forgets them."""
    file = tmp_path / "message"
    file.write_bytes(TEXT)
    sink.reset()
    send_all(programs, sink.port, file, messages=40, sessions=4)
    assert sink.counts().connections == 4 + 1
    sink.reset()
    assert sink.counts().messages == 0


@pytest.mark.parametrize(
    "content",
    [b"Subject: x\n\nLF only\n", b"Subject: x\r\n\r\nno end", b"Subject: x\r\n\r\nbare\rCR\r\n"],
    ids=["LF", "no final CRLF", "bare CR"],
)
def test_load_refuses_what_is_no_mail(programs: dict[str, Path], tmp_path: Path, content: bytes) -> None:
    """A file with a line that does not end in CRLF is not sent."""
    file = tmp_path / "message"
    file.write_bytes(content)
    with pytest.raises(BenchError, match="must end in CRLF"):
        send_all(programs, 9, file, messages=1)


# ---------------------------------------------------------------- the sink, octet by octet


class Talk:
    """A raw connection to the sink, and a second one to see that the sink has read what was sent on the first."""

    def __init__(self, port: int) -> None:
        self._connections = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(2)]
        self._files = [connection.makefile("rb") for connection in self._connections]
        for file in self._files:
            assert file.readline().startswith(b"220 ")

    def say(self, octets: bytes) -> None:
        self._connections[0].sendall(octets)

    def hear(self) -> bytes:
        return self._files[0].readline()

    def settle(self) -> None:
        """The sink has one thread and looks at its connections in the order in which octets arrive."""
        self._connections[1].sendall(b"NOOP\r\n")
        assert self._files[1].readline() == b"250 2.0.0 ok\r\n"

    def begin(self) -> None:
        """Go as far as the mail data."""
        self.say(b"HELO test\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n")
        assert [self.hear()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]

    def close(self) -> None:
        for file, connection in zip(self._files, self._connections, strict=True):
            file.close()
            connection.close()


@contextmanager
def talk_to(sink: Sink) -> Iterator[Talk]:
    talk = Talk(sink.port)
    try:
        yield talk
    finally:
        talk.close()


def test_end_of_data_across_every_border(sink: Sink, tmp_path: Path) -> None:
    """Wherever one chunk ends and the next begins, the data end at CRLF.CRLF, and what follows is a command."""
    content = b"..a\r\n\r\n..\r\nb\r\n.\r\n"
    expected = b".a\r\n\r\n.\r\nb\r\n"
    whole = content + b"NOOP\r\n"
    with talk_to(sink) as talk:
        for border in range(1, len(whole)):
            talk.begin()
            talk.say(whole[:border])
            talk.settle()
            talk.say(whole[border:])
            assert talk.hear() == b"250 2.0.0 taken\r\n"
            assert talk.hear() == b"250 2.0.0 ok\r\n"
    dumped = [path.read_bytes() for path in tmp_path.glob("*.eml")]
    assert dumped == [expected] * (len(whole) - 1)
    assert sink.counts().octets == len(expected) * len(dumped)


def test_one_octet_at_a_time(sink: Sink, tmp_path: Path) -> None:
    """A message whose octets come one by one arrives whole."""
    with talk_to(sink) as talk:
        talk.begin()
        for octet in b"a\r\n..b\r\n\r\n.\r\n":
            talk.say(bytes([octet]))
            talk.settle()
        assert talk.hear() == b"250 2.0.0 taken\r\n"
    assert (tmp_path / "000001.eml").read_bytes() == b"a\r\n.b\r\n\r\n"


@pytest.mark.parametrize("octets", ENDS_NOT.values(), ids=ENDS_NOT)
def test_what_does_not_end_the_data(sink: Sink, tmp_path: Path, octets: bytes) -> None:
    """Nothing but CRLF.CRLF ends the data (RFC 5321 4.1.1.4)."""
    with talk_to(sink) as talk:
        talk.begin()
        talk.say(b"a" + octets + b"MAIL FROM:<smuggled@x>\r\n.\r\n")
        assert talk.hear() == b"250 2.0.0 taken\r\n"
        talk.say(b"NOOP\r\n")
        assert talk.hear() == b"250 2.0.0 ok\r\n"
    assert sink.counts().messages == 1
    unstuffed = octets.replace(b"\r\n.", b"\r\n")
    assert (tmp_path / "000001.eml").read_bytes() == b"a" + unstuffed + b"MAIL FROM:<smuggled@x>\r\n"


def test_everything_in_one_chunk(sink: Sink) -> None:
    """Two transactions and QUIT sent at once are two messages and a goodbye."""
    one = b"MAIL FROM:<>\r\nRCPT TO:<b@y>\r\nDATA\r\na\r\n.\r\n"
    with talk_to(sink) as talk:
        talk.say(b"HELO test\r\n" + one + one + b"QUIT\r\n")
        assert [talk.hear()[:3] for _ in range(10)] == [b"250"] + [b"250", b"250", b"354", b"250"] * 2 + [b"221"]
        assert talk.hear() == b""
    assert sink.counts().messages == 2


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"MAIL FROM:<a@x>", b"503"),
        (b"RCPT TO:<b@y>", b"503"),
        (b"DATA", b"503"),
        (b"VRFY b", b"500"),
        (b"", b"500"),
        (b"A" * 3000, b"500"),
    ],
    ids=["MAIL before HELO", "RCPT before MAIL", "DATA before RCPT", "VRFY", "empty", "long"],
)
def test_sink_refuses(sink: Sink, command: bytes, code: bytes) -> None:
    """A command out of order, unknown or too long is refused, and nothing is counted."""
    with talk_to(sink) as talk:
        talk.say(command + b"\r\n")
        assert talk.hear()[:3] == code
    assert sink.counts().messages == 0


# ---------------------------------------------------------------- the load generator against a server that is not kind

UNKIND = {
    "greeting": ({Step.CONNECT: reply("554 5.3.2 not today")}, (0, 0), (0, 0), "554 5.3.2 not today"),
    "MAIL": ({Step.MAIL: [reply("451 4.3.0 busy")]}, (4, 1), (4, 0), "451 4.3.0 busy"),
    "one RCPT": ({Step.RCPT: [reply("550 5.1.1 unknown")]}, (4, 1), (4, 0), "550 5.1.1 unknown"),
    "two RCPT": ({Step.RCPT: [reply("550 5.1.1 unknown")] * 2}, (4, 0), (3, 0), "550 5.1.1 unknown"),
    "DATA": ({Step.DATA: [reply("452 4.3.1 full")]}, (4, 0), (4, 0), "452 4.3.1 full"),
    "final dot": ({Step.DOT: [reply("451 4.3.0 busy")] * 2}, (3, 0), (3, 0), "451 4.3.0 busy"),
    "lines": ({Step.DOT: [reply("451-4.3.0 still", "451 4.3.0 busy")]}, (4, 0), (4, 0), "451-4.3.0 still"),
    "closed": ({Step.DOT: [close()]}, (4, 1), (4, 1), "connection closed"),
    "garbage": ({Step.DOT: [send(b"hello there\r\n", then=After.CLOSE)]}, (4, 1), (4, 1), "not an SMTP reply"),
}
"""What the server answers; of five messages how many are accepted and how often a connection is opened again, with
PIPELINING and without; what is told of it. Where DATA went out with what was refused, and got 354, only a new
connection helps; without PIPELINING the second RCPT is not sent when the first is refused."""


@pytest.mark.parametrize(("steps", "together", "one_by_one", "sample"), UNKIND.values(), ids=UNKIND)
@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "one by one"])
def test_load_counts_what_was_not_accepted(
    programs: dict[str, Path],
    tmp_path: Path,
    steps: Mapping[Step, Act | Sequence[Act]],
    together: tuple[int, int],
    one_by_one: tuple[int, int],
    sample: str,
    pipelining: bool,
) -> None:
    """A refused or lost message is an error, said with the reply, and the others are sent all the same."""
    file = tmp_path / "message"
    file.write_bytes(TEXT)
    accepted, reconnects = together if pipelining else one_by_one
    with ScriptedSink(Script(steps), extensions=EXTENSIONS if pipelining else ("SIZE 1000000",)) as server:
        load = send_all(programs, server.port, file, messages=5, sessions=1)
        delivered = [delivery for delivery in server.deliveries if delivery.accepted]
    assert (load.messages, load.errors, load.reconnects) == (accepted, 5 - accepted, reconnects)
    assert load.pipelining is (pipelining and accepted > 0)
    assert len(delivered) == accepted
    assert any(sample in text for text in load.samples)
    assert not load.timed_out


def test_load_gives_up_in_time(programs: dict[str, Path], tmp_path: Path) -> None:
    """A server that says nothing more does not hold the load generator for longer than it was told."""
    file = tmp_path / "message"
    file.write_bytes(TEXT)
    with ScriptedSink(Script({Step.DOT: send(b"", then=After.HANG)})) as server:
        load = run_load(
            programs["load"], port=server.port, message=file, sender="a@x", recipients=["b@y"], messages=2, seconds=1
        )
    assert load.timed_out
    assert load.errors == 2


def test_load_without_a_server(programs: dict[str, Path], tmp_path: Path) -> None:
    """Where nobody listens, nothing is sent and the reason is said."""
    file = tmp_path / "message"
    file.write_bytes(TEXT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    load = send_all(programs, port, file, messages=3, sessions=2)
    assert (load.messages, load.errors) == (0, 3)
    assert "refused" in load.samples[0]
