"""The golden comparison says what differs, and lets only what it names be different."""

from __future__ import annotations

import pytest

from tests.support.maildiff import assert_same, differences

GOLDEN = b"""\
Received: by gw1.test*
Subject: one * two
Content-Type: multipart/signed; boundary="=boundary-1"

--=boundary-1
text
--=boundary-1
Content-Type: application/pkcs7-signature

*
--=boundary-1--
"""

MESSAGE = (
    b"Received: by gw1.test (x)\r\n\tid 5; today\r\n"
    b"Subject: one * two\r\n"
    b'Content-Type: multipart/signed; boundary="xyz.7"\r\n'
    b"\r\n"
    b"--xyz.7\r\ntext\r\n--xyz.7\r\nContent-Type: application/pkcs7-signature\r\n\r\nMIIA\r\nBBBB\r\n--xyz.7--\r\n"
)


def test_volatile_values_boundaries_and_signatures_may_differ() -> None:
    """The stars stand for a field's value, folded or not, and for lines of the body; boundaries are renamed."""
    assert_same(GOLDEN, MESSAGE)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        pytest.param(b"one * two", b"one x two", "field 2", id="star in a field that is not volatile"),
        pytest.param(b"text\r\n", b"texT\r\n", "body line 2", id="body octet"),
        pytest.param(b"text\r\n", b"text \r\n", "body line 2", id="trailing blank"),
        pytest.param(b"Subject: one", b"Subject:  one", "field 2", id="blank in a field"),
        pytest.param(b"BBBB\r\n--xyz.7--\r\n", b"BBBB\r\n--xyz.7--", "body", id="missing last CRLF"),
        pytest.param(b"text\r\n", b"text\n", "bare", id="bare LF"),
        pytest.param(b"\r\n\r\n--", b"\r\nX-New: 1\r\n\r\n--", "field 4", id="field too many"),
    ],
)
def test_everything_else_is_a_difference(old: bytes, new: bytes, word: str) -> None:
    """One octet that is different is told, with its place."""
    assert old in MESSAGE

    found = differences(GOLDEN, MESSAGE.replace(old, new, 1))

    assert word in found[0]
