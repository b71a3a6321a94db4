"""Algorithms in certificates: an allow-list for what stands in a path, and honest words for keys of every kind."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from asn1crypto import algos
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ed448, ed25519, padding, rsa, x448, x25519

from gateway.errors import CertificateError
from gateway.pkix import Certificate, KeyKind, PathState, PathValidator, Purpose, load_certificate, load_crls
from gateway.pkix.rfc5280 import AlgorithmPolicy, drive
from tests.support.pki import MOMENT, NOT_AFTER, NOT_BEFORE, Pki, issue, private_key

PKI = Pki.make()
DSA = dsa.generate_private_key(2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
DIGEST = hashes.SHA256()


def builder(public_key: Any, *, is_ca: bool = False) -> x509.CertificateBuilder:
    """Return a certificate for any kind of key, still to be signed by the root's name."""
    name = x509.Name.from_rfc4514_string("CN=Any Key")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if is_ca else PKI.root.certificate.subject)
        .public_key(public_key)
        .serial_number(77)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )


def finish(certificate: x509.Certificate) -> Certificate:
    """Return it as the code under test sees it."""
    return load_certificate(certificate.public_bytes(serialization.Encoding.DER))


def judge(leaf: Certificate, anchor: Certificate) -> tuple[PathState, str]:
    """Judge a path of two."""
    report = PathValidator([anchor]).validate(leaf, [], moment=MOMENT, purpose=Purpose.SIGN)
    return report.state, report.reason


@pytest.mark.parametrize(
    ("key", "name", "may_sign", "may_encrypt"),
    [
        (ED25519, "ed25519", True, False),
        (ed448.Ed448PrivateKey.generate(), "ed448", True, False),
        (x25519.X25519PrivateKey.generate(), "x25519", False, True),
        (x448.X448PrivateKey.generate(), "x448", False, True),
        (DSA, "dsa", True, False),
    ],
    ids=["ed25519", "ed448", "x25519", "x448", "dsa"],
)
def test_other_kinds_of_key_are_named(key: Any, name: str, may_sign: bool, may_encrypt: bool) -> None:
    """What a key cannot do it may not do, though no extension says so."""
    certificate = finish(builder(key.public_key()).sign(PKI.root.key, DIGEST))
    assert (certificate.key_kind, certificate.key_algorithm) == (KeyKind.OTHER, name)
    assert (certificate.may_sign, certificate.may_encrypt) == (may_sign, may_encrypt)


def test_an_unknown_kind_of_key_is_named_by_its_number() -> None:
    """The certificate is read; its key stays opaque."""
    der = builder(ED25519.public_key()).sign(PKI.root.key, DIGEST).public_bytes(serialization.Encoding.DER)
    certificate = load_certificate(der.replace(bytes.fromhex("06032b6570"), bytes.fromhex("06032b657f")))
    assert certificate.key_algorithm == "1.3.101.127"
    assert judge(certificate, load_certificate(PKI.root.certificate_der))[0] is PathState.INVALID


def test_rsassa_pss_in_a_certificate() -> None:
    """RFC 4056: accepted with the digests of the list."""
    scheme = padding.PSS(padding.MGF1(DIGEST), 32)
    signing_key = cast(rsa.RSAPrivateKey, PKI.root.key)
    certificate = builder(private_key().public_key()).sign(signing_key, DIGEST, rsa_padding=scheme)
    assert judge(finish(certificate), load_certificate(PKI.root.certificate_der)) == (PathState.VALID, "")


@pytest.mark.parametrize(
    ("content", "mask", "allowed"),
    [("sha256", "sha256", True), ("sha256", "sha1", False), ("sha1", "sha256", False), ("sha512", "sha384", True)],
)
def test_both_digests_of_rsassa_pss_count(content: str, mask: str, allowed: bool) -> None:
    """The one of the content and the one of the mask."""
    parameters = {
        "hash_algorithm": {"algorithm": content},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": mask}},
    }
    identifier = algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": parameters})
    assert bool(AlgorithmPolicy().signature_algorithm_allowed(identifier, None, None)) is allowed


def test_a_dsa_key_of_an_end_entity_is_not_accepted() -> None:
    """Under a good issuer too."""
    leaf = finish(builder(DSA.public_key()).sign(PKI.root.key, DIGEST))
    state, reason = judge(leaf, load_certificate(PKI.root.certificate_der))
    assert state is PathState.POLICY
    assert "DSA" in reason


@pytest.mark.parametrize(
    ("key", "digest", "state", "reason"),
    [(ED25519, None, PathState.VALID, ""), (DSA, DIGEST, PathState.POLICY, "dsa is not accepted")],
    ids=["ed25519", "dsa"],
)
def test_issuers_with_other_keys(key: Any, digest: Any, state: PathState, reason: str) -> None:
    """Ed25519 signs certificates (RFC 8410); DSA does not any more."""
    root = finish(builder(key.public_key(), is_ca=True).sign(key, digest))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string("CN=Leaf"))
        .issuer_name(x509.Name.from_rfc4514_string("CN=Any Key"))
        .public_key(private_key().public_key())
        .serial_number(78)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .sign(key, digest)
    )
    found, text = judge(finish(certificate), root)
    assert found is state
    assert reason in text


def test_an_issuer_whose_key_cannot_have_made_the_signature() -> None:
    """An RSA signature under an anchor with an EC key of the same name is wrong, not an error."""
    other = issue("CN=Acme Root CA,O=Acme", key_kind="ec-p256", ca=True, key_identifiers=False)
    leaf = issue("CN=x", issuer=PKI.root, emails=["x@y.example"], key_identifiers=False)
    state, _ = judge(load_certificate(leaf.certificate_der), load_certificate(other.certificate_der))
    assert state is PathState.INVALID


def test_the_two_algorithm_fields_have_to_agree() -> None:
    """RFC 5280 4.1.1.2: the signed one and the unsigned one."""
    der = PKI.identity("a@b.example", issuer=PKI.root).certificate_der
    sha256, sha384 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d01010c")
    place = der.rindex(sha256)
    changed = load_certificate(der[:place] + sha384 + der[place + len(sha384) :])
    state, reason = judge(changed, load_certificate(PKI.root.certificate_der))
    assert state is PathState.INVALID
    assert "4.1.1.2" in reason


def test_crls_by_algorithms_that_are_not_accepted_say_nothing() -> None:
    """As if they were not there."""
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(PKI.issuing.certificate.subject)
        .last_update(MOMENT)
        .next_update(NOT_AFTER)
        .sign(PKI.issuing.key, hashes.SHA224())
    )
    with pytest.raises(CertificateError):
        load_crls(crl.public_bytes(serialization.Encoding.DER))


@pytest.mark.parametrize(("name", "allowed"), [("sha256", True), ("sha512", True), ("sha1", False), ("md5", False)])
def test_digests(name: str, allowed: bool) -> None:
    """The allow-list, as the library asks for it."""
    identifier = algos.DigestAlgorithm({"algorithm": name})
    assert bool(AlgorithmPolicy().digest_algorithm_allowed(identifier, None)) is allowed


def test_an_unknown_signature_algorithm_is_not_accepted() -> None:
    """Named by its number."""
    identifier = algos.SignedDigestAlgorithm({"algorithm": "1.2.3.4"})
    verdict = AlgorithmPolicy().signature_algorithm_allowed(identifier, None, None)
    assert not verdict
    assert verdict.failure_reason is not None
    assert "1.2.3.4" in verdict.failure_reason


def test_a_coroutine_that_waits_is_our_bug() -> None:
    """Path validation never suspends; if it did, nobody would ever wake it."""

    async def wait() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="wait"):
        drive(wait())
