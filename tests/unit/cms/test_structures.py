"""SignerInfo, RecipientInfo and Certificate: what an independent reader finds in them, we find too."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from asn1crypto import cms
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import CertificateIdentifier, Digest, RecipientKind, der
from gateway.cms.ber import Algorithm, Reader
from gateway.cms.structures import (
    MOST_CERTIFICATE,
    RecipientFields,
    read_certificate,
    read_key_identifier,
    read_recipient_info,
    read_signer_info,
)
from gateway.errors import CmsError
from tests.support.pki import Issued, KeyKind, Pki, issue
from tests.unit.cms.forge import attribute, indefinite, issuer_and_serial, key_identifier, key_transport, signer_info

WRAP = der.sequence(der.oid("2.16.840.1.101.3.4.1.45"))
AGREEMENT = der.sequence(der.oid("1.3.132.1.11.1"), WRAP)


def recipients(octets: bytes) -> Sequence[RecipientFields]:
    reader = Reader(octets)
    found = list(read_recipient_info(reader))
    assert reader.position == len(octets)
    return found


@pytest.mark.parametrize("kind", ["rsa-2048", "rsa-3072", "ec-p256", "ec-p384"])
def test_certificate(pki: Pki, kind: KeyKind) -> None:
    """Issuer, serial number, key and key identifier as cryptography has them."""
    issued = pki.identity("somebody@acme.example", key_kind=kind)
    fields = read_certificate(issued.certificate_der)
    assert fields.issuer_der == issued.certificate.issuer.public_bytes()
    assert fields.serial == issued.serial
    assert fields.public_key_der == issued.public_key_der
    assert fields.identifier_der == issuer_and_serial(issued)
    assert der.tlv(0x80, read_key_identifier(issued.certificate_der) or b"") == key_identifier(issued)


def test_certificate_without_key_identifier() -> None:
    """No extension at all, and extensions without that one; version 1 too."""
    bare = issue("CN=Bare", key_identifiers=False)
    other = issue("CN=Other", key_identifiers=False, emails=["other@acme.example"], ca=False)
    for issued in (bare, other):
        assert read_key_identifier(issued.certificate_der) is None
    certificate = asn1_x509.Certificate.load(bare.certificate_der)
    body = certificate["tbs_certificate"]
    version_1 = der.sequence(
        der.sequence(*(body[name].dump() for name in list(body)[1:-1] if body[name].dump())), der.NULL, der.NULL
    )
    assert read_certificate(version_1).serial == bare.serial
    assert read_key_identifier(version_1) is None


def test_key_identifier_behind_unique_identifiers(alice: Issued) -> None:
    """RFC 5280 4.1.2.8: obsolete, and stands before the extensions."""
    certificate = Reader(alice.certificate_der)
    certificate.enter(0x30)
    certificate.enter(0x30)
    parts = []
    while tag := certificate.peek():
        parts.append(certificate.element(tag))
    body = der.sequence(*parts[:-1], der.tlv(0x81, b"\x00"), der.tlv(0x82, b"\x00"), parts[-1])
    found = read_key_identifier(der.sequence(body, der.NULL, der.NULL))
    assert found == read_key_identifier(alice.certificate_der)


def test_critical_key_identifier() -> None:
    """RFC 5280 4.2.1.2 forbids it, and it is read all the same."""
    extension = x509.SubjectKeyIdentifier(b"identifier")
    issued = issue("CN=Critical", key_identifiers=False, extensions=[(extension, True)])
    assert read_key_identifier(issued.certificate_der) == b"identifier"


def test_certificate_with_extensions_without_end(alice: Issued) -> None:
    """The cost of looking for a key identifier is bounded for each certificate: a message may bring many."""
    extension = der.sequence(der.oid("1.2.3"), der.octet_string(b""))
    fields = (der.integer(1), der.sequence(), alice.certificate.issuer.public_bytes(), *[der.sequence()] * 3)
    for count, is_read in ((100, True), (10_000, False)):
        extensions = der.context(3, der.sequence(*[extension] * count))
        octets = der.sequence(der.sequence(*fields, extensions), der.NULL, der.NULL)
        assert read_certificate(octets).serial == 1
        if is_read:
            assert read_key_identifier(octets) is None
        else:
            with pytest.raises(CmsError, match="too many"):
                read_key_identifier(octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(der.sequence(), id="empty"),
        pytest.param(der.sequence(der.sequence(der.integer(1))), id="cut"),
        pytest.param(der.sequence(der.octet_string(bytes(MOST_CERTIFICATE))), id="too large"),
    ],
)
def test_certificate_refuses(octets: bytes) -> None:
    """What is no certificate is a CmsError."""
    for read in (read_certificate, read_key_identifier):
        with pytest.raises(CmsError):
            read(octets)


def test_octets_behind_a_certificate(alice: Issued) -> None:
    """They would not be covered by its signature."""
    with pytest.raises(CmsError, match="behind"):
        read_certificate(alice.certificate_der + b"\x00")


def test_matches(alice: Issued, bob: Issued) -> None:
    """By issuer and serial number, or by key identifier; nobody is nobody."""
    fields = read_certificate(alice.certificate_der)
    by_name = CertificateIdentifier(issuer_der=fields.issuer_der, serial=fields.serial)
    by_key = CertificateIdentifier(ski=read_key_identifier(alice.certificate_der))
    for identifier in (by_name, by_key):
        assert identifier.matches(alice.certificate_der)
        assert not identifier.matches(bob.certificate_der)
        assert not identifier.matches(alice.certificate_der[:-1])
    assert not CertificateIdentifier().matches(alice.certificate_der)
    in_another_place = CertificateIdentifier(ski=fields.public_key_der[-20:])
    assert not in_another_place.matches(alice.certificate_der)
    assert not CertificateIdentifier(issuer_der=fields.issuer_der, serial=1).matches(alice.certificate_der)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("by_key", [False, True])
@pytest.mark.parametrize("attributes", [(), None])
def test_signer_info(alice: Issued, depth: int, by_key: bool, attributes: Sequence[bytes] | None) -> None:
    """Each field as asn1crypto reads it."""
    unsigned = [attribute("1.2.3", der.NULL)] if by_key else []
    sid = key_identifier(alice) if by_key else None
    octets = signer_info(alice, b"content", sid=sid, attributes=attributes, unsigned=unsigned)
    known = cms.SignerInfo.load(octets, strict=True)
    reader = Reader(indefinite(octets, depth))
    fields = read_signer_info(reader)
    assert reader.position == len(reader.octets)
    assert fields.version == int(known["version"])
    if by_key:
        assert fields.sid == CertificateIdentifier(ski=known["sid"].chosen.native)
    else:
        sid_fields = known["sid"].chosen
        assert fields.sid.issuer_der == sid_fields["issuer"].dump()
        assert fields.sid.serial == sid_fields["serial_number"].native
    assert fields.digest_algorithm == Algorithm(Digest.SHA256.oid, None)
    assert fields.signature_algorithm == Algorithm("1.2.840.113549.1.1.1", der.NULL)
    assert fields.signed_attributes == (known["signed_attrs"].dump() or None)
    assert fields.signature == known["signature"].native
    assert fields.unsigned_attributes == (known["unsigned_attrs"].dump() or None)


@pytest.mark.parametrize("depth", range(4))
def test_key_transport(alice: Issued, depth: int) -> None:
    """RFC 5652 6.2.1, with indefinite lengths too."""
    octets = indefinite(key_transport(alice, b"k" * 32, encrypted=b"e" * 256), depth)
    (found,) = recipients(octets)
    assert found.kind is RecipientKind.KEY_TRANSPORT
    assert found.rid.serial == alice.serial
    assert found.algorithm == Algorithm("1.2.840.113549.1.1.1", der.NULL)
    assert found.encrypted_key == b"e" * 256
    assert depth > 2 or found.rid.matches(alice.certificate_der)  # deeper the name is written differently


@pytest.mark.parametrize("with_ukm", [False, True])
def test_key_agreement(erin: Issued, alice: Issued, with_ukm: bool) -> None:
    """RFC 5652 6.2.2: each recipient that it names counts for itself, by either identifier."""
    ski = key_identifier(erin)
    octets = der.tlv(
        0xA1,
        der.integer(3),
        der.context(0, der.tlv(0xA1, der.sequence(der.oid("1.2.840.10045.2.1")), der.tlv(0x03, b"\x00point"))),
        der.context(1, der.octet_string(b"ukm")) if with_ukm else b"",
        AGREEMENT,
        der.sequence(
            der.sequence(issuer_and_serial(alice), der.octet_string(b"one")),
            der.sequence(
                der.tlv(0xA0, der.octet_string(ski[2:]), der.tlv(0x18, b"20260601000000Z")), der.octet_string(b"two")
            ),
        ),
    )
    choice = cms.RecipientInfo.load(octets, strict=True)
    known = choice.chosen["recipient_encrypted_keys"]
    first, second = recipients(octets)
    assert (
        [first.encrypted_key, second.encrypted_key]
        == [one["encrypted_key"].native for one in known]
        == [b"one", b"two"]
    )
    assert first.kind is second.kind is RecipientKind.KEY_AGREEMENT
    assert first.rid.matches(alice.certificate_der)
    assert second.rid.matches(erin.certificate_der)
    assert first.algorithm == second.algorithm == Algorithm("1.3.132.1.11.1", WRAP)


@pytest.mark.parametrize(
    ("octets", "kind", "oid", "key"),
    [
        pytest.param(
            der.tlv(0xA2, der.integer(4), der.sequence(der.octet_string(b"id")), WRAP, der.octet_string(b"key")),
            RecipientKind.KEY_ENCRYPTION_KEY,
            "2.16.840.1.101.3.4.1.45",
            b"key",
            id="KEKRecipientInfo",
        ),
        pytest.param(
            der.tlv(0xA3, der.integer(0), WRAP, der.octet_string(b"key")),
            RecipientKind.PASSWORD,
            "2.16.840.1.101.3.4.1.45",
            b"key",
            id="PasswordRecipientInfo",
        ),
        pytest.param(
            der.tlv(0xA3, der.integer(0), der.tlv(0xA0, der.oid("1.2.3")), WRAP, der.octet_string(b"key")),
            RecipientKind.PASSWORD,
            "2.16.840.1.101.3.4.1.45",
            b"key",
            id="PasswordRecipientInfo with derivation",
        ),
        pytest.param(
            der.tlv(0xA4, der.oid("1.2.840.113549.1.9.16.13.3"), der.sequence(der.integer(0))),
            RecipientKind.OTHER,
            None,
            b"",
            id="OtherRecipientInfo",
        ),
    ],
)
def test_other_kinds(octets: bytes, kind: RecipientKind, oid: str | None, key: bytes) -> None:
    """RFC 5652 6.2.3 to 6.2.5: told apart; no certificate names them."""
    (found,) = recipients(octets)
    assert found.kind is kind
    assert found.rid == CertificateIdentifier()
    assert (found.algorithm.oid if found.algorithm else None) == oid
    assert found.encrypted_key == key


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(der.NULL, id="NULL"),
        pytest.param(der.tlv(0xA5), id="unknown choice"),
        pytest.param(der.sequence(), id="empty"),
        pytest.param(der.tlv(0xA1, der.integer(3)), id="key agreement cut"),
        pytest.param(der.tlv(0xA2, der.integer(4), WRAP), id="key-encryption key cut"),
        pytest.param(
            der.tlv(0xA3, der.integer(0), WRAP, der.octet_string(b"key"), der.NULL), id="password with one more"
        ),
    ],
)
def test_recipient_info_refuses(octets: bytes) -> None:
    """What is no RecipientInfo is a CmsError."""
    with pytest.raises(CmsError):
        recipients(octets)


@given(st.binary(max_size=60), st.sampled_from([0x30, 0xA1, 0xA2, 0xA3, 0xA4]))
def test_any_octets(octets: bytes, tag: int) -> None:
    """Any octets give fields or a CmsError, behind the right tag too."""
    for attempt in (octets, der.tlv(tag, octets)):
        for read in (
            lambda these: list(read_recipient_info(Reader(these))),
            lambda these: read_signer_info(Reader(these)),
            read_certificate,
            read_key_identifier,
        ):
            try:
                read(attempt)
            except CmsError:
                continue
