"""Authentication-Results is right, and foreign text stays inside its quotes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mime import parse_header
from gateway.smime import Layer, LayerType, Report, ResultWord, SignerReport, authentication_results
from gateway.smime.results import deciding_signer
from tests.unit.smime.test_report import CO_SIGNER, GOOD

ID = "smime.gw1.acme.example"


def report(*signers: SignerReport, result: ResultWord = ResultWord.PASS, form: str = "multipart/signed") -> Report:
    return Report(result=result, layers=(Layer(type=LayerType.SIGNED, form=form, signers=signers),))


def value_of(field: bytes) -> str:
    fields = parse_header(field + b"\r\n").fields
    assert [one.name for one in fields] == ["Authentication-Results"]
    return fields[0].value


@pytest.mark.parametrize(
    ("found", "value"),
    [
        pytest.param(Report(result=ResultWord.NONE), f"{ID}; smime=none", id="no layer"),
        pytest.param(
            report(GOOD),
            f"{ID}; smime=pass body.smime-identifier=alice@acme.example body.smime-part=2 body.smime-serial=0A "
            'body.smime-issuer="CN=ca"',
            id="clear-signed",
        ),
        pytest.param(
            report(GOOD, form="signed-data"),
            f"{ID}; smime=pass body.smime-identifier=alice@acme.example body.smime-part=1 body.smime-serial=0A "
            'body.smime-issuer="CN=ca"',
            id="opaque",
        ),
        pytest.param(
            report(replace(GOOD, reason="no path", email=()), result=ResultWord.POLICY),
            f'{ID}; smime=policy reason="no path" body.smime-part=2 body.smime-serial=0A body.smime-issuer="CN=ca"',
            id="policy with its reason",
        ),
        pytest.param(report(result=ResultWord.PERMERROR), f"{ID}; smime=permerror", id="no signer"),
        pytest.param(
            report(replace(GOOD, issuer=""), form="signed-data"),
            f"{ID}; smime=pass body.smime-identifier=alice@acme.example body.smime-part=1",
            id="serial only with issuer",
        ),
    ],
)
def test_what_is_written(found: Report, value: str) -> None:
    """RFC 8601 2.2 with the properties of RFC 7281 3.2."""
    assert value_of(authentication_results(ID, found)) == value


def test_the_signature_that_decided_is_named() -> None:
    """Not that of a co-signer."""
    assert deciding_signer(report(CO_SIGNER, GOOD)) is GOOD


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('a"; smime=pass; x="', '"a\\"; smime=pass; x=\\""'),
        ("a\\", '"a\\\\"'),
        ("a\r\nX-Injected: b", '"a\\\\0D\\\\0AX-Injected: b"'),
        ("Müller", '"M\\\\C3\\\\BCller"'),
        ("a\0b", '"a\\\\00b"'),
    ],
)
def test_foreign_text_is_escaped(text: str, written: str) -> None:
    """It can neither end its string nor the line."""
    field = authentication_results(ID, report(replace(GOOD, issuer=text)))
    assert value_of(field).endswith(f"body.smime-issuer={written}")


@pytest.mark.parametrize("email", ['"a b"@c.example', "a@b; dkim=pass", "ä@b.example", "a@[192.0.2.1]", "a\r\nb@c"])
def test_strange_addresses_are_quoted(email: str) -> None:
    """What is no plain address stands in quotes."""
    assert ' body.smime-identifier="' in value_of(authentication_results(ID, report(replace(GOOD, email=(email,)))))


def test_what_is_too_long_is_left_out() -> None:
    """Half a name would be another name."""
    field = authentication_results(
        ID, report(replace(GOOD, issuer="O=" + "x" * 500, email=("a" * 500 + "@b.example",)))
    )
    assert value_of(field) == f"{ID}; smime=pass body.smime-part=2"


@pytest.mark.parametrize("wrong", ["", "a b", "a;b", 'a"b', "ä"])
def test_an_id_that_is_no_token_is_refused(wrong: str) -> None:
    """It comes from the settings and would break the field."""
    with pytest.raises(ValueError, match="token"):
        authentication_results(wrong, report(GOOD))


FIELD = re.compile(
    rb"[!-~]+; smime=pass( reason=Q)?( body\.smime-identifier=[!-~]+)? body\.smime-part=2"
    rb"( body\.smime-serial=0A body\.smime-issuer=Q)?"
)


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_foreign_text(email: str, issuer: str) -> None:
    """Whatever a certificate holds: one field, printable ASCII, the same results."""
    field = authentication_results(ID, report(replace(GOOD, email=(email,), issuer=issuer)))
    value = value_of(field).encode("ascii")
    assert field.endswith(b"\r\n")
    assert all(len(line) <= 998 for line in field.split(b"\r\n"))
    outside_quotes = re.sub(rb'"(?:[^"\\]|\\.)*"', b"Q", value)
    assert FIELD.fullmatch(outside_quotes), outside_quotes
