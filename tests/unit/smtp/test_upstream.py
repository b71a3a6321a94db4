"""The route to a next hop: which connections are kept, who gets them, and that no two transactions meet on one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.address import Address
from gateway.envelope import Path
from gateway.errors import UpstreamBroken, UpstreamUnavailable
from gateway.outcome import Reply
from gateway.smtp.connection import Connection
from gateway.smtp.dialer import dial
from gateway.smtp.dialogue import UpstreamOptions
from gateway.smtp.upstream import LentSession, Upstream
from tests.support.loopback import SECONDS, SHORT, Hop, Peer, Run, next_hop, turn, until
from tests.support.peers import LOOPBACK, free_port
from tests.support.script import Gate, Script, Step, close, default, reply
from tests.support.sink import Sink

ALICE, BOB, CAROL = (
    Path(octets=address.encode(), address=Address(address))
    for address in ("alice@acme.example", "bob@bank.example", "carol@bank.example")
)
CONTENT = (b"Subject: x\r\n\r\nHello\r\n",)


class Route:
    """An upstream, and what it had to say of lost connections."""

    def __init__(self, host: str, port: int, **more: Any) -> None:
        self.lost: list[str] = []
        given = {"connect_timeout": SECONDS, "reply_timeout": SECONDS, "final_timeout": SECONDS, **more}
        options = UpstreamOptions(name="next", host=host, port=port, hostname="gw1.acme.example", **given)
        self.upstream = Upstream(options, dial, self.lost.append)

    async def send(self, *recipients: Path) -> Reply:
        """Carry one message."""
        session = await self.upstream.connect()
        await session.begin(ALICE, recipients or [BOB])
        assert await session.data(CONTENT, hold=True) is None
        answer = await session.finish()
        session.release()
        return answer


@asynccontextmanager
async def by_hand(**more: Any) -> AsyncIterator[tuple[Route, Hop]]:
    """A route to a next hop that says what the test says."""
    async with next_hop(b"220 hop.test\r\n") as hop:
        route = Route(hop.host, hop.port, **more)
        yield route, hop
        route.upstream.close()


async def lend(route: Route, hop: Hop) -> tuple[LentSession, Peer]:
    """A session on a new connection."""
    task = asyncio.create_task(route.upstream.connect())
    peer = await hop.peer(len(hop.peers))
    await peer.hear(b"\r\n")
    peer.say(b"250-hop.test\r\n250 PIPELINING\r\n")
    return await task, peer


async def asked(asking: Any, peer: Peer, answer: bytes) -> Any:
    """Ask something, and have it answered."""
    task = asyncio.create_task(asking)
    await peer.hear(b"\r\n")
    peer.say(answer)
    return await task


# ---------------------------------------------------------------- kept and used again


def test_one_connection_carries_one_transaction_after_the_other(run: Run, sink: Sink) -> None:
    async def main() -> None:
        route = Route(sink.host, sink.port)
        for _ in range(3):
            assert (await route.send()).code == 250
            assert route.upstream.idle == 1
        route.upstream.close()
        assert route.upstream.idle == 0
        await until(lambda: sink.connections[0].ended)

    run(main())
    [connection] = sink.connections
    assert connection.verbs == ["EHLO", *["MAIL", "RCPT", "DATA"] * 3, "QUIT"]


def test_transactions_at_once_have_connections_of_their_own(run: Run, sink: Sink) -> None:
    """Whatever is lent is lent to one; what comes back is lent again, the last first."""

    async def main() -> None:
        route = Route(sink.host, sink.port)
        first, second = await route.upstream.connect(), await route.upstream.connect()
        await first.mail(ALICE)
        await second.mail(BOB)
        third = await route.upstream.connect()
        await third.mail(CAROL)
        for session in (first, second, third):
            session.discard()
        assert route.upstream.idle == 0

    run(main())
    assert [connection.verbs for connection in sink.connections] == [["EHLO", "MAIL"]] * 3


def test_many_at_once_and_again(run: Run, sink: Sink) -> None:
    """No message is lost, doubled or mixed up; at most so many connections stay as are to be kept."""

    async def main() -> None:
        route = Route(sink.host, sink.port, kept=3)
        for _ in range(3):
            await asyncio.gather(*(route.send(BOB, CAROL) for _ in range(8)))
            await until(lambda: route.upstream.idle == 3)
        route.upstream.close()
        assert route.lost == []

    run(main())
    assert len(sink.wait(24)) == 24
    assert {delivery.recipients for delivery in sink.deliveries} == {
        (b"RCPT TO:<bob@bank.example>", b"RCPT TO:<carol@bank.example>")
    }


def test_no_more_than_are_to_be_kept(run: Run) -> None:
    async def main() -> None:
        async with by_hand(kept=1) as (route, hop):
            first, _ = await lend(route, hop)
            second, peer = await lend(route, hop)
            first.release()
            second.release()
            await until(lambda: peer.has_end)
            assert peer.received == b"QUIT\r\n"
            assert route.upstream.idle == 1

    run(main())


def test_what_has_died_takes_no_place(run: Run) -> None:
    """A next hop that was started again leaves only dead connections: the new ones are kept in their stead."""

    async def main() -> None:
        async with by_hand(kept=1) as (route, hop):
            first, old = await lend(route, hop)
            second, new = await lend(route, hop)
            first.release()
            old.reset()
            await until(lambda: route.upstream.idle == 0)
            second.release()
            assert route.upstream.idle == 1
            session = await route.upstream.connect()
            assert (await asked(session.mail(ALICE), new, b"250 ok\r\n")).code == 250
            session.discard()
            assert route.lost == []

    run(main())


def test_idle_connections_are_closed_in_order(run: Run) -> None:
    async def main() -> None:
        async with by_hand(kept_for=SHORT) as (route, hop):
            session, peer = await lend(route, hop)
            session.release()
            await until(lambda: peer.has_end)
            assert peer.received == b"QUIT\r\n"
            assert route.upstream.idle == 0
            assert route.lost == []

    run(main())


def test_the_time_of_idleness_begins_anew(run: Run) -> None:
    """A connection that was lent meanwhile is not closed by the timer of its last idleness."""

    async def main() -> None:
        async with by_hand(kept_for=SHORT) as (route, hop):
            session, peer = await lend(route, hop)
            session.release()
            session = await route.upstream.connect()
            assert len(hop.peers) == 1
            loop = asyncio.get_running_loop()
            end = loop.time() + 2 * SHORT
            await until(lambda: loop.time() > end)
            assert (await asked(session.mail(ALICE), peer, b"250 ok\r\n")).code == 250
            session.discard()

    run(main())


# ---------------------------------------------------------------- what comes back in the middle


def test_an_open_transaction_is_reset_in_the_background(run: Run) -> None:
    """Whoever comes meanwhile gets another connection; nobody's commands mix with the old transaction's."""

    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            await asked(session.mail(ALICE), peer, b"250 ok\r\n")
            await asked(session.rcpt(BOB), peer, b"250 ok\r\n")
            session.release()
            assert await peer.hear(b"\r\n") == b"RSET\r\n"
            assert route.upstream.idle == 0
            other, _ = await lend(route, hop)
            peer.say(b"250 ok\r\n")
            await until(lambda: route.upstream.idle == 1)
            again = await route.upstream.connect()
            assert (await asked(again.mail(CAROL), peer, b"250 ok\r\n")).code == 250
            again.discard()
            other.discard()

    run(main())


@pytest.mark.parametrize("answer", [b"550 no\r\n", b"354 go on\r\n", b"421 bye\r\n", b"garbage\r\n"], ids=repr)
def test_a_reset_that_goes_wrong(run: Run, answer: bytes) -> None:
    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            await asked(session.mail(ALICE), peer, b"250 ok\r\n")
            session.release()
            await peer.hear(b"RSET\r\n")
            peer.say(answer)
            await until(lambda: peer.has_end)
            assert route.upstream.idle == 0
            assert len(route.lost) == 1

    run(main())


def test_a_reset_that_is_not_answered(run: Run) -> None:
    async def main() -> None:
        async with by_hand(reply_timeout=SHORT) as (route, hop):
            session, peer = await lend(route, hop)
            await asked(session.mail(ALICE), peer, b"250 ok\r\n")
            session.release()
            await until(lambda: peer.has_end)
            assert peer.received == b"RSET\r\n"
            assert route.upstream.idle == 0
            assert route.lost == ["no reply in time"]

    run(main())


def test_there_is_no_reset_for_what_would_not_be_kept(run: Run) -> None:
    async def main() -> None:
        async with by_hand(kept=0) as (route, hop):
            session, peer = await lend(route, hop)
            await asked(session.mail(ALICE), peer, b"250 ok\r\n")
            session.release()
            await until(lambda: peer.has_end)
            assert peer.received == b""

    run(main())


def test_a_refused_mail_leaves_it_free(run: Run) -> None:
    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            await asked(session.mail(ALICE), peer, b"550 no\r\n")
            session.release()
            assert route.upstream.idle == 1
            await turn()
            assert peer.received == b""

    run(main())


@pytest.mark.parametrize("hold", [False, True], ids=["sent", "held"])
def test_what_stands_before_its_final_dot_is_closed(run: Run, hold: bool) -> None:
    """RSET there would be mail data; nothing may end the message by itself either."""

    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            await asked(session.mail(ALICE), peer, b"250 ok\r\n")
            await asked(session.rcpt(BOB), peer, b"250 ok\r\n")
            assert await asked(session.data(CONTENT, hold=hold), peer, b"354 go on\r\n") is None
            session.release()
            await until(lambda: peer.has_end)
            assert peer.received in (b"", CONTENT[0])
            assert route.upstream.idle == 0

    run(main())


Leaving = Callable[[LentSession], None]


@pytest.mark.parametrize("first", [LentSession.release, LentSession.discard])
@pytest.mark.parametrize("second", [LentSession.release, LentSession.discard])
def test_it_is_given_back_once(run: Run, first: Leaving, second: Leaving) -> None:
    """Twice would lend it to two."""

    async def main() -> None:
        async with by_hand() as (route, hop):
            session, _ = await lend(route, hop)
            first(session)
            second(session)
            first(session)
            assert route.upstream.idle == (first is LentSession.release)

    run(main())


def test_discarding_closes_at_whatever_octet(run: Run) -> None:
    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            task = asyncio.create_task(session.mail(ALICE))
            await peer.hear(b"\r\n")
            session.discard()
            with pytest.raises(UpstreamBroken):
                await task
            await until(lambda: peer.has_end)
            assert peer.received == b""
            assert route.lost == []

    run(main())


# ---------------------------------------------------------------- a kept connection that died


def dead(peer: Peer, way: str) -> None:
    """Let a kept connection end, or be about to."""
    match way:
        case "closed":
            peer.transport.close()
        case "reset":
            peer.reset()
        case "421 unasked":
            peer.say(b"421 4.4.2 idle too long\r\n")
            peer.transport.close()


@pytest.mark.parametrize("way", ["closed", "reset", "421 unasked"])
@pytest.mark.parametrize("is_seen", [False, True], ids=["unseen", "seen"])
@pytest.mark.parametrize("is_pipelined", [False, True], ids=["MAIL", "MAIL and RCPT"])
def test_a_kept_connection_that_died_is_replaced(run: Run, way: str, is_seen: bool, is_pipelined: bool) -> None:
    """Whether its end has been read already or comes in answer to the first command: nobody notices."""

    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            session.release()
            dead(peer, way)
            if is_seen:
                await until(lambda: route.upstream.idle == 0)
                session, new = await lend(route, hop)
                task = asyncio.create_task(ask(session, is_pipelined=is_pipelined))
            else:
                session = await route.upstream.connect()
                task = asyncio.create_task(ask(session, is_pipelined=is_pipelined))
                new = await hop.peer(1)
                await new.hear(b"\r\n")
                new.say(b"250-hop.test\r\n250 PIPELINING\r\n")
            await new.hear(b"bob@bank.example>\r\n" if is_pipelined else b"\r\n")
            new.say(b"250 ok\r\n" * (1 + is_pipelined))
            assert (await task).code == 250
            assert session.facts.size is None
            session.discard()
            assert route.lost == []

    run(main())


async def ask(session: LentSession, *, is_pipelined: bool) -> Reply:
    if not is_pipelined:
        return await session.mail(ALICE)
    first, _ = await session.begin(ALICE, [BOB])
    return first


@pytest.mark.parametrize("answer", [b"421 4.4.2 timeout\r\n", b"garbage\r\n", b"2"], ids=repr)
def test_a_kept_connection_that_ends_in_answer_to_its_first_command_is_replaced(run: Run, answer: bytes) -> None:
    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            session.release()
            session = await route.upstream.connect()
            task = asyncio.create_task(session.mail(ALICE))
            await peer.hear(b"\r\n")
            peer.say(answer)
            peer.transport.close()
            new = await hop.peer(1)
            await new.hear(b"\r\n")
            new.say(b"250 hop.test\r\n")
            assert await new.hear(b"\r\n") == b"MAIL FROM:<alice@acme.example>\r\n"
            new.say(b"451 4.3.0 busy\r\n")
            assert (await task).code == 451
            session.release()

    run(main())


def test_it_is_replaced_once(run: Run) -> None:
    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            session.release()
            session = await route.upstream.connect()
            task = asyncio.create_task(session.mail(ALICE))
            await peer.hear(b"\r\n")
            peer.reset()
            new = await hop.peer(1)
            await new.hear(b"\r\n")
            new.say(b"250 hop.test\r\n")
            await new.hear(b"\r\n")
            new.reset()
            with pytest.raises(UpstreamBroken):
                await task
            with pytest.raises(UpstreamBroken):
                await session.mail(ALICE)
            session.release()
            await turn()
            assert len(hop.peers) == 2
            assert len(route.lost) == 1

    run(main())


def test_a_new_connection_is_not_replaced(run: Run) -> None:
    """It has just been opened: that it breaks at once is the next hop's answer."""

    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            task = asyncio.create_task(session.mail(ALICE))
            await peer.hear(b"\r\n")
            peer.reset()
            with pytest.raises(UpstreamBroken):
                await task
            session.release()
            assert len(hop.peers) == 1

    run(main())


def test_a_new_connection_that_says_421_has_said_it(run: Run) -> None:
    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            assert (await asked(session.mail(ALICE), peer, b"421 4.3.2 full\r\n")).code == 421
            session.release()
            assert len(hop.peers) == 1
            assert route.lost == ["421 from the next hop"]

    run(main())


def test_only_the_first_command_is_asked_again(run: Run) -> None:
    """From the second on the transaction is under way: its end is the transaction's."""

    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            session.release()
            session = await route.upstream.connect()
            await asked(session.mail(ALICE), peer, b"250 ok\r\n")
            task = asyncio.create_task(session.rcpt(BOB))
            await peer.hear(b"\r\n")
            peer.reset()
            with pytest.raises(UpstreamBroken):
                await task
            with pytest.raises(UpstreamBroken):
                await session.mail(ALICE)
            session.release()
            assert len(hop.peers) == 1

    run(main())


def test_no_new_connection_in_place_of_a_dead_one_is_a_broken_one(run: Run, sink: Sink) -> None:
    """What the port promises for MAIL: a reply, or UpstreamBroken."""

    async def main() -> None:
        route = Route(sink.host, sink.port)
        session = await route.upstream.connect()
        session.release()
        session = await route.upstream.connect()
        sink.stop()
        with pytest.raises(UpstreamBroken, match="next"):
            await session.mail(ALICE)
        session.release()
        assert len(route.lost) == 2

    run(main())


# ---------------------------------------------------------------- opening


def test_nobody_listens(run: Run) -> None:
    async def main() -> None:
        route = Route(LOOPBACK, free_port())
        with pytest.raises(UpstreamUnavailable, match=r"next \(127\.0\.0\.1:\d+\): "):
            await route.upstream.connect()
        assert len(route.lost) == 1

    run(main())


async def never(_host: str, _port: int, _factory: Callable[[], Connection]) -> Any:
    """A network in which nothing answers."""
    await asyncio.Event().wait()


@pytest.mark.parametrize("where", ["network", "greeting", "EHLO"])
def test_opening_has_one_time_limit_for_all_of_it(run: Run, where: str) -> None:
    async def main() -> None:
        async with next_hop(b"" if where == "greeting" else b"220 hop.test\r\n") as hop:
            lost: list[str] = []
            options = UpstreamOptions(
                name="next", host=hop.host, port=hop.port, hostname="gw1.acme.example", connect_timeout=SHORT
            )
            upstream = Upstream(options, never if where == "network" else dial, lost.append)
            with pytest.raises(UpstreamUnavailable, match="TimeoutError"):
                await upstream.connect()
            assert lost == ["TimeoutError"]
            if where != "network":
                await until(lambda: hop.peers[0].has_end)

    run(main())


def test_who_is_cancelled_while_it_opens_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        async with by_hand() as (route, hop):
            task = asyncio.create_task(route.upstream.connect())
            peer = await hop.peer()
            await peer.hear(b"\r\n")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: peer.has_end)
            assert route.upstream.idle == 0

    run(main())


def test_size_is_that_of_the_last_connection(run: Run) -> None:
    async def main() -> None:
        route: Route
        with Sink([Script({Step.EHLO: [reply("250-sink", "250 SIZE 5")]}), Script()], extensions=("SIZE 7",)) as sink:
            route = Route(sink.host, sink.port)
            assert route.upstream.size is None
            for size in (5, 7):
                (await route.upstream.connect()).discard()
                assert route.upstream.size == size
        assert route.upstream.connections == 4

    run(main())


def test_ourselves_as_the_next_hop_is_a_loop(run: Run) -> None:
    """It would be MAIL to ourselves, and so on, until no session is left."""

    async def main() -> None:
        async with next_hop(b"220 gw1.acme.example ESMTP smime-gateway\r\n") as hop:
            route = Route(hop.host, hop.port)
            with pytest.raises(UpstreamUnavailable, match="mail loop"):
                await route.upstream.connect()
        async with next_hop(b"220 gw2.acme.example ESMTP smime-gateway\r\n") as hop:
            route = Route(hop.host, hop.port)
            session, _ = await lend(route, hop)
            session.discard()

    run(main())


def test_a_session_can_be_reset_and_used_again(run: Run) -> None:
    async def main() -> None:
        async with by_hand() as (route, hop):
            session, peer = await lend(route, hop)
            await asked(session.mail(ALICE), peer, b"250 ok\r\n")
            await asked(session.reset(), peer, b"250 ok\r\n")
            assert (await asked(session.mail(BOB), peer, b"250 ok\r\n")).code == 250
            await asked(session.reset(), peer, b"250 ok\r\n")
            session.release()
            assert route.upstream.idle == 1

    run(main())


# ---------------------------------------------------------------- the end


def test_after_the_end_nothing_is_kept(run: Run) -> None:
    """What was lent, or is being reset, when the worker drained is closed when it comes back."""

    async def main() -> None:
        async with by_hand() as (route, hop):
            idle, idle_peer = await lend(route, hop)
            open_one, open_peer = await lend(route, hop)
            await asked(open_one.mail(ALICE), open_peer, b"250 ok\r\n")
            resetting, resetting_peer = await lend(route, hop)
            await asked(resetting.mail(ALICE), resetting_peer, b"250 ok\r\n")
            resetting.release()
            await resetting_peer.hear(b"RSET\r\n")
            kept, kept_peer = await lend(route, hop)
            kept.release()

            route.upstream.close()
            idle.release()
            open_one.release()
            for peer in hop.peers:
                await until(lambda peer=peer: peer.has_end)  # type: ignore[misc]
            assert [bytes(peer.received) for peer in (idle_peer, kept_peer)] == [b"QUIT\r\n"] * 2
            assert [bytes(peer.received) for peer in (open_peer, resetting_peer)] == [b""] * 2
            assert route.upstream.idle == 0
            assert route.lost == []

    run(main())


def test_a_message_under_way_at_the_end_is_still_carried(run: Run) -> None:
    async def main() -> None:
        gate = Gate()
        with Sink(Script({Step.DOT: [gate.hold()]})) as sink:
            route = Route(sink.host, sink.port)
            task = asyncio.create_task(route.send())
            await until(gate.reached.is_set)
            route.upstream.close()
            gate.open()
            assert (await task).code == 250
            await until(lambda: sink.connections[0].ended)
            assert sink.connections[0].verbs[-1] == "QUIT"

    run(main())


def test_the_second_message_on_a_connection_that_breaks_in_it(run: Run) -> None:
    """The first one's acceptance stands, the second is lost: each reply counts for its own message."""

    async def main() -> None:
        with Sink(Script({Step.DOT: [default(), close()]})) as sink:
            route = Route(sink.host, sink.port)
            assert (await route.send()).code == 250
            with pytest.raises(UpstreamBroken):
                await route.send(CAROL)
            assert [delivery.accepted for delivery in sink.wait(2)] == [True, False]

    run(main())
