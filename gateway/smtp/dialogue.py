"""One dialogue with a next hop: the commands, typed, and what each may be answered with.

Standards: RFC 5321, RFC 2920 (PIPELINING), RFC 3207 (STARTTLS), RFC 1870, RFC 6152, RFC 6531, RFC 3461 (RET=HDRS).

Replies are classified totally: for each command the positive codes it can have, 4yz, 5yz; everything else breaks the
connection (:class:`~gateway.errors.UpstreamBroken`). The client's SIZE and BODY are not passed on: what leaves is not
what came.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.envelope import Path
from gateway.outcome import Reply
from gateway.smtp.connection import CLOSED, Connection
from gateway.smtp.data import FINAL_DOT, stuff_dots
from gateway.smtp.replies import greeting_text
from gateway.transaction.ports import UpstreamFacts

MOST_HELD = 128 * 1024
"""Octets of content that may wait for the final dot: what goes into a socket in one write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions:
    """One upstream of the settings, resolved."""

    name: str
    host: str
    port: int
    hostname: str
    """What we say in EHLO."""
    tls: ssl.SSLContext | None = None
    """Context for STARTTLS; ``None``: never."""
    tls_required: bool = False
    """Whether mail may only travel under TLS."""
    trusted_link: bool = False
    kept: int = 20
    """Most idle connections kept, per worker."""
    kept_for: float = 60.0
    """Seconds an idle connection is kept; Postfix as a server closes after 300 (smtpd_timeout)."""
    per_transaction: int = 4
    connect_timeout: float = 30.0
    reply_timeout: float = 300.0
    """Seconds for a reply (RFC 5321 4.5.3.2)."""
    final_timeout: float = 600.0
    """Seconds for the reply to the final dot (RFC 5321 4.5.3.2.6)."""


class Dialogue:
    """The commands, typed, and what each may be answered with."""

    def __init__(self, options: UpstreamOptions, connection: Connection) -> None:
        self._options = options
        self._connection = connection
        self._extensions: dict[str, str] = {}
        self.facts = self._read_facts()
        """What the next hop offered."""
        self.is_idle = False
        """Whether no transaction is open on it."""
        self._held: list[bytes] = []
        self.is_sending = False
        """Whether it stands between 354 and the final dot: only closing it keeps the message from being taken."""

    @property
    def is_broken(self) -> bool:
        """Whether it must not be used again."""
        return self._connection.is_broken

    @property
    def breach(self) -> str:
        """Why the next hop's side broke it; empty where it did not."""
        return self._connection.breach

    def _read_facts(self) -> UpstreamFacts:
        size = self._extensions.get("SIZE", "")
        connection = self._connection
        return UpstreamFacts(
            size=(int(size) or None) if size.isascii() and size.isdigit() else None,
            eight_bit="8BITMIME" in self._extensions,
            smtputf8="SMTPUTF8" in self._extensions,
            dsn="DSN" in self._extensions,
            confidential=connection.is_loopback or connection.tls_verified or self._options.trusted_link,
        )

    async def open(self) -> None:
        """Greeting, EHLO, STARTTLS, EHLO."""
        options = self._options
        greeting = await self._connection.greeting(options.reply_timeout)
        self._expect("greeting", greeting, 220)
        if greeting.lines[0] == greeting_text(options.hostname):
            # MAIL would be put to ourselves, and from there again, until no session is left.
            raise self._connection.break_off("the next hop is this gateway itself: a mail loop")
        await self._ehlo()
        if options.tls is not None and "STARTTLS" in self._extensions:
            reply = await self._command("STARTTLS", b"STARTTLS\r\n", 220)
            if reply.is_positive:
                await self._connection.start_tls(options.tls, options.host, options.reply_timeout)
                await self._ehlo()
        if options.tls_required and not self._connection.tls_active:
            raise self._connection.break_off("TLS is required and was not offered")
        self.is_idle = True

    async def _ehlo(self) -> None:
        reply = await self._command("EHLO", f"EHLO {self._options.hostname}\r\n".encode("ascii"), 250)
        self._expect("EHLO", reply, 250)
        words = (line.upper().partition(" ") for line in reply.lines[1:])
        self._extensions = {keyword: value.strip() for keyword, _, value in words}
        self.facts = self._read_facts()

    async def mail(self, reverse_path: Path, *, smtputf8: bool, headers_only: bool) -> Reply:
        """MAIL; 250, 4yz or 5yz."""
        self.is_idle = False
        reply = await self._command("MAIL", self._mail_line(reverse_path, smtputf8, headers_only), 250)
        self.is_idle = not reply.is_positive
        return reply

    async def rcpt(self, forward_path: Path) -> Reply:
        """RCPT; 250, 251, 4yz or 5yz."""
        return await self._command("RCPT", _rcpt_line(forward_path), 250, 251)

    async def begin(
        self, reverse_path: Path, forward_paths: Sequence[Path], *, smtputf8: bool, headers_only: bool
    ) -> tuple[Reply, tuple[Reply, ...]]:
        """MAIL and RCPTs, pipelined where offered."""
        if "PIPELINING" not in self._extensions:
            first = await self.mail(reverse_path, smtputf8=smtputf8, headers_only=headers_only)
            if not first.is_positive:
                return first, ()
            return first, tuple([await self.rcpt(path) for path in forward_paths])
        self.is_idle = False
        lines = [self._mail_line(reverse_path, smtputf8, headers_only), *map(_rcpt_line, forward_paths)]
        first, *rest = await self._connection.exchange(b"".join(lines), len(lines), self._options.reply_timeout)
        self._classify("MAIL", first, 250)
        self.is_idle = not first.is_positive
        for reply in rest:
            # After a refused MAIL each RCPT is refused too; an acceptance there would be nonsense.
            self._classify("RCPT", reply, *((250, 251) if first.is_positive else ()))
        return first, tuple(rest)

    async def data(self, buffers: Sequence[bytes], *, hold: bool) -> Reply | None:
        """DATA and the content, without the final dot; short content is kept back where ``hold`` allows it."""
        reply = await self._command("DATA", b"DATA\r\n", 354)
        if reply.code != 354:
            return reply
        self.is_sending = True
        if hold and sum(map(len, buffers)) <= MOST_HELD:
            self._held = [*stuff_dots(buffers)]
            return None
        self._connection.write(stuff_dots(buffers))
        await self._connection.drain(self._options.reply_timeout)
        return None

    async def finish(self) -> Reply:
        """The final dot; 250, 4yz or 5yz."""
        await self._connection.settle()
        last = b"".join([*self._held, FINAL_DOT])
        self._held = []
        reply = await self._command(".", last, 250, timeout=self._options.final_timeout)
        self.is_idle, self.is_sending = True, False
        return reply

    async def reset(self) -> None:
        """RSET."""
        reply = await self._command("RSET", b"RSET\r\n", 250)
        self._expect("RSET", reply, 250)
        self.is_idle = True

    def close(self) -> None:
        """Close: with QUIT where that is in order, without waiting for its reply."""
        if not self.is_broken and self.is_idle:
            self._connection.write((b"QUIT\r\n",))
            self._connection.close()
        else:
            self._connection.break_off(CLOSED)

    def discard(self) -> None:
        """Close now, at whatever octet it stands."""
        self._connection.break_off(CLOSED)

    def _mail_line(self, reverse_path: Path, smtputf8: bool, headers_only: bool) -> bytes:
        line = b"MAIL FROM:<" + reverse_path.octets + b">"
        if "8BITMIME" in self._extensions:
            # Ours, not the client's: what will be sent is not known yet and may be 8bit (RFC 6152 3).
            line += b" BODY=8BITMIME"
        if smtputf8:
            line += b" SMTPUTF8"
        if headers_only and "DSN" in self._extensions:
            line += b" RET=HDRS"
        return line + b"\r\n"

    async def _command(self, name: str, line: bytes, *positive: int, timeout: float | None = None) -> Reply:
        (reply,) = await self._connection.exchange(line, 1, timeout or self._options.reply_timeout)
        return self._classify(name, reply, *positive)

    def _classify(self, command: str, reply: Reply, *positive: int) -> Reply:
        if reply.code == 421:
            # The next hop says that it closes (RFC 5321 3.8); the reply counts, the connection does not any more.
            self._connection.break_off("421 from the next hop")
        elif reply.code not in positive and not reply.is_transient and not reply.is_permanent:
            raise self._connection.break_off(f"reply {reply.code} out of place after {command}")
        return reply

    def _expect(self, command: str, reply: Reply, code: int) -> None:
        if reply.code != code:
            raise self._connection.break_off(f"reply {reply.code} to {command}")


def _rcpt_line(forward_path: Path) -> bytes:
    return b"RCPT TO:<" + forward_path.octets + b">\r\n"
