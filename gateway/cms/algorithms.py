"""The algorithms of CMS that this gateway knows: one table, each with identifier, label and verdict.

Everything else in this room asks here. An algorithm is *written* only if its verdict is ``ACCEPTABLE``; reading knows
some more, so that a report can tell the truth about old mail ("the signature is right, SHA-1 is not acceptable").

Standards: RFC 8551 2.1 to 2.3, 2.7 (what S/MIME asks for), 3.5.3.2 (``micalg``), 4.2 to 4.5 (key sizes); RFC 5754 2, 3
(SHA-2), RFC 3370 2.1, 2.2, 3.2, 4.2.1, 5.1 (SHA-1, MD5, RSA, 3DES), RFC 3565 4.1 (AES), RFC 5753 2.1, 7.1 (ECDSA).

Not here yet, and named in ``UnsupportedCms``: RSASSA-PSS, RSAES-OAEP, EdDSA, ECDH and X25519 key agreement, AES-GCM and
ChaCha20-Poly1305 (authEnveloped-data), ML-DSA, ML-KEM. Each is a row in a table of this module and a branch where the
scheme is used. DSA, RC2, MD2 and MD4 stay unknown for good.
"""

from __future__ import annotations

import hashlib
from enum import Enum, StrEnum

from gateway.cms import der


class Verdict(StrEnum):
    """What we think of an algorithm, in the words of the report; the worst of several counts."""

    ACCEPTABLE = "acceptable"
    LEGACY = "legacy"
    """Read for the sake of old mail, never written; not enough for a ``pass``."""
    REFUSED = "refused"
    """Gives no assurance at all."""

    @property
    def rank(self) -> int:
        """0 is best."""
        return _RANKS[self]


_RANKS = {Verdict.ACCEPTABLE: 0, Verdict.LEGACY: 1, Verdict.REFUSED: 2}


def worst(*verdicts: Verdict) -> Verdict:
    """Return the worst of the verdicts (``ACCEPTABLE`` if there are none)."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.ACCEPTABLE)


class Digest(Enum):
    """Message digest algorithms (RFC 5754 2; RFC 3370 2.1, 2.2 for the old ones)."""

    SHA256 = ("sha256", "2.16.840.1.101.3.4.2.1", "sha-256", 32, Verdict.ACCEPTABLE)
    SHA384 = ("sha384", "2.16.840.1.101.3.4.2.2", "sha-384", 48, Verdict.ACCEPTABLE)
    SHA512 = ("sha512", "2.16.840.1.101.3.4.2.3", "sha-512", 64, Verdict.ACCEPTABLE)
    SHA224 = ("sha224", "2.16.840.1.101.3.4.2.4", "sha-224", 28, Verdict.LEGACY)
    SHA1 = ("sha1", "1.3.14.3.2.26", "sha-1", 20, Verdict.LEGACY)
    MD5 = ("md5", "1.2.840.113549.2.5", "md5", 16, Verdict.REFUSED)

    label: str
    """Name in reports and on the command line; hashlib's name too."""
    oid: str
    """Object identifier, dotted."""
    micalg: str
    """The ``micalg`` parameter of multipart/signed (RFC 8551 3.5.3.2)."""
    size: int
    """Octets of a digest."""
    verdict: Verdict

    def __init__(self, label: str, oid: str, micalg: str, size: int, verdict: Verdict) -> None:
        self.label = label
        self.oid = oid
        self.micalg = micalg
        self.size = size
        self.verdict = verdict

    @property
    def identifier_der(self) -> bytes:
        """The AlgorithmIdentifier as we write it: parameters absent (RFC 5754 2)."""
        return der.sequence(der.oid(self.oid))

    def compute(self, *buffers: bytes) -> bytes:
        """Return the digest of the buffers, one after the other."""
        # Whether it is good enough is told by the verdict; a FIPS build must not refuse to look at old mail.
        hasher = hashlib.new(self.label, usedforsecurity=False)
        for buffer in buffers:
            hasher.update(buffer)
        return hasher.digest()

    @classmethod
    def from_oid(cls, oid: str) -> Digest | None:
        """Return the member with this identifier, or None if we do not know it."""
        return _DIGESTS.get(oid)


_DIGESTS = {digest.oid: digest for digest in Digest}


class SignatureScheme(Enum):
    """Signature schemes that we make and verify."""

    RSA_PKCS1V15 = ("rsa", "1.2.840.113549.1.1.1", Verdict.ACCEPTABLE)
    """RSASSA-PKCS1-v1_5; written as rsaEncryption, which every receiving agent knows (RFC 3370 3.2)."""
    ECDSA = ("ecdsa", "1.2.840.10045.2.1", Verdict.ACCEPTABLE)
    """ECDSA; written as ecdsa-with-SHA*, the digest is part of the identifier (RFC 5753 7.1.3)."""

    label: str
    oid: str
    """The identifier that names no digest (that of the public key)."""
    verdict: Verdict

    def __init__(self, label: str, oid: str, verdict: Verdict) -> None:
        self.label = label
        self.oid = oid
        self.verdict = verdict

    def identifier_der(self, digest: Digest) -> bytes:
        """Return the signatureAlgorithm of a SignerInfo as we write it."""
        if self is SignatureScheme.RSA_PKCS1V15:
            return der.sequence(der.oid(self.oid), der.NULL)
        return der.sequence(der.oid(_ECDSA_WITH[digest]))

    @classmethod
    def from_oid(cls, oid: str) -> tuple[SignatureScheme, Digest | None] | None:
        """Return the scheme of a signatureAlgorithm and the digest which it names, or None if we do not know it."""
        return _SCHEMES.get(oid)


_ECDSA_WITH = {
    Digest.SHA1: "1.2.840.10045.4.1",
    Digest.SHA224: "1.2.840.10045.4.3.1",
    Digest.SHA256: "1.2.840.10045.4.3.2",
    Digest.SHA384: "1.2.840.10045.4.3.3",
    Digest.SHA512: "1.2.840.10045.4.3.4",
}
_WITH_RSA = {
    Digest.MD5: "1.2.840.113549.1.1.4",
    Digest.SHA1: "1.2.840.113549.1.1.5",
    Digest.SHA224: "1.2.840.113549.1.1.14",
    Digest.SHA256: "1.2.840.113549.1.1.11",
    Digest.SHA384: "1.2.840.113549.1.1.12",
    Digest.SHA512: "1.2.840.113549.1.1.13",
}
_SCHEMES: dict[str, tuple[SignatureScheme, Digest | None]] = {
    **{scheme.oid: (scheme, None) for scheme in SignatureScheme},
    **{oid: (SignatureScheme.RSA_PKCS1V15, digest) for digest, oid in _WITH_RSA.items()},
    **{oid: (SignatureScheme.ECDSA, digest) for digest, oid in _ECDSA_WITH.items()},
}


class ContentCipher(Enum):
    """Content-encryption algorithms of enveloped-data (RFC 8551 2.7; RFC 3565 4.1; RFC 3370 5.1)."""

    AES_256_CBC = ("aes-256-cbc", "2.16.840.1.101.3.4.1.42", 32, 16, Verdict.ACCEPTABLE)
    AES_192_CBC = ("aes-192-cbc", "2.16.840.1.101.3.4.1.22", 24, 16, Verdict.ACCEPTABLE)
    AES_128_CBC = ("aes-128-cbc", "2.16.840.1.101.3.4.1.2", 16, 16, Verdict.ACCEPTABLE)
    DES_EDE3_CBC = ("des-ede3-cbc", "1.2.840.113549.3.7", 24, 8, Verdict.LEGACY)

    label: str
    oid: str
    key_size: int
    """Octets of a content-encryption key."""
    block_size: int
    """Octets of a block and of the initialisation vector."""
    verdict: Verdict

    def __init__(self, label: str, oid: str, key_size: int, block_size: int, verdict: Verdict) -> None:
        self.label = label
        self.oid = oid
        self.key_size = key_size
        self.block_size = block_size
        self.verdict = verdict

    @classmethod
    def from_oid(cls, oid: str) -> ContentCipher | None:
        """Return the member with this identifier, or None if we do not know it."""
        return _CIPHERS.get(oid)


_CIPHERS = {cipher.oid: cipher for cipher in ContentCipher}


class KeyTransport(Enum):
    """Key transport algorithms (RFC 5652 6.2.1)."""

    RSA_PKCS1V15 = ("rsa", "1.2.840.113549.1.1.1", Verdict.ACCEPTABLE)
    """RSAES-PKCS1-v1_5 (RFC 3370 4.2.1); reading it must not tell causes apart (RFC 3218 2.3)."""

    label: str
    oid: str
    verdict: Verdict

    def __init__(self, label: str, oid: str, verdict: Verdict) -> None:
        self.label = label
        self.oid = oid
        self.verdict = verdict

    @property
    def identifier_der(self) -> bytes:
        """The keyEncryptionAlgorithm as we write it: parameters NULL (RFC 3370 4.2.1)."""
        return der.sequence(der.oid(self.oid), der.NULL)

    @classmethod
    def from_oid(cls, oid: str) -> KeyTransport | None:
        """Return the member with this identifier, or None if we do not know it."""
        return _TRANSPORTS.get(oid)


_TRANSPORTS = {transport.oid: transport for transport in KeyTransport}

_NAMES = {
    "1.2.840.113549.1.1.7": "rsaes-oaep",
    "1.2.840.113549.1.1.10": "rsassa-pss",
    "1.2.840.113549.2.2": "md2",
    "1.2.840.113549.2.4": "md4",
    "1.2.840.113549.3.2": "rc2-cbc",
    "1.3.14.3.2.7": "des-cbc",
    "1.2.840.10040.4.1": "dsa",
    "1.2.840.10040.4.3": "dsa-with-sha1",
    "2.16.840.1.101.3.4.3.2": "dsa-with-sha256",
    "1.3.101.110": "x25519",
    "1.3.101.112": "ed25519",
    "1.3.101.113": "ed448",
    "1.3.132.1.11.0": "ecdh-sha224kdf",
    "1.3.132.1.11.1": "ecdh-sha256kdf",
    "1.3.132.1.11.2": "ecdh-sha384kdf",
    "1.3.132.1.11.3": "ecdh-sha512kdf",
    "1.3.133.16.840.63.0.2": "ecdh-sha1kdf",
    "2.16.840.1.101.3.4.1.6": "aes-128-gcm",
    "2.16.840.1.101.3.4.1.26": "aes-192-gcm",
    "2.16.840.1.101.3.4.1.46": "aes-256-gcm",
    "1.2.840.113549.1.9.16.3.18": "chacha20-poly1305",
    "2.16.840.1.101.3.4.2.8": "sha3-256",
    "2.16.840.1.101.3.4.2.9": "sha3-384",
    "2.16.840.1.101.3.4.2.10": "sha3-512",
    "2.16.840.1.101.3.4.2.11": "shake128",
    "2.16.840.1.101.3.4.2.12": "shake256",
    "2.16.840.1.101.3.4.3.17": "ml-dsa-44",
    "2.16.840.1.101.3.4.3.18": "ml-dsa-65",
    "2.16.840.1.101.3.4.3.19": "ml-dsa-87",
    "2.16.840.1.101.3.4.4.1": "ml-kem-512",
    "2.16.840.1.101.3.4.4.2": "ml-kem-768",
    "2.16.840.1.101.3.4.4.3": "ml-kem-1024",
    "1.2.840.113549.1.9.16.13.3": "kem",
}


def name_of(oid: str) -> str:
    """Return a readable name of an algorithm that we do not implement; the dotted identifier if we do not know it."""
    return _NAMES.get(oid, oid)


RSA_LEAST_BITS = 1024
"""Below this an RSA key gives no assurance (RFC 8551 4.3: historical use only)."""
RSA_GOOD_BITS = 2048
"""From here on an RSA key is acceptable (RFC 8551 4.2, 4.3)."""
RSA_MOST_BITS = 16384
"""Above this we do not compute: the cost of one operation is the sender's choice. OpenSSL has the same bound."""
RSA_MOST_EXPONENT = 2**64
"""Public exponents are small; a large one makes verifying as dear as signing. OpenSSL bounds it from 3072 bits on."""

_CURVES = {
    "secp256r1": Verdict.ACCEPTABLE,
    "secp384r1": Verdict.ACCEPTABLE,
    "secp521r1": Verdict.ACCEPTABLE,
    "brainpoolP256r1": Verdict.ACCEPTABLE,
    "brainpoolP384r1": Verdict.ACCEPTABLE,
    "brainpoolP512r1": Verdict.ACCEPTABLE,
}


def is_rsa_computable(bits: int, exponent: int) -> bool:
    """Tell whether an RSA public key may be used at all; the sender could choose the cost."""
    return bits <= RSA_MOST_BITS and exponent <= RSA_MOST_EXPONENT


def judge_rsa(bits: int, exponent: int) -> Verdict:
    """Return the verdict on an RSA public key."""
    if bits < RSA_LEAST_BITS or not is_rsa_computable(bits, exponent):
        return Verdict.REFUSED
    return Verdict.ACCEPTABLE if bits >= RSA_GOOD_BITS else Verdict.LEGACY


def judge_curve(name: str) -> Verdict:
    """Return the verdict on an elliptic curve, by the name that ``cryptography`` gives it."""
    return _CURVES.get(name, Verdict.LEGACY)
