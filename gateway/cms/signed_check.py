"""Checks one signer's signature over a content (RFC 5652 5.4, 5.6); tells facts, decides nothing.

Digest of the content, signature value, fit of the certificate and strength of the algorithms are told apart. A wrong
signature is a result, not an exception; ``UnsupportedCms`` says that nothing can be told.

Beside RFC 5652: the signing certificate attributes must mean this certificate (RFC 5035 3), the algorithm protection
attribute must repeat the algorithms (RFC 6211 3), a signature algorithm that names a digest must name that of the
SignerInfo (RFC 5754 3.2, RFC 5753 7.1.3). A signature without signed attributes over octets that are themselves the
DER of signed attributes is not valid: it may have been made for another content, as those attributes.

Known gaps: RSASSA-PSS, EdDSA, ML-DSA are another branch in :func:`_verify` each. Neither the certification path nor
key usage is looked at: that is :mod:`gateway.pkix`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from gateway.cms.algorithms import Digest, SignatureScheme, Verdict, worst
from gateway.cms.attributes import AlgorithmProtection
from gateway.cms.ber import Algorithm, Reader
from gateway.cms.der import SET
from gateway.cms.public_keys import JudgedKey, load_public_key
from gateway.cms.signed_read import SignerInfo, names_certificate
from gateway.cms.structures import read_certificate
from gateway.errors import CmsError, UnsupportedCms

_HASHES: dict[Digest, hashes.HashAlgorithm] = {
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
    Digest.SHA224: hashes.SHA224(),
    Digest.SHA1: hashes.SHA1(),
    Digest.MD5: hashes.MD5(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """What is known of one signature."""

    intact: bool
    """The content has the digest that was signed. Without signed attributes the same as ``valid``."""
    valid: bool
    """The signature value was made by the certificate's key over the signed attributes, or the content without them."""
    digest: str
    """Label of the digest algorithm."""
    signature: str
    """Label of the signature scheme."""
    verdict: Verdict
    """The worst of digest, scheme and key."""
    reason: str
    """What is wrong, for report and log; empty if nothing."""


def check_signature(signer: SignerInfo, certificate_der: bytes, content: bytes) -> SignatureCheck:
    """Check ``signer``'s signature over ``content`` with the key of this certificate.

    ``content``: the octets of ``eContent``, or of the detached content. Raises ``UnsupportedCms`` for algorithms that
    we do not implement, nothing else.
    """
    if signer.digest is None or signer.scheme is None:
        raise UnsupportedCms(signer.unsupported)
    intact = signer.attributes is None or hmac.compare_digest(
        signer.digest.compute(content), signer.attributes.message_digest
    )
    flaws = [] if intact else ["the content is not what was signed"]
    valid, verdict = False, Verdict.REFUSED
    try:
        key = load_public_key(read_certificate(certificate_der).public_key_der)
    except UnsupportedCms:
        raise
    except CmsError as error:
        flaws.append(str(error))
    else:
        verdict = worst(signer.digest.verdict, signer.scheme.verdict, key.verdict)
        flaw = _flaw(signer, signer.digest, certificate_der, key, content)
        if not flaw:
            signed = content if signer.attributes is None else signer.attributes.set_of_der
            valid = _verify(key, signer.digest, signer.signature, signed)
            flaw = "" if valid else "the signature value is wrong"
        flaws += [flaw, *_weaknesses(signer.digest, key)]
    return SignatureCheck(
        intact=intact if signer.attributes is not None else valid,
        valid=valid,
        digest=signer.digest.label,
        signature=signer.scheme.label,
        verdict=verdict,
        reason="; ".join(filter(None, flaws)),
    )


def _flaw(signer: SignerInfo, digest: Digest, certificate_der: bytes, key: JudgedKey, content: bytes) -> str:
    """Return why the signature is not valid whatever its value; empty if nothing is wrong."""
    if not key.usable:
        return f"a public key of absurd size ({key.label})"
    if key.scheme is not signer.scheme:
        return "the signature algorithm does not fit the certificate's key"
    known = SignatureScheme.from_oid(signer.signature_algorithm.oid)
    if known is not None and known[1] not in (None, digest):
        return "the signature algorithm names another digest than the signer"
    if signer.attributes is None:
        return "the content reads as signed attributes" if _is_set(content) else ""
    if not names_certificate(signer.attributes, certificate_der):
        return "the signing certificate attribute means another certificate"
    protection = signer.attributes.algorithm_protection
    if protection is not None and not _is_protected(signer, protection):
        return "the algorithm protection attribute names other algorithms"
    return ""


def _weaknesses(digest: Digest, key: JudgedKey) -> list[str]:
    weak = [(digest.label, digest.verdict), (key.label, key.verdict)]
    return [f"{label} is {verdict}" for label, verdict in weak if verdict is not Verdict.ACCEPTABLE]


def _is_set(content: bytes) -> bool:
    """Tell whether the content is one SET, as the DER of signed attributes is; no MIME entity looks like this."""
    reader = Reader(content)
    try:
        if reader.peek() != SET:
            return False
        reader.skip()
    except CmsError:
        return False
    return reader.position == len(content)


def _is_protected(signer: SignerInfo, protection: AlgorithmProtection) -> bool:
    return (
        protection.signature is not None
        and _is_same(protection.digest, signer.digest_algorithm)
        and _is_same(protection.signature, signer.signature_algorithm)
    )


def _is_same(one: Algorithm, other: Algorithm) -> bool:
    """Compare two AlgorithmIdentifiers; absent parameters and NULL are the same (RFC 5754 2)."""
    if one.has_no_parameters and other.has_no_parameters:
        return one.oid == other.oid
    return one == other


def _verify(judged: JudgedKey, digest: Digest, signature: bytes, signed: bytes) -> bool:
    key, algorithm = judged.key, _HASHES[digest]
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        else:
            key.verify(signature, signed, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError):
        return False
    except UnsupportedAlgorithm:
        raise UnsupportedCms(f"{digest.label} in a signature") from None
    return True
