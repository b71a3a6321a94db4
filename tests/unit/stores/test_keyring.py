"""Our own keys: who is found, who is unavailable, and that nobody is taken for absent because of a broken file."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.address import Address
from gateway.cms import Digest
from gateway.lookup import Answer, Found, Nothing, Unavailable
from gateway.smime import DecryptionKey, SigningIdentity
from gateway.stores import FolderKeyring
from gateway.transaction.ports import DecryptionKeys, SigningKeys
from tests.support.pki import MOMENT, NOT_AFTER, Issued, Pki

PKI = Pki.make()
ALICE = PKI.identity("Alice@acme.example")
BOB = PKI.identity("bob@acme.example")
DAY = timedelta(days=1)


def load(*folders: Path, moment: datetime = MOMENT) -> FolderKeyring:
    """Load a keyring at a fixed moment."""
    return FolderKeyring(folders, now=lambda: moment)


def signer(keyring: SigningKeys, address: str) -> Answer[SigningIdentity]:
    """Ask for the signer of an address."""
    return asyncio.run(keyring.find_signer(Address(address)))


def keys(keyring: DecryptionKeys, *addresses: str) -> Answer[tuple[DecryptionKey, ...]]:
    """Ask for the keys of some addresses."""
    return asyncio.run(keyring.find_keys([Address(address) for address in addresses]))


def serials(answer: Answer[tuple[DecryptionKey, ...]]) -> list[int]:
    """Return whose keys were found."""
    assert isinstance(answer, Found), answer
    return [key.certificate.serial for key in answer.value]


def texts(keyring: FolderKeyring) -> str:
    """Return all problems as text."""
    return "\n".join(map(str, keyring.problems))


@pytest.mark.parametrize("address", ["alice@acme.example", "ALICE@ACME.EXAMPLE", "Alice@acme.example"])
def test_an_ordinary_key_signs_and_opens(tmp_path: Path, address: str) -> None:
    """Whatever the case of the address; nothing is wrong."""
    ALICE.pem_files(tmp_path)
    keyring = load(tmp_path)
    found = signer(keyring, address)
    assert isinstance(found, Found)
    assert found.value.certificate.der == ALICE.certificate_der
    assert [one.der for one in found.value.chain] == [PKI.issuing.certificate_der]
    assert serials(keys(keyring, "nobody@acme.example", address)) == [ALICE.serial]
    assert (keyring.problems, keyring.warnings) == ((), ())


def test_strangers_are_nothing(tmp_path: Path) -> None:
    """The folder was read, and there is none."""
    ALICE.pem_files(tmp_path)
    keyring = load(tmp_path)
    assert signer(keyring, "bob@acme.example") == Nothing()
    assert keys(keyring, "bob@acme.example") == Nothing()
    assert keys(keyring) == Nothing()


def test_several_folders_and_forms(tmp_path: Path) -> None:
    """PKCS#12 with a passphrase file in one, PEM in the other; names of files do not matter."""
    ALICE.pkcs12_file(tmp_path / "one", name="x", passphrase=b"secret")
    BOB.pem_files(tmp_path / "two", name="y", passphrase=b"other")
    keyring = load(tmp_path / "one", tmp_path / "two")
    assert keyring.problems == ()
    assert serials(keys(keyring, "alice@acme.example", "bob@acme.example")) == [ALICE.serial, BOB.serial]


def test_what_is_passed_over(tmp_path: Path) -> None:
    """Hidden files, folders, and names of other kinds."""
    ALICE.pem_files(tmp_path)
    (tmp_path / ".hidden.pem").write_bytes(b"garbage")
    (tmp_path / "notes.txt").write_bytes(b"garbage")
    (tmp_path / "folder.pem").mkdir()
    assert load(tmp_path).problems == ()


def test_keys_and_certificates_meet_across_names(tmp_path: Path) -> None:
    """What fits is put together, wherever it is."""
    ALICE.pem_files(tmp_path, name="a")
    (tmp_path / "a.key").rename(tmp_path / "z.pem")
    assert isinstance(signer(load(tmp_path), "alice@acme.example"), Found)


@pytest.mark.parametrize(
    "break_file",
    [
        lambda folder: (folder / "x.key").write_bytes(b"garbage"),
        lambda folder: (folder / "x.key").write_bytes(ALICE.key_octets(b"secret")),
        lambda folder: [(folder / "x.key").write_bytes(ALICE.key_octets(b"s")), (folder / "x.pass").write_bytes(b"")],
        lambda folder: (folder / "x.key").unlink(),
    ],
    ids=["garbage", "no-passphrase", "empty-passphrase", "gone"],
)
def test_a_broken_key_is_unavailable(tmp_path: Path, break_file: object) -> None:
    """Its addresses are known from the certificate of the same name; others are not touched."""
    ALICE.pem_files(tmp_path, name="x")
    BOB.pem_files(tmp_path)
    break_file(tmp_path)  # type: ignore[operator]
    keyring = load(tmp_path)
    assert isinstance(signer(keyring, "ALICE@acme.example"), Unavailable)
    assert isinstance(keys(keyring, "alice@acme.example"), Unavailable)
    assert isinstance(signer(keyring, "bob@acme.example"), Found)
    assert signer(keyring, "carol@acme.example") == Nothing()
    assert str(tmp_path / "x.") in texts(keyring)
    assert "secret" not in texts(keyring)


def test_a_broken_file_that_is_called_by_an_address(tmp_path: Path) -> None:
    """A PKCS#12 whose passphrase is wrong: its name is all that is known."""
    ALICE.pkcs12_file(tmp_path, name="alice@acme.example", passphrase=b"secret")
    (tmp_path / "alice@acme.example.pass").write_bytes(b"wrong")
    keyring = load(tmp_path)
    assert isinstance(signer(keyring, "alice@acme.example"), Unavailable)
    assert "passphrase is wrong" in texts(keyring)


def test_a_broken_file_of_nobody_is_a_problem_only(tmp_path: Path) -> None:
    """Nothing can be said of whom it was for."""
    (tmp_path / "x.p12").write_bytes(b"garbage")
    keyring = load(tmp_path)
    assert signer(keyring, "alice@acme.example") == Nothing()
    assert len(keyring.problems) == 1


def test_a_broken_second_key(tmp_path: Path) -> None:
    """One identity is enough to sign; to open, the broken one might be the one that is needed."""
    ALICE.pem_files(tmp_path)
    (tmp_path / "alice@acme.example.p12").write_bytes(b"garbage")
    keyring = load(tmp_path)
    assert isinstance(signer(keyring, "alice@acme.example"), Found)
    assert isinstance(keys(keyring, "alice@acme.example"), Unavailable)


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """Nothing is known of anybody, but what another folder has still signs."""
    ALICE.pem_files(tmp_path / "one")
    keyring = load(tmp_path / "one", tmp_path / "missing")
    assert isinstance(signer(keyring, "alice@acme.example"), Found)
    assert isinstance(signer(keyring, "bob@acme.example"), Unavailable)
    assert isinstance(keys(keyring, "alice@acme.example"), Unavailable)
    assert "missing" in texts(keyring)


def test_expired_keys_open_and_do_not_sign(tmp_path: Path) -> None:
    """Old mail is still mail; an expired signer is unavailable, not absent."""
    ALICE.pem_files(tmp_path)
    keyring = load(tmp_path, moment=NOT_AFTER + DAY)
    answer = signer(keyring, "alice@acme.example")
    assert isinstance(answer, Unavailable)
    assert "expired" in answer.cause
    assert serials(keys(keyring, "alice@acme.example")) == [ALICE.serial]
    assert "has expired on 2028-01-01" in texts(keyring)


def test_the_clock_is_asked_at_each_look_up(tmp_path: Path) -> None:
    """A certificate that ends between two messages signs only the first."""
    moments = [MOMENT]
    ALICE.pem_files(tmp_path)
    keyring = FolderKeyring([tmp_path], now=lambda: moments[-1])
    assert isinstance(signer(keyring, "alice@acme.example"), Found)
    moments.append(NOT_AFTER + DAY)
    assert isinstance(signer(keyring, "alice@acme.example"), Unavailable)


def test_the_certificate_that_is_valid_longest_signs(tmp_path: Path) -> None:
    """Renewed, with the old one beside it; all open, the newest first."""
    old = PKI.identity("alice@acme.example", not_after=MOMENT + DAY)
    future = PKI.identity("alice@acme.example", not_before=MOMENT + DAY, not_after=NOT_AFTER + DAY, key_index=8)
    for name, issued in (("a", old), ("b", ALICE), ("c", future)):
        issued.pem_files(tmp_path, name=name)
    keyring = load(tmp_path)
    found = signer(keyring, "alice@acme.example")
    assert isinstance(found, Found)
    assert found.value.certificate.der == ALICE.certificate_der
    assert serials(keys(keyring, "alice@acme.example")) == [future.serial, ALICE.serial, old.serial]
    assert keyring.problems == ()


def test_what_ends_soon_is_warned_of(tmp_path: Path) -> None:
    """Thirty days before, while it still signs."""
    ALICE.pem_files(tmp_path)
    assert load(tmp_path, moment=NOT_AFTER - 31 * DAY).warnings == ()
    (warning,) = load(tmp_path, moment=NOT_AFTER - 30 * DAY).warnings
    assert "expires on 2028-01-01" in warning.text
    assert warning.file == str(tmp_path / "Alice@acme.example.crt")


SIGN_ONLY = PKI.identity("alice@acme.example", key_usage=["digitalSignature"])
ENCRYPT_ONLY = PKI.identity("alice@acme.example", key_usage=["keyEncipherment"], key_index=8)
EC = PKI.identity("alice@acme.example", key_kind="ec-p256")
NO_MAIL = PKI.identity("alice@acme.example", ext_key_usage=["serverAuth"])


@pytest.mark.parametrize(
    ("issued", "signs", "opens"),
    [(SIGN_ONLY, True, False), (ENCRYPT_ONLY, False, True), (EC, True, False), (NO_MAIL, False, False)],
    ids=["sign-only", "encrypt-only", "ec", "no-mail"],
)
def test_key_usage_decides(tmp_path: Path, issued: Issued, signs: bool, opens: bool) -> None:
    """A key that only signs opens nothing, one that only encrypts signs nothing."""
    issued.pem_files(tmp_path)
    keyring = load(tmp_path)
    assert isinstance(signer(keyring, "alice@acme.example"), Found if signs else Nothing)
    assert isinstance(keys(keyring, "alice@acme.example"), Found if opens else Nothing)
    assert bool(keyring.problems) is (issued is NO_MAIL)


def test_several_addresses_of_one_certificate(tmp_path: Path) -> None:
    """All of them find it, once."""
    both = PKI.identity("a@acme.example", "b@acme.example", "A@Acme.example")
    both.pem_files(tmp_path)
    keyring = load(tmp_path)
    assert isinstance(signer(keyring, "b@acme.example"), Found)
    assert serials(keys(keyring, "a@acme.example", "b@acme.example")) == [both.serial]


def test_things_without_a_partner(tmp_path: Path) -> None:
    """A key without certificate, a certificate without key or without address."""
    files = ALICE.pem_files(tmp_path, name="alice")
    files.certificate.unlink()
    BOB.pem_files(tmp_path, name="bob").key.unlink()
    PKI.identity(subject="CN=nobody").pem_files(tmp_path, name="nobody")
    found = {Path(problem.file).name: problem.text for problem in load(tmp_path).problems}
    assert "no certificate fits" in found["alice.key"]
    assert "no private key" in found["bob.crt"]
    assert "no mail address" in found["nobody.crt"]


def test_duplicates_are_warned_of(tmp_path: Path) -> None:
    """They work, and somebody should look."""
    ALICE.pem_files(tmp_path, name="a")
    ALICE.pkcs12_file(tmp_path, name="b")
    keyring = load(tmp_path)
    assert isinstance(signer(keyring, "alice@acme.example"), Found)
    assert keyring.problems == ()
    (warning,) = keyring.warnings
    assert "same private key" in warning.text
    assert warning.file == str(tmp_path / "b.p12")


@pytest.mark.parametrize("name", ["a.key", "a.pass"])
def test_keys_that_others_may_read(tmp_path: Path, name: str) -> None:
    """A problem for which a gateway does not start; a certificate may be read by all."""
    ALICE.pem_files(tmp_path, name="a", passphrase=b"secret")
    os.chmod(tmp_path / "a.crt", 0o644)
    assert load(tmp_path).unreadable == ()
    os.chmod(tmp_path / name, 0o644)
    keyring = load(tmp_path)
    assert keyring.unreadable == keyring.problems
    assert keyring.problems[0].file == str(tmp_path / name)
    assert "chmod" in keyring.problems[0].text


def test_the_digest_is_a_setting(tmp_path: Path) -> None:
    """All identities sign with it."""
    ALICE.pem_files(tmp_path)
    found = signer(FolderKeyring([tmp_path], now=lambda: MOMENT, digest=Digest.SHA512), "alice@acme.example")
    assert isinstance(found, Found)
    assert found.value.prepared.digest is Digest.SHA512
