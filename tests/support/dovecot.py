"""A throw-away Dovecot: takes mail by LMTP (Unix socket and TCP), gives it back by IMAP and POP3, on loopback only.

Typical use::

    with Dovecot(["alice@acme.example", "bob@acme.example"]) as dovecot:
        ...deliver to dovecot.lmtp_socket or ("127.0.0.1", dovecot.lmtp_port)...
        [message] = dovecot.wait_messages("alice@acme.example", 1)

Users are listed; anybody else is refused at RCPT. Everybody has :data:`PASSWORD`. Mail lies in Maildirs that belong to
the system's ``mail`` user, with the CRLF that was delivered. On top Dovecot puts Return-Path, Delivered-To, Received.
"""

from __future__ import annotations

import imaplib
import os
import poplib
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.peers import LOOPBACK, Peer, answers, free_port, peer_folder, require, wait_for

PACKAGES = "dovecot-lmtpd dovecot-imapd dovecot-pop3d"
PASSWORD = "secret"  # of accounts that live as long as one test

_CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %Lu
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_save_crlf = yes
lda_mailbox_autocreate = yes
mail_fsync = never
default_vsz_limit = 256 M
passdb {{
  driver = passwd-file
  args = {folder}/etc/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/etc/users
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
  inet_listener {{
    port = {lmtp}
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


class Dovecot:
    """One Dovecot instance; a context manager that starts and stops it."""

    def __init__(self, users: Sequence[str], *, parameters: Mapping[str, str] | None = None) -> None:
        """Describe the instance: full addresses of its users; ``parameters`` override top-level settings."""
        self.host = LOOPBACK
        self.users = tuple(users)
        self.lmtp_port = 0
        self.imap_port = 0
        self.pop3_port = 0
        self._parameters = dict(parameters or {})
        self._folder = Path()
        self._master: Peer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        require("dovecot", "/usr/lib/dovecot/lmtp", "/usr/lib/dovecot/imap", packages=PACKAGES, root=True)
        self._folder = self._stack.enter_context(peer_folder("dovecot"))
        try:
            self._make_folders()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._stack.close()

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Start, or start again after :meth:`stop`: same ports, same mail."""
        for _attempt in range(3):
            ports = (self.lmtp_port, self.imap_port, self.pop3_port)
            lmtp, imap, pop3 = ports if all(ports) else (free_port(), free_port(), free_port())
            self._write_configuration(lmtp, imap, pop3)
            if self._try_start(lmtp, imap, pop3):
                self.lmtp_port, self.imap_port, self.pop3_port = lmtp, imap, pop3
                return
        raise AssertionError(f"Dovecot did not start:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """Stop all processes; the mail stays."""
        if self._master is not None:
            self._master.stop()
            self._master = None

    def _try_start(self, *ports: int) -> bool:
        master = self._master = Peer("/usr/sbin/dovecot", "-F", "-c", str(self._folder / "etc" / "dovecot.conf"))
        wait_for(lambda: not master.is_running or all(answers(port) for port in ports), what="Dovecot answers")
        if master.is_running:
            return True
        self.stop()
        return False

    # ------------------------------------------------------------ use

    @property
    def lmtp_socket(self) -> Path:
        """Where LMTP is spoken."""
        return self._folder / "lmtp"

    @property
    def auth_socket(self) -> Path:
        """Dovecot's authentication service, for :class:`~tests.support.postfix.Postfix`'s ``sasl``."""
        return self._folder / "auth"

    @property
    def pid(self) -> int:
        """The master's process id, for faults: SIGSTOP and SIGCONT."""
        assert self._master is not None, "Dovecot is not running"
        return self._master.pid

    def log(self) -> str:
        """Return the log so far."""
        file = self._folder / "log" / "dovecot.log"
        return file.read_text("utf-8", "replace") if file.exists() else ""

    @contextmanager
    def imap(self, user: str) -> Iterator[imaplib.IMAP4]:
        """Give a session of this user."""
        with imaplib.IMAP4(self.host, self.imap_port, timeout=10) as session:
            session.login(user, PASSWORD)
            yield session

    @contextmanager
    def pop3(self, user: str) -> Iterator[poplib.POP3]:
        """Give a session of this user."""
        session = poplib.POP3(self.host, self.pop3_port, timeout=10)
        try:
            session.user(user)
            session.pass_(PASSWORD)
            yield session
            session.quit()
        finally:
            session.close()

    def messages(self, user: str, mailbox: str = "INBOX") -> list[bytes]:
        """Return the octets of every message, as IMAP gives them, oldest first."""
        with self.imap(user) as session:
            session.select(mailbox, readonly=True)
            _, [numbers] = session.search(None, "ALL")
            return [_fetch(session, number) for number in numbers.split()]

    def wait_messages(self, user: str, count: int, *, seconds: float = 15.0) -> list[bytes]:
        """Wait until the user's INBOX holds ``count`` messages, and return them; more than that is an error."""
        found: list[bytes] = []

        def look() -> bool:
            found[:] = self.messages(user)
            return len(found) >= count

        try:
            wait_for(look, what=f"{count} messages for {user}", seconds=seconds, interval=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}, there are {len(found)}\n{self.log()[-3000:]}") from None
        assert len(found) == count, f"{len(found)} messages for {user}, expected {count}"
        return found

    # ------------------------------------------------------------ files

    def _make_folders(self) -> None:
        owner = pwd.getpwnam("mail")
        for name in ("etc", "log", "run", "state", "home"):
            (self._folder / name).mkdir(mode=0o755)
        for user in self.users:
            home = self._folder / "home" / user
            home.mkdir(mode=0o700)
            os.chown(home, owner.pw_uid, owner.pw_gid)
        accounts = (
            f"{user.lower()}:{{PLAIN}}{PASSWORD}:{owner.pw_uid}:{owner.pw_gid}::{self._folder}/home/{user}\n"
            for user in self.users
        )
        (self._folder / "etc" / "users").write_text("".join(accounts))

    def _write_configuration(self, lmtp: int, imap: int, pop3: int) -> None:
        text = _CONFIGURATION.format(folder=self._folder, lmtp=lmtp, imap=imap, pop3=pop3)
        text += "".join(f"{name} = {value}\n" for name, value in self._parameters.items())
        (self._folder / "etc" / "dovecot.conf").write_text(text)


def without_delivery_fields(message: bytes) -> bytes:
    """Return the message without the fields that Dovecot's LMTP put on top: Return-Path, Delivered-To, its Received."""
    return re.sub(
        rb"\A(?:(?:Return-Path|Delivered-To):[^\r\n]*\r\n)*Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*"
        rb"(?:(?:Return-Path|Delivered-To):[^\r\n]*\r\n)*",
        b"",
        message,
    )


def _fetch(session: imaplib.IMAP4, number: bytes) -> bytes:
    _, parts = session.fetch(number.decode(), "(BODY.PEEK[])")
    [octets] = [part[1] for part in parts if isinstance(part, tuple)]
    return octets
