"""Public keys are judged before anything is computed with them."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import SignatureScheme, Verdict, der
from gateway.cms.public_keys import load_public_key
from gateway.errors import CmsError, UnsupportedCms
from tests.support.pki import KeyKind, private_key

RSA = "1.2.840.113549.1.1.1"


def spki(oid: str, key: bytes, parameters: bytes = der.NULL) -> bytes:
    return der.sequence(der.sequence(der.oid(oid), parameters), der.tlv(0x03, b"\x00", key))


def rsa_spki(bits: int, exponent: int = 65537) -> bytes:
    """A public key of this size; nobody has the private one."""
    modulus = (1 << (bits - 1)) | 1
    return spki(RSA, der.sequence(der.integer(modulus), der.integer(exponent)))


def encoded(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("kind", "label", "scheme", "verdict"),
    [
        ("rsa-1024", "rsa-1024", SignatureScheme.RSA_PKCS1V15, Verdict.LEGACY),
        ("rsa-2048", "rsa-2048", SignatureScheme.RSA_PKCS1V15, Verdict.ACCEPTABLE),
        ("ec-p256", "ec-secp256r1", SignatureScheme.ECDSA, Verdict.ACCEPTABLE),
        ("ec-p521", "ec-secp521r1", SignatureScheme.ECDSA, Verdict.ACCEPTABLE),
    ],
)
def test_loads(kind: KeyKind, label: str, scheme: SignatureScheme, verdict: Verdict) -> None:
    """Label, scheme and verdict of usual keys."""
    key = private_key(kind).public_key()
    judged = load_public_key(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert (judged.label, judged.scheme, judged.verdict, judged.usable) == (label, scheme, verdict, True)


def test_unusual_curve() -> None:
    """A curve that S/MIME does not name is read and told."""
    judged = load_public_key(encoded(ec.generate_private_key(ec.SECP256K1()).public_key()))
    assert (judged.label, judged.verdict) == ("ec-secp256k1", Verdict.LEGACY)


@pytest.mark.parametrize(
    ("octets", "usable"),
    [
        pytest.param(rsa_spki(768), True, id="short"),
        pytest.param(rsa_spki(16384 + 8), False, id="long"),
        pytest.param(rsa_spki(2048, 2**65 + 1), False, id="large exponent"),
    ],
)
def test_absurd_rsa_keys(octets: bytes, usable: bool) -> None:
    """RFC 8551 4.3: a short key is computed with and gives no assurance; what costs too much is not computed."""
    judged = load_public_key(octets)
    assert judged.verdict is Verdict.REFUSED
    assert judged.usable is usable


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        pytest.param(spki("1.2.840.113549.1.1.10", b""), "rsassa-pss", id="RSA bound to PSS"),
        pytest.param(spki("2.16.840.1.101.3.4.3.18", bytes(1952), b""), "ml-dsa-65", id="ML-DSA"),
        pytest.param(encoded(ed25519.Ed25519PrivateKey.generate().public_key()), "ed25519", id="Ed25519"),
        pytest.param(spki("1.2.3.4", b""), r"1\.2\.3\.4", id="unknown"),
        pytest.param(spki("1.2.840.10045.2.1", b"\x04" + bytes(64), der.oid("1.2.3")), "curve", id="unknown curve"),
    ],
)
def test_unsupported(octets: bytes, name: str) -> None:
    """What we do not implement is named."""
    with pytest.raises(UnsupportedCms, match=name):
        load_public_key(octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(spki(RSA, b""), id="no key"),
        pytest.param(rsa_spki(2048, 1), id="exponent 1"),
        pytest.param(rsa_spki(2048, 65536), id="even exponent"),
        pytest.param(spki("1.2.840.10045.2.1", b"\x04" + bytes(64), der.oid("1.2.840.10045.3.1.7")), id="not on curve"),
        pytest.param(rsa_spki(100_000), id="larger than is looked at"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_malformed(octets: bytes) -> None:
    """What is no key is a CmsError."""
    with pytest.raises(CmsError):
        load_public_key(octets)


@given(st.binary(max_size=100))
def test_any_octets(octets: bytes) -> None:
    """Any octets give a key or a CmsError, behind a known identifier too."""
    for attempt in (octets, spki(RSA, octets), spki("1.2.840.10045.2.1", octets, der.oid("1.2.840.10045.3.1.7"))):
        try:
            load_public_key(attempt)
        except CmsError:
            continue
