"""Where the third-party samples are: read in place, never copied into this repository.

``SMIME_CORPORA`` names the folder; without it, ``../shared/corpora`` beside the project. Where it is not there, tests
that read it are skipped with that reason.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[2]
CORPORA = Path(os.environ.get("SMIME_CORPORA") or _PROJECT.parent / "shared" / "corpora")
"""The folder, whether it exists or not."""


def corpus(name: str) -> Path:
    """Return the folder of one corpus, or skip the calling module."""
    folder = CORPORA / name
    if not folder.is_dir():
        pytest.skip(f"no corpus {name} in {CORPORA} (SMIME_CORPORA)", allow_module_level=True)
    return folder


def expected_rows(name: str) -> list[tuple[str, str, str, str]]:
    """Return the rows of EXPECTED.tsv for one corpus: (file, kind, signer or recipient, expected outcome)."""
    rows = [line.split("\t") for line in (CORPORA / "EXPECTED.tsv").read_text("utf-8").splitlines()]
    return [(row[0], row[1], row[2], row[3]) for row in rows if row[0].startswith(f"{name}/")]
