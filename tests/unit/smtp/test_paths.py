"""Arguments of MAIL and RCPT: what is read, verbatim, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.envelope import MailParameters
from gateway.smtp.paths import ParameterError, PathSyntaxError, parse_forward_path, parse_reverse_path

PATHS = {
    "plain": (b"<alice@acme.example>", b"alice@acme.example"),
    "space after the colon": (b" <alice@acme.example>", b"alice@acme.example"),
    "case is kept": (b"<Alice.B@Acme.Example>", b"Alice.B@Acme.Example"),
    "quoted": (b'<"a b"@acme.example>', b'"a b"@acme.example'),
    "quoted bracket": (b'<"a>b"@acme.example>', b'"a>b"@acme.example'),
    "quoted pair": (b'<"a\\"b"@acme.example>', b'"a\\"b"@acme.example'),
    "two dots are not rewritten": (b'<"a..b"@acme.example>', b'"a..b"@acme.example'),
    "loose dots": (b"<a..b.@acme.example>", b"a..b.@acme.example"),
    "source route": (b"<@one.example,@two.example:a@acme.example>", b"a@acme.example"),
    "literal": (b"<a@[192.0.2.1]>", b"a@[192.0.2.1]"),
    "IPv6 literal": (b"<a@[IPv6:2001:db8::1]>", b"a@[IPv6:2001:db8::1]"),
    "VERP": (b"<list+bounce=bob=x.example@acme.example>", b"list+bounce=bob=x.example@acme.example"),
}


@pytest.mark.parametrize(("argument", "octets"), PATHS.values(), ids=PATHS)
def test_paths_are_kept_verbatim(argument: bytes, octets: bytes) -> None:
    path, parameters = parse_reverse_path(argument)
    assert path.octets == octets
    assert parameters == MailParameters()
    assert parse_forward_path(argument, "gw.example", utf8=False).octets == octets


REFUSED = [
    b"",
    b"alice@acme.example",
    b"<alice@acme.example",
    b"alice@acme.example>",
    b"<alice>",
    b"<@acme.example>",
    b"<a@>",
    b"<a b@acme.example>",
    b"<a@b@acme.example>",
    b"<a@acme.example> >",
    b"<a@acme.example>SIZE=1",
    b"  <a@acme.example>",
    b"<a@acme..example>",
    b"<a@-acme.example>",
    b"<a\x07@acme.example>",
    b"<a@acme.example\t>",
    b"<\xc3\xa4@acme.example>",
    b"<a@[192.0.2.1>",
    b"<" + b"a" * 1100 + b"@acme.example>",
]


@pytest.mark.parametrize("argument", REFUSED)
def test_bad_paths_are_refused(argument: bytes) -> None:
    with pytest.raises((PathSyntaxError, ParameterError)):
        parse_reverse_path(argument)
    with pytest.raises((PathSyntaxError, ParameterError)):
        parse_forward_path(argument, "gw.example", utf8=False)


def test_null_reverse_path() -> None:
    path, _ = parse_reverse_path(b"<> BODY=8BITMIME")
    assert path.is_null
    assert path.address is None


def test_null_forward_path_is_refused() -> None:
    with pytest.raises(PathSyntaxError):
        parse_forward_path(b"<>", "gw.example", utf8=False)


@pytest.mark.parametrize("argument", [b"<postmaster>", b"<PostMaster>"])
def test_postmaster_without_a_domain_is_ours(argument: bytes) -> None:
    """RFC 5321 4.5.1."""
    path = parse_forward_path(argument, "gw.example", utf8=False)
    assert path.octets == argument[1:-1]
    assert path.address is not None
    assert path.address.key == "postmaster@gw.example"


def test_parameters() -> None:
    _, parameters = parse_reverse_path(b"<a@acme.example> size=1000 BODY=8bitmime SMTPUTF8")
    assert parameters == MailParameters(size=1000, body="8BITMIME", smtputf8=True)


def test_utf8_paths_need_smtputf8() -> None:
    path, _ = parse_reverse_path("<jürgen@müller.example> SMTPUTF8".encode())
    assert str(path) == "<jürgen@müller.example>"
    with pytest.raises(PathSyntaxError):
        parse_reverse_path(b"<\xff\xfe@acme.example> SMTPUTF8")


BAD_PARAMETERS = {
    "unknown": (b"FOO=1", True),
    "AUTH is not offered": (b"AUTH=<>", True),
    "RET is not offered": (b"RET=HDRS", True),
    "size not a number": (b"SIZE=x", False),
    "size too long": (b"SIZE=" + b"1" * 30, False),
    "body": (b"BODY=9BIT", False),
    "twice": (b"SIZE=1 SIZE=2", False),
    "no value": (b"SIZE=", False),
    "not a keyword": (b"=1", False),
    "SMTPUTF8 with a value": (b"SMTPUTF8=1", False),
}


@pytest.mark.parametrize(("parameter", "is_unknown"), BAD_PARAMETERS.values(), ids=BAD_PARAMETERS)
def test_bad_parameters(parameter: bytes, is_unknown: bool) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_reverse_path(b"<a@acme.example> " + parameter)
    assert caught.value.is_unknown is is_unknown


def test_rcpt_parameters_are_not_offered() -> None:
    with pytest.raises(ParameterError):
        parse_forward_path(b"<a@acme.example> NOTIFY=NEVER", "gw.example", utf8=False)


@given(st.binary(max_size=80))
def test_any_octets_give_a_path_or_our_exception(octets: bytes) -> None:
    with contextlib.suppress(PathSyntaxError, ParameterError):
        path, _ = parse_reverse_path(b"<" + octets)
        assert path.octets in octets
        assert b"\r" not in path.octets
        assert b"\n" not in path.octets
