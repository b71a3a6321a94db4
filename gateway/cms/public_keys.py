"""Loads the public key of a certificate and judges it, before anything is computed with it.

RSA (RFC 8551 4.2 to 4.4, RFC 3279 2.3.1) and elliptic curves by name (RFC 5480 2.1.1). A key bound to another scheme
(id-RSASSA-PSS, id-RSAES-OAEP, EdDSA, …) is named in ``UnsupportedCms``. What cannot be read raises ``CmsError``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gateway.cms.algorithms import SignatureScheme, Verdict, is_rsa_computable, judge_curve, judge_rsa, name_of
from gateway.cms.ber import Reader
from gateway.cms.der import SEQUENCE
from gateway.errors import CmsError, UnsupportedCms

MOST_OCTETS = 8 * 1024
"""Largest SubjectPublicKeyInfo that is loaded, in octets: RSA of 16384 bits has 2 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedKey:
    """A public key and what we think of it."""

    key: RSAPublicKey | EllipticCurvePublicKey = field(repr=False)
    label: str
    """``rsa-2048``, ``ec-secp256r1``."""
    scheme: SignatureScheme
    """What it verifies."""
    verdict: Verdict
    usable: bool
    """False: nothing is computed with it, since the sender could choose the cost."""


@lru_cache(maxsize=128)
def load_public_key(public_key_der: bytes) -> JudgedKey:
    """Return the key of a SubjectPublicKeyInfo."""
    if len(public_key_der) > MOST_OCTETS:
        raise CmsError("public key too large")
    reader = Reader(public_key_der)
    reader.enter(SEQUENCE)
    oid = reader.algorithm().oid
    if oid not in {scheme.oid for scheme in SignatureScheme}:
        raise UnsupportedCms(f"public key algorithm {name_of(oid)}")
    try:
        key = load_der_public_key(public_key_der)
    except UnsupportedAlgorithm:
        raise UnsupportedCms("public key on an unknown curve") from None
    except ValueError:
        raise CmsError("public key cannot be read") from None
    if isinstance(key, RSAPublicKey):
        bits, exponent = key.key_size, key.public_numbers().e
        return JudgedKey(
            key=key,
            label=f"rsa-{bits}",
            scheme=SignatureScheme.RSA_PKCS1V15,
            verdict=judge_rsa(bits, exponent),
            usable=is_rsa_computable(bits, exponent),
        )
    assert isinstance(key, EllipticCurvePublicKey)  # the identifier says so
    return JudgedKey(
        key=key,
        label=f"ec-{key.curve.name}",
        scheme=SignatureScheme.ECDSA,
        verdict=judge_curve(key.curve.name),
        usable=True,
    )
