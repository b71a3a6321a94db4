"""Private keys are read from every usual form, used through the Protocols of cms, and shown to nobody."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import Digest, KeyTransport, SignatureScheme, SigningKey, UnwrapKey
from gateway.errors import DecryptionFailed, KeyMaterialError
from gateway.stores import SoftwareKey, check_private_file, load_private_key, read_passphrase
from gateway.stores.keys import wrap_key
from tests.support.pki import Pki, PrivateKey, private_key, write_private

PKI = Pki.make()
ALICE = PKI.identity("alice@acme.example")
RSA = cast(rsa.RSAPrivateKey, private_key("rsa-2048", 0))
EC = cast(ec.EllipticCurvePrivateKey, private_key("ec-p256", 0))
PASSPHRASE = b"correct horse"
FORMATS = {
    "pkcs8": serialization.PrivateFormat.PKCS8,
    "traditional": serialization.PrivateFormat.TraditionalOpenSSL,
}
ENCODINGS = {"pem": serialization.Encoding.PEM, "der": serialization.Encoding.DER}


def dump(key: PrivateKey, encoding: str = "pem", form: str = "pkcs8", passphrase: bytes | None = None) -> bytes:
    """Return a key's octets."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        protection = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(ENCODINGS[encoding], FORMATS[form], protection)


@pytest.mark.parametrize("key", [RSA, EC], ids=["rsa", "ec"])
@pytest.mark.parametrize(
    ("encoding", "form", "passphrase"),
    [
        ("pem", "pkcs8", None),
        ("der", "pkcs8", None),
        ("pem", "traditional", None),
        ("der", "traditional", None),
        ("pem", "pkcs8", PASSPHRASE),
        ("der", "pkcs8", PASSPHRASE),
        ("pem", "traditional", PASSPHRASE),
    ],
)
def test_every_usual_form(key: PrivateKey, encoding: str, form: str, passphrase: bytes | None) -> None:
    """PKCS#8 and the older forms, PEM and DER, encrypted or not."""
    loaded = load_private_key(dump(key, encoding, form, passphrase), passphrase)
    assert loaded.public_key_der == key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_a_key_among_other_blocks() -> None:
    """The first private key of a PEM file; a passphrase that is not needed does no harm."""
    octets = ALICE.certificate_pem + ALICE.key_octets() + PKI.root.key_octets()
    assert load_private_key(octets, PASSPHRASE).public_key_der == ALICE.public_key_der


@pytest.mark.parametrize("passphrase", [None, b"wrong", b""], ids=["none", "wrong", "empty"])
@pytest.mark.parametrize("encoding", ["pem", "der"])
def test_an_encrypted_key_needs_its_passphrase(encoding: str, passphrase: bytes | None) -> None:
    """The refusal says which, never what."""
    with pytest.raises(KeyMaterialError, match="passphrase") as refusal:
        load_private_key(dump(RSA, encoding, passphrase=PASSPHRASE), passphrase)
    assert "horse" not in str(refusal.value)
    assert "wrong" not in str(refusal.value).replace("is wrong", "")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=1024), "rsa-1024"),
        (ec.generate_private_key(ec.SECP224R1()), "ec-secp224r1"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (x25519.X25519PrivateKey.generate(), "X25519"),
        (dsa.generate_private_key(1024), "DSA"),
    ],
    ids=["small-rsa", "small-curve", "ed25519", "x25519", "dsa"],
)
def test_kinds_that_are_not_used(key: object, kind: str) -> None:
    """Named in the refusal, from a file as from the library."""
    with pytest.raises(KeyMaterialError, match=kind):
        wrap_key(key)
    octets = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(KeyMaterialError, match=kind):
        load_private_key(octets)


def test_a_damaged_key_signs_nothing() -> None:
    """Parts that do not fit together are found when the key is read, not when the first message is signed."""
    octets = bytearray(dump(RSA, "der"))
    place = bytes(octets).index(RSA.public_key().public_numbers().n.to_bytes(256, "big"))
    octets[place + 100] ^= 2
    with pytest.raises(KeyMaterialError, match="damaged"):
        load_private_key(bytes(octets))


@given(st.integers(0, len(dump(RSA, "der")) - 1), st.integers(1, 255))
def test_any_changed_octet_gives_a_key_that_works_or_our_exception(place: int, change: int) -> None:
    """What is loaded makes signatures that verify with its own public key."""
    octets = bytearray(dump(RSA, "der"))
    octets[place] ^= change
    try:
        key = load_private_key(bytes(octets))
    except KeyMaterialError:
        return
    public_key = cast(rsa.RSAPublicKey, serialization.load_der_public_key(key.public_key_der))
    public_key.verify(key.sign(b"octets", Digest.SHA256), b"octets", padding.PKCS1v15(), hashes.SHA256())


@given(st.binary(max_size=200))
def test_any_octets_give_a_key_or_our_exception(octets: bytes) -> None:
    """Nothing else gets out."""
    for form in (octets, b"-----BEGIN PRIVATE KEY-----\n" + octets + b"\n-----END PRIVATE KEY-----\n"):
        try:
            load_private_key(form, PASSPHRASE)
        except KeyMaterialError:
            continue


@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
def test_signatures_verify(digest: Digest) -> None:
    """PKCS#1 v1.5 and ECDSA, over the digest that was asked for."""
    algorithm = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[digest.label]
    signer: SigningKey = SoftwareKey(RSA)
    assert signer.scheme is SignatureScheme.RSA_PKCS1V15
    RSA.public_key().verify(signer.sign(b"octets", digest), b"octets", padding.PKCS1v15(), algorithm)
    signer = SoftwareKey(EC)
    assert signer.scheme is SignatureScheme.ECDSA
    EC.public_key().verify(signer.sign(b"octets", digest), b"octets", ec.ECDSA(algorithm))


def test_old_digests_are_not_signed() -> None:
    """A digest that is only read is refused."""
    with pytest.raises(KeyMaterialError):
        SoftwareKey(RSA).sign(b"octets", Digest.SHA1)


def test_unwrap() -> None:
    """What was wrapped for the public key comes out."""
    wrapped = RSA.public_key().encrypt(b"k" * 32, padding.PKCS1v15())
    opener: UnwrapKey = SoftwareKey(RSA)
    assert opener.unwrap(wrapped, KeyTransport.RSA_PKCS1V15) == b"k" * 32


@given(st.binary(max_size=300))
def test_failing_to_unwrap_tells_nothing(encrypted_key: bytes) -> None:
    """RFC 3218: a value of no kind raises anything but DecryptionFailed, whose text is always the same."""
    failure: DecryptionFailed | None = None
    try:
        SoftwareKey(RSA).unwrap(encrypted_key, KeyTransport.RSA_PKCS1V15)
    except DecryptionFailed as raised:
        failure = raised
    assert failure is None or (str(failure), failure.__cause__) == (str(DecryptionFailed()), None)


def test_an_ec_key_unwraps_nothing() -> None:
    """It is the wrong key, which looks like any failure."""
    with pytest.raises(DecryptionFailed):
        SoftwareKey(EC).unwrap(b"x" * 256, KeyTransport.RSA_PKCS1V15)


def test_a_key_is_shown_to_nobody() -> None:
    """Not as text, not as a copy."""
    key = SoftwareKey(RSA)
    assert repr(key) == "<SoftwareKey rsa-2048>"
    assert str(RSA.private_numbers().d) not in f"{key!r}{key!s}"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)


@pytest.mark.parametrize(
    ("octets", "passphrase"),
    [(b"secret\n", b"secret"), (b"secret\r\n", b"secret"), (b"secret", b"secret"), (b" s \n\n", b" s \n")],
    ids=["lf", "crlf", "bare", "blanks"],
)
def test_passphrase_files(tmp_path: Path, octets: bytes, passphrase: bytes) -> None:
    """One line ending is taken off, nothing else."""
    file = tmp_path / "p"
    file.write_bytes(octets)
    assert read_passphrase(file) == passphrase


def test_passphrase_files_that_hold_nothing(tmp_path: Path) -> None:
    """Empty and missing ones are refused with their path."""
    (tmp_path / "empty").write_bytes(b"\n")
    for name in ("empty", "missing"):
        with pytest.raises(KeyMaterialError, match=name):
            read_passphrase(tmp_path / name)


@pytest.mark.parametrize(
    ("mode", "is_closed"),
    [(0o600, True), (0o400, True), (0o700, True), (0o604, False), (0o620, False), (0o644, False), (0o666, False)],
    ids=oct,
)
def test_modes_of_private_files(tmp_path: Path, mode: int, is_closed: bool) -> None:
    """What others could read or write is refused with what to do."""
    file = tmp_path / "key"
    write_private(file, b"x")
    os.chmod(file, mode)
    if is_closed:
        check_private_file(file)
        return
    with pytest.raises(KeyMaterialError, match="chmod"):
        check_private_file(file)


def test_a_group_may_read_only_what_is_root_s(tmp_path: Path) -> None:
    """As mounted secrets have it: given to a group by root."""
    file = tmp_path / "key"
    write_private(file, b"x")
    os.chmod(file, 0o640)
    if file.stat().st_uid == 0:
        check_private_file(file)
    else:
        with pytest.raises(KeyMaterialError):
            check_private_file(file)


def test_a_missing_private_file_is_our_exception(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(KeyMaterialError, match="nowhere"):
        check_private_file(tmp_path / "nowhere")
