"""``certs``: make certificates for tests and small houses, list and show those there are.

``generate`` is no CA: it keeps no register and revokes nothing. Key files are written with mode 0600 and never over
another file.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.load import load
from gateway.app.system import SystemClock
from gateway.cli.files import Usage, parse_address, read_certificates, words
from gateway.errors import CertificateError, KeyMaterialError
from gateway.pkix import Certificate, IssuedKey, KeyChoice, Profile, issue_certificate, load_issued_key
from gateway.stores import read_material, read_passphrase

app = typer.Typer(no_args_is_help=True, help="Make, list and show certificates.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Config = Annotated[Path | None, typer.Option("-c", "--config", help="The settings file.", metavar="FILE")]


@app.command("generate")
def generate_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for NAME.crt and NAME.key.")],
    profile: Annotated[Profile, typer.Option(help="What it is for.")] = Profile.END_ENTITY,
    email: Annotated[list[str] | None, typer.Option(help="An address of an end entity (repeat).")] = None,
    common_name: Annotated[str, typer.Option("--name", help="Common name; the first address without.")] = "",
    organization: Annotated[str, typer.Option(help="Organisation.")] = "",
    ca: Annotated[
        list[Path] | None, typer.Option(help="Certificate and key of the issuer, in one or two files.")
    ] = None,
    key: Annotated[KeyChoice, typer.Option(help="Kind of key.")] = KeyChoice.RSA_3072,
    days: Annotated[int, typer.Option(help="Days of validity from now.")] = 365,
    passphrase_file: Annotated[Path | None, typer.Option(help="Passphrase of the issuer's key.")] = None,
) -> None:
    """Make a key and a certificate: a root, an issuing CA, or an end entity."""
    issuer, chain = _read_issuer(ca, passphrase_file) if ca else (None, ())
    try:
        certificate, made = issue_certificate(
            profile,
            moment=SystemClock().now(),
            days=days,
            common_name=common_name,
            organization=organization,
            emails=[parse_address(one) for one in email or []],
            key_choice=key,
            issuer=issuer,
        )
    except CertificateError as error:
        raise Usage(str(error)) from None
    name = (email[0] if email else common_name or profile.value).replace("/", "_").replace(" ", "-")
    output.mkdir(parents=True, exist_ok=True)
    chain_pem = b"".join(one.pem() for one in chain if not one.is_self_issued)
    _write_new(output / f"{name}.key", made.pkcs8_pem(), 0o600)
    _write_new(output / f"{name}.crt", certificate.pem() + chain_pem, 0o644)
    print(f"{output / name}.crt\n{output / name}.key")


def _read_issuer(
    files: list[Path], passphrase_file: Path | None
) -> tuple[tuple[Certificate, IssuedKey], tuple[Certificate, ...]]:
    certificates: list[Certificate] = []
    keys: list[IssuedKey] = []
    try:
        passphrase = read_passphrase(passphrase_file) if passphrase_file else None
    except KeyMaterialError as error:
        raise Usage(str(error)) from None
    for file in files:
        try:
            certificates += read_material(file, passphrase).certificates
            if (key := load_issued_key(file.read_bytes(), passphrase)) is not None:
                keys.append(key)
        except (KeyMaterialError, CertificateError, OSError) as error:
            raise Usage(str(error)) from None
    for certificate in certificates:
        if keys and keys[0].public_key_der == certificate.public_key_der:
            return (certificate, keys[0]), tuple(certificates)
    raise Usage(f"{', '.join(map(str, files))}: no certificate with its private key")


def _write_new(path: Path, octets: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise Usage(f"{path}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)


@app.command("list")
def list_command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders; those of the settings without.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List certificates: of the settings (own keys, others, anchors), or of files and folders."""
    moment = SystemClock().now()
    found = _of_settings(config) if config else [("", one) for one in read_certificates(paths or [Path()])]
    if as_json:
        print(json.dumps([{"use": use, **describe(one, moment)} for use, one in found], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("use", "addresses", "subject", "key", "valid until"):
        table.add_column(heading, overflow="fold")
    for use, one in found:
        left = (one.not_after - moment).days
        until = f"{one.not_after:%Y-%m-%d} ({'expired' if one.not_after < moment else f'{left} days'})"
        names = ", ".join(one.emails) or "-"
        table.add_row(use or ("CA" if one.is_ca else "-"), names, one.subject, one.key_algorithm, until)
    # A pipe has no width: one line for each certificate.
    Console(soft_wrap=True, width=None if sys.stdout.isatty() else 250).print(table)


@app.command("show")
def show_command(
    files: Annotated[list[Path], typer.Argument(help="Files with certificates.")], as_json: Json = False
) -> None:
    """Show certificates in full."""
    moment = SystemClock().now()
    found = [describe(one, moment) for one in read_certificates(files)]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for one in found:
        for name, value in one.items():
            print(f"{name.replace('_', ' ')}: {words(value)}")
        print()


def _of_settings(config: Path) -> list[tuple[str, Certificate]]:
    loaded = load(config, SystemClock().now)
    return [
        *(("own", one.certificate) for one in loaded.keyring.identities),
        *(("other", one) for one in loaded.certificates.certificates),
        *(("anchor", one) for one in loaded.anchors.certificates),
    ]


def describe(certificate: Certificate, moment: datetime) -> dict[str, object]:
    """Return a certificate as JSON."""
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": f"{certificate.serial:X}",
        "emails": list(certificate.emails),
        "not_before": certificate.not_before.isoformat().replace("+00:00", "Z"),
        "not_after": certificate.not_after.isoformat().replace("+00:00", "Z"),
        "days_left": (certificate.not_after - moment).days,
        "key": certificate.key_algorithm,
        "ca": certificate.is_ca,
        "may_sign": certificate.may_sign,
        "may_encrypt": certificate.may_encrypt,
        "email_protection": certificate.has_email_protection,
        "sha256": certificate.sha256,
    }
