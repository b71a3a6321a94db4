"""The server side of an SMTP session as a machine: octets in, events and replies out; no socket, no clock.

Standards: RFC 5321 (commands, sequence), RFC 2920 (PIPELINING), RFC 3207 (STARTTLS), RFC 1870 (SIZE), RFC 6152
(8BITMIME), RFC 2034 (ENHANCEDSTATUSCODES), RFC 6531 (SMTPUTF8).

How it is used: :meth:`ServerSession.receive` takes octets; :meth:`~ServerSession.next_event` gives the next event or
``None`` (more octets needed, or the last event is not answered yet). Each event except :class:`Answer` wants exactly
one :meth:`~ServerSession.answer`, whose reply also moves the state; commands are taken strictly one after the other.

Why not a library's server: of the 1,250 lines of aiosmtpd's ``SMTP`` class, closing its known hazards replaces the
command loop, the parsers of MAIL and RCPT, DATA, STARTTLS, AUTH, HELP, EHLO, the exception hook and both ends of the
connection: two thirds of it, and what remains is smaller than this machine.

Refused: commands not ended by CRLF (answered, never interpreted), NUL or CR inside a command, octets sent ahead of a
TLS handshake (dropped, RFC 3207 4), MAIL and RCPT parameters that were not offered. Nothing the client sent is echoed.
Known gaps: AUTH, BDAT, DSN parameters, XCLIENT and PROXY are not spoken yet; their place is a method of this class
each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from gateway.envelope import MailParameters, Path
from gateway.outcome import Outcome, Reply, Session
from gateway.smtp.data import DataReader, MailData
from gateway.smtp.paths import ParameterError, PathSyntaxError, parse_forward_path, parse_reverse_path
from gateway.smtp.replies import greeting_text

MAX_COMMAND = 2048
"""Octets in a command line, CRLF included. RFC 5321 4.5.3.1.4 asks for 512 and more per extension."""
_RCPT = re.compile(rb"RCPT TO:[^\r\n\0]*", re.IGNORECASE)
MAX_ERRORS = 20
"""Refused commands before the session is ended; Postfix's smtpd_hard_error_limit is 20."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The machine has answered by itself; the reply is to be written."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL was received."""

    path: Path
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT was received."""

    path: Path


@dataclass(frozen=True, slots=True)
class Data:
    """DATA was received; answer 354 or a refusal."""


@dataclass(frozen=True, slots=True)
class Content:
    """The mail data has come, up to and with the final dot."""

    data: MailData


@dataclass(frozen=True, slots=True)
class Reset:
    """The transaction, if there is one, ends without delivery: RSET, or a new EHLO or HELO. The reply is given."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class StartTls:
    """Answer with the reply; call ``tls_starting`` before the handshake and ``tls_started`` after it."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Quit:
    """Answer with the reply, then close: QUIT, or too many errors."""

    reply: Reply


Event = Answer | Mail | Rcpt | Data | Content | Reset | StartTls | Quit


class State(Enum):
    """Where the session stands (RFC 5321 4.1.4)."""

    CONNECTED = auto()
    READY = auto()
    MAIL = auto()
    DATA = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What a listener offers."""

    hostname: str
    tls_offered: bool = False
    tls_required: bool = False
    message_limit: Callable[[], int]
    """The SIZE to offer now, in octets."""
    reserve: Callable[[int], bool]
    """Asks for octets of the memory budget (:class:`~gateway.smtp.data.DataReader`)."""


class ServerSession:
    """One session. See the module's docstring for its use."""

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._buffer = bytearray()
        self._discarding_line = False
        self._state = State.CONNECTED
        self._pending: Event | None = None
        self._reader: DataReader | None = None
        self._content: MailData | None = None
        self._recipients = 0
        self._recipients_refused = 0
        self._utf8 = False
        self._errors = 0
        self.helo = ""
        self.esmtp = False
        self.tls_active = False

    @property
    def in_data(self) -> bool:
        """Whether mail data is being read."""
        return self._reader is not None

    @property
    def buffered(self) -> int:
        """Octets received and not yet looked at."""
        return len(self._buffer)

    @property
    def is_answering(self) -> bool:
        """Whether an event waits for its answer: it is our turn, not the client's."""
        return self._pending is not None

    def greeting(self) -> Reply:
        """Return the reply that opens the session."""
        return Session.GREETING.reply(greeting_text(self._options.hostname))

    def receive(self, octets: bytes) -> bool:
        """Take octets; return whether :meth:`next_event` may now have one."""
        if self._reader is None:
            self._buffer += octets
            return self._pending is None
        if (data := self._reader.receive(octets)) is None:
            return False
        self._buffer += self._reader.take_rest()
        self._reader, self._content = None, data
        return True

    def next_event(self) -> Event | None:
        """Return the next event, or ``None``: more octets are needed, or the last event waits for its answer."""
        if self._pending is not None or self._state is State.CLOSED or self._reader is not None:
            return None
        if self._content is not None:
            event: Event = Content(self._content)
            self._content = None
        elif (line := self._take_line()) is None:
            return None
        else:
            event = self._command(line)
        if isinstance(event, Answer):
            return self._count_error(event)
        self._pending = event
        return event

    def recipients_ahead(self) -> tuple[Path, ...]:
        """Return the forward-paths of the RCPT commands that the client has pipelined right behind its MAIL.

        They are not taken: each comes as an event of its own once MAIL is answered.
        """
        if not isinstance(self._pending, Mail):
            return ()
        paths: list[Path] = []
        start = 0
        while (end := self._buffer.find(b"\r\n", start)) >= 0:
            path = self._forward_path(bytes(self._buffer[start:end]), utf8=self._pending.parameters.smtputf8)
            if path is None:
                break
            paths.append(path)
            start = end + 2
        return tuple(paths)

    def _forward_path(self, line: bytes, *, utf8: bool) -> Path | None:
        """Read a RCPT command that is in order; ``None`` for every other line."""
        if len(line) + 2 > MAX_COMMAND or not _RCPT.fullmatch(line):
            return None
        try:
            return parse_forward_path(line[8:].rstrip(b" \t"), self._options.hostname, utf8=utf8)
        except (PathSyntaxError, ParameterError):
            return None

    def answer(self, reply: Reply) -> None:
        """Tell what the pending event was answered with."""
        event, self._pending = self._pending, None
        match event:
            case Mail() if reply.is_positive:
                self._state, self._utf8 = State.MAIL, event.parameters.smtputf8
            case Rcpt():
                self._recipients += reply.is_positive
                self._recipients_refused += not reply.is_positive
            case Data() if reply.code == Session.SEND_DATA.value[0]:
                self._state = State.DATA
                self._reader = DataReader(self._options.message_limit(), self._options.reserve)
                early = bytes(self._buffer)
                self._buffer.clear()
                if early:
                    self.receive(early)
            case Content() | Data():
                # Who brings mail, whatever else it tries, is no guesser (Postfix resets its count here too).
                self._errors = 0 if reply.is_positive else self._errors
                self._end_transaction()
            case Reset():
                self._end_transaction()
            case Quit():
                self._state = State.CLOSED
        if not reply.is_positive and not isinstance(event, Data | Content):
            self._errors += 1

    def tls_starting(self) -> None:
        """Drop what came behind STARTTLS in clear: it was not said under TLS (RFC 3207 4.2)."""
        self._buffer.clear()

    def tls_started(self) -> None:
        """Forget everything the client said before the handshake (RFC 3207 4.2)."""
        self.tls_active = True
        self._end_transaction()
        self._state, self.helo, self.esmtp = State.CONNECTED, "", False

    def _end_transaction(self) -> None:
        if self._state in (State.MAIL, State.DATA):
            self._state = State.READY
        self._recipients = self._recipients_refused = 0
        self._utf8 = False

    def _count_error(self, event: Answer) -> Event:
        if event.reply.code >= 500:
            self._errors += 1
        if self._errors <= MAX_ERRORS:
            return event
        self._pending = Quit(Session.TOO_MANY_ERRORS.reply())
        return self._pending

    def _take_line(self) -> bytes | None:
        """Return the next command line with its line end; an over-long one as ``b""`` once its end has come."""
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_COMMAND:
                self._discarding_line = True
                self._buffer.clear()
            return None
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if self._discarding_line or len(line) > MAX_COMMAND:
            self._discarding_line = False
            return b""
        return line

    def _command(self, line: bytes) -> Event:
        if not line:
            return Answer(Session.LINE_TOO_LONG.reply())
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            return Answer(Session.UNKNOWN_COMMAND.reply())
        verb, _, argument = line[:-2].partition(b" ")
        handler = _COMMANDS.get(verb.upper().rstrip())
        if handler is None:
            return Answer(Session.UNKNOWN_COMMAND.reply())
        return handler(self, argument.rstrip(b" \t"))

    def _ehlo(self, argument: bytes) -> Event:
        return self._hello(argument, esmtp=True)

    def _helo(self, argument: bytes) -> Event:
        return self._hello(argument, esmtp=False)

    def _hello(self, argument: bytes, *, esmtp: bool) -> Event:
        name = argument.decode("utf-8", "replace")
        if not name or not name.isprintable() or " " in name or len(name) > 255:
            return Answer(Session.BAD_SYNTAX.reply())
        self.helo, self.esmtp = name, esmtp
        if self._state is State.CONNECTED:
            self._state = State.READY
        lines = (self._options.hostname, *self._extensions()) if esmtp else (self._options.hostname,)
        return Reset(Reply(Session.OK.value[0], "", lines))

    def _extensions(self) -> Iterator[str]:
        yield "PIPELINING"
        yield f"SIZE {self._options.message_limit()}"
        if self._options.tls_offered and not self.tls_active:
            yield "STARTTLS"
        yield "ENHANCEDSTATUSCODES"
        yield "8BITMIME"
        yield "SMTPUTF8"

    def _starttls(self, argument: bytes) -> Event:
        if not self._options.tls_offered:
            return Answer(Session.NOT_IMPLEMENTED.reply())
        if argument:
            return Answer(Session.BAD_SYNTAX.reply())
        if self.tls_active or self._state is not State.READY:
            return Answer(Session.BAD_SEQUENCE.reply())
        return StartTls(Session.TLS_GO.reply())

    def _mail(self, argument: bytes) -> Event:
        if self._options.tls_required and not self.tls_active:
            return Answer(Session.TLS_REQUIRED.reply())
        if self._state is not State.READY:
            return Answer(Session.BAD_SEQUENCE.reply())
        keyword, colon, rest = argument.partition(b":")
        if keyword.upper() != b"FROM" or not colon:
            return Answer(Session.BAD_SYNTAX.reply())
        try:
            path, parameters = parse_reverse_path(rest)
        except PathSyntaxError:
            return Answer(Session.BAD_SENDER.reply())
        except ParameterError as error:
            return Answer(_parameter_reply(error))
        if parameters.size is not None and parameters.size > self._options.message_limit():
            return Answer(Outcome.MESSAGE_TOO_LARGE.reply())
        return Mail(path, parameters)

    def _rcpt(self, argument: bytes) -> Event:
        if self._state is not State.MAIL:
            return Answer(Session.BAD_SEQUENCE.reply())
        keyword, colon, rest = argument.partition(b":")
        if keyword.upper() != b"TO" or not colon:
            return Answer(Session.BAD_SYNTAX.reply())
        try:
            return Rcpt(parse_forward_path(rest, self._options.hostname, utf8=self._utf8))
        except PathSyntaxError:
            return Answer(Session.BAD_RECIPIENT.reply())
        except ParameterError as error:
            return Answer(_parameter_reply(error))

    def _data(self, argument: bytes) -> Event:
        if argument:
            return Answer(Session.BAD_SYNTAX.reply())
        if self._state is not State.MAIL:
            return Answer(Session.BAD_SEQUENCE.reply())
        if not self._recipients:
            refused = self._recipients_refused
            return Answer((Session.NO_VALID_RECIPIENTS if refused else Session.BAD_SEQUENCE).reply())
        return Data()

    def _rset(self, argument: bytes) -> Event:
        return Answer(Session.BAD_SYNTAX.reply()) if argument else Reset(Session.OK.reply())

    def _noop(self, _argument: bytes) -> Event:
        return Answer(Session.OK.reply())

    def _vrfy(self, argument: bytes) -> Event:
        return Answer((Session.NOT_VERIFIED if argument else Session.BAD_SYNTAX).reply())

    def _help(self, _argument: bytes) -> Event:
        return Answer(Session.HELP.reply())

    def _quit(self, argument: bytes) -> Event:
        return Answer(Session.BAD_SYNTAX.reply()) if argument else Quit(Session.BYE.reply())

    def _not_implemented(self, _argument: bytes) -> Event:
        return Answer(Session.NOT_IMPLEMENTED.reply())


def _parameter_reply(error: ParameterError) -> Reply:
    return (Session.UNKNOWN_PARAMETER if error.is_unknown else Session.BAD_SYNTAX).reply()


_COMMANDS: dict[bytes, Callable[[ServerSession, bytes], Event]] = {
    b"EHLO": ServerSession._ehlo,
    b"HELO": ServerSession._helo,
    b"STARTTLS": ServerSession._starttls,
    b"MAIL": ServerSession._mail,
    b"RCPT": ServerSession._rcpt,
    b"DATA": ServerSession._data,
    b"RSET": ServerSession._rset,
    b"NOOP": ServerSession._noop,
    b"VRFY": ServerSession._vrfy,
    b"HELP": ServerSession._help,
    b"QUIT": ServerSession._quit,
    b"EXPN": ServerSession._not_implemented,
    b"AUTH": ServerSession._not_implemented,
    b"BDAT": ServerSession._not_implemented,
    b"ETRN": ServerSession._not_implemented,
    b"TURN": ServerSession._not_implemented,
}
