"""Issues certificates: for ``certs generate``, the demo and trials, not for a certification authority's business.

What it does: makes keys and X.509 certificates by the profile of RFC 5280 4.2 and RFC 8550 4.4: a root, an issuing CA,
and S/MIME end entities with rfc822Name, keyUsage and emailProtection. Keys and serial numbers (20 octets, RFC 5280
4.1.2.2) come from the operating system's randomness; ``moment`` is an argument. Refuses: unknown kinds of key, end
entities without an address, addresses that are not ASCII (SmtpUTF8Mailbox is a known gap), and empty validity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.address import Address
from gateway.errors import CertificateError
from gateway.pkix.certificate import Certificate, load_certificate
from gateway.pkix.pem import is_pem, read_pem

MAX_NAME = 64
"""Characters of a common name or an organization (RFC 5280 A.1, ub-common-name, ub-organization-name)."""
MAX_DAYS = 36525
"""A century."""
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class KeyChoice(StrEnum):
    """The kinds of key that are made (RFC 8551 2.2, 2.3; FIPS 186-5 names the curves)."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    P256 = "p-256"
    P384 = "p-384"


class Profile(Enum):
    """What a certificate is for."""

    ROOT = "root"
    """Self-signed CA."""
    ISSUING_CA = "issuing-ca"
    """CA that issues end entities only (pathLenConstraint 0)."""
    END_ENTITY = "end-entity"
    """S/MIME: signs, and where the key allows it decrypts."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A private key just made. Its representation shows nothing of it."""

    _key: PrivateKey = field(repr=False)

    def pkcs8_pem(self, passphrase: bytes | None = None) -> bytes:
        """Return PKCS#8 in PEM, encrypted (PBES2, AES-256) where there is a passphrase."""
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            protection = serialization.BestAvailableEncryption(passphrase)
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)

    @property
    def public_key_der(self) -> bytes:
        """SubjectPublicKeyInfo, DER: what tells which certificate the key belongs to."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def pkcs12(
        self, certificate: Certificate, chain: Sequence[Certificate] = (), *, passphrase: bytes, name: str = ""
    ) -> bytes:
        """Return key, certificate and chain as PKCS#12, encrypted; ``name`` is the friendlyName."""
        return pkcs12.serialize_key_and_certificates(
            name.encode() or None,
            self._key,
            x509.load_der_x509_certificate(certificate.der),
            [x509.load_der_x509_certificate(one.der) for one in chain],
            serialization.BestAvailableEncryption(passphrase),
        )


def issue_certificate(
    profile: Profile,
    *,
    moment: datetime,
    days: int,
    common_name: str = "",
    organization: str = "",
    emails: Sequence[Address] = (),
    key_choice: KeyChoice = KeyChoice.RSA_3072,
    issuer: tuple[Certificate, IssuedKey] | None = None,
) -> tuple[Certificate, IssuedKey]:
    """Make a key and a certificate for it.

    It is valid from ``moment`` (aware; whole seconds) for ``days``. ``issuer`` signs it; a root signs itself. An end
    entity needs ``emails``, and is called by its first address where there is no ``common_name``. Raise
    :class:`CertificateError` for what cannot be issued.
    """
    _refuse_nonsense(profile, days, emails, issuer)
    key = _make_key(key_choice)
    subject = _subject(common_name or (str(emails[0])[:MAX_NAME] if emails else profile.value), organization)
    signer = issuer[1]._key if issuer else key
    issuer_certificate = x509.load_der_x509_certificate(issuer[0].der) if issuer else None
    begin = moment.replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_certificate.subject if issuer_certificate else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for extension, critical in _extensions(profile, key, emails):
        builder = builder.add_extension(extension, critical=critical)
    issued = builder.sign(signer, _digest_for(signer))
    return load_certificate(issued.public_bytes(serialization.Encoding.DER)), IssuedKey(key)


def load_issued_key(octets: bytes, passphrase: bytes | None = None) -> IssuedKey | None:
    """Return the private key of a PEM file that :meth:`IssuedKey.pkcs8_pem` wrote; ``None`` where the file has none.

    Raise :class:`CertificateError` for a key that cannot be read, or is of a kind that issues nothing here.
    """
    blocks = read_pem(octets) if is_pem(octets) else ()
    block = next((one for one in blocks if one.label.endswith("PRIVATE KEY")), None)
    if block is None:
        return None
    try:
        key = serialization.load_der_private_key(block.octets, passphrase)
    except (ValueError, TypeError) as error:
        raise CertificateError("the issuer's private key cannot be read: is the passphrase right?") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateError("an issuer's key is RSA or on an elliptic curve")
    return IssuedKey(key)


def _refuse_nonsense(
    profile: Profile, days: int, emails: Sequence[Address], issuer: tuple[Certificate, IssuedKey] | None
) -> None:
    if not 1 <= days <= MAX_DAYS:
        raise CertificateError(f"a certificate is valid for 1 to {MAX_DAYS} days")
    if (issuer is None) is not (profile is Profile.ROOT):
        raise CertificateError("a root signs itself, everything else needs an issuer")
    if issuer is not None and not issuer[0].is_ca:
        raise CertificateError("the issuer is not a CA")
    if profile is Profile.END_ENTITY and not emails:
        raise CertificateError("an end entity needs a mail address")
    if not all(email.spec.isascii() for email in emails):
        raise CertificateError("a mail address that is not ASCII cannot be an rfc822Name")


def _make_key(choice: KeyChoice) -> PrivateKey:
    curve = _CURVES.get(choice)
    if curve is not None:
        return ec.generate_private_key(curve)
    return rsa.generate_private_key(public_exponent=65537, key_size=3072 if choice is KeyChoice.RSA_3072 else 2048)


_CURVES: dict[KeyChoice, ec.EllipticCurve] = {KeyChoice.P256: ec.SECP256R1(), KeyChoice.P384: ec.SECP384R1()}


def _subject(common_name: str, organization: str) -> x509.Name:
    if max(len(common_name), len(organization)) > MAX_NAME:
        raise CertificateError(f"a name of the subject has more than {MAX_NAME} characters")
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _extensions(profile: Profile, key: PrivateKey, emails: Sequence[Address]) -> list[tuple[x509.ExtensionType, bool]]:
    if profile is not Profile.END_ENTITY:
        length = None if profile is Profile.ROOT else 0
        return [
            (x509.BasicConstraints(ca=True, path_length=length), True),
            (_key_usage(key_cert_sign=True, crl_sign=True), True),
        ]
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(digital_signature=True, key_encipherment=is_rsa, key_agreement=not is_rsa), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
        (x509.SubjectAlternativeName([x509.RFC822Name(email.spec) for email in emails]), False),
    ]


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_agreement: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """A digest as strong as the key."""
    is_p384 = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size == 384
    return hashes.SHA384() if is_p384 else hashes.SHA256()
