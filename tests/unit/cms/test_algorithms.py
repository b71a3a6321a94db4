"""The table of algorithms: identifiers as independent tables have them, verdicts as the RFCs ask."""

from __future__ import annotations

import hashlib

import pytest
from asn1crypto import algos, cms

from gateway.cms import ContentCipher, Digest, KeyTransport, SignatureScheme, Verdict, worst
from gateway.cms.algorithms import judge_curve, judge_rsa, name_of


@pytest.mark.parametrize("digest", Digest)
def test_digest(digest: Digest) -> None:
    """Identifier, name and size are those of asn1crypto and hashlib; parameters are left out (RFC 5754 2)."""
    known = algos.DigestAlgorithm.load(digest.identifier_der)
    assert known["algorithm"].native == digest.label
    assert known["parameters"].dump() == b""
    assert digest.size == hashlib.new(digest.label).digest_size == len(digest.compute(b"a", b"b"))
    assert digest.compute(b"a", b"b") == hashlib.new(digest.label, b"ab").digest()
    assert Digest.from_oid(digest.oid) is digest


def test_digest_verdicts() -> None:
    """RFC 8551 2.1: SHA-256 and up are written; SHA-1 is for old mail, MD5 proves nothing."""
    assert {digest for digest in Digest if digest.verdict is Verdict.ACCEPTABLE} == {
        Digest.SHA256,
        Digest.SHA384,
        Digest.SHA512,
    }
    assert Digest.SHA1.verdict is Verdict.LEGACY
    assert Digest.MD5.verdict is Verdict.REFUSED


def test_micalg() -> None:
    """RFC 8551 3.5.3.2."""
    assert [digest.micalg for digest in Digest] == ["sha-256", "sha-384", "sha-512", "sha-224", "sha-1", "md5"]


@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
def test_signature_algorithm_written(digest: Digest) -> None:
    """rsaEncryption with NULL (RFC 3370 3.2); ecdsa-with-SHA* without parameters (RFC 5758 3.2)."""
    rsa = algos.SignedDigestAlgorithm.load(SignatureScheme.RSA_PKCS1V15.identifier_der(digest))
    assert rsa["algorithm"].native == "rsassa_pkcs1v15"
    assert rsa["parameters"].dump() == b"\x05\x00"
    ecdsa = algos.SignedDigestAlgorithm.load(SignatureScheme.ECDSA.identifier_der(digest))
    assert ecdsa["algorithm"].native == f"{digest.label}_ecdsa"
    assert ecdsa["parameters"].dump() == b""


@pytest.mark.parametrize(
    ("name", "scheme", "digest"),
    [
        ("rsassa_pkcs1v15", SignatureScheme.RSA_PKCS1V15, None),
        ("md5_rsa", SignatureScheme.RSA_PKCS1V15, Digest.MD5),
        ("sha1_rsa", SignatureScheme.RSA_PKCS1V15, Digest.SHA1),
        ("sha224_rsa", SignatureScheme.RSA_PKCS1V15, Digest.SHA224),
        ("sha256_rsa", SignatureScheme.RSA_PKCS1V15, Digest.SHA256),
        ("sha384_rsa", SignatureScheme.RSA_PKCS1V15, Digest.SHA384),
        ("sha512_rsa", SignatureScheme.RSA_PKCS1V15, Digest.SHA512),
        ("sha1_ecdsa", SignatureScheme.ECDSA, Digest.SHA1),
        ("sha224_ecdsa", SignatureScheme.ECDSA, Digest.SHA224),
        ("sha256_ecdsa", SignatureScheme.ECDSA, Digest.SHA256),
        ("sha384_ecdsa", SignatureScheme.ECDSA, Digest.SHA384),
        ("sha512_ecdsa", SignatureScheme.ECDSA, Digest.SHA512),
    ],
)
def test_signature_algorithm_read(name: str, scheme: SignatureScheme, digest: Digest | None) -> None:
    """All identifiers that name the two schemes are read."""
    assert SignatureScheme.from_oid(algos.SignedDigestAlgorithmId(name).dotted) == (scheme, digest)


def test_signature_algorithm_by_key() -> None:
    """id-ecPublicKey as signature algorithm, which some sending agents write, is ECDSA."""
    assert SignatureScheme.from_oid("1.2.840.10045.2.1") == (SignatureScheme.ECDSA, None)


@pytest.mark.parametrize("cipher", ContentCipher)
def test_content_cipher(cipher: ContentCipher) -> None:
    """Identifier, key and block size are those of asn1crypto."""
    algorithm = algos.EncryptionAlgorithm({"algorithm": cms.EncryptionAlgorithmId(cipher.oid), "parameters": bytes(16)})
    assert algorithm.encryption_mode == "cbc"
    assert algorithm.key_length == cipher.key_size
    assert algorithm.encryption_block_size == cipher.block_size
    assert ContentCipher.from_oid(cipher.oid) is cipher


def test_content_cipher_verdicts() -> None:
    """RFC 8551 2.7: 3DES is for old mail."""
    assert [cipher for cipher in ContentCipher if cipher.verdict is not Verdict.ACCEPTABLE] == [
        ContentCipher.DES_EDE3_CBC
    ]


def test_key_transport() -> None:
    """RFC 3370 4.2.1: rsaEncryption with NULL."""
    transport = KeyTransport.RSA_PKCS1V15
    assert cms.KeyEncryptionAlgorithm.load(transport.identifier_der)["algorithm"].native == "rsaes_pkcs1v15"
    assert transport.identifier_der.endswith(b"\x05\x00")
    assert KeyTransport.from_oid(transport.oid) is transport


@pytest.mark.parametrize("table", [Digest, SignatureScheme, ContentCipher, KeyTransport])
def test_unknown_identifier(table: type[Digest | SignatureScheme | ContentCipher | KeyTransport]) -> None:
    """An identifier that is not in a table is not guessed at."""
    assert table.from_oid("1.2.3.4") is None
    assert table.from_oid("1.2.840.113549.1.1.10") is None


@pytest.mark.parametrize(
    ("oid", "name"),
    [("1.2.840.113549.1.1.10", "rsassa-pss"), ("2.16.840.1.101.3.4.3.18", "ml-dsa-65"), ("1.2.3.4", "1.2.3.4")],
)
def test_name_of(oid: str, name: str) -> None:
    """What we do not implement is named where it has a name."""
    assert name_of(oid) == name


@pytest.mark.parametrize(
    ("bits", "exponent", "verdict"),
    [
        pytest.param(512, 65537, Verdict.REFUSED, id="tiny"),
        pytest.param(1023, 65537, Verdict.REFUSED, id="below 1024"),
        pytest.param(1024, 65537, Verdict.LEGACY, id="1024"),
        pytest.param(2047, 65537, Verdict.LEGACY, id="below 2048"),
        pytest.param(2048, 3, Verdict.ACCEPTABLE, id="2048"),
        pytest.param(16384, 65537, Verdict.ACCEPTABLE, id="largest"),
        pytest.param(16385, 65537, Verdict.REFUSED, id="absurd size"),
        pytest.param(2048, 2**64 + 1, Verdict.REFUSED, id="absurd exponent"),
    ],
)
def test_judge_rsa(bits: int, exponent: int, verdict: Verdict) -> None:
    """RFC 8551 4.3, with an upper bound to what we compute."""
    assert judge_rsa(bits, exponent) is verdict


def test_judge_curve() -> None:
    """The curves of RFC 8551 2.2 and Brainpool's are acceptable, whatever else can be loaded is not."""
    assert judge_curve("secp384r1") is Verdict.ACCEPTABLE
    assert judge_curve("brainpoolP256r1") is Verdict.ACCEPTABLE
    assert judge_curve("secp192r1") is Verdict.LEGACY
    assert judge_curve("secp256k1") is Verdict.LEGACY


def test_worst() -> None:
    """The worst of several verdicts counts; of none there is nothing to say."""
    assert worst() is Verdict.ACCEPTABLE
    assert worst(Verdict.ACCEPTABLE, Verdict.LEGACY) is Verdict.LEGACY
    assert worst(Verdict.REFUSED, Verdict.LEGACY, Verdict.ACCEPTABLE) is Verdict.REFUSED
