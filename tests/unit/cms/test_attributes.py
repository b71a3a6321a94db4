"""Signed attributes: their values are read, and what two readers could read differently is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import Digest, der
from gateway.cms.attributes import check_unsigned_attributes, read_signed_attributes
from gateway.cms.ber import Algorithm
from gateway.errors import CmsError
from tests.unit.cms.forge import (
    DATA,
    attribute,
    content_type_attribute,
    message_digest_attribute,
    signing_time_attribute,
    usual_attributes,
)

TIME = "1.2.840.113549.1.9.5"
CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
PROTECTION = "1.2.840.113549.1.9.52"
USUAL = usual_attributes(b"content")
CERT_ID = der.sequence(der.sequence(der.sequence(der.octet_string(b"h" * 32))))


def element(*attributes: bytes) -> bytes:
    """The raw ``[0]``, in DER order."""
    return der.set_of(attributes, 0xA0)


def test_usual_attributes() -> None:
    """Type, digest, time; what is signed is the SET OF, not what is sent (RFC 5652 5.4)."""
    octets = element(*USUAL)
    read = read_signed_attributes(octets)
    assert read.content_type == DATA
    assert read.message_digest == Digest.SHA256.compute(b"content")
    assert read.signing_time == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert read.certificate_hashes == ()
    assert read.algorithm_protection is None
    assert read.set_of_der == b"\x31" + octets[1:]


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        pytest.param(der.tlv(0x17, b"260601120005Z"), datetime(2026, 6, 1, 12, 0, 5, tzinfo=UTC), id="UTCTime"),
        pytest.param(der.tlv(0x17, b"2606011200Z"), datetime(2026, 6, 1, 12, tzinfo=UTC), id="no seconds"),
        pytest.param(der.tlv(0x17, b"500101000000Z"), datetime(1950, 1, 1, tzinfo=UTC), id="first year of UTCTime"),
        pytest.param(der.tlv(0x17, b"491231000000Z"), datetime(2049, 12, 31, tzinfo=UTC), id="last year of UTCTime"),
        pytest.param(der.tlv(0x17, b"260601120005+0230"), datetime(2026, 6, 1, 9, 30, 5, tzinfo=UTC), id="offset east"),
        pytest.param(
            der.tlv(0x17, b"260601120005-0230"), datetime(2026, 6, 1, 14, 30, 5, tzinfo=UTC), id="offset west"
        ),
        pytest.param(der.tlv(0x18, b"20500101000000Z"), datetime(2050, 1, 1, tzinfo=UTC), id="GeneralizedTime"),
        pytest.param(der.tlv(0x18, b"20260601120005.123Z"), datetime(2026, 6, 1, 12, 0, 5, tzinfo=UTC), id="fractions"),
    ],
)
def test_signing_time(value: bytes, moment: datetime) -> None:
    """RFC 5652 11.3, and the forms that old sending agents wrote."""
    octets = element(content_type_attribute(), message_digest_attribute(b"d"), attribute(TIME, value))
    assert read_signed_attributes(octets).signing_time == moment


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(der.tlv(0x17, b"20260601120005Z"), id="four digits in UTCTime"),
        pytest.param(der.tlv(0x18, b"2606011200Z"), id="two digits in GeneralizedTime"),
        pytest.param(der.tlv(0x17, b"261301120005Z"), id="month 13"),
        pytest.param(der.tlv(0x17, b"260601120005"), id="no zone"),
        pytest.param(der.tlv(0x18, b"00010101000000+2300"), id="before the first year"),
        pytest.param(der.tlv(0x18, b"20260601120005+9900"), id="absurd offset"),
        pytest.param(der.tlv(0x18, "\uff12\uff10260601120005Z".encode()), id="digits of another script"),
        pytest.param(der.octet_string(b"260601120005Z"), id="another type"),
        pytest.param(der.tlv(0x17, b""), id="empty"),
    ],
)
def test_malformed_signing_time(value: bytes) -> None:
    """A time that is none is refused, not taken for absent."""
    with pytest.raises(CmsError):
        read_signed_attributes(
            element(content_type_attribute(), message_digest_attribute(b"d"), attribute(TIME, value))
        )


SHA512_ID = der.sequence(
    der.sequence(der.sequence(Digest.SHA512.identifier_der, der.octet_string(b"h" * 64), der.sequence()))
)


@pytest.mark.parametrize(
    ("attributes", "hashes"),
    [
        pytest.param([attribute(CERTIFICATE_V2, CERT_ID)], [(Digest.SHA256, b"h" * 32)], id="v2, default hash"),
        pytest.param([attribute(CERTIFICATE_V2, SHA512_ID)], [(Digest.SHA512, b"h" * 64)], id="v2, SHA-512, issuer"),
        pytest.param(
            [attribute(CERTIFICATE, der.sequence(der.sequence(der.sequence(der.octet_string(b"h" * 20)))))],
            [(Digest.SHA1, b"h" * 20)],
            id="v1",
        ),
        pytest.param(
            [attribute(CERTIFICATE, CERT_ID), attribute(CERTIFICATE_V2, CERT_ID)],
            [(Digest.SHA256, b"h" * 32), (Digest.SHA1, b"h" * 32)],
            id="both",
        ),
    ],
)
def test_signing_certificate(attributes: Sequence[bytes], hashes: Sequence[tuple[Digest, bytes]]) -> None:
    """RFC 5035 4, RFC 2634 5.4.1: the first entry is the signer's; both forms count."""
    read = read_signed_attributes(element(*USUAL, *attributes))
    assert [(one.algorithm, one.value) for one in read.certificate_hashes] == [
        (digest.oid, value) for digest, value in hashes
    ]


def test_algorithm_protection() -> None:
    """RFC 6211 2: the signature algorithm has an implicit tag."""
    signature = der.tlv(0xA1, der.oid("1.2.3"), der.NULL)
    octets = element(*USUAL, attribute(PROTECTION, der.sequence(Digest.SHA256.identifier_der, signature)))
    protection = read_signed_attributes(octets).algorithm_protection
    assert protection is not None
    assert protection.digest == Algorithm(Digest.SHA256.oid, None)
    assert protection.signature == Algorithm("1.2.3", der.NULL)


DIGEST = message_digest_attribute(b"d")
TYPE = content_type_attribute()


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        pytest.param(element(), "without", id="none"),
        pytest.param(element(TYPE), "without", id="no messageDigest"),
        pytest.param(element(DIGEST), "without", id="no contentType"),
        pytest.param(element(TYPE, TYPE, DIGEST), "twice", id="the same contentType twice"),
        pytest.param(element(TYPE, content_type_attribute("1.2.3"), DIGEST), "twice", id="contentType twice"),
        pytest.param(element(TYPE, DIGEST, message_digest_attribute(b"e")), "twice", id="messageDigest twice"),
        pytest.param(
            element(*USUAL, signing_time_attribute(datetime(2027, 1, 1, tzinfo=UTC))), "twice", id="signingTime twice"
        ),
        pytest.param(
            element(TYPE, attribute("1.2.840.113549.1.9.4", b"\x04\x01d", b"\x04\x01e")), "", id="two message digests"
        ),
        pytest.param(element(TYPE, attribute("1.2.840.113549.1.9.4")), "", id="no value"),
        pytest.param(element(TYPE, attribute("1.2.840.113549.1.9.4", der.integer(1))), "type", id="digest is INTEGER"),
        pytest.param(
            element(attribute("1.2.840.113549.1.9.3", der.integer(1)), DIGEST), "type", id="contentType is INTEGER"
        ),
        pytest.param(der.tlv(0xA0, *sorted(USUAL, reverse=True)), "DER", id="out of order"),
        pytest.param(b"\xa0\x80" + b"".join(USUAL) + b"\x00\x00", "DER", id="indefinite length"),
        pytest.param(
            der.tlv(0xA0, TYPE, b"\x30\x81" + DIGEST[1:2] + DIGEST[2:]), "DER", id="length in too many octets"
        ),
        pytest.param(element(TYPE, DIGEST, der.octet_string(b"x")), "", id="no attribute"),
        pytest.param(element(TYPE, DIGEST, der.sequence(der.oid("1.2.3"))), "", id="attribute without values"),
        pytest.param(
            element(TYPE, DIGEST, der.sequence(der.oid("1.2.3"), der.set_of([]), der.NULL)), "", id="third element"
        ),
        pytest.param(element(TYPE, DIGEST, attribute(CERTIFICATE_V2, der.sequence())), "", id="no certificate named"),
        pytest.param(element(TYPE, DIGEST, attribute(CERTIFICATE_V2, der.NULL)), "type", id="certificate is NULL"),
        pytest.param(element(TYPE, DIGEST, attribute(PROTECTION, der.sequence())), "", id="empty protection"),
        pytest.param(
            element(TYPE, DIGEST, attribute(CERTIFICATE_V2, CERT_ID, SHA512_ID)), "", id="two signing certificates"
        ),
    ],
)
def test_refuses(octets: bytes, reason: str) -> None:
    """RFC 5652 5.3, 5.4, 11: cardinality, syntax and DER."""
    with pytest.raises(CmsError, match=reason or None):
        read_signed_attributes(octets)


def test_other_attributes_may_occur_twice() -> None:
    """What this gateway gives no meaning to is covered by the signature, and left alone."""
    read_signed_attributes(element(*USUAL, attribute("1.2.3", der.NULL), attribute("1.2.3", der.NULL, der.integer(1))))


@pytest.mark.parametrize(
    "oid",
    ["1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4", TIME, CERTIFICATE, CERTIFICATE_V2, PROTECTION],
)
def test_attributes_that_must_be_signed(oid: str) -> None:
    """RFC 5652 11.1 to 11.3: among the unsigned attributes they say what nobody signed."""
    check_unsigned_attributes(der.tlv(0xA1, attribute("1.2.840.113549.1.9.6", der.NULL)))
    with pytest.raises(CmsError, match="not signed"):
        check_unsigned_attributes(der.tlv(0xA1, attribute("1.2.3", der.NULL), attribute(oid, der.NULL)))


@given(st.binary(max_size=100))
def test_any_octets(octets: bytes) -> None:
    """Any octets give attributes or a CmsError."""
    for read in (read_signed_attributes, check_unsigned_attributes):
        try:
            read(octets)
        except CmsError:
            continue
