"""Records of transactions: JSON and back, and nothing but a record is taken for one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transaction.record import ActionRecord, RecipientRecord, Record, Stage, UpstreamRecord

TEXT = st.text(st.characters(codec=None), max_size=20)
WORDS = st.lists(TEXT, max_size=3).map(tuple)
SECONDS = st.integers(0, 10**9).map(lambda microseconds: microseconds / 1e6)
INTEGERS = st.integers(0, 2**40)

RECIPIENTS = st.builds(
    RecipientRecord,
    recipient=TEXT,
    direction=TEXT,
    rule=TEXT,
    reason=TEXT,
    actions=WORDS,
    group=st.none() | st.integers(0, 50),
    outcome=TEXT,
    reply=TEXT,
    notes=WORDS,
)
ACTIONS = st.builds(ActionRecord, action=TEXT, algorithm=TEXT, result=TEXT, reason=TEXT)
REPLIES = st.builds(UpstreamRecord, upstream=TEXT, command=TEXT, code=st.integers(0, 599))
RECORDS = st.builds(
    Record,
    transaction=TEXT,
    moment=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    listener=TEXT,
    client=TEXT,
    helo=TEXT,
    tls=TEXT,
    proof=TEXT,
    reverse_path=TEXT,
    size=INTEGERS,
    recipients=st.lists(RECIPIENTS, max_size=3).map(tuple),
    actions=st.lists(ACTIONS, max_size=3).map(tuple),
    upstream_replies=st.lists(REPLIES, max_size=3).map(tuple),
    outcome=TEXT,
    code=st.integers(200, 599),
    enhanced=TEXT,
    reply=TEXT,
    verification=TEXT,
    seconds=SECONDS,
    stages=st.dictionaries(st.sampled_from([str(stage) for stage in Stage]), SECONDS),
    groups=st.integers(0, 50),
)

RECORD = Record(
    transaction="0000000000000000",
    moment=datetime(2026, 3, 1, 12, tzinfo=UTC),
    listener="users",
    client="192.0.2.1",
    helo="client.example",
    tls="TLSv1.3",
    proof="network",
    reverse_path="alice@acme.example",
    size=1,
    outcome="accepted",
    recipients=(
        RecipientRecord(
            recipient="bob@bank.example",
            direction="outbound",
            rule="outbound",
            reason="protected",
            actions=("sign", "encrypt"),
            group=0,
            outcome="accepted",
            reply="250 2.0.0 ok",
        ),
    ),
    actions=(ActionRecord(action="sign", algorithm="rsa-sha256", result="ok"),),
    upstream_replies=(UpstreamRecord(upstream="mailboxes", command="MAIL", code=250),),
    code=250,
    enhanced="2.0.0",
    reply="ok",
    verification="",
    seconds=0.1,
    stages={"plan": 0.01},
    groups=1,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(RECORDS)
def test_a_record_survives_its_json(record: Record) -> None:
    """Whatever text came from outside, octets that were no UTF-8 included."""
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_the_id_comes_first() -> None:
    """Whoever searches a file for a record looks for the beginning of its line."""
    assert next(iter(RECORD.to_json())) == "transaction"


def test_moments_are_written_in_utc() -> None:
    """With a Z, to the microsecond, whatever the offset was."""
    moment = datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
    assert dataclasses.replace(RECORD, moment=moment).to_json()["moment"] == "2026-02-28T23:02:03.000004Z"


def test_a_naive_moment_is_refused() -> None:
    """A record without an offset would be filed under another day on another machine."""
    with pytest.raises(ValueError, match="aware"):
        dataclasses.replace(RECORD, moment=datetime(2026, 3, 1))


def test_unknown_keys_are_ignored() -> None:
    """A newer version may have written them."""
    data = RECORD.to_json() | {"colour": "green"}
    data["recipients"][0]["colour"] = "green"
    assert Record.from_json(data) == RECORD


@pytest.mark.parametrize("key", list(RECORD.to_json()))
@given(value=JSON)
def test_any_value_of_a_key_gives_a_record_or_a_value_error(key: str, value: Any) -> None:
    """No other exception, wherever a file was damaged."""
    data = RECORD.to_json() | {key: value}
    with contextlib.suppress(ValueError):
        assert Record.from_json(data).transaction is not None


@pytest.mark.parametrize(
    ("inner", "key"),
    [
        *(("recipients", key) for key in RECORD.recipients[0].to_json()),
        *(("actions", key) for key in RECORD.actions[0].to_json()),
        *(("upstream_replies", key) for key in RECORD.upstream_replies[0].to_json()),
    ],
)
@given(value=JSON)
def test_any_value_of_an_inner_key_gives_a_record_or_a_value_error(inner: str, key: str, value: Any) -> None:
    """The same below."""
    data = RECORD.to_json()
    data[inner][0][key] = value
    with contextlib.suppress(ValueError):
        assert Record.from_json(data).transaction is not None


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("transaction", 1, "transaction: a string"),
        ("transaction", None, "transaction: a string"),
        ("moment", "yesterday", "isoformat"),
        ("moment", "2026-03-01T00:00:00", "an offset"),
        ("moment", "0001-01-01T00:00:00+14:00", "out of range"),
        ("size", "1", "size: an integer"),
        ("size", True, "size: an integer"),
        ("seconds", "1", "seconds: a number"),
        ("seconds", 10**400, "seconds: too large"),
        ("stages", [], "an object"),
        ("stages", {"plan": None}, "plan: a number"),
        ("recipients", {}, "recipients: a list"),
        ("recipients", [1], "an object"),
    ],
)
def test_what_is_not_a_record_is_refused(key: str, value: object, text: str) -> None:
    """The text names the key."""
    with pytest.raises(ValueError, match=text):
        Record.from_json(RECORD.to_json() | {key: value})


@pytest.mark.parametrize("data", [None, [], "x", {}, 1])
def test_other_json_is_refused(data: object) -> None:
    """Not an object, or an empty one."""
    with pytest.raises(ValueError, match="expected"):
        Record.from_json(data)
