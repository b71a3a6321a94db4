"""``serve``: run the gateway until it is told to end."""

from __future__ import annotations

from pathlib import Path

from gateway.app.supervisor import serve as run_supervisor


def run(config: Path) -> int:
    """Serve; a start that fails is raised: one line per problem and status 1."""
    return run_supervisor(config)
