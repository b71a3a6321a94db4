"""What given CRLs say of a certification path.

Standards: RFC 5280 5 and 6.3 (complete, delta and indirect CRLs, distribution points, reasons), by
pyhanko-certvalidator with fetching off. The judgement is kept apart from the path: a path may be valid and its
revocation unknown, and what that means is a policy's question.

How several certificates make one word: the end-entity certificate decides between good and unknown. Above it, what a
CRL revokes makes the whole ``revoked``; where CRLs of an issuer were given and do not answer, it is ``unknown``; where
none were given for that issuer, the certificate is not judged. A CRL that is not current can still condemn, never
acquit: a revocation before the moment is found in it, its silence counts for nothing.

Refuses nothing: unreadable CRLs are as good as none, the state is then ``unknown``. Known gaps: no OCSP; a CRL is read
entry by entry, which takes seconds for hundreds of thousands of entries.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from asn1crypto import crl as asn1_crl
from pyhanko_certvalidator.errors import RevokedError
from pyhanko_certvalidator.policy_decl import (
    CertRevTrustPolicy,
    FreshnessReqType,
    RevocationCheckingPolicy,
    RevocationCheckingRule,
)
from pyhanko_certvalidator.revinfo.archival import CRLContainer
from pyhanko_certvalidator.validate import async_validate_path

from gateway.errors import CertificateError
from gateway.pkix.certificate import Certificate
from gateway.pkix.pem import is_pem, read_pem
from gateway.pkix.rfc5280 import drive, judge_signature_algorithm, make_context, make_path
from gateway.pkix.state import RevocationState

_LABELS = frozenset({"X509 CRL", "CRL"})
_CRL_OF_THE_LAST = RevocationCheckingPolicy(
    ee_certificate_rule=RevocationCheckingRule.CRL_REQUIRED,
    intermediate_ca_cert_rule=RevocationCheckingRule.NO_CHECK,
)
_CURRENT = CertRevTrustPolicy(_CRL_OF_THE_LAST)
_CURRENT_OR_NOT = CertRevTrustPolicy(
    _CRL_OF_THE_LAST,
    freshness=timedelta(days=36500),
    freshness_req_type=FreshnessReqType.MAX_DIFF_REVOCATION_VALIDATION,
)


def load_crls(octets: bytes) -> tuple[bytes, ...]:
    """Return the CRLs of a file as DER, at least one: DER or PEM told by content. Raise :class:`CertificateError`."""
    ders = [block.octets for block in read_pem(octets) if block.label in _LABELS] if is_pem(octets) else [octets]
    for der in ders:
        if _parse(der) is None:
            raise CertificateError("not a certificate revocation list, or signed by an algorithm that is not accepted")
    if not ders:
        raise CertificateError("the file holds no certificate revocation list")
    return tuple(ders)


def judge_revocation(
    path: Sequence[Certificate], others: Sequence[Certificate], crls: Sequence[bytes], moment: datetime
) -> tuple[RevocationState, str]:
    """Judge a valid path (end-entity first, anchor last). Return the word, and the reason where it is not good."""
    parsed = [one for one in map(_parse, crls) if one is not None]
    state, reason = RevocationState.UNKNOWN, "no readable CRL was given"
    if parsed:
        pool = _pool(path, others, parsed)
        state, reason = _judge_one(path, pool, parsed, moment)
        for place in range(1, len(path) - 1):
            above, above_reason = _judge_one(path[place:], pool, parsed, moment)
            if above is RevocationState.REVOKED:
                return above, above_reason
            if above is RevocationState.UNKNOWN and _has_crl_of(path[place], parsed):
                state, reason = (above, above_reason) if state is RevocationState.GOOD else (state, reason)
    return state, reason


def _judge_one(
    path: Sequence[Certificate], pool: Sequence[Certificate], crls: Sequence[Any], moment: datetime
) -> tuple[RevocationState, str]:
    """Judge the first certificate of ``path``, nothing above it."""
    position = "the end-entity certificate" if not path[0].is_ca else "an issuing certificate"
    refused = f"no usable CRL answers for {position}"
    for policy in (_CURRENT, _CURRENT_OR_NOT):
        try:
            _check(path, pool, crls, moment, policy)
        except RevokedError:
            return RevocationState.REVOKED, f"a CRL revokes {position}"
        except Exception:
            # whatever keeps the library from an answer, hostile CRLs included, leaves the question open
            continue
        return (RevocationState.GOOD, "") if policy is _CURRENT else (RevocationState.UNKNOWN, refused)
    return RevocationState.UNKNOWN, refused


def _check(
    path: Sequence[Certificate],
    pool: Sequence[Certificate],
    crls: Sequence[Any],
    moment: datetime,
    policy: CertRevTrustPolicy,
) -> None:
    views, containers = [one.view for one in pool], [CRLContainer(one) for one in crls]
    context = make_context(moment=moment, others=views, crls=containers, revocation=policy)
    drive(async_validate_path(context, make_path(path)))


def _pool(path: Sequence[Certificate], others: Sequence[Certificate], crls: Sequence[Any]) -> list[Certificate]:
    """Return the certificates among which a CRL's issuer is looked for."""
    issuers = {crl.issuer.hashable for crl in crls}
    return list(dict.fromkeys([*path[1:], *(one for one in others if one.subject_match in issuers)]))


def _has_crl_of(certificate: Certificate, crls: Sequence[Any]) -> bool:
    return any(crl.issuer.hashable == certificate.issuer_match for crl in crls)


@functools.lru_cache(maxsize=8)
def _parse(der: bytes) -> Any:
    """Return a parsed CRL; ``None`` where it cannot be read, or its signature algorithm is not accepted."""
    try:
        parsed = asn1_crl.CertificateList.load(der, strict=True)
        _ = parsed.issuer.hashable, parsed["signature"].native, parsed.critical_extensions
        if judge_signature_algorithm(parsed["signature_algorithm"]):
            return None
    except Exception:
        # the parser is lazy and answers hostile octets with whatever its own code trips over
        return None
    return parsed
