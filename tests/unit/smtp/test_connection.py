"""An upstream connection: what it says is what is asked, and whatever makes a reply uncertain breaks it for good."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import UpstreamBroken
from gateway.outcome import Reply
from gateway.smtp.connection import CLOSED, Connection
from gateway.smtp.dialer import dial
from tests.support.loopback import (
    SECONDS,
    SHORT,
    Peer,
    Run,
    connected,
    next_hop,
    tls_material,
    turn,
    until,
    unverified_context,
)
from tests.support.peers import LOOPBACK

NOOP = b"NOOP\r\n"


def ok(text: str = "ok") -> Reply:
    return Reply(250, "", (text,))


async def assert_of_no_use(connection: Connection, peer: Peer) -> None:
    """Nothing can be asked on it any more, and nothing is written."""
    assert connection.is_broken
    before = bytes(peer.received)
    with pytest.raises(UpstreamBroken):
        await connection.exchange(NOOP, 1, SECONDS)
    with pytest.raises(UpstreamBroken):
        await connection.settle()
    await until(lambda: peer.has_end)
    assert peer.received == before


# ---------------------------------------------------------------- asking


@pytest.mark.parametrize("is_early", [False, True], ids=["waited for", "there before"])
def test_the_greeting_counts_whenever_it_comes(run: Run, is_early: bool) -> None:
    async def main() -> None:
        async with next_hop(b"220 hop.test ready\r\n" if is_early else b"") as hop:
            connection = await dial(hop.host, hop.port, Connection)
            peer = await hop.peer()
            if is_early:
                await turn()
            else:
                peer.say(b"220-hop.test\r\n220 ready\r\n")
            reply = await connection.greeting(SECONDS)
            assert reply.code == 220
            assert connection.is_loopback
            assert not connection.is_broken
            connection.close()

    run(main())


@pytest.mark.parametrize("size", [0, 1])
def test_replies_come_back_in_order_however_they_are_cut(run: Run, size: int) -> None:
    """Three commands in one write, three replies, the octets of the commands untouched."""

    async def main() -> None:
        async with connected() as (connection, peer):
            asked = b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nNOOP\r\n"
            task = asyncio.create_task(connection.exchange(asked, 3, SECONDS))
            assert await peer.hear(NOOP) == asked
            said = b"250 one\r\n550-5.1.1 two\r\n550 5.1.1 three\r\n250 four\r\n"
            for start in range(0, len(said), size or len(said)):
                peer.say(said[start : start + (size or len(said))])
                if size:
                    await asyncio.sleep(0)
            assert await task == [ok("one"), Reply(550, "5.1.1", ("two", "three")), ok("four")]
            assert not connection.is_broken

    run(main())


def test_one_command_after_the_other(run: Run) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            for number in range(3):
                task = asyncio.create_task(connection.exchange(NOOP, 1, SECONDS))
                assert await peer.hear(NOOP) == NOOP
                peer.say(f"250 {number}\r\n".encode())
                assert await task == [ok(str(number))]

    run(main())


def test_nothing_is_asked_before_it_is_connected(run: Run) -> None:
    async def main() -> None:
        connection = Connection()
        with pytest.raises(UpstreamBroken, match="not connected"):
            connection.write((NOOP,))
        with pytest.raises(UpstreamBroken, match="not connected"):
            await connection.start_tls(unverified_context(), "hop.test", SECONDS)
        connection.close()
        assert not connection.is_broken
        assert str(connection.break_off("never mind")) == "never mind"

    run(main())


# ---------------------------------------------------------------- what makes a reply uncertain

UNASKED = {
    "a reply": b"250 2.0.0 taken\r\n",
    "421": b"421 4.4.2 idle too long\r\n",
    "half a reply": b"25",
    "the first line of one": b"250-first\r\n",
    "garbage": b"hello\r\n",
    "an empty line": b"\r\n",
    "one octet": b"\0",
}


@pytest.mark.parametrize("octets", UNASKED.values(), ids=UNASKED)
def test_what_nobody_asked_for_breaks_it(run: Run, octets: bytes) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            peer.say(octets)
            await until(lambda: connection.is_broken)
            assert connection.breach
            await assert_of_no_use(connection, peer)

    run(main())


@pytest.mark.parametrize("octets", UNASKED.values(), ids=UNASKED)
def test_what_has_arrived_and_is_not_read_yet_is_seen_in_time(run: Run, octets: bytes) -> None:
    """Nothing has been awaited since it came: before the final dot the loop is let look (settle)."""

    async def main() -> None:
        async with connected() as (connection, peer):
            peer.say(octets)
            with pytest.raises(UpstreamBroken):
                await connection.settle()
            await assert_of_no_use(connection, peer)

    run(main())


def test_settling_a_quiet_connection_changes_nothing(run: Run) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            await connection.settle()
            task = asyncio.create_task(connection.exchange(NOOP, 1, SECONDS))
            await peer.hear(NOOP)
            peer.say(b"250 ok\r\n")
            assert await task == [ok()]

    run(main())


UNCERTAIN = {
    "two replies at once": b"250 one\r\n250 two\r\n",
    "a reply and half of one": b"250 one\r\n25",
    "1yz": b"150 wait\r\n",
    "garbage": b"hello\r\n",
    "bare LF": b"250 one\n",
    "code changes": b"250-one\r\n550 two\r\n",
}


@pytest.mark.parametrize("octets", UNCERTAIN.values(), ids=UNCERTAIN)
def test_an_answer_that_is_not_one_reply_breaks_it(run: Run, octets: bytes) -> None:
    """Of two replies at once the first may have been said before the command was read: neither counts."""

    async def main() -> None:
        async with connected() as (connection, peer):
            task = asyncio.create_task(connection.exchange(NOOP, 1, SECONDS))
            await peer.hear(NOOP)
            peer.say(octets)
            with pytest.raises(UpstreamBroken):
                await task
            await assert_of_no_use(connection, peer)

    run(main())


def test_a_second_reply_that_comes_later_breaks_it_and_the_first_counts(run: Run) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            task = asyncio.create_task(connection.exchange(NOOP, 1, SECONDS))
            await peer.hear(NOOP)
            peer.say(b"250 one\r\n")
            assert await task == [ok("one")]
            peer.say(b"250 two\r\n")
            await until(lambda: connection.is_broken)
            assert connection.breach == "unsolicited reply 250"
            await assert_of_no_use(connection, peer)

    run(main())


# ---------------------------------------------------------------- ends


ENDS: dict[str, Callable[[Peer], None]] = {
    "close": lambda peer: peer.transport.close(),
    "reset": lambda peer: peer.reset(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("said", [b"", b"25", b"250-one\r\n", b"250 one\r\n250-two\r\n"], ids=repr)
def test_an_end_before_all_replies_have_come(run: Run, end: Callable[[Peer], None], said: bytes) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            task = asyncio.create_task(connection.exchange(NOOP + NOOP, 2, SECONDS))
            await peer.hear(NOOP + NOOP)
            peer.say(said)
            await turn()
            end(peer)
            with pytest.raises(UpstreamBroken):
                await task
            await assert_of_no_use(connection, peer)

    run(main())


def test_a_reply_in_front_of_the_end_counts(run: Run) -> None:
    """A next hop that accepts and closes at once has accepted."""

    async def main() -> None:
        async with connected() as (connection, peer):
            task = asyncio.create_task(connection.exchange(NOOP, 1, SECONDS))
            await peer.hear(NOOP)
            peer.say(b"250 taken\r\n")
            peer.transport.close()
            assert await task == [ok("taken")]
            await until(lambda: connection.is_broken)
            assert connection.breach == "closed by the next hop"
            await assert_of_no_use(connection, peer)

    run(main())


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_end_while_nothing_is_asked(run: Run, end: Callable[[Peer], None]) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            end(peer)
            await until(lambda: connection.is_broken)
            assert connection.breach
            await assert_of_no_use(connection, peer)

    run(main())


@pytest.mark.parametrize("said", [b"", b"250-one\r\n", b"250 one\r\n25"], ids=["nothing", "half", "one of two"])
def test_silence(run: Run, said: bytes) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            task = asyncio.create_task(connection.exchange(NOOP + NOOP, 2, SHORT))
            await peer.hear(NOOP + NOOP)
            peer.say(said)
            with pytest.raises(UpstreamBroken, match="no reply in time"):
                await task
            await assert_of_no_use(connection, peer)

    run(main())


def test_silence_in_place_of_a_greeting(run: Run) -> None:
    async def main() -> None:
        async with next_hop(b"") as hop:
            connection = await dial(hop.host, hop.port, Connection)
            with pytest.raises(UpstreamBroken, match="no reply in time"):
                await connection.greeting(SHORT)
            await assert_of_no_use(connection, await hop.peer())

    run(main())


def test_each_command_has_its_own_time(run: Run) -> None:
    """A command that was given long, and answered, does not lend its time to the next; nor a short one's its end."""

    async def main() -> None:
        async with connected() as (connection, peer):
            for seconds in (60.0, SHORT, 60.0):
                task = asyncio.create_task(connection.exchange(NOOP, 1, seconds))
                await peer.hear(NOOP)
                peer.say(b"250 ok\r\n")
                await task
            task = asyncio.create_task(connection.exchange(NOOP, 1, 4 * SHORT))
            await peer.hear(NOOP)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            with pytest.raises(UpstreamBroken, match="no reply in time"):
                await task
            assert 2 * SHORT < loop.time() - begun < SECONDS / 2
            await assert_of_no_use(connection, peer)

    run(main())


def test_time_that_has_passed_while_nobody_waited_breaks_nothing(run: Run) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            task = asyncio.create_task(connection.exchange(NOOP, 1, SHORT))
            await peer.hear(NOOP)
            peer.say(b"250 ok\r\n")
            await task
            end = asyncio.get_running_loop().time() + 2 * SHORT
            await until(lambda: asyncio.get_running_loop().time() > end)
            assert not connection.is_broken

    run(main())


def test_who_is_cancelled_between_command_and_reply_leaves_a_broken_connection(run: Run) -> None:
    """The late reply must never count for another command."""

    async def main() -> None:
        async with connected() as (connection, peer):
            task = asyncio.create_task(connection.exchange(NOOP, 1, SECONDS))
            await peer.hear(NOOP)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await assert_of_no_use(connection, peer)

    run(main())


def test_our_own_end_is_no_breach(run: Run) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            connection.write((b"QUIT\r\n",))
            connection.close()
            connection.close()
            assert await peer.hear(b"QUIT\r\n") == b"QUIT\r\n"
            assert (connection.is_broken, connection.breach) == (True, "")
            assert str(connection.break_off("too late")) == CLOSED
            await assert_of_no_use(connection, peer)

    run(main())


def test_the_first_cause_stays(run: Run) -> None:
    async def main() -> None:
        async with connected() as (connection, _):
            assert str(connection.break_off("first")) == "first"
            assert str(connection.break_off("second")) == "first"
            connection.close()
            assert connection.breach == "first"

    run(main())


# ---------------------------------------------------------------- writing much

MUCH = b"x" * 16_000_000


def test_a_next_hop_that_reads_gets_everything(run: Run) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            connection.write((MUCH, b"end\r\n"))
            await connection.drain(SECONDS)
            heard = await peer.hear(b"end\r\n")
            assert len(heard) == len(MUCH) + 5

    run(main())


def test_a_next_hop_that_does_not_read(run: Run) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            peer.transport.pause_reading()
            connection.write((MUCH,))
            with pytest.raises(UpstreamBroken, match="standstill while sending"):
                await connection.drain(SHORT)
            peer.transport.resume_reading()
            await until(lambda: peer.has_end)
            assert connection.is_broken

    run(main())


@pytest.mark.parametrize("said", [b"", b"552 too much\r\n"], ids=["without a word", "with a reply"])
def test_a_next_hop_that_ends_while_we_send(run: Run, said: bytes) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            peer.transport.pause_reading()
            connection.write((MUCH,))
            task = asyncio.create_task(connection.drain(SECONDS))
            await turn()
            peer.say(said)
            await turn()
            peer.reset()
            with pytest.raises(UpstreamBroken):
                await task
            await assert_of_no_use(connection, peer)

    run(main())


# ---------------------------------------------------------------- TLS


async def start_tls_at(peer: Peer, context: ssl.SSLContext) -> asyncio.Transport | None:
    """The next hop's side of a handshake."""
    loop = asyncio.get_running_loop()
    transport = await loop.start_tls(peer.transport, peer, context, server_side=True, ssl_handshake_timeout=SECONDS)
    if transport is not None:
        peer.transport = transport
    return transport


async def go_ahead(connection: Connection, peer: Peer, behind: bytes = b"") -> None:
    """STARTTLS and its 220, with further octets in the same write."""
    task = asyncio.create_task(connection.exchange(b"STARTTLS\r\n", 1, SECONDS))
    await peer.hear(b"STARTTLS\r\n")
    peer.say(b"220 go ahead\r\n" + behind)
    await task


@pytest.mark.parametrize("is_verified", [True, False], ids=["verified", "unverified"])
def test_tls(run: Run, tmp_path: Path, is_verified: bool) -> None:
    """Under TLS as before: exact octets, a reply for each command, and an early one breaks it."""

    async def main() -> None:
        async with connected() as (connection, peer):
            assert (connection.tls_active, connection.tls_verified) == (False, False)
            await go_ahead(connection, peer)
            material = tls_material()
            context = material.client_context() if is_verified else unverified_context()
            shaken = asyncio.create_task(start_tls_at(peer, material.server_context(tmp_path)))
            await connection.start_tls(context, LOOPBACK, SECONDS)
            assert (connection.tls_active, connection.tls_verified) == (True, is_verified)
            await shaken
            task = asyncio.create_task(connection.exchange(NOOP, 1, SECONDS))
            assert await peer.hear(NOOP) == NOOP
            peer.say(b"250 ok\r\n")
            assert await task == [ok()]
            await connection.settle()
            peer.say(b"250 early\r\n")
            with pytest.raises(UpstreamBroken, match="unsolicited reply 250"):
                await connection.settle()
            await assert_of_no_use(connection, peer)

    run(main())


@pytest.mark.parametrize(
    ("name", "hostname"), [("TLS", "other.example"), ("Foreign", LOOPBACK)], ids=["another name", "an unknown CA"]
)
def test_a_certificate_that_does_not_verify(run: Run, tmp_path: Path, name: str, hostname: str) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            await go_ahead(connection, peer)
            shaken = asyncio.create_task(start_tls_at(peer, tls_material(name).server_context(tmp_path)))
            with pytest.raises(UpstreamBroken, match="TLS certificate not accepted"):
                await connection.start_tls(tls_material().client_context(), hostname, SECONDS)
            assert (connection.tls_active, connection.tls_verified) == (False, False)
            await asyncio.wait([shaken], timeout=SECONDS)
            shaken.exception()
            await assert_of_no_use(connection, peer)

    run(main())


HANDSHAKES: dict[str, Callable[[Peer], None]] = {
    "close": lambda peer: peer.transport.close(),
    "reset": lambda peer: peer.reset(),
    "clear text": lambda peer: peer.say(b"250-hop.test\r\n250 AUTH PLAIN\r\n"),
    "silence": lambda _peer: None,
}


@pytest.mark.parametrize("act", HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_handshake_that_fails(run: Run, act: Callable[[Peer], None]) -> None:
    async def main() -> None:
        async with connected() as (connection, peer):
            await go_ahead(connection, peer)
            seconds = 4 * SHORT if act is HANDSHAKES["silence"] else SECONDS
            task = asyncio.create_task(connection.start_tls(unverified_context(), LOOPBACK, seconds))
            await until(lambda: peer.received)
            act(peer)
            with pytest.raises(UpstreamBroken, match=r"TLS handshake|connection lost"):
                await task
            assert not connection.tls_active
            await assert_of_no_use(connection, peer)

    run(main())


INJECTED = {"a reply": b"250 SIZE 1\r\n", "half a reply": b"250-", "garbage": b"\x16\x03\x01"}


@pytest.mark.parametrize("behind", INJECTED.values(), ids=INJECTED)
def test_octets_behind_the_go_ahead_are_never_taken_for_the_first_under_tls(run: Run, behind: bytes) -> None:
    """In the same segment they end the exchange; in a later one, here before anybody has read, the handshake."""

    async def main() -> None:
        async with connected() as (connection, peer):
            with pytest.raises(UpstreamBroken):
                await go_ahead(connection, peer, behind)
            with pytest.raises(UpstreamBroken):
                await connection.start_tls(unverified_context(), LOOPBACK, SECONDS)
            await assert_of_no_use(connection, peer)
        async with connected() as (connection, peer):
            await go_ahead(connection, peer)
            peer.say(behind)
            await turn()
            with pytest.raises(UpstreamBroken):
                await connection.start_tls(unverified_context(), LOOPBACK, SECONDS)
            await assert_of_no_use(connection, peer)

    run(main())


# ---------------------------------------------------------------- without a network

PEERS = {
    "IPv4 loopback": (("127.3.2.1", 25), True),
    "IPv6 loopback": (("::1", 25, 0, 0), True),
    "elsewhere": (("192.0.2.1", 25), False),
    "IPv6 with a zone": (("fe80::1%eth0", 25, 0, 2), False),
    "a socket file": ("", False),
    "unknown": (None, False),
}


@pytest.mark.parametrize(("peername", "is_loopback"), PEERS.values(), ids=PEERS)
def test_who_counts_as_this_machine(run: Run, peername: object, is_loopback: bool) -> None:
    """A transport need not have a socket: then the loop is turned whenever an early reply is looked for."""

    async def main() -> None:
        connection = Connection()
        connection.connection_made(asyncio.Transport({"peername": peername}))
        assert connection.is_loopback is is_loopback
        connection.data_received(b"220 ready\r\n")
        assert (await connection.greeting(SECONDS)).code == 220
        task = asyncio.create_task(connection.settle())
        await asyncio.sleep(0)
        assert not task.done()
        await task

    run(main())
