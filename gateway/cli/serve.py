"""``serve``: run the gateway until it is told to end."""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.app.supervisor import StartFailed
from gateway.app.supervisor import serve as run_supervisor


def run(config: Path) -> int:
    """Serve; a start that fails is one line per problem and status 1."""
    try:
        return run_supervisor(config)
    except StartFailed as error:
        print(f"smime-gateway: {error}", file=sys.stderr)
        return 1
