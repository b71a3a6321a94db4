"""``why``: the decision record of a past transaction, readable."""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.app.load import load_settings
from gateway.cli.files import Usage
from gateway.observe import find_record, render


def run(config: Path, transaction: str) -> int:
    """Print the record; 1 where there is none."""
    settings = load_settings(config)
    folder = settings.resolve(settings.state) / "decisions"
    try:
        record = find_record(folder, transaction.strip("[]"))
    except ValueError as error:
        raise Usage(f"{transaction}: {error}") from None
    if record is None:
        print(f"smime-gateway: no record of transaction {transaction} in {folder}", file=sys.stderr)
        return 1
    print("\n".join(render(record)))
    return 0
