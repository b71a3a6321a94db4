"""The trace field that this gateway writes at the head of every message (RFC 5321 4.4).

Foreign text (HELO) is written so that it cannot end the field or pose as another token. Internal addresses are hidden
where the listener's ``hide_client`` says so. The keyed token in the comment is what the loop check counts.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime

from gateway.envelope import Client
from gateway.mime import fold_field
from gateway.smime import trace_token

_DOMAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._\-]{0,253}[A-Za-z0-9_])?\Z")
_LITERAL = re.compile(r"\[[A-Za-z0-9:.\-]{1,80}\]\Z")


def received_field(
    client: Client,
    *,
    hostname: str,
    transaction: str,
    moment: datetime,
    secret: bytes,
    smtputf8: bool,
    hide_client: bool,
) -> bytes:
    """Return the Received field with its CRLF."""
    if hide_client:
        origin = f"from {hostname} (internal client, withheld)"
    else:
        origin = f"from {_helo(client.helo)} ({_literal(client.address)})"
    token = trace_token(secret, transaction)
    value = (
        f"{origin} ({_session(client)}) by {hostname} (smime-gateway {token})"
        f" with {_protocol(client, smtputf8)} id {transaction}; {format_datetime(moment)}"
    )
    return fold_field("Received", value)


def _helo(name: str) -> str:
    return name if _DOMAIN.match(name) or _LITERAL.match(name) else "unknown"


def _literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _session(client: Client) -> str:
    tls = f"{client.tls.version} {client.tls.cipher}" if client.tls else "no TLS"
    return f"{tls}; {'proven by ' + client.proof if client.proven else 'not authenticated'}"


def _protocol(client: Client, smtputf8: bool) -> str:
    """Return the registered "with" protocol (RFC 3848, RFC 6531 4.3)."""
    if not client.esmtp:
        return "SMTP"
    return ("UTF8SMTP" if smtputf8 else "ESMTP") + ("S" if client.tls else "")
