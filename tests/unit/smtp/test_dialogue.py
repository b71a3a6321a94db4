"""The dialogue with a next hop: every command by every kind of reply, and the octets that go out.

Replies are classified totally: what is not certainly a yes or a no breaks the connection, and a broken one never
carries another transaction. The table asks through :class:`gateway.smtp.upstream.Upstream`, so that what becomes of the
connection afterwards is seen from outside: whether the next transaction comes on it, or on a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import pytest

from gateway.address import Address
from gateway.envelope import NULL_PATH, Path
from gateway.errors import UpstreamBroken, UpstreamUnavailable
from gateway.outcome import Reply
from gateway.smtp.connection import Connection
from gateway.smtp.dialer import dial
from gateway.smtp.dialogue import MOST_HELD, Dialogue, UpstreamOptions
from gateway.smtp.upstream import LentSession, Upstream
from tests.support.loopback import (
    SECONDS,
    SHORT,
    Hop,
    Peer,
    Run,
    next_hop,
    tls_material,
    turn,
    until,
    unverified_context,
)
from tests.support.script import Act, After, Script, Step, close, default, hang, reply, reset, send
from tests.support.sink import EXTENSIONS, Sink

ALICE, BOB, CAROL = (
    Path(octets=address.encode(), address=Address(address))
    for address in ("alice@acme.example", "Bob.B@Bank.Example", '"carol c"@bank.example')
)
SMALL = (b"Subject: x\r\n\r\nHello\r\n", b".dot\r\n")
LARGE = (b"Subject: x\r\n\r\n", b".x" * 40 + b"\r\n", (b"." + b"y" * 77 + b"\r\n") * (MOST_HELD // 80 + 1))


def options(host: str, port: int, **more: Any) -> UpstreamOptions:
    return UpstreamOptions(
        **{
            "name": "next",
            "host": host,
            "port": port,
            "hostname": "gw1.acme.example",
            "connect_timeout": SECONDS,
            "reply_timeout": SECONDS,
            "final_timeout": SECONDS,
            **more,
        }
    )


# ---------------------------------------------------------------- the table


class Changing(Script):
    """A script that is changed from test to test, so that one server serves all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.current = Script()

    def next_act(self, step: Step) -> Act:
        return self.current.next_act(step)


SCRIPT = Changing()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    """An upstream double, by :data:`SCRIPT`; it offers STARTTLS."""
    context = tls_material().server_context(tmp_path_factory.mktemp("tls"))
    with Sink(SCRIPT, tls=context) as running:
        yield running


class Outcome:
    """What a command comes to."""

    POSITIVE = "positive"
    REFUSED = "refused"
    BROKEN = "broken"
    CLOSING = "refused, and the connection is closed"


def replies_to(code: str, other: str, interim: str) -> dict[str, tuple[Act, str]]:
    """Return every kind of reply to a command that is to be answered with ``code``: the act, and what it comes to."""
    yes = f"{code} 2.0.0 fine\r\n".encode()
    return {
        "expected": (default(), Outcome.POSITIVE),
        "expected, octet by octet": (default(split=1), Outcome.POSITIVE),
        "expected, then the end": (default(then=After.CLOSE), Outcome.POSITIVE),
        "another 2yz": (reply(f"{other} 2.0.0 odd"), Outcome.BROKEN),
        "3yz out of place": (reply(f"{interim} go on"), Outcome.BROKEN),
        "4yz": (reply("451-4.3.0 busy", "451 4.3.0 very busy"), Outcome.REFUSED),
        "5yz": (reply("550 5.7.1 no"), Outcome.REFUSED),
        "5yz, then the end": (reply("554 5.7.1 never", then=After.CLOSE), Outcome.REFUSED),
        "421": (reply("421 4.3.2 shutting down", then=After.CLOSE), Outcome.CLOSING),
        "421 and goes on": (reply("421 4.3.2 shutting down"), Outcome.CLOSING),
        "1yz": (reply("150 wait"), Outcome.BROKEN),
        "6yz": (reply("650 what"), Outcome.BROKEN),
        "garbage": (send(b"\x16\x03\x01\x02\r\n"), Outcome.BROKEN),
        "an empty line": (send(b"\r\n"), Outcome.BROKEN),
        "bare LF": (send(yes.replace(b"\r\n", b"\n")), Outcome.BROKEN),
        "half a reply, then the end": (send(yes[:-2], then=After.CLOSE), Outcome.BROKEN),
        "one line of two, then the end": (send(yes.replace(b" ", b"-", 1), then=After.CLOSE), Outcome.BROKEN),
        "half a reply, then nothing": (send(yes[:-1], then=After.HANG), Outcome.BROKEN),
        "two replies at once": (send(yes + yes), Outcome.BROKEN),
        "yes and no at once": (send(yes + b"550 5.7.1 no\r\n"), Outcome.BROKEN),
        "a reply and half of another": (send(yes + b"25"), Outcome.BROKEN),
        "silence": (hang(), Outcome.BROKEN),
        "the end": (close(), Outcome.BROKEN),
        "reset": (reset(), Outcome.BROKEN),
    }


Ask = Callable[[LentSession], Awaitable[Reply | None]]


async def ask_mail(session: LentSession) -> Reply:
    return await session.mail(ALICE)


async def ask_rcpt(session: LentSession) -> Reply:
    await session.mail(ALICE)
    return await session.rcpt(BOB)


async def ask_begin_mail(session: LentSession) -> Reply:
    first, _ = await session.begin(ALICE, [BOB])
    return first


async def ask_begin_last(session: LentSession) -> Reply:
    first, rest = await session.begin(ALICE, [BOB, CAROL])
    assert first.is_positive
    assert rest[0].is_positive
    return rest[1]


async def ask_data(session: LentSession) -> Reply | None:
    await session.begin(ALICE, [BOB])
    return await session.data(SMALL)


async def ask_dot(session: LentSession) -> Reply:
    await session.begin(ALICE, [BOB])
    assert await session.data(LARGE) is None
    return await session.finish()


async def ask_held_dot(session: LentSession) -> Reply:
    await session.begin(ALICE, [BOB])
    assert await session.data(SMALL, hold=True) is None
    return await session.finish()


@dataclass(frozen=True, slots=True)
class Command:
    """A row: the step at which the upstream answers, after how many usual answers, and what is asked."""

    step: Step
    ask: Ask
    code: str = "250"
    other: str = "252"
    interim: str = "354"
    after: int = 0


COMMANDS = {
    "MAIL": Command(Step.MAIL, ask_mail),
    "RCPT": Command(Step.RCPT, ask_rcpt),
    "MAIL pipelined": Command(Step.MAIL, ask_begin_mail),
    "RCPT pipelined, the last": Command(Step.RCPT, ask_begin_last, after=1),
    "DATA": Command(Step.DATA, ask_data, code="354", other="250", interim="334"),
    "final dot": Command(Step.DOT, ask_dot),
    "final dot with the content": Command(Step.DOT, ask_held_dot),
}
TABLE = [
    pytest.param(command, act, outcome, id=f"{name}: {kind}")
    for name, command in COMMANDS.items()
    for kind, (act, outcome) in replies_to(command.code, command.other, command.interim).items()
    # A next hop that ends right behind MAIL has not answered the RCPTs that were pipelined; that it says one reply too
    # many shows one reply later (test_replies_that_are_one_ahead_...).
    if not (name == "MAIL pipelined" and (act.then is not After.GO_ON or kind.endswith("at once")))
]


@pytest.mark.parametrize(("command", "act", "outcome"), TABLE)
def test_every_command_by_every_kind_of_reply(run: Run, served: Sink, command: Command, act: Act, outcome: str) -> None:
    """What is asked comes to a reply or to UpstreamBroken; only what ended well carries another transaction."""
    acts = {command.step: [default()] * command.after + [act]}
    if command.ask is ask_begin_mail and outcome != Outcome.POSITIVE:
        acts[Step.RCPT] = [reply("503 5.5.1 MAIL first")]
    SCRIPT.current = Script(acts)
    lost: list[str] = []
    is_silent = act.then is After.HANG

    async def main() -> None:
        limits = {"reply_timeout": SHORT, "final_timeout": SHORT} if is_silent else {}
        upstream = Upstream(options(served.host, served.port, **limits), dial, lost.append)
        session = await upstream.connect()
        count = len(served.connections)
        if outcome == Outcome.BROKEN:
            with pytest.raises(UpstreamBroken):
                await command.ask(session)
        else:
            assert_reply(await command.ask(session), outcome, command)
        session.release()
        assert lost == [] or outcome != Outcome.POSITIVE or act.then is After.CLOSE
        is_good = outcome in (Outcome.POSITIVE, Outcome.REFUSED) and act.then is After.GO_ON
        # Between 354 and the final dot only closing keeps the message from being taken.
        is_good = is_good and not (command.step is Step.DATA and outcome == Outcome.POSITIVE)
        await assert_next(upstream, served, count, is_reused=is_good)
        upstream.close()

    run(main())
    if outcome in (Outcome.BROKEN, Outcome.CLOSING):
        assert len(lost) == 1


def assert_reply(found: Reply | None, outcome: str, command: Command) -> None:
    if outcome == Outcome.POSITIVE:
        assert found is None or found.code == 250
        return
    assert found is not None
    assert found.is_transient or found.is_permanent
    assert (found.code == 421) == (outcome == Outcome.CLOSING)


async def assert_next(upstream: Upstream, served: Sink, count: int, *, is_reused: bool) -> None:
    """See on which connection the next transaction comes."""
    SCRIPT.current = Script()
    # RSET, where it is needed, runs in the background; an end that follows a reply is seen when it comes.
    await until(lambda: upstream.idle == is_reused)
    session = await upstream.connect()
    assert (await session.mail(BOB)).code == 250
    assert len(served.connections) == count + (not is_reused)
    assert served.connections[-1].commands[-1].startswith(b"MAIL FROM:<Bob.B@Bank.Example>")
    session.discard()


OPENINGS = {
    "greeting": (Step.CONNECT, "220", "250", "354"),
    "EHLO": (Step.EHLO, "250", "252", "354"),
    "STARTTLS": (Step.STARTTLS, "220", "250", "354"),
}


@pytest.mark.parametrize(
    ("name", "act", "outcome"),
    [
        pytest.param(name, act, outcome, id=f"{name}: {kind}")
        for name, (_, code, other, interim) in OPENINGS.items()
        for kind, (act, outcome) in replies_to(code, other, interim).items()
    ],
)
def test_every_opening_by_every_kind_of_reply(run: Run, served: Sink, name: str, act: Act, outcome: str) -> None:
    """A connection is had, or not: what is refused while it is opened is as unavailable as what breaks."""
    step = OPENINGS[name][0]
    SCRIPT.current = Script({step: [act]})
    lost: list[str] = []
    limits = {"reply_timeout": SHORT} if act.then is After.HANG else {}
    tls = tls_material().client_context()

    async def main() -> None:
        upstream = Upstream(options(served.host, served.port, tls=tls, tls_required=True, **limits), dial, lost.append)
        if outcome == Outcome.POSITIVE and act.then is After.GO_ON:
            session = await upstream.connect()
            assert session.facts.dsn
            assert served.connections[-1].verbs == ["EHLO", "STARTTLS", "EHLO"]
            session.discard()
            assert lost == []
            return
        with pytest.raises(UpstreamUnavailable) as caught:
            await upstream.connect()
        assert str(caught.value) == f"next ({served.host}:{served.port}): {lost[0]}"
        assert len(lost) == 1

    run(main())


# ---------------------------------------------------------------- too early


EARLY = {
    "250": b"250 2.0.0 taken\r\n",
    "half of it": b"250 2.0.",
    "552": b"552 5.3.4 too large\r\n",
    "421": b"421 bye\r\n",
}


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
@pytest.mark.parametrize("hold", [False, True], ids=["sent", "held"])
def test_a_reply_before_the_final_dot_accepts_nothing(run: Run, early: bytes, hold: bool) -> None:
    """It is here before the dot is sent, unread: the dot is not sent."""

    async def main() -> None:
        async with asked_to(b"MAIL", b"RCPT") as (session, peer):
            task = asyncio.create_task(session.data(SMALL, hold=hold))
            await peer.hear(b"DATA\r\n")
            peer.say(b"354 go on\r\n")
            assert await task is None
            peer.say(early)
            with pytest.raises(UpstreamBroken):
                await session.finish()
            await until(lambda: peer.has_end)
            assert not peer.received.endswith(b"\r\n.\r\n")

    run(main())


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
def test_a_reply_while_the_content_is_sent_ends_it(run: Run, early: bytes) -> None:
    async def main() -> None:
        async with asked_to(b"MAIL", b"RCPT") as (session, peer):
            content = (b"x" * 78 + b"\r\n") * 200_000
            task = asyncio.create_task(session.data([content]))
            await peer.hear(b"DATA\r\n")
            peer.transport.pause_reading()
            peer.say(b"354 go on\r\n")
            await turn()
            peer.say(early)
            with pytest.raises(UpstreamBroken):
                await task
            with pytest.raises(UpstreamBroken):
                await session.finish()

    run(main())


def test_replies_that_are_one_ahead_are_found_out_before_anything_counts(run: Run) -> None:
    """A next hop that says one reply too many: seen at once, or taken for the answer to MAIL until DATA shows it."""

    async def send(session: LentSession) -> None:
        await session.mail(ALICE)
        await session.rcpt(BOB)
        await session.data(SMALL)

    async def main() -> None:
        async with asked_to() as (session, peer):
            peer.say(b"250 one too many\r\n")
            task = asyncio.create_task(send(session))
            for answer in (b"250 mail\r\n", b"250 rcpt\r\n", b"354 go on\r\n"):
                await until(lambda: peer.received or peer.has_end)
                peer.received.clear()
                peer.say(answer)
            with pytest.raises(UpstreamBroken):
                await task
            with pytest.raises(UpstreamBroken):
                await session.finish()

    run(main())


@asynccontextmanager
async def asked_to(*commands: bytes, extensions: bytes = b"", **more: Any) -> AsyncIterator[tuple[LentSession, Peer]]:
    """A session that has said these commands and heard 250 to each, and the next hop's side of it."""
    async with next_hop(b"220 hop.test\r\n") as hop:
        upstream = Upstream(options(hop.host, hop.port, **more), dial, lambda _: None)
        session, peer = await lend(upstream, hop, extensions + b"250 hop.test\r\n")
        for command in commands:
            task = asyncio.create_task(session.mail(ALICE) if command == b"MAIL" else session.rcpt(BOB))
            await peer.hear(b"\r\n")
            peer.say(b"250 ok\r\n")
            assert (await task).code == 250
        yield session, peer
        session.discard()
        upstream.close()


async def lend(upstream: Upstream, hop: Hop, ehlo: bytes) -> tuple[LentSession, Peer]:
    """Let a session be opened by hand."""
    task = asyncio.create_task(upstream.connect())
    peer = await hop.peer(len(hop.peers))
    assert await peer.hear(b"\r\n") == b"EHLO gw1.acme.example\r\n"
    peer.say(ehlo)
    return await task, peer


# ---------------------------------------------------------------- what goes out


async def opened(sink: Sink, **more: Any) -> LentSession:
    upstream = Upstream(options(sink.host, sink.port, **more), dial, lambda _: None)
    return await upstream.connect()


UTF8 = Path(octets="jürgen@acme.example".encode(), address=Address("jürgen@acme.example"))
MAILS: dict[str, tuple[tuple[str, ...], Path, dict[str, bool], bytes]] = {
    "nothing offered": ((), ALICE, {}, b"MAIL FROM:<alice@acme.example>"),
    "null": ((), NULL_PATH, {}, b"MAIL FROM:<>"),
    "8BITMIME": (("8BITMIME",), ALICE, {}, b"MAIL FROM:<alice@acme.example> BODY=8BITMIME"),
    "in lower case": (("8bitmime",), ALICE, {}, b"MAIL FROM:<alice@acme.example> BODY=8BITMIME"),
    "case and quotes of a path": ((), CAROL, {}, b'MAIL FROM:<"carol c"@bank.example>'),
    "SMTPUTF8 not asked for": (("SMTPUTF8",), ALICE, {}, b"MAIL FROM:<alice@acme.example>"),
    "SMTPUTF8": (
        ("8BITMIME", "SMTPUTF8"),
        UTF8,
        {"smtputf8": True},
        b"MAIL FROM:<j\xc3\xbcrgen@acme.example> BODY=8BITMIME SMTPUTF8",
    ),
    "RET=HDRS": (("DSN",), ALICE, {"headers_only": True}, b"MAIL FROM:<alice@acme.example> RET=HDRS"),
    "RET=HDRS without DSN": ((), ALICE, {"headers_only": True}, b"MAIL FROM:<alice@acme.example>"),
    "DSN without need": (("DSN",), ALICE, {}, b"MAIL FROM:<alice@acme.example>"),
    "everything": (
        EXTENSIONS,
        UTF8,
        {"smtputf8": True, "headers_only": True},
        b"MAIL FROM:<j\xc3\xbcrgen@acme.example> BODY=8BITMIME SMTPUTF8 RET=HDRS",
    ),
}


@pytest.mark.parametrize(("extensions", "path", "asked", "line"), MAILS.values(), ids=MAILS)
@pytest.mark.parametrize("pipelines", [False, True], ids=["one by one", "pipelined"])
def test_mail_to_the_octet(
    run: Run, extensions: tuple[str, ...], path: Path, asked: dict[str, bool], line: bytes, pipelines: bool
) -> None:
    """Parameters only where they are offered, paths verbatim; SIZE and BODY of the client are nowhere."""
    words = (*(word for word in extensions if word != "PIPELINING"), *(["PIPELINING"] if pipelines else []))

    async def main() -> None:
        async with asked_to(extensions=b"".join(f"250-{word}\r\n".encode() for word in ("hop.test", *words))) as (
            session,
            peer,
        ):
            task = asyncio.create_task(session.mail(path, **asked))
            assert await peer.hear(b"\r\n") == line + b"\r\n"
            peer.say(b"550 no\r\n")
            assert (await task).code == 550
            task = asyncio.create_task(session.begin(path, [BOB], **asked))  # type: ignore[arg-type]
            if pipelines:
                assert await peer.hear(b"Example>\r\n") == line + b"\r\nRCPT TO:<Bob.B@Bank.Example>\r\n"
            else:
                assert await peer.hear(b"\r\n") == line + b"\r\n"
                peer.say(b"250 ok\r\n")
                assert await peer.hear(b"\r\n") == b"RCPT TO:<Bob.B@Bank.Example>\r\n"
            peer.say(b"250 ok\r\n250 ok\r\n" if pipelines else b"250 ok\r\n")
            await task

    run(main())


def test_pipelined_commands_go_out_in_one_write(run: Run) -> None:
    async def main() -> None:
        async with asked_to(extensions=b"250-hop.test\r\n250-PIPELINING\r\n") as (session, peer):
            task = asyncio.create_task(session.begin(ALICE, [BOB, CAROL, BOB]))
            await until(lambda: peer.chunks)
            assert peer.chunks == [
                b"MAIL FROM:<alice@acme.example>\r\nRCPT TO:<Bob.B@Bank.Example>\r\n"
                b'RCPT TO:<"carol c"@bank.example>\r\nRCPT TO:<Bob.B@Bank.Example>\r\n'
            ]
            peer.say(b"250 ok\r\n251 will forward\r\n550 5.1.1 no\r\n452 4.5.3 too many\r\n")
            mail, replies = await task
            assert mail.code == 250
            assert [one.code for one in replies] == [251, 550, 452]

    run(main())


def test_without_pipelining_a_refused_mail_is_the_last_that_is_asked(run: Run) -> None:
    async def main() -> None:
        async with asked_to() as (session, peer):
            task = asyncio.create_task(session.begin(ALICE, [BOB]))
            await peer.hear(b"\r\n")
            peer.say(b"451 4.3.0 busy\r\n")
            assert await task == (Reply(451, "4.3.0", ("busy",)), ())
            await turn()
            assert peer.received == b""

    run(main())


@pytest.mark.parametrize("rcpt", [b"250 ok", b"251 ok"])
def test_an_acceptance_behind_a_refused_mail_is_nonsense(run: Run, rcpt: bytes) -> None:
    async def main() -> None:
        async with asked_to(extensions=b"250-hop.test\r\n250-PIPELINING\r\n") as (session, peer):
            task = asyncio.create_task(session.begin(ALICE, [BOB]))
            await peer.hear(b"Example>\r\n")
            peer.say(b"550 no\r\n" + rcpt + b"\r\n")
            with pytest.raises(UpstreamBroken, match="out of place after RCPT"):
                await task

    run(main())


def test_refusals_behind_a_refused_mail_are_in_order(run: Run) -> None:
    async def main() -> None:
        async with asked_to(extensions=b"250-hop.test\r\n250-PIPELINING\r\n") as (session, peer):
            task = asyncio.create_task(session.begin(ALICE, [BOB]))
            await peer.hear(b"Example>\r\n")
            peer.say(b"550 no\r\n503 5.5.1 MAIL first\r\n")
            mail, replies = await task
            assert (mail.code, [one.code for one in replies]) == (550, [503])
            task = asyncio.create_task(session.mail(BOB))  # type: ignore[arg-type]
            assert await peer.hear(b"\r\n") == b"MAIL FROM:<Bob.B@Bank.Example>\r\n"
            peer.say(b"250 ok\r\n")
            await task

    run(main())


@pytest.mark.parametrize("hold", [False, True], ids=["sent", "held"])
@pytest.mark.parametrize("content", [(), (b"\r\n",), SMALL, LARGE], ids=["nothing", "an empty line", "small", "large"])
def test_content_arrives_as_it_is(run: Run, served: Sink, content: tuple[bytes, ...], hold: bool) -> None:
    """Dots are stuffed on the wire, wherever buffers begin, and the data end in CRLF.CRLF once."""
    SCRIPT.current = Script()

    async def main() -> None:
        session = await opened(served)
        place = len(served.connections) - 1
        await session.begin(ALICE, [BOB])
        assert await session.data(content, hold=hold) is None
        assert (await session.finish()).code == 250
        session.discard()
        [delivery] = [one for one in served.deliveries if one.connection == place]
        whole = b"".join(content)
        assert delivery.content == whole
        stuffed = (b"\r\n" + whole).replace(b"\r\n.", b"\r\n..")[2:]
        assert bytes(served.connections[place].received).endswith(b"DATA\r\n" + stuffed + b".\r\n")

    run(main())


@pytest.mark.parametrize(("content", "is_held"), [(SMALL, True), (LARGE, False)], ids=["small", "large"])
def test_what_may_be_held_back_goes_out_with_its_dot_in_one_write(
    run: Run, content: tuple[bytes, ...], is_held: bool
) -> None:
    """What is larger than the limit is sent before the dot all the same: the next hop can work on it meanwhile."""

    async def main() -> None:
        async with asked_to(b"MAIL", b"RCPT") as (session, peer):
            task = asyncio.create_task(session.data(content, hold=True))
            await peer.hear(b"DATA\r\n")
            peer.say(b"354 go on\r\n")
            assert await task is None
            await turn()
            size = sum(map(len, content))
            if is_held:
                assert peer.received == b""
            else:
                await until(lambda: len(peer.received) > size)
                assert not peer.received.endswith(b"\r\n.\r\n")
            finished = asyncio.create_task(session.finish())
            await until(lambda: peer.received.endswith(b"\r\n.\r\n"))
            if is_held:
                assert len(peer.chunks) == 1
            peer.say(b"250 2.0.0 taken\r\n")
            assert (await finished).code == 250

    run(main())


def test_nothing_of_a_held_message_is_left_for_the_next(run: Run) -> None:
    async def main() -> None:
        async with asked_to() as (session, peer):
            for content, hold in (((b"first\r\n",), True), ((b"second\r\n",), False), ((b"third\r\n",), True)):
                for asking, answer in ((session.mail(ALICE), b"250"), (session.rcpt(BOB), b"250")):
                    task = asyncio.create_task(asking)
                    await peer.hear(b"\r\n")
                    peer.say(answer + b" ok\r\n")
                    await task
                sending = asyncio.create_task(session.data(content, hold=hold))
                await peer.hear(b"DATA\r\n")
                peer.say(b"354 go on\r\n")
                await sending
                finished = asyncio.create_task(session.finish())
                assert await peer.hear(b"\r\n.\r\n") == content[0] + b".\r\n"
                peer.say(b"250 ok\r\n")
                await finished

    run(main())


def test_what_is_not_to_be_held_is_sent_before_the_dot(run: Run) -> None:
    async def main() -> None:
        async with asked_to(b"MAIL", b"RCPT") as (session, peer):
            task = asyncio.create_task(session.data(SMALL))
            await peer.hear(b"DATA\r\n")
            peer.say(b"354 go on\r\n")
            assert await task is None
            assert await peer.hear(b"..dot\r\n") == b"Subject: x\r\n\r\nHello\r\n..dot\r\n"
            finished = asyncio.create_task(session.finish())
            assert await peer.hear(b".\r\n") == b".\r\n"
            peer.say(b"250 ok\r\n")
            await finished

    run(main())


def test_quit_and_close(run: Run) -> None:
    """An idle connection is closed in order, with QUIT; one with a transaction open, or broken, just so."""

    async def main() -> None:
        async with next_hop(b"220 hop.test\r\n") as hop:
            upstream = Upstream(options(hop.host, hop.port, kept=0), dial, lambda _: None)
            session, peer = await lend(upstream, hop, b"250 hop.test\r\n")
            session.release()
            await until(lambda: peer.has_end)
            assert peer.received == b"QUIT\r\n"

            session, peer = await lend(upstream, hop, b"250 hop.test\r\n")
            task = asyncio.create_task(session.mail(ALICE))
            await peer.hear(b"\r\n")
            peer.say(b"250 ok\r\n")
            await task
            session.release()
            await until(lambda: peer.has_end)
            assert peer.received == b""

    run(main())


# ---------------------------------------------------------------- what it offers

OFFERS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "nothing": ((), {"size": None, "eight_bit": False, "smtputf8": False, "dsn": False}),
    "all": (
        ("SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN"),
        {"size": 1000, "eight_bit": True, "smtputf8": True, "dsn": True},
    ),
    "in any case": (
        ("size 1000", "8bitMIME", "smtputf8", "Dsn"),
        {"size": 1000, "eight_bit": True, "smtputf8": True, "dsn": True},
    ),
    "SIZE without a value": (("SIZE",), {"size": None}),
    "SIZE 0 is no limit (RFC 1870 4)": (("SIZE 0",), {"size": None}),
    "SIZE that is no number": (("SIZE many",), {"size": None}),
    "SIZE with a digit that is none": (("SIZE \u00b2",), {"size": None}),
    "SIZE in other digits": (("SIZE \u0661\u0662",), {"size": None}),
    "SIZE beyond all measure": (("SIZE " + "9" * 400,), {"size": int("9" * 400)}),
    "words that look alike": (("8BITMIMEX", "X-DSN", "SIZEX 5", "AUTH=LOGIN"), {"size": None, "eight_bit": False}),
    "the host's own name is no keyword": ((), {"dsn": False}),
}


@pytest.mark.parametrize(("words", "facts"), OFFERS.values(), ids=OFFERS)
def test_what_is_offered_is_read(run: Run, words: tuple[str, ...], facts: dict[str, object]) -> None:
    async def main() -> None:
        ehlo = "".join(f"250-{word}\r\n" for word in ("DSN hello", *words)).encode()
        async with asked_to(extensions=ehlo) as (session, _):
            found = session.facts
            assert {name: getattr(found, name) for name in facts} == facts

    run(main())


# ---------------------------------------------------------------- STARTTLS


async def verbs_under(sink: Sink, **more: Any) -> list[str]:
    """Open a connection; return the commands that were said."""
    session = await opened(sink, **more)
    session.discard()
    return sink.connections[-1].verbs


@pytest.fixture(scope="module")
def no_tls() -> Iterator[Sink]:
    with Sink(SCRIPT) as running:
        yield running


def test_tls_where_it_is_offered_and_after_it_ehlo_again(run: Run, served: Sink) -> None:
    SCRIPT.current = Script()

    async def main() -> None:
        for tls, is_required in ((tls_material().client_context(), True), (unverified_context(), False)):
            verbs = await verbs_under(served, tls=tls, tls_required=is_required)
            assert verbs == ["EHLO", "STARTTLS", "EHLO"]
            assert served.connections[-1].tls
        verbs = await verbs_under(served)
        assert verbs == ["EHLO"]

    run(main())


def test_tls_that_is_required_and_not_offered(run: Run, no_tls: Sink) -> None:
    SCRIPT.current = Script()

    async def main() -> None:
        with pytest.raises(UpstreamUnavailable, match="TLS is required"):
            await opened(no_tls, tls=tls_material().client_context(), tls_required=True)
        assert no_tls.connections[-1].verbs == ["EHLO"]
        verbs = await verbs_under(no_tls, tls=unverified_context())
        assert verbs == ["EHLO"]

    run(main())


def test_starttls_that_is_refused(run: Run, served: Sink) -> None:
    """Where TLS is required there is no connection then; where it is not, it goes on in clear."""

    async def main() -> None:
        SCRIPT.current = Script({Step.STARTTLS: reply("454 4.7.0 not now")})
        with pytest.raises(UpstreamUnavailable, match="TLS is required"):
            await opened(served, tls=tls_material().client_context(), tls_required=True)
        verbs = await verbs_under(served, tls=unverified_context())
        assert verbs == ["EHLO", "STARTTLS"]

    run(main())


@pytest.mark.parametrize("tls", [tls_material("Foreign").client_context()], ids=["an unknown CA"])
def test_a_certificate_that_does_not_verify_is_no_connection(run: Run, served: Sink, tls: Any) -> None:
    SCRIPT.current = Script()

    async def main() -> None:
        with pytest.raises(UpstreamUnavailable, match="TLS certificate not accepted"):
            await opened(served, tls=tls, tls_required=True)
        assert served.connections[-1].verbs == ["EHLO", "STARTTLS"]

    run(main())


INJECTED = b"250-hop.test\r\n250 SIZE 7\r\n"


def test_what_was_offered_in_clear_is_forgotten_under_tls(run: Run, tmp_path: FilePath) -> None:
    """RFC 3207 4.2: capabilities from before the handshake may be an attacker's."""

    async def main() -> None:
        context = tls_material().server_context(tmp_path)
        async with next_hop(b"220 hop.test\r\n") as hop:
            tls = tls_material().client_context()
            upstream = Upstream(options(hop.host, hop.port, tls=tls, tls_required=True), dial, lambda _: None)
            task = asyncio.create_task(upstream.connect())
            peer = await hop.peer()
            await peer.hear(b"\r\n")
            peer.say(b"250-hop.test\r\n250-STARTTLS\r\n250-DSN\r\n250 SIZE 7\r\n")
            await peer.hear(b"STARTTLS\r\n")
            peer.say(b"220 go ahead\r\n")
            loop = asyncio.get_running_loop()
            transport = await loop.start_tls(peer.transport, peer, context, server_side=True)
            assert transport is not None
            peer.transport = transport
            await peer.hear(b"EHLO gw1.acme.example\r\n")
            peer.say(b"250-hop.test\r\n250 SIZE 1000\r\n")
            session = await task
            assert (session.facts.size, session.facts.dsn) == (1000, False)
            session.discard()

    run(main())


def test_octets_injected_behind_the_go_ahead_are_no_ehlo(run: Run) -> None:
    async def main() -> None:
        async with next_hop(b"220 hop.test\r\n") as hop:
            upstream = Upstream(options(hop.host, hop.port, tls=unverified_context()), dial, lambda _: None)
            task = asyncio.create_task(upstream.connect())
            peer = await hop.peer()
            await peer.hear(b"\r\n")
            peer.say(b"250-hop.test\r\n250 STARTTLS\r\n")
            await peer.hear(b"STARTTLS\r\n")
            peer.say(b"220 go ahead\r\n" + INJECTED)
            with pytest.raises(UpstreamUnavailable):
                await task

    run(main())


TRAVELS = {
    "loopback": (("127.0.0.1", 25), False, False, True),
    "elsewhere": (("192.0.2.1", 25), False, False, False),
    "elsewhere, a link that is trusted": (("192.0.2.1", 25), True, False, True),
    "elsewhere, TLS that is verified": (("192.0.2.1", 25), False, True, True),
}


@pytest.mark.parametrize(("peername", "trusted", "verified", "confidential"), TRAVELS.values(), ids=TRAVELS)
def test_where_opened_mail_may_travel(
    run: Run, peername: tuple[str, int], trusted: bool, verified: bool, confidential: bool
) -> None:
    """Law 10. TLS whose certificate nobody has checked is not enough."""

    async def main() -> None:
        connection = Connection()
        connection.connection_made(asyncio.Transport({"peername": peername}))
        connection.tls_active, connection.tls_verified = True, verified
        dialogue = Dialogue(options("192.0.2.1", 25, trusted_link=trusted), connection)
        assert dialogue.facts.confidential is confidential

    run(main())
