"""Certification path validation of RFC 5280 6.1 by pyhanko-certvalidator, used purely: the one module that knows it.

What it does: hands one finished candidate path, one anchor and one ``moment`` to the library, drives its coroutine by
hand (with fetching off it never suspends), and turns whatever comes back into our words. Nothing is fetched, no system
trust is looked at, no clock is read. Algorithms are an allow-list of our own (RFC 8550 4.3): what is not on it is
``policy``, so a new or weak algorithm is never accepted by silence.

The mapping of failures is total. The library tells most of them apart by type, some only by their English text: a text
that matches nothing known is ``invalid``, so a change of wording can worsen a word, never turn a failure into success.

Beyond the library: the validity, path length and name constraints of the anchor's own certificate hold too (RFC 5937
3), unlike in RFC 5280 6.1.1 where an anchor is a name and a key.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from asn1crypto import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from pyhanko_certvalidator.authority import CertTrustAnchor, TrustQualifiers
from pyhanko_certvalidator.context import ValidationContext
from pyhanko_certvalidator.errors import (
    DisallowedAlgorithmError,
    ExpiredError,
    NotYetValidError,
    RevokedError,
)
from pyhanko_certvalidator.name_trees import (
    PKIXSubtrees,
    default_excluded_subtrees,
    default_permitted_subtrees,
    process_general_subtrees,
)
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    NO_REVOCATION,
    AlgorithmUsageConstraint,
    AlgorithmUsagePolicy,
    CertRevTrustPolicy,
    PKIXValidationParams,
)
from pyhanko_certvalidator.validate import async_validate_path

from gateway.pkix.certificate import Certificate
from gateway.pkix.state import PathState

# it would log names from hostile certificates as they are
logging.getLogger("pyhanko_certvalidator").setLevel(logging.CRITICAL)

T = TypeVar("T")

MINIMUM_RSA_BITS = 2048
"""RFC 8550 4.3: receiving agents need not take smaller ones; 1024 bits are within reach of an attack."""
MINIMUM_EC_BITS = 256
"""P-256 upwards."""
_DIGESTS = frozenset({"sha256", "sha384", "sha512"})
_WITH_DIGEST = frozenset({"rsassa_pkcs1v15", "rsassa_pss", "ecdsa"})
_WITHOUT_DIGEST = frozenset({"ed25519", "ed448"})

_TEXTS: tuple[tuple[str, PathState], ...] = (
    ("signature of", PathState.INVALID),
    ("signature parameters", PathState.INVALID),
    ("issuer name", PathState.INVALID),
    ("permitted namespace", PathState.CONSTRAINT),
    ("excluded from the", PathState.CONSTRAINT),
    ("is not a CA", PathState.CONSTRAINT),
    ("not allowed to sign certificates", PathState.CONSTRAINT),
    ("maximum path length", PathState.CONSTRAINT),
    ("unsupported critical extension", PathState.CONSTRAINT),
    ("set of policies", PathState.POLICY),
    ("policy processing", PathState.POLICY),
    ("policy mapping", PathState.POLICY),
)


class AlgorithmPolicy(AlgorithmUsagePolicy):
    """Which algorithms may stand in a certification path."""

    def digest_algorithm_allowed(self, algo: Any, moment: datetime | None) -> AlgorithmUsageConstraint:
        """Whether a digest may be used; the moment makes no difference."""
        return AlgorithmUsageConstraint(algo["algorithm"].native in _DIGESTS)

    def signature_algorithm_allowed(
        self, algo: Any, moment: datetime | None, public_key: Any
    ) -> AlgorithmUsageConstraint:
        """Whether a signature algorithm may be used with this key; the moment makes no difference."""
        weakness = judge_signature_algorithm(algo) or (judge_key(public_key) if public_key is not None else "")
        return AlgorithmUsageConstraint(allowed=not weakness, failure_reason=weakness or None)


def judge_key(public_key: Any) -> str:
    """Say why a public key (parsed SubjectPublicKeyInfo) is too weak, or return an empty string."""
    name = public_key["algorithm"]["algorithm"].native
    if name in ("rsa", "rsassa_pss"):
        bits = public_key["public_key"].parsed["modulus"].native.bit_length()
        return f"an RSA key of {bits} bits" if bits < MINIMUM_RSA_BITS else ""
    if name == "ec":
        bits = public_key.bit_size
        return f"an EC key of {bits} bits" if bits < MINIMUM_EC_BITS else ""
    return "a DSA key" if name == "dsa" else ""


def make_anchor(anchor: Certificate) -> CertTrustAnchor:
    """Return the library's form of an anchor, with the limits that its certificate states."""
    view = anchor.view
    constraints = view.name_constraints_value
    parameters = None
    if constraints is not None:
        parameters = PKIXValidationParams(
            initial_permitted_subtrees=_with_subtrees(default_permitted_subtrees(), constraints["permitted_subtrees"]),
            initial_excluded_subtrees=_with_subtrees(default_excluded_subtrees(), constraints["excluded_subtrees"]),
        )
    length = view.max_path_length
    qualifiers = TrustQualifiers(
        standard_parameters=parameters,
        max_path_length=length,
        max_aa_path_length=length,
        valid_from=anchor.not_before,
        valid_until=anchor.not_after,
    )
    return CertTrustAnchor(view, qualifiers)


def make_context(
    *,
    moment: datetime,
    others: Sequence[x509.Certificate] = (),
    crls: Sequence[Any] = (),
    revocation: CertRevTrustPolicy | None = None,
) -> ValidationContext:
    """Return a context that knows only what is given: no fetching, no system trust, no clock, no tolerance in time."""
    return ValidationContext(
        trust_roots=[],
        other_certs=others,
        moment=moment,
        allow_fetching=False,
        crls=crls or None,
        revinfo_policy=revocation or CertRevTrustPolicy(NO_REVOCATION),
        time_tolerance=timedelta(0),
        algorithm_usage_policy=AlgorithmPolicy(),
    )


def make_path(path: Sequence[Certificate]) -> ValidationPath:
    """Return the library's form of a path; ours has the end-entity first and the anchor last."""
    views = [certificate.view for certificate in reversed(path[:-1])]
    return ValidationPath(make_anchor(path[-1]), interm=views[:-1], leaf=views[-1] if views else None)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("path validation has tried to wait for something")


def validate_path(path: Sequence[Certificate], moment: datetime) -> tuple[PathState, str]:
    """Judge one candidate path (end-entity first, anchor last, at least two) without revocation; never raises."""
    for certificate in path[:-1]:
        inner = certificate.view["tbs_certificate"]["signature"].dump()
        if inner != certificate.view["signature_algorithm"].dump():
            return PathState.INVALID, "the two signature algorithms of a certificate differ (RFC 5280 4.1.1.2)"
    try:
        drive(async_validate_path(make_context(moment=moment), make_path(path)))
    except Exception as error:
        # hostile certificates make the library and its parser raise nearly anything: every failure becomes a word
        return explain(error)
    return PathState.VALID, ""


def explain(error: Exception) -> tuple[PathState, str]:
    """Return the word and the reason for what the library raised."""
    for kind, state in _TYPES:
        if isinstance(error, kind):
            return state, _clean(error)
    if isinstance(error.__context__, InvalidSignature):
        return PathState.INVALID, _clean(error)
    text = str(error)
    for fragment, state in _TEXTS:
        if fragment in text:
            return state, _clean(error)
    return PathState.INVALID, f"a certificate of the path cannot be processed ({type(error).__name__})"


_TYPES: tuple[tuple[type[Exception], PathState], ...] = (
    (ExpiredError, PathState.EXPIRED),
    (NotYetValidError, PathState.NOT_YET_VALID),
    (RevokedError, PathState.REVOKED),
    (DisallowedAlgorithmError, PathState.POLICY),
    (UnsupportedAlgorithm, PathState.POLICY),
    (NotImplementedError, PathState.CONSTRAINT),  # a name constraint of a form that the library cannot compare
)


def judge_signature_algorithm(algorithm: Any) -> str:
    """Say why a signature algorithm (parsed AlgorithmIdentifier) is not accepted, or return an empty string."""
    try:
        name = algorithm.signature_algo
    except ValueError:
        return f"the algorithm {algorithm['algorithm'].native} is not accepted"
    if name in _WITHOUT_DIGEST:
        return ""
    if name not in _WITH_DIGEST:
        return f"the algorithm {name} is not accepted"
    digests = {algorithm.hash_algo}
    if name == "rsassa_pss":
        digests.add(algorithm["parameters"]["mask_gen_algorithm"]["parameters"]["algorithm"].native)
    weak = digests - _DIGESTS
    return f"the digest {min(weak)} is not accepted" if weak else ""


def _with_subtrees(default: PKIXSubtrees, subtrees: Any) -> PKIXSubtrees:
    """Forms of name that the extension does not speak of keep their default."""
    return {**default, **process_general_subtrees(subtrees)} if isinstance(subtrees, x509.GeneralSubtrees) else default


def _clean(error: Exception) -> str:
    """Return the library's text as one bounded printable line: it may quote names from the certificate."""
    text = str(error).removeprefix("The path could not be validated because ").strip()
    return "".join(character if character.isprintable() else "?" for character in text)[:300]
