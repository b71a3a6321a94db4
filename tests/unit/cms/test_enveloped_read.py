"""Enveloped-data of other sending agents is opened; what is wrong under it cannot be told apart."""

from __future__ import annotations

import functools

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given
from hypothesis import strategies as st

from gateway.cms import (
    ContentCipher,
    EncryptedContent,
    KeyTransport,
    RecipientKind,
    build_enveloped_data,
    decrypt_content,
    der,
    encrypt_content,
    matches,
    open_enveloped_data,
    parse_enveloped_data,
    prepare_recipient,
)
from gateway.errors import CmsError, DecryptionFailed, KeyMaterialError, UnsupportedCms
from gateway.limits import Limits
from tests.support.pki import Issued, Pki
from tests.unit.cms.forge import Key, enveloped_data, indefinite, key_identifier, key_transport, segments

CONTENT = b"Content-Type: text/plain\r\n\r\nHello.\r\n"
OAEP = der.sequence(der.oid("1.2.840.113549.1.1.7"))
CBC = "2.16.840.1.101.3.4.1.42"


@pytest.fixture(scope="module")
def encrypted() -> EncryptedContent:
    """The content, encrypted."""
    return encrypt_content(CONTENT)


def forged(encrypted: EncryptedContent, *recipients: bytes, **named: bytes) -> bytes:
    return enveloped_data(*recipients, ciphertext=encrypted.ciphertext, iv=encrypted.iv, **named)  # type: ignore[arg-type]


def opens(octets: bytes, owner: Issued) -> bytes:
    """Open it as the first recipient that this certificate names."""
    view = parse_enveloped_data(octets)
    recipient = next(one for one in view.recipients if matches(one, owner.certificate_der))
    return open_enveloped_data(view, recipient, Key(owner.key))


@pytest.mark.parametrize("depth", range(7))
@pytest.mark.parametrize("size", [7, 16, 1000])
def test_indefinite_length(alice: Issued, encrypted: EncryptedContent, depth: int, size: int) -> None:
    """BER with indefinite lengths in any number of layers, the ciphertext in segments of any size."""
    whole = forged(encrypted, key_transport(alice, encrypted.key))
    streamed = forged(encrypted, key_transport(alice, encrypted.key), octets=segments(encrypted.ciphertext, size, 0x80))
    for octets in (whole, streamed):
        assert opens(indefinite(octets, depth), alice) == CONTENT


def test_recipient_by_key_identifier(alice: Issued, bob: Issued, encrypted: EncryptedContent) -> None:
    """RFC 5652 6.2.1: version 2, and both forms beside each other."""
    recipients = [
        key_transport(bob, encrypted.key),
        key_transport(alice, encrypted.key, rid=key_identifier(alice)),
    ]
    octets = forged(encrypted, *recipients)
    assert opens(octets, alice) == opens(octets, bob) == CONTENT
    first, second = parse_enveloped_data(octets).recipients
    assert (first.serial, first.ski) == (bob.serial, None)
    assert (second.issuer_der, second.serial) == (None, None)
    assert der.tlv(0x80, second.ski or b"") == key_identifier(alice)


@pytest.mark.parametrize("parameters", [b"", der.NULL])
def test_rsa_parameters(alice: Issued, encrypted: EncryptedContent, parameters: bytes) -> None:
    """NULL or absent."""
    algorithm = der.sequence(der.oid(KeyTransport.RSA_PKCS1V15.oid), parameters)
    assert opens(forged(encrypted, key_transport(alice, encrypted.key, algorithm=algorithm)), alice) == CONTENT


def test_triple_des(alice: Issued) -> None:
    """RFC 3370 5.1: only read."""
    key, iv = bytes(range(24)), bytes(range(8))
    encryptor = Cipher(TripleDES(key), modes.CBC(iv)).encryptor()
    padding = 8 - len(CONTENT) % 8
    ciphertext = encryptor.update(CONTENT + bytes([padding]) * padding) + encryptor.finalize()
    octets = enveloped_data(key_transport(alice, key), ciphertext=ciphertext, iv=iv, cipher=ContentCipher.DES_EDE3_CBC)
    assert parse_enveloped_data(octets).cipher is ContentCipher.DES_EDE3_CBC
    assert opens(octets, alice) == CONTENT


def test_originator_and_unprotected_attributes(alice: Issued, encrypted: EncryptedContent) -> None:
    """RFC 5652 6.1: both are passed over."""
    octets = forged(
        encrypted,
        key_transport(alice, encrypted.key),
        originator=der.tlv(0xA0, der.tlv(0xA0, alice.certificate_der)),
        unprotected=der.tlv(0xA1, der.sequence(der.oid("1.2.3"), der.set_of([der.NULL]))),
    )
    assert opens(octets, alice) == CONTENT


def test_recipients_of_all_kinds(alice: Issued, encrypted: EncryptedContent) -> None:
    """They are listed with what they use; we open ours, and say of the rest that we cannot."""
    wrap = der.sequence(der.oid("2.16.840.1.101.3.4.1.45"))
    octets = forged(
        encrypted,
        key_transport(alice, encrypted.key, algorithm=OAEP),
        der.tlv(0xA2, der.integer(4), der.sequence(der.octet_string(b"id")), wrap, der.octet_string(b"key")),
        der.tlv(0xA4, der.oid("1.2.3"), der.NULL),
        key_transport(alice, encrypted.key),
    )
    view = parse_enveloped_data(octets)
    assert [(one.kind, one.transport, one.transport_label) for one in view.recipients] == [
        (RecipientKind.KEY_TRANSPORT, None, "rsaes-oaep"),
        (RecipientKind.KEY_ENCRYPTION_KEY, None, "2.16.840.1.101.3.4.1.45"),
        (RecipientKind.OTHER, None, "other"),
        (RecipientKind.KEY_TRANSPORT, KeyTransport.RSA_PKCS1V15, "rsa"),
    ]
    for recipient in view.recipients[:3]:
        with pytest.raises(UnsupportedCms, match=recipient.transport_label):
            open_enveloped_data(view, recipient, Key(alice.key))
    assert open_enveloped_data(view, view.recipients[3], Key(alice.key)) == CONTENT
    assert [matches(one, alice.certificate_der) for one in view.recipients] == [True, False, False, True]


def test_unknown_cipher(alice: Issued, encrypted: EncryptedContent) -> None:
    """Named, before a key is used."""
    octets = forged(
        encrypted, key_transport(alice, encrypted.key), algorithm=der.sequence(der.oid("1.2.840.113549.3.2"))
    )
    view = parse_enveloped_data(octets)
    assert (view.cipher, view.cipher_label, view.iv) == (None, "rc2-cbc", b"")

    class Unused(Key):
        def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes:
            raise AssertionError("a private key was used")

    with pytest.raises(UnsupportedCms, match="rc2-cbc"):
        open_enveloped_data(view, view.recipients[0], Unused(alice.key))
    with pytest.raises(UnsupportedCms, match="rc2-cbc"):
        decrypt_content(view, bytes(16))


class Counting(Key):
    """Counts what it is asked; fails, or answers what it is told to."""

    answer: bytes | None = None
    asked = 0

    def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes:
        self.asked += 1
        if self.answer is None:
            raise DecryptionFailed
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="does not unwrap"),
        pytest.param(b"", id="empty key"),
        pytest.param(bytes(16), id="short key"),
        pytest.param(bytes(33), id="long key"),
        pytest.param(bytes(32), id="wrong key"),
    ],
)
def test_all_causes_are_one(alice: Issued, encrypted: EncryptedContent, answer: bytes | None) -> None:
    """RFC 3218 2.3.2: whatever the key says, the content is decrypted, and the exception is always the same.

    In one of 256 cases noise ends like padding; then noise is the answer, not the content.
    """
    view = parse_enveloped_data(forged(encrypted, key_transport(alice, encrypted.key)))
    key = Counting(alice.key)
    key.answer = answer
    failures: list[DecryptionFailed] = []
    for _ in range(20):
        try:
            assert open_enveloped_data(view, view.recipients[0], key) != CONTENT
        except DecryptionFailed as error:
            failures.append(error)
    assert {str(error) for error in failures} == {"the encrypted layer cannot be opened"}
    assert {(error.__cause__, error.__context__) for error in failures} == {(None, None)}
    assert key.asked == 20


def test_a_key_that_is_not_available_is_told(alice: Issued, encrypted: EncryptedContent) -> None:
    """That is our fault, not the message's."""

    class Removed(Key):
        def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes:
            raise KeyMaterialError("token removed")

    view = parse_enveloped_data(forged(encrypted, key_transport(alice, encrypted.key)))
    with pytest.raises(KeyMaterialError):
        open_enveloped_data(view, view.recipients[0], Removed(alice.key))


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(bytes(16), id="padding 0"),
        pytest.param(bytes(15) + b"\x11", id="padding longer than a block"),
        pytest.param(bytes(15) + b"\xff", id="padding 255"),
        pytest.param(bytes(14) + b"\x01\x02", id="padding of unlike octets"),
        pytest.param(bytes(1) + b"\x10" * 15, id="whole block but its first octet"),
    ],
)
def test_padding(plain: bytes, encrypted: EncryptedContent) -> None:
    """RFC 5652 6.3: any other end than the padding is a failure like all others."""
    encryptor = Cipher(AES(encrypted.key), modes.CBC(bytes(16))).encryptor()
    octets = enveloped_data(ciphertext=encryptor.update(plain))
    with pytest.raises(DecryptionFailed):
        decrypt_content(parse_enveloped_data(octets), encrypted.key)


@pytest.mark.parametrize("ciphertext", [b"", bytes(15), bytes(17)])
def test_ciphertext_of_no_whole_blocks(ciphertext: bytes) -> None:
    """A failure like all others."""
    with pytest.raises(DecryptionFailed):
        decrypt_content(parse_enveloped_data(enveloped_data(ciphertext=ciphertext)), bytes(32))


def test_decrypt_content_with_another_key(encrypted: EncryptedContent) -> None:
    """The self-check with a key of a wrong length fails."""
    view = parse_enveloped_data(forged(encrypted))
    assert decrypt_content(view, encrypted.key) == CONTENT
    for key in (b"", encrypted.key[:16], encrypted.key + b"x"):
        with pytest.raises(DecryptionFailed):
            decrypt_content(view, key)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        pytest.param(enveloped_data(ciphertext=bytes(16), version=5), UnsupportedCms, id="version 5"),
        pytest.param(enveloped_data(der.NULL, ciphertext=bytes(16)), CmsError, id="RecipientInfo is NULL"),
        pytest.param(enveloped_data(der.sequence(), ciphertext=bytes(16)), CmsError, id="RecipientInfo is empty"),
        pytest.param(enveloped_data(ciphertext=b"", octets=b""), CmsError, id="no encrypted content"),
        pytest.param(enveloped_data(ciphertext=b"", octets=der.octet_string(b"x")), CmsError, id="universal tag"),
        pytest.param(enveloped_data(ciphertext=bytes(16), iv=bytes(15)), CmsError, id="short iv"),
        pytest.param(enveloped_data(ciphertext=bytes(16), iv=bytes(17)), CmsError, id="long iv"),
        pytest.param(enveloped_data(ciphertext=bytes(16), algorithm=der.sequence(der.oid(CBC))), CmsError, id="no iv"),
        pytest.param(
            enveloped_data(ciphertext=bytes(16), algorithm=der.sequence(der.oid(CBC), der.NULL)), CmsError, id="NULL iv"
        ),
        pytest.param(enveloped_data(ciphertext=bytes(16), unprotected=der.NULL), CmsError, id="something behind"),
    ],
)
def test_refuses(octets: bytes, error: type[CmsError]) -> None:
    """What an EnvelopedData may not be."""
    with pytest.raises(error):
        parse_enveloped_data(octets)


def test_limit_of_recipients(alice: Issued, encrypted: EncryptedContent) -> None:
    """As many as the limit says, and not one more."""
    one = key_transport(alice, encrypted.key)
    limits = Limits(recipient_infos=3)
    assert len(parse_enveloped_data(forged(encrypted, one, one, one), limits).recipients) == 3
    with pytest.raises(CmsError, match="recipients"):
        parse_enveloped_data(forged(encrypted, one, one, one, one), limits)


def test_repr_hides_content(alice: Issued, encrypted: EncryptedContent) -> None:
    """No ciphertext and no wrapped key in a log."""
    shown = repr(parse_enveloped_data(forged(encrypted, key_transport(alice, encrypted.key))))
    assert "ciphertext" not in shown
    assert "encrypted_key" not in shown


def test_truncated_everywhere(alice: Issued, encrypted: EncryptedContent) -> None:
    """No begin of an enveloped-data is one, in definite and indefinite length."""
    octets = forged(encrypted, key_transport(alice, encrypted.key))
    for whole in (octets, indefinite(octets, 5)):
        for end in range(len(whole)):
            with pytest.raises(CmsError):
                parse_enveloped_data(whole[:end])


@functools.cache
def mutable() -> tuple[Issued, bytes]:
    """A small enveloped-data, and who can open it."""
    owner = Pki.make().identity("alice@acme.example")
    return owner, build_enveloped_data(encrypt_content(CONTENT), [prepare_recipient(owner.certificate_der)])


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_mutations(place: float, change: int) -> None:
    """One changed octet gives a content or a CmsError, by whichever way it is opened."""
    owner, whole = mutable()
    octets = bytearray(whole)
    octets[int(place * len(octets))] ^= change
    try:
        view = parse_enveloped_data(bytes(octets))
        for recipient in view.recipients:
            if matches(recipient, owner.certificate_der):
                open_enveloped_data(view, recipient, Key(owner.key))
    except CmsError:
        return
