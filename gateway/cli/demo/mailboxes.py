"""The demo's next hop: an SMTP server that writes what arrives into a Maildir for each recipient, octet for octet."""

from __future__ import annotations

import asyncio
import mailbox
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailboxes:
    """The server; it runs on the event loop that started it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="mailboxes.acme.example", loop=loop, enable_SMTPUTF8=True), "127.0.0.1", 0
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close."""
        if self._server is not None:
            self._server.close()

    def read(self, recipient: str) -> list[bytes]:
        """Return the messages of one mailbox, oldest first, lines ended by CRLF as they came."""
        folder = self._folder / recipient
        if not folder.exists():
            return []
        box = mailbox.Maildir(folder, create=False)
        return [box.get_bytes(key) for key in sorted(box.keys())]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """aiosmtpd: a message has come."""
        content: Any = envelope.original_content
        for recipient in envelope.rcpt_tos:
            self._deliver(str(recipient), bytes(content))
        return "250 2.0.0 delivered"

    def _deliver(self, recipient: str, content: bytes) -> None:
        self._folder.mkdir(exist_ok=True)
        # Maildir.add() writes a message anew where it is given as a message; an open file is copied as it is.
        box = mailbox.Maildir(self._folder / recipient, create=True)
        path = self._folder / recipient / "tmp" / f"{len(box):06d}.demo"
        path.write_bytes(content)
        path.rename(self._folder / recipient / "new" / path.name)
