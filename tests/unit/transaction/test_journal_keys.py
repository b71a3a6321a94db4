"""Keys of the delivery journal: the same for each attempt at a message, another for everything else."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Address
from gateway.envelope import NULL_PATH, Path
from gateway.errors import MimeError
from gateway.limits import Limits
from gateway.transaction.journal import content_fingerprint, journal_keys

SECRET = bytes(32)
BASE = (
    b"From: alice@acme.example\r\nSubject: x\r\nMessage-ID: <1@acme.example>\r\n"
    b"Received: by nobody, inside\r\n of a folded field\r\n\r\nbody\r\nReceived: not a field\r\n"
)


def path(text: str) -> Path:
    return Path(octets=text.encode(), address=Address(text))


ALICE, BOB, CAROL = path("alice@acme.example"), path("bob@bank.example"), path("carol@bank.example")


def keys(
    *,
    secret: bytes = SECRET,
    listener: str = "users",
    reverse_path: Path = ALICE,
    content: bytes = BASE,
    forward_paths: Sequence[Path] = (BOB,),
) -> tuple[bytes, ...]:
    return journal_keys(secret, listener, reverse_path, content, forward_paths)


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param(b"Received: from a by b; Sun, 1 Mar 2026 12:00:00 +0000\r\n", id="received"),
        pytest.param(b"Received: from a\r\n\tby b\r\n\t; Sun, 1 Mar 2026 12:00:00 +0000\r\n", id="received-folded"),
        pytest.param(b"rEcEiVeD: from a by b\r\n", id="received-case"),
        pytest.param(b"Return-Path: <alice@acme.example>\r\n", id="return-path"),
        pytest.param(b"Authentication-Results: mx.example; spf=pass\r\n", id="authentication-results"),
        pytest.param(
            b"ARC-Seal: i=1; a=rsa-sha256; t=1\r\nARC-Message-Signature: i=1;\r\n b=x\r\n"
            b"ARC-Authentication-Results: i=1; mx.example; none\r\n",
            id="arc",
        ),
        pytest.param(b"X-MS-Exchange-Organization-SCL: -1\r\nx-ms-exchange-crosstenant-id: 1\r\n", id="exchange"),
    ],
)
def test_what_earlier_hops_put_on_top_does_not_count(trace: bytes) -> None:
    """Each attempt passes them anew, at another time and perhaps another way."""
    assert keys(content=trace + BASE) == keys()
    assert keys(content=trace + trace + BASE) == keys()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"secret": b"x" * 32}, id="secret"),
        pytest.param({"listener": "border"}, id="listener"),
        pytest.param({"reverse_path": BOB}, id="reverse-path"),
        pytest.param({"reverse_path": NULL_PATH}, id="null-reverse-path"),
        pytest.param({"reverse_path": path("Alice@acme.example")}, id="reverse-path-case"),
        pytest.param({"forward_paths": (CAROL,)}, id="forward-path"),
        pytest.param({"content": BASE + b"more\r\n"}, id="body"),
        pytest.param({"content": BASE.replace(b"not a field", b"no")}, id="body-that-looks-like-trace"),
        pytest.param({"content": BASE.replace(b"Subject: x", b"Subject: y")}, id="subject"),
        pytest.param({"content": BASE.replace(b"Subject: x", b"Subject:  x")}, id="space"),
        pytest.param({"content": b"Received-SPF: pass\r\n" + BASE}, id="name-that-only-begins-like-received"),
        pytest.param({"content": b"X-Arc-Seal: x\r\n" + BASE}, id="name-that-only-ends-like-arc"),
        pytest.param({"content": BASE.replace(b"<1@", b"<2@")}, id="message-id"),
    ],
)
def test_everything_else_counts(change: dict[str, object]) -> None:
    """Two messages that differ in anything the sender wrote are two messages, whatever their Message-ID."""
    assert not set(keys(**change)) & set(keys())  # type: ignore[arg-type]


def test_keys_follow_the_order_of_recipients() -> None:
    """One key for each; the others of an envelope make no difference, nor does how often a path is named."""
    bob, carol = keys(forward_paths=(BOB, CAROL))
    assert keys(forward_paths=(CAROL, BOB, CAROL)) == (carol, bob, carol)
    assert keys(forward_paths=(BOB,)) == (bob,)
    assert keys(forward_paths=()) == ()
    assert {len(bob), len(carol)} == {32}


def test_the_fingerprint_is_a_hash_of_the_message_without_trace() -> None:
    """Octet by octet, the empty line and a body without end included."""
    content = b"A: 1\r\nReceived: x\r\n y\r\nB: 2\r\n\r\nbody"
    assert content_fingerprint(content) == hashlib.sha256(b"A: 1\r\nB: 2\r\n\r\nbody").digest()


@given(st.tuples(*[st.text("ab@", max_size=4)] * 2), st.tuples(*[st.text("ab@", max_size=4)] * 2))
def test_parts_do_not_run_into_each_other(one: tuple[str, str], two: tuple[str, str]) -> None:
    """Listener and reverse-path that together read alike, split elsewhere, give other keys."""
    first, second = (
        keys(listener=listener, reverse_path=Path(octets=reverse.encode(), address=None))
        for listener, reverse in (one, two)
    )
    assert (first == second) is (one == two)


@given(st.binary(max_size=200))
def test_any_octets_have_keys_or_a_mime_error(content: bytes) -> None:
    """Ugly messages are messages; the same octets have the same keys."""
    with contextlib.suppress(MimeError):
        assert keys(content=content) == keys(content=bytes(bytearray(content)))


def test_limits_hold() -> None:
    """A header section beyond the limits is not read."""
    with pytest.raises(MimeError):
        journal_keys(SECRET, "users", ALICE, b"A: 1\r\n" * 11 + b"\r\n", (BOB,), Limits(header_fields=10))


def test_an_empty_secret_is_refused() -> None:
    """Without a secret anyone who reads the journal could test for messages he knows."""
    with pytest.raises(ValueError, match="secret"):
        keys(secret=b"")
