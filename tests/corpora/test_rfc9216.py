"""RFC 9216: the example keys and certificates of the S/MIME working group.

Every leaf leads to its own CA and, through the cross certificate, to the other one; signing and encryption
certificates are told apart; PKCS#12 files open with their passwords, and give both keys. Ed25519 and X25519 are
certificates that can be judged and keys that cannot be used yet: that they are refused by name is asserted here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cms import Digest, KeyTransport, prepare_recipient
from gateway.errors import KeyMaterialError, UnsupportedCms
from gateway.pkix import Certificate, PathState, PathValidator, Purpose, load_certificate
from gateway.stores import load_identities, load_identity
from tests.support.corpora import corpus

pytestmark = pytest.mark.corpora
FOLDER = corpus("rfc9216")
MOMENT = datetime(2026, 6, 1, 12, tzinfo=UTC)
RSA = ("alice", "bob")
CURVE25519 = ("carlos", "dana")
PEOPLE = {**dict.fromkeys(RSA, "rsa"), **dict.fromkeys(CURVE25519, "25519")}


def certificate(name: str) -> Certificate:
    """Return ``NAME.crt.pem``."""
    return load_certificate((FOLDER / f"{name}.crt.pem").read_bytes())


def validate(leaf: str, anchor: str, purpose: Purpose, moment: datetime = MOMENT) -> PathState:
    """Judge a leaf, with all CA certificates at hand, against one anchor."""
    others = [certificate(name) for name in ("ca.rsa", "ca.25519", "ca.rsa.cross", "ca.25519.cross")]
    report = PathValidator([certificate(anchor)]).validate(certificate(leaf), others, moment=moment, purpose=purpose)
    return report.state


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("anchor", ["ca.rsa", "ca.25519"])
def test_every_leaf_leads_to_both_roots(person: str, anchor: str) -> None:
    """To its own directly, to the other through the cross certificate, RSA and Ed25519 signatures alike."""
    assert validate(f"{person}.sign", anchor, Purpose.SIGN) is PathState.VALID
    assert validate(f"{person}.encrypt", anchor, Purpose.ENCRYPT) is PathState.VALID


@pytest.mark.parametrize("person", PEOPLE)
def test_a_path_to_the_own_root_has_two_certificates(person: str) -> None:
    """The cross certificates do not make it longer."""
    root = certificate(f"ca.{PEOPLE[person]}")
    others = [certificate("ca.rsa.cross"), certificate("ca.25519.cross"), root]
    report = PathValidator([root]).validate(certificate(f"{person}.sign"), others, moment=MOMENT, purpose=Purpose.SIGN)
    assert [one.subject for one in report.path] == [certificate(f"{person}.sign").subject, root.subject]


@pytest.mark.parametrize("person", PEOPLE)
def test_key_usages_are_kept_apart(person: str) -> None:
    """RFC 9216 2.1: what signs does not encrypt, what encrypts does not sign."""
    sign, encrypt = certificate(f"{person}.sign"), certificate(f"{person}.encrypt")
    assert (sign.may_sign, sign.may_encrypt) == (True, False)
    assert (encrypt.may_sign, encrypt.may_encrypt) == (False, True)
    assert validate(f"{person}.sign", f"ca.{PEOPLE[person]}", Purpose.ENCRYPT) is PathState.CONSTRAINT
    assert validate(f"{person}.encrypt", f"ca.{PEOPLE[person]}", Purpose.SIGN) is PathState.CONSTRAINT
    assert sign.emails == encrypt.emails == (f"{person}@smime.example",)


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize(
    ("moment", "state"),
    [
        (datetime(2019, 1, 1, tzinfo=UTC), PathState.NOT_YET_VALID),
        (datetime(2053, 1, 1, tzinfo=UTC), PathState.EXPIRED),
    ],
    ids=["before", "after"],
)
def test_outside_their_validity(person: str, moment: datetime, state: PathState) -> None:
    """Nothing is valid in 2018 or in 2053."""
    assert validate(f"{person}.sign", f"ca.{PEOPLE[person]}", Purpose.SIGN, moment) is state


@pytest.mark.parametrize("person", RSA)
def test_rsa_keys_in_files(person: str) -> None:
    """Key and certificate in two files; what is wrapped for the one opens with the other."""
    signer = load_identity([FOLDER / f"{person}.sign.crt.pem", FOLDER / f"{person}.sign.key.pem"])
    assert signer.key.sign(b"x", Digest.SHA256)
    opener = load_identity([FOLDER / f"{person}.decrypt.key.pem", FOLDER / f"{person}.encrypt.crt.pem"])
    wrapped = prepare_recipient(opener.certificate.der).wrap(b"k" * 32)
    assert opener.key.unwrap(_encrypted_key(wrapped), KeyTransport.RSA_PKCS1V15) == b"k" * 32


def _encrypted_key(recipient_info: bytes) -> bytes:
    """Return the last 256 octets of a RecipientInfo for an RSA key of 2048 bits: its encryptedKey."""
    return recipient_info[-256:]


@pytest.mark.parametrize("person", RSA)
def test_pkcs12_of_rsa_keys(person: str) -> None:
    """The password opens it, and both of a person's identities are in it."""
    identities = load_identities([FOLDER / f"{person}.p12"], person.encode())
    assert {identity.certificate for identity in identities} == {
        certificate(f"{person}.sign"),
        certificate(f"{person}.encrypt"),
    }
    for purpose, name in ((Purpose.SIGN, "sign"), (Purpose.ENCRYPT, "encrypt")):
        identity = load_identity([FOLDER / f"{person}.p12"], person.encode(), purpose=purpose)
        assert identity.certificate == certificate(f"{person}.{name}")


@pytest.mark.parametrize("person", PEOPLE)
def test_a_wrong_password_is_refused(person: str) -> None:
    """With the path, and without the password."""
    path = FOLDER / f"{person}.p12"
    with pytest.raises(KeyMaterialError, match="passphrase is wrong") as refusal:
        load_identities([path], b"not-the-password")
    assert str(path) in str(refusal.value)
    assert "not-the-password" not in str(refusal.value)


@pytest.mark.parametrize("person", CURVE25519)
@pytest.mark.parametrize("name", ["sign.key.pem", "decrypt.key.pem", "p12"])
def test_curve_25519_keys_are_still_to_come(person: str, name: str) -> None:
    """The algorithm is named, for keys, ..."""
    path: Path = FOLDER / f"{person}.{name}"
    files = [path] if name == "p12" else [path, FOLDER / f"{person}.sign.crt.pem"]
    with pytest.raises(KeyMaterialError, match=r"(Ed25519|X25519).*still to come"):
        load_identities(files, person.encode() if name == "p12" else None)


@pytest.mark.parametrize("person", CURVE25519)
def test_curve_25519_recipients_are_still_to_come(person: str) -> None:
    """... and for recipients: a path that is valid, and a key that nothing is wrapped for."""
    with pytest.raises(UnsupportedCms):
        prepare_recipient(certificate(f"{person}.encrypt").der)
