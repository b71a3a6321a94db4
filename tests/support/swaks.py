"""The SMTP test client swaks, with a time limit, for what a foreign client really says.

One call is one message to one server::

    done = swaks("127.0.0.1", port, sender="a@x.test", to=["b@y.test"], message=octets)
    assert done.code == "250", done.transcript

The octets of the message are sent as they are: nothing is added, replaced or stripped.
"""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.peers import ENVIRONMENT, lacking, require

PACKAGES = "swaks"
TLS_PACKAGES = "libnet-ssleay-perl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swaks:
    """How a run of swaks ended."""

    status: int
    """Its exit status: 0 all well, 2 no connection, 6 the connection broke, 21 greeting, 22 helo, 23 MAIL, 24 RCPT,
    25 DATA, 26 the mail data refused, 28 AUTH, 29 TLS."""
    code: str
    """The last reply code in front of QUIT's (354: the mail data were not answered); empty where there was none."""
    reply: str
    """That reply's last line, ``250 2.0.0 accepted``."""
    transcript: str
    """All that was said."""


def swaks(
    host: str,
    port: int,
    *options: str,
    sender: str,
    to: Sequence[str],
    message: bytes,
    helo: str = "client.test",
    seconds: int = 10,
) -> Swaks:
    """Send a message (lines end in CRLF; sent as it is) and tell how that went; ``options`` are swaks' own."""
    require("swaks", packages=PACKAGES)
    if any(option.startswith("--tls") for option in options):
        _require_tls()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "message"
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        file.write_bytes((b"." if stuffed.startswith(b".") else b"") + stuffed + b".")
        command = ["swaks", "--server", host, "--port", str(port), "--helo", helo, "--timeout", str(seconds)]
        command += ["--from", sender, "--to", ",".join(to), "--data", f"@{file}", "--no-data-fixup", *options]
        done = subprocess.run(
            command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds + 20, check=False
        )
    transcript = (done.stdout + done.stderr).decode("utf-8", "replace")
    replies = re.findall(r"^<[-~*]{1,2} +(([2-5]\d\d) .*)$", transcript.partition("> QUIT")[0], re.MULTILINE)
    reply, code = replies[-1] if replies else ("", "")
    return Swaks(status=done.returncode, code=code, reply=reply, transcript=transcript)


@functools.cache
def _has_tls() -> bool:
    command = ["perl", "-MNet::SSLeay", "-e", "1"]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False).returncode == 0


def _require_tls() -> None:
    if not _has_tls():
        lacking(f"swaks speaks no TLS: apt-get install {TLS_PACKAGES}, or make peers as root")
