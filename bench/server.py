"""The gateway that is measured: ``python -m gateway serve`` as an admin starts it, its log to a file."""

from __future__ import annotations

import os
import sys
import urllib.request
from pathlib import Path

from bench.material import write_settings
from bench.processes import Server, family, free_port, greets


class GatewayServer(Server):
    """A running gateway; a context manager.

    It is expected to take its settings from ``-c``, to answer ``/readyz`` with 200 and greet on both listeners once it
    is ready, to log to standard output or error, and to end at SIGTERM.
    """

    def __init__(self, folder: Path, *, relay_to: int, workers: int) -> None:
        """Start it in ``folder``, where :func:`~bench.material.write_material` has been; upstream is ``relay_to``."""
        self.ports = {name: free_port() for name in ("users", "border", "metrics")}
        settings = write_settings(folder, sink=relay_to, workers=workers, **self.ports)
        command = [sys.executable, "-m", "gateway", "serve", "-c", str(settings)]
        # What it puts aside for its own runtime goes with the folder as well.
        environment = {**os.environ, "TMPDIR": str(folder)}
        super().__init__(command, log=folder / "gateway.log", environment=environment)
        self.wait_ready(self._is_ready, what="the gateway is ready", seconds=30)

    def processes(self) -> int:
        """Count the supervisor and its workers."""
        return len(family(self.pid))

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/readyz", timeout=2) as answer:
                ready = answer.status == 200
        except OSError:
            return False
        return ready and greets(self.ports["users"]) and greets(self.ports["border"])
