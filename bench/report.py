"""What a measurement says: a table for people, one JSON document for programs."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.backends.openssl import backend

from bench.floor import Floor, Treatment
from bench.measure import Comparison, Run, median

RATIO_TARGETS: Mapping[Treatment, float] = {Treatment.PASS: 3.0, Treatment.SIGN: 1.8, Treatment.ENCRYPT: 1.5}
"""Rate of the gateway ÷ rate of Postfix: at least."""
RATIO_GOALS: Mapping[Treatment, float] = {Treatment.PASS: 4.0, Treatment.SIGN: 2.5, Treatment.ENCRYPT: 2.2}
"""The same, later."""
CPU_TARGETS: Mapping[Treatment, float] = {Treatment.SIGN: 6.0}
"""CPU time of the gateway per message ÷ floor: at most."""
CPU_GOALS: Mapping[Treatment, float] = {Treatment.SIGN: 4.0}
"""The same, later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Everything that was measured in one call."""

    limit: Run
    """Load and sink with nothing between them."""
    floor: Floor
    comparisons: Sequence[Comparison]
    options: Mapping[str, object]
    versions: Mapping[str, str]
    processes: int
    """Of the gateway: supervisor and workers."""


def describe_machine() -> dict[str, str | int | float]:
    """Say what the measurement ran on, as far as it matters."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": backend.openssl_version_text(),
    }


def to_json(measurement: Measurement, *, moment: str, machine: Mapping[str, object]) -> dict[str, Any]:
    """Return the whole measurement; rates in messages a second, times in seconds unless the key says otherwise."""
    return {
        "moment": moment,
        "machine": dict(machine),
        "versions": dict(measurement.versions),
        "options": dict(measurement.options),
        "gateway_processes": measurement.processes,
        "limit": asdict(measurement.limit),
        "floor": asdict(measurement.floor),
        "treatments": {
            str(one.case.treatment): _comparison_json(one, measurement.floor) for one in measurement.comparisons
        },
    }


def to_table(measurement: Measurement, *, machine: Mapping[str, object]) -> str:
    """Return the measurement as lines of text."""
    floor, options = measurement.floor, measurement.options
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; load average at the start {machine['load_average']}",
        f"{options['messages']} messages of {options['octets']} octets, {options['sessions']} kept sessions, "
        f"{options['rounds']} rounds, {options['workers']} workers ({measurement.processes} processes)",
        f"load → sink with nothing between: {measurement.limit.relayed:,.0f}/s",
        f"floor: SHA-256 {floor.sha256 * 1e6:.0f} µs, AES-256-CBC {floor.aes256_cbc * 1e6:.0f} µs, "
        f"RSA-2048 private {floor.rsa2048_private * 1e6:.0f} µs, public {floor.rsa2048_public * 1e6:.0f} µs",
        "",
        f"{'':<8} {'gateway':>10} {'Postfix':>10} {'ratio':>7} {'target':>9} {'to its':>9}"
        f" {'CPU per':>9} {'÷ floor':>8} {'target':>9} {'p50':>7} {'p99':>7}",
        f"{'':<8} {'msg/s':>10} {'msg/s':>10} {'':>7} {'':>9} {'250s':>9}"
        f" {'msg µs':>9} {'':>8} {'':>9} {'ms':>7} {'ms':>7}",
    ]
    lines += [_row(one, floor) for one in measurement.comparisons]
    lines += ["", *(f"missed: {text}" for text in missed(measurement))]
    return "\n".join(lines).rstrip()


def missed(measurement: Measurement) -> list[str]:
    """List the targets that were not reached."""
    texts = []
    for one in measurement.comparisons:
        treatment, ratio = one.case.treatment, _ratio(one)
        if treatment in RATIO_TARGETS and ratio is not None and ratio < RATIO_TARGETS[treatment]:
            texts.append(f"{treatment}: {ratio:.2f} times Postfix, wanted {RATIO_TARGETS[treatment]:g}")
        cost = _cpu(one) / measurement.floor.of(treatment)
        if treatment in CPU_TARGETS and cost > CPU_TARGETS[treatment]:
            texts.append(f"{treatment}: CPU {cost:.1f} times the floor, wanted at most {CPU_TARGETS[treatment]:g}")
    return texts


def _row(one: Comparison, floor: Floor) -> str:
    treatment = one.case.treatment
    ratio = _ratio(one)
    to_accepted = statistics.median(ratios) if (ratios := one.accepted_ratios()) else None
    target = f"≥ {RATIO_TARGETS[treatment]:g}" if treatment in RATIO_TARGETS else ""
    cpu_target = f"≤ {CPU_TARGETS[treatment]:g}" if treatment in CPU_TARGETS else ""
    return (
        f"{treatment:<8} {_rate(one.gateway):>10} {_rate(one.postfix):>10} {_times(ratio):>7} {target:>9}"
        f" {_times(to_accepted):>9} {_cpu(one) * 1e6:>9,.0f} {_cpu(one) / floor.of(treatment):>8.1f} {cpu_target:>9}"
        f" {median(one.gateway, lambda run: run.latency_ms['p50']):>7.1f}"
        f" {median(one.gateway, lambda run: run.latency_ms['p99']):>7.1f}"
    )


def _comparison_json(one: Comparison, floor: Floor) -> dict[str, Any]:
    treatment, ratios, accepted = one.case.treatment, one.relayed_ratios(), one.accepted_ratios()
    return {
        "ratio": _spread(ratios),
        "ratio_target": RATIO_TARGETS.get(treatment),
        "ratio_goal": RATIO_GOALS.get(treatment),
        "ratio_to_accepted": _spread(accepted),
        "cpu_per_message": _cpu(one),
        "floor": floor.of(treatment),
        "cpu_to_floor": _cpu(one) / floor.of(treatment),
        "cpu_target": CPU_TARGETS.get(treatment),
        "cpu_goal": CPU_GOALS.get(treatment),
        "gateway": [asdict(run) for run in one.gateway],
        "postfix": [asdict(run) for run in one.postfix],
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)} if values else None


def _ratio(one: Comparison) -> float | None:
    ratios = one.relayed_ratios()
    return statistics.median(ratios) if ratios else None


def _cpu(one: Comparison) -> float:
    return median(one.gateway, lambda run: run.cpu)


def _relayed(run: Run) -> float:
    return run.relayed


def _rate(runs: tuple[Run, ...]) -> str:
    return f"{median(runs, _relayed):,.0f}" if runs else "-"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
