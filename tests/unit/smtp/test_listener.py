"""The listener on loopback: what clients do at each step, and that nothing of it is left over.

The transactions are the real ones over doubles; :class:`~tests.unit.smtp.gatehouse.Gatehouse` sees at the end of every
test that memory, sessions and connections were given back and that each transaction ended once.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.smtp.dialer import dial
from gateway.smtp.dialogue import UpstreamOptions
from gateway.smtp.proof import SenderProof
from gateway.smtp.session import MAX_ERRORS
from gateway.smtp.upstream import Upstream
from tests.support.doubles import BROKEN, SLOW, Rule, Step, UpstreamDouble, refusal
from tests.support.loopback import SECONDS, SHORT, Caller, Hop, Run, next_hop, tls_material, turn, until
from tests.support.peers import LOOPBACK
from tests.unit.smtp.gatehouse import (
    CONTENT,
    EHLO,
    ENVELOPE,
    HOSTNAME,
    MAIL,
    MESSAGE,
    RCPT,
    Gatehouse,
)

TRANSACTION = (250, 250, 354, 250)
"""The replies to a whole one."""


# ---------------------------------------------------------------- the good way


@pytest.mark.parametrize("size", [0, 1], ids=["at once", "octet by octet"])
def test_a_message_goes_through(run: Run, size: int) -> None:
    """What the upstream gets is what the client said, behind our own trace; the record knows who it was."""

    async def main() -> None:
        async with Gatehouse() as gate, gate.caller(hello=False) as client:
            assert (await client.expect(220)) == f"220 {HOSTNAME} ESMTP smime-gateway\r\n".encode()
            said = EHLO + ENVELOPE + MESSAGE + b"QUIT\r\n"
            for start in range(0, len(said), size or len(said)):
                client.send(said[start : start + (size or len(said))])
                if size:
                    await asyncio.sleep(0)
            await client.expect(250, *TRANSACTION, 221)
            assert await client.read_end() == b""
            [dot] = gate.upstream.accepted
            assert dot.content.startswith(b"Received: from client.example")
            assert dot.content.endswith(CONTENT)
            [record] = gate.observer.records
            assert (record.outcome, record.helo, record.client, record.proof) == (
                "accepted",
                "client.example",
                "127.0.0.1",
                "network",
            )

    run(main())


def test_one_transaction_after_the_other(run: Run) -> None:
    """On one session, with RSET, EHLO and refusals between; each has its own record."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.MAIL, refusal(550, "5.7.1 no"), connection=2))
        async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
            await client.ask(ENVELOPE + MESSAGE, *TRANSACTION)
            await client.ask(MAIL + RCPT + b"RSET\r\n", 250, 250, 250)
            await client.ask(MAIL, 550)
            await client.ask(MAIL + RCPT + EHLO, 250, 250, 250)
            await client.ask(ENVELOPE + MESSAGE, *TRANSACTION)
            await client.ask(MAIL + b"QUIT\r\n", 250, 221)
            await client.read_end()
        assert gate.outcomes == [
            "accepted",
            "client-gone",
            "upstream-permanent",
            "client-gone",
            "accepted",
            "client-gone",
        ]

    run(main())


def test_a_refusal_is_the_upstreams_own(run: Run) -> None:
    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.RCPT, refusal(550, "5.1.1 no such user here")))
        async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
            await client.ask(MAIL, 250)
            assert await client.ask(RCPT, 550) == b"550 5.1.1 no such user here\r\n"
            await client.ask(b"DATA\r\n", 554)
            await client.ask(b"RSET\r\n", 250)
        assert gate.outcomes == ["upstream-permanent"]

    run(main())


# ---------------------------------------------------------------- pipelining


def test_replies_to_pipelined_commands_come_in_order_and_in_one_write(run: Run) -> None:
    """RFC 2920 3.2: up to DATA everything is answered at once, also by segments of a network."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.BEGIN_RCPT, refusal(550, "5.1.1 no"), path="dave@bank.example"))
        async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
            client.send(b"NOOP\r\n" + MAIL + RCPT + b"RCPT TO:<dave@bank.example>\r\nVRFY x\r\nDATA\r\n")
            codes = [line[:3] for line in (await client.read_chunk()).splitlines()]
            assert codes == [b"250", b"250", b"250", b"550", b"252", b"354"]
            await client.ask(MESSAGE, 250)
        assert gate.upstream.recipients == ["bob@bank.example"]

    run(main())


def test_the_reply_to_mail_data_does_not_wait_for_what_follows(run: Run) -> None:
    """Until the client has it, it may try again: it goes out alone, whatever was pipelined behind it."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.MAIL, SLOW, connection=1))
        async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
            await client.ask(ENVELOPE, 250, 250, 354)
            client.send(MESSAGE + MAIL)
            await client.expect(250)
            await gate.upstream.is_waiting.wait()
            gate.upstream.go_on()
            await client.expect(250)

    run(main())


def test_a_whole_session_in_one_segment(run: Run) -> None:
    async def main() -> None:
        async with Gatehouse() as gate, gate.caller(hello=False) as client:
            client.send(EHLO + (ENVELOPE + MESSAGE) * 3 + b"QUIT\r\n")
            await client.expect(220, 250, *TRANSACTION * 3, 221)
            await client.read_end()
        assert gate.outcomes == ["accepted"] * 3

    run(main())


def real_upstream(hop: Hop) -> Upstream:
    options = UpstreamOptions(name="next", host=hop.host, port=hop.port, hostname=HOSTNAME)
    return Upstream(options, dial, lambda _: None)


NAMES = ("bob", "carol", "dave")
RCPTS = b"".join(f"RCPT TO:<{name}@bank.example>\r\n".encode() for name in NAMES)


def test_recipients_that_are_pipelined_go_on_with_mail(run: Run) -> None:
    """The upstream hears MAIL and every RCPT in one write and each once; the client hears each RCPT's own reply."""

    async def main() -> None:
        async with next_hop(b"220 hop.test\r\n") as hop:
            upstream = real_upstream(hop)
            async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
                client.send(MAIL + RCPTS + b"DATA\r\n")
                peer = await hop.peer()
                await peer.hear(b"EHLO gw1.acme.example\r\n")
                peer.say(b"250-hop.test\r\n250 PIPELINING\r\n")
                await until(lambda: peer.chunks)
                assert peer.chunks == [MAIL + RCPTS]
                peer.chunks.clear()
                peer.received.clear()
                peer.say(b"250 ok\r\n250 ok\r\n550 5.1.1 carol has left\r\n250 ok\r\n")
                await client.expect(250, 250)
                assert await client.expect(550) == b"550 5.1.1 carol has left\r\n"
                await client.expect(250, 354)
                client.send(MESSAGE)
                # One message for all who are accepted: it goes out on this very transaction.
                await peer.hear(b"DATA\r\n")
                peer.say(b"354 go on\r\n")
                assert (await peer.hear(b"\r\n.\r\n")).endswith(MESSAGE)
                peer.say(b"250 2.0.0 taken\r\n")
                await client.expect(250)
                await client.ask(b"QUIT\r\n", 221)
            upstream.close()
        [record] = gate.observer.records
        assert [one.outcome for one in record.recipients] == ["accepted", "upstream-permanent", "accepted"]

    run(main())


def test_recipients_one_by_one_go_on_one_by_one(run: Run) -> None:
    async def main() -> None:
        async with next_hop(b"220 hop.test\r\n") as hop:
            upstream = real_upstream(hop)
            async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
                client.send(MAIL)
                peer = await hop.peer()
                await peer.hear(b"\r\n")
                peer.say(b"250-hop.test\r\n250 PIPELINING\r\n")
                assert await peer.hear(b"\r\n") == MAIL
                peer.say(b"250 ok\r\n")
                await client.expect(250)
                for name, code in zip(NAMES, (250, 550, 250), strict=True):
                    line = f"RCPT TO:<{name}@bank.example>\r\n".encode()
                    client.send(line)
                    assert await peer.hear(b"\r\n") == line
                    peer.say(f"{code} as you like\r\n".encode())
                    await client.expect(code)
                await client.ask(b"RSET\r\n", 250)
                assert await peer.hear(b"\r\n") == b"RSET\r\n"
            upstream.close()
        assert gate.outcomes == ["client-gone"]

    run(main())


def test_mail_that_is_refused_with_its_recipients_behind_it(run: Run) -> None:
    async def main() -> None:
        async with next_hop(b"220 hop.test\r\n") as hop:
            upstream = real_upstream(hop)
            async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
                client.send(MAIL + RCPTS + b"DATA\r\n")
                peer = await hop.peer()
                await peer.hear(b"\r\n")
                peer.say(b"250-hop.test\r\n250 PIPELINING\r\n")
                await peer.hear(RCPTS)
                peer.say(b"550 5.7.1 not from there\r\n" + b"503 5.5.1 MAIL first\r\n" * 3)
                assert await client.expect(550) == b"550 5.7.1 not from there\r\n"
                await client.expect(503, 503, 503, 503)
            upstream.close()
        assert gate.outcomes == ["upstream-permanent"]

    run(main())


def test_recipients_ahead_of_which_some_are_ours_to_refuse(run: Run) -> None:
    """Those are not put to the upstream; the others each once, in order, duplicates among them."""

    async def main() -> None:
        policy = 'rules:\n  - {name: no, match: {recipient: "*@evil.example"}, then: reject}\ndefault: pass\n'
        async with Gatehouse(policy=policy, recipients=4) as gate, gate.caller() as client:
            said = b"bob@bank.example x@evil.example bob@bank.example carol@bank.example <bad d@e.f".split()
            client.send(MAIL + b"".join(b"RCPT TO:<" + one + b">\r\n" for one in said) + b"DATA\r\n" + MESSAGE)
            await client.expect(250, 250, 550, 250, 250, 501, 250, 354, 250)
            [session] = gate.upstream.sessions
            assert session.commands[:5] == [
                "MAIL FROM:<alice@acme.example>",
                "RCPT TO:<bob@bank.example>",
                "RCPT TO:<bob@bank.example>",
                "RCPT TO:<carol@bank.example>",
                "RCPT TO:<d@e.f>",
            ]

    run(main())


def test_more_recipients_than_are_taken(run: Run) -> None:
    async def main() -> None:
        async with Gatehouse(recipients=2) as gate, gate.caller() as client:
            client.send(MAIL + RCPTS + b"DATA\r\n" + MESSAGE)
            await client.expect(250, 250, 250, 452, 354, 250)
        assert gate.upstream.recipients == ["bob@bank.example", "carol@bank.example"]

    run(main())


# ---------------------------------------------------------------- STARTTLS


@pytest.fixture(scope="module")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A listener's context that takes client certificates of the tests' CA."""
    material = tls_material()
    return material.server_context(tmp_path_factory.mktemp("tls"), client_ca=material.ca)


def test_starttls(run: Run, server_tls: ssl.SSLContext) -> None:
    """EHLO has to be said again, STARTTLS is not offered again, and the transaction knows of TLS."""

    async def main() -> None:
        async with Gatehouse(tls=server_tls, tls_required=True) as gate, gate.caller(hello=False) as client:
            await client.expect(220)
            client.send(EHLO)
            assert b"STARTTLS" in await client.read_chunk()
            await client.ask(MAIL, 530)
            await client.ask(b"STARTTLS\r\n", 220)
            await client.start_tls(tls_material().client_context())
            await client.ask(MAIL, 503)
            client.send(EHLO)
            assert b"STARTTLS" not in await client.read_chunk()
            await client.ask(b"STARTTLS\r\n", 503)
            await client.ask(ENVELOPE + MESSAGE, *TRANSACTION)
            await client.ask(b"QUIT\r\n", 221)
            await client.read_end()
        [record] = gate.observer.records
        assert record.tls.startswith("TLSv1.3 TLS_")
        assert b"with ESMTPS" in gate.upstream.accepted[0].content

    run(main())


def digest(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


CERTIFICATE = tls_material().client
PROOFS: dict[str, tuple[SenderProof, bool, str]] = {
    "nothing is asked for": (SenderProof(), True, "none"),
    "any": (SenderProof(any_certificate=True), True, "client-certificate"),
    "any, and none is shown": (SenderProof(any_certificate=True), False, "none"),
    "this one": (
        SenderProof(certificates=frozenset({digest(CERTIFICATE.certificate_der)})),
        True,
        "client-certificate",
    ),
    "another one": (SenderProof(certificates=frozenset({"0" * 64})), True, "none"),
}


@pytest.mark.parametrize(("proof", "is_shown", "found"), PROOFS.values(), ids=PROOFS)
def test_a_client_certificate_as_proof(
    run: Run, server_tls: ssl.SSLContext, tmp_path: Path, proof: SenderProof, is_shown: bool, found: str
) -> None:
    async def main() -> None:
        async with Gatehouse(tls=server_tls, proof=proof) as gate, gate.caller() as client:
            await client.ask(MAIL + b"RSET\r\n", 250, 250)
            await client.ask(b"STARTTLS\r\n", 220)
            await client.start_tls(tls_material().client_context(tmp_path, identity=CERTIFICATE if is_shown else None))
            await client.ask(EHLO + MAIL + b"RSET\r\n", 250, 250, 250)
        assert [record.proof for record in gate.observer.records] == ["none", found]

    run(main())


def test_a_client_certificate_of_somebody_else_is_no_session(
    run: Run, server_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    async def main() -> None:
        proof = SenderProof(any_certificate=True)
        async with Gatehouse(tls=server_tls, proof=proof) as gate, gate.caller() as client:
            await client.ask(b"STARTTLS\r\n", 220)
            foreign = tls_material("Foreign").client
            # The client has finished its half of the handshake before it hears that it is not wanted (TLS 1.3).
            await client.start_tls(tls_material().client_context(tmp_path, identity=foreign))
            client.send(EHLO)
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                await client.expect(250)
            await until(lambda: gate.sessions == [1, 1])

    run(main())


def test_octets_ahead_of_the_handshake_are_never_interpreted(run: Run, server_tls: ssl.SSLContext) -> None:
    """Command injection (RFC 3207 4.2): what came behind STARTTLS in clear does not run under TLS."""

    async def main() -> None:
        async with Gatehouse(tls=server_tls) as gate, gate.caller() as client:
            await client.ask(b"STARTTLS\r\n" + EHLO + MAIL + RCPT, 220)
            await client.start_tls(tls_material().client_context())
            await client.ask(RCPT, 503)
            await client.ask(b"NOOP\r\n", 250)
        assert gate.observer.listeners == []

    run(main())


SHAKES: dict[str, Callable[[Caller], None]] = {
    "close": Caller.close,
    "reset": Caller.reset,
    "clear text": lambda client: client.send(MAIL),
    "garbage": lambda client: client.send(b"\x16\x03\x01\x00\x05hello" * 10),
}


@pytest.mark.parametrize("act", SHAKES.values(), ids=SHAKES)
def test_a_handshake_that_fails_ends_the_session(
    run: Run, server_tls: ssl.SSLContext, act: Callable[[Caller], None]
) -> None:
    async def main() -> None:
        async with Gatehouse(tls=server_tls) as gate:
            async with gate.caller() as client:
                await client.ask(b"STARTTLS\r\n", 220)
                act(client)
                await until(lambda: gate.sessions == [1, 1])
            async with gate.caller() as client:
                await client.ask(ENVELOPE + MESSAGE, *TRANSACTION)
            assert all("TLS handshake" in cause for _, cause in gate.refused)

    run(main())


@pytest.mark.parametrize("way", [Caller.close, Caller.reset], ids=["close", "reset"])
def test_a_client_that_ends_under_tls(run: Run, server_tls: ssl.SSLContext, way: Callable[[Caller], None]) -> None:
    async def main() -> None:
        async with Gatehouse(tls=server_tls) as gate, gate.caller() as client:
            await client.ask(b"STARTTLS\r\n", 220)
            await client.start_tls(tls_material().client_context())
            await client.ask(EHLO + ENVELOPE, 250, 250, 250, 354)
            client.send(CONTENT)
            await client.sent()
            way(client)
            await until(lambda: gate.sessions == [1, 1])
        assert gate.outcomes == ["client-gone"]
        assert gate.upstream.dots == []

    run(main())


# ---------------------------------------------------------------- clients that end

SAID = {
    "nothing": (b"", ()),
    "half a command": (b"EHL", ()),
    "EHLO": (EHLO, (250,)),
    "MAIL": (EHLO + MAIL, (250, 250)),
    "RCPT": (EHLO + MAIL + RCPT, (250, 250, 250)),
    "DATA": (EHLO + ENVELOPE, (250, 250, 250, 354)),
    "half the data": (EHLO + ENVELOPE + CONTENT, (250, 250, 250, 354)),
    "all but the last octet": (EHLO + ENVELOPE + MESSAGE[:-1], (250, 250, 250, 354)),
    "a whole transaction": (EHLO + ENVELOPE + MESSAGE, (250, *TRANSACTION)),
}
WAYS = {"close": Caller.close, "reset": Caller.reset, "half-close": Caller.half_close}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("said", "codes"), SAID.values(), ids=SAID)
def test_a_client_that_ends_at_each_step(
    run: Run, said: bytes, codes: tuple[int, ...], way: Callable[[Caller], None]
) -> None:
    """The upstream's transaction ends with the client's, and nothing but a whole message is ever passed on."""

    async def main() -> None:
        async with Gatehouse() as gate, gate.caller(hello=False) as client:
            await client.expect(220)
            await client.ask(said, *codes)
            way(client)
            await until(lambda: gate.sessions == [1, 1])
            if way is Caller.half_close:
                assert await client.read_end() == b""
        is_whole = said.endswith(MESSAGE)
        assert gate.outcomes == (["accepted"] if is_whole else ["client-gone"] if MAIL in said else [])
        assert len(gate.upstream.dots) == is_whole

    run(main())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("step", [Step.CONNECT, Step.MAIL, Step.RCPT])
def test_a_client_that_ends_while_the_upstream_is_asked(run: Run, step: Step, way: Callable[[Caller], None]) -> None:
    async def main() -> None:
        async with Gatehouse(upstream=UpstreamDouble(Rule(step, SLOW))) as gate, gate.caller() as client:
            client.send(MAIL)
            if step is Step.RCPT:
                await client.expect(250)
                client.send(RCPT)
            await gate.upstream.is_waiting.wait()
            way(client)
            await turn()
            gate.upstream.go_on()
            await until(lambda: gate.sessions == [1, 1])
        assert gate.outcomes == ["client-gone"]

    run(main())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_client_that_ends_while_its_message_is_sent_has_not_sent_it(run: Run, way: Callable[[Caller], None]) -> None:
    """It will try again, so the final dot is not sent; one that has only closed its side hears 451."""

    async def main() -> None:
        async with Gatehouse(upstream=UpstreamDouble(Rule(Step.CONTENT, SLOW))) as gate, gate.caller() as client:
            await client.ask(ENVELOPE, 250, 250, 354)
            client.send(MESSAGE)
            await gate.upstream.is_waiting.wait()
            way(client)
            await turn()
            gate.upstream.go_on()
            if way is Caller.half_close:
                await client.expect(451)
                assert await client.read_end() == b""
            await until(lambda: gate.sessions == [1, 1])
        assert gate.outcomes == ["client-gone"]
        assert gate.upstream.dots == []

    run(main())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_client_that_ends_after_the_final_dot_was_sent_changes_nothing(
    run: Run, way: Callable[[Caller], None]
) -> None:
    """The delivery is the worker's: it goes on, its outcome counts, and who has only closed its side hears it."""

    async def main() -> None:
        async with Gatehouse(upstream=UpstreamDouble(Rule(Step.DOT, SLOW))) as gate, gate.caller() as client:
            await client.ask(ENVELOPE, 250, 250, 354)
            client.send(MESSAGE)
            await gate.upstream.is_waiting.wait()
            way(client)
            await turn()
            assert await gate.deliveries.wait(0) == 1
            gate.upstream.go_on()
            if way is Caller.half_close:
                await client.expect(250)
                assert await client.read_end() == b""
            await until(lambda: gate.sessions == [1, 1])
        assert gate.outcomes == ["accepted"]
        assert len(gate.upstream.accepted) == 1

    run(main())


def test_everything_said_and_then_closed(run: Run) -> None:
    """A client that has pipelined a message and closed its side hears every reply, and that it has to come again."""

    async def main() -> None:
        async with Gatehouse() as gate, gate.caller(hello=False) as client:
            client.send(EHLO + ENVELOPE + MESSAGE + b"QUIT\r\n")
            client.half_close()
            await client.expect(220, 250, 250, 250, 354)
            code = int((await client.read_reply())[:3])
            await client.expect(221)
            assert await client.read_end() == b""
        # Whether its end is seen before the final dot is sent is a matter of microseconds; both are answered.
        assert (code, gate.outcomes) in [(250, ["accepted"]), (451, ["client-gone"])]
        assert len(gate.upstream.accepted) == (code == 250)

    run(main())


def test_what_begins_after_the_client_has_closed_its_side(run: Run) -> None:
    """It has been said before, and nobody is known to hear the answer: it is not sent, for it will come again."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.CONNECT, SLOW, connection=0))
        async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
            client.send((ENVELOPE + MESSAGE) * 2)
            await upstream.is_waiting.wait()
            client.half_close()
            await turn()
            upstream.go_on()
            await client.expect(250, 250, 354, 451, 250, 250, 354, 451)
            assert await client.read_end() == b""
        assert gate.outcomes == ["client-gone"] * 2
        assert gate.upstream.dots == []

    run(main())


# ---------------------------------------------------------------- limits

TOO_LARGE = b"x" * 78 + b"\r\n"


def test_too_large_is_read_to_its_end(run: Run) -> None:
    async def main() -> None:
        async with Gatehouse(message_limit=1000) as gate, gate.caller() as client:
            await client.ask(b"MAIL FROM:<a@b.example> SIZE=1001\r\n", 552)
            await client.ask(ENVELOPE + TOO_LARGE * 100 + b".\r\n", 250, 250, 354, 552)
            await client.ask(ENVELOPE + MESSAGE, *TRANSACTION)
        assert gate.outcomes == ["message-too-large", "accepted"]

    run(main())


FLAWS = {
    "bare LF": (b"a\nb\r\n", "bare-line-ending"),
    "bare CR": (b"a\rb\r\n", "bare-line-ending"),
    "NUL": (b"a\0b\r\n", "nul-octet"),
    "smuggled": (b"a\n.\nMAIL FROM:<forged@acme.example>\r\n", "bare-line-ending"),
}


@pytest.mark.parametrize(("flawed", "outcome"), FLAWS.values(), ids=FLAWS)
def test_flaws_are_refused_and_never_forwarded(run: Run, flawed: bytes, outcome: str) -> None:
    async def main() -> None:
        async with Gatehouse() as gate, gate.caller() as client:
            await client.ask(ENVELOPE + CONTENT + flawed + b".\r\n" + b"NOOP\r\n", 250, 250, 354, 550, 250)
            assert b"5.6.0" in client.heard
        assert gate.outcomes == [outcome]
        assert gate.upstream.dots == []

    run(main())


def test_the_memory_budget(run: Run) -> None:
    """Beyond it: 452, the data read to their end. What was taken is given back when the message has ended."""

    async def main() -> None:
        async with Gatehouse(in_flight=10_000) as gate, gate.caller() as client:
            assert b"4.3.1" in await client.ask(ENVELOPE + TOO_LARGE * 200 + b".\r\n", 250, 250, 354, 452)
            assert gate.budget.free == 10_000
            await client.ask(ENVELOPE + TOO_LARGE * 100 + b".\r\n", *TRANSACTION)
            assert gate.budget.free == 10_000
        assert gate.outcomes == ["memory-budget", "accepted"]

    run(main())


def test_the_memory_budget_is_shared(run: Run) -> None:
    """A message counts from its first chunk until it is delivered; the next one fits only then."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.DOT, SLOW, connection=0))
        gate = Gatehouse(in_flight=10_000, upstream=upstream)
        async with gate, gate.caller() as first, gate.caller() as other:
            await first.ask(ENVELOPE, 250, 250, 354)
            first.send(TOO_LARGE * 100 + b".\r\n")
            await upstream.is_waiting.wait()
            assert gate.budget.free < 2_100
            await other.ask(ENVELOPE + TOO_LARGE * 50 + b".\r\n", 250, 250, 354, 452)
            upstream.go_on()
            await first.expect(250)
            await other.ask(ENVELOPE + TOO_LARGE * 50 + b".\r\n", *TRANSACTION)

    run(main())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_memory_of_a_message_that_never_ends_is_given_back(run: Run, way: Callable[[Caller], None]) -> None:
    async def main() -> None:
        async with Gatehouse(in_flight=10_000) as gate, gate.caller() as client:
            await client.ask(ENVELOPE, 250, 250, 354)
            client.send(TOO_LARGE * 50)
            await until(lambda: gate.budget.free == 6_000)
            way(client)
            await until(lambda: gate.budget.free == 10_000)

    run(main())


def test_too_many_sessions(run: Run) -> None:
    """All at once: those who came first are served, and each that ends makes room for another."""

    async def main() -> None:
        async with Gatehouse(sessions=2) as gate:
            # The loop does not turn before all of them are connected.
            socks = [socket.create_connection((LOOPBACK, gate.port)) for _ in range(5)]
            clients = [Caller(*await asyncio.open_connection(sock=sock)) for sock in socks]
            greetings = [await client.read_reply() for client in clients]
            assert [greeting[:9] for greeting in greetings] == [b"220 gw1.a"] * 2 + [b"421 4.3.2"] * 3
            for client in clients[2:]:
                assert await client.read_end() == b""
            assert gate.refused == [(LOOPBACK, "too many sessions, try again later")] * 3
            await clients[0].ask(b"QUIT\r\n", 221)
            await clients[0].read_end()
            async with gate.caller() as client:
                await client.ask(b"NOOP\r\n", 250)
            for client in clients:
                client.reset()

    run(main())


def test_too_many_errors_end_the_session(run: Run) -> None:
    async def main() -> None:
        async with Gatehouse() as gate, gate.caller() as client:
            await client.ask(b"XYZZY\r\n" * (MAX_ERRORS + 1), *[500] * MAX_ERRORS, 421)
            assert await client.read_end() == b""
            assert gate.sessions == [1, 1]

    run(main())


def test_who_brings_mail_may_err_again(run: Run) -> None:
    """A client with a long list of dead recipients is not taken for one that guesses."""

    async def main() -> None:
        async with Gatehouse() as gate, gate.caller() as client:
            for _ in range(3):
                await client.ask(b"XYZZY\r\n" * (MAX_ERRORS - 1), *[500] * (MAX_ERRORS - 1))
                await client.ask(ENVELOPE + MESSAGE, *TRANSACTION)
        assert gate.outcomes == ["accepted"] * 3

    run(main())


def test_what_is_read_ahead_is_bounded(run: Run) -> None:
    """While one command is being answered, a client that goes on talking is left standing, and served afterwards."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.MAIL, SLOW))
        async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
            noop = b"NOOP " + b"x" * 2000 + b"\r\n"
            client.send(MAIL)
            await upstream.is_waiting.wait()
            client.send(noop * 4000)
            await turn()
            assert client.unsent > 2_000_000
            upstream.go_on()
            await client.expect(250, *[250] * 4000)
            assert client.unsent == 0
            await client.ask(b"RSET\r\n", 250)

    run(main())


# ---------------------------------------------------------------- time


STILL: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "before EHLO": (b"", ()),
    "after EHLO": (EHLO, (250,)),
    "in a transaction": (EHLO + MAIL + RCPT, (250, 250, 250)),
    "in the data": (EHLO + ENVELOPE + CONTENT, (250, 250, 250, 354)),
}


@pytest.mark.parametrize(("said", "codes"), STILL.values(), ids=STILL)
def test_a_client_that_says_nothing_more(run: Run, said: bytes, codes: tuple[int, ...]) -> None:
    async def main() -> None:
        async with Gatehouse(idle=SHORT) as gate, gate.caller(hello=False) as client:
            await client.expect(220)
            await client.ask(said, *codes)
            assert await client.expect(421) == b"421 4.4.2 idle too long\r\n"
            assert await client.read_end() == b""
            await until(lambda: gate.sessions == [1, 1])
        assert gate.outcomes == (["client-gone"] if MAIL in said else [])

    run(main())


def test_our_own_time_is_not_the_clients(run: Run) -> None:
    """While we answer nobody is idle, and afterwards the time begins anew."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.DOT, SLOW))
        async with Gatehouse(idle=2 * SHORT, upstream=upstream) as gate, gate.caller() as client:
            await client.ask(ENVELOPE, 250, 250, 354)
            client.send(MESSAGE)
            await upstream.is_waiting.wait()
            loop = asyncio.get_running_loop()
            end = loop.time() + 5 * SHORT
            await until(lambda: loop.time() > end)
            upstream.go_on()
            await client.expect(250)
            await client.ask(b"NOOP\r\n", 250)
            await client.expect(421)
        assert gate.outcomes == ["accepted"]

    run(main())


# ---------------------------------------------------------------- slow readers


async def chatter(client: Caller, kilobytes: int) -> int:
    """Ask for so much to be said, and read nothing; return how many replies are due."""
    size = len(await client.ask(EHLO, 250))
    count = kilobytes * 1024 // size
    client.send(EHLO * count)
    await turn()
    return count


FEW, MANY = 40, 400
"""Kilobytes of replies that do not, and do, make the gateway wait for its client: its own buffer ends at 64."""


def test_a_client_that_does_not_read_holds_up_nobody_else(run: Run) -> None:
    """And when it reads again it has every reply, also to what it said meanwhile."""

    async def main() -> None:
        async with Gatehouse(is_narrow=True) as gate, gate.caller() as slow, gate.caller() as other:
            count = await chatter(slow, MANY)
            await other.ask(ENVELOPE + MESSAGE, *TRANSACTION)
            slow.send(b"NOOP\r\n")
            await turn()
            await slow.expect(*[250] * count, 250)
            await slow.ask(b"QUIT\r\n", 221)

    run(main())


@pytest.mark.parametrize("last", [b"", b"QUIT\r\n"], ids=["goes on", "QUIT"])
def test_a_client_that_never_reads_is_cut(run: Run, last: bytes) -> None:
    """It cannot be told: what waits to be written would wait for ever, and the session keep its place."""

    async def main() -> None:
        async with Gatehouse(is_narrow=True, idle=2 * SHORT) as gate, gate.caller() as client:
            await chatter(client, MANY)
            client.send(last)
            await until(lambda: gate.sessions == [1, 1])
            await client.read_end()
            assert b"\r\n421 " not in client.heard

    run(main())


def test_a_client_that_does_not_take_the_last_replies_is_cut(run: Run) -> None:
    """They are too few to hold up the session: it ends in order, and its socket soon after it."""

    async def main() -> None:
        async with Gatehouse(is_narrow=True, linger=SHORT) as gate, gate.caller() as client:
            await chatter(client, FEW)
            client.send(b"QUIT\r\n")
            await until(lambda: gate.sessions == [1, 1])
            loop = asyncio.get_running_loop()
            end = loop.time() + 2 * SHORT
            await until(lambda: loop.time() > end)
            await client.read_end()
            assert b"\r\n221 " not in client.heard

    run(main())


def test_a_client_that_takes_the_last_replies_late_has_them(run: Run) -> None:
    async def main() -> None:
        async with Gatehouse(is_narrow=True) as gate, gate.caller() as client:
            count = await chatter(client, FEW)
            client.send(b"QUIT\r\n")
            await until(lambda: gate.sessions == [1, 1])
            await client.expect(*[250] * count, 221)
            assert await client.read_end() == b""

    run(main())


# ---------------------------------------------------------------- drain


def test_draining(run: Run) -> None:
    """Idle sessions hear 421, one with a transaction finishes it first, new ones are not taken."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.DOT, SLOW))
        async with (
            Gatehouse(upstream=upstream) as gate,
            gate.caller() as idle,
            gate.caller() as typing,
            gate.caller() as sending,
        ):
            await typing.ask(MAIL + RCPT, 250, 250)
            await sending.ask(ENVELOPE, 250, 250, 354)
            sending.send(MESSAGE)
            await upstream.is_waiting.wait()
            drained = asyncio.create_task(gate.listener.drain(SECONDS))
            assert await idle.expect(421) == b"421 4.3.2 service shutting down, try again later\r\n"
            assert await idle.read_end() == b""
            async with gate.caller(hello=False) as late:
                await late.expect(421)
                await late.read_end()
            await typing.ask(b"DATA\r\n", 354)
            typing.send(MESSAGE)
            await turn()
            assert not drained.done()
            upstream.go_on()
            await sending.expect(250, 421)
            await typing.expect(250, 421)
            await drained
        assert gate.outcomes == ["accepted", "accepted"]

    run(main())


def test_a_drain_ends_in_time(run: Run) -> None:
    """Who does not finish is cut off; what is on its way to the upstream is the worker's, and goes on."""

    async def main() -> None:
        upstream = UpstreamDouble(Rule(Step.DOT, SLOW))
        async with Gatehouse(upstream=upstream) as gate, gate.caller() as typing, gate.caller() as sending:
            await typing.ask(MAIL, 250)
            await sending.ask(ENVELOPE, 250, 250, 354)
            sending.send(MESSAGE)
            await upstream.is_waiting.wait()
            await gate.listener.drain(SHORT)
            assert await typing.read_end() == b""
            assert await sending.read_end() == b""
            assert await gate.deliveries.wait(0) == 1
            upstream.go_on()
            assert await gate.deliveries.wait(SECONDS) == 0
        assert sorted(gate.outcomes) == ["accepted", "client-gone"]

    run(main())


def test_a_drain_with_nobody_there(run: Run) -> None:
    async def main() -> None:
        async with Gatehouse() as gate:
            await gate.listener.drain(SECONDS)

    run(main())


# ---------------------------------------------------------------- bugs of ours


class Bug(Exception):
    """What nobody expected."""


@pytest.mark.parametrize("step", [Step.CONNECT, Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT, Step.DOT])
def test_a_bug_is_451_and_told(run: Run, step: Step) -> None:
    """Wherever it is raised the client keeps its mail, hears no more than that, and others are served."""

    async def main() -> None:
        bug = Bug("secret text")
        upstream = UpstreamDouble(Rule(step, bug, times=2))
        async with Gatehouse(upstream=upstream) as gate, gate.caller() as client:
            client.send(MAIL)
            good = {Step.CONNECT: 0, Step.MAIL: 0, Step.RCPT: 1}.get(step, 3)
            for code, octets in ((250, RCPT), (250, b"DATA\r\n"), (354, MESSAGE))[:good]:
                await client.expect(code)
                client.send(octets)
            assert b"local error, try again later" in await client.expect(451)
            assert b"secret" not in client.heard
            assert bug in gate.failures
            async with gate.caller() as other:
                await other.ask(b"NOOP\r\n", 250)
        assert gate.outcomes == ["internal-error"]

    run(main())


def test_a_bug_in_front_of_the_transaction(run: Run) -> None:
    async def main() -> None:
        async with Gatehouse() as gate, gate.caller() as client:
            gate.bug = Bug("secret text")
            assert await client.ask(b"NOOP\r\n" + MAIL, 250, 451) == b"451 4.3.0 local error, try again later\r\n"
            assert await client.read_end() == b""
            assert gate.failures == [gate.bug]

    run(main())


def test_an_upstream_that_breaks_is_no_bug(run: Run) -> None:
    async def main() -> None:
        async with Gatehouse(upstream=UpstreamDouble(Rule(Step.RCPT, BROKEN))) as gate, gate.caller() as client:
            await client.ask(MAIL, 250)
            await client.ask(RCPT, 451)
            await client.ask(b"RSET\r\n", 250)
            assert gate.failures == []

    run(main())


# ---------------------------------------------------------------- what is never said


def test_nothing_that_a_client_says_comes_back(run: Run) -> None:
    async def main() -> None:
        marker = b"secretword"
        async with Gatehouse() as gate, gate.caller(hello=False) as client:
            await client.expect(220)
            lines = [
                b"EHLO " + marker,
                marker,
                b"VRFY " + marker,
                b"EXPN " + marker,
                b"HELP " + marker,
                b"NOOP " + marker,
                b"MAIL FROM:<" + marker,
                b"MAIL FROM:<a@b.example> " + marker + b"=1",
                b"MAIL FROM:<" + marker + b"@acme.example>",
                b"RCPT TO:<" + marker + b"@bank.example>",
                b"RCPT TO:<" + marker,
                b"RCPT TO:<a@b.example> " + marker,
                b"DATA " + marker,
                b"DATA",
            ]
            for line in lines:
                client.send(line + b"\r\n")
                await client.read_reply()
            await client.ask(b"Subject: " + marker + b"\r\n\r\n" + marker + b"\n\r\n.\r\n", 550)
            assert marker not in client.heard

    run(main())
