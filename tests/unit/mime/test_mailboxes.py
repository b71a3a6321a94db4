"""Address lists: one reading or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MimeError
from gateway.mime import Mailbox, parse_mailboxes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("a@b.c", [("", "a@b.c")], id="addr-spec"),
        pytest.param(" a@b.c \r\n", [("", "a@b.c")], id="field body"),
        pytest.param("Alice <a@b.c>", [("Alice", "a@b.c")], id="name-addr"),
        pytest.param("<a@b.c>", [("", "a@b.c")], id="no display name"),
        pytest.param("Alice<a@b.c>", [("Alice", "a@b.c")], id="no blank before the angle"),
        pytest.param("A < a@b.c >", [("A", "a@b.c")], id="blanks inside the angles"),
        pytest.param("a@b.c (Alice (home))", [("", "a@b.c")], id="comment behind"),
        pytest.param("(x) Alice (y) <a@b.c> (z)", [("Alice", "a@b.c")], id="comments around"),
        pytest.param('"Doe, \\"J\\" <x@y>" <a@b.c>', [('Doe, "J" <x@y>', "a@b.c")], id="quoted display name"),
        pytest.param("J. R. Doe <a@b.c>", [("J. R. Doe", "a@b.c")], id="dots in the display name"),
        pytest.param("=?utf-8?q?J=C3=BC?=\r\n =?utf-8?b?cmdlbg==?= <a@b.c>", [("Jürgen", "a@b.c")], id="encoded words"),
        pytest.param("Jürgen <a@b.c>", [("Jürgen", "a@b.c")], id="display name beyond ASCII"),
        pytest.param("jürgen@bücher.example", [("", "jürgen@bücher.example")], id="address beyond ASCII"),
        pytest.param("a@b, C <c@d>,e@f", [("", "a@b"), ("C", "c@d"), ("", "e@f")], id="list"),
        pytest.param(",a@b,, c@d,", [("", "a@b"), ("", "c@d")], id="empty elements"),
        pytest.param("Team: a@b, C <c@d>;, e@f", [("", "a@b"), ("C", "c@d"), ("", "e@f")], id="group"),
        pytest.param("undisclosed-recipients:;", [], id="empty group"),
        pytest.param('"a b"@c', [("", '"a b"@c')], id="quoted local part"),
        pytest.param('"alice"@b.c', [("", "alice@b.c")], id="needless quotes"),
        pytest.param("a@[192.0.2.1]", [("", "a@[192.0.2.1]")], id="domain literal"),
        pytest.param("<@x.y,@z:a@b.c>", [("", "a@b.c")], id="obsolete route"),
        pytest.param("Alice\r\n\t<a@b.c>", [("Alice", "a@b.c")], id="folded"),
        pytest.param("o'brien+x/y=z@b_c.d-e", [("", "o'brien+x/y=z@b_c.d-e")], id="atext"),
    ],
)
def test_reads_mailboxes(value: str, expected: list[tuple[str, str]]) -> None:
    """The forms of RFC 5322 3.4 that mail in use has, from text and from octets."""
    for form in (value, value.encode()):
        assert [(mailbox.display_name, mailbox.address.spec) for mailbox in parse_mailboxes(form)] == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param(" , ,", id="only commas"),
        pytest.param("Alice", id="no address"),
        pytest.param("<>", id="null path"),
        pytest.param("a@b@c", id="two at signs"),
        pytest.param("@b", id="no local part"),
        pytest.param("a@", id="no domain"),
        pytest.param('""@b', id="empty quoted local part"),
        pytest.param("a @b", id="blank before the at sign"),
        pytest.param("a@ b", id="blank behind the at sign"),
        pytest.param("a@(x)b", id="comment inside"),
        pytest.param("a. b@c", id="blank in the local part"),
        pytest.param(".a@b", id="dot first"),
        pytest.param("a..b@c", id="two dots"),
        pytest.param("a@b.", id="dot last"),
        pytest.param("a@b!c", id="domain with other atext"),
        pytest.param("a@[b]c", id="literal and more"),
        pytest.param("a b@c", id="two words before the at sign"),
        pytest.param('x"a"@b', id="quotes within the local part"),
        pytest.param("a@b c@d", id="two addresses without comma"),
        pytest.param("a@b <c@d>", id="address as display name"),
        pytest.param("Doe, John <a@b>", id="unquoted comma"),
        pytest.param("John [x] <a@b>", id="unquoted bracket"),
        pytest.param(". <a@b>", id="display name of a dot"),
        pytest.param("<a@b> <c@d>", id="two angles"),
        pytest.param("<a@b> x", id="text behind the angles"),
        pytest.param("<<a@b>>", id="angles in angles"),
        pytest.param("<a@b", id="unclosed angle"),
        pytest.param("a@b>", id="unopened angle"),
        pytest.param(">a@b<", id="angles turned round"),
        pytest.param('"Alice <a@b>', id="unclosed quote"),
        pytest.param("a@b (x", id="unclosed comment"),
        pytest.param("a@b x)", id="unopened comment"),
        pytest.param("=?utf-8?q?a=40b=2Ec?=@d", id="encoded word as local part"),
        pytest.param("a@=?utf-8?q?b?=", id="encoded word as domain"),
        pytest.param("a@b\0", id="NUL"),
        pytest.param("a@b\nBcc: c@d", id="bare LF"),
        pytest.param("a@b\r\n\r\nc@d", id="two line ends"),
        pytest.param('"a\tb"@c', id="tab in the local part"),
        pytest.param("a\u200b@b", id="invisible character"),
        pytest.param("a\u202e@b", id="direction mark"),
        pytest.param("a\udce4@b", id="not UTF-8"),
        pytest.param("Team: a@b", id="unclosed group"),
        pytest.param("a@b;", id="unopened group"),
        pytest.param("Team: x: a@b;", id="group in an address"),
        pytest.param("A: a@b, B: c@d;", id="group in a group"),
        pytest.param(": a@b;", id="group without a name"),
        pytest.param("Team: a@b; c@d", id="no comma behind a group"),
        pytest.param("<@x a@b>", id="route without colon"),
        pytest.param("<@x!:a@b>", id="route with a malformed hop"),
        pytest.param("<x:a@b>", id="route without at sign"),
    ],
)
def test_refuses_what_has_no_single_reading(value: str) -> None:
    """Identity is decided on the result; the exception does not quote the field."""
    with pytest.raises(MimeError) as caught:
        parse_mailboxes(value)
    assert "a@b" not in str(caught.value)


_PIECES = [
    "a",
    "b.c",
    "@",
    "<",
    ">",
    ",",
    ":",
    ";",
    "(",
    ")",
    '"',
    "\\",
    "[",
    "]",
    ".",
    " ",
    "\r\n ",
    "=?utf-8?q?x?=",
    "ä",
]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(_PIECES), max_size=25).map("".join)))
def test_any_text_gives_addresses_or_our_exception(value: str) -> None:
    """Nothing else is raised, and every address that comes back stands in the text as it is written."""
    try:
        mailboxes = parse_mailboxes(value)
    except MimeError:
        return
    for mailbox in mailboxes:
        assert mailbox.address.spec.isprintable()
        assert mailbox.address.domain in value.lower()


@given(st.binary(max_size=60))
def test_any_octets_give_addresses_or_our_exception(value: bytes) -> None:
    """The same for octets that need not be UTF-8."""
    try:
        parse_mailboxes(value)
    except MimeError:
        return


@pytest.mark.parametrize(
    "value",
    ["(" * 100_000, '"' + "\\a" * 50_000, "a," * 50_000, "<" * 100_000, "x " * 50_000, "a" * 100_000, ":" * 100_000],
)
def test_work_is_bounded(value: str) -> None:
    """Repetition of any special character ends in an answer, in time that grows no faster than the text."""
    with pytest.raises(MimeError):
        parse_mailboxes(value)


@given(
    st.text('ab9-+_. <>@\t"(),;:', max_size=24).map(lambda text: f" {text}")
    | st.builds(
        "{} <{}@{}>".format, st.text("aB -9", max_size=9), st.text("a.b", max_size=5), st.text("x.-", max_size=5)
    )
)
def test_the_usual_form_is_read_as_every_other(text: str) -> None:
    """What is told at once is what the tokens say; a comment in front makes the reader go by tokens."""

    def read(value: str) -> tuple[Mailbox, ...] | None:
        try:
            return parse_mailboxes(value)
        except MimeError:
            return None

    assert read(text) == read(f"(c){text}")
