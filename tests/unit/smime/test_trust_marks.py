"""Nobody borrows our word: forged marks go, everything else stays octet for octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mime import decode_words, parse_header
from gateway.smime import strip_trust_marks
from gateway.smime.trust_marks import claims_authserv_id

ID = "smime.gw1.acme.example"
BEFORE = b"Received: from a by b;\r\n\tMon, 1 Jun 2026 12:00:00 +0000\r\n"
AFTER = b"From: a@b.example\r\nsubject:  Hello\r\n  there \r\n"


def stripped(fields: bytes, *tags: str) -> bytes:
    return strip_trust_marks(fields, authserv_id=ID, subject_tags=tags)


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(f"Authentication-Results: {ID}; smime=pass\r\n", id="plain"),
        pytest.param(f"authentication-RESULTS: {ID.upper()}; smime=pass\r\n", id="letter case"),
        pytest.param(f"Authentication-Results:{ID}\r\n", id="nothing else"),
        pytest.param(f"Authentication-Results: {ID} 1; smime=pass\r\n", id="version"),
        pytest.param(f"Authentication-Results: {ID}/1; smime=pass\r\n", id="old version form"),
        pytest.param(f"Authentication-Results:\r\n\t{ID};\r\n\tsmime=pass\r\n", id="folded"),
        pytest.param(f"Authentication-Results: (ours) {ID}; smime=pass\r\n", id="comment before"),
        pytest.param(f"Authentication-Results: (o(u)r\\)s) {ID} (x) 1 ; smime=pass\r\n", id="nested comments"),
        pytest.param(f'Authentication-Results: "{ID}"; smime=pass\r\n', id="quoted"),
        pytest.param('Authentication-Results: "smime.g\\w1.acme.example"; smime=pass\r\n', id="quoted pair"),
        pytest.param('Authentication-Results: "smime.gw1.\r\n acme.example"; smime=pass\r\n', id="folded in quotes"),
        pytest.param(f"Authentication-Results : {ID}; smime=pass\r\n", id="blank before the colon"),
        pytest.param(f"Authentication-Results\r\n : {ID}; smime=pass\r\n", id="folded before the colon"),
        pytest.param(f"Authentication-Results: (open {ID}; smime=pass\r\n", id="open comment"),
        pytest.param(f'Authentication-Results: "{ID}; smime=pass\r\n', id="open quotes"),
        pytest.param(f"Authentication-Results: other junk {ID}; smime=pass\r\n", id="not to be parsed"),
        pytest.param(f"Authentication-Results: ; {ID}; smime=pass\r\n", id="empty id"),
        pytest.param("SMIME-Gateway-Opened: x y\r\n", id="opened mark"),
        pytest.param("smime-gateway-anything: x\r\n", id="our family"),
        pytest.param("SMIME-Gateway-Opened : x y\r\n", id="our family, blank"),
    ],
)
def test_forged_marks_go(forged: str) -> None:
    """In every spelling that some reader takes for ours; what stands around it stays."""
    assert stripped(BEFORE + forged.encode() + AFTER) == BEFORE + AFTER


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("Authentication-Results: mx.acme.example; spf=pass\r\n", id="another id"),
        pytest.param(f"Authentication-Results: mx.acme.example; smime=pass ({ID})\r\n", id="our id elsewhere"),
        pytest.param(f"Authentication-Results: x{ID}; spf=pass\r\n", id="longer id"),
        pytest.param(f"Authentication-Results: {ID}.evil.example; spf=pass\r\n", id="longer domain"),
        pytest.param(f"ARC-Authentication-Results: i=1; {ID}; smime=pass\r\n", id="sealed elsewhere"),
        pytest.param("X-SMIME-Gateway-Opened: x\r\n", id="another name"),
        pytest.param(f"X-Note: Authentication-Results: {ID}\r\n", id="in a value"),
        pytest.param("no field at all\r\n", id="junk"),
    ],
)
def test_other_fields_stay(field: str) -> None:
    """Verbatim."""
    octets = BEFORE + field.encode() + AFTER
    assert stripped(octets) == octets


@pytest.mark.parametrize(
    ("subject", "left"),
    [
        pytest.param("[verified] Offer", "Offer", id="in front"),
        pytest.param("Re: [VERIFIED] Offer", "Re: Offer", id="inside, letter case"),
        pytest.param("=?utf-8?q?=5Bverified=5D_Gr=C3=BC=C3=9Fe?=", "Grüße", id="encoded word"),
        pytest.param("=?utf-8?q?=5Bveri?= =?utf-8?q?fied=5D_Offer?=", "Offer", id="across encoded words"),
        pytest.param("[ver[verified]ified] Offer", "Offer", id="made by the removal"),
        pytest.param("[veri\r\n fied] Offer", "[veri fied] Offer", id="not the tag"),
        pytest.param("Offer (opened)[verified]", "Offer", id="two tags"),
        pytest.param("[verified]", "", id="nothing else"),
    ],
)
def test_subject_tags_go(subject: str, left: str) -> None:
    """However they are encoded."""
    octets = stripped(BEFORE + f"Subject: {subject}\r\n".encode() + b"From: a@b.example\r\n", "[verified]", "(opened)")
    section = parse_header(octets + b"\r\n")
    assert decode_words(section.all("subject")[0].value) == left
    assert octets.startswith(BEFORE)
    assert octets.endswith(b"From: a@b.example\r\n")


def test_a_long_subject_is_encoded() -> None:
    """A subject in another script stays the same text, in words that fit their lines (RFC 2047 2)."""
    text = "Привет, мир " * 40
    field = stripped(f"Subject: [verified] {text}\r\n".encode(), "[verified]")
    assert decode_words(parse_header(field + b"\r\n").fields[0].value) == text.strip()
    assert all(len(line) <= 78 for line in field.split(b"\r\n"))


def test_a_long_ascii_subject_is_encoded() -> None:
    """What has no blank to fold at goes into encoded words."""
    field = stripped(b"Subject: [verified] " + b"x" * 1200 + b"\r\n", "[verified]")
    assert decode_words(parse_header(field + b"\r\n").fields[0].value) == "x" * 1200
    assert all(len(line) <= 78 for line in field.split(b"\r\n"))


def test_nested_tags_cost_nothing() -> None:
    """A tag inside a tag inside a tag: one pass, however deep."""
    deep = b"[ver" * 5000 + b"[verified]" + b"ified]" * 5000
    assert stripped(b"Subject: " + deep + b" Offer\r\n", "[verified]") == b"Subject: Offer\r\n"


def test_letters_whose_case_has_another_length() -> None:
    """What lower() makes longer does not shift what is removed."""
    field = stripped("Subject: \u0130\u0130[VERIFIED]x\r\n".encode(), "[verified]")
    assert decode_words(parse_header(field + b"\r\n").fields[0].value) == "\u0130\u0130x"


def test_a_subject_without_tag_stays_verbatim() -> None:
    """Folding, blanks and encodings are the sender's."""
    assert stripped(AFTER, "[verified]", " ") == AFTER


@given(st.binary(max_size=400))
def test_any_header_section(octets: bytes) -> None:
    """Whatever stands there: no exception, and nothing that was not there before."""
    fields = octets.replace(b"\r\n\r\n", b"\r\n")
    left = stripped(fields, "[verified]")
    assert len(left) <= len(fields) + 2 or b"[verified]" in fields.lower()


@given(st.text(max_size=80))
def test_any_value(value: str) -> None:
    """Parsing a foreign value never raises."""
    assert claims_authserv_id(value, ID) in (True, False)


@given(st.text(alphabet='();" \\a.', max_size=30))
def test_any_value_around_our_id(noise: str) -> None:
    """A value that begins with our id is ours whatever follows; comments before it do not hide it."""
    assert claims_authserv_id(f"{ID} ;{noise}", ID)
    assert claims_authserv_id(f"(x) {ID};{noise}", ID)


@pytest.mark.parametrize(
    ("value", "stays"),
    [
        ("mx.acme.example; spf=pass", False),
        ("ACME.example; spf=pass", False),
        ("(border) mx.acme.example 1; spf=pass", False),
        ("mx.partner.example; spf=pass", True),
        ("notacme.example; spf=pass", True),
        ("acme.example.evil.example; spf=pass", True),
    ],
)
def test_results_in_a_name_of_ours(value: str, stays: bool) -> None:
    """Whoever is not trusted with them may not bring results in the name of one of our hosts (RFC 8601 5)."""
    field = f"Authentication-Results: {value}\r\n".encode()

    def is_our_name(name: str) -> bool:
        return name == "acme.example" or name.endswith(".acme.example")

    kept = strip_trust_marks(field, authserv_id="smime.gw1.acme.example", is_our_name=is_our_name)
    assert kept == (field if stays else b"")
    assert strip_trust_marks(field, authserv_id="smime.gw1.acme.example") == field
