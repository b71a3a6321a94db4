"""Whether a certificate leads to one of our trust anchors, at a moment, for a purpose.

What it does: searches candidate paths (:mod:`gateway.pkix.search`), validates each (:mod:`gateway.pkix.rfc5280`),
checks what S/MIME adds, and reports one word with its reason; of several failing paths it reports the one that got
furthest. Standards: RFC 5280 6.1 and 6.3, RFC 8550 3, 4.4.2 and 4.4.4 (names, keyUsage, extended key usage).

An anchor may be any CA certificate, an intermediate one too, which ends the path; or an end-entity certificate, which
is an anchor for itself alone. An anchor's own signature is not looked at; its validity and limits are.

Pure: certificates and ``moment`` in, report out; safe to call from several threads. Never raises for bad certificates.
Reports are kept, since the same people write again: between two neighbouring ends of validity of the certificates
concerned nothing can change, so a report holds for that time and no longer. With CRLs nothing is kept.

Known gaps: no OCSP; no AIA fetching; an extended key usage in an issuing certificate limits what is below it, as every
S/MIME client has it and RFC 5280 does not say.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from gateway.pkix.certificate import Certificate
from gateway.pkix.names import find_constraint_violation
from gateway.pkix.revocation import judge_revocation
from gateway.pkix.rfc5280 import judge_key, validate_path
from gateway.pkix.search import Search, index_anchors, index_by_subject
from gateway.pkix.state import PathState, Purpose, RevocationState

MAX_PATHS = 16
"""Most candidate paths validated for one question; each costs one signature check per certificate."""
MAX_REPORTS = 2048
"""Reports kept by one validator."""

_RANK = (
    PathState.REVOKED,
    PathState.EXPIRED,
    PathState.NOT_YET_VALID,
    PathState.CONSTRAINT,
    PathState.POLICY,
    PathState.INVALID,
)
"""Of several failing paths the first of these words is reported: the one in which most was right."""
_TIME = "%Y-%m-%d %H:%M:%SZ"
_TICK = timedelta(microseconds=1)
_Key = tuple[Certificate, tuple[Certificate, ...], Purpose]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReport:
    """What came of one question."""

    state: PathState
    """The word."""
    path: tuple[Certificate, ...]
    """End-entity certificate first, anchor last; only the end entity where no anchor was reached."""
    reason: str
    """Why the state is not ``valid``, or revocation not ``good``: one printable line, empty where there is nothing."""
    revocation: RevocationState
    """What the given CRLs say."""


class PathValidator:
    """Judges certificates against a fixed set of anchors. Immutable but for the reports that it keeps."""

    def __init__(self, anchors: Sequence[Certificate]) -> None:
        """``anchors``: explicit and complete; with none, nothing is ever valid."""
        self.anchors = tuple(dict.fromkeys(anchors))
        """What is trusted, in the order given, each once."""
        self._anchors = frozenset(anchors)
        self._issuing = index_anchors(self.anchors)
        self._turns = _turns_of(self.anchors)
        self._kept: OrderedDict[_Key, list[tuple[datetime, datetime, PathReport]]] = OrderedDict()
        self._lock = threading.Lock()

    def validate(
        self,
        certificate: Certificate,
        others: Sequence[Certificate],
        *,
        moment: datetime,
        purpose: Purpose,
        crls: Sequence[bytes] = (),
    ) -> PathReport:
        """Judge ``certificate``.

        ``others``: further certificates from wherever, in order of preference; they are trusted for nothing.
        ``moment``: aware. ``crls``: DER, current at the moment; without any, revocation is ``unchecked``.
        """
        if crls:
            return self._judge(certificate, others, moment, purpose, crls)
        key = (certificate, tuple(others), purpose)
        with self._lock:
            for begin, end, report in self._kept.get(key, ()):
                if begin <= moment < end:
                    self._kept.move_to_end(key)
                    return report
        report = self._judge(certificate, others, moment, purpose, ())
        begin, end = self._steady_time(certificate, others, moment)
        with self._lock:
            self._kept.setdefault(key, []).insert(0, (begin, end, report))
            del self._kept[key][4:]
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_REPORTS:
                self._kept.popitem(last=False)
        return report

    def _judge(
        self,
        certificate: Certificate,
        others: Sequence[Certificate],
        moment: datetime,
        purpose: Purpose,
        crls: Sequence[bytes],
    ) -> PathReport:
        if certificate in self._anchors:
            return _judge_directly_trusted(certificate, moment, purpose)
        search = Search(anchors=self._issuing, others=index_by_subject(others))
        failures: list[PathReport] = []
        for path in search.find_paths(certificate):
            report = _judge_path(path, moment, purpose)
            if report.state is PathState.VALID and crls:
                report = _with_revocation(report, others, moment, crls)
            if report.state is PathState.VALID:
                return report
            failures.append(report)
            if len(failures) >= MAX_PATHS:
                break
        if failures:
            return min(failures, key=lambda report: _RANK.index(report.state))
        return _no_path(certificate, search)

    def _steady_time(
        self, certificate: Certificate, others: Sequence[Certificate], moment: datetime
    ) -> tuple[datetime, datetime]:
        """Return the time around ``moment``, end excluded, in which no certificate concerned begins or ends."""
        turns = _turns_of((certificate, *others))
        begins, ends = [_EARLIEST], [_LATEST]
        for ordered in (turns, self._turns):
            place = bisect_right(ordered, moment)
            begins.extend(ordered[max(place - 1, 0) : place])
            ends.extend(ordered[place : place + 1])
        return max(begins), min(ends)


_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


def _turns_of(certificates: Sequence[Certificate]) -> list[datetime]:
    """Return, in order, the moments from which on something about these certificates' validity is different."""
    turns = {certificate.not_before for certificate in certificates}
    turns.update(one.not_after + _TICK for one in certificates if one.not_after < _LATEST)
    return sorted(turns)


def _judge_directly_trusted(certificate: Certificate, moment: datetime, purpose: Purpose) -> PathReport:
    """Judge a certificate that is itself an anchor: no path, but its dates and uses count."""
    if moment > certificate.not_after:
        state, reason = PathState.EXPIRED, f"the end-entity certificate expired {certificate.not_after:{_TIME}}"
    elif moment < certificate.not_before:
        state = PathState.NOT_YET_VALID
        reason = f"the end-entity certificate is not valid until {certificate.not_before:{_TIME}}"
    else:
        state, reason = _check_use((certificate,), purpose)
    return PathReport(state=state, path=(certificate,), reason=reason, revocation=RevocationState.UNCHECKED)


def _judge_path(path: tuple[Certificate, ...], moment: datetime, purpose: Purpose) -> PathReport:
    state, reason = validate_path(path, moment)
    if state in (PathState.VALID, PathState.INVALID, PathState.CONSTRAINT):
        # the library stumbles over constraints that it does not know: look at them before its word is taken
        violation = _find_violation(path)
        if violation is not None:
            state, reason = PathState.CONSTRAINT, violation
    if state is PathState.VALID:
        state, reason = _check_use(path, purpose)
    return PathReport(state=state, path=path, reason=reason, revocation=RevocationState.UNCHECKED)


def _find_violation(path: tuple[Certificate, ...]) -> str | None:
    try:
        return find_constraint_violation(path[0].emails, [issuer.view for issuer in path[1:]])
    except (ValueError, TypeError, KeyError, AttributeError):
        return "a name constraint cannot be read"


def _check_use(path: tuple[Certificate, ...], purpose: Purpose) -> tuple[PathState, str]:
    """Check what S/MIME asks of the end entity, and of the purposes along the path."""
    certificate = path[0]
    allowed = certificate.may_sign if purpose is Purpose.SIGN else certificate.may_encrypt
    if not allowed:
        return PathState.CONSTRAINT, f"its key usage does not allow to {purpose.value} (RFC 8550 4.4.2)"
    if not certificate.has_email_protection:
        return PathState.CONSTRAINT, "its extended key usage does not allow mail (RFC 8550 4.4.4)"
    if not all(issuer.has_email_protection for issuer in path[1:]):
        return PathState.CONSTRAINT, "the extended key usage of an issuer does not allow mail"
    weakness = judge_key(certificate.view.public_key)
    if weakness:
        return PathState.POLICY, f"{weakness} is not accepted (RFC 8550 4.3)"
    return PathState.VALID, ""


def _with_revocation(
    report: PathReport, others: Sequence[Certificate], moment: datetime, crls: Sequence[bytes]
) -> PathReport:
    revocation, reason = judge_revocation(report.path, others, crls, moment)
    state = PathState.REVOKED if revocation is RevocationState.REVOKED else report.state
    return replace(report, state=state, revocation=revocation, reason=reason)


def _no_path(certificate: Certificate, search: Search) -> PathReport:
    if search.is_exhausted:
        state, reason = PathState.INCOMPLETE, "no anchor was found within the bounds of the search"
    elif search.ends_self_signed:
        state, reason = PathState.UNTRUSTED, f"the path ends in {search.ends_self_signed[:200]}, which is not trusted"
    else:
        state, reason = PathState.INCOMPLETE, f"the issuer {search.missing_issuer[:200]} was not found"
    return PathReport(state=state, path=(certificate,), reason=reason, revocation=RevocationState.UNCHECKED)
