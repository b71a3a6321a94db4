"""Replies: printed by one function, read strictly."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamBroken
from gateway.outcome import Outcome, Reply, Session
from gateway.smtp.replies import MAX_LINE, MAX_LINES, ReplyReader, format_reply

READ = {
    "plain": (b"250 ok\r\n", Reply(250, "", ("ok",))),
    "enhanced": (b"250 2.1.0 sender ok\r\n", Reply(250, "2.1.0", ("sender ok",))),
    "no text": (b"250\r\n", Reply(250, "", ("",))),
    "empty text": (b"354 \r\n", Reply(354, "", ("",))),
    "lines": (b"550-5.1.1 no such\r\n550 5.1.1 user\r\n", Reply(550, "5.1.1", ("no such", "user"))),
    "enhanced only": (b"250 2.0.0\r\n", Reply(250, "2.0.0", ("",))),
    "class does not fit": (b"550 2.0.0 odd\r\n", Reply(550, "", ("2.0.0 odd",))),
    "controls": (b"550 a\x1b[31m\x07b\tc\r\n", Reply(550, "", ("a?[31m?b?c",))),
    "not UTF-8": (b"550 a\xffb\r\n", Reply(550, "", ("a\ufffdb",))),
}


@pytest.mark.parametrize(("octets", "reply"), READ.values(), ids=READ)
@pytest.mark.parametrize("size", [0, 1])
def test_read(octets: bytes, reply: Reply, size: int) -> None:
    reader = ReplyReader()
    step = size or len(octets)
    replies = [one for start in range(0, len(octets), step) for one in reader.receive(octets[start : start + step])]
    assert replies == [reply]
    assert not reader.is_partial


BROKEN = {
    "bare LF": b"250 ok\n",
    "no code": b"hello\r\n",
    "code 1yz": b"150 go on\r\n",
    "code 6yz": b"650 what\r\n",
    "two codes": b"250-a\r\n251 b\r\n",
    "code runs on": b"2500 ok\r\n",
    "HTTP": b"HTTP/1.1 200 OK\r\n",
    "long line": b"250 " + b"x" * MAX_LINE + b"\r\n",
    "long line without end": b"250 " + b"x" * MAX_LINE,
    "many lines": b"250-x\r\n" * (MAX_LINES + 1),
}


@pytest.mark.parametrize("octets", BROKEN.values(), ids=BROKEN)
def test_what_is_no_reply_breaks_the_connection(octets: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        ReplyReader().receive(octets)


def test_half_a_reply_is_known_as_such() -> None:
    reader = ReplyReader()
    assert reader.receive(b"250-2.0.0 queued\r\n25") == []
    assert reader.is_partial


@given(st.binary(max_size=300))
def test_any_octets_give_replies_or_our_exception(octets: bytes) -> None:
    with contextlib.suppress(UpstreamBroken):
        for reply in ReplyReader().receive(octets):
            assert 200 <= reply.code <= 599


@given(st.sampled_from([250, 451, 550]), st.lists(st.text(max_size=40), min_size=1, max_size=4).map(tuple))
def test_printed_replies_are_whole_lines_whatever_the_text(code: int, lines: tuple[str, ...]) -> None:
    """Foreign text cannot end a line or start another reply."""
    octets = format_reply(Reply(code, "", lines))
    printed = octets.split(b"\r\n")
    assert printed.pop() == b""
    assert len(printed) == len(lines)
    assert all(line.startswith(str(code).encode()) for line in printed)
    assert not any(octet < 32 or octet == 127 for line in printed for octet in line)
    (reply,) = ReplyReader().receive(octets)
    assert reply.code == code


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.label)
def test_outcomes_are_proper_replies(outcome: Outcome) -> None:
    """Code and enhanced status agree (RFC 2034), the text is generic: ASCII, one line, no digits of addresses."""
    assert outcome.enhanced[0] == str(outcome.code)[0]
    assert outcome.text.isascii()
    assert outcome.text.isprintable()
    assert outcome.is_permanent + outcome.is_transient + (outcome is Outcome.ACCEPTED) == 1
    assert (
        format_reply(outcome.reply("0abc")) == f"{outcome.code} {outcome.enhanced} {outcome.text} [0abc]\r\n".encode()
    )


@pytest.mark.parametrize("member", Session, ids=lambda member: member.name)
def test_session_replies_are_proper(member: Session) -> None:
    reply = member.reply()
    assert not reply.enhanced or reply.enhanced[0] == str(reply.code)[0]
    assert reply.lines[0].isascii()
