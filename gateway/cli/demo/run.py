"""Runs the scenes against the real gateway, a process as an admin would start it, and prints what became of each."""

from __future__ import annotations

import asyncio
import json
import re
import smtplib
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.table import Table

from gateway.cli.demo.house import House, build_house
from gateway.cli.demo.mailboxes import Mailboxes
from gateway.cli.demo.openssl import OpenSsl
from gateway.cli.demo.scenes import Arrived, Scene, make_scenes
from gateway.observe import find_record
from gateway.outcome import Reply
from gateway.transaction.record import Record

START_SECONDS = 30
"""Most time for the gateway to be ready."""
LISTENERS = 3
"""Listeners that announce themselves: two for mail, one for the monitoring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """One scene, played."""

    scene: Scene
    reply: Reply
    record: Record | None
    arrived: str
    cross_check: str
    is_good: bool


def run(*, keep: bool) -> int:
    """Run the demo; 0 where every scene came out as it has to, else 1. ``keep`` leaves it running until Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="smime-gateway-demo-") as folder:
        with suppress(KeyboardInterrupt):
            return asyncio.run(_run(Path(folder), keep=keep))
        return 0


async def _run(folder: Path, *, keep: bool) -> int:
    begun = monotonic()
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print("Making certificates for two organisations ...", highlight=False)
    house = await asyncio.to_thread(build_house, folder)
    mailboxes = Mailboxes(folder / "mailboxes")
    await mailboxes.start()
    house.write_settings(mailboxes.port)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", "-c", str(house.settings), stderr=asyncio.subprocess.PIPE
    )
    log = _Log(process)
    try:
        ports = await log.wait_listening()
        results = [await _play(scene, ports, mailboxes, house) for scene in make_scenes(house)]
        console.print(_table(results))
        _print_end(console, results, ports, begun, has_openssl=OpenSsl(house).is_there)
        if not all(result.is_good for result in results):
            print("\n".join(["", "The gateway's log:", *log.lines]), file=sys.stderr)
        if keep:
            await _keep(console, house, mailboxes, ports, process)
        return 0 if all(result.is_good for result in results) else 1
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await log.close()
        await mailboxes.stop()


class _Log:
    """The gateway's log: read to its end, so that it never fills the pipe; the listening lines are kept."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ports: dict[str, int] = {}
        self.lines: list[str] = []
        """The newest lines."""
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def wait_listening(self) -> dict[str, int]:
        """Return the port of each listener; raises :class:`RuntimeError` where the gateway does not start."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while len(self._ports) < LISTENERS:
                    if self._task.done():
                        raise RuntimeError("the gateway did not start:\n" + "\n".join(self.lines))
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            raise RuntimeError("the gateway is not ready in time:\n" + "\n".join(self.lines)) from None
        return self._ports

    async def close(self) -> None:
        """Wait for the end of the log."""
        await self._task

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            self.lines = [*self.lines[-40:], line]
            with suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == "listening":
                    self._ports[event["listener"]] = event["port"]
            self._changed.set()
        self._changed.set()


async def _play(scene: Scene, ports: dict[str, int], mailboxes: Mailboxes, house: House) -> _Result:
    reply = await asyncio.to_thread(_send, scene, ports[scene.listener])
    found = re.search(r"\[([0-9a-z]{16})\]", reply.lines[0])
    record = await _find_record(house, found[1]) if found else None
    arrived = Arrived(
        messages={one: mailboxes.read(one) for one in scene.recipients}, openssl=OpenSsl(house), house=house
    )
    is_good = reply.code == scene.code
    try:
        words = scene.describe(arrived)
    except AssertionError:
        words, is_good = "NOT AS EXPECTED", False
    checked = "not installed"
    if arrived.openssl.is_there:
        try:
            checked = await asyncio.to_thread(scene.cross_check, arrived)
        except AssertionError:
            checked, is_good = "openssl DIFFERS", False
    return _Result(scene=scene, reply=reply, record=record, arrived=words, cross_check=checked, is_good=is_good)


def _send(scene: Scene, port: int) -> Reply:
    """Submit the message as a mail program would; return the reply that decided."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.demo.example", timeout=20) as client:
        client.ehlo()
        code, text = client.mail(scene.reverse_path)
        for recipient in scene.recipients:
            if code == 250:
                code, text = client.rcpt(recipient)
        if code == 250:
            code, text = client.data(scene.content)
    enhanced, _, words = text.decode("utf-8", "replace").partition(" ")
    return Reply(code, enhanced, (words,))


async def _find_record(house: House, transaction: str) -> Record | None:
    """Read the decision record; a refused session writes it when it ends, a moment after the reply."""
    for _ in range(40):
        record = find_record(house.folder / "state" / "decisions", transaction)
        if record is not None:
            return record
        await asyncio.sleep(0.05)
    return None


def _table(results: list[_Result]) -> Table:
    table = Table(title="What happened to each message", title_justify="left", show_lines=True)
    table.add_column("message")
    for heading in ("rule", "reason", "reply to the client", "what arrived", "cross-check"):
        table.add_column(heading, overflow="fold")
    for number, result in enumerate(results, 1):
        states = result.record.recipients if result.record else ()
        table.add_row(
            f"{number}. {result.scene.title}",
            ", ".join(dict.fromkeys(state.rule for state in states)),
            ", ".join(dict.fromkeys(reason for state in states for reason in (state.reason, *state.notes))),
            _short(result.reply),
            result.arrived,
            result.cross_check,
            style="" if result.is_good else "bold red",
        )
    return table


def _short(reply: Reply) -> str:
    return re.sub(r" \[[0-9a-z]{16}\]", "", str(reply))


def _print_end(
    console: Console, results: list[_Result], ports: dict[str, int], begun: float, *, has_openssl: bool
) -> None:
    good = sum(result.is_good for result in results)
    metrics = _metrics(ports["metrics"])
    console.print("\nThe metrics show it:", highlight=False)
    for line in metrics:
        console.print(f"  {line}", highlight=False, markup=False)
    by = "each cross-checked with openssl cms" if has_openssl else "openssl is not installed: no cross-check"
    console.print(
        f"\n{good} of {len(results)} as they have to be, {by}, in {monotonic() - begun:.1f} s.", highlight=False
    )


def _metrics(port: int) -> list[str]:
    """Return the counters of what was done that are not zero."""
    wanted = (
        "smime_gateway_transactions_total",
        "smime_gateway_protections_total",
        "smime_gateway_verifications_total",
    )
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except urllib.error.URLError as error:
        return [f"not to be had: {error.reason}"]
    lines = [line for line in text.splitlines() if line.startswith(wanted)]
    return [line for line in lines if not line.endswith(" 0.0")]


async def _keep(
    console: Console, house: House, mailboxes: Mailboxes, ports: dict[str, int], process: asyncio.subprocess.Process
) -> None:
    rows = {
        "users (proven by network)": f"127.0.0.1:{ports['users']}",
        "border (inbound)": f"127.0.0.1:{ports['border']}",
        "metrics": f"http://127.0.0.1:{ports['metrics']}/metrics",
        "upstream": f"127.0.0.1:{mailboxes.port}, Maildirs in {house.folder / 'mailboxes'}",
        "settings": str(house.settings),
    }
    console.print("\nRunning until Ctrl-C:", highlight=False)
    for name, value in rows.items():
        console.print(f"  {name:26} {value}", highlight=False, markup=False, soft_wrap=True)
    await process.wait()
