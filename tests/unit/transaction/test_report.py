"""Delivery status notifications (RFC 3464), read by the standard library's parser; foreign text does no harm."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.envelope import Path
from gateway.mime import find_flaw
from gateway.outcome import Ending, Outcome, Reply
from gateway.transaction.report import build_report
from tests.support.doubles import refusal
from tests.support.pki import MOMENT
from tests.unit.transaction.company import ALICE, CAROL, DAVE, path, state

HEADER = b"From: alice@acme.example\r\nSubject: Numbers\r\nMessage-ID: <1@acme.example>\r\n"
BOUNDARY = "=_boundary_0001"


def report(*refused: tuple[str, Ending], header: bytes = HEADER, reverse_path: Path | None = None) -> bytes:
    states = []
    for number, (address, ending) in enumerate(refused or ((DAVE, Ending(Outcome.PROTECTION_IMPOSSIBLE)),)):
        one = state(number, address)
        one.ending = ending
        states.append(one)
    buffers = build_report(
        states,
        reverse_path=reverse_path or path(ALICE),
        header=header,
        hostname="gw1.acme.example",
        transaction="0000000000000001",
        moment=MOMENT,
        boundary=BOUNDARY,
    )
    return b"".join(buffers)


def parts(content: bytes) -> Any:
    """Return (message, text, status blocks, returned header section)."""
    whole = email.message_from_bytes(content, policy=email.policy.SMTP)
    assert isinstance(whole, EmailMessage)
    text, status, returned = whole.iter_parts()
    return whole, text, list(status.iter_parts()), returned


def test_the_form() -> None:
    """multipart/report with its three parts (RFC 6522 3), marked as automatic (RFC 3834 5), in CRLF lines of 7 bit."""
    content = report()
    whole, text, status, returned = parts(content)
    assert whole.defects == []
    assert whole.get_content_type() == "multipart/report"
    assert whole.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in whole.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert (whole["To"], whole["Auto-Submitted"]) == (ALICE, "auto-replied")
    assert (whole["Message-ID"], whole["Date"]) == (
        "<0000000000000001.report@gw1.acme.example>",
        "Mon, 01 Jun 2026 12:00:00 +0000",
    )
    assert find_flaw(content) is None
    assert content.isascii()
    assert content.endswith(b"\r\n")
    assert len(status) == 2
    assert "0000000000000001" in text.get_content()
    assert returned.get_content().encode() == HEADER


@pytest.mark.parametrize(
    ("ending", "status", "diagnostic"),
    [
        (Ending(Outcome.PROTECTION_IMPOSSIBLE), "5.7.1", "550 5.7.1 required protection is not possible"),
        (Ending.by_upstream(refusal(554, "5.6.0 spam")), "5.6.0", "554 5.6.0 spam"),
        (Ending.by_upstream(refusal(550, "no such user")), "5.0.0", "550 no such user"),
    ],
    ids=["ours", "the upstream's", "the upstream's without enhanced status"],
)
def test_why(ending: Ending, status: str, diagnostic: str) -> None:
    """Status is the enhanced code (RFC 3464 2.3.4), Diagnostic-Code the reply as the upstream gave it (2.3.6)."""
    _, text, [about, one], _ = parts(report((DAVE, ending)))
    assert about["Reporting-MTA"] == "dns; gw1.acme.example"
    assert (one["Final-Recipient"], one["Action"], one["Status"]) == (f"rfc822; {DAVE}", "failed", status)
    assert one["Diagnostic-Code"].startswith(f"smtp; {diagnostic}")
    assert diagnostic in text.get_content()


def test_each_refused_recipient_has_its_block() -> None:
    """In the order of their RCPT."""
    no = Ending(Outcome.REJECTED_BY_POLICY)
    _, text, blocks, _ = parts(report((DAVE, no), (CAROL, no)))
    assert [block["Final-Recipient"] for block in blocks[1:]] == [f"rfc822; {DAVE}", f"rfc822; {CAROL}"]
    assert text.get_content().index(DAVE) < text.get_content().index(CAROL)


@pytest.mark.parametrize(
    "foreign",
    [
        "line\r\nAction: delivered\r\nFinal-Recipient: rfc822; victim@x.example",
        "nul\0 bell\7 escape\x1b[31m",
        "grüße \u202e \u2028",
        "x" * 5000,
        f"\r\n--{BOUNDARY}--\r\n",
        "\udcff",
    ],
    ids=["header injection", "controls", "not ASCII", "long", "boundary", "surrogate"],
)
def test_foreign_text_does_no_harm(foreign: str) -> None:
    """What an upstream or a client wrote stays within its field, on one line, in printable ASCII."""
    ending = Ending.by_upstream(Reply(550, "5.1.1", (foreign,)))
    octets = foreign.encode("utf-8", "surrogateescape")
    reverse_path = Path(octets=octets + b"@x.example", address=None)
    one = state(0, "victim@x.example")
    one.recipient = type(one.recipient)(path=Path(octets=octets + b"@x.example", address=None))
    one.ending = ending
    content = b"".join(
        build_report(
            [one],
            reverse_path=reverse_path,
            header=HEADER,
            hostname="gw1.acme.example",
            transaction="0000000000000001",
            moment=MOMENT,
            boundary=BOUNDARY,
        )
    )
    assert find_flaw(content) is None
    assert content.isascii()
    whole, _, blocks, returned = parts(content)
    assert len(list(whole.iter_parts())) == 3
    assert len(blocks) == 2
    assert blocks[1]["Action"] == "failed"
    assert len(blocks[1].get_all("Final-Recipient")) == 1
    assert returned.get_content().encode() == HEADER


@given(st.text(max_size=200), st.text(max_size=80))
def test_any_text_gives_a_report_of_the_same_form(said: str, name: str) -> None:
    """Whatever an upstream says, and whatever a recipient is called."""
    ending = Ending.by_upstream(Reply(550, "", (said,)))
    one = state()
    one.recipient = type(one.recipient)(path=Path(octets=name.encode("utf-8", "replace"), address=None))
    one.ending = ending
    content = b"".join(
        build_report(
            [one],
            reverse_path=path(ALICE),
            header=HEADER,
            hostname="gw1.acme.example",
            transaction="0000000000000001",
            moment=MOMENT,
            boundary=BOUNDARY,
        )
    )
    _, _, blocks, _ = parts(content)
    assert [block["Action"] for block in blocks] == [None, "failed"]
    assert find_flaw(content) is None


def test_the_header_section_comes_back_verbatim_and_nothing_below_it() -> None:
    """Octets above 127 too; never the body, which was not to travel in clear."""
    header = b"Subject: gr\xc3\xbc\xc3\x9fe\r\n folded\r\nX: y\r\n"
    assert header in report(header=header)
