"""The tests' own PKI: a certificate is one call, a keyword per extension; everything has a default that is right.

Nothing here knows the code under test. Dates are fixed: a test validates at :data:`MOMENT`, and what is minted without
further words is valid from 2026-01-01 to 2028-01-01. Keys are made at run time, kept for the whole process and used
again, since making an RSA key takes longer than most tests.

    pki = Pki.make()
    alice = pki.identity("alice@acme.example")
    alice.certificate_der, alice.chain_der, alice.key
    files = alice.pem_files(tmp_path)
"""

from __future__ import annotations

import functools
import itertools
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID, ObjectIdentifier

MOMENT = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
"""The moment at which tests sign, verify and validate."""
NOT_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
"""Default begin of validity."""
NOT_AFTER = datetime(2028, 1, 1, tzinfo=UTC)
"""Default end of validity."""

KeyKind = Literal["rsa-1024", "rsa-2048", "rsa-3072", "ec-p256", "ec-p384", "ec-p521"]
Digest = hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

CA_KEYS = 100_000
"""Where the key indices of CAs begin: ``private_key(kind, CA_KEYS)`` is that of the first root."""

SMTP_UTF8_MAILBOX = ObjectIdentifier("1.3.6.1.5.5.7.8.9")
"""id-on-SmtpUTF8Mailbox, RFC 9598 3."""

_CURVES: Mapping[str, ec.EllipticCurve] = {
    "ec-p256": ec.SECP256R1(),
    "ec-p384": ec.SECP384R1(),
    "ec-p521": ec.SECP521R1(),
}
_KEY_USAGE = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}
_EXT_KEY_USAGE = {
    "any": "2.5.29.37.0",
    "serverAuth": "1.3.6.1.5.5.7.3.1",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
}
_BY_KIND: Iterable[str] = ("by key kind",)
_serials = itertools.count(0x5A5A0001)
_places: dict[str, int] = {}


@functools.cache
def private_key(kind: KeyKind = "rsa-2048", index: int = 0) -> PrivateKey:
    """Return the process's key of that kind and index, made at the first call."""
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa-")))


def _index_of(address: str) -> int:
    """Return the key index of an address: from 100 on, so that small ones are free for ``key_index``."""
    return _places.setdefault(address.lower(), 100 + len(_places))


class PemFiles(NamedTuple):
    """What :meth:`Issued.pem_files` wrote."""

    certificate: Path
    """The certificate, then its chain."""
    key: Path
    """The private key in PKCS#8, mode 0600."""
    chain: Path
    """The chain alone: issuing CA certificates without the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate with its private key and those above it."""

    certificate: x509.Certificate
    key: PrivateKey
    issuer: Issued | None
    """``None`` for what is self-signed."""

    @property
    def certificate_der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def serial(self) -> int:
        """The serial number."""
        return self.certificate.serial_number

    @property
    def chain(self) -> tuple[Issued, ...]:
        """The issuers, nearest first, without the self-signed root: what a signer sends along."""
        above: list[Issued] = []
        issuer = self.issuer
        while issuer is not None and issuer.issuer is not None:
            above.append(issuer)
            issuer = issuer.issuer
        return tuple(above)

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """:attr:`chain` in DER."""
        return tuple(one.certificate_der for one in self.chain)

    @property
    def chain_pem(self) -> bytes:
        """:attr:`chain` in PEM, one after the other."""
        return b"".join(one.certificate_pem for one in self.chain)

    @property
    def public_key_der(self) -> bytes:
        """SubjectPublicKeyInfo."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def key_octets(self, passphrase: bytes | None = None, *, form: Literal["pem", "der"] = "pem") -> bytes:
        """Return the private key in PKCS#8, encrypted when there is a passphrase."""
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            protection = serialization.BestAvailableEncryption(passphrase)
        encoding = serialization.Encoding.PEM if form == "pem" else serialization.Encoding.DER
        return self.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, protection)

    def pkcs12(self, passphrase: bytes | None = None, *, name: str = "test") -> bytes:
        """Return key, certificate and chain as PKCS#12."""
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            protection = serialization.BestAvailableEncryption(passphrase)
        chain = [one.certificate for one in self.chain]
        return pkcs12.serialize_key_and_certificates(name.encode(), self.key, self.certificate, chain, protection)

    def pem_files(self, folder: Path, *, name: str | None = None, passphrase: bytes | None = None) -> PemFiles:
        """Write ``NAME.crt`` (with chain), ``NAME.key`` (0600), ``NAME.chain.crt``; for a passphrase ``NAME.pass``.

        ``name`` is the first address of the certificate, or its serial number.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = name or self._file_name()
        files = PemFiles(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.chain.crt")
        files.certificate.write_bytes(self.certificate_pem + self.chain_pem)
        files.chain.write_bytes(self.chain_pem)
        write_private(files.key, self.key_octets(passphrase))
        if passphrase is not None:
            write_private(folder / f"{name}.pass", passphrase + b"\n")
        return files

    def pkcs12_file(self, folder: Path, *, name: str | None = None, passphrase: bytes | None = None) -> Path:
        """Write ``NAME.p12`` (0600) and, with a passphrase, ``NAME.pass``; return the first."""
        folder.mkdir(parents=True, exist_ok=True)
        name = name or self._file_name()
        write_private(folder / f"{name}.p12", self.pkcs12(passphrase))
        if passphrase is not None:
            write_private(folder / f"{name}.pass", passphrase + b"\n")
        return folder / f"{name}.p12"

    def crl(
        self,
        *,
        revoked: Iterable[int | Issued] = (),
        revoked_at: datetime = NOT_BEFORE + timedelta(days=31),
        this_update: datetime = MOMENT - timedelta(days=1),
        next_update: datetime = MOMENT + timedelta(days=6),
        number: int = 1,
        signed_by: Issued | None = None,
    ) -> bytes:
        """Return a CRL of this CA in DER; ``signed_by`` lends another key under this CA's name (a forgery)."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(this_update)
            .next_update(next_update)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        for entry in revoked:
            serial = entry.serial if isinstance(entry, Issued) else entry
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(serial)
                .revocation_date(revoked_at)
                .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
                .build()
            )
        signed = builder.sign((signed_by or self).key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)

    def _file_name(self) -> str:
        names = _emails_of(self.certificate)
        return names[0] if names else f"{self.serial:x}"


def issue(
    subject: str | x509.Name,
    *,
    issuer: Issued | None = None,
    emails: Sequence[str] = (),
    utf8_emails: Sequence[str] = (),
    dn_emails: Sequence[str] = (),
    other_names: Sequence[x509.GeneralName] = (),
    key_kind: KeyKind = "rsa-2048",
    key_index: int = 0,
    not_before: datetime = NOT_BEFORE,
    not_after: datetime = NOT_AFTER,
    serial: int | None = None,
    ca: bool | None = None,
    path_length: int | None = None,
    key_usage: Iterable[str] | None = (),
    ext_key_usage: Iterable[str] | None = (),
    critical_ext_key_usage: bool = False,
    name_constraints: x509.NameConstraints | None = None,
    policies: Sequence[str] = (),
    crl_urls: Sequence[str] = (),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    key_identifiers: bool = True,
    digest: Digest | None = None,
    signed_by: Issued | None = None,
) -> Issued:
    """Mint a certificate.

    ``subject``: a common name, or an RFC 4514 string, or a Name. ``issuer``: ``None`` makes it self-signed. ``emails``
    are rfc822Name SANs, ``utf8_emails`` SmtpUTF8Mailbox SANs, ``dn_emails`` emailAddress attributes of the subject.
    ``ca``: ``None`` leaves basicConstraints out. ``key_usage``, ``ext_key_usage``: names as RFC 5280 writes them
    (``digitalSignature``, ``emailProtection``; dotted object identifiers too); empty or ``None`` leaves the extension
    out. ``extensions``: further (extension, critical). ``signed_by`` lends another key under the issuer's name (a
    forgery).
    """
    key = private_key(key_kind, key_index)
    name = _name(subject, dn_emails)
    signer = signed_by or issuer
    signing_key = signer.key if signer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(next(_serials) if serial is None else serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    if key_usage:
        builder = builder.add_extension(_key_usage(key_usage), critical=True)
    if ext_key_usage:
        purposes = [ObjectIdentifier(_EXT_KEY_USAGE.get(one, one)) for one in ext_key_usage]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=critical_ext_key_usage)
    names = [*(x509.RFC822Name(one) for one in emails), *(_utf8_mailbox(one) for one in utf8_emails), *other_names]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if name_constraints is not None:
        builder = builder.add_extension(name_constraints, critical=True)
    if policies:
        statements = [x509.PolicyInformation(ObjectIdentifier(one), None) for one in policies]
        builder = builder.add_extension(x509.CertificatePolicies(statements), critical=False)
    if crl_urls:
        points = [x509.DistributionPoint([x509.UniformResourceIdentifier(one)], None, None, None) for one in crl_urls]
        builder = builder.add_extension(x509.CRLDistributionPoints(points), critical=False)
    if key_identifiers:
        above = issuer.key.public_key() if issuer else key.public_key()
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Issued(certificate=builder.sign(signing_key, digest or hashes.SHA256()), key=key, issuer=issuer)


def issue_ca(
    subject: str | x509.Name,
    *,
    issuer: Issued | None = None,
    key_kind: KeyKind = "rsa-2048",
    key_index: int = 0,
    not_before: datetime = NOT_BEFORE,
    not_after: datetime = NOT_AFTER,
    path_length: int | None = None,
    name_constraints: x509.NameConstraints | None = None,
    ext_key_usage: Iterable[str] | None = (),
    policies: Sequence[str] = (),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    signed_by: Issued | None = None,
) -> Issued:
    """Mint a CA certificate: basicConstraints CA, keyUsage keyCertSign and cRLSign. Its key is no end entity's."""
    return issue(
        subject,
        issuer=issuer,
        key_kind=key_kind,
        key_index=CA_KEYS + key_index,
        not_before=not_before,
        not_after=not_after,
        ca=True,
        path_length=path_length,
        key_usage=("keyCertSign", "cRLSign"),
        ext_key_usage=ext_key_usage,
        name_constraints=name_constraints,
        policies=policies,
        extensions=extensions,
        signed_by=signed_by,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """A root, an issuing CA under it, and as many end entities as a test wants."""

    root: Issued
    issuing: Issued

    @classmethod
    def make(cls, *, name: str = "Acme", key_kind: KeyKind = "rsa-2048", key_index: int = 0) -> Pki:
        """Make root and issuing CA. Two Pki with the same ``key_index`` share their CA keys, not their certificates."""
        root = issue_ca(f"CN={name} Root CA,O={name}", key_kind=key_kind, key_index=2 * key_index, not_after=_years(20))
        issuing = issue_ca(
            f"CN={name} Issuing CA,O={name}",
            issuer=root,
            key_kind=key_kind,
            key_index=2 * key_index + 1,
            not_after=_years(10),
            path_length=0,
        )
        return cls(root=root, issuing=issuing)

    def identity(
        self,
        *emails: str,
        subject: str | x509.Name | None = None,
        issuer: Issued | None = None,
        key_kind: KeyKind = "rsa-2048",
        key_index: int | None = None,
        not_before: datetime = NOT_BEFORE,
        not_after: datetime = NOT_AFTER,
        key_usage: Iterable[str] | None = _BY_KIND,
        ext_key_usage: Iterable[str] | None = ("emailProtection",),
        utf8_emails: Sequence[str] = (),
        dn_emails: Sequence[str] = (),
        other_names: Sequence[x509.GeneralName] = (),
        policies: Sequence[str] = (),
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        signed_by: Issued | None = None,
    ) -> Issued:
        """Mint an S/MIME end entity for these addresses under the issuing CA (or ``issuer``).

        Each address has a key of its own and keeps it for the process; a test that mints for many addresses names
        a ``key_index`` for all of them, since each new RSA key takes some 60 ms. The default
        ``key_usage`` both signs and encrypts: digitalSignature with keyEncipherment (RSA) or keyAgreement (EC).
        """
        if key_usage is _BY_KIND:
            key_usage = ("digitalSignature", "keyEncipherment" if key_kind.startswith("rsa") else "keyAgreement")
        first = (*emails, *utf8_emails, *dn_emails, "nobody")[0]
        return issue(
            subject or _name(first.partition("@")[0], ()),
            issuer=issuer or self.issuing,
            emails=emails,
            utf8_emails=utf8_emails,
            dn_emails=dn_emails,
            other_names=other_names,
            key_kind=key_kind,
            key_index=_index_of(first) if key_index is None else key_index,
            not_before=not_before,
            not_after=not_after,
            key_usage=key_usage,
            ext_key_usage=ext_key_usage,
            policies=policies,
            extensions=extensions,
            signed_by=signed_by,
        )

    def anchor_file(self, folder: Path, name: str = "root.pem") -> Path:
        """Write the root certificate in PEM; return the path."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(self.root.certificate_pem)
        return folder / name


def reissued(issued: Issued, issuer: Issued) -> Issued:
    """Return ``issued`` as seen under another certificate of its issuer (a cross certificate with the same key)."""
    return replace(issued, issuer=issuer)


def write_private(path: Path, octets: bytes) -> None:
    """Write a file that only its owner may read."""
    path.write_bytes(octets)
    os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)


def _years(count: int) -> datetime:
    return NOT_BEFORE.replace(year=NOT_BEFORE.year + count)


def _name(subject: str | x509.Name, dn_emails: Sequence[str]) -> x509.Name:
    if isinstance(subject, str):
        if "=" in subject:
            subject = x509.Name.from_rfc4514_string(subject)
        else:
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    emails = [x509.NameAttribute(NameOID.EMAIL_ADDRESS, one) for one in dn_emails]
    return x509.Name([*subject.rdns, *(x509.RelativeDistinguishedName([one]) for one in emails)])


def _key_usage(names: Iterable[str]) -> x509.KeyUsage:
    chosen = {_KEY_USAGE[one] for one in names}
    return x509.KeyUsage(**{one: one in chosen for one in _KEY_USAGE.values()})


def _utf8_mailbox(address: str) -> x509.OtherName:
    octets = address.encode()
    if len(octets) > 127:
        raise ValueError("keep test addresses short")
    return x509.OtherName(SMTP_UTF8_MAILBOX, bytes([0x0C, len(octets)]) + octets)


def _emails_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.RFC822Name)
