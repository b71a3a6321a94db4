"""The self-check of outgoing messages: what was built is read again, from its octets, before anything is sent.

What it does: parses the finished message with the readers that foreign mail goes through, and compares with the plan.

- A signed message: the signed part is, octet for octet, the entity that was to be signed; there is one SignerInfo, and
  its signature verifies with the signer's certificate.
- An enveloped message: the RecipientInfos are exactly those of the planned certificates, no more and no fewer; the
  content-encryption key in hand opens it to exactly the entity; and beside the outer header fields the message holds
  nothing but the CMS object, so no clear text.

It cannot know that somebody else holds a private key for a certificate, nor that other programs read what we read: the
interoperability tests are for that. Raises :class:`~gateway.errors.SelfCheckFailed`: our bug; the message is not sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gateway.cms import (
    EnvelopedData,
    SignedData,
    check_signature,
    decrypt_content,
    find_certificate,
    matches,
    parse_enveloped_data,
    parse_signed_data,
)
from gateway.errors import CertificateError, CmsError, MimeError, SelfCheckFailed
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime import parse_entity
from gateway.smime.classify import Kind, LayerView, look
from gateway.smime.model import RecipientCertificate, SigningIdentity
from gateway.smime.protect import Protectable, Sealed, SignedForm

_FORMS = {SignedForm.CLEAR: Kind.CLEAR_SIGNED, SignedForm.OPAQUE: Kind.SIGNED_DATA}


def check_signed(
    message: Sequence[bytes],
    protectable: Protectable,
    signer: SigningIdentity,
    *,
    form: SignedForm = SignedForm.CLEAR,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Check a whole signed message (the buffers of ``assemble``). Raise :class:`~gateway.errors.SelfCheckFailed`."""
    view = _read(message, _FORMS[form], limits)
    try:
        signed = parse_signed_data(view.der, limits)
        content = view.signed_part if form is SignedForm.CLEAR else signed.content
        if content != protectable.entity:
            raise SelfCheckFailed("the signed part is not the entity that was to be signed")
        if form is SignedForm.CLEAR and signed.content is not None:
            raise SelfCheckFailed("a detached signature carries content")
        _check_signer(signed, protectable.entity, signer)
    except (CmsError, CertificateError) as error:
        raise SelfCheckFailed(f"the signature cannot be read: {error}") from error


def check_enveloped(
    message: Sequence[bytes],
    sealed: Sealed,
    recipients: Sequence[RecipientCertificate],
    *,
    outer_fields: bytes | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Check a whole encrypted message. Raise :class:`~gateway.errors.SelfCheckFailed`.

    With ``outer_fields`` the header section must be those and the content fields of application/pkcs7-mime.
    """
    view = _read(message, Kind.ENVELOPED_DATA, limits)
    try:
        enveloped = parse_enveloped_data(view.der, limits)
        _check_recipients(enveloped, recipients)
        if decrypt_content(enveloped, sealed.encrypted.key) != b"".join(sealed.entity):
            raise SelfCheckFailed("the encrypted content is not the entity that was to be encrypted")
    except CmsError as error:
        raise SelfCheckFailed(f"the enveloped-data cannot be read: {error}") from error
    _check_nothing_else(b"".join(message), view, outer_fields)


def _read(message: Sequence[bytes], kind: Kind, limits: Limits) -> LayerView:
    try:
        view = look(parse_entity(b"".join(message), limits=limits, levels=1), limits)
    except MimeError as error:
        raise SelfCheckFailed(f"the message cannot be read: {error}") from error
    if view.kind is not kind:
        raise SelfCheckFailed(f"the message reads as {view.kind}, not as {kind}: {view.reason}")
    return view


def _check_signer(signed: SignedData, content: bytes, signer: SigningIdentity) -> None:
    if len(signed.signers) != 1:
        raise SelfCheckFailed(f"{len(signed.signers)} SignerInfos in place of one")
    certificate_der = signer.certificate.der
    if find_certificate(signed.signers[0], signed.certificates) != certificate_der:
        raise SelfCheckFailed("the signature does not carry the signer's certificate")
    check = check_signature(signed.signers[0], certificate_der, content)
    if not (check.intact and check.valid):
        raise SelfCheckFailed(f"the signature does not verify: {check.reason}")


def _check_recipients(enveloped: EnvelopedData, recipients: Sequence[RecipientCertificate]) -> None:
    planned = Counter(recipient.certificate.der for recipient in recipients)
    if len(enveloped.recipients) != len(recipients):
        raise SelfCheckFailed(f"{len(enveloped.recipients)} RecipientInfos in place of {len(recipients)}")
    for info in enveloped.recipients:
        named = next((der for der, left in planned.items() if left and matches(info, der)), None)
        if named is None:
            raise SelfCheckFailed("a RecipientInfo names nobody who was planned")
        planned[named] -= 1


def _check_nothing_else(message: bytes, view: LayerView, outer_fields: bytes | None) -> None:
    """Beside the header the message must be the base64 of the CMS object and nothing else."""
    header_end = message.find(b"\r\n\r\n") + 4
    # It has been decoded, which allows base64 and line ends only: there is no room for more where the length is right.
    if len(message[header_end:].rstrip()) != _length_in_base64(len(view.der)):
        raise SelfCheckFailed("the body holds more than the CMS object")
    if outer_fields is not None and not _is_header_of(message[: header_end - 2], outer_fields):
        raise SelfCheckFailed("the header section is not that of the plan")


def _length_in_base64(octets: int) -> int:
    """Return the length of base64 in lines of 76 characters (RFC 2045 6.8), without the last line end."""
    characters = (octets + 2) // 3 * 4
    return characters + 2 * ((characters - 1) // 76)


def _is_header_of(header: bytes, outer_fields: bytes) -> bool:
    if not header.startswith(outer_fields):
        return False
    added = parse_entity(header[len(outer_fields) :] + b"\r\n").header
    return all(field.key == "mime-version" or field.key.startswith("content-") for field in added.fields)
