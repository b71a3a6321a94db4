"""The metrics: closed label sets, zeros from the start, and each event in its series; documented both ways."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.observe import CertificateUse, Health, Metrics, SupervisorMetrics, labels
from gateway.outcome import Outcome
from gateway.policy import Reason
from gateway.transaction.record import ActionRecord, UpstreamRecord
from tests.support.process import ROOT
from tests.unit.observe.conftest import RECORD, MakeRecipient, MakeRecord

P = "smime_gateway_"


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(registry: CollectorRegistry) -> Series:
    """Return every sample, without the times of creation."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def changes(registry: CollectorRegistry, before: Series) -> dict[str, float]:
    """Return what differs from ``before``, written as Prometheus writes it; histograms only by their count."""
    return {
        f"{name.removeprefix(P)}{{{','.join(f'{key}={value}' for key, value in sorted(labels))}}}": value
        - before[name, labels]
        for (name, labels), value in series(registry).items()
        if value != before[name, labels] and not name.endswith(("_bucket", "_sum"))
    }


def test_every_series_exists_from_the_start(registry: CollectorRegistry, metrics: Metrics) -> None:
    """With 0, so that the first event is an increase that an alert sees; and no event makes another."""
    before = series(registry)
    assert {value for (name, _), value in before.items() if name.endswith(("_total", "_bucket", "_count"))} == {0.0}
    metrics.started("users")
    metrics.ended(RECORD)
    assert series(registry).keys() == before.keys()
    assert len(before) < 2000


def test_a_transaction(registry: CollectorRegistry, metrics: Metrics, make_record: MakeRecord) -> None:
    """In flight while it runs; at its end everything that its record tells."""
    before = series(registry)
    metrics.started("users")
    assert changes(registry, before) == {"transactions_in_flight{listener=users}": 1}
    metrics.ended(make_record(stages={"build": 0.002, "total": 0.0423, "of another version": 1.0}))
    assert changes(registry, before) == {
        "transactions_total{direction=outbound,listener=users,outcome=accepted}": 1,
        "recipients_total{direction=outbound,outcome=accepted}": 1,
        "reasons_total{reason=protected}": 1,
        "protections_total{action=sign,algorithm=rsa-sha256,result=ok}": 1,
        "protections_total{action=encrypt,algorithm=aes-256-cbc,result=ok}": 1,
        "stage_seconds_count{stage=build}": 1,
        "stage_seconds_count{stage=total}": 1,
        "message_octets_count{}": 1,
        "upstream_replies_total{class=2xx,command=MAIL,upstream=submission}": 1,
        "upstream_replies_total{class=2xx,command=RCPT,upstream=submission}": 1,
        "upstream_replies_total{class=3xx,command=DATA,upstream=submission}": 1,
        "upstream_replies_total{class=2xx,command=.,upstream=submission}": 1,
    }


@pytest.mark.parametrize(
    ("outcome", "reason", "counted"),
    [
        pytest.param("protection-impossible", "no-certificate", "no-certificate", id="decided"),
        pytest.param("lookup-unavailable", "lookup-unavailable", "lookup-unavailable", id="unavailable"),
        pytest.param("upstream-permanent", "protected", "upstream-permanent", id="not-decided-here"),
        pytest.param("protection-impossible", "", "protection-impossible", id="no-reason"),
        pytest.param("protection-impossible", "because", "other", id="unknown-reason"),
        pytest.param("on-holiday", "protected", "other", id="unknown-outcome"),
    ],
)
def test_refusals_have_a_reason(
    registry: CollectorRegistry,
    metrics: Metrics,
    make_record: MakeRecord,
    make_recipient: MakeRecipient,
    outcome: str,
    reason: str,
    counted: str,
) -> None:
    """The policy's where it decided, else the outcome."""
    before = series(registry)
    metrics.ended(make_record(recipients=(make_recipient(outcome=outcome, reason=reason),)))
    found = changes(registry, before)
    assert [name for name in found if name.startswith("refusals")] == [f"refusals_total{{reason={counted}}}"]


@pytest.mark.parametrize(
    ("directions", "expected"),
    [
        ((), "other"),
        (("inbound",), "inbound"),
        (("inbound", "inbound"), "inbound"),
        (("inbound", "internal"), "mixed"),
        (("sideways",), "other"),
    ],
)
def test_the_direction_of_a_transaction(
    registry: CollectorRegistry,
    metrics: Metrics,
    make_record: MakeRecord,
    make_recipient: MakeRecipient,
    directions: tuple[str, ...],
    expected: str,
) -> None:
    """One for all its recipients, or mixed."""
    before = series(registry)
    metrics.ended(make_record(recipients=tuple(make_recipient(direction=one) for one in directions)))
    assert f"transactions_total{{direction={expected},listener=users,outcome=accepted}}" in changes(registry, before)


def test_skips_are_counted(
    registry: CollectorRegistry, metrics: Metrics, make_record: MakeRecord, make_recipient: MakeRecipient
) -> None:
    """Going on without a look-up is a reason among the notes, and counts."""
    before = series(registry)
    metrics.ended(make_record(recipients=(make_recipient(notes=(str(Reason.LOOKUP_SKIPPED),)),)))
    assert changes(registry, before)["reasons_total{reason=lookup-skipped}"] == 1


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param(
            {
                "verification": "policy",
                "actions": (ActionRecord(action="verify", algorithm="rsa-sha256", result="policy"),),
            },
            "verifications_total{result=policy}",
            id="verification",
        ),
        pytest.param({"verification": "perhaps"}, "verifications_total{result=other}", id="verification-unknown"),
        pytest.param(
            {"actions": (ActionRecord(action="sign", algorithm="", result="skipped", reason="no-signer"),)},
            "protections_total{action=sign,algorithm=none,result=skipped}",
            id="no-algorithm",
        ),
        pytest.param(
            {"actions": (ActionRecord(action="decrypt", algorithm="rot13", result="ok"),)},
            "protections_total{action=decrypt,algorithm=other,result=ok}",
            id="algorithm-unknown",
        ),
        pytest.param(
            {"upstream_replies": (UpstreamRecord(upstream="submission", command="DATA", code=0),)},
            "upstream_replies_total{class=none,command=DATA,upstream=submission}",
            id="connection-broke",
        ),
        pytest.param(
            {"upstream_replies": (UpstreamRecord(upstream="elsewhere", command="BDAT", code=451),)},
            "upstream_replies_total{class=4xx,command=other,upstream=other}",
            id="upstream-unknown",
        ),
        pytest.param(
            {"listener": "elsewhere"},
            "transactions_total{direction=outbound,listener=other,outcome=accepted}",
            id="listener-unknown",
        ),
    ],
)
def test_words_in_their_sets(
    registry: CollectorRegistry, metrics: Metrics, make_record: MakeRecord, changed: dict[str, Any], expected: str
) -> None:
    """And those outside count as other."""
    before = series(registry)
    metrics.ended(make_record(**changed))
    assert changes(registry, before)[expected] == 1


BARE = (bare := CollectorRegistry(), Metrics(bare))


@given(st.lists(st.text(), min_size=11, max_size=11), st.integers())
def test_no_word_from_outside_becomes_a_label(words: list[str], code: int) -> None:
    """Whatever a record holds, no series appears."""
    registry, metrics = BARE
    before = series(registry).keys()
    recipient = replace(RECORD.recipients[0], direction=words[0], reason=words[1], outcome=words[2], notes=(words[3],))
    metrics.started(words[4])
    metrics.ended(
        replace(
            RECORD,
            recipients=(recipient,),
            listener=words[4],
            outcome=words[5],
            verification=words[6],
            actions=(ActionRecord(action=words[7], algorithm=words[8], result=words[9]),),
            upstream_replies=(UpstreamRecord(upstream=words[10], command=words[0], code=code),),
        )
    )
    assert series(registry).keys() == before


def test_events_of_the_service(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Sessions, upstreams, the journal, reloads, failures."""
    before = series(registry)
    metrics.session_opened("border")
    metrics.session_opened("border")
    metrics.session_closed("border")
    metrics.upstream_lost("submission")
    metrics.journal_called("claim", "refused", 0.001)
    metrics.journal_called("forget", "done", 0.001)
    metrics.record_lost()
    metrics.observer_failed("records")
    metrics.observer_failed("unheard-of")
    assert changes(registry, before) == {
        "sessions_total{listener=border}": 2,
        "sessions_open{listener=border}": 1,
        "upstream_connections_lost_total{upstream=submission}": 1,
        "journal_calls_total{call=claim,result=refused}": 1,
        "journal_seconds_count{call=claim}": 1,
        "journal_calls_total{call=forget,result=done}": 1,
        "journal_seconds_count{call=forget}": 1,
        "records_lost_total{}": 1,
        "observer_failures_total{observer=records}": 1,
        "observer_failures_total{observer=other}": 1,
    }


def test_certificates_by_the_time_they_have_left(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Counts by window, and the next to expire; the expired ones of old keys do not hide it."""
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    days = (-400, -1, 0, 6, 7, 29, 30, 89, 90, 3650)
    metrics.set_certificates(CertificateUse.SIGN, [moment + timedelta(days=day, hours=1) for day in days], moment)
    values = series(registry)
    windows = {
        expires: values[f"{P}certificates", frozenset({("use", "sign"), ("expires", expires)})]
        for expires in ("expired", "7d", "30d", "90d", "later")
    }
    assert windows == {"expired": 2, "7d": 2, "30d": 2, "90d": 2, "later": 2}
    name = f"{P}certificate_next_expiry_timestamp_seconds"
    assert values[name, frozenset({("use", "sign")})] == (moment + timedelta(hours=1)).timestamp()
    assert values[name, frozenset({("use", "tls")})] == inf
    metrics.set_certificates(CertificateUse.SIGN, [], moment)
    assert series(registry)[name, frozenset({("use", "sign")})] == inf


def test_build_info(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Which version runs."""
    info = {labels: value for (name, labels), value in series(registry).items() if name == f"{P}build_info"}
    assert [(dict(labels)["version"], value) for labels, value in info.items()] == [("1.2.3", 1.0)]


def test_workers_in_one_process_do_not_share(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Each has a registry of its own."""
    other = CollectorRegistry()
    Metrics(
        other, listeners=["users", "border"], upstreams=["submission"], observers=["log", "records"], version="1.2.3"
    )
    before = series(other)
    metrics.started("users")
    assert series(other) == before
    assert series(registry) != before


def test_label_sets_are_complete() -> None:
    """Each set has every word of the enum it stands for."""
    assert {outcome.label for outcome in Outcome} < set(labels.OUTCOMES)
    assert {str(reason) for reason in Reason} < set(labels.REASONS)
    assert set(labels.OUTCOMES) > labels.DECIDED_HERE
    assert "rsa-sha256" in labels.SIGNATURES
    assert "aes-256-cbc" in labels.CIPHERS


def documented() -> dict[str, tuple[str, str]]:
    """Return type and labels of each series of the tables in ``docs/metrics.md``."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    return {name: (kind, " ".join(re.findall(r"`(\w+)`", names))) for name, kind, names in rows}


def test_documentation_and_series_agree(metrics: Metrics, registry: CollectorRegistry, tmp_path: Path) -> None:
    """Every series is in the tables with its type and labels, and nothing else is."""
    exported: dict[str, tuple[str, str]] = {}
    whole = SupervisorMetrics(tmp_path, Health(1)).registry
    for family in (*registry.collect(), *whole.collect()):
        (sample, *_) = family.samples
        names = " ".join(name for name in sample.labels if name != "le")
        exported[family.name + ("_total" if family.type == "counter" else "")] = (family.type, names)
    assert documented() == exported


def test_the_text_form_can_be_read(metrics: Metrics, registry: CollectorRegistry) -> None:
    """By Prometheus' own grammar, without loss."""
    metrics.ended(RECORD)
    text = generate_latest(registry).decode()
    read = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert read >= {name for name, _ in series(registry)}
