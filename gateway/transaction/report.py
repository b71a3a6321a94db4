"""Delivery status notifications: the report on recipients that were refused for good while others were served.

Pure. Standards: RFC 3464 (multipart/report; delivery-status), RFC 6522, RFC 3461 6.2 (reverse-path ``<>``), RFC 3834
(Auto-Submitted). The report returns the header section of the message only, never its body: a report may travel in
clear what was not to. Foreign text (the upstream's diagnostic) is printable ASCII on one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime

from gateway.envelope import Path
from gateway.transaction.state import RecipientState


def build_report(
    refused: Sequence[RecipientState],
    *,
    reverse_path: Path,
    header: bytes,
    hostname: str,
    transaction: str,
    moment: datetime,
    boundary: str,
) -> tuple[bytes, ...]:
    """Return the report as buffers; ``header`` is the header section of the refused message, CRLF lines."""
    date = format_datetime(moment)
    head = (
        f"From: Mail Delivery System <postmaster@{hostname}>\r\n"
        f"To: {_ascii(str(reverse_path))}\r\n"
        "Subject: Undelivered mail: some recipients were refused\r\n"
        f"Date: {date}\r\nMessage-ID: <{transaction}.report@{hostname}>\r\n"
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"\r\n\r\n'
    )
    lines = "".join(f"  {_recipient(state)}\r\n    {_diagnostic(state)}\r\n" for state in refused)
    text = (
        f"--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
        f"This is the S/MIME gateway at {hostname}.\r\n\r\n"
        "Your message was delivered to some of its recipients, and refused for these:\r\n\r\n"
        f"{lines}\r\nTransaction: {transaction}\r\n\r\n"
    )
    status = (
        f"--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; {hostname}\r\nArrival-Date: {date}\r\n\r\n" + "".join(map(_status, refused))
    )
    returned = f"--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n"
    return ((head + text + status + returned).encode("ascii"), header, f"\r\n--{boundary}--\r\n".encode("ascii"))


def _status(state: RecipientState) -> str:
    assert state.ending is not None
    ending = state.ending
    enhanced = (ending.upstream.enhanced if ending.upstream else "") or ending.outcome.enhanced
    return (
        f"Final-Recipient: rfc822; {_recipient(state)}\r\nAction: failed\r\nStatus: {enhanced}\r\n"
        f"Diagnostic-Code: smtp; {_diagnostic(state)}\r\n\r\n"
    )


def _recipient(state: RecipientState) -> str:
    return _ascii(state.recipient.path.octets.decode("utf-8", "replace"))


def _diagnostic(state: RecipientState) -> str:
    assert state.ending is not None
    return _ascii(str(state.ending.upstream or state.ending.outcome.reply()))


def _ascii(text: str) -> str:
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)[:900]
