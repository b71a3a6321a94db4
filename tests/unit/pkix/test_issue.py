"""What is issued is what the other modules of this room accept, and keys stay closed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.address import Address
from gateway.errors import CertificateError
from gateway.pkix import (
    Certificate,
    IssuedKey,
    KeyChoice,
    PathState,
    PathValidator,
    Profile,
    Purpose,
    issue_certificate,
    load_issued_key,
    write_pem,
)
from tests.support.pki import MOMENT

EMAIL = Address("alice@acme.example")
DAY = timedelta(days=1)


def make_root() -> tuple[Certificate, IssuedKey]:
    """Return a root of the quickest kind."""
    return issue_certificate(
        Profile.ROOT, moment=MOMENT, days=3650, common_name="Root", organization="Acme", key_choice=KeyChoice.P256
    )


ROOT = make_root()
ISSUING = issue_certificate(
    Profile.ISSUING_CA, moment=MOMENT, days=1000, common_name="Issuing", key_choice=KeyChoice.P384, issuer=ROOT
)


@pytest.mark.parametrize("choice", KeyChoice)
def test_an_end_entity_of_every_kind_is_valid(choice: KeyChoice) -> None:
    """For both purposes, to the end of its validity and no longer."""
    leaf, key = issue_certificate(
        Profile.END_ENTITY, moment=MOMENT, days=365, emails=[EMAIL], key_choice=choice, issuer=ISSUING
    )
    validator = PathValidator([ROOT[0]])
    for purpose in Purpose:
        for moment, state in (
            (MOMENT, PathState.VALID),
            (MOMENT + 365 * DAY, PathState.VALID),
            (MOMENT + 366 * DAY, PathState.EXPIRED),
        ):
            assert validator.validate(leaf, [ISSUING[0]], moment=moment, purpose=purpose).state is state
    assert leaf.subject == "CN=alice@acme.example"
    assert leaf.emails == ("alice@acme.example",)
    assert leaf.has_email_protection
    assert choice.value.replace("p-", "ec-secp").startswith(leaf.key_algorithm[:8])
    loaded = serialization.load_pem_private_key(key.pkcs8_pem(), None)
    spki = loaded.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert spki == leaf.public_key_der


def test_serial_numbers_cannot_be_guessed() -> None:
    """RFC 5280 4.1.2.2: positive, at most 20 octets; random."""
    serials = {make_root()[0].serial for _ in range(5)}
    assert len(serials) == 5
    assert all(0 < serial < 2**159 for serial in serials)
    assert max(serials) > 2**100


def test_an_issuing_ca_issues_no_ca() -> None:
    """pathLenConstraint 0."""
    below = issue_certificate(
        Profile.ISSUING_CA, moment=MOMENT, days=10, common_name="Below", key_choice=KeyChoice.P256, issuer=ISSUING
    )
    leaf, _ = issue_certificate(
        Profile.END_ENTITY, moment=MOMENT, days=1, emails=[EMAIL], key_choice=KeyChoice.P256, issuer=below
    )
    report = PathValidator([ROOT[0]]).validate(leaf, [below[0], ISSUING[0]], moment=MOMENT, purpose=Purpose.SIGN)
    assert report.state is PathState.CONSTRAINT


def test_keys_are_kept_closed() -> None:
    """No representation shows them; with a passphrase only encrypted forms come out."""
    certificate, key = ROOT
    assert "BEGIN" not in repr(key)
    assert repr(key) == "IssuedKey()"
    pem = key.pkcs8_pem(b"secret")
    assert b"ENCRYPTED PRIVATE KEY" in pem
    loaded, found, chain = pkcs12.load_key_and_certificates(
        key.pkcs12(certificate, [ISSUING[0]], passphrase=b"secret", name="me"), b"secret"
    )
    assert loaded is not None
    assert found is not None
    assert len(chain) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"profile": Profile.ROOT, "days": 0},
        {"profile": Profile.ROOT, "days": 10**7},
        {"profile": Profile.ROOT, "days": 1, "issuer": ROOT},
        {"profile": Profile.ISSUING_CA, "days": 1},
        {"profile": Profile.END_ENTITY, "days": 1, "issuer": ISSUING},
        {"profile": Profile.END_ENTITY, "days": 1, "issuer": ISSUING, "emails": [Address("ålice@acme.example")]},
        {"profile": Profile.ROOT, "days": 1, "common_name": "x" * 65},
        {"profile": Profile.ROOT, "days": 1, "organization": "x" * 65},
    ],
    ids=["no-days", "many-days", "root", "ca", "no-address", "not-ascii", "long-name", "long-organization"],
)
def test_nonsense_is_refused(arguments: dict[str, object]) -> None:
    """Before a key is made."""
    profile = arguments.pop("profile")
    with pytest.raises(CertificateError):
        issue_certificate(profile, moment=MOMENT, key_choice=KeyChoice.P256, **arguments)  # type: ignore[arg-type]


def test_an_end_entity_issues_nothing() -> None:
    """The issuer has to be a CA."""
    leaf = issue_certificate(
        Profile.END_ENTITY, moment=MOMENT, days=1, emails=[EMAIL], key_choice=KeyChoice.P256, issuer=ISSUING
    )
    with pytest.raises(CertificateError, match="not a CA"):
        issue_certificate(Profile.END_ENTITY, moment=MOMENT, days=1, emails=[EMAIL], issuer=leaf)


@pytest.mark.parametrize("passphrase", [None, b"secret"], ids=["open", "encrypted"])
def test_an_issuer_is_read_again(passphrase: bytes | None) -> None:
    """From the PEM that was written, with certificates around the key; it still fits its certificate."""
    certificate, key = ROOT
    loaded = load_issued_key(certificate.pem() + key.pkcs8_pem(passphrase), passphrase)
    assert loaded is not None
    assert loaded.public_key_der == certificate.public_key_der == key.public_key_der
    leaf, _ = issue_certificate(
        Profile.END_ENTITY,
        moment=MOMENT,
        days=1,
        emails=[EMAIL],
        key_choice=KeyChoice.P256,
        issuer=(certificate, loaded),
    )
    report = PathValidator([certificate]).validate(leaf, [], moment=MOMENT, purpose=Purpose.SIGN)
    assert report.state is PathState.VALID


def test_files_without_an_issuer_s_key() -> None:
    """No key is no error; one that cannot be used is."""
    assert load_issued_key(ROOT[0].pem()) is None
    assert load_issued_key(ROOT[0].der) is None
    for octets in (ROOT[1].pkcs8_pem(b"secret"), write_pem("PRIVATE KEY", b"x")):
        with pytest.raises(CertificateError):
            load_issued_key(octets, b"wrong")
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(CertificateError, match="RSA or"):
        load_issued_key(other)
