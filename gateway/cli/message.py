"""``message``: the S/MIME of this program on one message, without a gateway around it.

Input is a message on standard input (``inspect`` takes a file), output goes to standard output. Keys, certificates and
anchors are PEM or DER, told apart by content; keys also PKCS#12. ``sign`` and ``encrypt`` protect no header fields.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.system import SystemClock
from gateway.cli.files import (
    NotMail,
    Usage,
    parse_address,
    parse_moment,
    read_certificates,
    read_mail,
    words,
    write_mail,
)
from gateway.cms import ContentCipher, Digest, Verdict
from gateway.errors import CertificateError, CmsError, KeyMaterialError, MimeError
from gateway.pkix import PathValidator, Purpose, load_crls
from gateway.smime import (
    DecryptionKey,
    Protectable,
    Report,
    SignedForm,
    assemble,
    check_enveloped,
    check_signed,
    envelop,
    inspect,
    prepare,
    recipient_certificate,
    seal,
    sign,
    signing_identity,
    unprotect,
)
from gateway.stores import load_identities, load_identity, read_passphrase

app = typer.Typer(no_args_is_help=True, help="Sign, encrypt, decrypt, verify and inspect single messages.")

Passphrase = Annotated[Path | None, typer.Option("--passphrase-file", help="File with the passphrase of the keys.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

DIGESTS = {digest.label: digest for digest in (Digest.SHA256, Digest.SHA384, Digest.SHA512)}
CIPHERS = {cipher.label: cipher for cipher in ContentCipher if cipher.verdict is Verdict.ACCEPTABLE}


@app.command("inspect")
def inspect_command(
    file: Annotated[Path | None, typer.Argument(help="The message; standard input without one.")] = None,
    as_json: Json = False,
) -> None:
    """Show the structure and the layers of a message; no keys needed."""
    report = inspect(read_mail(file), moment=SystemClock().now())
    _print_report(report, as_json=as_json)


@app.command("sign")
def sign_command(
    signer: Annotated[list[Path], typer.Option(help="Key and certificate, in one file or two (repeat).")],
    chain: Annotated[list[Path] | None, typer.Option(help="Further certificates to send along (repeat).")] = None,
    opaque: Annotated[bool, typer.Option("--opaque", help="signed-data in place of multipart/signed.")] = False,
    digest: Annotated[str, typer.Option(help="sha256, sha384 or sha512.")] = "sha256",
    passphrase_file: Passphrase = None,
) -> None:
    """Sign the message on standard input."""
    if digest not in DIGESTS:
        raise Usage(f"--digest {digest}: one of {', '.join(DIGESTS)}")
    try:
        found = load_identity(signer, _passphrase(passphrase_file), purpose=Purpose.SIGN)
        certificates = (*found.chain, *read_certificates(chain or []))
        identity = signing_identity(
            found.certificate, tuple(dict.fromkeys(certificates)), found.key, digest=DIGESTS[digest]
        )
    except (KeyMaterialError, CertificateError, CmsError) as error:
        raise Usage(str(error)) from None
    protectable = _prepare(read_mail())
    form = protectable.form_for(SignedForm.OPAQUE if opaque else SignedForm.CLEAR)
    boundary = f"=_{secrets.token_hex(16)}"
    protected = sign(protectable, identity, moment=SystemClock().now(), boundary=boundary, form=form)
    message = assemble(protectable.outer_fields, protected)
    check_signed(message, protectable, identity, form=form)
    write_mail(message)


@app.command("encrypt")
def encrypt_command(
    recipient: Annotated[list[Path], typer.Option(help="A recipient's certificate (repeat).")],
    cipher: Annotated[str, typer.Option(help="aes-256-cbc, aes-192-cbc or aes-128-cbc.")] = "aes-256-cbc",
) -> None:
    """Encrypt the message on standard input."""
    if cipher not in CIPHERS:
        raise Usage(f"--cipher {cipher}: one of {', '.join(CIPHERS)}")
    recipients = []
    for certificate in (one for one in read_certificates(recipient) if not one.is_ca):
        try:
            if not certificate.may_encrypt:
                raise CertificateError("its key usage does not allow to encrypt to it")
            recipients.append(recipient_certificate(certificate))
        except (CertificateError, CmsError) as error:
            raise Usage(f"{certificate.subject}: {error}") from None
    if not recipients:
        raise Usage("--recipient: no certificate to encrypt to")
    protectable = _prepare(read_mail())
    sealed = seal(protectable.entity, CIPHERS[cipher])
    message = assemble(protectable.outer_fields, envelop(sealed, recipients))
    check_enveloped(message, sealed, recipients)
    write_mail(message)


@app.command("decrypt")
def decrypt_command(
    key: Annotated[list[Path], typer.Option(help="Key and certificate, in one file or two (repeat).")],
    report: Annotated[Path | None, typer.Option(help="Write the report there, as JSON.")] = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Open the encrypted layers of the message on standard input; signed layers stay. Status 1: none was opened."""
    content = read_mail()
    keys = _decryption_keys(key, passphrase_file)
    found = unprotect(content, keys=keys, anchors=None, moment=SystemClock().now())
    if report is not None:
        report.write_text(json.dumps(found.report.to_json(), indent=2) + "\n", encoding="utf-8")
    if found.opened is None:
        _print_problems(found.report)
        raise typer.Exit(1)
    write_mail([found.opened])


@app.command("verify")
def verify_command(
    anchors: Annotated[list[Path], typer.Option(help="Trust anchors, files or folders (repeat).")],
    key: Annotated[list[Path] | None, typer.Option(help="Keys that open encrypted layers first (repeat).")] = None,
    certs: Annotated[list[Path] | None, typer.Option(help="Further certificates (repeat).")] = None,
    crl: Annotated[list[Path] | None, typer.Option(help="Certificate revocation lists (repeat).")] = None,
    moment: Annotated[str | None, typer.Option(help="Validate for this RFC 3339 date and time; now without.")] = None,
    sender: Annotated[str | None, typer.Option(help="The address to match; the message's From without.")] = None,
    passphrase_file: Passphrase = None,
    as_json: Json = False,
) -> None:
    """Verify the message on standard input. Status 0: pass, 1: anything else."""
    content = read_mail()
    found = unprotect(
        content,
        keys=_decryption_keys(key, passphrase_file) if key else (),
        anchors=PathValidator(read_certificates(anchors)),
        certificates=read_certificates(certs or []),
        crls=_crls(crl or []),
        moment=parse_moment(moment) if moment else SystemClock().now(),
        sender=parse_address(sender) if sender else None,
    )
    _print_report(found.report, as_json=as_json)
    raise typer.Exit(0 if found.report.result == "pass" else 1)


def _prepare(content: bytes) -> Protectable:
    try:
        return prepare(content)
    except MimeError as error:
        raise NotMail(f"standard input: cannot be protected: {error}") from None


def _passphrase(file: Path | None) -> bytes | None:
    return read_passphrase(file) if file else None


def _decryption_keys(files: list[Path], passphrase_file: Path | None) -> tuple[DecryptionKey, ...]:
    try:
        identities = load_identities(files, _passphrase(passphrase_file))
    except KeyMaterialError as error:
        raise Usage(str(error)) from None
    return tuple(identity.decryption_key() for identity in identities)


def _crls(files: list[Path]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for file in files:
        try:
            found += load_crls(file.read_bytes())
        except OSError as error:
            raise Usage(f"{file}: {error.strerror or 'not readable'}") from None
        except CertificateError as error:
            raise Usage(f"{file}: {error}") from None
    return tuple(found)


def _print_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
        return
    print(f"result: {report.result}")
    for number, layer in enumerate(report.layers, 1):
        print(f"layer {number}: {layer.type}, {layer.form}{f', {layer.algorithm}' if layer.algorithm else ''}")
        for signer in layer.signers:
            data = signer.to_json()
            print("  signer: " + ", ".join(data["email"]) + f" ({data['subject']})")
            for key in ("intact", "valid", "path", "revocation", "identity", "algorithm", "signing_time", "reason"):
                if data[key] not in (None, ""):
                    print(f"    {key.replace('_', ' ')}: {words(data[key])}")
        if layer.type == "encrypted":
            print(f"  {'opened' if layer.opened else f'not opened: {layer.reason}'}")
            for recipient in layer.recipients:
                print("  recipient: " + ", ".join(f"{name} {value}" for name, value in recipient.items()))
    for problem in report.problems:
        print(f"problem: {problem.code}: {problem.text}")


def _print_problems(report: Report) -> None:
    if not report.layers and not report.problems:
        print("smime-gateway: nothing here is encrypted", file=sys.stderr)
    for problem in report.problems:
        print(f"smime-gateway: {problem.code}: {problem.text}", file=sys.stderr)
