"""The table of outcomes and replies: codes, enhanced status codes and texts as RFC 5321, 3463 and 5248 want them."""

from __future__ import annotations

import re

import pytest

from gateway.outcome import Ending, Outcome, Reply, Session

MEMBERS = [*Outcome, *Session]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_every_member_is_a_reply(member: Outcome | Session) -> None:
    """A code of RFC 5321 4.2, a status whose class is that of the code (RFC 3463 3), one generic line of ASCII."""
    reply = member.reply()
    assert 200 <= reply.code <= 599
    assert len(reply.lines) == 1
    assert re.fullmatch(r"[ -~]{2,80}", reply.lines[0])
    if reply.enhanced:
        assert re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", reply.enhanced)
        assert reply.enhanced[0] == str(reply.code)[0]
    else:
        assert reply.code in (220, 354)  # RFC 2034 4: not in greeting, EHLO and 354


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.label)
def test_permanence_is_the_codes(outcome: Outcome) -> None:
    """Each outcome is accepted, transient or permanent; its label fits metrics."""
    reply = outcome.reply("0000000000000001")
    assert [reply.is_positive, reply.is_transient, reply.is_permanent].count(True) == 1
    assert (outcome.is_permanent, outcome.is_transient) == (reply.is_permanent, reply.is_transient)
    assert reply.lines[0] == f"{outcome.text} [0000000000000001]"
    assert re.fullmatch(r"[a-z0-9-]+", outcome.label)


def said(code: int, enhanced: str = "") -> Reply:
    return Reply(code, enhanced, ("first line", "second line"))


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (said(250, "2.0.0"), Outcome.ACCEPTED),
        (said(251, "2.1.5"), Outcome.ACCEPTED),
        (said(450, "4.2.0"), Outcome.UPSTREAM_TRANSIENT),
        (said(421, "4.3.2"), Outcome.UPSTREAM_TRANSIENT),
        (said(550, "5.1.1"), Outcome.UPSTREAM_PERMANENT),
        (said(354), Outcome.UPSTREAM_GONE),
        (said(300), Outcome.UPSTREAM_GONE),
        (said(600), Outcome.UPSTREAM_GONE),
        (said(199), Outcome.UPSTREAM_GONE),
    ],
)
def test_what_an_upstreams_reply_means(reply: Reply, outcome: Outcome) -> None:
    """Total: only 2yz is an acceptance, and what is out of place is a lost connection."""
    assert Ending.by_upstream(reply).outcome is outcome


@pytest.mark.parametrize(
    ("reply", "heard"),
    [
        (said(550, "5.1.1"), said(550, "5.1.1")),
        (said(450, "4.2.0"), said(450, "4.2.0")),
        (said(550), said(550, "5.0.0")),
        (said(450), said(450, "4.3.0")),
        (said(421, "4.3.2"), said(451, "4.3.2")),
        (said(421), said(451, "4.3.0")),
    ],
)
def test_what_the_client_hears_of_the_upstream(reply: Reply, heard: Reply) -> None:
    """Its own words; but 421 would say that we close, and we have promised enhanced status codes (RFC 2034 4)."""
    assert Ending.by_upstream(reply).reply("1") == heard


def test_the_upstream_speaks_only_where_it_refuses() -> None:
    """An acceptance, and outcomes of our own, have our text."""
    assert Ending.by_upstream(said(250, "2.0.0")).reply("1") == Outcome.ACCEPTED.reply("1")
    assert Ending(Outcome.LOOKUP_UNAVAILABLE, said(550)).reply("1") == Outcome.LOOKUP_UNAVAILABLE.reply("1")


def test_a_reply_in_one_line() -> None:
    """For records."""
    assert str(said(550, "5.1.1")) == "550 5.1.1 first line"
    assert str(said(354)) == "354 first line"


def test_session_replies_may_be_given_a_text() -> None:
    """The greeting names the host."""
    assert Session.GREETING.reply("gw1 ESMTP") == Reply(220, "", ("gw1 ESMTP",))
