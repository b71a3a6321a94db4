"""What the DER writer writes, an independent reader reads; and nothing else could be written for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from asn1crypto import core
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.cms import der


@pytest.mark.parametrize(
    ("count", "octets"),
    [
        pytest.param(0, b"\x00", id="zero"),
        pytest.param(127, b"\x7f", id="longest short form"),
        pytest.param(128, b"\x81\x80", id="shortest long form"),
        pytest.param(255, b"\x81\xff", id="one octet"),
        pytest.param(256, b"\x82\x01\x00", id="two octets"),
        pytest.param(65536, b"\x83\x01\x00\x00", id="three octets"),
    ],
)
def test_length_has_the_least_octets(count: int, octets: bytes) -> None:
    """X.690 10.1."""
    assert der.length(count) == octets


@given(st.integers(min_value=-(2**200), max_value=2**200) | st.integers(-(2**16), 2**16))
@example(-128)
@example(-129)
@example(128)
def test_integer_is_that_of_asn1crypto(value: int) -> None:
    """X.690 8.3: least octets, two's complement."""
    assert der.integer(value) == core.Integer(value).dump()


@given(
    st.tuples(st.integers(0, 1), st.integers(0, 39)) | st.tuples(st.just(2), st.integers(0, 2**70)),
    st.lists(st.integers(0, 2**70), max_size=8),
)
def test_oid_is_that_of_asn1crypto(first: tuple[int, int], rest: list[int]) -> None:
    """X.690 8.19, large arcs and a large second arc under 2 included."""
    dotted = ".".join(map(str, (*first, *rest)))
    assert der.oid(dotted) == core.ObjectIdentifier(dotted).dump()


@pytest.mark.parametrize("dotted", ["", "1", "3.1", "0.40", "1.2.-3", "1.a", "1..2"])
def test_oid_refuses(dotted: str) -> None:
    """What is no object identifier is a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        der.oid(dotted)


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_sequence_and_octet_string_are_those_of_asn1crypto(parts: list[bytes]) -> None:
    """Lengths of nested elements are right at every size."""
    expected = core.SequenceOf([core.OctetString(part) for part in parts], spec=core.OctetString).dump()
    assert der.sequence(*map(der.octet_string, parts)) == expected


@given(st.lists(st.integers(-300, 300).map(der.integer)))
def test_set_of_is_in_order(elements: list[bytes]) -> None:
    """X.690 11.6: the encodings ascend, whatever the order of the arguments."""
    assert der.set_of(elements) == der.set_of(reversed(elements)) == der.tlv(0x31, *sorted(elements))


@given(st.binary(max_size=300), st.integers(0, 70000))
def test_opening_is_the_begin_of_the_element(head: bytes, following: int) -> None:
    """What is written without the rest is octet for octet the begin of the whole."""
    rest = bytes(following)
    assert der.opening(der.SEQUENCE, head, following) + rest == der.sequence(head, rest)


@pytest.mark.parametrize(
    ("moment", "octets"),
    [
        pytest.param(datetime(2026, 6, 1, 12, 0, 5, tzinfo=UTC), b"\x17\x0d260601120005Z", id="UTCTime"),
        pytest.param(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z", id="last UTCTime"),
        pytest.param(datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z", id="first GeneralizedTime"),
        pytest.param(datetime(1950, 1, 1, tzinfo=UTC), b"\x17\x0d500101000000Z", id="first UTCTime"),
        pytest.param(datetime(1949, 12, 31, tzinfo=UTC), b"\x18\x0f19491231000000Z", id="before UTCTime"),
        pytest.param(datetime(900, 1, 1, tzinfo=UTC), b"\x18\x0f09000101000000Z", id="four digits of year"),
        pytest.param(
            datetime(2026, 6, 1, 12, 0, 5, 999999, tzinfo=timezone(timedelta(hours=2))),
            b"\x17\x0d260601100005Z",
            id="another zone, fractions cut",
        ),
    ],
)
def test_time(moment: datetime, octets: bytes) -> None:
    """RFC 5652 11.3: which form for which year, always in UTC and whole seconds."""
    assert der.utc_or_generalized_time(moment) == octets


def test_time_needs_a_zone() -> None:
    """A moment without zone would be a guess."""
    with pytest.raises(ValueError, match="time zone"):
        der.utc_or_generalized_time(datetime(2026, 6, 1))
