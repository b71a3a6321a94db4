"""The figures of the benchmark: pairs of rounds, medians, floors and targets, and what is told of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.floor import Floor, Treatment
from bench.material import Case
from bench.measure import Comparison, Run
from bench.report import Measurement, missed, to_json, to_table
from bench.run import main

FLOOR = Floor(sha256=50e-6, aes256_cbc=60e-6, rsa2048_private=250e-6, rsa2048_public=15e-6, octets=75_000)
MACHINE = {"cpu": "some processor", "cores": 2, "load_average": 0.1}
OPTIONS = {"messages": 100, "rounds": 3, "sessions": 10, "workers": 2, "octets": 75_000}


def make_run(relayed: float, *, accepted: float | None = None, cpu: float = 1e-3) -> Run:
    latency = {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 4.0}
    return Run(messages=100, relayed=relayed, accepted=accepted or relayed, cpu=cpu, latency_ms=latency)


def make(treatment: Treatment, gateway: list[float], postfix: list[float], *, cpu: float = 1e-3) -> Measurement:
    case = Case(
        treatment=treatment, listener="users", sender="a@x", recipient="b@y", message=Path("message"), mark=b"mark"
    )
    comparison = Comparison(
        case=case,
        gateway=tuple(make_run(rate, cpu=cpu) for rate in gateway),
        postfix=tuple(make_run(rate, accepted=2 * rate) for rate in postfix),
    )
    return Measurement(
        limit=make_run(40_000),
        floor=FLOOR,
        comparisons=[comparison],
        options=OPTIONS,
        versions={"gateway": "1"},
        processes=3,
    )


def test_ratio_is_the_median_of_the_rounds() -> None:
    """Each round is compared with its own neighbour, and not the medians with each other."""
    measurement = make(Treatment.SIGN, [200.0, 900.0, 100.0], [100.0, 300.0, 400.0])
    [comparison] = measurement.comparisons
    assert comparison.relayed_ratios() == [2.0, 3.0, 0.25]
    assert comparison.accepted_ratios() == [1.0, 1.5, 0.125]
    told = to_json(measurement, moment="2026-06-01T12:00:00+00:00", machine=MACHINE)
    sign = json.loads(json.dumps(told))["treatments"]["sign"]
    assert sign["ratio"] == {"median": 2.0, "min": 0.25, "max": 3.0}
    assert sign["ratio_to_accepted"]["median"] == 1.0
    assert sign["cpu_to_floor"] == pytest.approx(1000 / 300)
    assert len(sign["gateway"]) == len(sign["postfix"]) == 3


@pytest.mark.parametrize(
    ("treatment", "rate", "cpu", "count"),
    [
        (Treatment.PASS, 300.0, 9.0, 0),
        (Treatment.PASS, 299.0, 9.0, 1),
        (Treatment.SIGN, 180.0, 1.8e-3, 0),
        (Treatment.SIGN, 180.0, 1.9e-3, 1),
        (Treatment.SIGN, 179.0, 1.9e-3, 2),
        (Treatment.ENCRYPT, 149.0, 1e-3, 1),
        (Treatment.VERIFY, 1.0, 9.0, 0),
    ],
    ids=["pass", "pass, slow", "sign", "sign, dear", "sign, slow and dear", "encrypt, slow", "verify has no target"],
)
def test_targets(treatment: Treatment, rate: float, cpu: float, count: int) -> None:
    """A target is reached at its value; what is missed is told, each for itself."""
    measurement = make(treatment, [rate], [100.0], cpu=cpu)
    texts = missed(measurement)
    assert len(texts) == count
    table = to_table(measurement, machine=MACHINE)
    assert all(f"missed: {text}" in table for text in texts)


def test_without_postfix() -> None:
    """Without Postfix there is no ratio and no target of one; the CPU time is judged all the same."""
    measurement = make(Treatment.SIGN, [10.0, 20.0], [], cpu=3e-3)
    told = to_json(measurement, moment="", machine=MACHINE)["treatments"]["sign"]
    assert told["ratio"] is None
    assert missed(measurement) == ["sign: CPU 10.0 times the floor, wanted at most 6"]
    assert re.search(r"^sign +15 +- +-", to_table(measurement, machine=MACHINE), re.MULTILINE)


def test_options_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """The README names every option that there is, and no other."""
    with pytest.raises(SystemExit):
        main(["--help"])
    offered = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)) - {"--help"}
    readme = (Path(__file__).parents[3] / "bench" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]*)", readme)) == offered


@pytest.mark.parametrize("arguments", [["--only", "shred"], ["--messages", "0"], ["--rounds", "many"], ["-x"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is not understood ends with status 2 before anything is started."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err
