"""The foreign opinion on whole messages: ``openssl cms`` verifies, decrypts, signs and encrypts.

    openssl = OpenSsl(folder, anchors=house.anchors())
    signed = openssl.decrypt(message, house.people["carol@bank.example"])
    text = openssl.verify(signed)                 the signed content, or CmsRefused with what openssl said

It works at the machine's time, as the gateway does. Messages are octets with CRLF line ends, in and out.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.peers import ENVIRONMENT, require
from tests.support.pki import Issued, write_private

PACKAGES = "openssl"


class CmsRefused(Exception):
    """The command did not do it; the text is what it wrote on standard error."""


class OpenSsl:
    """The command, in a folder of its own."""

    def __init__(self, folder: Path, *, anchors: Sequence[Path] = ()) -> None:
        """Take an existing folder, and the files of the roots that are trusted."""
        require("openssl", packages=PACKAGES)
        self._folder = folder
        self._anchors = folder / "anchors.pem"
        self._anchors.write_bytes(b"".join(file.read_bytes() for file in anchors))
        self._numbers = itertools.count()

    def verify(self, message: bytes) -> bytes:
        """Return the content of a signed message whose signature, path and purpose are good."""
        return self._run("-verify", "-purpose", "smimesign", "-CAfile", str(self._anchors), message=message)

    def decrypt(self, message: bytes, recipient: Issued) -> bytes:
        """Return the content of an encrypted message, a MIME entity, as this recipient."""
        files = ("-recip", str(self._certificate(recipient)), "-inkey", str(self._key(recipient)))
        return self._run("-decrypt", *files, message=message)

    def sign(self, entity: bytes, signer: Issued, *, opaque: bool = False) -> bytes:
        """Return a MIME entity, signed: multipart/signed, or signed-data where it is ``opaque``."""
        options = ["-md", "sha256", "-signer", str(self._certificate(signer)), "-inkey", str(self._key(signer))]
        if signer.chain:
            options += ["-certfile", str(self._write(f"{signer.serial:x}.chain.crt", signer.chain_pem))]
        if opaque:
            options.append("-nodetach")
        return _crlf(self._run("-sign", *options, message=entity))

    def encrypt(self, entity: bytes, *recipients: Issued) -> bytes:
        """Return a MIME entity, encrypted to all of these."""
        files = [str(self._certificate(recipient)) for recipient in recipients]
        return _crlf(self._run("-encrypt", "-aes256", message=entity, last=files))

    def count_recipients(self, message: bytes) -> int:
        """Return how many RecipientInfos an encrypted message has."""
        printed = self._run("-cmsout", "-print", message=message)
        return printed.count(b"d.ktri:") + printed.count(b"d.kari:")

    def _run(self, operation: str, *arguments: str, message: bytes, last: Sequence[str] = ()) -> bytes:
        number = next(self._numbers)
        source = self._write(f"{number}.in", message)
        target = self._folder / f"{number}.out"
        command = ["openssl", "cms", operation, "-in", str(source), "-out", str(target), *arguments, *last]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=30, check=False)
        if done.returncode != 0:
            raise CmsRefused(done.stderr.decode("utf-8", "replace"))
        return target.read_bytes()

    def _certificate(self, issued: Issued) -> Path:
        return self._write(f"{issued.serial:x}.crt", issued.certificate_pem)

    def _key(self, issued: Issued) -> Path:
        path = self._folder / f"{issued.serial:x}.key"
        write_private(path, issued.key_octets())
        return path

    def _write(self, name: str, octets: bytes) -> Path:
        (self._folder / name).write_bytes(octets)
        return self._folder / name


def _crlf(entity: bytes) -> bytes:
    """Return it with CRLF: the command ends the lines that it writes itself in LF."""
    return entity.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
