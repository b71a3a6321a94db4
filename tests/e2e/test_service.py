"""The running service: what it refuses, how it drains, reloads and loses workers, what it tells and what it never does.

Each test has a gateway of its own; its upstream is the double.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import smtplib
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.cli import cli
from tests.support.dialog import Dialog
from tests.support.house import House
from tests.support.letters import Letter
from tests.support.openssl import OpenSsl
from tests.support.peers import free_port, wait_for
from tests.support.postfix import Postfix
from tests.support.process import GatewayProcess
from tests.support.relay import Relay
from tests.support.script import Gate, Script, Step, hang, reply
from tests.support.sink import EXTENSIONS, Sink

pytestmark = pytest.mark.e2e

ALICE, BOB = "alice@acme.example", "bob@acme.example"
CAROL, DAVE = "carol@bank.example", "dave@bank.example"
FRANK = "frank@outside.example"


@pytest.fixture
def house(tmp_path: Path, sink: Sink) -> House:
    """A company whose upstream is the double."""
    house = House(tmp_path)
    house.write((sink.host, sink.port))
    return house


def begin(gateway: GatewayProcess, *to: str, sender: str = ALICE, listener: str = "users") -> Dialog:
    """Open a session and say everything in front of DATA; all is accepted."""
    talk = Dialog(gateway.host, gateway.port(listener), seconds=10)
    try:
        talk.expect("220")
        talk.command("EHLO client.test", "250")
        talk.command(f"MAIL FROM:<{sender}>", "250")
        for one in to:
            talk.command(f"RCPT TO:<{one}>", "250")
    except BaseException:
        talk.close()
        raise
    return talk


def send(gateway: GatewayProcess, to: str, code: str, *, sender: str = ALICE, listener: str = "users") -> str:
    """Send a message; return the text of the reply to the final dot, which has this code."""
    with begin(gateway, to, sender=sender, listener=listener) as talk:
        text = talk.message(Letter.plain(sender=sender, to=to).octets, code).text
        talk.command("QUIT", "221")
        return text


def start_message(talk: Dialog, to: str) -> None:
    """Send DATA, a message and the final dot; wait for no reply to it."""
    talk.command("DATA", "354")
    talk.send(Letter.plain(sender=ALICE, to=to).octets + b".\r\n")


# ---------------------------------------------------------------- a key that is not there


def no_key(house: House) -> None:
    (house.folder / "keys" / f"{ALICE}.key").unlink()


def expired(house: House) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    issued = house.acme.identity(ALICE, not_before=yesterday - timedelta(days=90), not_after=yesterday)
    issued.pem_files(house.folder / "keys")


@pytest.mark.parametrize("to", [CAROL, FRANK], ids=["sign and encrypt", "sign"])
@pytest.mark.parametrize("break_it", [no_key, expired], ids=["no key", "expired"])
def test_without_a_signing_key_mail_waits(house: House, sink: Sink, break_it: Callable[[House], None], to: str) -> None:
    """451 4.3.5 while a key is missing; nothing leaves unsigned; repaired and reloaded, all is well."""
    good = house.people[ALICE]
    break_it(house)
    with GatewayProcess(house.settings) as gateway:
        assert gateway.log("configuration-problem")
        text = send(gateway, to, "451")
        assert re.fullmatch(r"4\.3\.5 a key of this gateway is not available, try again later \[\w{16}\]", text)
        [event] = gateway.wait_log("transaction")
        assert (event["outcome"], event["level"]) == ("own-key-unavailable", "warning")
        causes = [one for one in gateway.log("lookup-unavailable") if one["lookup"] == "signer"]
        assert {one["id"] for one in causes} == {event["id"]}
        assert all(ALICE in one["cause"] for one in causes)
        assert sink.deliveries == []
        # Bob's key is there.
        send(gateway, to, "250", sender=BOB)

        good.pem_files(house.folder / "keys")
        gateway.signal(signal.SIGHUP)
        gateway.wait_log("reloaded")
        send(gateway, to, "250")
    assert len(sink.wait(2)) == 2


def test_inbound_mail_waits_for_a_decryption_key(house: House, sink: Sink, tmp_path: Path) -> None:
    """Encrypted mail whose key is missing is put off, not handed on closed: nobody could read it there."""
    (tmp_path / "openssl").mkdir()
    openssl = OpenSsl(tmp_path / "openssl", anchors=house.anchors())
    whole = Letter.plain(sender=CAROL, to=ALICE)
    closed = whole.fields + openssl.encrypt(whole.entity, house.people[ALICE])
    no_key(house)
    with GatewayProcess(house.settings) as gateway, begin(gateway, ALICE, sender=CAROL, listener="border") as talk:
        assert "4.3.5 a key of this gateway is not available" in talk.message(closed, "451").text
    assert sink.deliveries == []


# ---------------------------------------------------------------- SIGTERM


def test_sigterm_drains(house: House, tmp_path: Path) -> None:
    """A transaction in flight ends as it would, idle sessions hear 421, nobody new gets in, exit status 0."""
    gate = Gate()
    with Sink(Script({Step.DOT: [gate.hold()]})) as sink:
        house.write((sink.host, sink.port))
        with GatewayProcess(house.settings) as gateway, begin(gateway, CAROL) as talk:
            idle = Dialog(gateway.host, gateway.port("users"))
            idle.expect("220")
            half = begin(gateway, FRANK)
            start_message(talk, CAROL)
            gate.wait()

            gateway.signal(signal.SIGTERM)
            [event] = gateway.wait_log("draining")
            idle.expect("421", "4.3.2 service shutting down")
            idle.expect_closed()
            assert gateway.get("/readyz") == (503, "draining\n")
            assert gateway.get("/healthz")[0] == 200
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((gateway.host, gateway.port("users")), timeout=2)
            # Who is in the middle of a transaction may finish it.
            start_message(half, FRANK)
            half.expect("250")
            half.expect("421")

            gate.open()
            talk.expect("250", "2.0.0 accepted")
            talk.expect("421", "4.3.2 service shutting down")
            talk.expect_closed()
            assert gateway.wait() == 0
            [drained] = gateway.log("drained")
            for one in (idle, half):
                one.close()
        assert len(sink.wait(2)) == 2
    assert event["in_flight"] == 3
    assert drained["abandoned"] == 0


def test_a_drain_has_an_end(house: House) -> None:
    """What does not end in time is given up: the client hears nothing, keeps its mail, and tries again."""
    with Sink(Script({Step.DOT: hang()})) as sink:
        house.write((sink.host, sink.port), drain="1s")
        with GatewayProcess(house.settings) as gateway, begin(gateway, CAROL) as talk:
            start_message(talk, CAROL)
            sink.wait_arrived(1)
            assert gateway.stop(seconds=10) == 0
            talk.expect_closed()
            [drained] = gateway.log("drained")
            assert drained["abandoned"] == 1


# ---------------------------------------------------------------- SIGHUP

PASS = "default: pass\n"
REJECT = "rules:\n  - name: nobody\n    match: {recipient: '*@outside.example'}\n    then: reject\ndefault: pass\n"


def write_policy(house: House, text: str) -> None:
    (house.folder / "policies" / "10-test.yaml").write_text(text)


def test_sighup_reloads(house: House, sink: Sink) -> None:
    """A changed policy is in force afterwards, on the same port; a transaction that has begun ends on the old one."""
    house.write((sink.host, sink.port), policy=PASS)
    with GatewayProcess(house.settings) as gateway, begin(gateway, FRANK) as talk:
        port = gateway.port("users")
        write_policy(house, REJECT)
        gateway.signal(signal.SIGHUP)
        gateway.wait_log("reloaded")
        talk.message(Letter.plain(sender=ALICE, to=FRANK).octets, "250")
        talk.expect("421")

        assert gateway.port("users") == port
        with Dialog(gateway.host, port) as late:
            late.expect("220")
            late.command("EHLO client.test", "250")
            late.command(f"MAIL FROM:<{ALICE}>", "250")
            late.command(f"RCPT TO:<{FRANK}>", "550", "5.7.1 refused by policy")
        gateway.wait_log("drained", worker="w1")
        assert gateway.get("/readyz") == (200, "1 of 1 workers ready\n")
        assert gateway.metric("smime_gateway_reloads_total", result="ok") == 1
    assert len(sink.wait(1)) == 1


@pytest.mark.parametrize("what", ["policy", "settings"])
def test_a_broken_file_changes_nothing(house: House, sink: Sink, what: str) -> None:
    """Told with file and line; what was in force stays, and its workers never notice."""
    house.write((sink.host, sink.port), policy=PASS)
    with GatewayProcess(house.settings) as gateway:
        if what == "policy":
            write_policy(house, "default: pas\n")
        else:
            house.settings.write_text(house.settings.read_text() + "limts: {}\n")
        gateway.signal(signal.SIGHUP)
        [failed] = gateway.wait_log("reload-failed")
        [problem] = gateway.wait_log("configuration-problem")

        send(gateway, FRANK, "250")
        assert failed["problems"] == 1
        assert problem["line"] == (1 if what == "policy" else len(house.settings.read_text().splitlines()))
        assert problem["file"].endswith("10-test.yaml" if what == "policy" else "gateway.yaml")
        assert ("'pass'" if what == "policy" else "'limits'") in problem["problem"]
        assert list(gateway.workers) == ["w1"]
        assert gateway.metric("smime_gateway_reloads_total", result="failed") == 1


def test_a_generation_that_cannot_start_changes_nothing(house: House, sink: Sink) -> None:
    """New workers that die before they listen do not take the running ones with them."""
    house.write((sink.host, sink.port), policy=PASS)
    with GatewayProcess(house.settings) as gateway:
        secret = house.folder / "state" / "secret"
        secret.chmod(0o644)
        gateway.signal(signal.SIGHUP)
        gateway.wait_log("reload-failed")
        [problem] = gateway.wait_log("configuration-problem")
        assert problem["problem"] == "worker w2 ended with exit 1 before it listened"
        send(gateway, FRANK, "250")

        secret.chmod(0o600)
        gateway.signal(signal.SIGHUP)
        gateway.wait_log("reloaded")
        send(gateway, FRANK, "250")


def test_reloads_in_a_row(house: House, sink: Sink) -> None:
    """Signals faster than reloads: they run one after the other, and exactly the wanted workers are left."""
    house.write((sink.host, sink.port), policy=PASS, workers=2)
    with GatewayProcess(house.settings) as gateway:
        gateway.signal(signal.SIGHUP)
        gateway.wait_log("worker-started", count=3)
        gateway.signal(signal.SIGHUP)
        gateway.wait_log("reloaded", count=2)
        send(gateway, FRANK, "250")
        wait_for(lambda: len(gateway.workers) == 2, what="two workers are left")
        assert gateway.get("/readyz") == (200, "2 of 2 workers ready\n")
        assert not gateway.log("worker-died")


def test_reload_with_other_listeners_and_workers(house: House, sink: Sink) -> None:
    """Listeners and workers come and go; a port that cannot be had undoes all of it."""
    upstream = (sink.host, sink.port)
    house.write(upstream, policy=PASS)
    with GatewayProcess(house.settings) as gateway, socket.create_server(("127.0.0.1", 0)) as other:
        proof = {"networks": ["127.0.0.0/8"]}
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        house.write(upstream, listeners={"second": {"sender_proof": proof}, "third": {"listen": taken}})
        gateway.signal(signal.SIGHUP)
        [problem] = gateway.wait_log("configuration-problem")
        assert f"listeners.third.listen: cannot listen on {taken}: Address already in use" in problem["problem"]
        send(gateway, FRANK, "250")

        old = gateway.port("users")
        house.write(upstream, listeners={"second": {"sender_proof": proof}}, workers=2)
        gateway.signal(signal.SIGHUP)
        gateway.wait_log("reloaded")
        gateway.wait_log("listening", listener="second")
        gateway.wait_log("drained", worker="w1")
        send(gateway, FRANK, "250", listener="second")
        assert gateway.get("/readyz") == (200, "2 of 2 workers ready\n")
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((gateway.host, old), timeout=2)

        house.write(upstream, listeners={"second": {"sender_proof": proof}})
        gateway.signal(signal.SIGHUP)
        gateway.wait_log("reloaded", count=2)
        gateway.wait_log("drained", count=3)
        assert gateway.get("/readyz") == (200, "1 of 1 workers ready\n")
        send(gateway, FRANK, "250", listener="second")


# ---------------------------------------------------------------- workers


def test_workers_end_with_a_killed_supervisor(house: House) -> None:
    """Nobody is left without somebody to watch over: workers drain when the supervisor is gone."""
    house.write(("127.0.0.1", 9), workers=2)
    with GatewayProcess(house.settings) as gateway:
        pids = list(gateway.workers.values())
        os.kill(gateway.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, pids)), what="the workers have ended")
        wait_for(lambda: len(gateway.log("drained")) == 2, what="their last words")


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_workers_share_a_port_and_the_metrics_are_their_sum(house: House, sink: Sink) -> None:
    """Both get connections, and one page counts for both, also for a worker that has died."""
    house.write((sink.host, sink.port), policy=PASS, workers=2)
    with GatewayProcess(house.settings) as gateway:
        sent = 0
        while len({event["worker"] for event in gateway.log("transaction")}) < 2:
            send(gateway, FRANK, "250")
            sent += 1
            gateway.wait_log("transaction", count=sent)
            assert sent < 50, "one worker gets everything"
        accepted = {"listener": "users", "outcome": "accepted"}
        assert gateway.metric("smime_gateway_transactions_total", **accepted) == sent
        assert gateway.metric("smime_gateway_workers_ready") == 2

        pid = gateway.workers["w1"]
        os.kill(pid, signal.SIGKILL)
        gateway.wait_log("worker-died", died="w1", status="SIGKILL")
        assert gateway.metric("smime_gateway_transactions_total", **accepted) == sent
        assert gateway.metric("smime_gateway_worker_deaths_total") == 1
        wait_for(lambda: gateway.get("/readyz")[0] == 200, what="the worker is replaced")
        send(gateway, FRANK, "250")


def test_health(house: House) -> None:
    """/healthz and /readyz in words and status; while no worker takes mail the gateway lives and is not ready."""
    house.write(("127.0.0.1", 9))
    with GatewayProcess(house.settings) as gateway:
        assert gateway.get("/healthz") == (200, "alive\n")
        assert gateway.get("/readyz") == (200, "1 of 1 workers ready\n")
        os.kill(gateway.workers["w1"], signal.SIGKILL)
        wait_for(lambda: gateway.get("/readyz") == (503, "0 of 1 workers ready\n"), what="not ready")
        assert gateway.get("/healthz")[0] == 200
        wait_for(lambda: gateway.get("/readyz")[0] == 200, what="ready again")


# ---------------------------------------------------------------- load, loops, what the upstream cannot do


def test_many_at_once(house: House, sink: Sink) -> None:
    """Two hundred messages of two treatments on twenty sessions and two workers: each recipient has each once."""
    house.write((sink.host, sink.port), workers=2)
    with GatewayProcess(house.settings) as gateway:

        def talk(_number: int) -> None:
            with smtplib.SMTP(gateway.host, gateway.port("users"), timeout=30) as client:
                for _ in range(10):
                    message = Letter.plain(sender=ALICE, to=f"{CAROL}, {FRANK}").octets
                    client.sendmail(ALICE, [CAROL, FRANK], message)

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(talk, range(20)))
        assert gateway.log("unexpected") == []
    pairs = [(delivery.recipients, re.search(rb"Message-ID: (.*)\r", delivery.content)) for delivery in sink.wait(400)]
    distinct = {(recipients, found[1]) for recipients, found in pairs if found}
    assert len(distinct) == 400


def test_a_next_hop_that_is_ourselves(house: House) -> None:
    """Settings that lead back to us: told in the log, 451 at MAIL; nothing is asked of ourselves again and again."""
    with Relay() as relay:
        house.write((relay.host, relay.port), policy=PASS)
        with GatewayProcess(house.settings) as gateway, Dialog(gateway.host, gateway.port("users")) as talk:
            relay.target = (gateway.host, gateway.port("users"))
            talk.expect("220")
            talk.command("EHLO client.test", "250")
            talk.command(f"MAIL FROM:<{ALICE}>", "451", "4.4.1 the next hop does not answer")
            [lost] = gateway.wait_log("upstream-lost")
            assert gateway.metric("smime_gateway_sessions_total", listener="users") == 2
    assert lost["cause"] == "the next hop is this gateway itself: a mail loop"


def test_a_loop_by_way_of_others_ends(house: House) -> None:
    """Mail that a next hop sends back to us is refused after a few rounds, and its sender hears of it."""
    port = free_port()
    house.write(("127.0.0.1", port), policy=PASS)
    with GatewayProcess(house.settings) as gateway:
        with Postfix(hostname="loop.test", relayhost=(gateway.host, gateway.port("users")), port=port) as other:
            send(gateway, FRANK, "250")
            other.wait_log(r"status=bounced \(host .* said: 554 5\.4\.6 mail loop detected")
        assert len(gateway.log("transaction", outcome="routing-loop")) >= 1
        assert len(gateway.log("transaction", outcome="accepted")) >= 4


def test_memory_is_bounded(house: House, sink: Sink) -> None:
    """Beyond the budget for mail in flight a message hears 452; when there is room again it gets in."""
    house.write((sink.host, sink.port), policy=PASS, limits={"message": "1MiB", "in_flight": "1MiB"})
    half = b"From: alice@acme.example\r\n\r\n" + b"x" * 70 * 1000 + b"\r\n"
    large = b"From: alice@acme.example\r\n\r\n" + (b"y" * 70 + b"\r\n") * 10_000
    with GatewayProcess(house.settings) as gateway, begin(gateway, FRANK) as first:
        first.command("DATA", "354")
        first.send(large)
        wait_for(lambda: send_raw(gateway, half + large[:400_000] + b"\r\n", "452|250") == "452", what="no room")
        first.send(b".\r\n")
        first.expect("250")
        assert send_raw(gateway, half, "250") == "250"


def send_raw(gateway: GatewayProcess, content: bytes, code: str) -> str:
    """Send this message; return the code of the reply to its final dot, which matches ``code``."""
    with begin(gateway, FRANK) as talk:
        return talk.message(content, code).code


@pytest.mark.parametrize("is_offered", [True, False], ids=["offered", "not offered"])
def test_internationalised_addresses_need_an_upstream_that_takes_them(house: House, is_offered: bool) -> None:
    """SMTPUTF8 is asked of the upstream; where it is not offered the client hears 550 5.6.7 at MAIL."""
    extensions = [one for one in EXTENSIONS if is_offered or one != "SMTPUTF8"]
    with Sink(extensions=extensions) as sink:
        house.write((sink.host, sink.port), policy=PASS)
        with GatewayProcess(house.settings) as gateway, Dialog(gateway.host, gateway.port("users")) as talk:
            talk.expect("220")
            talk.command("EHLO client.test", "250", "SMTPUTF8")
            if not is_offered:
                talk.command("MAIL FROM:<jürgen@acme.example> SMTPUTF8", "550", "^5.6.7 ")
                return
            talk.command("MAIL FROM:<jürgen@acme.example> SMTPUTF8", "250")
            talk.command("RCPT TO:<ümit@outside.example>", "250")
            message = "From: jürgen@acme.example\r\nSubject: Grüße\r\n\r\nx\r\n".encode()
            talk.message(message, "250")
            [delivery] = sink.wait(1)
    assert "MAIL FROM:<jürgen@acme.example>".encode() in delivery.mail
    assert b"SMTPUTF8" in delivery.mail
    assert delivery.content.endswith(message)


# ---------------------------------------------------------------- why


def test_why_tells_a_past_transaction(house: House, sink: Sink) -> None:
    """By the id in the reply: who, which rule, what was done, what the upstream said; also when the gateway is down."""
    with GatewayProcess(house.settings) as gateway:
        accepted = re.search(r"\[(\w{16})\]", send(gateway, CAROL, "250"))
        with Dialog(gateway.host, gateway.port("users")) as talk:
            talk.expect("220")
            talk.command("EHLO client.test", "250")
            talk.command(f"MAIL FROM:<{ALICE}>", "250")
            refused = re.search(r"\[(\w{16})\]", talk.command(f"RCPT TO:<{DAVE}>", "550").text)
        gateway.wait_log("transaction", count=2)
        gateway.stop()
    assert accepted
    assert refused

    done = cli("why", accepted[1], "-c", house.settings)
    assert (done.status, done.err) == (0, "")
    for part in (
        f"transaction {accepted[1]}",
        f"reverse-path  <{ALICE}>",
        f"recipient <{CAROL}> (outbound)",
        "sign encrypt, by rule must-encrypt: protected",
        "sign rsa-sha256 ok",
        "encrypt aes-256-cbc ok",
        "next .: 250",
        "outcome       accepted: 250 2.0.0",
    ):
        assert part in done.text, done.text
    told = cli("why", f"[{refused[1]}]", "-c", house.settings).text
    assert "by rule must-encrypt: no-certificate" in told
    assert "550 5.7.1" in told
    nothing = cli("why", "0" * 16, "-c", house.settings)
    assert nothing.status == 1
    assert nothing.errors == [f"smime-gateway: no record of transaction {'0' * 16} in {house.folder}/state/decisions"]


# ---------------------------------------------------------------- what is never said

PRIVATE = ("subject", "body", "field", "phrase", "file")
CANARIES = {name: f"canary{number}x{name}" for number, name in enumerate(PRIVATE, 7)}


def canary_message(sender: str, to: str, entity: bytes | None = None) -> bytes:
    """Return a message whose every private part has a word of its own that occurs nowhere else."""
    letter = Letter.make(
        entity if entity is not None else canary_entity(),
        sender=f"{CANARIES['phrase']} <{sender}>",
        to=to,
        subject=CANARIES["subject"],
        more=f"X-Private: {CANARIES['field']}\r\n".encode(),
    )
    return letter.octets


def canary_entity() -> bytes:
    head = 'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    text = f"--b\r\nContent-Type: text/plain\r\n\r\n{CANARIES['body']}\r\n"
    name = f'--b\r\nContent-Type: text/plain; name="{CANARIES["file"]}"\r\n\r\nx\r\n--b--\r\n'
    return (head + text + name).encode()


def test_nothing_of_the_mail_is_ever_told(house: House, tmp_path: Path) -> None:
    """No subject, body, other field, phrase, file name or key in log, metrics, records or state, whatever happens."""
    (tmp_path / "openssl").mkdir()
    openssl = OpenSsl(tmp_path / "openssl", anchors=house.anchors())
    carol, alice = house.people[CAROL], house.people[ALICE]
    signed = openssl.sign(canary_entity(), carol)
    broken = openssl.encrypt(signed, alice).replace(b"\r\n\r\nM", b"\r\n\r\nAAAAM", 1)
    cases = [
        ("users", ALICE, CAROL, canary_message(ALICE, CAROL), "250"),
        ("users", ALICE, FRANK, canary_message(ALICE, FRANK), "250"),
        ("users", ALICE, BOB, canary_message(ALICE, BOB), "250"),
        ("users", ALICE, FRANK, canary_message(ALICE, FRANK).replace(b"\r\n\r\n", b"\r\n\n", 1), "550"),
        ("users", ALICE, FRANK, canary_message(ALICE, FRANK, deep_entity()), "550"),
        ("border", CAROL, ALICE, canary_message(CAROL, ALICE, signed), "250"),
        ("border", CAROL, ALICE, canary_message(CAROL, ALICE, signed.replace(b"canary8x", b"canary9x")), "250"),
        ("border", CAROL, ALICE, canary_message(CAROL, ALICE, openssl.encrypt(signed, alice)), "250"),
        ("border", CAROL, ALICE, canary_message(CAROL, ALICE, broken), "550"),
        ("border", CAROL, FRANK, canary_message(ALICE, FRANK), "550"),
    ]
    debugging = {"PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"}
    answers = [*[reply("250 ok")] * 2, reply("451 4.3.0 busy"), *[reply("250 ok")] * 20]
    with Sink(Script({Step.DOT: answers})) as sink:
        house.write((sink.host, sink.port))
        with GatewayProcess(house.settings, environment=debugging) as gateway:
            for listener, sender, to, message, code in cases:
                with begin(gateway, to, sender=sender, listener=listener) as talk:
                    talk.message(message, "451" if (to, code) == (BOB, "250") else code)
            gateway.wait_log("transaction", count=len(cases))
            metrics = gateway.get("/metrics")[1]
            gateway.stop()
            log = "\n".join(gateway.lines)
    assert "Traceback" not in log
    ids = [event["id"] for event in gateway.log("transaction")]
    told = "".join(cli("why", one, "-c", house.settings).text for one in ids)
    state = b"".join(file.read_bytes() for file in sorted((house.folder / "state").rglob("*")) if file.is_file())
    assert len(ids) == len(cases)
    assert ids[0].encode() in state
    private = [*CANARIES.values(), *key_texts(house)]
    for where, text in {"log": log, "metrics": metrics, "why": told, "state": state.decode("latin-1")}.items():
        for word in private:
            assert word not in text, f"{word} in {where}"


def deep_entity() -> bytes:
    """Return an entity that is nested deeper than the limits allow, with a canary at its bottom."""
    parts = [f'Content-Type: multipart/mixed; boundary="{number}"\r\n\r\n--{number}\r\n' for number in range(200)]
    return "".join(parts).encode() + canary_entity()


def key_texts(house: House) -> Iterator[str]:
    """Yield a piece of every private key, as it stands in its file."""
    for file in sorted((house.folder / "keys").glob("*.key")):
        yield file.read_text().splitlines()[3]


def test_a_full_disk_does_not_stop_the_mail(house: House, sink: Sink) -> None:
    """Records that cannot be written are said once and counted; the mail goes on."""
    house.write((sink.host, sink.port), policy=PASS)
    with GatewayProcess(house.settings) as gateway:
        send(gateway, FRANK, "250")
        decisions = house.folder / "state" / "decisions"
        gateway.wait_log("transaction")
        shutil.rmtree(decisions)
        decisions.write_text("no folder any more")
        for _ in range(2):
            send(gateway, FRANK, "250")
        gateway.wait_log("transaction", count=3)
        assert len(gateway.wait_log("records-failed")) == 1
        assert gateway.metric("smime_gateway_records_lost_total") == 2
    assert len(sink.wait(3)) == 3
