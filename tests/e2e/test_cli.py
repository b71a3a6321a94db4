"""The command line as others use it: exit statuses, JSON objects, files in every form; OpenSSL checks what comes out.

Most commands run inside this process, which is the same code and much quicker; the last tests start real ones.
"""

from __future__ import annotations

import json
import re
import stat
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support.cli import Done, cli, cli_process
from tests.support.house import House
from tests.support.letters import Letter, parts_of
from tests.support.openssl import OpenSsl
from tests.support.pki import Issued, PemFiles, write_private

pytestmark = pytest.mark.e2e

ALICE, BOB = "alice@acme.example", "bob@acme.example"
CAROL, ERIN, DAVE = "carol@bank.example", "erin@partner.example", "dave@bank.example"
FRANK = "frank@outside.example"
PASSPHRASE = b"correct horse"

LAYER = {"type", "form"}
SIGNER = {
    "email",
    "subject",
    "issuer",
    "serial",
    "digest",
    "signature",
    "signing_time",
    "intact",
    "valid",
    "path",
    "revocation",
    "identity",
    "algorithm",
    "reason",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A company, with settings."""
    house = House(tmp_path_factory.mktemp("house"))
    house.write(("127.0.0.1", 2525))
    return house


@pytest.fixture(scope="module")
def openssl(house: House, tmp_path_factory: pytest.TempPathFactory) -> OpenSsl:
    """The foreign opinion."""
    return OpenSsl(tmp_path_factory.mktemp("openssl"), anchors=house.anchors())


@pytest.fixture
def alice(house: House) -> Issued:
    return house.people[ALICE]


@pytest.fixture
def carol(house: House) -> Issued:
    return house.people[CAROL]


@pytest.fixture
def files(alice: Issued, tmp_path: Path) -> PemFiles:
    """Alice's certificate and key, in two files."""
    return alice.pem_files(tmp_path)


LETTER = Letter.with_attachments(sender=ALICE, to=CAROL, size=500)
PLAIN = LETTER.octets


def good(done: Done) -> bytes:
    """Expect status 0 and nothing on standard error; return standard output."""
    assert (done.status, done.err) == (0, ""), done
    return done.out


def refused(done: Done, status: int, pattern: str) -> None:
    """Expect this status, nothing on standard output, and one line that says this on standard error."""
    assert done.status == status, done
    assert done.out == b""
    [line] = done.errors
    assert re.fullmatch(rf"smime-gateway: {pattern}", line), line


# ---------------------------------------------------------------- sign


def identity_files(form: str, issued: Issued, folder: Path) -> list[object]:
    """Write somebody's key and certificate in a form; return the options that name them."""
    key, certificate = folder / "key", folder / "certificate"
    write_private(folder / "passphrase", PASSPHRASE + b"\n")
    locked = ["--passphrase-file", folder / "passphrase"]
    match form:
        case "PEM, two files":
            write_private(key, issued.key_octets())
            certificate.write_bytes(issued.certificate_pem + issued.chain_pem)
        case "PEM, one file":
            write_private(key, issued.certificate_pem + issued.chain_pem + issued.key_octets())
            return ["--signer", key]
        case "PEM, encrypted":
            write_private(key, issued.key_octets(PASSPHRASE))
            certificate.write_bytes(issued.certificate_pem + issued.chain_pem)
            return ["--signer", key, "--signer", certificate, *locked]
        case "DER, two files":
            write_private(key, issued.key_octets(form="der"))
            certificate.write_bytes(issued.certificate_der)
            chain = folder / "chain"
            chain.write_bytes(issued.chain_der[0])
            return ["--signer", key, "--signer", certificate, "--chain", chain]
        case "PKCS#12":
            write_private(key, issued.pkcs12())
            return ["--signer", key]
        case "PKCS#12, encrypted":
            write_private(key, issued.pkcs12(PASSPHRASE))
            return ["--signer", key, *locked]
    return ["--signer", key, "--signer", certificate]


FORMS = ["PEM, two files", "PEM, one file", "PEM, encrypted", "DER, two files", "PKCS#12", "PKCS#12, encrypted"]


@pytest.mark.parametrize("form", FORMS)
def test_sign_with_keys_in_every_form(form: str, alice: Issued, openssl: OpenSsl, tmp_path: Path) -> None:
    """Key and certificate in one file or two, PEM, DER or PKCS#12, with and without passphrase."""
    signed = good(cli("message", "sign", *identity_files(form, alice, tmp_path), stdin=PLAIN))

    assert signed.startswith(LETTER.fields)
    assert b"multipart/signed" in signed
    assert parts_of(openssl.verify(signed)) == parts_of(PLAIN)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("opaque", [[], ["--opaque"]], ids=["clear", "opaque"])
def test_sign_in_every_way(digest: str, opaque: list[str], house: House, files: PemFiles, openssl: OpenSsl) -> None:
    """Clear-signed and opaque with each digest: OpenSSL verifies it, and so do we."""
    who = ["--signer", files.key, "--signer", files.certificate]
    signed = good(cli("message", "sign", *who, "--digest", digest, *opaque, stdin=PLAIN))

    assert parts_of(openssl.verify(signed)) == parts_of(PLAIN)
    report = json.loads(good(cli("message", "verify", "--anchors", *house.anchors()[:1], "--json", stdin=signed)))
    assert report["result"] == "pass"
    [layer] = report["layers"]
    assert layer["form"] == ("signed-data" if opaque else "multipart/signed")
    assert layer["signers"][0]["digest"] == digest


def test_sign_reads_lf_as_crlf(files: PemFiles, openssl: OpenSsl) -> None:
    """Files whose lines all end in LF are read as CRLF; what is written has CRLF throughout."""
    who = ["--signer", files.key, "--signer", files.certificate]
    signed = good(cli("message", "sign", *who, stdin=PLAIN.replace(b"\r\n", b"\n")))

    assert not re.search(rb"(?<!\r)\n", signed)
    assert signed.startswith(LETTER.fields)
    assert parts_of(openssl.verify(signed)) == parts_of(PLAIN)


UNREADABLE = {
    "a mixture": (b"From: a@b\r\n\none\n", r"standard input: not readable as mail: bare LF at octet 11"),
    "a bare CR": (b"From: a@b\r\n\r\none\rtwo\r\n", r"standard input: not readable as mail: bare CR at octet \d+"),
    "NUL": (b"From: a@b\r\n\r\n\0\r\n", r"standard input: not readable as mail: NUL octet at octet \d+"),
    "nothing": (b"", r"standard input: not readable as mail: no header field"),
    "no header": (b"\r\njust text\r\n", r"standard input: not readable as mail: no header field"),
}
COMMANDS = {
    "sign": ["sign", "--signer", "{key}", "--signer", "{certificate}"],
    "encrypt": ["encrypt", "--recipient", "{certificate}"],
    "decrypt": ["decrypt", "--key", "{key}", "--key", "{certificate}"],
    "verify": ["verify", "--anchors", "{certificate}"],
    "inspect": ["inspect"],
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("command", COMMANDS)
def test_input_that_is_no_mail(command: str, name: str, files: PemFiles) -> None:
    """Status 3 from every command, one line, and no output."""
    octets, told = UNREADABLE[name]
    arguments = [one.format(key=files.key, certificate=files.certificate) for one in COMMANDS[command]]

    refused(cli("message", *arguments, stdin=octets), 3, told)


def test_sign_with_what_cannot_sign(alice: Issued, carol: Issued, files: PemFiles, tmp_path: Path) -> None:
    """Missing, unreadable, locked, not fitting: status 2, and what to do."""
    locked, other = tmp_path / "locked.key", tmp_path / "carol.crt"
    write_private(locked, alice.key_octets(PASSPHRASE))
    write_private(tmp_path / "wrong", b"wrong\n")
    other.write_bytes(carol.certificate_pem)
    nobody, empty = tmp_path / "nobody.pem", tmp_path / "empty.pem"
    empty.touch()
    certificate = ["--signer", files.certificate]
    for arguments, told in (
        (["--signer", nobody], rf"{nobody}: No such file or directory"),
        (["--signer", empty], rf"{empty}: neither PEM nor DER"),
        (certificate, rf"{files.certificate}: no private key"),
        (["--signer", files.key], rf"{files.key}: no certificate for the private key"),
        (["--signer", files.key, "--signer", other], r".*: the private key fits none of the certificates"),
        (["--signer", locked, *certificate], rf"{locked}: the private key is encrypted: its passphrase is needed"),
        (
            ["--signer", locked, *certificate, "--passphrase-file", tmp_path / "wrong"],
            rf"{locked}: the passphrase is wrong, or the private key is damaged",
        ),
        (["--signer", locked, "--passphrase-file", nobody], rf"{nobody}: No such file or directory"),
        (["--signer", files.key, *certificate, "--digest", "md5"], r"--digest md5: one of sha256, sha384, sha512"),
    ):
        refused(cli("message", "sign", *arguments, stdin=PLAIN), 2, told)


# ---------------------------------------------------------------- encrypt and decrypt


@pytest.mark.parametrize("cipher", ["aes-128-cbc", "aes-192-cbc", "aes-256-cbc"])
def test_encrypt_to_several(cipher: str, house: House, alice: Issued, openssl: OpenSsl, tmp_path: Path) -> None:
    """PEM and DER certificates; each recipient opens it with OpenSSL, and the layer says who they are."""
    carol, erin = house.people[CAROL], house.people[ERIN]
    pem, der = tmp_path / "carol.pem", tmp_path / "erin.der"
    pem.write_bytes(carol.certificate_pem + carol.chain_pem)
    der.write_bytes(erin.certificate_der)

    options = ["--recipient", pem, "--recipient", der, "--cipher", cipher]
    closed = good(cli("message", "encrypt", *options, stdin=PLAIN))

    assert closed.startswith(LETTER.fields)
    for one in (carol, erin):
        assert parts_of(openssl.decrypt(closed, one)) == parts_of(PLAIN)
    report = json.loads(good(cli("message", "inspect", "--json", stdin=closed)))
    [layer] = report["layers"]
    assert set(layer) == {*LAYER, "algorithm", "recipients", "opened", "reason"}
    assert (layer["type"], layer["form"], layer["algorithm"]) == ("encrypted", "enveloped-data", cipher)
    assert (len(layer["recipients"]), layer["opened"], layer["reason"]) == (2, False, "no-key")
    assert report["result"] == "none"


def test_encrypt_to_what_cannot_be(house: House, files: PemFiles, tmp_path: Path) -> None:
    """No certificate, a CA's, one that may not be encrypted to, a cipher that is none: status 2."""
    ca, signing = tmp_path / "ca.pem", tmp_path / "signing.pem"
    ca.write_bytes(house.partner.issuing.certificate_pem)
    signing.write_bytes(house.partner.identity("x@bank.example", key_usage=("digitalSignature",)).certificate_pem)
    for arguments, told in (
        (["--recipient", tmp_path / "none"], rf"{tmp_path}/none: No such file or directory"),
        (["--recipient", ca], r"--recipient: no certificate to encrypt to"),
        (["--recipient", signing], r"CN=x: its key usage does not allow to encrypt to it"),
        (["--recipient", files.key], rf"{files.key}: .*"),
        (["--recipient", files.certificate, "--cipher", "rot13"], r"--cipher rot13: one of aes-.*"),
    ):
        refused(cli("message", "encrypt", *arguments, stdin=PLAIN), 2, told)


@pytest.mark.parametrize("form", FORMS)
def test_decrypt_with_keys_in_every_form(form: str, alice: Issued, openssl: OpenSsl, tmp_path: Path) -> None:
    """What OpenSSL has encrypted comes out whole, its outer fields with it; the report says what was done."""
    closed = LETTER.fields + openssl.encrypt(LETTER.entity, alice)
    options = identity_files(form, alice, tmp_path)
    options = ["--key" if one in ("--signer", "--chain") else one for one in options]

    opened = good(cli("message", "decrypt", *options, "--report", tmp_path / "report.json", stdin=closed))

    assert opened.startswith(LETTER.fields)
    assert parts_of(opened) == parts_of(PLAIN)
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {"result", "layers", "problems"}
    [layer] = report["layers"]
    assert (layer["opened"], layer["reason"], layer["algorithm"]) == (True, None, "aes-256-cbc")


def test_decrypt_leaves_signatures(alice: Issued, carol: Issued, openssl: OpenSsl, files: PemFiles) -> None:
    """Only encrypted layers go; the signature inside still verifies."""
    signed = openssl.sign(LETTER.entity, carol)
    closed = LETTER.fields + openssl.encrypt(signed, alice)

    opened = good(cli("message", "decrypt", "--key", files.key, "--key", files.certificate, stdin=closed))

    assert parts_of(openssl.verify(opened)) == parts_of(PLAIN)


def test_decrypt_writes_nothing_on_failure(
    alice: Issued, carol: Issued, openssl: OpenSsl, files: PemFiles, tmp_path: Path
) -> None:
    """Nothing encrypted, no key, broken: status 1, empty standard output, a report all the same."""
    keys = ["--key", files.key, "--key", files.certificate]
    closed = LETTER.fields + openssl.encrypt(LETTER.entity, alice)
    head, _, body = closed.partition(b"\r\n\r\n")
    for name, message, told in (
        ("plain", PLAIN, "nothing here is encrypted"),
        ("other", LETTER.fields + openssl.encrypt(LETTER.entity, carol), "no-key: .*"),
        ("cut", head + b"\r\n\r\n" + body[:400] + b"\r\n", "broken: .*"),
    ):
        report = tmp_path / f"{name}.json"
        refused(cli("message", "decrypt", *keys, "--report", report, stdin=message), 1, told)
        assert not any(layer.get("opened") for layer in json.loads(report.read_text())["layers"])


# ---------------------------------------------------------------- verify and inspect


def verify(message: bytes, *options: object) -> tuple[int, dict]:
    """Verify with --json; return status and object."""
    done = cli("message", "verify", *options, "--json", stdin=message)
    assert done.err == "", done
    return done.status, json.loads(done.text)


def test_verify_json(house: House, carol: Issued, openssl: OpenSsl) -> None:
    """The object of the contract, key by key."""
    letter = Letter.plain(sender=CAROL, to=ALICE)
    status, report = verify(
        letter.fields + openssl.sign(letter.entity, carol), *(o for a in house.anchors() for o in ("--anchors", a))
    )

    assert status == 0
    assert set(report) == {"result", "layers", "problems"}
    assert (report["result"], report["problems"]) == ("pass", [])
    [layer] = report["layers"]
    assert set(layer) == {*LAYER, "signers"}
    assert (layer["type"], layer["form"]) == ("signed", "multipart/signed")
    [signer] = layer["signers"]
    assert set(signer) == SIGNER
    assert signer["email"] == [CAROL]
    assert (signer["subject"], signer["issuer"]) == ("CN=carol", "CN=Bank Issuing CA,O=Bank")
    assert int(signer["serial"], 16) == carol.serial
    assert (signer["digest"], signer["signature"]) == ("sha256", "rsa")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", signer["signing_time"])
    assert (signer["intact"], signer["valid"]) == (True, True)
    assert (signer["path"], signer["revocation"], signer["identity"]) == ("valid", "unchecked", "match")
    assert (signer["algorithm"], signer["reason"]) == ("acceptable", "")


@pytest.fixture(scope="module")
def from_carol(house: House, openssl: OpenSsl) -> bytes:
    """A message that Carol has signed, her chain with it."""
    letter = Letter.plain(sender=CAROL, to=ALICE)
    return letter.fields + openssl.sign(letter.entity, house.people[CAROL])


def test_verify_by_anchors_in_every_form(house: House, from_carol: bytes, tmp_path: Path) -> None:
    """A root in PEM or DER, a folder, an intermediate CA; with no anchor that fits, policy and status 1."""
    root, issuing = house.partner.root, house.partner.issuing
    (tmp_path / "root.der").write_bytes(root.certificate_der)
    (tmp_path / "issuing.pem").write_bytes(issuing.certificate_pem)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "README.md").write_text("Roots of partners.\n")
    (folder / "root").write_bytes(root.certificate_pem)
    for anchor in (tmp_path / "root.der", tmp_path / "issuing.pem", house.folder / "anchors", folder):
        assert verify(from_carol, "--anchors", anchor)[0] == 0, anchor
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    refused(cli("message", "verify", "--anchors", folder, stdin=from_carol), 2, rf"{folder}/broken\.pem: .*")
    status, report = verify(from_carol, "--anchors", house.folder / "anchors" / "acme.pem")
    assert (status, report["result"]) == (1, "policy")
    assert report["layers"][0]["signers"][0]["path"] in ("untrusted", "incomplete")


def test_verify_with_further_certificates(house: House, carol: Issued, openssl: OpenSsl, tmp_path: Path) -> None:
    """A message without the issuing CA's certificate: --certs gives it."""
    alone = Issued(certificate=carol.certificate, key=carol.key, issuer=None)
    letter = Letter.plain(sender=CAROL, to=ALICE)
    message = letter.fields + openssl.sign(letter.entity, alone)
    (tmp_path / "issuing.pem").write_bytes(house.partner.issuing.certificate_pem)
    anchors = ["--anchors", house.folder / "anchors"]

    status, report = verify(message, *anchors)
    assert (status, report["layers"][0]["signers"][0]["path"]) == (1, "incomplete")
    assert verify(message, *anchors, "--certs", tmp_path / "issuing.pem")[0] == 0


def test_verify_at_a_moment(house: House, from_carol: bytes) -> None:
    """--moment takes RFC 3339: before the certificate, after it; a date without offset is wrong usage."""
    anchors = ["--anchors", house.folder / "anchors"]
    for moment, path in (("2026-06-01T12:00:00Z", "not-yet-valid"), ("2040-06-01T12:00:00+02:00", "expired")):
        status, report = verify(from_carol, *anchors, "--moment", moment)
        assert (status, report["result"]) == (1, "policy")
        assert report["layers"][0]["signers"][0]["path"] == path
    for moment in ("2026-06-01T12:00:00", "yesterday"):
        done = cli("message", "verify", *anchors, "--moment", moment, stdin=from_carol)
        refused(done, 2, rf"--moment {moment}: .*")


def test_verify_by_revocation_lists(house: House, carol: Issued, from_carol: bytes, tmp_path: Path) -> None:
    """A CRL that names the signer, one that does not, in DER and PEM; the root's must be there too."""
    now = datetime.now(UTC)
    times = {"this_update": now - timedelta(hours=1), "next_update": now + timedelta(days=1)}
    root, issuing = house.partner.root, house.partner.issuing
    (tmp_path / "root.crl").write_bytes(root.crl(**times))
    (tmp_path / "good.crl").write_bytes(as_pem(issuing.crl(**times)))
    revoked = issuing.crl(revoked=[carol], revoked_at=now - timedelta(hours=2), **times)
    (tmp_path / "revoked.crl").write_bytes(revoked)
    options = ["--anchors", house.folder / "anchors", "--crl", tmp_path / "root.crl", "--crl"]

    status, report = verify(from_carol, *options, tmp_path / "good.crl")
    assert (status, report["layers"][0]["signers"][0]["revocation"]) == (0, "good")
    status, report = verify(from_carol, *options, tmp_path / "revoked.crl")
    [signer] = report["layers"][0]["signers"]
    assert (status, report["result"]) == (1, "policy")
    assert (signer["path"], signer["revocation"]) == ("revoked", "revoked")
    refused(cli("message", "verify", *options, tmp_path / "none.crl", stdin=from_carol), 2, r".*none\.crl: No such .*")


def as_pem(crl_der: bytes) -> bytes:
    return x509.load_der_x509_crl(crl_der).public_bytes(serialization.Encoding.PEM)


def test_verify_what_does_not_pass(house: House, from_carol: bytes) -> None:
    """Tampered, nobody's, unsigned: the word, and status 1; the text form says the same."""
    anchors = ["--anchors", house.folder / "anchors"]
    tampered = from_carol.replace(b"Hello.", b"Hullo.")
    other = from_carol.replace(b"From: carol@", b"From: mallory@")
    for message, word in ((tampered, "fail"), (other, "policy"), (PLAIN, "none")):
        status, report = verify(message, *anchors)
        assert (status, report["result"]) == (1, word)
        done = cli("message", "verify", *anchors, stdin=message)
        assert (done.status, done.text.splitlines()[0]) == (1, f"result: {word}")
    assert verify(other, *anchors)[1]["layers"][0]["signers"][0]["identity"] == "mismatch"


def test_verify_opens_with_keys(house: House, alice: Issued, carol: Issued, openssl: OpenSsl, files: PemFiles) -> None:
    """--key opens the encrypted layer first; without it the result is none and a problem says why."""
    letter = Letter.plain(sender=CAROL, to=ALICE)
    message = letter.fields + openssl.encrypt(openssl.sign(letter.entity, carol), alice)
    anchors = ["--anchors", house.folder / "anchors"]

    status, report = verify(message, *anchors, "--key", files.key, "--key", files.certificate)
    assert status == 0
    assert [layer["type"] for layer in report["layers"]] == ["encrypted", "signed"]
    status, report = verify(message, *anchors)
    assert (status, report["result"]) == (1, "none")
    assert [problem["code"] for problem in report["problems"]] == ["no-key"]
    assert set(report["problems"][0]) == {"code", "text"}


def test_inspect(from_carol: bytes, tmp_path: Path) -> None:
    """A file or standard input, JSON or text; no keys, no anchors, so the path is unchecked."""
    (tmp_path / "mail.eml").write_bytes(from_carol.replace(b"\r\n", b"\n"))
    by_file = good(cli("message", "inspect", tmp_path / "mail.eml", "--json"))

    assert by_file == good(cli("message", "inspect", "--json", stdin=from_carol))
    report = json.loads(by_file)
    assert report["layers"][0]["signers"][0]["path"] == "unchecked"
    text = good(cli("message", "inspect", stdin=from_carol)).decode()
    assert "layer 1: signed, multipart/signed" in text
    assert f"signer: {CAROL} (CN=carol)" in text
    assert "intact: yes" in text
    refused(cli("message", "inspect", tmp_path / "none.eml"), 3, rf"{tmp_path}/none\.eml: No such file or directory")


# ---------------------------------------------------------------- process


def test_process(house: House, openssl: OpenSsl) -> None:
    """The whole pipeline on one message: the record and every outgoing message in one object."""
    options = ["-c", house.settings, "--from", ALICE, "--to", CAROL, "--to", FRANK]
    done = cli("message", "process", *options, "--listener", "users", "--json", stdin=PLAIN)

    report = json.loads(good(done))
    assert (report["outcome"], report["code"], report["listener"]) == ("accepted", 250, "users")
    assert [one["rule"] for one in report["recipients"]] == ["must-encrypt", "outbound"]
    assert [one["recipients"] for one in report["messages"]] == [[CAROL], [FRANK]]
    closed, signed = (decoded(one["content_base64"]) for one in report["messages"])
    assert parts_of(openssl.verify(openssl.decrypt(closed, house.people[CAROL]))) == parts_of(PLAIN)
    assert parts_of(openssl.verify(signed)) == parts_of(PLAIN)


def decoded(text: str) -> bytes:
    part = message_from_bytes(b"Content-Transfer-Encoding: base64\n\n" + text.encode())
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def test_process_in_words_and_files(house: House, openssl: OpenSsl, tmp_path: Path) -> None:
    """One outgoing message goes to standard output, several to a folder; the record is told on standard error."""
    options = ["-c", house.settings, "--from", ALICE, "--listener", "users"]
    done = cli("message", "process", *options, "--to", FRANK, stdin=PLAIN)
    assert done.status == 0
    assert "by rule outbound: protected" in done.err
    assert parts_of(openssl.verify(done.out)) == parts_of(PLAIN)

    done = cli("message", "process", *options, "--to", FRANK, "--to", CAROL, "--output", tmp_path / "out", stdin=PLAIN)
    assert (done.status, done.out) == (0, b"")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["1.eml", "2.eml"]


def test_process_that_is_refused(house: House) -> None:
    """Status 1 where the client would not hear 250; 2 and 3 as everywhere."""
    base = ["message", "process", "-c", house.settings, "--from", ALICE]
    done = cli(*base, "--to", DAVE, "--listener", "users", "--json", stdin=PLAIN)
    report = json.loads(done.text)
    assert (done.status, report["code"], report["messages"]) == (1, 550, [])
    assert report["recipients"][0]["reason"] == "no-certificate"

    refused(cli(*base, "--to", BOB, "--listener", "nobody", stdin=PLAIN), 2, r"--listener nobody: the settings have .*")
    refused(cli(*base, "--to", "no address", stdin=PLAIN), 2, r"no address: .*")
    refused(cli(*base, "--to", BOB, stdin=b"\r\n\r\n"), 3, r"standard input: not readable as mail: .*")
    done = cli("message", "process", "-c", house.folder / "none.yaml", "--from", ALICE, "--to", BOB, stdin=PLAIN)
    refused(done, 1, rf"{house.folder}/none\.yaml: No such file or directory")


def test_process_without_proof(house: House) -> None:
    """From outside the networks that prove a sender nothing is signed."""
    options = ["-c", house.settings, "--from", ALICE, "--to", FRANK, "--listener", "users", "--client", "192.0.2.1"]
    done = cli("message", "process", *options, "--json", stdin=PLAIN)

    report = json.loads(done.text)
    assert (done.status, report["outcome"], report["proof"]) == (1, "protection-impossible", "none")


# ---------------------------------------------------------------- policy


def test_policy_explain(house: House, tmp_path: Path) -> None:
    """Which rule decides for each recipient and why; by header, by message; JSON and text."""
    base = ["policy", "explain", "-c", house.settings, "--from", ALICE, "--to", CAROL, "--to", FRANK]
    text = good(cli(*base, "--header", "Subject: x")).decode()
    assert "must-encrypt" in text
    assert "outbound" in text

    (tmp_path / "mail.eml").write_bytes(PLAIN)
    report = json.loads(good(cli(*base, "--message", tmp_path / "mail.eml", "--json")))
    assert [one["decision"]["rule"] for one in report["recipients"]] == ["must-encrypt", "outbound"]


def test_policy_explain_tells_what_is_missing(house: House) -> None:
    """A rule that asks for a fact that was not given leaves it open: status 1. Wrong options: 2."""
    base = ["policy", "explain", "-c", house.settings]
    done = cli(*base, "--from", "<>", "--to", CAROL)
    assert (done.status, done.err) == (1, "")
    assert "header" in done.text
    refused(cli(*base, "--from", ALICE, "--to", CAROL, "--header", "no colon"), 2, r"--header 'no colon': .*")
    refused(cli(*base, "--from", ALICE, "--to", CAROL, "--listener", "x"), 2, r"--listener x: the settings have .*")


def test_policy_test(house: House, tmp_path: Path) -> None:
    """The shipped tables pass; a case that fails is told with file, line and difference; no table is status 1."""
    done = cli("policy", "test", house.folder / "policies")
    assert done.status == 0
    assert re.search(r"^\d+ passed, 0 failed$", done.text, re.MULTILINE)

    (tmp_path / "10-x.yaml").write_text("default: pass\n")
    refused_tables = cli("policy", "test", tmp_path)
    assert refused_tables.status == 1
    cases = (
        "cases:\n  - {name: wrong, from: a@b.test, to: c@d.test, direction: inbound,\n"
        "     expect: {rule: default, action: reject}}\n"
    )
    (tmp_path / "10-x.cases.yaml").write_text(cases)
    done = cli("policy", "test", tmp_path)
    assert done.status == 1
    assert f"FAILED  {tmp_path}/10-x.cases.yaml:2: wrong" in done.text
    assert "0 passed, 1 failed" in done.text
    refused(cli("policy", "test", tmp_path / "none"), 2, rf"{tmp_path}/none: no such file or folder")


# ---------------------------------------------------------------- certs


def test_certs_generate_a_small_house(tmp_path: Path) -> None:
    """Root, issuing CA, people: keys 0600 and never over another file; what they sign verifies by the root."""
    options = ["certs", "generate", "-o", tmp_path]
    fast = ["--key", "p-256"]
    good(cli(*options, "--profile", "root", "--name", "root", *fast))
    root = ["--ca", tmp_path / "root.crt", "--ca", tmp_path / "root.key"]
    good(cli(*options, "--profile", "issuing-ca", "--name", "issuing", *root, *fast))
    issuing = ["--ca", tmp_path / "issuing.crt", "--ca", tmp_path / "issuing.key"]
    made = good(cli(*options, "--email", ALICE, *issuing, *fast)).decode().split()

    assert made == [f"{tmp_path}/{ALICE}.crt", f"{tmp_path}/{ALICE}.key"]
    assert stat.S_IMODE(Path(made[1]).stat().st_mode) == 0o600
    signed = good(cli("message", "sign", "--signer", made[0], "--signer", made[1], stdin=PLAIN))
    assert verify(signed, "--anchors", tmp_path / "root.crt")[0] == 0
    refused(cli(*options, "--email", ALICE, *issuing, *fast), 2, rf"{tmp_path}/{ALICE}\.key: File exists")
    refused(cli(*options, "--email", BOB, "--ca", tmp_path / "root.crt"), 2, r".*: no certificate with its private key")
    refused(cli(*options, "--email", "nobody", *issuing), 2, r"nobody: .*")


def test_certs_list_and_show(house: House, alice: Issued) -> None:
    """Those of the settings by their use, or those of files; JSON and table."""
    listed = json.loads(good(cli("certs", "list", "-c", house.settings, "--json")))
    assert [one["use"] for one in listed] == ["own", "own", "other", "other", "anchor", "anchor"]
    assert {
        "use", "subject", "issuer", "serial", "emails", "not_before", "not_after", "days_left", "key", "ca",
        "may_sign", "may_encrypt", "email_protection", "sha256",
    } == set(listed[0])  # fmt: skip
    table = good(cli("certs", "list", "-c", house.settings)).decode()
    assert re.search(rf"^own +{ALICE} +CN=alice +rsa-2048 +\d{{4}}-\d\d-\d\d \(36[45] days\)", table, re.MULTILINE)

    of_folder = json.loads(good(cli("certs", "list", house.folder / "keys", "--json")))
    assert sorted(one["emails"] for one in of_folder) == [[], [ALICE], [BOB]]
    refused(cli("certs", "list", house.folder), 2, rf"{house.folder}: no certificate in this folder")

    file = house.folder / "keys" / f"{ALICE}.crt"
    [first, issuing] = json.loads(good(cli("certs", "show", file, "--json")))
    assert (first["emails"], first["ca"], issuing["ca"]) == ([ALICE], False, True)
    assert int(first["serial"], 16) == alice.serial
    text = good(cli("certs", "show", file)).decode()
    assert f"emails: {ALICE}\n" in text
    assert "ca: no\n" in text
    refused(cli("certs", "show", house.folder / "none.crt"), 2, rf"{house.folder}/none\.crt: No such file or directory")


# ---------------------------------------------------------------- usage, and real processes

WRONG = {
    "no such command": ["nonsense"],
    "no settings": ["serve"],
    "no signer": ["message", "sign"],
    "no anchors": ["message", "verify"],
    "an option that is none": ["message", "inspect", "--nonsense"],
    "a profile that is none": ["certs", "generate", "-o", "x", "--profile", "x"],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage(name: str) -> None:
    """Status 2, told on standard error, nothing on standard output."""
    done = cli(*WRONG[name])

    assert (done.status, done.out) == (2, b"")
    assert "smime-gateway" in done.err


@pytest.mark.parametrize("transaction", ["../../etc/passwd", "", "x" * 100])
def test_why_of_what_is_no_id(house: House, transaction: str) -> None:
    """No path, no pattern: status 2."""
    refused(cli("why", transaction, "-c", house.settings), 2, r".*: not a transaction id")


def test_files_that_cannot_be_written(house: House, alice: Issued, openssl: OpenSsl, files: PemFiles) -> None:
    """A report or an output folder where none can be: one line, no traceback."""
    closed = LETTER.fields + openssl.encrypt(LETTER.entity, alice)
    keys = ["--key", files.key, "--key", files.certificate]
    done = cli("message", "decrypt", *keys, "--report", "/nonexistent/report.json", stdin=closed)
    refused(done, 1, r"/nonexistent/report\.json: No such file or directory")
    options = ["-c", house.settings, "--from", ALICE, "--to", BOB, "--output", files.key]
    refused(cli("message", "process", *options, stdin=PLAIN), 1, rf"{files.key}: File exists")


def test_real_processes(house: House, files: PemFiles, openssl: OpenSsl) -> None:
    """As a shell would run it: standard input, output and error, and the status."""
    who = ["--signer", files.key, "--signer", files.certificate]
    signed = good(cli_process("message", "sign", *who, stdin=PLAIN))
    assert parts_of(openssl.verify(signed)) == parts_of(PLAIN)
    done = cli_process("message", "verify", "--anchors", house.folder / "anchors", stdin=signed.replace(b"png", b"gif"))
    assert (done.status, done.text.splitlines()[0]) == (1, "result: fail")
    refused(cli_process("message", "sign", *who, stdin=b""), 3, r"standard input: .*")
    assert re.fullmatch(rb"smime-gateway \d+\.\d+\.\d+\S*\n", good(cli_process("--version")))
    usage = cli_process("serve")
    assert usage.status == 2


def test_demo() -> None:
    """Everything as it has to be: exit 0."""
    done = cli_process("demo", seconds=90)

    assert done.status == 0, done.text + done.err
    assert re.search(r"^(\d+) of \1 as they have to be, each cross-checked with openssl cms", done.text, re.MULTILINE)
