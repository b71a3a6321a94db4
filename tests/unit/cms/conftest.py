"""The signers and recipients of the tests of this room: made once."""

from __future__ import annotations

import pytest

from tests.support.pki import Issued, Pki


@pytest.fixture(scope="session")
def pki() -> Pki:
    """A root and an issuing CA."""
    return Pki.make()


@pytest.fixture(scope="session")
def alice(pki: Pki) -> Issued:
    """RSA 2048."""
    return pki.identity("alice@acme.example")


@pytest.fixture(scope="session")
def bob(pki: Pki) -> Issued:
    """RSA 2048, another key."""
    return pki.identity("bob@acme.example")


@pytest.fixture(scope="session")
def erin(pki: Pki) -> Issued:
    """P-256."""
    return pki.identity("erin@acme.example", key_kind="ec-p256")
