"""Certificates are read whole or not at all, and their properties say what RFC 5280 and RFC 8550 let them say."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Address
from gateway.errors import CertificateError
from gateway.pkix import Certificate, KeyKind, load_certificate, load_certificates
from gateway.pkix.certificate import MAX_CERTIFICATE_OCTETS
from tests.support.pki import NOT_AFTER, NOT_BEFORE, Pki, issue, private_key
from tests.support.pki import KeyKind as Kind

PKI = Pki.make()
ALICE = PKI.identity("alice@acme.example")


def mint(**keywords: object) -> Certificate:
    """Return a certificate as the code under test sees it."""
    return load_certificate(PKI.identity("alice@acme.example", **keywords).certificate_der)  # type: ignore[arg-type]


def test_all_properties_of_an_ordinary_certificate() -> None:
    """Every property says what was put in."""
    certificate = load_certificate(ALICE.certificate_der)
    assert certificate.der == ALICE.certificate_der
    assert certificate.subject == "CN=alice"
    assert certificate.issuer == "CN=Acme Issuing CA,O=Acme"
    assert certificate.serial == ALICE.serial
    assert (certificate.not_before, certificate.not_after) == (NOT_BEFORE, NOT_AFTER)
    assert certificate.emails == ("alice@acme.example",)
    assert (certificate.key_kind, certificate.key_algorithm) == (KeyKind.RSA, "rsa-2048")
    assert certificate.may_sign
    assert certificate.may_encrypt
    assert certificate.has_email_protection
    assert not certificate.is_ca
    assert certificate.public_key_der == ALICE.public_key_der
    issuer = PKI.issuing.certificate.subject.public_bytes(serialization.Encoding.DER)
    assert certificate.issuer_der == issuer
    identifier = x509.SubjectKeyIdentifier.from_public_key(ALICE.key.public_key())
    assert certificate.subject_key_identifier == identifier.digest
    assert len(certificate.sha256) == 64


def test_a_ca_is_a_ca() -> None:
    """basicConstraints is read, and a root is known to be issued by itself."""
    root = load_certificate(PKI.root.certificate_der)
    assert (root.is_ca, root.is_self_issued) == (True, True)
    assert not load_certificate(PKI.issuing.certificate_der).is_self_issued


@pytest.mark.parametrize(
    ("usage", "may_sign", "may_encrypt"),
    [
        (None, True, True),
        (("digitalSignature",), True, False),
        (("nonRepudiation",), True, False),
        (("keyEncipherment",), False, True),
        (("dataEncipherment",), False, False),
        (("keyAgreement",), False, False),
        (("keyCertSign",), False, False),
    ],
    ids=["absent", "digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "agree", "keyCertSign"],
)
def test_key_usage_of_rsa(usage: tuple[str, ...] | None, may_sign: bool, may_encrypt: bool) -> None:
    """RFC 8550 4.4.2: absent allows all; RSA encrypts by keyEncipherment only."""
    certificate = mint(key_usage=usage)
    assert (certificate.may_sign, certificate.may_encrypt) == (may_sign, may_encrypt)


@pytest.mark.parametrize(
    ("usage", "may_encrypt"), [(("keyAgreement",), True), (("keyEncipherment",), False)], ids=["agree", "encipher"]
)
def test_key_usage_of_ec(usage: tuple[str, ...], may_encrypt: bool) -> None:
    """An EC key encrypts by keyAgreement (RFC 5753)."""
    assert mint(key_kind="ec-p256", key_usage=usage).may_encrypt is may_encrypt


@pytest.mark.parametrize(
    ("usage", "allowed"),
    [
        (None, True),
        (("emailProtection",), True),
        (("any",), True),
        (("clientAuth", "emailProtection"), True),
        (("clientAuth",), False),
        (("1.3.6.1.4.1.99999.1",), False),
    ],
    ids=["absent", "email", "any", "both", "client", "unknown"],
)
def test_extended_key_usage(usage: tuple[str, ...] | None, allowed: bool) -> None:
    """RFC 8550 4.4.4: absent, any or emailProtection."""
    assert mint(ext_key_usage=usage).has_email_protection is allowed


@pytest.mark.parametrize(
    ("kind", "algorithm", "expected"),
    [
        ("rsa-3072", "rsa-3072", KeyKind.RSA),
        ("ec-p256", "ec-secp256r1", KeyKind.EC),
        ("ec-p384", "ec-secp384r1", KeyKind.EC),
    ],
    ids=["rsa-3072", "p-256", "p-384"],
)
def test_kinds_of_key(kind: Kind, algorithm: str, expected: KeyKind) -> None:
    """Keys are named by family and size."""
    certificate = mint(key_kind=kind)
    assert (certificate.key_algorithm, certificate.key_kind) == (algorithm, expected)


def test_mail_addresses_come_from_both_places() -> None:
    """RFC 8550 3: subjectAltName (SmtpUTF8Mailbox too) first, then the subject; each once."""
    issued = PKI.identity(
        "Alice@Acme.example",
        "alice@xn--exmple-cua.example",
        utf8_emails=["ålice@acme.example"],
        dn_emails=["old@acme.example", "Alice@Acme.example"],
    )
    certificate = load_certificate(issued.certificate_der)
    assert certificate.emails == (
        "Alice@Acme.example",
        "alice@xn--exmple-cua.example",
        "ålice@acme.example",
        "old@acme.example",
    )
    assert certificate.names(Address("aLICE@ACME.EXAMPLE"))
    assert certificate.names(Address("old@acme.example"))
    assert certificate.names(Address("Ålice@acme.example"))
    assert not certificate.names(Address("alice@acme.example.evil.example"))


@pytest.mark.parametrize(
    "address", ["not-an-address", "a@b\r\nBcc: x@y.example", "a@b\x00"], ids=["no-at", "line-end", "nul"]
)
def test_text_that_is_no_mailbox_is_no_address(address: str) -> None:
    """A name that could end a header field never becomes an address."""
    name = x509.RFC822Name._init_without_validation(address)
    assert load_certificate(PKI.identity(other_names=[name]).certificate_der).emails == ()


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("OU=x+CN=Smith\\, J.,O=Acme", "OU=x+CN=Smith\\, J.,O=Acme"),
        ("CN=\\ lead and trail\\ ,O=\\#1", "CN=\\ lead and trail\\ ,O=\\#1"),
        ("CN=a\\0Ab", "CN=a\\0Ab"),
        ("CN=Zoë", "CN=Zoë"),
        ('CN=\\\\\\"\\;\\<\\>', 'CN=\\\\\\"\\;\\<\\>'),
    ],
    ids=["comma-multi", "blanks-hash", "control", "utf8", "specials"],
)
def test_names_as_text(subject: str, text: str) -> None:
    """RFC 4514 2, and control characters always escaped."""
    assert load_certificate(issue(subject).certificate_der).subject == text


def test_an_unknown_attribute_is_written_in_hexadecimal() -> None:
    """RFC 4514 2.4: a dotted type carries the BER of its value."""
    attribute = x509.NameAttribute(x509.ObjectIdentifier("1.2.3.4"), "x")
    subject = load_certificate(issue(x509.Name([attribute])).certificate_der).subject
    assert subject == "1.2.3.4=#0c0178"


def test_der_and_pem_are_told_by_content() -> None:
    """PEM may have text around it; of several blocks, one call gives the first, the other all."""
    pem = b"Bag Attributes\n" + ALICE.certificate_pem + b"\nissuer:\n" + PKI.issuing.certificate_pem
    assert load_certificate(pem).der == ALICE.certificate_der
    ders = [one.der for one in load_certificates(ALICE.key_octets() + pem + pem)]
    assert ders == [ALICE.certificate_der, PKI.issuing.certificate_der]
    assert [one.der for one in load_certificates(ALICE.certificate_der)] == [ALICE.certificate_der]
    assert load_certificate(load_certificate(ALICE.certificate_der).pem()).der == ALICE.certificate_der
    assert load_certificate(pem.replace(b"\n", b"\r\n")).der == ALICE.certificate_der


@pytest.mark.parametrize("encoding", [serialization.Encoding.DER, serialization.Encoding.PEM], ids=["der", "pem"])
def test_certs_only(encoding: serialization.Encoding) -> None:
    """A SignedData without signers is a bag of certificates (RFC 8551 3.8)."""
    octets = pkcs7.serialize_certificates([ALICE.certificate, PKI.issuing.certificate], encoding)
    assert {one.der for one in load_certificates(octets)} == {ALICE.certificate_der, PKI.issuing.certificate_der}


@pytest.mark.parametrize(
    "octets",
    [bytes.fromhex("300b06092a864886f70d010701"), bytes.fromhex("300b06092a864886f70d010702"), b"\x30\x03\x06\x01\x2a"],
    ids=["data", "no-content", "short"],
)
def test_other_cms_structures_are_refused(octets: bytes) -> None:
    """A ContentInfo without certificates."""
    with pytest.raises(CertificateError):
        load_certificates(octets)


@pytest.mark.parametrize("text", ["å", "x" * 40], ids=["short", "long"])
def test_an_other_name_of_another_type_is_no_address(text: str) -> None:
    """Even one whose value looks like a mailbox; and a SmtpUTF8Mailbox that holds no string is none."""
    value = b"\x0c" + bytes([len(text.encode()) + 10]) + text.encode() + b"@x.example"
    names = [
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), value),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), b"\x02\x01\x05"),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), b"\x0c\x02\xff@"),
    ]
    issued = PKI.identity("a@b.example", other_names=names, dn_emails=["nobody"])
    assert load_certificate(issued.certificate_der).emails == ("a@b.example",)


def _with_twice_the_extension() -> bytes:
    """Name a second extension with the identifier of the first (both have one of the same length)."""
    der = ALICE.certificate_der
    key_usage, extended = bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d25")
    assert der.count(extended) == 1
    return der.replace(extended, key_usage)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"0",
        b"\x30\x80",
        b"garbage",
        ALICE.certificate_der[:-1],
        ALICE.certificate_der + b"\x00",
        ALICE.key_octets(form="der"),
        ALICE.key_octets(),
        ALICE.certificate_pem.replace(b"-----END", b"-----ENT"),
        ALICE.certificate_pem.replace(b"MII", b"M!I", 1),
        PKI.issuing.crl(),
        _with_twice_the_extension(),
        b"\x30\x83\xff\xff\xff" + bytes(MAX_CERTIFICATE_OCTETS),
    ],
    ids=[
        "empty",
        "one",
        "open",
        "text",
        "cut",
        "more",
        "key",
        "key-p",
        "open-pem",
        "text-pem",
        "crl",
        "twice",
        "large",
    ],
)
def test_everything_else_is_refused(octets: bytes) -> None:
    """What is no certificate is a CertificateError from both functions."""
    with pytest.raises(CertificateError):
        load_certificate(octets)
    with pytest.raises(CertificateError):
        load_certificates(octets)


@given(st.binary(max_size=200))
def test_any_octets_give_a_certificate_or_our_exception(octets: bytes) -> None:
    """Nothing else gets out of the parser."""
    for load in (load_certificate, load_certificates):
        try:
            load(octets)
        except CertificateError:
            continue


@given(st.integers(0, len(ALICE.certificate_der) - 1), st.integers(1, 255))
def test_any_changed_octet_gives_a_certificate_or_our_exception(place: int, change: int) -> None:
    """The same for almost-certificates, which reach deeper."""
    octets = bytearray(ALICE.certificate_der)
    octets[place] ^= change
    try:
        certificate = load_certificate(bytes(octets))
    except CertificateError:
        return
    assert certificate.subject.isprintable()
    assert all(email.isprintable() for email in certificate.emails)


def test_deep_nesting_is_our_exception() -> None:
    """A structure nested beyond the interpreter's depth is refused like any other."""
    octets = b"\x05\x00"
    for _ in range(3000):
        length = len(octets).to_bytes(3, "big")
        octets = b"\x30\x83" + length + octets
    with pytest.raises(CertificateError):
        load_certificate(octets)


def test_equality_is_of_octets() -> None:
    """Copies are equal and find one another in a set; pickles and deep copies are read again."""
    certificate = load_certificate(ALICE.certificate_der)
    assert copy.deepcopy(certificate) == certificate
    assert pickle.loads(pickle.dumps(certificate)) == certificate
    assert certificate != load_certificate(PKI.root.certificate_der)
    assert len({certificate, copy.deepcopy(certificate)}) == 1
    assert certificate != ALICE.certificate_der


def test_validity_includes_both_ends() -> None:
    """RFC 5280 4.1.2.5."""
    certificate = load_certificate(ALICE.certificate_der)
    assert certificate.is_valid_at(NOT_BEFORE)
    assert certificate.is_valid_at(NOT_AFTER)
    assert not certificate.is_valid_at(datetime(2028, 1, 1, 0, 0, 1, tzinfo=UTC))


def test_the_representation_is_short() -> None:
    """No octets in logs."""
    text = repr(load_certificate(ALICE.certificate_der))
    assert "\\x" not in text
    assert len(text) < 1000


def test_keys_of_the_pki_are_reused() -> None:
    """The builder's promise that tests rely on for their speed."""
    assert private_key("ec-p256", 0) is private_key("ec-p256", 0)
    assert PKI.identity("alice@acme.example").key is ALICE.key
    assert PKI.identity("bob@acme.example").key is not ALICE.key
