"""Every way in which a mail transaction can end, and every reply that this gateway speaks on its own account.

One table: code, enhanced status (RFC 3463, RFC 5248), public text. Handlers return members, one function
(:func:`gateway.smtp.replies.format_reply`) prints them; no reply literal stands elsewhere. The public text is constant,
ASCII, one line, and names no internals; the transaction id is put behind it where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply (RFC 5321 4.2), ours or an upstream's."""

    code: int
    """200 to 599."""
    enhanced: str
    """Enhanced status ``5.7.1``; empty where there is none (RFC 2034: not in replies to EHLO, HELO and 354)."""
    lines: tuple[str, ...]
    """The text, at least one line, without control characters."""

    @property
    def is_positive(self) -> bool:
        """2yz."""
        return 200 <= self.code <= 299

    @property
    def is_transient(self) -> bool:
        """4yz."""
        return 400 <= self.code <= 499

    @property
    def is_permanent(self) -> bool:
        """5yz."""
        return 500 <= self.code <= 599

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.lines[0]) if part)


class Outcome(Enum):
    """How a transaction, or one recipient of it, ends. The value is (code, enhanced status, public text)."""

    ACCEPTED = (250, "2.0.0", "accepted by the next hop")
    REJECTED_BY_POLICY = (550, "5.7.1", "refused by policy")
    PROTECTION_IMPOSSIBLE = (550, "5.7.1", "required protection is not possible for this sender or recipient")
    OPENED_MAIL_IN_CLEAR = (550, "5.7.1", "mail that was delivered encrypted may not leave in clear")
    LOOKUP_UNAVAILABLE = (451, "4.4.3", "a required look-up is not available, try again later")
    OWN_KEY_UNAVAILABLE = (451, "4.3.5", "a key of this gateway is not available, try again later")
    LINK_NOT_TRUSTED = (451, "4.3.5", "the next hop may not carry opened mail")
    BARE_LINE_ENDING = (550, "5.6.0", "bare CR or LF in the message (bare_newline)")
    NUL_OCTET = (550, "5.6.0", "NUL octet in the message (bare_newline)")
    FORM_REFUSED = (550, "5.6.0", "message not readable as MIME (limits)")
    LINE_TOO_LONG = (550, "5.6.0", "line too long in the message header (limits)")
    LAYER_REFUSED = (550, "5.7.5", "a protected layer cannot be processed")
    INTEGRITY_REFUSED = (550, "5.7.7", "message integrity failure")
    SMTPUTF8_REQUIRED = (550, "5.6.7", "the next hop does not offer SMTPUTF8")
    EIGHT_BIT_REQUIRED = (550, "5.6.3", "the next hop does not offer 8BITMIME")
    MESSAGE_TOO_LARGE = (552, "5.3.4", "message size exceeds the limit")
    TOO_MANY_RECIPIENTS = (452, "4.5.3", "too many recipients")
    TOO_MANY_COPIES = (452, "4.5.3", "too many hidden recipients or treatments")
    MEMORY_BUDGET = (452, "4.3.1", "too much mail in flight, try again later")
    ROUTING_LOOP = (554, "5.4.6", "mail loop detected")
    UPSTREAM_UNREACHABLE = (451, "4.4.1", "the next hop does not answer, try again later")
    UPSTREAM_GONE = (451, "4.4.2", "the connection to the next hop was lost, try again later")
    DEADLINE_EXCEEDED = (451, "4.4.1", "processing took too long, try again later")
    UPSTREAM_TRANSIENT = (451, "4.3.0", "the next hop is not ready, try again later")
    UPSTREAM_PERMANENT = (554, "5.0.0", "refused by the next hop")
    ATTEMPT_RUNNING = (451, "4.3.0", "another attempt for this message is still running, try again later")
    JOURNAL_UNAVAILABLE = (451, "4.3.0", "the delivery journal is not available, try again later")
    INTERNAL_ERROR = (451, "4.3.0", "local error, try again later")
    CLIENT_GONE = (451, "4.4.2", "the client ended the transaction")

    @property
    def code(self) -> int:
        """Reply code."""
        return self.value[0]

    @property
    def enhanced(self) -> str:
        """Enhanced status."""
        return self.value[1]

    @property
    def text(self) -> str:
        """Public text."""
        return self.value[2]

    @property
    def label(self) -> str:
        """Name in logs, metrics and JSON: ``protection-impossible``."""
        return self.name.lower().replace("_", "-")

    @property
    def is_permanent(self) -> bool:
        """5yz: trying again as it is would not help."""
        return self.code >= 500

    @property
    def is_transient(self) -> bool:
        """4yz: the client keeps the mail and tries again."""
        return 400 <= self.code < 500

    def reply(self, transaction: str = "") -> Reply:
        """Return the reply, with the transaction id behind the text."""
        return Reply(self.code, self.enhanced, (f"{self.text} [{transaction}]" if transaction else self.text,))


@dataclass(frozen=True, slots=True)
class Ending:
    """How one recipient, or the whole transaction, ended: the member, and the upstream's own words if it spoke."""

    outcome: Outcome
    upstream: Reply | None = None
    """The upstream's reply that decided, which the client hears in place of the public text."""

    @classmethod
    def by_upstream(cls, reply: Reply) -> Ending:
        """Return the ending that an upstream's reply means. Total: what is no 2yz, 4yz or 5yz counts as a lost one."""
        if reply.is_positive:
            return cls(Outcome.ACCEPTED, reply)
        if reply.is_permanent:
            return cls(Outcome.UPSTREAM_PERMANENT, reply)
        return cls(Outcome.UPSTREAM_TRANSIENT, reply) if reply.is_transient else cls(Outcome.UPSTREAM_GONE)

    def reply(self, transaction: str) -> Reply:
        """Return what the client hears.

        The upstream's own words, but for two things that hold between it and us only: a 421 would say that we close
        (RFC 5321 3.8), and an upstream need not offer enhanced status codes, which we do (RFC 2034 4).
        """
        if self.upstream is None or self.outcome not in _UPSTREAM_SPEAKS:
            return self.outcome.reply(transaction)
        said = self.upstream
        code = self.outcome.code if said.code == Session.SHUTTING_DOWN.value[0] else said.code
        return Reply(code, said.enhanced or self.outcome.enhanced, said.lines)


_UPSTREAM_SPEAKS = frozenset({Outcome.UPSTREAM_TRANSIENT, Outcome.UPSTREAM_PERMANENT})


class Session(Enum):
    """Replies of the session itself: no transaction ends by them. The value is (code, enhanced status, text)."""

    GREETING = (220, "", "ESMTP smime-gateway")
    HELP = (214, "2.0.0", "commands are those of RFC 5321")
    BYE = (221, "2.0.0", "bye")
    OK = (250, "2.0.0", "ok")
    SENDER_OK = (250, "2.1.0", "sender ok")
    RECIPIENT_OK = (250, "2.1.5", "recipient ok")
    NOT_VERIFIED = (252, "2.5.2", "send some mail, the next hop decides")
    TLS_GO = (220, "2.0.0", "ready to start TLS")
    SEND_DATA = (354, "", "end data with <CRLF>.<CRLF>")
    SHUTTING_DOWN = (421, "4.3.2", "service shutting down, try again later")
    IDLE = (421, "4.4.2", "idle too long")
    TOO_MANY_ERRORS = (421, "4.7.0", "too many errors")
    TOO_MANY_SESSIONS = (421, "4.3.2", "too many sessions, try again later")
    TLS_UNAVAILABLE = (454, "4.7.0", "TLS not available")
    LINE_TOO_LONG = (500, "5.5.6", "line too long")
    UNKNOWN_COMMAND = (500, "5.5.1", "command not recognised")
    BAD_SYNTAX = (501, "5.5.4", "syntax error in parameters")
    BAD_SENDER = (501, "5.1.7", "syntax error in reverse-path")
    BAD_RECIPIENT = (501, "5.1.3", "syntax error in forward-path")
    NOT_IMPLEMENTED = (502, "5.5.1", "command not implemented")
    BAD_SEQUENCE = (503, "5.5.1", "bad sequence of commands")
    NO_VALID_RECIPIENTS = (554, "5.5.1", "no valid recipients")
    TLS_REQUIRED = (530, "5.7.0", "must issue a STARTTLS command first")
    UNKNOWN_PARAMETER = (555, "5.5.4", "MAIL or RCPT parameter not recognised")

    def reply(self, text: str = "") -> Reply:
        """Return the reply; ``text`` replaces the constant text (EHLO and greeting only)."""
        code, enhanced, default = self.value
        return Reply(code, enhanced, (text or default,))
