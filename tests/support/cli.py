"""The command line as a test calls it: inside this process, which is quick, or as a process of its own.

done = cli("message", "sign", "--signer", key, stdin=message)
assert (done.status, done.err) == (0, ""), done
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from gateway.cli import main
from tests.support.process import ROOT


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    out: bytes
    """Standard output."""
    err: str
    """Standard error."""

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode("utf-8")

    @property
    def errors(self) -> list[str]:
        """The lines of standard error."""
        return self.err.splitlines()


def cli(*arguments: object, stdin: bytes = b"") -> Done:
    """Run ``smime-gateway`` with these arguments inside this process."""
    out, err = io.BytesIO(), io.BytesIO()
    streams = [io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in (out, err)]
    status = 0
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", ["smime-gateway", *map(str, arguments)]))
        stack.enter_context(patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))))
        stack.enter_context(redirect_stdout(streams[0]))
        stack.enter_context(redirect_stderr(streams[1]))
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return Done(status, out.getvalue(), err.getvalue().decode("utf-8"))


def cli_process(*arguments: object, stdin: bytes = b"", seconds: float = 30.0, folder: Path = ROOT) -> Done:
    """Run ``python -m gateway`` with these arguments as a process of its own."""
    command: Sequence[str] = [sys.executable, "-m", "gateway", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=seconds, check=False)
    return Done(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
