"""The enveloped-data that we write: an independent reader finds in it what RFC 5652 and RFC 8551 ask."""

from __future__ import annotations

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import (
    ContentCipher,
    Verdict,
    build_enveloped_data,
    decrypt_content,
    encrypt_content,
    matches,
    open_enveloped_data,
    parse_enveloped_data,
    prepare_recipient,
)
from gateway.cms.ber import is_der
from gateway.errors import CertificateError, UnsupportedCms
from tests.support.pki import Issued, Pki
from tests.unit.cms.forge import Key
from tests.unit.cms.test_public_keys import rsa_spki, spki
from tests.unit.cms.test_signed_check import fake_certificate

CONTENT = b"Content-Type: text/plain\r\n\r\nHello.\r\n"
WRITTEN = [cipher for cipher in ContentCipher if cipher.verdict is Verdict.ACCEPTABLE]


@pytest.mark.parametrize("cipher", WRITTEN)
def test_structure(alice: Issued, bob: Issued, cipher: ContentCipher) -> None:
    """Version 0, two KeyTransRecipientInfos, AES-CBC; and it decrypts by the book."""
    recipients = [prepare_recipient(one.certificate_der) for one in (alice, bob)]
    octets = build_enveloped_data(encrypt_content(CONTENT, cipher), recipients)
    assert is_der(octets)
    enveloped = cms.ContentInfo.load(octets, strict=True)["content"]
    assert enveloped["version"].native == "v0"
    info = enveloped["encrypted_content_info"]
    assert info["content_type"].native == "data"
    assert info["content_encryption_algorithm"].key_length == cipher.key_size
    assert info["content_encryption_algorithm"].encryption_mode == "cbc"
    keys = set()
    for choice in enveloped["recipient_infos"]:
        recipient = choice.chosen
        assert choice.name == "ktri"
        assert recipient["version"].native == "v0"
        assert recipient["key_encryption_algorithm"]["algorithm"].native == "rsaes_pkcs1v15"
        assert recipient["key_encryption_algorithm"]["parameters"].dump() == b"\x05\x00"
        rid = recipient["rid"].chosen
        (owner,) = (one for one in (alice, bob) if one.serial == rid["serial_number"].native)
        assert rid["issuer"].dump() == owner.certificate.issuer.public_bytes()
        assert isinstance(owner.key, rsa.RSAPrivateKey)
        keys.add(owner.key.decrypt(recipient["encrypted_key"].native, padding.PKCS1v15()))
    (key,) = keys
    decryptor = Cipher(AES(key), modes.CBC(info["content_encryption_algorithm"].encryption_iv)).decryptor()
    unpadder = block_padding.PKCS7(128).unpadder()
    padded = decryptor.update(info["encrypted_content"].native) + decryptor.finalize()
    assert unpadder.update(padded) + unpadder.finalize() == CONTENT


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from(WRITTEN))
def test_round_trip(buffers: list[bytes], cipher: ContentCipher) -> None:
    """What we encrypt is decrypted, in several buffers too; each recipient finds its RecipientInfo."""
    alice = Pki.make().identity("alice@acme.example")
    encrypted = encrypt_content(buffers, cipher)
    view = parse_enveloped_data(build_enveloped_data(encrypted, [prepare_recipient(alice.certificate_der)]))
    (recipient,) = view.recipients
    assert matches(recipient, alice.certificate_der)
    assert view.cipher is cipher
    assert open_enveloped_data(view, recipient, Key(alice.key)) == b"".join(buffers)
    assert decrypt_content(view, encrypted.key) == b"".join(buffers)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 111, 112, 127, 128, 65519, 65520, 100_000])
def test_is_der_at_every_length(alice: Issued, size: int) -> None:
    """Headers around the content are right where the number of length octets changes; padding is never empty."""
    encrypted = encrypt_content(b"x" * size)
    assert len(encrypted.ciphertext) == size // 16 * 16 + 16
    octets = build_enveloped_data(encrypted, [prepare_recipient(alice.certificate_der)])
    assert is_der(octets)
    assert decrypt_content(parse_enveloped_data(octets), encrypted.key) == b"x" * size


def test_copies_share_the_ciphertext(alice: Issued, bob: Issued) -> None:
    """One content for two copies: the same ciphertext, another RecipientInfo, and neither names the other."""
    encrypted = encrypt_content(CONTENT)
    views = [
        parse_enveloped_data(build_enveloped_data(encrypted, [prepare_recipient(one.certificate_der)]))
        for one in (alice, bob)
    ]
    assert views[0].ciphertext == views[1].ciphertext == encrypted.ciphertext
    assert [len(view.recipients) for view in views] == [1, 1]
    assert not matches(views[0].recipients[0], bob.certificate_der)
    assert not matches(views[1].recipients[0], alice.certificate_der)


def test_key_and_iv_are_fresh() -> None:
    """Nothing of one content is used for another."""
    first, second = encrypt_content(CONTENT), encrypt_content(CONTENT)
    assert first.key != second.key
    assert first.iv != second.iv
    assert first.ciphertext != second.ciphertext


def test_repr_hides_key_and_content(alice: Issued) -> None:
    """Neither can come into a log by its representation."""
    encrypted = encrypt_content(CONTENT)
    shown = repr(encrypted) + repr(prepare_recipient(alice.certificate_der))
    for secret in (encrypted.key, encrypted.ciphertext, encrypted.iv):
        assert repr(secret) not in shown
    assert "AES_256_CBC" in shown


def test_weak_ciphers_are_not_written() -> None:
    """RFC 8551 2.7: 3DES is only read."""
    with pytest.raises(ValueError, match="not written"):
        encrypt_content(CONTENT, ContentCipher.DES_EDE3_CBC)


def test_nobody() -> None:
    """An enveloped-data without recipients could never be opened."""
    with pytest.raises(ValueError, match="recipient"):
        build_enveloped_data(encrypt_content(CONTENT), [])


def test_key_of_1024_bits(pki: Pki) -> None:
    """RFC 8551 4.4: it can be done, and the verdict says what it is worth."""
    old = pki.identity("old@acme.example", key_kind="rsa-1024")
    assert prepare_recipient(old.certificate_der).verdict is Verdict.LEGACY


def test_key_without_encryption(alice: Issued, erin: Issued) -> None:
    """Only RSA yet; the certificate is not to blame."""
    with pytest.raises(UnsupportedCms, match="ec-secp256r1"):
        prepare_recipient(erin.certificate_der)
    with pytest.raises(UnsupportedCms, match="ml-kem-768"):
        prepare_recipient(fake_certificate(alice, spki("2.16.840.1.101.3.4.4.2", bytes(1184), b"")))


@pytest.mark.parametrize("bits", [768, 16384 + 8])
def test_absurd_keys(alice: Issued, bits: int) -> None:
    """A key that gives no assurance, or whose use costs too much, is not used."""
    with pytest.raises(CertificateError, match=f"rsa-{bits}"):
        prepare_recipient(fake_certificate(alice, rsa_spki(bits)))


@pytest.mark.parametrize("certificate", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----"])
def test_unreadable_certificate(certificate: bytes) -> None:
    """A certificate that cannot be read is a CertificateError."""
    with pytest.raises(CertificateError):
        prepare_recipient(certificate)
