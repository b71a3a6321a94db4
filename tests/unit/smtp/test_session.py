"""The session machine: sequence of commands, what it offers, what it refuses, and that nothing is echoed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outcome import Outcome, Reply, Session
from gateway.smtp.replies import format_reply
from gateway.smtp.session import (
    MAX_COMMAND,
    MAX_ERRORS,
    Answer,
    Content,
    Data,
    Event,
    Mail,
    Quit,
    Rcpt,
    Reset,
    ServerSession,
    SessionOptions,
    StartTls,
)


def make(*, tls: bool = False, tls_required: bool = False, limit: int = 1000) -> ServerSession:
    """A session that offers what is asked for."""
    return ServerSession(
        SessionOptions(
            hostname="gw.example",
            tls_offered=tls,
            tls_required=tls_required,
            message_limit=lambda: limit,
            reserve=lambda _: True,
        )
    )


def default_answer(event: Event) -> Reply:
    """What a gateway that takes everything answers."""
    match event:
        case Reset(reply) | Quit(reply) | StartTls(reply) | Answer(reply):
            return reply
        case Data():
            return Session.SEND_DATA.reply()
        case Rcpt():
            return Session.RECIPIENT_OK.reply()
        case Content():
            return Outcome.ACCEPTED.reply()
    return Session.SENDER_OK.reply()


def converse(
    session: ServerSession, octets: bytes, *, size: int = 0, answer: Callable[[Event], Reply] = default_answer
) -> tuple[list[Event], list[int]]:
    """Feed octets, answer every event; return the events and the codes the client saw."""
    events: list[Event] = []
    codes: list[int] = []
    step = size or max(1, len(octets))
    for start in range(0, len(octets), step):
        session.receive(octets[start : start + step])
        while (event := session.next_event()) is not None:
            events.append(event)
            reply = answer(event)
            codes.append(reply.code)
            if not isinstance(event, Answer):
                session.answer(reply)
    return events, codes


GOOD = b"EHLO client.example\r\nMAIL FROM:<a@acme.example>\r\nRCPT TO:<b@bank.example>\r\nDATA\r\n"


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_transaction_pipelined_or_octet_by_octet(size: int) -> None:
    events, codes = converse(make(), GOOD + b"Hello\r\n.\r\nQUIT\r\n", size=size)
    assert [type(event) for event in events] == [Reset, Mail, Rcpt, Data, Content, Quit]
    assert codes == [250, 250, 250, 354, 250, 221]
    assert isinstance(events[4], Content)
    assert events[4].data.content == b"Hello\r\n"


def test_two_transactions_on_one_session() -> None:
    message = b"MAIL FROM:<>\r\nRCPT TO:<b@bank.example>\r\nDATA\r\nx\r\n.\r\n"
    _, codes = converse(make(), b"EHLO c\r\n" + message + message)
    assert codes == [250] + [250, 250, 354, 250] * 2


@pytest.mark.parametrize(
    ("tls", "active", "words"),
    [
        (False, False, {"PIPELINING", "SIZE 1000", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8"}),
        (True, False, {"PIPELINING", "SIZE 1000", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "STARTTLS"}),
        (True, True, {"PIPELINING", "SIZE 1000", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8"}),
    ],
)
def test_ehlo_offers_what_is_spoken_and_nothing_else(tls: bool, active: bool, words: set[str]) -> None:
    """No AUTH, no BDAT, no DSN: they would have nothing behind them."""
    session = make(tls=tls)
    if active:
        session.tls_started()
    ((event,), _) = converse(session, b"EHLO client.example\r\n")
    assert isinstance(event, Reset)
    assert event.reply.lines[0] == "gw.example"
    assert set(event.reply.lines[1:]) == words


SEQUENCES = {
    "MAIL before EHLO": (b"MAIL FROM:<a@b.example>\r\n", [503]),
    "RCPT before MAIL": (b"EHLO c\r\nRCPT TO:<a@b.example>\r\n", [250, 503]),
    "DATA before RCPT": (b"EHLO c\r\nMAIL FROM:<>\r\nDATA\r\n", [250, 250, 503]),
    "two MAIL": (b"EHLO c\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", [250, 250, 503]),
    "RSET ends it": (b"EHLO c\r\nMAIL FROM:<>\r\nRSET\r\nRCPT TO:<a@b.example>\r\n", [250, 250, 250, 503]),
    "EHLO ends it": (b"EHLO c\r\nMAIL FROM:<>\r\nEHLO c\r\nRCPT TO:<a@b.example>\r\n", [250, 250, 250, 503]),
    "HELO": (b"HELO c\r\nMAIL FROM:<>\r\n", [250, 250]),
    "EHLO without a name": (b"EHLO\r\n", [501]),
    "EHLO with a sentence": (b"EHLO a b\r\n", [501]),
    "EHLO with controls": (b"EHLO a\x07\r\n", [501]),
    "unknown": (b"XYZZY\r\n", [500]),
    "empty line": (b"\r\n", [500]),
    "NUL is not echoed": (b"NOOP\0\r\n", [500]),
    "bare LF": (b"NOOP\n", [500]),
    "bare CR inside": (b"NOOP a\rb\r\n", [500]),
    "lower case": (b"ehlo c\r\nmail from:<>\r\n", [250, 250]),
    "NOOP with words": (b"NOOP hello\r\n", [250]),
    "VRFY": (b"VRFY alice\r\n", [252]),
    "HELP": (b"HELP\r\n", [214]),
    "EXPN": (b"EXPN staff\r\n", [502]),
    "AUTH": (b"EHLO c\r\nAUTH PLAIN AGEAYg==\r\n", [250, 502]),
    "BDAT": (b"EHLO c\r\nBDAT 3 LAST\r\n", [250, 502]),
    "STARTTLS not offered": (b"EHLO c\r\nSTARTTLS\r\n", [250, 502]),
    "RCPT without TO": (b"EHLO c\r\nMAIL FROM:<>\r\nRCPT FROM:<a@b.example>\r\n", [250, 250, 501]),
    "RSET with words": (b"RSET now\r\n", [501]),
    "MAIL without FROM": (b"EHLO c\r\nMAIL TO:<a@b.example>\r\n", [250, 501]),
    "MAIL without brackets": (b"EHLO c\r\nMAIL FROM:a@b.example\r\n", [250, 501]),
    "MAIL unclosed": (b"EHLO c\r\nMAIL FROM:<a@b.example\r\n", [250, 501]),
    "unknown parameter": (b"EHLO c\r\nMAIL FROM:<a@b.example> FOO=1\r\n", [250, 555]),
    "size over the limit": (b"EHLO c\r\nMAIL FROM:<a@b.example> SIZE=1001\r\n", [250, 552]),
    "size at the limit": (b"EHLO c\r\nMAIL FROM:<a@b.example> SIZE=1000\r\n", [250, 250]),
    "RCPT null": (b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\n", [250, 250, 501]),
    "RCPT NOTIFY": (b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example> NOTIFY=NEVER\r\n", [250, 250, 555]),
    "DATA with words": (b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA now\r\n", [250, 250, 250, 501]),
    "over-long line": (b"NOOP " + b"x" * MAX_COMMAND + b"\r\nNOOP\r\n", [500, 250]),
    "over-long line in pieces": (b"x" * (3 * MAX_COMMAND) + b"\r\nNOOP\r\n", [500, 250]),
    "QUIT is the last": (b"QUIT\r\nNOOP\r\n", [221]),
}


@pytest.mark.parametrize(("octets", "codes"), SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("size", [0, 1])
def test_sequences(octets: bytes, codes: list[int], size: int) -> None:
    assert converse(make(), octets, size=size)[1] == codes


def test_data_after_only_refused_recipients() -> None:
    def refuse(event: Event) -> Reply:
        return Outcome.UPSTREAM_PERMANENT.reply() if isinstance(event, Rcpt) else default_answer(event)

    _, codes = converse(make(), GOOD, answer=refuse)
    assert codes[-1] == 554


def test_refused_data_ends_the_transaction() -> None:
    def refuse(event: Event) -> Reply:
        return Outcome.UPSTREAM_GONE.reply() if isinstance(event, Data) else default_answer(event)

    _, codes = converse(make(), GOOD + b"RCPT TO:<b@bank.example>\r\n", answer=refuse)
    assert codes[-2:] == [451, 503]


def test_tls_required() -> None:
    session = make(tls=True, tls_required=True)
    assert converse(session, b"EHLO c\r\nMAIL FROM:<>\r\n")[1] == [250, 530]
    session.tls_started()
    assert converse(session, b"EHLO c\r\nMAIL FROM:<>\r\n")[1] == [250, 250]


def test_starttls_forgets_what_was_said_before() -> None:
    """Octets behind STARTTLS in clear are dropped, EHLO has to be said again (RFC 3207 4.2)."""
    session = make(tls=True)
    session.receive(b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<injected@acme.example>\r\n")
    hello = session.next_event()
    assert isinstance(hello, Reset)
    session.answer(hello.reply)
    event = session.next_event()
    assert isinstance(event, StartTls)
    session.answer(event.reply)
    session.tls_starting()
    session.tls_started()
    assert session.next_event() is None
    assert converse(session, b"MAIL FROM:<>\r\nEHLO c\r\nSTARTTLS\r\n")[1] == [503, 250, 503]


def test_starttls_takes_no_words() -> None:
    assert converse(make(tls=True), b"EHLO c\r\nSTARTTLS now\r\n")[1] == [250, 501]


def test_starttls_inside_a_transaction_is_refused() -> None:
    assert converse(make(tls=True), b"EHLO c\r\nMAIL FROM:<>\r\nSTARTTLS\r\n")[1] == [250, 250, 503]


def test_too_many_errors_end_the_session() -> None:
    events, codes = converse(make(), b"XYZZY\r\n" * (MAX_ERRORS + 5))
    assert codes == [500] * MAX_ERRORS + [421]
    assert isinstance(events[-1], Quit)


def test_errors_are_counted_per_session() -> None:
    """One session's refusals do not end another's."""
    converse(make(), b"XYZZY\r\n" * MAX_ERRORS)
    assert converse(make(), b"XYZZY\r\n")[1] == [500]


AHEAD = {
    "nothing": (b"", []),
    "one": (b"RCPT TO:<a@b.example>\r\n", ["a@b.example"]),
    "several, twice the same": (
        b"RCPT TO:<a@b.example>\r\nrcpt to: <A@b.example>\r\n" * 2,
        ["a@b.example", "A@b.example"] * 2,
    ),
    "up to DATA": (b"RCPT TO:<a@b.example>\r\nDATA\r\nRCPT TO:<c@d.example>\r\n", ["a@b.example"]),
    "behind another command": (b"NOOP\r\nRCPT TO:<a@b.example>\r\n", []),
    "up to a bad one": (b"RCPT TO:<a@b.example>\r\nRCPT TO:<bad\r\nRCPT TO:<c@d.example>\r\n", ["a@b.example"]),
    "a parameter": (b"RCPT TO:<a@b.example> NOTIFY=NEVER\r\n", []),
    "half a line": (b"RCPT TO:<a@b.example>\r\nRCPT TO:<c@d.exa", ["a@b.example"]),
    "a bare LF": (b"RCPT TO:<a@b.example>\nRCPT TO:<c@d.example>\r\n", []),
    "a NUL": (b"RCPT TO:<a@b.example>\0\r\n", []),
    "blanks behind it": (b"RCPT TO:<a@b.example> \t\r\n", ["a@b.example"]),
    "as long as a line may be": (b"RCPT TO:<a@b.example>" + b" " * (MAX_COMMAND - 23) + b"\r\n", ["a@b.example"]),
    "longer": (b"RCPT TO:<a@b.example>" + b" " * (MAX_COMMAND - 22) + b"\r\n", []),
    "UTF-8 that was not asked for": ("RCPT TO:<\u00e4@b.example>\r\n".encode(), []),
}


@pytest.mark.parametrize(("octets", "ahead"), AHEAD.values(), ids=AHEAD)
def test_recipients_ahead_are_those_that_will_come(octets: bytes, ahead: list[str]) -> None:
    """They are looked at and not taken: each comes as an event of its own, the same and in the same order."""
    session = make()
    converse(session, b"EHLO c\r\n")
    session.receive(b"MAIL FROM:<>\r\n" + octets)
    assert session.recipients_ahead() == ()
    event = session.next_event()
    assert isinstance(event, Mail)
    assert [path.octets.decode() for path in session.recipients_ahead()] == ahead
    session.answer(Session.SENDER_OK.reply())
    assert session.recipients_ahead() == ()
    coming = [event.path.octets.decode() for event in converse(session, b"\r\n")[0] if isinstance(event, Rcpt)]
    assert coming[: len(ahead)] == ahead


def test_an_event_waits_for_its_answer() -> None:
    session = make()
    session.receive(GOOD)
    assert isinstance(session.next_event(), Reset)
    assert session.is_answering
    assert session.next_event() is None


@given(st.binary(max_size=300), st.integers(1, 60))
def test_any_octets_are_answered_in_the_same_way_however_they_are_cut(octets: bytes, size: int) -> None:
    whole = converse(make(), octets)
    assert converse(make(), octets, size=size) == whole
    for code in whole[1]:
        assert 200 <= code <= 599


commands = st.sampled_from(
    [
        b"EHLO c",
        b"HELO c",
        b"MAIL FROM:<a@b.example>",
        b"MAIL FROM:<>",
        b"RCPT TO:<c@d.example>",
        b"RCPT TO:<bad",
        b"DATA",
        b"RSET",
        b"NOOP",
        b"x",
        b".",
        b"STARTTLS",
        b"",
        b"text",
        b"QUIT",
        b"\0",
    ]
)


@given(st.lists(commands, max_size=25), st.integers(1, 80))
def test_any_sequence_keeps_in_step(lines: list[bytes], size: int) -> None:
    """Content comes only after DATA was answered 354, never without a recipient, and no command is lost or doubled."""
    octets = b"".join(line + b"\r\n" for line in lines)
    events, codes = converse(make(tls=True), octets, size=size)
    kinds = [type(event) for event in events]
    assert kinds.count(Content) <= kinds.count(Data)
    for place, kind in enumerate(kinds):
        if kind is Data:
            assert Rcpt in kinds[:place]
        if kind is Content:
            assert kinds[place - 1] is Data
    assert len(codes) <= len(lines)


def test_nothing_of_the_client_is_echoed() -> None:
    marker = b"secretword"
    session = make()
    events, _ = converse(
        session, b"EHLO c\r\n" + marker + b"\r\nMAIL FROM:<" + marker + b"\r\nVRFY " + marker + b"\r\n"
    )
    printed = b"".join(format_reply(default_answer(event)) for event in events)
    assert marker not in printed
