"""Our keyed marks are found wherever mail carries them, and only ours are."""

from __future__ import annotations

import base64
import quopri
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smime import OPENED_MARK_FIELD, carries_opened_mark, count_own_visits, opened_mark, trace_token

SECRET = b"s" * 32
OTHER = b"o" * 32
ID = "01j9zk3t5w2x8b4c"
MARK = opened_mark(SECRET, ID)
OPENED = b"From: a@b.example\r\n" + MARK + b"Subject: x\r\n\r\nOpened text.\r\n"


def received_value(token: str, host: str = "gw1.acme.example") -> str:
    return f"from client (client [192.0.2.1]) by {host} (smime-gateway {token}) with ESMTP id {ID}; Mon, 1 Jun 2026"


def test_token_names_the_transaction_and_a_mac() -> None:
    """The token is one word of a comment: the id, a dot, 32 hex digits."""
    name, _, mac = trace_token(SECRET, ID).partition(".")
    assert name == ID
    assert len(mac) == 32
    assert set(mac) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("values", "visits"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([received_value(trace_token(SECRET, ID))], 1, id="ours"),
        pytest.param([received_value(trace_token(SECRET, ID)), received_value(trace_token(SECRET, "b"))], 2, id="two"),
        pytest.param([received_value(trace_token(SECRET, ID), "GW1.Acme.Example")], 1, id="letter case"),
        pytest.param([received_value(trace_token(OTHER, ID))], 0, id="another secret"),
        pytest.param([received_value(trace_token(SECRET, ID), "gw2.acme.example")], 0, id="another gateway"),
        pytest.param([received_value(trace_token(SECRET, ID), "gw1.acme.example.evil")], 0, id="longer host"),
        pytest.param([received_value(ID)], 0, id="no mac"),
        pytest.param([received_value(ID + "." + "0" * 32)], 0, id="wrong mac"),
        pytest.param([received_value(trace_token(SECRET, ID) + "00")], 0, id="longer mac"),
        pytest.param([received_value("x" + trace_token(SECRET, ID))], 0, id="another id"),
        pytest.param(["by gw1.acme.example"], 0, id="no token"),
    ],
)
def test_count_own_visits(values: list[str], visits: int) -> None:
    """Only a valid token under our own host name counts."""
    assert count_own_visits(values, SECRET, "gw1.acme.example") == visits


def test_marks_of_one_kind_are_none_of_the_other() -> None:
    """A trace token, which everybody can read, is no opened mark, and the other way round."""
    mac = trace_token(SECRET, ID).partition(".")[2]
    assert not carries_opened_mark(f"{OPENED_MARK_FIELD}: {ID} {mac}\r\n\r\n".encode(), SECRET)
    opened_mac = MARK.split()[-1].decode()
    assert not count_own_visits([received_value(f"{ID}.{opened_mac}")], SECRET, "gw1.acme.example")


def test_opened_mark_is_one_short_field() -> None:
    """It needs no folding and survives quoted-printable in one line."""
    assert MARK.startswith(b"SMIME-Gateway-Opened: " + ID.encode() + b" ")
    assert MARK.endswith(b"\r\n")
    assert len(MARK) <= 76


def forwarded(body: bytes, encoding: bytes = b"7bit") -> bytes:
    return (
        b"Subject: Fwd\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: "
        + encoding
        + b"\r\n\r\n"
        + body
        + b"\r\n--b--\r\n"
    )


def in_base64(octets: bytes, lead: int, width: int = 76) -> bytes:
    text = base64.b64encode(b"-" * lead + octets)
    return b"\r\n".join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(OPENED, id="header"),
        pytest.param(forwarded(OPENED), id="message/rfc822"),
        pytest.param(b"Subject: Re\r\n\r\n> " + OPENED.replace(b"\r\n", b"\r\n> "), id="quoted in a reply"),
        pytest.param(OPENED.replace(b"SMIME-Gateway-Opened", b"smime-gateway-opened"), id="lower case"),
        pytest.param(OPENED.replace(ID.encode() + b" ", ID.encode() + b"\r\n "), id="folded"),
        pytest.param(OPENED.replace(ID.encode() + b" ", ID.encode() + b" =\r\n"), id="soft line break"),
        pytest.param(forwarded(quopri.encodestring(OPENED), b"quoted-printable"), id="quoted-printable"),
        *(
            pytest.param(forwarded(in_base64(OPENED, lead), b"base64"), id=f"base64, {lead} octets before")
            for lead in range(0, 80, 7)
        ),
        pytest.param(forwarded(in_base64(OPENED + b"x" * 900, 2), b"base64"), id="base64 that goes on"),
        *(
            pytest.param(forwarded(in_base64(OPENED, 1, width), b"Base64"), id=f"base64 of {width}")
            for width in (60, 64)
        ),
    ],
)
def test_opened_mark_is_found(content: bytes) -> None:
    """Wherever a bounce, reply or forward puts it."""
    assert carries_opened_mark(content, SECRET)
    assert not carries_opened_mark(content, OTHER)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"Subject: x\r\n\r\nplain\r\n", id="plain"),
        pytest.param(OPENED.replace(MARK, opened_mark(OTHER, ID)), id="another secret"),
        pytest.param(OPENED.replace(MARK, MARK.replace(ID.encode(), b"01j9zk3t5w2x8b4d")), id="another id"),
        pytest.param(OPENED.replace(MARK, MARK[:-4] + b"\r\n"), id="short mac"),
        pytest.param(b"SMIME-Gateway-Opened:", id="name only"),
        pytest.param(b"SMIME-Gateway-Opened: \xff \xff", id="octets"),
        pytest.param(forwarded(in_base64(b"SMIME-Gateway-Opened: x y", 1), b"base64"), id="base64 without a mac"),
    ],
)
def test_what_is_no_mark(content: bytes) -> None:
    """Only a valid mac counts."""
    assert not carries_opened_mark(content, SECRET)


def test_a_forged_mark_does_not_hide_the_real_one() -> None:
    """Every place is looked at, not only the first."""
    assert carries_opened_mark(opened_mark(OTHER, ID) + OPENED, SECRET)


@pytest.mark.parametrize("wrong", ["", "a b", "a\r\nX: y", "ä", "a" * 65])
def test_an_id_that_could_break_the_field_is_refused(wrong: str) -> None:
    """What we write cannot carry more than a mark."""
    with pytest.raises(ValueError, match="transaction id"):
        opened_mark(SECRET, wrong)
    with pytest.raises(ValueError, match="transaction id"):
        trace_token(SECRET, wrong)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_octets_around_a_mark(before: bytes, after: bytes) -> None:
    """A mark is found between any octets; any octets without one give no."""
    assert carries_opened_mark(before + b"\r\n" + MARK + after, SECRET)
    assert not carries_opened_mark(before + after, SECRET)


@given(st.lists(st.text()), st.text())
def test_any_received_values(values: list[str], host: str) -> None:
    """Foreign trace fields never raise."""
    assert count_own_visits(values, SECRET, host) == 0


def test_the_search_is_fast() -> None:
    """75 KB without a mark cost well under a millisecond of processor time."""
    content = b"Content-Transfer-Encoding: base64\r\n\r\n" + in_base64(b"\x17" * 56_000, 0)
    began = time.process_time()
    for _ in range(10):
        assert not carries_opened_mark(content, SECRET)
    assert (time.process_time() - began) / 10 < 0.005
