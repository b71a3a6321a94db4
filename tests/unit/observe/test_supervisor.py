"""Health, and the sum of the metrics of real worker processes."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.observe import Health, SupervisorMetrics, WorkerState
from tests.unit.observe.conftest import RECORD

P = "smime_gateway_"


def test_health_from_start_to_end() -> None:
    """Ready when all workers are; alive throughout, until only a restart would help."""
    health = Health(2)
    assert (health.live(), health.ready()) == ((True, "alive"), (False, "0 of 2 workers ready"))
    health.worker("w1", WorkerState.STARTING)
    health.worker("w1", WorkerState.READY)
    assert health.ready() == (False, "1 of 2 workers ready")
    health.worker("w2", WorkerState.READY)
    assert health.ready() == (True, "2 of 2 workers ready")
    health.worker("w1", WorkerState.DEAD)
    assert health.ready() == (False, "1 of 2 workers ready")
    health.worker("w3", WorkerState.READY)
    assert health.ready() == (True, "2 of 2 workers ready")
    health.want(3)
    assert health.ready() == (False, "2 of 3 workers ready")
    health.want(1)
    assert health.ready() == (True, "2 of 1 workers ready")
    health.draining()
    assert (health.live(), health.ready()) == ((True, "alive"), (False, "draining"))
    health.failed("workers die again and again")
    assert health.live() == health.ready() == (False, "workers die again and again")


WORKER = """
import os, sys
from datetime import UTC, datetime
from prometheus_client import CollectorRegistry
from gateway.observe import CertificateUse, Metrics
from tests.unit.observe.conftest import RECORD
metrics = Metrics(CollectorRegistry(), listeners=["users"], upstreams=["submission"], version="1.2.3")
for _ in range(int(sys.argv[1])):
    metrics.started("users")
metrics.ended(RECORD)
metrics.set_certificates(CertificateUse.SIGN, [datetime(2026, 4, 1, tzinfo=UTC)], datetime(2026, 3, 1, tzinfo=UTC))
print("counted", flush=True)
sys.stdin.read()
"""


def start(folder: Path, transactions: int) -> subprocess.Popen[bytes]:
    """A worker process that begins some transactions and ends one of them."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(transactions)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"counted\n"
    return worker


def stop(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.close()
    worker.stdout.close()


def test_the_sum_over_workers(tmp_path: Path) -> None:
    """Counters add up and outlive their worker; gauges of a dead one go; the time of expiry is the earliest of all."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "counter_1.db").write_bytes(b"left by an earlier run")
    health = Health(2)
    metrics = SupervisorMetrics(folder, health)
    workers = [start(folder, 2), start(folder, 3)]
    health.worker("w1", WorkerState.READY)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(P + name, labels)

    try:
        accepted = {"listener": "users", "direction": "outbound", "outcome": "accepted"}
        assert value("transactions_total", **accepted) == 2
        assert value("transactions_total", **accepted | {"outcome": "internal-error"}) == 0
        assert value("transactions_in_flight", listener="users") == 3
        assert value("stage_seconds_count", stage="total") == 2
        assert value("certificates", use="sign", expires="90d") == 1
        assert value("certificate_next_expiry_timestamp_seconds", use="sign") == 1775001600
        assert value("certificate_next_expiry_timestamp_seconds", use="tls") == float("inf")
        assert value("workers_wanted") == 2
        assert value("workers_ready") == 1
        stop(workers[1])
        metrics.worker_died(workers[1].pid, unexpected=True)
        assert value("transactions_total", **accepted) == 2
        assert value("transactions_in_flight", listener="users") == 1
        assert value("worker_deaths_total") == 1
    finally:
        for worker in workers:
            stop(worker)
    metrics.worker_died(workers[0].pid, unexpected=False)
    assert value("worker_deaths_total") == 1
    assert value("transactions_total", **accepted) == 2
    assert value("transactions_total", **accepted | {"outcome": "internal-error"}) == 0
    assert value("stage_seconds_count", stage="total") == 2
    assert value("stage_seconds_sum", stage="total") == pytest.approx(2 * RECORD.seconds)
    assert value("stage_seconds_bucket", stage="total", le="0.05") == 2
    assert value("stage_seconds_bucket", stage="total", le="0.025") == 0
    assert value("transactions_in_flight", listener="users") is None
    assert sorted(path.name for path in folder.iterdir()) == ["counter_ended.db", "histogram_ended.db"]


def one_value(key: bytes) -> bytes:
    """A file of the multi-process mode with one value."""
    padded = key + b" " * (8 - (len(key) + 4) % 8)
    used = 8 + 4 + len(padded) + 16
    return struct.pack(f"<i4xi{len(padded)}sdd", used, len(key), padded, 1.0, 0.0)


DAMAGED = {
    "empty": b"",
    "short": b"x",
    "beyond-its-end": b"\xff\x00\x00\x00" * 8,
    "no-json": one_value(b"{}x"),
    "no-name": one_value(b"1"),
    "no-utf-8": one_value(b"\xff"),
    "too-few": one_value(b"[1]"),
}


@pytest.mark.parametrize("octets", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_spoils_nothing(tmp_path: Path, octets: bytes) -> None:
    """A worker that was killed in the middle of making its files: they go, and the sum of the others stays."""
    metrics = SupervisorMetrics(tmp_path, Health(1))
    (tmp_path / "counter_17.db").write_bytes(octets)
    metrics.worker_died(17, unexpected=True)
    assert metrics.registry.get_sample_value(f"{P}worker_deaths_total") == 1


@pytest.mark.parametrize(("ok", "result"), [(True, "ok"), (False, "failed")])
def test_reloads_are_counted(tmp_path: Path, ok: bool, result: str) -> None:
    """By result, with zeros from the start."""
    metrics = SupervisorMetrics(tmp_path, Health(1))
    metrics.reloaded(ok=ok)
    values = {
        word: metrics.registry.get_sample_value(f"{P}reloads_total", {"result": word}) for word in ("ok", "failed")
    }
    assert values == {"ok": 0, "failed": 0} | {result: 1}
