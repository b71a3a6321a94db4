"""``python -m bench.run``: the gateway against a plain Postfix relay, in turn, before the same sink.

What it does: compiles ``load`` and ``sink``; makes a throw-away PKI and two messages; starts the sink, Postfix and the
gateway, each on free ports of the loopback interface; looks that each treatment is really done; then, for each
treatment, a warm-up and rounds of one run through Postfix and one through the gateway. Prints a table and writes
``bench/results/latest.json``. ``bench/README.md`` says how to read them.

Exit status: 0 measured (whatever the figures), 1 could not be measured, 2 usage.
Needs a C compiler, and for the comparison root and the postfix package (``--gateway-only`` goes without).
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import gateway
from bench import postfix
from bench.floor import Treatment, measure_floor
from bench.material import Case, write_material
from bench.measure import Bench, Comparison, Run
from bench.postfix import PostfixRelay
from bench.processes import ROOT, BenchError
from bench.programs import Sink, compile_program
from bench.report import Measurement, describe_machine, to_json, to_table
from bench.server import GatewayServer

RESULTS = ROOT / "bench" / "results" / "latest.json"
_LIMIT_MESSAGES = 20_000
_WARM_UP = 0.2  # of the messages of a run


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; return the exit status."""
    options = _read_options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything that was started is ended
    machine = describe_machine()
    try:
        with _folder(options.folder) as folder:
            measurement = measure(options, folder)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps(to_json(measurement, moment=moment, machine=machine), indent=2) + "\n", encoding="utf-8"
    )
    print(to_table(measurement, machine=machine))
    return 0


def measure(options: argparse.Namespace, folder: Path) -> Measurement:
    """Start everything below ``folder``, measure, end everything."""
    programs = {name: compile_program(name, folder) for name in ("load", "sink")}
    cases = write_material(folder / "gateway", octets=options.octets)
    wanted = [cases[treatment] for treatment in options.only]
    dump = folder / "dump"
    dump.mkdir()
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(programs["sink"], dump=dump, count=len(wanted), lifetime=options.lifetime))
        ours = stack.enter_context(GatewayServer(folder / "gateway", relay_to=sink.port, workers=options.workers))
        relay = None
        if not options.gateway_only:
            relay = stack.enter_context(PostfixRelay(folder / "postfix", relay_to=sink.port))
        bench = Bench(load=programs["load"], sink=sink, messages=options.messages, sessions=options.sessions)
        _check_treatments(bench, ours, wanted, dump)
        floor = measure_floor(options.octets)
        limit = bench.run(None, sink.port, wanted[0], messages=_LIMIT_MESSAGES)
        _tell(f"load → sink with nothing between: {limit.relayed:,.0f}/s")
        comparisons = [_compare(bench, ours, relay, case, options.rounds) for case in wanted]
        return Measurement(
            limit=limit,
            floor=floor,
            comparisons=comparisons,
            options={key: value for key, value in vars(options).items() if key not in ("only", "folder")},
            versions={"gateway": gateway.__version__} | ({"postfix": postfix.version()} if relay else {}),
            processes=ours.processes(),
        )


def _check_treatments(bench: Bench, ours: GatewayServer, cases: Sequence[Case], dump: Path) -> None:
    """Send one message of each case, and look in what arrived that its treatment was done."""
    for number, case in enumerate(cases, start=1):
        try:
            bench.run(ours, ours.ports[case.listener], case, messages=1, sessions=1)
            arrived = (dump / f"{number:06}.eml").read_bytes()
            if case.mark not in arrived or case.mark in case.message.read_bytes():
                raise BenchError(f"what left the gateway does not show that this was done: {case.treatment}")
        except BenchError as error:
            raise BenchError(f"{error}\nThe gateway's log:\n{ours.log_tail()}") from error


def _compare(bench: Bench, ours: GatewayServer, relay: PostfixRelay | None, case: Case, rounds: int) -> Comparison:
    gateway_runs: list[Run] = []
    postfix_runs: list[Run] = []
    warm_up = max(1, int(bench.messages * _WARM_UP))
    for number in range(rounds + 1):
        count = bench.messages if number else warm_up
        if relay is not None:
            theirs = bench.run(relay, relay.port, case, messages=count)
        own = bench.run(ours, ours.ports[case.listener], case, messages=count)
        if number == 0:
            continue
        gateway_runs.append(own)
        line = f"{case.treatment} {number}/{rounds}: gateway {own.relayed:,.0f}/s"
        if relay is not None:
            postfix_runs.append(theirs)
            line += f", Postfix {theirs.relayed:,.0f}/s (250s at {theirs.accepted:,.0f}/s)"
        _tell(line)
    return Comparison(case=case, gateway=tuple(gateway_runs), postfix=tuple(postfix_runs))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _folder(parent: Path | None) -> Iterator[Path]:
    """Give a folder that Postfix's users can reach and that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="smime-bench-", dir=parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="The gateway against a plain Postfix relay.")
    parser.add_argument("--messages", type=_count, default=1000, help="a run (default %(default)s)")
    parser.add_argument("--rounds", type=_count, default=5, help="for each treatment (default %(default)s)")
    parser.add_argument("--sessions", type=_count, default=10, help="kept connections (default %(default)s)")
    parser.add_argument("--workers", type=_count, default=2, help="of the gateway (default %(default)s)")
    parser.add_argument("--octets", type=_count, default=75_000, help="size of a message (default %(default)s)")
    parser.add_argument(
        "--only", type=Treatment, action="append", choices=list(Treatment), help="this treatment; may be repeated"
    )
    parser.add_argument("--gateway-only", action="store_true", help="without Postfix, so without ratios")
    parser.add_argument("--folder", type=Path, help="where queues, logs and state are kept meanwhile (default: TMPDIR)")
    parser.add_argument(
        "--lifetime", type=_count, default=3600, help="seconds after which all ends (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    options.only = list(dict.fromkeys(options.only or Treatment))
    return options


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 10_000_000:
        raise argparse.ArgumentTypeError("from 1 to 10,000,000")
    return value


if __name__ == "__main__":
    sys.exit(main())
