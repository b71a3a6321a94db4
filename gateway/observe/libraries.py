"""What libraries log through Python's own ``logging``, led into the mail log.

What it does: :class:`LibraryHandler` writes warnings and worse as events ``library``, with the place and kind of an
exception but never its text or traceback lines. :func:`adopt` puts it on the root logger and keeps aiosmtpd's logger at
warnings: at its debug level it would write message data. What it raises: nothing; a log that fails is not worth a mail.
"""

from __future__ import annotations

import contextlib
import logging

from gateway.observe.maillog import MailLog

_TALKATIVE = ("mail", "mail.log", "mail.debug", "asyncio", "sqlalchemy", "watchfiles", "pyhanko_certvalidator")
"""Loggers that are held at warnings whatever the root logger says; the first three belong to aiosmtpd."""


class LibraryHandler(logging.Handler):
    """Writes records to a mail log."""

    def __init__(self, log: MailLog) -> None:
        """Prepare; takes records from warnings up."""
        super().__init__(logging.WARNING)
        self._mail_log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record: its own text, and for an exception only kind and place."""
        # What a library logs must not end what it does, not even where its arguments do not fit its format.
        with contextlib.suppress(Exception):
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                self._mail_log.unexpected(f"{record.name}: {text}"[:200], record.exc_info[1])
            else:
                self._mail_log.library(record.name, record.levelno, text)


def adopt(log: MailLog) -> None:
    """Lead everything that libraries log into ``log``, in place of the root logger's handlers. Once per process."""
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler(log)]
    root.setLevel(logging.WARNING)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
