"""OpenSSL's ``cms`` command verifies and decrypts what we build, and we verify and open what it builds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.cms import (
    ContentCipher,
    Digest,
    Verdict,
    build_enveloped_data,
    build_signed_data,
    check_signature,
    encrypt_content,
    find_certificate,
    matches,
    open_enveloped_data,
    parse_enveloped_data,
    parse_signed_data,
    prepare_recipient,
    prepare_signer,
)
from tests.support.peers import ENVIRONMENT, require
from tests.support.pki import MOMENT, Issued, KeyKind, PemFiles, Pki
from tests.unit.cms.forge import Key

pytestmark = pytest.mark.interop

KINDS: list[KeyKind] = ["rsa-2048", "ec-p256", "ec-p384"]
DIGESTS = [Digest.SHA256, Digest.SHA384, Digest.SHA512]
CIPHERS = {
    ContentCipher.AES_128_CBC: "-aes128",
    ContentCipher.AES_192_CBC: "-aes192",
    ContentCipher.AES_256_CBC: "-aes256",
    ContentCipher.DES_EDE3_CBC: "-des3",
}
CONTENT = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"Line with \xc3\xa9 and\ttab.\r\n" * 3000


@pytest.fixture(scope="module")
def pki() -> Pki:
    """A root and an issuing CA."""
    require("openssl", packages="openssl")
    return Pki.make()


class Openssl:
    """The command in a folder of its own."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.folder = folder
        self.anchor = pki.anchor_file(folder)

    def __call__(self, *arguments: str | Path) -> bytes:
        """Run ``openssl cms`` with ``content`` and ``message`` in the folder; return what it writes."""
        output = self.folder / "output"
        done = subprocess.run(
            ["openssl", "cms", "-binary", "-out", str(output), *map(str, arguments)],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return output.read_bytes()

    def write(self, name: str, octets: bytes) -> Path:
        (self.folder / name).write_bytes(octets)
        return self.folder / name

    def verify(self, message: bytes, *more: str | Path) -> bytes:
        """Verify by the root, at the tests' moment; return the content."""
        at = str(int(MOMENT.timestamp()))
        path = self.write("message", message)
        arguments = ("-inform", "DER", "-in", path, "-CAfile", self.anchor, "-purpose", "smimesign", "-attime", at)
        return self("-verify", *arguments, *more)

    def decrypt(self, message: bytes, files: PemFiles) -> bytes:
        path = self.write("message", message)
        return self("-decrypt", "-inform", "DER", "-in", path, "-recip", files.certificate, "-inkey", files.key)


@pytest.fixture
def openssl(tmp_path: Path, pki: Pki) -> Openssl:
    """The command that the tests talk to."""
    return Openssl(tmp_path, pki)


def signed_by(signer: Issued, digest: Digest, *, detached: bool) -> bytes:
    key = Key(signer.key)
    prepared = prepare_signer(signer.certificate_der, signer.chain_der, scheme=key.scheme, digest=digest)
    return build_signed_data(prepared, key, CONTENT, moment=MOMENT, detached=detached)


def assert_verifies(message: bytes, signer: Issued, digest: Digest, *, detached: bool = False) -> None:
    signed = parse_signed_data(message)
    assert signed.content == (None if detached else CONTENT)
    (info,) = signed.signers
    certificate = find_certificate(info, signed.certificates)
    assert certificate == signer.certificate_der
    check = check_signature(info, certificate, CONTENT)
    assert (check.intact, check.valid, check.verdict, check.reason) == (True, True, Verdict.ACCEPTABLE, "")
    assert check.digest == digest.label
    assert not check_signature(info, certificate, CONTENT[:-1]).intact


@pytest.mark.parametrize("detached", [False, True], ids=["opaque", "detached"])
@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_verifies_ours(openssl: Openssl, pki: Pki, kind: KeyKind, digest: Digest, detached: bool) -> None:
    """Signature, signed attributes and certification path."""
    signer = pki.identity("signer@acme.example", key_kind=kind)
    message = signed_by(signer, digest, detached=detached)
    content = ["-content", str(openssl.write("content", CONTENT))] if detached else []
    assert openssl.verify(message, *content) == CONTENT


@pytest.mark.parametrize("detached", [False, True], ids=["opaque", "detached"])
@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("kind", KINDS)
def test_we_verify_openssl_s(openssl: Openssl, pki: Pki, kind: KeyKind, digest: Digest, detached: bool) -> None:
    """The usual form."""
    signer = pki.identity("signer@acme.example", key_kind=kind)
    message = sign(openssl, signer, "-md", digest.label, *([] if detached else ["-nodetach"]))
    assert_verifies(message, signer, digest, detached=detached)


def sign(openssl: Openssl, signer: Issued, *more: str) -> bytes:
    files = signer.pem_files(openssl.folder)
    content = openssl.write("content", CONTENT)
    return openssl("-sign", "-in", content, "-outform", "DER", "-signer", files.certificate, "-inkey", files.key, *more)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["-keyid"], id="subject key identifier"),
        pytest.param(["-noattr"], id="no signed attributes"),
        pytest.param(["-noattr", "-keyid"], id="no signed attributes, subject key identifier"),
        pytest.param(["-nosmimecap"], id="no capabilities"),
        pytest.param(["-stream", "-indef"], id="indefinite length"),
        pytest.param(["-cades"], id="signing certificate attribute"),
    ],
)
@pytest.mark.parametrize("kind", ["rsa-2048", "ec-p256"])
def test_we_verify_other_forms(openssl: Openssl, pki: Pki, kind: KeyKind, options: list[str]) -> None:
    """What its options make of the form."""
    signer = pki.identity("signer@acme.example", key_kind=kind)
    message = sign(openssl, signer, "-md", "sha256", "-nodetach", *options)
    assert_verifies(message, signer, Digest.SHA256)


def test_we_verify_two_signers(openssl: Openssl, pki: Pki) -> None:
    """RSA and ECDSA beside each other, each with its own digest."""
    first = pki.identity("first@acme.example")
    second = pki.identity("second@acme.example", key_kind="ec-p384")
    files = second.pem_files(openssl.folder)
    message = sign(
        openssl, first, "-md", "sha512", "-nodetach", "-signer", str(files.certificate), "-inkey", str(files.key)
    )
    signed = parse_signed_data(message)
    assert len(signed.signers) == 2
    for info in signed.signers:
        certificate = find_certificate(info, signed.certificates)
        assert certificate is not None
        check = check_signature(info, certificate, CONTENT)
        assert (check.intact, check.valid) == (True, True)


def test_certificates_of_certs_only(openssl: Openssl, pki: Pki) -> None:
    """``crl2pkcs7 -nocrl`` writes what RFC 8551 3.8 calls certs-only."""
    alice = pki.identity("alice@acme.example")
    files = alice.pem_files(openssl.folder)
    done = subprocess.run(
        ["openssl", "crl2pkcs7", "-nocrl", "-certfile", str(files.certificate), "-outform", "DER"],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=30,
        check=True,
    )
    signed = parse_signed_data(done.stdout)
    assert signed.is_certs_only
    assert signed.certificates == (alice.certificate_der, pki.issuing.certificate_der)


@pytest.mark.parametrize("cipher", [cipher for cipher in CIPHERS if cipher.verdict is Verdict.ACCEPTABLE])
def test_openssl_decrypts_ours(openssl: Openssl, pki: Pki, cipher: ContentCipher) -> None:
    """Each of two recipients."""
    owners = [pki.identity("alice@acme.example"), pki.identity("bob@acme.example", key_kind="rsa-3072")]
    message = build_enveloped_data(
        encrypt_content(CONTENT, cipher), [prepare_recipient(one.certificate_der) for one in owners]
    )
    for owner in owners:
        assert openssl.decrypt(message, owner.pem_files(openssl.folder)) == CONTENT


@pytest.mark.parametrize(
    "options", [[], ["-keyid"], ["-stream", "-indef"]], ids=["usual", "key identifier", "streamed"]
)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_we_open_openssl_s(openssl: Openssl, pki: Pki, cipher: ContentCipher, options: list[str]) -> None:
    """For either of two recipients, in the usual form and in others."""
    owners = [pki.identity("alice@acme.example"), pki.identity("bob@acme.example", key_kind="rsa-3072")]
    certificates = [one.pem_files(openssl.folder).certificate for one in owners]
    content = openssl.write("content", CONTENT)
    message = openssl("-encrypt", "-in", content, "-outform", "DER", CIPHERS[cipher], *options, *certificates)
    view = parse_enveloped_data(message)
    assert view.cipher is cipher
    assert len(view.recipients) == 2
    for owner in owners:
        (recipient,) = (one for one in view.recipients if matches(one, owner.certificate_der))
        assert open_enveloped_data(view, recipient, Key(owner.key)) == CONTENT
