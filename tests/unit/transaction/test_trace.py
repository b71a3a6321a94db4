"""The trace field: RFC 5321 4.4, with foreign text that cannot get out of its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.envelope import TlsFacts
from gateway.mime import find_flaw, parse_header
from gateway.smime import count_own_visits, trace_token
from gateway.transaction.trace import received_field
from tests.support.pki import MOMENT
from tests.unit.transaction.company import CLIENT, HOSTNAME, SECRET

ID = "0000000000000001"


def received(*, smtputf8: bool = False, hide_client: bool = False, **client: Any) -> str:
    """Return the value of the field, unfolded."""
    octets = received_field(
        replace(CLIENT, **client),
        hostname=HOSTNAME,
        transaction=ID,
        moment=MOMENT,
        secret=SECRET,
        smtputf8=smtputf8,
        hide_client=hide_client,
    )
    assert octets.endswith(b"\r\n")
    assert octets.isascii()
    assert find_flaw(octets) is None
    [field] = parse_header(octets + b"\r\n").fields
    assert field.name == "Received"
    return field.value


def test_the_whole_field() -> None:
    """Who, by whom, how, which transaction, when."""
    token = trace_token(SECRET, ID)
    assert received() == (
        "from laptop.acme.example ([192.0.2.7]) (TLSv1.3 TLS_AES_256_GCM_SHA384; proven by network)"
        f" by gw1.acme.example (smime-gateway {token}) with ESMTPS id {ID}; Mon, 01 Jun 2026 12:00:00 +0000"
    )


@pytest.mark.parametrize(
    ("client", "smtputf8", "word"),
    [
        ({"esmtp": False, "tls": None}, False, "SMTP"),
        ({"tls": None}, False, "ESMTP"),
        ({}, False, "ESMTPS"),
        ({"tls": None}, True, "UTF8SMTP"),
        ({}, True, "UTF8SMTPS"),
    ],
)
def test_the_protocol(client: dict[str, Any], smtputf8: bool, word: str) -> None:
    """As registered (RFC 3848, RFC 6531 4.3)."""
    assert f" with {word} id " in received(smtputf8=smtputf8, **client)


def test_what_is_known_of_the_session() -> None:
    """Without TLS and proof it says so; IPv6 addresses have their tag (RFC 5321 4.1.3)."""
    value = received(tls=None, proven=False, proof="none", address="2001:db8::7")
    assert "([IPv6:2001:db8::7]) (no TLS; not authenticated)" in value


def test_a_hidden_client() -> None:
    """Neither its name nor its address."""
    value = received(hide_client=True, helo="secret-host.inner")
    assert value.startswith(f"from {HOSTNAME} (internal client, withheld) (")
    assert "secret-host" not in value
    assert "192.0.2.7" not in value


@pytest.mark.parametrize("helo", ["laptop.acme.example", "LAPTOP", "a_b.example", "[192.0.2.7]", "[IPv6:2001:db8::7]"])
def test_names_that_are_written(helo: str) -> None:
    """Domains and address literals."""
    assert received(helo=helo).startswith(f"from {helo} (")


@pytest.mark.parametrize(
    "helo",
    [
        "",
        "x by gw1.acme.example (smime-gateway 1.2)",
        "x\r\nBcc: victim@x.example",
        "x;",
        "x(y",
        "grüße.example",
        "-x",
        "x" * 300,
        "[x y]",
        "x\n",
    ],
)
def test_names_that_are_not(helo: str) -> None:
    """What is neither stands as ``unknown``: it can end no field and pose as no token."""
    assert received(helo=helo).startswith("from unknown ([192.0.2.7]) ")


@given(st.text(max_size=300), st.sampled_from([None, TlsFacts(version="TLSv1.2", cipher="X")]))
def test_any_name_gives_one_field_that_counts_once(helo: str, tls: TlsFacts | None) -> None:
    """And the loop check finds its token."""
    value = received(helo=helo, tls=tls)
    assert count_own_visits([value], SECRET, HOSTNAME) == 1
    assert count_own_visits([value], b"x" * 32, HOSTNAME) == 0
