"""OpenSSL reads our whole messages and we read OpenSSL's: signing, encrypting, both, in every form."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.cms import ContentCipher, Digest
from gateway.mime import split_content_fields
from gateway.smime import (
    ResultWord,
    SignedForm,
    assemble,
    check_enveloped,
    check_signed,
    envelop,
    prepare,
    seal,
    sign,
)
from tests.support.pki import MOMENT, Issued, write_private
from tests.unit.smime.agents import MESSAGE, alice, bob, eve, pki, received, recipient, signer

OPENSSL = shutil.which("openssl")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(OPENSSL is None and os.environ.get("CI") != "true", reason="install openssl"),
]

ATTIME = str(int(MOMENT.timestamp()))
ENTITY = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    b"The numbers.\r\n.\r\n\r\n--b\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nAAECAwQF\r\n--b--\r\n"
)
MIXED = MESSAGE.partition(b"MIME-Version")[0] + b"MIME-Version: 1.0\r\n" + ENTITY
ALICE = pytest.param("rsa-2048", id="rsa")
CURVES = [pytest.param(kind, id=kind) for kind in ("ec-p256", "ec-p384")]


class Openssl:
    """``openssl cms`` with the tests' PKI in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.anchor = pki().anchor_file(folder)

    def cms(self, *arguments: object, message: bytes) -> bytes:
        """Run it on a message and return what it writes."""
        assert OPENSSL is not None, "install openssl"
        source, target = self._folder / "in.eml", self._folder / "out"
        source.write_bytes(message)
        target.unlink(missing_ok=True)
        operation, *further = map(str, arguments)
        command = [OPENSSL, "cms", operation, "-in", str(source), "-out", str(target), *further]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return target.read_bytes()

    def files(self, issued: Issued) -> tuple[Path, Path, Path]:
        """Certificate, key and chain of a person."""
        files = issued.pem_files(self._folder)
        certificate = self._folder / f"{issued.serial:x}.leaf.crt"
        certificate.write_bytes(issued.certificate_pem)
        write_private(files.key, issued.key_octets())
        return certificate, files.key, files.chain

    def verify(self, message: bytes) -> bytes:
        """Verify signature and path at the tests' moment; return the signed content."""
        return self.cms("-verify", "-CAfile", self.anchor, "-attime", ATTIME, "-purpose", "smimesign", message=message)

    def decrypt(self, message: bytes, issued: Issued) -> bytes:
        """Decrypt as this person; return the content."""
        certificate, key, _ = self.files(issued)
        return self.cms("-decrypt", "-recip", certificate, "-inkey", key, message=message)


@pytest.fixture
def openssl(tmp_path: Path) -> Openssl:
    return Openssl(tmp_path)


def person(kind: str) -> Issued:
    return alice() if kind == "rsa-2048" else pki().identity("alice@acme.example", key_kind=kind, key_index=40)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", list(SignedForm))
@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
@pytest.mark.parametrize("kind", [ALICE, *CURVES])
def test_openssl_verifies_ours(openssl: Openssl, kind: str, digest: Digest, form: SignedForm) -> None:
    """Content and path, from the whole message as it goes out."""
    taken = prepare(MIXED)
    identity = signer(person(kind), digest=digest)
    buffers = assemble(taken.outer_fields, sign(taken, identity, moment=MOMENT, boundary="=_outer", form=form))
    check_signed(buffers, taken, identity, form=form)
    assert openssl.verify(b"".join(buffers)) == taken.entity


@pytest.mark.parametrize("cipher", [cipher for cipher in ContentCipher if "aes" in cipher.label])
def test_openssl_opens_ours(openssl: Openssl, cipher: ContentCipher) -> None:
    """Each recipient, each cipher that we write."""
    taken = prepare(MIXED)
    sealed = seal(taken.entity, cipher)
    recipients = [recipient(bob()), recipient(eve())]
    buffers = assemble(taken.outer_fields, envelop(sealed, recipients))
    check_enveloped(buffers, sealed, recipients)
    for one in (bob(), eve()):
        assert openssl.decrypt(b"".join(buffers), one) == taken.entity


def test_openssl_opens_and_verifies_ours(openssl: Openssl) -> None:
    """Signed, then encrypted."""
    taken = prepare(MIXED)
    protected = sign(taken, signer(alice()), moment=MOMENT, boundary="=_outer")
    message = b"".join(assemble(taken.outer_fields, envelop(seal(protected.buffers), [recipient(bob())])))
    inner = openssl.decrypt(message, bob())
    assert inner == b"".join(protected.buffers)
    assert openssl.verify(inner) == taken.entity


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-md", "sha256"), id="clear, sha256"),
        pytest.param(("-md", "sha512"), id="clear, sha512"),
        pytest.param(("-md", "sha256", "-nodetach"), id="opaque"),
        pytest.param(("-md", "sha256", "-nodetach", "-keyid"), id="by key identifier"),
        pytest.param(("-md", "sha256", "-noattr"), id="no signed attributes"),
        pytest.param(("-md", "sha256", "-nodetach", "-stream", "-indef"), id="indefinite length"),
    ],
)
@pytest.mark.parametrize("kind", [ALICE, *CURVES])
def test_we_verify_openssl_s(openssl: Openssl, kind: str, options: tuple[str, ...]) -> None:
    """Every form that OpenSSL writes passes here, and its content is the next layer."""
    certificate, key, chain = openssl.files(person(kind))
    made = openssl.cms(
        "-sign", "-binary", "-crlfeol", *options, "-signer", certificate, "-inkey", key, "-certfile", chain,
        message=ENTITY,
    )  # fmt: skip
    message = b"From: alice@acme.example\r\n" + as_crlf(made)
    found = received(message)
    assert found.report.result is ResultWord.PASS, found.report.to_json()


@pytest.mark.parametrize("cipher", ["-aes256", "-aes192", "-aes128", "-des3"])
@pytest.mark.parametrize("options", [(), ("-keyid",), ("-stream", "-indef")])
def test_we_open_openssl_s(openssl: Openssl, cipher: str, options: tuple[str, ...]) -> None:
    """The content comes out octet for octet, for each of two recipients."""
    recipients = [openssl.files(one)[0] for one in (eve(), bob())]
    made = openssl.cms("-encrypt", "-binary", cipher, *options, *recipients, message=ENTITY)
    message = b"From: alice@acme.example\r\n" + as_crlf(made)
    for one in (bob(), eve()):
        found = received(message, one)
        assert found.report.layers[0].opened
        assert found.opened is not None
        assert split_content_fields(found.opened)[1] == ENTITY


def test_we_open_and_verify_openssl_s(openssl: Openssl) -> None:
    """Signed, then encrypted, as a mail program would."""
    certificate, key, chain = openssl.files(alice())
    signed = openssl.cms(
        "-sign", "-binary", "-crlfeol", "-signer", certificate, "-inkey", key, "-certfile", chain, message=ENTITY
    )
    made = openssl.cms("-encrypt", "-binary", "-aes256", openssl.files(bob())[0], message=as_crlf(signed))
    found = received(b"From: alice@acme.example\r\n" + as_crlf(made), bob())
    assert found.report.result is ResultWord.PASS, found.report.to_json()
    assert [layer.form for layer in found.report.layers] == ["enveloped-data", "multipart/signed"]


def as_crlf(octets: bytes) -> bytes:
    """OpenSSL mixes line ends in what it writes; on the wire all are CRLF."""
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
