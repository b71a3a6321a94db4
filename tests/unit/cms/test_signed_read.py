"""Signed-data of other sending agents: every usual form is read, and what is malformed is refused."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import Digest, SignatureScheme, check_signature, der, find_certificate, parse_signed_data
from gateway.errors import CmsError, UnsupportedCms
from gateway.limits import Limits
from tests.support.pki import MOMENT, Issued, Pki, issue
from tests.unit.cms.forge import (
    RSA,
    attribute,
    content_type_attribute,
    indefinite,
    key_identifier,
    message_digest_attribute,
    segments,
    signed_data,
    signer_info,
    usual_attributes,
)

CONTENT = b"Content-Type: text/plain\r\n\r\nHello.\r\n"
CAPTURED = "1.2.840.113549.1.9.6"


def assert_verifies(octets: bytes, signer: Issued) -> None:
    """The one signer's certificate is found and its signature is right over the content."""
    signed = parse_signed_data(octets)
    assert signed.content == CONTENT
    (info,) = signed.signers
    certificate = find_certificate(info, signed.certificates)
    assert certificate == signer.certificate_der
    check = check_signature(info, certificate, signed.content)
    assert (check.intact, check.valid, check.reason) == (True, True, "")


@pytest.mark.parametrize("depth", range(5))
def test_indefinite_length(alice: Issued, depth: int) -> None:
    """BER with indefinite lengths in any number of layers; the content then usually in segments."""
    info = signer_info(alice, CONTENT)
    usual = signed_data(info, content=CONTENT, certificates=[alice.certificate_der])
    streamed = signed_data(info, content=None, octets=segments(CONTENT, 10), certificates=[alice.certificate_der])
    for octets in (usual, streamed):
        assert_verifies(indefinite(octets, depth), alice)


def test_signer_info_in_indefinite_length(alice: Issued) -> None:
    """The SignerInfo may be, its signed attributes not: their DER is what is signed (RFC 5652 5.4)."""
    info = signer_info(alice, CONTENT)
    octets = signed_data(indefinite(info, 1), content=CONTENT, certificates=[alice.certificate_der])
    assert_verifies(octets, alice)
    bare = signer_info(alice, CONTENT, attributes=None)
    octets = signed_data(indefinite(bare, 2), content=CONTENT, certificates=[alice.certificate_der])
    assert_verifies(octets, alice)
    for depth in (2, 3):
        with pytest.raises(CmsError, match="DER"):
            parse_signed_data(signed_data(indefinite(info, depth), content=CONTENT))


@pytest.mark.parametrize(
    ("name", "signature_algorithm"),
    [
        ("rsaEncryption, NULL", der.sequence(der.oid(RSA), der.NULL)),
        ("rsaEncryption, absent", der.sequence(der.oid(RSA))),
        ("sha256WithRSAEncryption, NULL", der.sequence(der.oid("1.2.840.113549.1.1.11"), der.NULL)),
        ("sha256WithRSAEncryption, absent", der.sequence(der.oid("1.2.840.113549.1.1.11"))),
    ],
)
@pytest.mark.parametrize("digest_parameters", [b"", der.NULL])
def test_rsa_identifiers(alice: Issued, name: str, signature_algorithm: bytes, digest_parameters: bytes) -> None:
    """RFC 5754 2, 3.2; RFC 3370 3.2: all forms that are in use."""
    info = signer_info(
        alice,
        CONTENT,
        signature_algorithm=signature_algorithm,
        digest_algorithm=der.sequence(der.oid(Digest.SHA256.oid), digest_parameters),
    )
    assert_verifies(signed_data(info, content=CONTENT, certificates=[alice.certificate_der]), alice)


@pytest.mark.parametrize(
    "oid",
    [
        pytest.param("1.2.840.10045.4.3.2", id="ecdsa-with-SHA256"),
        pytest.param("1.2.840.10045.2.1", id="id-ecPublicKey"),
    ],
)
@pytest.mark.parametrize("parameters", [b"", der.NULL])
def test_ecdsa_identifiers(erin: Issued, oid: str, parameters: bytes) -> None:
    """RFC 5753 7.1.3, and what others write."""
    info = signer_info(erin, CONTENT, signature_algorithm=der.sequence(der.oid(oid), parameters))
    assert_verifies(signed_data(info, content=CONTENT, certificates=[erin.certificate_der]), erin)


def test_subject_key_identifier(alice: Issued, bob: Issued) -> None:
    """RFC 5652 5.3: version 3, whatever version is written."""
    for version in (1, 3):
        info = signer_info(alice, CONTENT, sid=key_identifier(alice), version=version)
        octets = signed_data(info, content=CONTENT, certificates=[bob.certificate_der, alice.certificate_der])
        assert_verifies(octets, alice)
        sid = parse_signed_data(octets).signers[0].sid
        assert (sid.issuer_der, sid.serial) == (None, None)


def test_without_signed_attributes(alice: Issued) -> None:
    """RFC 5652 5.4: the signature is then over the content; no time is known."""
    octets = signed_data(
        signer_info(alice, CONTENT, attributes=None), content=CONTENT, certificates=[alice.certificate_der]
    )
    assert_verifies(octets, alice)
    (info,) = parse_signed_data(octets).signers
    assert (info.attributes, info.signing_time) == (None, None)


def test_certificates_in_any_order_and_of_other_kinds(alice: Issued, bob: Issued, pki: Pki) -> None:
    """RFC 5652 10.2.2: attribute certificates and other formats are left out, X.509 ones kept as they came."""
    other = [der.tlv(0xA1, der.NULL), der.tlv(0xA2, der.NULL), der.tlv(0xA3, der.oid("1.2.3"), der.NULL)]
    mine = [pki.root.certificate_der, bob.certificate_der, alice.certificate_der, pki.issuing.certificate_der]
    octets = signed_data(
        signer_info(alice, CONTENT), content=CONTENT, certificates=[*other, *mine], crls=[pki.issuing.crl(), other[0]]
    )
    assert_verifies(octets, alice)
    signed = parse_signed_data(octets)
    assert signed.certificates == tuple(mine)
    assert signed.crls == (pki.issuing.crl(),)


def test_certs_only(alice: Issued, pki: Pki) -> None:
    """RFC 8551 3.8: certificates without signers and content."""
    signed = parse_signed_data(
        signed_data(content=None, certificates=[alice.certificate_der, pki.issuing.certificate_der])
    )
    assert signed.is_certs_only
    assert signed.content is None
    assert signed.certificates == (alice.certificate_der, pki.issuing.certificate_der)


def test_several_signers(alice: Issued, erin: Issued) -> None:
    """Each is told for itself, and an algorithm that we do not know is that signer's affair."""
    unknown = signer_info(alice, CONTENT, signature_algorithm=der.sequence(der.oid("1.2.840.113549.1.1.10")))
    digest = signer_info(alice, CONTENT, digest_algorithm=der.sequence(der.oid("2.16.840.1.101.3.4.2.8")))
    octets = signed_data(unknown, digest, signer_info(erin, CONTENT), content=CONTENT)
    first, second, third = parse_signed_data(octets).signers
    assert (first.scheme, first.signature_label, first.unsupported) == (
        None,
        "rsassa-pss",
        "signature algorithm rsassa-pss",
    )
    assert (second.digest, second.digest_label, second.unsupported) == (None, "sha3-256", "digest algorithm sha3-256")
    assert (third.scheme, third.digest, third.unsupported) == (SignatureScheme.ECDSA, Digest.SHA256, "")
    assert (third.signature_label, third.digest_label, third.signing_time) == ("ecdsa", "sha256", MOMENT)


def test_unsigned_attributes_are_skipped(alice: Issued) -> None:
    """Countersignatures and time stamps do not change what is known of the signature."""
    info = signer_info(alice, CONTENT, unsigned=[attribute(CAPTURED, der.sequence(der.octet_string(b"x" * 5000)))])
    assert_verifies(signed_data(info, content=CONTENT, certificates=[alice.certificate_der]), alice)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_versions(alice: Issued, version: int) -> None:
    """RFC 5652 5.1, and PKCS #7's."""
    octets = signed_data(
        signer_info(alice, CONTENT), content=CONTENT, certificates=[alice.certificate_der], version=version
    )
    assert_verifies(octets, alice)


def test_other_content_type(alice: Issued) -> None:
    """RFC 5652 5.3, 11.1: allowed with signed attributes that say so."""
    receipt = "1.2.840.113549.1.9.16.1.1"
    attributes = sorted([content_type_attribute(receipt), message_digest_attribute(Digest.SHA256.compute(CONTENT))])
    octets = signed_data(signer_info(alice, CONTENT, attributes=attributes), content=CONTENT, content_type=receipt)
    signed = parse_signed_data(octets)
    assert signed.content_type == receipt
    assert signed.signers[0].attributes is not None


WRONG_TYPE = [content_type_attribute("1.2.3"), message_digest_attribute(b"d" * 32)]


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        pytest.param({"attributes": WRONG_TYPE}, "contentType", id="contentType is not that of the content"),
        pytest.param({"attributes": sorted([*WRONG_TYPE, *WRONG_TYPE])}, "twice", id="attributes twice"),
        pytest.param({"attributes": [message_digest_attribute(b"d")]}, "without", id="no contentType"),
        pytest.param({"attributes": sorted(usual_attributes(CONTENT), reverse=True)}, "DER", id="out of order"),
        pytest.param({"version": 2}, "version 2", id="SignerInfo version 2"),
        pytest.param({"sid": der.NULL}, "expected", id="sid is NULL"),
        pytest.param({"sid": der.sequence(der.integer(1))}, "expected", id="sid without issuer"),
        pytest.param({"digest_algorithm": der.integer(1)}, "expected", id="digest algorithm is INTEGER"),
        pytest.param(
            {"digest_algorithm": der.sequence(der.oid(Digest.SHA256.oid), der.integer(1))},
            "parameters",
            id="digest algorithm with parameters",
        ),
        pytest.param(
            {"unsigned": [attribute("1.2.840.113549.1.9.5", der.NULL)]}, "not signed", id="signingTime not signed"
        ),
        pytest.param(
            {"attributes": [*usual_attributes(CONTENT), attribute(CAPTURED, der.octet_string(bytes(70_000)))]},
            "large",
            id="attributes too large",
        ),
    ],
)
def test_refuses_signer(alice: Issued, named: dict[str, object], reason: str) -> None:
    """What a SignerInfo may not be."""
    info = signer_info(alice, CONTENT, **named)  # type: ignore[arg-type]
    with pytest.raises(CmsError, match=reason or None):
        parse_signed_data(signed_data(info, content=CONTENT))


def test_refuses_other_content_without_attributes(alice: Issued) -> None:
    """RFC 5652 5.3: the type would not be signed."""
    octets = signed_data(signer_info(alice, CONTENT, attributes=None), content=CONTENT, content_type="1.2.3")
    with pytest.raises(CmsError, match="without signed attributes"):
        parse_signed_data(octets)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        pytest.param(signed_data(content=CONTENT, version=6), UnsupportedCms, id="version 6"),
        pytest.param(signed_data(content=None, octets=der.integer(1)), CmsError, id="content is INTEGER"),
        pytest.param(signed_data(content=None, octets=der.octet_string(b"") * 2), CmsError, id="two contents"),
        pytest.param(signed_data(der.NULL, content=CONTENT), CmsError, id="SignerInfo is NULL"),
        pytest.param(signed_data(der.sequence(), content=CONTENT), CmsError, id="SignerInfo is empty"),
        pytest.param(signed_data(der.sequence(der.integer(1)) * 2, content=CONTENT), CmsError, id="SignerInfo cut"),
    ],
)
def test_refuses(octets: bytes, error: type[CmsError]) -> None:
    """What a SignedData may not be."""
    with pytest.raises(error):
        parse_signed_data(octets)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        pytest.param(Limits(signers=2), "signers", id="signers"),
        pytest.param(Limits(certificates=2), "certificates", id="certificates"),
    ],
)
def test_limits(alice: Issued, bob: Issued, pki: Pki, limits: Limits, reason: str) -> None:
    """As many as the limits say, and not one more; CRLs count as certificates do."""
    one = signer_info(alice, CONTENT)
    certificates = [alice.certificate_der, bob.certificate_der]
    signed = parse_signed_data(signed_data(one, one, content=CONTENT, certificates=certificates), limits)
    assert (len(signed.signers), len(signed.certificates)) == (2, 2)
    with pytest.raises(CmsError, match=reason):
        parse_signed_data(
            signed_data(one, one, one, content=CONTENT, certificates=[*certificates, pki.root.certificate_der]), limits
        )
    if reason == "certificates":
        with pytest.raises(CmsError, match=reason):
            parse_signed_data(signed_data(content=None, crls=[pki.issuing.crl()] * 3), limits)


def test_truncated_everywhere(alice: Issued) -> None:
    """No begin of a signed-data is one, in definite and indefinite length."""
    octets = signed_data(signer_info(alice, CONTENT), content=CONTENT, certificates=[alice.certificate_der])
    for whole in (octets, indefinite(octets, 5)):
        for end in range(len(whole)):
            with pytest.raises(CmsError):
                parse_signed_data(whole[:end])


def test_find_certificate(alice: Issued, bob: Issued, pki: Pki) -> None:
    """By issuer and serial number, octet by octet; not at hand is None, unreadable certificates are passed by."""
    (info,) = parse_signed_data(signed_data(signer_info(alice, CONTENT), content=CONTENT)).signers
    assert find_certificate(info, []) is None
    assert find_certificate(info, [bob.certificate_der, pki.issuing.certificate_der]) is None
    same_serial = issue("CN=Other", issuer=pki.root, serial=alice.serial)
    broken = alice.certificate_der[:200]
    shadow = der.sequence(alice.certificate.issuer.public_bytes(), der.integer(alice.serial))
    others = [same_serial.certificate_der, broken, shadow, b"", bytes(200_000) + alice.certificate_der]
    assert find_certificate(info, others) is None
    assert find_certificate(info, [*others, alice.certificate_der]) == alice.certificate_der


def test_find_certificate_among_renewed_ones(pki: Pki) -> None:
    """Two certificates with one key have one key identifier: the signing certificate attribute tells which."""
    old, new = (pki.identity("renewed@acme.example") for _ in range(2))
    both = [old.certificate_der, new.certificate_der]
    for meant in (old, new):
        entry = der.sequence(der.octet_string(Digest.SHA256.compute(meant.certificate_der)))
        named = attribute("1.2.840.113549.1.9.16.2.47", der.sequence(der.sequence(entry)))
        attributes = sorted([*usual_attributes(CONTENT), named])
        info = signer_info(meant, CONTENT, sid=key_identifier(meant), attributes=attributes)
        (signer,) = parse_signed_data(signed_data(info, content=CONTENT)).signers
        assert find_certificate(signer, both) == meant.certificate_der
    for others in (None, usual_attributes(CONTENT), sorted([*usual_attributes(CONTENT), _unknown_hash()])):
        info = signer_info(new, CONTENT, sid=key_identifier(new), attributes=others)
        (signer,) = parse_signed_data(signed_data(info, content=CONTENT)).signers
        assert find_certificate(signer, both) == old.certificate_der


def _unknown_hash() -> bytes:
    entry = der.sequence(der.sequence(der.oid("1.2.3")), der.octet_string(b"h"))
    return attribute("1.2.840.113549.1.9.16.2.47", der.sequence(der.sequence(entry)))


@functools.cache
def mutable() -> bytes:
    """A small signed-data."""
    signer = Pki.make(key_kind="ec-p256").identity("erin@acme.example", key_kind="ec-p256")
    return signed_data(signer_info(signer, CONTENT), content=CONTENT, certificates=[signer.certificate_der])


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_mutations(place: float, change: int) -> None:
    """One changed octet gives a value or a CmsError; a signature that is still valid is over what was signed."""
    octets = bytearray(mutable())
    octets[int(place * len(octets))] ^= change
    try:
        signed = parse_signed_data(bytes(octets))
        for info in signed.signers:
            certificate = find_certificate(info, signed.certificates)
            if certificate is not None and signed.content is not None:
                check = check_signature(info, certificate, signed.content)
                assert not (check.intact and check.valid) or signed.content == CONTENT
    except CmsError:
        return
