"""Files of any form give the same identities, and a key is only put to a certificate that carries its public key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cms import Digest, build_signed_data, check_signature, parse_signed_data
from gateway.errors import KeyMaterialError
from gateway.pkix import Purpose
from gateway.stores import load_identities, load_identity, read_material
from tests.support.pki import MOMENT, Pki

PKI = Pki.make()
ALICE = PKI.identity("alice@acme.example")
BOB = PKI.identity("bob@acme.example")
PASSPHRASE = b"correct horse"
P7B = pkcs7.serialize_certificates([ALICE.certificate, PKI.issuing.certificate], serialization.Encoding.DER)
FORMS: dict[str, tuple[bytes, ...]] = {
    "one-pem": (ALICE.key_octets() + ALICE.certificate_pem + PKI.issuing.certificate_pem,),
    "one-pem-other-order": (PKI.issuing.certificate_pem + ALICE.certificate_pem + ALICE.key_octets(),),
    "two-pem": (ALICE.certificate_pem + ALICE.chain_pem, ALICE.key_octets()),
    "two-pem-encrypted": (ALICE.certificate_pem + ALICE.chain_pem, ALICE.key_octets(PASSPHRASE)),
    "three-der": (ALICE.certificate_der, ALICE.key_octets(form="der"), PKI.issuing.certificate_der),
    "der-encrypted": (ALICE.certificate_der, ALICE.key_octets(PASSPHRASE, form="der"), PKI.issuing.certificate_der),
    "p7b-and-key": (P7B, ALICE.key_octets()),
    "pkcs12": (ALICE.pkcs12(PASSPHRASE),),
    "pkcs12-open": (ALICE.pkcs12(),),
    "with-root": (ALICE.key_octets() + ALICE.certificate_pem + ALICE.chain_pem, PKI.root.certificate_pem),
    "with-strangers": (ALICE.key_octets() + BOB.certificate_pem, BOB.chain_pem + ALICE.certificate_pem),
}


def write(folder: Path, *octets: bytes) -> list[Path]:
    """Write files whose names say nothing."""
    files = [folder / f"file{place}" for place in range(len(octets))]
    for file, content in zip(files, octets, strict=True):
        file.write_bytes(content)
    return files


@pytest.mark.parametrize("octets", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_identity(tmp_path: Path, octets: tuple[bytes, ...]) -> None:
    """Told by content; the chain has the issuing CA and no root."""
    identity = load_identity(write(tmp_path, *octets), PASSPHRASE)
    assert identity.certificate.der == ALICE.certificate_der
    assert [one.der for one in identity.chain] == [PKI.issuing.certificate_der]
    assert identity.key.public_key_der == ALICE.public_key_der
    assert "correct" not in repr(identity)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: (ALICE.certificate_pem,), "no private key"),
        (lambda: (ALICE.key_octets(),), "no certificate"),
        (lambda: (ALICE.key_octets(), BOB.certificate_pem), "fits none"),
        (lambda: (b"",), "neither PEM nor DER"),
        (lambda: (b"-----BEGIN NONSENSE-----\nAAAA\n-----END NONSENSE-----\n",), "neither a certificate nor"),
        (lambda: (PKI.issuing.crl(),), "not readable"),
        (lambda: (ALICE.pkcs12(b"other"),), "passphrase is wrong"),
        (lambda: (ALICE.pkcs12(b"other")[:-40],), "cannot be opened"),
        (lambda: (ALICE.key_octets(b"other") + ALICE.certificate_pem,), "passphrase is wrong"),
        (lambda: (ALICE.key_octets(form="der")[:-5],), "damaged"),
    ],
    ids=["no-key", "no-certificate", "no-fit", "empty", "nonsense", "crl", "pkcs12", "pkcs12-cut", "key", "key-cut"],
)
def test_refusals_name_the_file_and_the_cause(tmp_path: Path, make: Callable[[], tuple[bytes, ...]], text: str) -> None:
    """And never a passphrase."""
    with pytest.raises(KeyMaterialError, match=text) as refusal:
        load_identity(write(tmp_path, *make()), PASSPHRASE)
    assert str(tmp_path / "file0") in str(refusal.value)
    assert "horse" not in str(refusal.value)


def test_an_encrypted_pkcs12_without_passphrase(tmp_path: Path) -> None:
    """Says that one is needed."""
    with pytest.raises(KeyMaterialError, match="is needed"):
        load_identity(write(tmp_path, ALICE.pkcs12(PASSPHRASE)))


def test_a_missing_file(tmp_path: Path) -> None:
    """Is our exception, with the system's reason."""
    with pytest.raises(KeyMaterialError, match="No such file"):
        read_material(tmp_path / "nowhere")


def test_several_identities_in_one_file(tmp_path: Path) -> None:
    """Signing and encryption apart: the purpose chooses."""
    sign = PKI.identity("carol@acme.example", key_usage=["digitalSignature"])
    encrypt = PKI.identity("carol@acme.example", key_usage=["keyEncipherment"], key_index=7)
    files = write(tmp_path, *(one.key_octets() + one.certificate_pem for one in (encrypt, sign)))
    assert len(load_identities(files)) == 2
    assert load_identity(files, purpose=Purpose.SIGN).certificate.der == sign.certificate_der
    assert load_identity(files, purpose=Purpose.ENCRYPT).certificate.der == encrypt.certificate_der
    with pytest.raises(KeyMaterialError, match="does not allow to sign"):
        load_identity(files[:1], purpose=Purpose.SIGN)


def test_a_renewed_certificate_of_one_key(tmp_path: Path) -> None:
    """Each certificate that fits is an identity, since messages name certificates."""
    old = PKI.identity("alice@acme.example", not_after=MOMENT)
    (file,) = write(tmp_path, ALICE.key_octets() + ALICE.certificate_pem + old.certificate_pem)
    assert len(load_identities([file])) == 2


def test_an_identity_signs(tmp_path: Path) -> None:
    """Its signed-data carries certificate and chain, and verifies."""
    identity = load_identity(write(tmp_path, *FORMS["pkcs12"]), PASSPHRASE).signing_identity(Digest.SHA384)
    der = build_signed_data(identity.prepared, identity.key, b"content", moment=MOMENT, detached=True)
    signed = parse_signed_data(der)
    assert set(signed.certificates) == {ALICE.certificate_der, PKI.issuing.certificate_der}
    check = check_signature(signed.signers[0], ALICE.certificate_der, b"content")
    assert (check.intact, check.valid, check.digest) == (True, True, "sha384")


def test_a_pkcs12_without_key(tmp_path: Path) -> None:
    """Is a bag of certificates."""
    octets = pkcs12.serialize_key_and_certificates(
        b"x", None, None, [PKI.issuing.certificate, PKI.root.certificate], serialization.NoEncryption()
    )
    material = read_material(write(tmp_path, octets)[0])
    assert (len(material.certificates), material.keys) == (2, ())


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x30\x82\x01\x00\x02\x01\x03", b"\x30\x0a\x02\x01\x00"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_octets_give_material_or_our_exception(tmp_path: Path, octets: bytes, head: bytes) -> None:
    """Whatever the first octets promise."""
    (file,) = write(tmp_path, head + octets)
    text = ""
    try:
        read_material(file, PASSPHRASE)
    except KeyMaterialError as error:
        text = str(error)
    assert text == "" or text.startswith(f"{file}: ")
