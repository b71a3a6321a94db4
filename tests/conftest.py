"""Fixtures for all tests: hypothesis profiles, an upstream double, real peers; tests/support has the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.dovecot import Dovecot
from tests.support.postfix import Postfix
from tests.support.sink import Sink

# Nothing here depends on how fast the machine is, so no deadline. HYPOTHESIS_PROFILE=thorough looks much longer.
settings.register_profile("default", max_examples=60, deadline=None, print_blob=True)
settings.register_profile(
    "thorough",
    max_examples=2000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def sink() -> Iterator[Sink]:
    """An upstream that accepts everything."""
    with Sink() as running:
        yield running


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    """Mailboxes of alice, bob and carol at acme.example."""
    with Dovecot([f"{name}@acme.example" for name in ("alice", "bob", "carol")]) as running:
        yield running


@pytest.fixture
def mailboxes(dovecot: Dovecot) -> Iterator[Postfix]:
    """A Postfix that takes mail for the users of ``dovecot`` and delivers it there; others it refuses at RCPT."""
    with Postfix(
        hostname="mailboxes.test", lmtp=dovecot.lmtp_socket, domains=["acme.example"], users=dovecot.users
    ) as running:
        yield running
