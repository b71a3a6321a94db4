"""``demo``: the main job on embedded defaults; also what ``make run`` shows.

:mod:`.house` makes a throw-away PKI and settings, :mod:`.mailboxes` is the upstream that keeps what arrives as Maildir,
:mod:`.scenes` are the messages and what has to become of each, :mod:`.openssl` asks a second implementation, and
:mod:`.run` puts the real gateway between them, as a process, and prints the table.
"""

from gateway.cli.demo.run import run

__all__ = ["run"]
