"""The least CPU time that the cryptography of one message can cost on this machine, measured here and now.

The operations are those of the ``cryptography`` package, which the gateway uses as well, on as many octets as the
measured message has. What a treatment is compared with:

========  ==============================================================================================
treatment floor
========  ==============================================================================================
pass      that of ``sign``, for comparison only: nothing is computed for such a message
sign      SHA-256 of the message + one RSA-2048 private-key operation
encrypt   AES-256-CBC of the message + one RSA-2048 public-key operation (PKCS#1 v1.5 key transport)
verify    SHA-256 of the message + one RSA-2048 public-key operation (the signature; the certification path is
          that of earlier messages)
========  ==============================================================================================

Not in any floor, though no gateway goes without: SMTP, MIME, base64, DER, copying.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class Treatment(StrEnum):
    """What the gateway does with the message of a measurement."""

    PASS = "pass"
    SIGN = "sign"
    ENCRYPT = "encrypt"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Seconds of CPU time of one operation."""

    sha256: float
    aes256_cbc: float
    rsa2048_private: float
    rsa2048_public: float
    """Verification of a signature; wrapping a key costs the same exponentiation."""
    octets: int
    """Hashed and encrypted."""

    def of(self, treatment: Treatment) -> float:
        """Return the floor of one message under ``treatment``, in seconds."""
        match treatment:
            case Treatment.PASS | Treatment.SIGN:
                return self.sha256 + self.rsa2048_private
            case Treatment.ENCRYPT:
                return self.aes256_cbc + self.rsa2048_public
            case Treatment.VERIFY:
                return self.sha256 + self.rsa2048_public


def measure_floor(octets: int, *, repeats: int = 7, seconds: float = 0.05) -> Floor:
    """Measure each operation ``repeats`` times for about ``seconds`` and keep the medians."""
    content = bytes(range(256)) * (octets // 256 + 1)
    content = content[:octets]
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key()
    digest = _sha256(content)
    known = Prehashed(hashes.SHA256())
    signature = key.sign(digest, PKCS1v15(), known)

    def median(operation: Callable[[], object]) -> float:
        return statistics.median(_time(operation, seconds) for _ in range(repeats))

    return Floor(
        sha256=median(lambda: _sha256(content)),
        aes256_cbc=median(lambda: _aes256_cbc(content)),
        rsa2048_private=median(lambda: key.sign(digest, PKCS1v15(), known)),
        rsa2048_public=median(lambda: public.verify(signature, digest, PKCS1v15(), known)),
        octets=octets,
    )


def _time(operation: Callable[[], object], seconds: float) -> float:
    """Return the CPU seconds of one ``operation``, over as many as fit in ``seconds``."""
    operation()
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        for _ in range(5):
            operation()
        count += 5
    return spent / count


def _sha256(content: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    return digest.finalize()


def _aes256_cbc(content: bytes) -> bytes:
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(bytes(32)), modes.CBC(bytes(16))).encryptor()
    return encryptor.update(padder.update(content)) + encryptor.update(padder.finalize()) + encryptor.finalize()
