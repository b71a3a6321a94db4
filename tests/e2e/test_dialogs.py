"""Hostile and edge conversations against the real listener: each gets a bounded, classified answer.

A conversation is a file, ``tests/dialogs/*.smtp``, in the language of :mod:`tests.support.dialog`. Its directives say
which listener it is held with (``users``), how its transactions end (``outcomes``), how many messages arrive upstream
(``arrives``, 0 by default), and the body of the last of them. Each is held twice: in the pieces of the file, and in
segments of a few octets, unless it says ``whole``.
"""

from __future__ import annotations

import ast
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.corpora import CORPORA
from tests.support.dialog import Dialog, read_directives, run_dialog
from tests.support.house import House
from tests.support.letters import Letter
from tests.support.openssl import OpenSsl
from tests.support.peers import wait_for
from tests.support.process import GatewayProcess
from tests.support.sink import Delivery, Sink
from tests.support.tls import write_tls_files

pytestmark = pytest.mark.e2e

DIALOGS = sorted((Path(__file__).parents[1] / "dialogs").glob("*.smtp"))
ALICE, BOB = "alice@acme.example", "bob@acme.example"
CAROL = "carol@bank.example"

REJECTED = """
  - name: rejected
    match: {recipient: "*@rejected.example"}
    then: reject
"""


@dataclass(frozen=True)
class World:
    """One gateway and its upstream; conversations are told apart by what is new since they began."""

    gateway: GatewayProcess
    sink: Sink
    tls: ssl.SSLContext
    values: dict[str, str]

    def counts(self) -> tuple[int, int]:
        """Return how many transactions and deliveries there have been."""
        return len(self.gateway.log("transaction")), len(self.sink.deliveries)

    def new(self, before: tuple[int, int], transactions: int) -> tuple[list[str], list[Delivery]]:
        """Return outcomes and deliveries since ``before``, when there are so many transactions."""
        self.gateway.wait_log("transaction", count=before[0] + transactions)
        outcomes = [event["outcome"] for event in self.gateway.log("transaction")[before[0] :]]
        return outcomes, self.sink.deliveries[before[1] :]

    def assert_well(self) -> None:
        """The gateway has met nothing that it did not foresee, and takes mail."""
        assert self.gateway.log("unexpected") == []
        assert not any("Traceback" in line for line in self.gateway.lines)
        before = self.counts()
        with Dialog(self.gateway.host, self.gateway.port("users")) as talk:
            talk.expect("220")
            talk.command("EHLO after.test", "250")
            talk.command(f"MAIL FROM:<{ALICE}>", "250")
            talk.command(f"RCPT TO:<{BOB}>", "250")
            talk.message(Letter.plain(sender=ALICE, to=BOB).octets, "250")
        outcomes, deliveries = self.new(before, 1)
        assert (outcomes, len(deliveries)) == (["accepted"], 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Start it once."""
    house = House(tmp_path_factory.mktemp("house"))
    policy = (house.folder / "policies" / "10-main.yaml").read_text().replace("rules:\n", f"rules:{REJECTED}", 1)
    tls = write_tls_files(house.folder)
    proof = {"networks": ["127.0.0.0/8"]}
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        house.write(
            (sink.host, sink.port),
            policy=policy,
            listeners={
                "users": {"sender_proof": proof},
                "border": {"client": "queueing"},
                "tls": {"sender_proof": proof, "tls": {"mode": "offered", "certificate": "tls.pem"}},
            },
            limits={"message": "1MiB", "recipients": 100},
        )
        gateway = stack.enter_context(GatewayProcess(house.settings))
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.check_hostname = False
        yield World(gateway, sink, context, make_values(house, tmp_path_factory.mktemp("openssl")))


def make_values(house: House, folder: Path) -> dict[str, str]:
    """Return what the files put in for ``${name}``: messages, escaped as the language wants them."""
    openssl = OpenSsl(folder, anchors=house.anchors())
    letter = Letter.plain(sender=CAROL, to=ALICE)
    signed = openssl.sign(letter.entity, house.people[CAROL])
    closed = openssl.encrypt(letter.entity, house.people[ALICE])
    header, _, body = closed.partition(b"\r\n\r\n")
    lines = body.split(b"\r\n")
    middle = len(lines) // 2
    text_part, signature = signed.split(b"Content-Type: application/pkcs7-signature", 1)
    signature_header, _, signature_body = signature.partition(b"\r\n\r\n")
    boundary = b"\r\n\r\n------" + signed.partition(b'boundary="----')[2].partition(b'"')[0] + b"--\r\n"
    messages = {
        "truncated": header + b"\r\n\r\n" + b"\r\n".join(lines[:middle]) + b"\r\n",
        "no_der": header + b"\r\n\r\nbm90IERFUiBhdCBhbGwsIGp1c3QgdGV4dA==\r\n",
        "no_base64": header + b"\r\n\r\n!!!! this is no base64 !!!!\r\n",
        # The last block of the ciphertext: the padding is wrong.
        "flipped": header + b"\r\n\r\n" + b"\r\n".join(_flip(lines)) + b"\r\n",
        "signature_truncated": text_part
        + b"Content-Type: application/pkcs7-signature"
        + signature_header
        + b"\r\n\r\n"
        + b"\r\n".join(signature_body.split(b"\r\n")[:10])
        + boundary,
        "signature_missing": text_part
        + b"Content-Type: application/pkcs7-signature"
        + signature_header
        + b"\r\n\r\n\r\n"
        + boundary,
    }
    values = {name: escape(letter.fields + entity) for name, entity in messages.items()}
    values["nested"] = escape(f"From: {ALICE}\r\n".encode() + nested(1000))
    values["hundred_times_250"] = "\n".join(["< 250"] * 100)
    return values


def _flip(lines: list[bytes]) -> list[bytes]:
    """Change some octets near the end of base64 lines."""
    last = max(number for number, line in enumerate(lines) if len(line) > 8)
    changed = lines[last][:-8] + (b"AAAA" if lines[last][-8:-4] != b"AAAA" else b"BBBB") + lines[last][-4:]
    return [*lines[:last], changed, *lines[last + 1 :]]


def nested(depth: int) -> bytes:
    """Return an entity of so many multiparts, each the only part of the one around it."""
    opening = (f'Content-Type: multipart/mixed; boundary="{n}"\r\n\r\n--{n}\r\n' for n in range(depth))
    closing = (f"--{n}--\r\n" for n in reversed(range(depth)))
    return "".join([*opening, "Content-Type: text/plain\r\n\r\nx\r\n", *closing]).encode()


def escape(octets: bytes) -> str:
    """Write octets as the inside of a literal of the language."""
    return repr(octets)[2:-1].replace('"', '\\"').replace("\\'", "'")


# ---------------------------------------------------------------- the files


SPLIT = [(file, 7) for file in DIALOGS if "whole" not in read_directives(file.read_text("utf-8"))]


@pytest.mark.parametrize(
    ("file", "split"),
    [(file, 0) for file in DIALOGS] + SPLIT,
    ids=[file.stem for file in DIALOGS] + [f"{file.stem} in segments" for file, _ in SPLIT],
)
def test_dialog(world: World, file: Path, split: int) -> None:
    """The conversation goes as the file says, and so does what becomes of its messages."""
    text = file.read_text("utf-8")
    says = read_directives(text)
    expected = says.get("outcomes", [])
    before = world.counts()
    if split and is_large(text, world.values):
        split = 5000
    gateway, [listener] = world.gateway, says.get("listener", ["users"])

    run_dialog(text, gateway.host, gateway.port(listener), values=world.values, tls=world.tls, seconds=10, split=split)

    outcomes, deliveries = world.new(before, len(expected))
    assert outcomes == expected
    assert len(deliveries) == int(says.get("arrives", ["0"])[0])
    for delivery in deliveries:
        assert find_bare(delivery.wire) == []
    if "body" in says:
        [body] = says["body"]
        assert deliveries[-1].content.partition(b"\r\n\r\n")[2] == ast.literal_eval(f"b'{body}'")
    world.assert_well()


def is_large(text: str, values: dict[str, str]) -> bool:
    """Whether a file sends more than some kilobytes."""
    repeated = sum(len(line) * int(times) for line, times in re.findall(r'^>> (".*") \* (\d+)$', text, re.MULTILINE))
    filled = sum(len(values[name]) for name in re.findall(r"\$\{(\w+)\}", text))
    return repeated + filled > 20_000


def find_bare(wire: bytes) -> list[bytes]:
    """Return every CR and LF that is not half of a CRLF, and every NUL."""
    return re.findall(rb"\r(?!\n)|(?<!\r)\n|\0", wire)


# ---------------------------------------------------------------- smuggling

ENDS = {
    name: name.encode().replace(b"CR", b"\r").replace(b"LF", b"\n").replace(b"NUL", b"\0").replace(b" ", b"")
    for name in (
        "LF . LF",
        "LF . CR LF",
        "LF . CR",
        "CR . CR",
        "CR . LF",
        "CR . CR LF",
        "CR LF . LF",
        "CR LF . CR",
        "CR LF . CR CR LF",
        "CR CR LF . CR CR LF",
        "CR LF NUL . CR LF",
        "CR LF . NUL CR LF",
        "LF LF . CR LF",
        "LF CR . CR LF",
    )
}
"""What has been taken for the end of the data by some server."""
TAIL = (
    b"MAIL FROM:<smuggled@evil.test>\r\nRCPT TO:<victim@acme.example>\r\nDATA\r\n"
    b"From: smuggled@evil.test\r\n\r\nx\r\n.\r\n"
)


def begin(world: World, talk: Dialog, listener: str) -> None:
    sender, to = (CAROL, BOB) if listener == "border" else (ALICE, BOB)
    talk.expect("220")
    talk.command("EHLO client.test", "250")
    talk.command(f"MAIL FROM:<{sender}>", "250")
    talk.command(f"RCPT TO:<{to}>", "250")
    talk.command("DATA", "354")


def assert_nothing_smuggled(world: World, before: tuple[int, int], first: int) -> None:
    """At most one message arrived, and neither it nor any command names what was smuggled."""
    deliveries = world.sink.deliveries[before[1] :]
    assert len(deliveries) <= 1
    for delivery in deliveries:
        assert find_bare(delivery.wire) == []
    for connection in world.sink.connections[first:]:
        assert not any(b"smuggled" in line or b"victim" in line for line in connection.commands)


@pytest.mark.parametrize("split", [0, 1], ids=["at once", "octet by octet"])
@pytest.mark.parametrize("listener", ["users", "border"])
@pytest.mark.parametrize("end", ENDS)
def test_a_false_end_of_data_ends_nothing(world: World, end: str, listener: str, split: int) -> None:
    """Everything up to the true end is one message, and that is refused; no command in it is run."""
    before, first = world.counts(), len(world.sink.connections)
    with Dialog(world.gateway.host, world.gateway.port(listener), split=split) as talk:
        begin(world, talk, listener)
        talk.send(b"From: x@acme.example\r\n\r\nfirst" + ENDS[end] + TAIL)
        talk.expect("550", r"5\.6\.0 (bare CR or LF|NUL octet)")
        talk.command("QUIT", "221")
        talk.expect_closed()
    outcomes, _ = world.new(before, 1)
    assert outcomes in (["bare-line-ending"], ["nul-octet"])
    assert_nothing_smuggled(world, before, first)
    world.assert_well()


STREAMS = sorted((CORPORA / "attack-smtp-smuggling").glob("data-*.bin"))


@pytest.mark.corpora
@pytest.mark.skipif(not STREAMS, reason=f"no corpus attack-smtp-smuggling in {CORPORA} (SMIME_CORPORA)")
@pytest.mark.parametrize("split", [0, 1], ids=["at once", "octet by octet"])
@pytest.mark.parametrize("stream", STREAMS, ids=lambda file: file.stem)
def test_streams_of_others(world: World, stream: Path, split: int) -> None:
    """Published streams: the upstream sees one message at most, and no bare CR or LF."""
    before, first = world.counts(), len(world.sink.connections)
    with Dialog(world.gateway.host, world.gateway.port("border"), split=split) as talk:
        begin(world, talk, "border")
        octets = stream.read_bytes()
        talk.send(octets if octets.endswith(b"\r\n.\r\n") else octets + b"\r\n.\r\n")
        talk.expect("550", r"5\.6\.0")
        talk.half_close()
        while talk.receive():
            pass
    world.new(before, 1)
    assert_nothing_smuggled(world, before, first)
    world.assert_well()


# ---------------------------------------------------------------- a client that hears and speaks no more

PIPELINED = (
    b"EHLO client.test\r\nMAIL FROM:<alice@acme.example>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n"
    b"From: alice@acme.example\r\n\r\nx\r\n.\r\n"
)


@pytest.mark.parametrize("after", [b"", b"QUIT\r\n"], ids=["the dot", "QUIT"])
def test_half_close_after(world: World, after: bytes) -> None:
    """Everything is answered, then the connection ends. 250 means that it has arrived, anything else that it has not.

    A client that has closed its side has nearly always given up; so it may hear 451 and try again.
    """
    before = world.counts()
    with Dialog(world.gateway.host, world.gateway.port("users")) as talk:
        talk.expect("220")
        talk.send(PIPELINED + after)
        talk.half_close()
        for code in ("250", "250", "250", "354"):
            talk.expect(code)
        answer = talk.expect("250|451")
        if after:
            talk.expect("221")
        talk.expect_closed()
    outcomes, deliveries = world.new(before, 1)
    assert (answer.code, outcomes, len(deliveries)) in (
        ("250", ["accepted"], 1),
        ("451", ["client-gone"], 0),
    )
    world.assert_well()


# ---------------------------------------------------------------- many at once


def test_a_crowd_of_silent_clients_holds_nobody_up(world: World) -> None:
    """Two hundred sessions that say nothing, half a command, or half a message; mail goes on beside them."""
    with ExitStack() as stack:
        for number in range(200):
            talk = stack.enter_context(Dialog(world.gateway.host, world.gateway.port("border")))
            talk.expect("220")
            if number % 3 == 1:
                talk.send(b"EHLO cli")
            if number % 3 == 2:
                talk.command("EHLO client.test", "250")
                talk.command(f"MAIL FROM:<{CAROL}>", "250")
                talk.command(f"RCPT TO:<{BOB}>", "250")
                talk.command("DATA", "354")
                talk.send(b"From: carol@bank.example\r\n\r\nhalf")
        world.assert_well()
        before = world.counts()
    outcomes, _ = world.new(before, 66)
    assert set(outcomes) == {"client-gone"}
    wait_for(lambda: world.gateway.metric("smime_gateway_sessions_open", listener="border") == 0, what="all gone")
    world.assert_well()


def test_a_client_that_does_not_read(world: World) -> None:
    """Replies that nobody takes hold up their own session only."""
    with Dialog(world.gateway.host, world.gateway.port("users"), seconds=1) as deaf:
        with pytest.raises((TimeoutError, ConnectionError)):
            say_without_hearing(deaf, 30_000_000)
        world.assert_well()


def say_without_hearing(talk: Dialog, octets: int) -> None:
    """Send commands of so many octets, and read no reply."""
    command = b"HELP\r\n"
    for _ in range(octets // (len(command) * 10_000)):
        talk.send(command * 10_000)
