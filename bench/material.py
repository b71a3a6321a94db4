"""What a measurement needs beforehand: a throw-away PKI, two messages of about 75 KB, the gateway's files.

The people are alice@acme.example, one of ours, and bob@partner.example; both have RSA-2048 keys under the same root and
issuing CA. The messages have one text part and one base64 attachment; the second is clear-signed by bob, with the
``cryptography`` package and not with the code that is measured. Keys live only in the folder of the measurement.
"""

from __future__ import annotations

import base64
import random
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from bench.floor import Treatment
from gateway.address import Address
from gateway.pkix import Certificate, IssuedKey, KeyChoice, Profile, issue_certificate, write_pem

OUR_DOMAIN = "acme.example"
ALICE = f"alice@{OUR_DOMAIN}"
BOB = "bob@partner.example"

_BOUNDARY = "bench-part-5b1c"
_SIGNED_BOUNDARY = "bench-signed-9f27"
_ATTACHMENT_LINE = 57  # octets that make one base64 line of 76 characters

POLICY = f"""\
rules:
  - name: sign
    match: {{direction: outbound, recipient: sign@partner.example}}
    then: {{sign: required}}
  - name: encrypt
    match: {{direction: outbound, recipient: {BOB}}}
    then: {{encrypt: required, no_certificate: refuse}}
  - name: verify
    match: {{direction: inbound}}
    then: {{decrypt: strict, verify: report}}
default: pass
"""

SETTINGS = """\
identity: {{hostname: gateway.bench.invalid}}
internal: {{domains: [{domain}]}}
listeners:
  users:
    listen: "127.0.0.1:{users}"
    client: queueing
    sender_proof: {{networks: [127.0.0.0/8]}}
    upstream: sink
  border:
    listen: "127.0.0.1:{border}"
    client: queueing
    upstream: sink
upstreams:
  sink: {{hosts: ["127.0.0.1:{sink}"], tls: none}}
keys: [{{folder: keys}}]
certificates: [{{folder: certificates}}]
anchors: {{default: anchors}}
policies: policy.yaml
state: state
metrics: {{listen: "127.0.0.1:{metrics}"}}
workers: {workers}
"""
"""Everything is on: the mail log (to a file), decision records, metrics, delivery journal; all values are defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One treatment and the message that gets it."""

    treatment: Treatment
    listener: str
    sender: str
    recipient: str
    message: Path
    mark: bytes
    """Stands in the message that leaves the gateway, and not in the one that enters."""


def write_material(folder: Path, *, octets: int) -> dict[Treatment, Case]:
    """Write keys, certificates, anchors, policy and messages into ``folder``; return the cases.

    ``octets`` is the size of each message, met within one line.
    """
    begin = datetime.now(UTC) - timedelta(hours=1)
    root = issue_certificate(Profile.ROOT, moment=begin, days=365, common_name="Bench Root")
    issuing = issue_certificate(Profile.ISSUING_CA, moment=begin, days=365, common_name="Bench Issuing CA", issuer=root)
    alice, bob = (
        issue_certificate(
            Profile.END_ENTITY,
            moment=begin,
            days=365,
            emails=[Address(email)],
            key_choice=KeyChoice.RSA_2048,
            issuer=issuing,
        )
        for email in (ALICE, BOB)
    )
    chain = _pem(issuing[0])
    _write(folder / "keys" / "alice.pem", alice[1].pkcs8_pem() + _pem(alice[0]) + chain, mode=0o600)
    _write(folder / "certificates" / "bob.pem", _pem(bob[0]) + chain)
    _write(folder / "anchors" / "root.pem", _pem(root[0]))
    _write(folder / "policy.yaml", POLICY.encode("ascii"))

    plain, signed = folder / "plain.eml", folder / "signed.eml"
    _write(plain, make_plain(octets))
    _write(signed, make_signed(octets, bob, [issuing[0]]))
    return {
        treatment: Case(
            treatment=treatment, listener=listener, sender=sender, recipient=recipient, message=message, mark=mark
        )
        for treatment, listener, sender, recipient, message, mark in (
            (Treatment.PASS, "users", ALICE, "pass@partner.example", plain, b"gateway.bench.invalid"),
            (Treatment.SIGN, "users", ALICE, "sign@partner.example", plain, b"multipart/signed"),
            (Treatment.ENCRYPT, "users", ALICE, BOB, plain, b"enveloped-data"),
            (Treatment.VERIFY, "border", BOB, ALICE, signed, b"smime=pass"),
        )
    }


def write_settings(folder: Path, *, sink: int, users: int, border: int, metrics: int, workers: int) -> Path:
    """Write the gateway's settings beside the material; the arguments are ports. Return their path."""
    path = folder / "gateway.yaml"
    text = SETTINGS.format(domain=OUR_DOMAIN, sink=sink, users=users, border=border, metrics=metrics, workers=workers)
    _write(path, text.encode("ascii"))
    return path


def make_plain(octets: int) -> bytes:
    """Make the message from alice to bob that is passed, signed and encrypted."""
    return _fit(octets, lambda lines: _outer_fields(ALICE, BOB) + _entity(lines))


def make_signed(octets: int, signer: tuple[Certificate, IssuedKey], chain: list[Certificate]) -> bytes:
    """Make a message from bob to alice, clear-signed by ``signer`` (RFC 8551 3.5.3)."""
    key = serialization.load_pem_private_key(signer[1].pkcs8_pem(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the signer of the measurement has an RSA key")
    leaf = x509.load_der_x509_certificate(signer[0].der)
    others = [x509.load_der_x509_certificate(certificate.der) for certificate in chain]

    def make(lines: int) -> bytes:
        entity = _entity(lines)
        builder = pkcs7.PKCS7SignatureBuilder().set_data(entity).add_signer(leaf, key, hashes.SHA256())
        for certificate in others:
            builder = builder.add_certificate(certificate)
        options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
        return _outer_fields(BOB, ALICE) + _signed_parts(entity, builder.sign(serialization.Encoding.DER, options))

    return _fit(octets, make)


def _fit(octets: int, make: Callable[[int], bytes]) -> bytes:
    """Make a message of ``octets`` octets, or up to a line less, by the number of lines of its attachment."""
    return make(max(0, octets - len(make(0))) // (76 + 2))


def _outer_fields(sender: str, recipient: str) -> bytes:
    fields = (
        f"From: <{sender}>",
        f"To: <{recipient}>",
        f"Date: {format_datetime(datetime.now(UTC))}",
        "Subject: Figures for the meeting",
        "MIME-Version: 1.0",
    )
    return _lines(fields)


def _entity(lines: int) -> bytes:
    """Make a multipart/mixed: a text and an attachment of ``lines`` lines, the same octets each time."""
    text = "The figures that we talked about are in the attached file; please look at them before we meet. " * 20
    content = random.Random(75).randbytes(lines * _ATTACHMENT_LINE)
    parts = (
        f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"',
        "",
        f"--{_BOUNDARY}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        *textwrap.wrap(text, 72),
        f"--{_BOUNDARY}",
        "Content-Type: application/octet-stream",
        "Content-Transfer-Encoding: base64",
        'Content-Disposition: attachment; filename="figures.bin"',
        "",
        *_base64(content),
        f"--{_BOUNDARY}--",
    )
    return _lines(parts)


def _signed_parts(entity: bytes, signature_der: bytes) -> bytes:
    """Make a multipart/signed (RFC 1847 2.1) of an entity and its detached signature."""
    head = (
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256;',
        f' boundary="{_SIGNED_BOUNDARY}"',
        "",
        f"--{_SIGNED_BOUNDARY}",
    )
    tail = (
        "",  # the CRLF that belongs to the delimiter
        f"--{_SIGNED_BOUNDARY}",
        'Content-Type: application/pkcs7-signature; name="smime.p7s"',
        "Content-Transfer-Encoding: base64",
        'Content-Disposition: attachment; filename="smime.p7s"',
        "",
        *_base64(signature_der),
        f"--{_SIGNED_BOUNDARY}--",
    )
    return _lines(head) + entity + _lines(tail)


def _base64(octets: bytes) -> list[str]:
    return base64.encodebytes(octets).decode("ascii").split()


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _pem(certificate: Certificate) -> bytes:
    return write_pem("CERTIFICATE", certificate.der)


def _write(path: Path, octets: bytes, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=mode)
    path.write_bytes(octets)
