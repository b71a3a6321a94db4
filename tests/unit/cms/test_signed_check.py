"""One signature, told in facts: intact, valid, verdict; each is right for itself, whatever the others are."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import (
    Digest,
    SignatureCheck,
    SignatureScheme,
    Verdict,
    check_signature,
    der,
    parse_signed_data,
    signed_check,
)
from gateway.errors import UnsupportedCms
from tests.support.pki import Issued, Pki
from tests.unit.cms.forge import (
    RSA,
    Key,
    attribute,
    content_type_attribute,
    key_identifier,
    message_digest_attribute,
    signed_data,
    signer_info,
    usual_attributes,
)
from tests.unit.cms.test_public_keys import rsa_spki, spki

CONTENT = b"Content-Type: text/plain\r\n\r\nHello.\r\n"
CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
PROTECTION = "1.2.840.113549.1.9.52"


def check(info: bytes, certificate: bytes, content: bytes = CONTENT) -> SignatureCheck:
    """Check the one signer of a signed-data."""
    (signer,) = parse_signed_data(signed_data(info, content=CONTENT)).signers
    return check_signature(signer, certificate, content)


def with_attributes(*attributes: bytes) -> list[bytes]:
    return sorted([*usual_attributes(CONTENT), *attributes])


def fake_certificate(alice: Issued, public_key_der: bytes) -> bytes:
    """A certificate (nobody signed it) of alice's issuer and serial number with another key."""
    empty = der.sequence()
    body = der.sequence(
        der.context(0, der.integer(2)),
        der.integer(alice.serial),
        empty,
        alice.certificate.issuer.public_bytes(),
        empty,
        empty,
        public_key_der,
    )
    return der.sequence(body, empty, der.tlv(0x03, b"\x00"))


@pytest.mark.parametrize("digest", Digest)
@pytest.mark.parametrize("attributes", [(), None])
def test_digests(alice: Issued, erin: Issued, digest: Digest, attributes: None) -> None:
    """Old digests are computed truthfully, and the verdict says what they are worth."""
    for signer in (alice, erin):
        named = None
        if signer is erin and digest is Digest.MD5:
            named = der.sequence(der.oid(SignatureScheme.ECDSA.oid))  # there is no identifier for both
        info = signer_info(signer, CONTENT, digest=digest, attributes=attributes, signature_algorithm=named)
        found = check(info, signer.certificate_der)
        reason = "" if digest.verdict is Verdict.ACCEPTABLE else f"{digest.label} is {digest.verdict}"
        scheme = Key(signer.key).scheme
        assert found == SignatureCheck(
            intact=True,
            valid=True,
            digest=digest.label,
            signature=scheme.label,
            verdict=digest.verdict,
            reason=reason,
        )


def test_changed_content(alice: Issued) -> None:
    """With signed attributes the signature stays valid over them, and the content is not intact."""
    found = check(signer_info(alice, CONTENT), alice.certificate_der, CONTENT + b"x")
    assert (found.intact, found.valid, found.verdict) == (False, True, Verdict.ACCEPTABLE)
    assert found.reason == "the content is not what was signed"


def test_changed_content_without_attributes(alice: Issued) -> None:
    """Without them one value stands for both."""
    found = check(signer_info(alice, CONTENT, attributes=None), alice.certificate_der, CONTENT + b"x")
    assert (found.intact, found.valid) == (False, False)
    assert found.reason == "the signature value is wrong"


def test_changed_attributes(alice: Issued) -> None:
    """The digest fits and the signature does not: intact, not valid."""
    info = signer_info(alice, CONTENT, signed=b"something else")
    found = check(info, alice.certificate_der)
    assert (found.intact, found.valid, found.reason) == (True, False, "the signature value is wrong")


def test_another_key(alice: Issued, bob: Issued, erin: Issued) -> None:
    """A certificate of somebody else: of the same kind of key, and of another."""
    found = check(signer_info(alice, CONTENT), bob.certificate_der)
    assert (found.intact, found.valid, found.reason) == (True, False, "the signature value is wrong")
    found = check(signer_info(alice, CONTENT), erin.certificate_der)
    assert (found.intact, found.valid) == (True, False)
    assert found.reason == "the signature algorithm does not fit the certificate's key"


def test_order_of_attributes_is_what_was_signed(alice: Issued) -> None:
    """RFC 5652 5.4: the DER of the SET OF, with the tag of SET OF and not that of ``[0]``."""
    body = b"".join(sorted(usual_attributes(CONTENT)))
    assert check(signer_info(alice, CONTENT, signed=der.tlv(0x31, body)), alice.certificate_der).valid
    assert not check(signer_info(alice, CONTENT, signed=der.tlv(0xA0, body)), alice.certificate_der).valid


@pytest.mark.parametrize(
    ("oid", "digest"),
    [
        pytest.param(CERTIFICATE_V2, Digest.SHA256, id="v2, default"),
        pytest.param(CERTIFICATE_V2, Digest.SHA512, id="v2, SHA-512"),
        pytest.param(CERTIFICATE, Digest.SHA1, id="v1"),
    ],
)
def test_signing_certificate(pki: Pki, oid: str, digest: Digest) -> None:
    """RFC 5035 3: the same key in another certificate is not what the signer meant."""
    meant, other = (pki.identity("renewed@acme.example") for _ in range(2))
    algorithm = digest.identifier_der if digest is Digest.SHA512 else b""
    entry = der.sequence(algorithm, der.octet_string(digest.compute(meant.certificate_der)))
    attributes = with_attributes(attribute(oid, der.sequence(der.sequence(entry))))
    info = signer_info(meant, CONTENT, attributes=attributes, sid=key_identifier(meant))
    assert check(info, meant.certificate_der).valid
    found = check(info, other.certificate_der)
    assert (found.intact, found.valid) == (True, False)
    assert found.reason == "the signing certificate attribute means another certificate"


def test_signing_certificate_by_unknown_digest(alice: Issued) -> None:
    """Then nothing can be told."""
    entry = der.sequence(der.sequence(der.oid("2.16.840.1.101.3.4.2.8")), der.octet_string(b"h"))
    attributes = with_attributes(attribute(CERTIFICATE_V2, der.sequence(der.sequence(entry))))
    with pytest.raises(UnsupportedCms, match="sha3-256"):
        check(signer_info(alice, CONTENT, attributes=attributes), alice.certificate_der)


NULL_PARAMETERS = der.sequence(der.oid(Digest.SHA256.oid), der.NULL)


@pytest.mark.parametrize(
    ("digest", "signature", "valid"),
    [
        pytest.param(Digest.SHA256.identifier_der, (der.oid(RSA), der.NULL), True, id="the same"),
        pytest.param(NULL_PARAMETERS, (der.oid(RSA),), True, id="NULL for absent"),
        pytest.param(Digest.SHA512.identifier_der, (der.oid(RSA), der.NULL), False, id="another digest"),
        pytest.param(Digest.SHA256.identifier_der, (der.oid("1.2.840.113549.1.1.11"),), False, id="another signature"),
        pytest.param(Digest.SHA256.identifier_der, (der.oid(RSA), der.integer(1)), False, id="other parameters"),
        pytest.param(Digest.SHA256.identifier_der, (), False, id="no signature algorithm"),
    ],
)
def test_algorithm_protection(alice: Issued, digest: bytes, signature: tuple[bytes, ...], valid: bool) -> None:
    """RFC 6211 3: the attribute repeats the algorithms, or the signature is not valid."""
    protection = der.sequence(digest, der.tlv(0xA1, *signature) if signature else b"")
    attributes = with_attributes(attribute(PROTECTION, protection))
    found = check(signer_info(alice, CONTENT, attributes=attributes), alice.certificate_der)
    assert (found.intact, found.valid) == (True, valid)
    assert found.reason == ("" if valid else "the algorithm protection attribute names other algorithms")


@pytest.mark.parametrize(
    ("oid", "kind"),
    [("1.2.840.113549.1.1.13", "alice"), ("1.2.840.10045.4.3.4", "erin")],
    ids=["sha512WithRSAEncryption", "ecdsa-with-SHA512"],
)
def test_signature_algorithm_of_another_digest(alice: Issued, erin: Issued, oid: str, kind: str) -> None:
    """RFC 5754 3.2, RFC 5753 7.1.3: two digests in one SignerInfo are one too many."""
    signer = alice if kind == "alice" else erin
    info = signer_info(signer, CONTENT, signature_algorithm=der.sequence(der.oid(oid)))
    found = check(info, signer.certificate_der)
    assert (found.intact, found.valid) == (True, False)
    assert found.reason == "the signature algorithm names another digest than the signer"


def test_content_that_reads_as_attributes(alice: Issued) -> None:
    """A signature over attributes does not become one over a content of the same octets.

    Who has a signed message can drop the attributes from it and put their DER in the place of the content.
    """
    attributes = sorted([content_type_attribute(), message_digest_attribute(Digest.SHA256.compute(CONTENT))])
    content = der.tlv(0x31, *attributes)
    info = signer_info(alice, content, attributes=None)
    (signer,) = parse_signed_data(signed_data(info, content=content)).signers
    found = check_signature(signer, alice.certificate_der, content)
    assert (found.intact, found.valid, found.reason) == (False, False, "the content reads as signed attributes")
    for text in (b"1", b"1.", b"1\x80", b"1\x00more"):
        (signer,) = parse_signed_data(signed_data(signer_info(alice, text, attributes=None), content=text)).signers
        assert check_signature(signer, alice.certificate_der, text).valid


@pytest.mark.parametrize(
    ("public_key", "reason"),
    [
        pytest.param(rsa_spki(16384 + 8), "absurd", id="absurd size"),
        pytest.param(rsa_spki(2048, 2**70 + 1), "absurd", id="absurd exponent"),
        pytest.param(spki(RSA, b"broken"), "cannot be read", id="broken key"),
        pytest.param(spki(RSA, bytes(20_000)), "too large", id="too large"),
        pytest.param(rsa_spki(768), "rsa-768 is refused", id="short"),
        pytest.param(der.NULL, "expected", id="no key"),
    ],
)
def test_unusable_keys(alice: Issued, public_key: bytes, reason: str) -> None:
    """Such a key gives no assurance; nothing is raised, and the content is still told to be intact."""
    found = check(signer_info(alice, CONTENT), fake_certificate(alice, public_key))
    assert (found.intact, found.valid, found.verdict) == (True, False, Verdict.REFUSED)
    assert reason in found.reason


def test_short_key_that_signed(pki: Pki) -> None:
    """RFC 8551 4.3: RSA below 2048 bits is computed truthfully and is not good enough."""
    old = pki.identity("old@acme.example", key_kind="rsa-1024")
    found = check(signer_info(old, CONTENT), old.certificate_der)
    assert (found.intact, found.valid, found.verdict) == (True, True, Verdict.LEGACY)
    assert found.reason == "rsa-1024 is legacy"


@pytest.mark.parametrize(
    ("signature_algorithm", "digest_algorithm", "name"),
    [
        (der.sequence(der.oid("1.2.840.113549.1.1.10")), None, "signature algorithm rsassa-pss"),
        (der.sequence(der.oid("1.3.101.112")), None, "signature algorithm ed25519"),
        (None, der.sequence(der.oid("2.16.840.1.101.3.4.2.8")), "digest algorithm sha3-256"),
    ],
)
def test_unsupported(
    alice: Issued, signature_algorithm: bytes | None, digest_algorithm: bytes | None, name: str
) -> None:
    """What we do not implement is named, and nothing is said of the signature."""
    info = signer_info(alice, CONTENT, signature_algorithm=signature_algorithm, digest_algorithm=digest_algorithm)
    with pytest.raises(UnsupportedCms, match=name):
        check(info, alice.certificate_der)


def test_unsupported_key(alice: Issued) -> None:
    """A certificate with a key of another algorithm than the SignerInfo says."""
    with pytest.raises(UnsupportedCms, match="rsassa-pss"):
        check(signer_info(alice, CONTENT), fake_certificate(alice, spki("1.2.840.113549.1.1.10", b"")))


def test_digest_that_the_library_lacks(alice: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build for FIPS has no MD5: then nothing is told. BLAKE2 stands for it, which no build has for RSA."""
    monkeypatch.setitem(signed_check._HASHES, Digest.MD5, hashes.BLAKE2s(32))
    with pytest.raises(UnsupportedCms, match="md5"):
        check(signer_info(alice, CONTENT, digest=Digest.MD5), alice.certificate_der)


@given(signature=st.binary(max_size=300), certificate=st.binary(max_size=50), change=st.integers(0, 2000))
def test_never_raises_for_what_is_wrong(signature: bytes, certificate: bytes, change: int) -> None:
    """Any signature value and any certificate give a result that is not valid, or UnsupportedCms."""
    pki = Pki.make()
    for kind in ("rsa-2048", "ec-p256"):
        signer = pki.identity("any@acme.example", key_kind=kind)
        scheme = SignatureScheme.ECDSA if kind == "ec-p256" else SignatureScheme.RSA_PKCS1V15
        info = der.sequence(
            der.integer(1),
            der.sequence(signer.certificate.issuer.public_bytes(), der.integer(signer.serial)),
            Digest.SHA256.identifier_der,
            scheme.identifier_der(Digest.SHA256),
            der.octet_string(signature),
        )
        octets = bytearray(signer.certificate_der)
        octets[change % len(octets)] ^= 0x41
        for candidate in (signer.certificate_der, certificate, bytes(octets)):
            try:
                assert not check(info, candidate).valid
            except UnsupportedCms:
                continue
