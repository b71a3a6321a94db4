"""What a ContentInfo holds is told by its type alone."""

from __future__ import annotations

import pytest
from asn1crypto import cms
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import ContentKind, content_type_of, der, parse_signed_data
from gateway.errors import CmsError
from gateway.limits import Limits
from tests.unit.cms.forge import DATA, indefinite, signed_data


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("data", ContentKind.DATA),
        ("signed_data", ContentKind.SIGNED),
        ("enveloped_data", ContentKind.ENVELOPED),
        ("authenticated_enveloped_data", ContentKind.AUTH_ENVELOPED),
        ("compressed_data", ContentKind.COMPRESSED),
        ("encrypted_data", ContentKind.OTHER),
        ("digested_data", ContentKind.OTHER),
    ],
)
def test_kinds(name: str, kind: ContentKind) -> None:
    """Identifiers are those of asn1crypto; the frame may be in indefinite length; the content is not looked at."""
    octets = der.sequence(der.oid(cms.ContentType(name).dotted), der.context(0, b"\x04\x01"))
    assert content_type_of(octets) is kind
    assert content_type_of(octets[:1] + b"\x80" + octets[2:] + b"\x00\x00") is kind


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"MIIB", id="base64"),
        pytest.param(der.octet_string(b"a"), id="no SEQUENCE"),
        pytest.param(der.sequence(der.integer(1)), id="no type"),
        pytest.param(der.sequence(der.oid(DATA), der.integer(1)), id="content without its tag"),
        pytest.param(der.sequence(der.oid(DATA))[:-1], id="cut"),
    ],
)
def test_refuses(octets: bytes) -> None:
    """What is no ContentInfo is a CmsError."""
    with pytest.raises(CmsError):
        content_type_of(octets)


@given(st.binary(max_size=100))
def test_any_octets(octets: bytes) -> None:
    """Any octets give a kind or a CmsError."""
    try:
        content_type_of(octets)
    except CmsError:
        return


@pytest.mark.parametrize("filler", [b"", b"\r\n", b"\r\n\r\n", bytes(7)])
def test_fillers_of_binary_transport_are_not_looked_at(filler: bytes) -> None:
    """Line ends and NULs behind the ContentInfo are no part of it, and nothing else is taken for filling."""
    octets = signed_data(content=b"x")
    assert parse_signed_data(octets + filler).content == b"x"
    assert parse_signed_data(indefinite(octets, 5) + filler).content == b"x"
    with pytest.raises(CmsError, match="behind"):
        parse_signed_data(octets + filler + b"x")


def test_size_is_bounded() -> None:
    """More than a message may have is not read at all."""
    octets = signed_data(content=b"x" * 1000)
    assert parse_signed_data(octets, Limits(message_octets=len(octets))).content == b"x" * 1000
    with pytest.raises(CmsError, match="larger"):
        parse_signed_data(octets, Limits(message_octets=len(octets) - 1))


def test_another_content_type_is_refused_by_name() -> None:
    """The reader of one kind does not read another."""
    with pytest.raises(CmsError, match=r"1\.2\.840\.113549\.1\.7\.1"):
        parse_signed_data(der.sequence(der.oid(DATA), der.context(0, der.octet_string(b"x"))))
