"""Reads files of keys and certificates, whatever form they have, and puts keys and certificates together.

What it does: takes PEM (any blocks in any order), DER (certificate, private key, certs-only SignedData) and PKCS#12,
told apart by content, and pairs each private key with every certificate that carries its public key. Standards:
RFC 7468, RFC 7292 (PKCS#12; several keys in one file are all found), RFC 8551 3.8. Refuses with
:class:`KeyMaterialError`, whose text starts with the path: what is none of these, wrong passphrases, keys that fit no
certificate.

Known gap: of a PKCS#12 with several keys, those beyond the first are found where they stand in an unencrypted
SafeContents (they are themselves encrypted), which is how all tools in use write them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asn1crypto import pkcs12 as asn1_pkcs12
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.cms import Digest, prepare_signer
from gateway.errors import CertificateError, KeyMaterialError
from gateway.pkix import Certificate, Purpose, is_pem, load_certificate, load_certificates, read_pem
from gateway.smime import DecryptionKey, SigningIdentity
from gateway.stores.keys import SoftwareKey, read_key_block, read_octets, wrap_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What one file holds."""

    path: Path
    certificates: tuple[Certificate, ...]
    keys: tuple[SoftwareKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and the private key that fits it."""

    certificate: Certificate
    chain: tuple[Certificate, ...]
    """Issuing certificates to send along, nearest first, without a self-signed root."""
    key: SoftwareKey = field(repr=False)

    def signing_identity(self, digest: Digest = Digest.SHA256) -> SigningIdentity:
        """Return it ready to sign with ``digest``."""
        chain_der = [one.der for one in self.chain]
        prepared = prepare_signer(self.certificate.der, chain_der, scheme=self.key.scheme, digest=digest)
        return SigningIdentity(certificate=self.certificate, chain=self.chain, key=self.key, prepared=prepared)

    def decryption_key(self) -> DecryptionKey:
        """Return it ready to open encrypted layers."""
        return DecryptionKey(certificate=self.certificate, key=self.key)


def read_material(path: Path, passphrase: bytes | None = None) -> Material:
    """Read one file. Raise :class:`KeyMaterialError`, its text starting with the path."""
    octets = read_octets(path)
    try:
        certificates, keys = _read(octets, passphrase)
    except (CertificateError, KeyMaterialError) as error:
        raise KeyMaterialError(f"{path}: {error}") from None
    if not certificates and not keys:
        raise KeyMaterialError(f"{path}: holds neither a certificate nor a private key")
    return Material(path=path, certificates=tuple(dict.fromkeys(certificates)), keys=tuple(keys))


def pair(materials: Iterable[Material]) -> tuple[Identity, ...]:
    """Return an identity for each certificate whose private key is among the materials, in their order."""
    materials = list(materials)
    keys = {key.public_key_der: key for material in materials for key in material.keys}
    certificates = list(dict.fromkeys(one for material in materials for one in material.certificates))
    issuers = [one for one in certificates if one.is_ca]
    return tuple(
        Identity(certificate=one, chain=_chain_of(one, issuers), key=keys[one.public_key_der])
        for one in certificates
        if one.public_key_der in keys
    )


def load_identities(files: Sequence[Path], passphrase: bytes | None = None) -> tuple[Identity, ...]:
    """Return every identity that the files give together, at least one: key and certificate in one file or several.

    Raise :class:`KeyMaterialError` where there is none, saying what is missing.
    """
    materials = [read_material(path, passphrase) for path in files]
    identities = pair(materials)
    if identities:
        return identities
    names = ", ".join(str(path) for path in files)
    if not any(material.keys for material in materials):
        raise KeyMaterialError(f"{names}: no private key")
    if not any(material.certificates for material in materials):
        raise KeyMaterialError(f"{names}: no certificate for the private key")
    raise KeyMaterialError(f"{names}: the private key fits none of the certificates")


def load_identity(
    files: Sequence[Path], passphrase: bytes | None = None, *, purpose: Purpose | None = None
) -> Identity:
    """Return the one identity of the files, or the first whose certificate allows ``purpose``.

    Raise :class:`KeyMaterialError`.
    """
    identities = load_identities(files, passphrase)
    for identity in identities:
        if purpose is None or _allows(identity.certificate, purpose):
            return identity
    names = ", ".join(str(path) for path in files)
    raise KeyMaterialError(f"{names}: the certificate's key usage does not allow to {purpose.value if purpose else ''}")


def _allows(certificate: Certificate, purpose: Purpose) -> bool:
    return certificate.may_sign if purpose is Purpose.SIGN else certificate.may_encrypt


def _chain_of(certificate: Certificate, issuers: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Return the issuers above a certificate as far as they are known, by name and key identifier."""
    chain: list[Certificate] = []
    current = certificate
    while not current.is_self_issued:
        wanted = current.authority_key_identifier
        fitting = [
            one
            for one in issuers
            if one.subject_match == current.issuer_match
            and one not in (certificate, *chain)
            and not (wanted and one.subject_key_identifier and wanted != one.subject_key_identifier)
        ]
        if not fitting or fitting[0].is_self_issued:
            break
        chain.append(fitting[0])
        current = fitting[0]
    return tuple(chain)


def _read(octets: bytes, passphrase: bytes | None) -> tuple[Sequence[Certificate], Sequence[SoftwareKey]]:
    if is_pem(octets):
        return _read_pem(octets, passphrase)
    if _is_pkcs12(octets):
        return _read_pkcs12(octets, passphrase)
    try:
        return load_certificates(octets), ()
    except CertificateError as error:
        if not octets.startswith(b"\x30"):
            raise KeyMaterialError("neither PEM nor DER") from None
        if not _may_be_key(octets):
            raise error from None
    return (), (read_key_block(octets, passphrase),)


def _read_pem(octets: bytes, passphrase: bytes | None) -> tuple[list[Certificate], list[SoftwareKey]]:
    certificates: list[Certificate] = []
    keys: list[SoftwareKey] = []
    for block in read_pem(octets):
        if block.label.endswith("PRIVATE KEY"):
            keys.append(read_key_block(block.text, passphrase))
        elif block.label in _CERTIFICATE_LABELS:
            certificates.extend(load_certificates(block.text))
    return certificates, keys


_CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "CMS", "PKCS7"})


def _body(octets: bytes) -> bytes:
    """Return what stands inside the outermost SEQUENCE, as far as its first octets matter."""
    length = octets[1] if len(octets) > 1 else 0
    return octets[2 + (length & 0x7F if length & 0x80 else 0) :]


def _is_pkcs12(octets: bytes) -> bool:
    """RFC 7292 4: a PFX starts with version 3."""
    return octets[:1] == b"\x30" and _body(octets)[:3] == b"\x02\x01\x03"


def _may_be_key(octets: bytes) -> bool:
    """A private key starts with a small version, or (encrypted) with an algorithm identifier."""
    body = _body(octets)
    return body[:2] == b"\x02\x01" or (body[:1] == b"\x30" and _body(body)[:1] == b"\x06")


def _read_pkcs12(octets: bytes, passphrase: bytes | None) -> tuple[list[Certificate], list[SoftwareKey]]:
    first, certificate, others = _open_pkcs12(octets, passphrase)
    found = [one for one in (certificate, *others) if one is not None]
    certificates = [load_certificate(_der_of(one)) for one in found]
    keys = {key.public_key_der: key for key in _further_keys(octets, passphrase)}
    if first is not None:
        try:
            key = wrap_key(first)
        except KeyMaterialError:
            if not keys:
                raise
        else:
            keys = {key.public_key_der: key, **keys}
    return certificates, list(keys.values())


def _open_pkcs12(
    octets: bytes, passphrase: bytes | None
) -> tuple[object, x509.Certificate | None, list[x509.Certificate]]:
    """Open it with the passphrase, or without where it needs none."""
    for candidate in dict.fromkeys((passphrase, None)):
        try:
            return pkcs12.load_key_and_certificates(octets, candidate)
        except UnsupportedAlgorithm:
            raise KeyMaterialError("this PKCS#12 file uses an old algorithm: export it again with AES") from None
        except ValueError:
            continue
    hint = "the passphrase is wrong, or the file is damaged" if passphrase else "its passphrase is needed"
    raise KeyMaterialError(f"this PKCS#12 file cannot be opened: {hint}")


def _der_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _further_keys(octets: bytes, passphrase: bytes | None) -> Iterable[SoftwareKey]:
    """Yield the keys of all bags that can be reached: the library's reader gives only the first."""
    try:
        contents = list(asn1_pkcs12.Pfx.load(octets).authenticated_safe)
        plain = [one["content"].native for one in contents if one["content_type"].native == "data"]
        bags = [bag for one in plain for bag in asn1_pkcs12.SafeContents.load(one)]
        ders = [bag["bag_value"].untag().dump() for bag in bags if bag["bag_id"].native in _KEY_BAGS]
    except (ValueError, TypeError, KeyError, AttributeError):
        return
    for der in ders:
        try:
            yield read_key_block(der, passphrase)
        except KeyMaterialError:
            continue


_KEY_BAGS = frozenset({"key_bag", "pkcs8_shrouded_key_bag"})
