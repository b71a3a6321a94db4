"""The cross-check: what the command ``openssl cms`` says of the messages that arrived, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from gateway.cli.demo.house import House, Person

SECONDS = 20
"""Most time for one call."""


class OpenSsl:
    """Asks ``openssl cms``; every answer is ``True``, ``False``, or ``None`` where the command is not installed."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._command = shutil.which("openssl")

    @property
    def is_there(self) -> bool:
        """Whether the command is installed."""
        return self._command is not None

    def decrypt(self, message: bytes, person: Person) -> bytes | None:
        """Open a message with somebody's key; ``None`` where that fails."""
        return self._run(message, "-decrypt", "-inkey", str(person.key_file), "-recip", str(person.certificate_file))

    def verify(self, message: bytes) -> bool:
        """Verify signature, path to the roots, and purpose."""
        roots = str(self._house.anchors_file)
        return self._run(message, "-verify", "-CAfile", roots, "-purpose", "smimesign") is not None

    def recipients(self, message: bytes) -> int:
        """Count the RecipientInfos of an enveloped message."""
        printed = self._run(message, "-cmsout", "-print", "-noout") or b""
        return printed.count(b"d.ktri")

    def _run(self, message: bytes, *arguments: str) -> bytes | None:
        assert self._command is not None
        done = subprocess.run(
            [self._command, "cms", *arguments, "-inform", "SMIME"],
            input=message,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            cwd=Path("/"),
        )
        return done.stdout if done.returncode == 0 else None
