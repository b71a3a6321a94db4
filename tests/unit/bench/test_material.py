"""The messages and files of the benchmark are what the measurement says they are, and what the gateway takes."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.floor import Floor, Treatment
from bench.material import ALICE, BOB, Case, write_material, write_settings
from gateway.address import Address
from gateway.limits import DEFAULT_LIMITS
from gateway.mime import find_flaw
from gateway.pkix import PathValidator, load_certificates
from gateway.settings import parse_settings
from gateway.smime import unprotect

OCTETS = 75_000
LINE = 78


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("material")


@pytest.fixture(scope="module")
def cases(folder: Path) -> dict[Treatment, Case]:
    return write_material(folder, octets=OCTETS)


@pytest.mark.parametrize("treatment", list(Treatment))
def test_messages_have_their_size(cases: dict[Treatment, Case], treatment: Treatment) -> None:
    """Every message, also the signed one, has the size that was asked for, to a line, and clean lines."""
    case = cases[treatment]
    content = case.message.read_bytes()
    assert OCTETS - LINE < len(content) <= OCTETS
    assert find_flaw(content) is None
    assert case.mark not in content


def test_signed_message_verifies(cases: dict[Treatment, Case], folder: Path) -> None:
    """The inbound message is signed by its sender under the anchors that the gateway is given."""
    anchors = load_certificates((folder / "anchors" / "root.pem").read_bytes())
    found = unprotect(
        cases[Treatment.VERIFY].message.read_bytes(),
        keys=(),
        anchors=PathValidator(anchors),
        moment=datetime.now(UTC),
        limits=DEFAULT_LIMITS,
    )
    assert found.report.result == "pass"


def test_files_fit_the_gateway(cases: dict[Treatment, Case], folder: Path) -> None:
    """The settings are read without a problem, certificates name the two people, and nobody else can read the key."""
    path = write_settings(folder, sink=2501, users=2502, border=2503, metrics=2504, workers=2)
    settings = parse_settings(path.read_text(), str(path))
    assert settings.workers == 2
    assert {case.listener for case in cases.values()} == set(settings.listeners)
    ours, theirs = folder / "keys" / "alice.pem", folder / "certificates" / "bob.pem"
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600
    assert load_certificates(theirs.read_bytes())[0].names(Address(BOB))
    assert ALICE in {case.sender for case in cases.values()}


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [(Treatment.PASS, 101), (Treatment.SIGN, 101), (Treatment.ENCRYPT, 1010), (Treatment.VERIFY, 1001)],
)
def test_floor(treatment: Treatment, expected: int) -> None:
    """The floor of a treatment is the sum of the operations that it cannot do without."""
    floor = Floor(sha256=1, rsa2048_private=100, aes256_cbc=10, rsa2048_public=1000, octets=OCTETS)
    assert floor.of(treatment) == expected
