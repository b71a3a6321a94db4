"""Decision records: whole lines in a file for each day, found again, and never in the way of mail."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.observe import DecisionRecords, Metrics, find_record
from gateway.observe.records import LINE_OCTETS, encode_record
from tests.unit.observe.conftest import RECIPIENT, RECORD, Log, MakeRecord

DAY = "2026-03-01.jsonl"


@pytest.fixture
def records(tmp_path: Path, log: Log, metrics: Metrics) -> Iterator[DecisionRecords]:
    records = DecisionRecords(tmp_path / "decisions", log=log.log, metrics=metrics, kept=timedelta(days=30))
    yield records
    records.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "decisions"


def test_a_record_is_found_again(records: DecisionRecords, folder: Path, make_record: MakeRecord) -> None:
    """Among others, of other days too."""
    one, two, three = (
        make_record(transaction=f"000000000000000{number}", moment=datetime(2026, 3, day, tzinfo=UTC))
        for number, day in ((1, 1), (2, 1), (3, 2))
    )
    for record in (one, two, three):
        records.ended(record)
    assert sorted(path.name for path in folder.iterdir()) == [DAY, "2026-03-02.jsonl"]
    assert [find_record(folder, record.transaction) for record in (one, two, three)] == [one, two, three]
    assert find_record(folder, "0000000000000004") is None
    assert [json.loads(line)["transaction"] for line in (folder / DAY).read_bytes().splitlines()] == [
        one.transaction,
        two.transaction,
    ]


def test_files_are_private(records: DecisionRecords, folder: Path) -> None:
    """They tell who wrote to whom."""
    records.ended(RECORD)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / DAY).stat().st_mode & 0o777 == 0o600


def test_the_day_is_that_of_the_record_in_utc(records: DecisionRecords, folder: Path, make_record: MakeRecord) -> None:
    """Whatever the offset; a transaction that began before midnight and ended after goes to the day it began."""
    records.ended(make_record(moment=datetime(2026, 3, 2, 1, tzinfo=timezone(timedelta(hours=2)))))
    records.ended(make_record(moment=datetime(2026, 3, 2, 1, tzinfo=UTC)))
    records.ended(make_record(moment=datetime(2026, 3, 1, 23, 59, tzinfo=UTC)))
    assert {path.name: len(path.read_bytes().splitlines()) for path in folder.iterdir()} == {
        DAY: 2,
        "2026-03-02.jsonl": 1,
    }


def test_old_days_go(records: DecisionRecords, folder: Path, make_record: MakeRecord) -> None:
    """When a new day begins; nothing else in the folder is touched."""
    folder.mkdir()
    for name in ("2026-01-29.jsonl", "2026-01-30.jsonl", "2026-02-30.jsonl", "2025-01-01.jsonl.gz", "notes.txt"):
        (folder / name).touch()
    records.ended(make_record())
    assert sorted(path.name for path in folder.iterdir()) == [
        "2025-01-01.jsonl.gz",
        "2026-01-30.jsonl",
        "2026-02-30.jsonl",
        DAY,
        "notes.txt",
    ]


def test_a_file_that_was_removed_is_made_again(records: DecisionRecords, folder: Path) -> None:
    """A record must not go to a file that nobody can find."""
    records.ended(RECORD)
    (folder / DAY).unlink()
    records.ended(RECORD)
    assert find_record(folder, RECORD.transaction) == RECORD


def test_a_huge_record_is_cut_to_size(records: DecisionRecords, folder: Path, make_record: MakeRecord) -> None:
    """Fewer recipients, and how many are missing; it can be found and read."""
    recipients = tuple(replace(RECIPIENT, recipient="\U0001f600" * 320 + str(number)) for number in range(1000))
    record = make_record(recipients=recipients)
    records.ended(record)
    assert (folder / DAY).stat().st_size <= LINE_OCTETS
    found = find_record(folder, record.transaction)
    assert found is not None
    data = json.loads((folder / DAY).read_bytes())
    assert len(found.recipients) + data["omitted_recipients"] == 1000
    assert found.recipients == recipients[: len(found.recipients)]
    assert len(encode_record(make_record(recipients=(replace(RECIPIENT, reply="x" * 2 * LINE_OCTETS),)))) < 2000


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b'{"transaction":"0k3v9q0000000001","mom', b"", id="torn-with-its-id"),
        pytest.param(b"\xff\x00\n{}\n[]\nnull\n", b"\n\n", id="garbage"),
        pytest.param(b"", b'{"transaction":"0k3v9q0000000001","moment":1}\n', id="not-a-record"),
    ],
)
def test_torn_lines_spoil_no_others(folder: Path, before: bytes, after: bytes) -> None:
    """What a full disk or a crash has left is passed over."""
    folder.mkdir()
    (folder / DAY).write_bytes(before + encode_record(RECORD) + after)
    assert find_record(folder, RECORD.transaction) == RECORD


def test_only_torn_lines(folder: Path) -> None:
    """A record of which only a part is there counts as none."""
    folder.mkdir()
    (folder / DAY).write_bytes(encode_record(RECORD)[:-20])
    (folder / "2026-03-02.jsonl").touch()
    assert find_record(folder, RECORD.transaction) is None


@pytest.mark.parametrize("transaction", ["", "a b", '","x', "a" * 65, "ä", "\n"])
def test_what_is_no_id_is_refused(folder: Path, transaction: str) -> None:
    """Before any file is looked at."""
    with pytest.raises(ValueError, match="transaction id"):
        find_record(folder, transaction)


def test_no_folder_yet(folder: Path) -> None:
    """Nothing has been recorded."""
    assert find_record(folder, RECORD.transaction) is None


@contextmanager
def most_octets(number: int) -> Iterator[None]:
    """Let no file grow beyond ``number`` octets; Python ignores the signal, so writes fall short or fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_fails_no_mail(
    records: DecisionRecords, folder: Path, make_record: MakeRecord, log: Log, registry: CollectorRegistry
) -> None:
    """Said once, counted each time, and said again when it works again; torn lines hide nothing."""
    length = len(encode_record(RECORD))
    with most_octets(length * 2 - 10):
        for number in range(5):
            records.ended(make_record(transaction=f"000000000000000{number}"))
    assert registry.get_sample_value("smime_gateway_records_lost_total") == 4
    records.ended(RECORD)
    assert [event["event"] for event in log.events()] == ["records-failed", "records-recovered"]
    assert log.events()[0]["cause"] == "only part of a record could be written"
    assert log.events()[1]["lost"] == 4
    assert [find_record(folder, f"000000000000000{number}") is not None for number in range(5)] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert find_record(folder, RECORD.transaction) == RECORD


@pytest.mark.parametrize(("kind", "number"), [("file", errno.EEXIST), ("symlink", errno.ELOOP)])
def test_a_folder_that_cannot_be_used_fails_no_mail(
    records: DecisionRecords,
    folder: Path,
    log: Log,
    registry: CollectorRegistry,
    kind: str,
    number: int,
) -> None:
    """Not a folder; or a link where the day's file should be, which is not followed."""
    if kind == "file":
        folder.touch()
    else:
        folder.mkdir()
        (folder / DAY).symlink_to(folder / "elsewhere")
    records.ended(RECORD)
    records.ended(RECORD)
    assert registry.get_sample_value("smime_gateway_records_lost_total") == 2
    assert [event["cause"] for event in log.events()] == [os.strerror(number)]
    assert not (folder / "elsewhere").exists()


WRITER = """
import io, sys
from dataclasses import replace
from pathlib import Path
from prometheus_client import CollectorRegistry
from gateway.observe import DecisionRecords, MailLog, Metrics
from tests.unit.observe.conftest import RECORD, RECIPIENT, Clock
log = MailLog(io.BytesIO(), Clock())
records = DecisionRecords(Path(sys.argv[1]), log=log, metrics=Metrics(CollectorRegistry()))
record = replace(RECORD, recipients=(RECIPIENT,) * 40)
sys.stdin.readline()
for number in range(300):
    records.ended(replace(record, transaction=f"{sys.argv[2]}-{number}"))
"""


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    """Each line is one write to the end of the file, whoever else writes."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], stdin=subprocess.PIPE) for name in "ab"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = (tmp_path / DAY).read_bytes().splitlines()
    assert len(lines) == 600
    assert {json.loads(line)["transaction"] for line in lines} == {
        f"{name}-{number}" for name in "ab" for number in range(300)
    }
