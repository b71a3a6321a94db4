"""The signed-data that we write: an independent reader finds in it what RFC 5652 and RFC 8551 ask."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from asn1crypto import cms, tsp
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import (
    Digest,
    SignatureScheme,
    build_signed_data,
    check_signature,
    find_certificate,
    parse_signed_data,
    prepare_signer,
)
from gateway.cms.ber import is_der
from gateway.errors import CertificateError, KeyMaterialError
from tests.support.pki import MOMENT, Issued, KeyKind, Pki
from tests.unit.cms.forge import HASHES, Key

CONTENT = b"Content-Type: text/plain\r\n\r\nHello.\r\n"


def build(
    signer: Issued,
    content: bytes | list[bytes] = CONTENT,
    *,
    digest: Digest = Digest.SHA256,
    moment: datetime = MOMENT,
    detached: bool = False,
) -> bytes:
    key = Key(signer.key)
    prepared = prepare_signer(signer.certificate_der, signer.chain_der, scheme=key.scheme, digest=digest)
    return build_signed_data(prepared, key, content, moment=moment, detached=detached)


@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
@pytest.mark.parametrize("kind", ["rsa-2048", "rsa-3072", "ec-p256", "ec-p384", "ec-p521"])
def test_signature_verifies_by_the_book(pki: Pki, kind: KeyKind, digest: Digest) -> None:
    """Digest and signature value are right by RFC 5652 5.4, 5.6 as another reader takes the message apart."""
    signer = pki.identity("signer@acme.example", key_kind=kind)
    signed = cms.ContentInfo.load(build(signer, digest=digest), strict=True)["content"]
    (info,) = signed["signer_infos"]
    attributes = {attribute["type"].native: attribute["values"] for attribute in info["signed_attrs"]}
    assert attributes["message_digest"].native == [hashlib.new(digest.label, CONTENT).digest()]
    public_key = signer.certificate.public_key()
    octets = b"\x31" + info["signed_attrs"].dump()[1:]
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(info["signature"].native, octets, padding.PKCS1v15(), HASHES[digest])
    else:
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        public_key.verify(info["signature"].native, octets, ec.ECDSA(HASHES[digest]))


def test_structure(alice: Issued, pki: Pki) -> None:
    """Versions, identifiers, certificates and the five signed attributes, by asn1crypto."""
    signed = cms.ContentInfo.load(build(alice), strict=True)["content"]
    assert signed["version"].native == "v1"
    assert [one["algorithm"].native for one in signed["digest_algorithms"]] == ["sha256"]
    assert signed["encap_content_info"]["content_type"].native == "data"
    assert signed["encap_content_info"]["content"].native == CONTENT
    assert {one.dump() for one in signed["certificates"]} == {alice.certificate_der, pki.issuing.certificate_der}
    (info,) = signed["signer_infos"]
    assert info["version"].native == "v1"
    assert info["sid"].chosen["serial_number"].native == alice.serial
    assert info["sid"].chosen["issuer"].dump() == alice.certificate.issuer.public_bytes()
    attributes = {attribute["type"].native: attribute["values"] for attribute in info["signed_attrs"]}
    assert set(attributes) == {
        "content_type",
        "signing_time",
        "message_digest",
        "signing_certificate_v2",
        "smime_capabilities",
    }
    assert attributes["content_type"].native == ["data"]
    assert attributes["signing_time"].native == [MOMENT]
    (certificates,) = attributes["signing_certificate_v2"]
    (certificate,) = tsp.SigningCertificateV2.load(certificates.dump(), strict=True)["certs"]
    assert certificate["hash_algorithm"]["algorithm"].native == "sha256"
    assert certificate["cert_hash"].native == hashlib.sha256(alice.certificate_der).digest()
    (capabilities,) = attributes["smime_capabilities"]
    assert [one["capability_id"].native for one in capabilities] == ["aes256_cbc", "aes192_cbc", "aes128_cbc"]
    assert {one["parameters"].dump() for one in capabilities} == {b""}


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 255, 256, 65535, 65536, 100_000])
def test_is_der_at_every_length(alice: Issued, size: int, detached: bool) -> None:
    """Headers around the content are right where the number of length octets changes."""
    octets = build(alice, b"x" * size, detached=detached)
    assert is_der(octets)
    assert parse_signed_data(octets).content == (None if detached else b"x" * size)


@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans())
def test_round_trip(buffers: list[bytes], detached: bool) -> None:
    """What we sign verifies; several buffers are signed as the one that they make."""
    signer = Pki.make().identity("alice@acme.example")
    octets = build(signer, buffers, detached=detached)
    signed = parse_signed_data(octets)
    content = b"".join(buffers)
    assert signed.content == (None if detached else content)
    (info,) = signed.signers
    certificate = find_certificate(info, signed.certificates)
    assert certificate == signer.certificate_der
    check = check_signature(info, certificate, content)
    assert (check.intact, check.valid, check.reason) == (True, True, "")
    assert not check_signature(info, certificate, content + b"x").intact


def test_buffers_make_no_difference(alice: Issued) -> None:
    """RSA signatures repeat: the same octets, however the content is cut."""
    assert build(alice, [CONTENT[:7], b"", CONTENT[7:]]) == build(alice, CONTENT)


def test_certificates_are_sent_once(alice: Issued, pki: Pki) -> None:
    """A chain that repeats the signer's certificate, or itself, adds nothing."""
    key = Key(alice.key)
    chain = [pki.issuing.certificate_der, alice.certificate_der, pki.issuing.certificate_der]
    prepared = prepare_signer(alice.certificate_der, chain, scheme=key.scheme, digest=Digest.SHA256)
    signed = parse_signed_data(build_signed_data(prepared, key, CONTENT, moment=MOMENT, detached=True))
    assert sorted(signed.certificates) == sorted([alice.certificate_der, pki.issuing.certificate_der])


def test_moment_after_2049(alice: Issued) -> None:
    """RFC 5652 11.3: then as GeneralizedTime."""
    moment = datetime(2050, 1, 1, tzinfo=UTC)
    assert parse_signed_data(build(alice, moment=moment)).signers[0].signing_time == moment


@pytest.mark.parametrize("digest", [Digest.SHA1, Digest.SHA224, Digest.MD5])
def test_weak_digests_are_not_written(alice: Issued, digest: Digest) -> None:
    """Only acceptable algorithms are written."""
    with pytest.raises(ValueError, match="not written"):
        prepare_signer(alice.certificate_der, [], scheme=SignatureScheme.RSA_PKCS1V15, digest=digest)


def test_key_of_another_scheme(alice: Issued, erin: Issued) -> None:
    """A key that does not fit what was prepared is the caller's mistake, and nothing is signed."""
    prepared = prepare_signer(alice.certificate_der, [], scheme=SignatureScheme.RSA_PKCS1V15, digest=Digest.SHA256)
    with pytest.raises(ValueError, match="prepared for rsa"):
        build_signed_data(prepared, Key(erin.key), CONTENT, moment=MOMENT, detached=True)


@pytest.mark.parametrize("certificate", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----"])
def test_unreadable_certificate(certificate: bytes) -> None:
    """The admin's certificate, so a CertificateError."""
    with pytest.raises(CertificateError):
        prepare_signer(certificate, [], scheme=SignatureScheme.RSA_PKCS1V15, digest=Digest.SHA256)


def test_errors_of_the_key_pass(alice: Issued) -> None:
    """What a key raises of its own is not made into something else."""

    class Broken(Key):
        def sign(self, octets: bytes, digest: Digest) -> bytes:
            raise KeyMaterialError("token removed")

    prepared = prepare_signer(alice.certificate_der, [], scheme=SignatureScheme.RSA_PKCS1V15, digest=Digest.SHA256)
    with pytest.raises(KeyMaterialError):
        build_signed_data(prepared, Broken(alice.key), CONTENT, moment=MOMENT, detached=True)
