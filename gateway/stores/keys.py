"""Private keys in files, and how they are used: the only place where this program holds one.

What it does: reads a private key from PEM or DER (told by content; PKCS#8, also encrypted, PKCS#1, SEC 1) and wraps it
in :class:`SoftwareKey`, which signs and unwraps for :mod:`gateway.cms` and shows itself to nobody: not in its
representation, not in an exception, not in a log. Standards: RFC 5958 (PKCS#8), RFC 8018 (encrypted keys), RFC 8017 8.2
and 7.2 (RSASSA and RSAES PKCS1-v1_5), RFC 5753 7.2 (ECDSA values), RFC 3218 (why all failures to unwrap are the same).

Refuses with :class:`KeyMaterialError`: what cannot be read, a wrong or missing passphrase, RSA below 2048 bits, and
keys that are still to come (Ed25519, Ed448, X25519, X448; DSA never). Texts say what to do, and never a passphrase.

Known gaps: keys in hardware come as another implementation of the same Protocols; EC keys sign, and do not yet agree on
keys.
"""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from gateway.cms import Digest, KeyTransport, SignatureScheme
from gateway.errors import CertificateError, DecryptionFailed, KeyMaterialError
from gateway.pkix import is_pem, read_pem

MINIMUM_RSA_BITS = 2048
"""RFC 8551 4.2: smaller keys are not made any more, and nobody has to accept their signatures."""
_HASHES: dict[Digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_PKCS1 = padding.PKCS1v15()
_SUPPORTED = "RSA keys of 2048 bits or more and EC keys on P-256, P-384 or P-521 can be used"


class SoftwareKey:
    """A private key in this process's memory: a ``cms.SigningKey`` and, for RSA, a ``cms.UnwrapKey``. Thread-safe."""

    __slots__ = ("_key", "_scheme", "algorithm", "public_key_der")

    algorithm: str
    """``rsa-2048``, ``ec-secp256r1``."""
    public_key_der: bytes
    """SubjectPublicKeyInfo: what a certificate has to carry to fit."""

    def __init__(self, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        """Take the key. Raise :class:`KeyMaterialError` for one that is too small or on another curve."""
        if isinstance(key, rsa.RSAPrivateKey):
            self.algorithm, self._scheme = f"rsa-{key.key_size}", SignatureScheme.RSA_PKCS1V15
            is_supported = key.key_size >= MINIMUM_RSA_BITS
        else:
            self.algorithm, self._scheme = f"ec-{key.curve.name}", SignatureScheme.ECDSA
            is_supported = key.curve.name in _CURVES
        if not is_supported:
            raise KeyMaterialError(f"a private key of the kind {self.algorithm}; {_SUPPORTED}")
        self._key = key
        self.public_key_der = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def scheme(self) -> SignatureScheme:
        """The scheme in which it signs."""
        return self._scheme

    def sign(self, octets: bytes, digest: Digest) -> bytes:
        """Return the signature value over ``octets``, hashed with ``digest``, as CMS carries it.

        Raise :class:`KeyMaterialError` for a digest that is not written.
        """
        algorithm = _HASHES.get(digest)
        if algorithm is None:
            raise KeyMaterialError(f"no signature is made with {digest.label}")
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(octets, _PKCS1, algorithm)
        return self._key.sign(octets, ec.ECDSA(algorithm))

    def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes:
        """Return the content-encryption key; every failure is :class:`DecryptionFailed` and tells nothing more."""
        if not isinstance(self._key, rsa.RSAPrivateKey) or transport is not KeyTransport.RSA_PKCS1V15:
            raise DecryptionFailed
        try:
            return self._key.decrypt(encrypted_key, _PKCS1)
        except ValueError:
            raise DecryptionFailed from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.algorithm}>"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not copied out of its process")


def load_private_key(octets: bytes, passphrase: bytes | None = None) -> SoftwareKey:
    """Read one private key, PEM or DER; of a PEM file with several blocks, the first that is a private key.

    A passphrase that is not needed is not used. Raise :class:`KeyMaterialError`.
    """
    if not is_pem(octets):
        return read_key_block(octets, passphrase)
    try:
        blocks = read_pem(octets)
    except CertificateError as error:
        raise KeyMaterialError(str(error)) from None
    for block in blocks:
        if block.label.endswith("PRIVATE KEY"):
            return read_key_block(block.text, passphrase)
    raise KeyMaterialError("no private key in the file")


def read_key_block(octets: bytes, passphrase: bytes | None) -> SoftwareKey:
    """Read one DER structure or one PEM block as a private key. Raise :class:`KeyMaterialError`."""
    passphrase = passphrase or None
    try:
        try:
            key = _load(octets, passphrase)
        except TypeError:
            if passphrase is None:
                raise KeyMaterialError("the private key is encrypted: its passphrase is needed") from None
            key = _load(octets, None)  # a passphrase for a key that is not encrypted
    except UnsupportedAlgorithm:
        raise KeyMaterialError(f"a private key of a kind that cannot be used; {_SUPPORTED}") from None
    except ValueError:
        hint = "the passphrase is wrong, or the private key is damaged" if passphrase else "not a readable private key"
        raise KeyMaterialError(hint) from None
    wrapped = wrap_key(key)
    if isinstance(key, rsa.RSAPrivateKey):
        _try(key)
    return wrapped


def _load(octets: bytes, passphrase: bytes | None) -> object:
    """Load a key without the library's proof that the factors of an RSA modulus are prime.

    The proof takes 60 ms for 2048 bits and 200 ms for 3072, which a folder of a thousand keys pays at each reload and
    in each worker; the admin's own keys are not hostile, and :func:`_try` finds the damaged ones in 1 ms.
    """
    if is_pem(octets):
        return serialization.load_pem_private_key(octets, passphrase, unsafe_skip_rsa_key_validation=True)
    return serialization.load_der_private_key(octets, passphrase, unsafe_skip_rsa_key_validation=True)


def _try(key: rsa.RSAPrivateKey) -> None:
    """Make a signature and check it: with damaged parts it would be one that nobody can verify."""
    algorithm = _HASHES[Digest.SHA256]
    try:
        key.public_key().verify(key.sign(b"trial", _PKCS1, algorithm), b"trial", _PKCS1, algorithm)
    except (ValueError, InvalidSignature, InternalError):
        raise KeyMaterialError("the private key is damaged: its parts do not fit together") from None


def wrap_key(key: object) -> SoftwareKey:
    """Wrap a key of the cryptographic library. Raise :class:`KeyMaterialError` for kinds that are still to come."""
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return SoftwareKey(key)
    kind = type(key).__name__.removesuffix("PrivateKey")
    raise KeyMaterialError(f"a private key of the kind {kind}: this algorithm is still to come; {_SUPPORTED}")


def read_passphrase(path: Path) -> bytes:
    """Return what a passphrase file holds, without its line ending. Raise :class:`KeyMaterialError`."""
    passphrase = read_octets(path).removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase:
        raise KeyMaterialError(f"{path}: the passphrase file is empty")
    return passphrase


def check_private_file(path: Path) -> None:
    """Refuse a file with secrets that others may read or write.

    Allowed is 0600 or less, and for a file of root's also 0640, for a group that it was given to. Raise
    :class:`KeyMaterialError` with what to do.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise KeyMaterialError(f"{path}: {error.strerror or 'not readable'}") from None
    allowed = 0o740 if found.st_uid == 0 else 0o700
    excess = stat.S_IMODE(found.st_mode) & 0o777 & ~allowed
    if excess:
        mode = stat.S_IMODE(found.st_mode)
        raise KeyMaterialError(f"{path}: mode {mode:04o} lets others at it; chmod {mode & allowed:04o} would not")


def read_octets(path: Path) -> bytes:
    """Return a file's octets, at most 16 MiB. Raise :class:`KeyMaterialError` with the path and the system's reason."""
    try:
        with path.open("rb") as file:
            octets = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise KeyMaterialError(f"{path}: {error.strerror or 'not readable'}") from None
    if len(octets) > _MAX_FILE:
        raise KeyMaterialError(f"{path}: too large for a file of keys or certificates")
    return octets


_MAX_FILE = 16 * 1024 * 1024
