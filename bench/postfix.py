"""A throw-away Postfix relay: own configuration, queue and log, loopback only, everything to one relayhost.

It is the plain relay of Debian's postfix package: ``main.cf`` as the package writes it and, beside what makes it
private and points it at the relayhost, no tuning; ``SETTINGS`` and ``SERVICES`` are all there is. What differs from a
default installation, and why:

- services are not chrooted: a chroot would need copies of /etc/hosts and libraries in the queue directory.
- the log goes to a file through postlogd, Postfix's own, as no syslog daemon can be counted on.
- ``smtp_connection_cache_on_demand`` is on, as by default: deliveries reuse connections to the relayhost.

Needs root and the postfix package (its users ``postfix`` and ``postdrop``).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from bench.processes import BenchError, Server, free_port, greets

SETTINGS = """\
compatibility_level = 3.6
smtpd_banner = $myhostname ESMTP $mail_name
biff = no
append_dot_mydomain = no
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
recipient_delimiter = +
mailbox_size_limit = 0
alias_maps =
alias_database =
myhostname = relay.bench.invalid
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{sink}
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
"""
"""main.cf: Debian's, then what makes this instance private. All else is Postfix's default (100 processes a service)."""

SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
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
proxywrite unix - - n -     1 proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
showq     unix  n - n -     - showq
error     unix  - - n -     - error
retry     unix  - - n -     - error
discard   unix  - - n -     - discard
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
postlog   unix-dgram n - n - 1 postlogd
"""
"""master.cf: Debian's services that a relay uses, not chrooted."""


class PostfixRelay(Server):
    """A running relay; a context manager."""

    def __init__(self, folder: Path, *, relay_to: int) -> None:
        """Start the relay in the new folder ``folder``; it sends everything to port ``relay_to``.

        ``folder`` and its parents must be searchable by everybody (the relay's processes do not run as root).
        """
        if reason := why_not():
            raise BenchError(reason)
        self.port = free_port()
        configuration = folder / "etc"
        configuration.mkdir(parents=True)
        values = {"folder": folder, "port": self.port, "sink": relay_to}
        for name, text in (("main.cf", SETTINGS), ("master.cf", SERVICES)):
            (configuration / name).write_text(text.format_map(values), encoding="ascii")
            # Each daemon waits a second while a file looks as if it were still being written.
            os.utime(configuration / name, (time.time() - 60, time.time() - 60))
        (folder / "queue").mkdir()
        data = folder / "data"
        data.mkdir(mode=0o700)
        os.chown(data, pwd.getpwnam("postfix").pw_uid, -1)
        _call("postfix", "-c", str(configuration), "post-install", "create-missing")
        master = Path(_call("postconf", "-dh", "daemon_directory")) / "master"
        super().__init__([str(master), "-c", str(configuration)], log=folder / "mail.log", environment=_ENVIRONMENT)
        self.wait_ready(lambda: greets(self.port), what="Postfix greets", seconds=15)


def version() -> str:
    """Return the version of the installed Postfix."""
    return _call("postconf", "-dh", "mail_version")


def why_not() -> str | None:
    """Say why no relay can be started here; None when one can."""
    if os.geteuid() != 0:
        return "Postfix can only be started by root"
    if shutil.which("postconf", path=_PATH) is None:
        return "no Postfix: install it (Debian: apt-get install postfix)"
    return None


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LANG": "C"}


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=_ENVIRONMENT)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
