"""The fast search answers what ``bytes`` answers, whatever is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.mime.search import count, find

octets = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"b", b"\0", b"\xff"]), max_size=200).map(b"".join)
needles = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\0", b"\xff"]), min_size=1, max_size=5).map(b"".join)


@given(octets, needles, st.integers(0, 220), st.none() | st.integers(0, 220))
def test_find(content: bytes, needle: bytes, start: int, end: int | None) -> None:
    assert find(content, needle, start, end) == content.find(needle, start, end)
    assert find(bytearray(content), needle, start, end) == content.find(needle, start, end)


@given(octets, needles)
def test_count(content: bytes, needle: bytes) -> None:
    assert count(content, needle) == content.count(needle)
