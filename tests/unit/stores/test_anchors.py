"""Trust anchors: all that is in the paths, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.stores import FolderAnchors
from tests.support.pki import MOMENT, NOT_AFTER, Pki, issue_ca

PKI = Pki.make()
OTHER = Pki.make(name="Other", key_index=1)


def load(*paths: Path) -> FolderAnchors:
    """Load at the fixed moment."""
    return FolderAnchors(paths, now=lambda: MOMENT)


def test_files_and_folders(tmp_path: Path) -> None:
    """Each certificate once, in order."""
    folder = PKI.anchor_file(tmp_path / "anchors").parent
    (folder / "two.crt").write_bytes(OTHER.root.certificate_pem + PKI.root.certificate_pem)
    file = tmp_path / "single"
    file.write_bytes(PKI.issuing.certificate_der)
    anchors = load(folder, file)
    expected = [PKI.root.certificate_der, OTHER.root.certificate_der, PKI.issuing.certificate_der]
    assert [one.der for one in anchors.certificates] == expected
    assert (anchors.problems, anchors.warnings) == ((), ())
    assert [one.der for one in anchors.validator().anchors] == expected


@pytest.mark.parametrize(
    ("octets", "text"),
    [(b"garbage", "neither PEM nor DER"), (PKI.root.certificate_pem + PKI.root.key_octets(), "take it away")],
    ids=["garbage", "key"],
)
def test_problems(tmp_path: Path, octets: bytes, text: str) -> None:
    """What does not belong there."""
    (tmp_path / "a.pem").write_bytes(octets)
    (problem,) = load(tmp_path).problems
    assert text in problem.text
    assert problem.file == str(tmp_path / "a.pem")


def test_nothing_is_a_problem(tmp_path: Path) -> None:
    """An empty folder trusts nobody, a missing one too; no path at all is a decision."""
    assert "nothing would be trusted" in load(tmp_path).problems[0].text
    assert "No such file" in load(tmp_path / "missing").problems[0].text
    assert load().problems == ()
    assert load().validator().anchors == ()


def test_validity_is_warned_of(tmp_path: Path) -> None:
    """Expired, and soon expired."""
    old = issue_ca("CN=Old", key_kind="ec-p256", not_after=MOMENT - timedelta(days=1))
    soon = issue_ca("CN=Soon", key_kind="ec-p256", not_after=MOMENT + timedelta(days=1))
    later = issue_ca("CN=Later", key_kind="ec-p256", not_after=NOT_AFTER)
    (tmp_path / "a.pem").write_bytes(b"".join(one.certificate_pem for one in (old, soon, later)))
    first, second = load(tmp_path).warnings
    assert "CN=Old has expired on 2026-05-31" in first.text
    assert "CN=Soon expires on 2026-06-02" in second.text
