"""A throw-away Postfix: its own configuration, queue and data folders, one loopback port, no DNS, quick retries.

Typical use, in front of the gateway and behind it::

    with Postfix(relayhost=("127.0.0.1", gateway_port)) as front: ...
    with Postfix(lmtp=dovecot.lmtp_socket, domains=["acme.example"], users=["alice@acme.example"]) as mailboxes: ...

The master daemon runs under the reaper and is ended by its process id; its daemons end with it.
``import_environment`` stays at its default: without ``MAIL_CONFIG`` in it every daemon would read /etc/postfix and
hang.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.peers import ENVIRONMENT, LOOPBACK, Peer, answers, free_port, peer_folder, require, wait_for

PACKAGES = "postfix"
MASTER = "/usr/lib/postfix/sbin/master"

_SERVICES = """\
pickup    unix  n - n 60    1 pickup
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
verify    unix  - - n -     1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
lmtp      unix  - - n -     - lmtp
showq     unix  n - n -     - showq
error     unix  - - n -     - error
retry     unix  - - n -     - error
discard   unix  - - n -     - discard
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
postlog   unix-dgram n - n - 1 postlogd
"""

_QUEUE_FOLDERS = (
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "private",
    "saved",
    "trace",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """One message in the queue."""

    queue: str
    """``active``, ``deferred``, ``incoming``, ``hold`` or ``maildrop``."""
    queue_id: str
    sender: str
    recipients: tuple[str, ...]
    reasons: tuple[str, ...]
    """Why each recipient was put off; empty where delivery has not been tried."""


class Postfix:
    """One Postfix instance; a context manager that starts and stops it."""

    def __init__(
        self,
        *,
        hostname: str = "mta.test",
        relayhost: tuple[str, int] | None = None,
        lmtp: Path | tuple[str, int] | None = None,
        domains: Sequence[str] = (),
        users: Sequence[str] | None = None,
        certificate: Path | None = None,
        sasl: Path | None = None,
        parameters: Mapping[str, str] | None = None,
        services: str = "",
        port: int = 0,
    ) -> None:
        """Describe the instance.

        ``relayhost``: where everything else than ``domains`` goes. ``lmtp``: socket or host and port that takes
        ``domains``. ``users``: the addresses there are in ``domains`` (others are refused at RCPT); ``None``: all.
        ``certificate``: PEM file with key and chain, offers STARTTLS. ``sasl``: Dovecot's auth socket, offers AUTH.
        ``parameters`` override anything in main.cf, ``services`` are further lines of master.cf.
        ``port``: where it listens; 0: anywhere.
        """
        self.hostname = hostname
        self.host = LOOPBACK
        self.port = port
        self._relayhost = relayhost
        self._lmtp = lmtp
        self._domains = tuple(domains)
        self._users = users
        self._certificate = certificate
        self._sasl = sasl
        self._parameters = dict(parameters or {})
        self._services = services
        self._folder = Path()
        self._master: Peer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        require(MASTER, "postqueue", "postconf", packages=PACKAGES, root=True)
        self._folder = self._stack.enter_context(peer_folder("postfix"))
        try:
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
        """Start, or start again after :meth:`stop`: on the same port, with the queue as it was left."""
        if not self.config_folder.exists():
            self._make_folders()
        for _attempt in range(3):
            port = self.port or free_port()
            self._write_configuration(port)
            if self._try_start(port):
                self.port = port
                return
        raise AssertionError(f"Postfix did not start:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """Stop all daemons; what is queued stays queued."""
        if self._master is not None:
            self._master.stop()
            self._master = None

    def _try_start(self, port: int) -> bool:
        master = self._master = Peer(MASTER, "-c", str(self.config_folder))
        wait_for(lambda: not master.is_running or answers(port), what="Postfix answers")
        if master.is_running:
            return True
        self.stop()
        return False

    # ------------------------------------------------------------ use

    @property
    def config_folder(self) -> Path:
        """For further commands: ``postconf -c``, ``postcat -c``."""
        return self._folder / "etc"

    @property
    def pid(self) -> int:
        """The master daemon's process id, for faults: SIGSTOP and SIGCONT."""
        assert self._master is not None, "Postfix is not running"
        return self._master.pid

    def log(self) -> str:
        """Return the mail log so far."""
        file = self._folder / "log" / "maillog"
        return file.read_text("utf-8", "replace") if file.exists() else ""

    def wait_log(self, pattern: str, *, seconds: float = 15.0) -> re.Match[str]:
        """Wait until a line of the log matches the regular expression, and return the first match."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(re.finditer(pattern, self.log(), re.MULTILINE))
            return bool(found)

        try:
            wait_for(look, what=f"log line {pattern!r}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-3000:]}") from None
        return found[0]

    def queue(self) -> list[Queued]:
        """Return what is in the queue now."""
        listing = self._run("postqueue", "-j").splitlines()
        return [_read_queued(json.loads(line)) for line in listing if line]

    def wait_empty(self, *, seconds: float = 15.0) -> None:
        """Wait until nothing is queued: all was delivered or returned."""
        try:
            wait_for(lambda: not self.queue(), what="empty queue", seconds=seconds, interval=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.queue()}\n{self.log()[-3000:]}") from None

    def deliver_all(self, *accepted: str, seconds: float = 30.0) -> None:
        """Try everything at once, and again and again, until every message that ever came has left the queue.

        ``accepted`` are the queue ids in replies to clients (``queued as ...``): the log may not have them yet.
        """

        def look() -> bool:
            log = self.log()
            came = {*accepted, *re.findall(r"cleanup\[\d+\]: (\w+): message-id=", log)}
            # The list of the queue would miss a message that is just being moved; the log does not.
            if came <= set(re.findall(r"qmgr\[\d+\]: (\w+): removed", log)):
                return True
            self.flush()
            return False

        try:
            wait_for(look, what="everything delivered or returned", seconds=seconds, interval=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.queue()}\n{self.log()[-3000:]}") from None

    def flush(self) -> None:
        """Try everything in the queue now."""
        self._run("postqueue", "-f")

    def _run(self, program: str, *arguments: str) -> str:
        command = [program, "-c", str(self.config_folder), *arguments]
        done = subprocess.run(
            command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        )
        assert done.returncode == 0, f"{program}: {done.stderr.decode('utf-8', 'replace')}"
        return done.stdout.decode("utf-8", "replace")

    # ------------------------------------------------------------ files

    def _make_folders(self) -> None:
        owner = pwd.getpwnam("postfix")
        drop = grp.getgrnam("postdrop").gr_gid
        for name, mode in (("etc", 0o755), ("queue", 0o755), ("data", 0o700), ("log", 0o755)):
            (self._folder / name).mkdir()
            (self._folder / name).chmod(mode)
        os.chown(self._folder / "data", owner.pw_uid, owner.pw_gid)
        queue = self._folder / "queue"
        folders = [*((name, 0o700, owner.pw_gid) for name in _QUEUE_FOLDERS)]
        folders += [("public", 0o710, drop), ("maildrop", 0o730, drop)]
        for name, mode, group in folders:
            (queue / name).mkdir()
            os.chown(queue / name, owner.pw_uid, group)
            (queue / name).chmod(mode)
        (queue / "pid").mkdir(mode=0o755)

    def _write_configuration(self, port: int) -> None:
        parameters = self._main(port) | self._parameters
        text = "".join(f"{name} = {value}\n" for name, value in parameters.items())
        services = f"{LOOPBACK}:{port} inet n - n - - smtpd\n{_SERVICES}{self._services}"
        for name, content in (("main.cf", text), ("master.cf", services)):
            (self.config_folder / name).write_text(content)
            # Postfix waits, a second per daemon, while a configuration file looks as if somebody were still writing it.
            os.utime(self.config_folder / name, (time.time() - 60, time.time() - 60))

    def _main(self, port: int) -> dict[str, str]:
        folder = self._folder
        parameters = {
            "compatibility_level": "3.6",
            "queue_directory": f"{folder}/queue",
            "data_directory": f"{folder}/data",
            "maillog_file": f"{folder}/log/maillog",
            "maillog_file_prefixes": f"{folder}/",
            "myhostname": self.hostname,
            "mydomain": self.hostname.partition(".")[2],
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": LOOPBACK,
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "biff": "no",
            # Nothing is added to or rewritten in the header section but Received.
            "local_header_rewrite_clients": "",
            "smtp_dns_support_level": "disabled",
            "smtp_host_lookup": "native",
            "lmtp_host_lookup": "native",
            "smtpd_peername_lookup": "no",
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject",
            # Tests open many connections, and want a retry within seconds. With one second a retry can begin while the
            # attempt before has the queue file still locked; it is then put off for much longer.
            "smtpd_client_connection_count_limit": "0",
            "smtpd_client_connection_rate_limit": "0",
            "smtpd_error_sleep_time": "0",
            "queue_run_delay": "1s",
            "minimal_backoff_time": "2s",
            "maximal_backoff_time": "2s",
            "transport_retry_time": "1s",
            "default_destination_concurrency_failed_cohort_limit": "100",
            "smtp_connect_timeout": "5s",
            "lmtp_connect_timeout": "5s",
            "bounce_size_limit": "50000000",
            # An id names one message for ever.
            "enable_long_queue_ids": "yes",
            "message_size_limit": "104857600",
        }
        parameters["relayhost"] = f"[{self._relayhost[0]}]:{self._relayhost[1]}" if self._relayhost else ""
        if not self._relayhost:
            parameters["default_transport"] = "error:no relayhost"
        return parameters | self._domain_parameters() | self._session_parameters()

    def _domain_parameters(self) -> dict[str, str]:
        parameters = {"virtual_mailbox_domains": " ".join(self._domains)}
        if isinstance(self._lmtp, Path):
            parameters["virtual_transport"] = f"lmtp:unix:{self._lmtp}"
        elif self._lmtp is not None:
            parameters["virtual_transport"] = f"lmtp:inet:[{self._lmtp[0]}]:{self._lmtp[1]}"
        if self._users is not None:
            parameters["virtual_mailbox_maps"] = "inline:{ " + " ".join(f"{user}=x" for user in self._users) + " }"
        return parameters

    def _session_parameters(self) -> dict[str, str]:
        parameters: dict[str, str] = {}
        if self._certificate is not None:
            parameters |= {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": str(self._certificate)}
        if self._sasl is not None:
            parameters |= {
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_sasl_type": "dovecot",
                "smtpd_sasl_path": str(self._sasl),
                "smtpd_sasl_security_options": "noanonymous",
            }
        return parameters


def _read_queued(entry: dict[str, object]) -> Queued:
    recipients = entry["recipients"]
    assert isinstance(recipients, list)
    return Queued(
        queue=str(entry["queue_name"]),
        queue_id=str(entry["queue_id"]),
        sender=str(entry["sender"]),
        recipients=tuple(str(recipient["address"]) for recipient in recipients),
        reasons=tuple(str(recipient["delay_reason"]) for recipient in recipients if "delay_reason" in recipient),
    )
