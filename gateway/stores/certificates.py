"""Other people's encryption certificates in folders. Implements a port of a transaction.

What it does: loads the folders once and answers from memory; a reload is a new object. A certificate is offered when it
is for the address (its own mail addresses say so, or it is the address's domain certificate), allows encryption with an
algorithm that is written, and has a valid path at that moment (:class:`gateway.pkix.PathValidator`; CA certificates in
the folders help to build it). Standards: RFC 8550 3 and 4.4.2, RFC 8551 2.3 and 2.7.

A *domain certificate* opens mail for everybody of a domain at that domain's own gateway (RFC 3183 4): it is the one in
a file called ``@partner.example.crt`` (any suffix), whatever address it names, and comes after personal ones.

Where certificates exist and none holds, the answer is ``Nothing``: they cannot be used, and asking again later would
not help; :meth:`FolderCertificates.explain` says why, for the log. A file that cannot be read and is called by an
address, or a folder that cannot be read, makes the answer ``Unavailable``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateway.address import Address
from gateway.cms import prepare_recipient
from gateway.errors import CertificateError, CmsError, Problem
from gateway.lookup import Answer, Found, Nothing, Unavailable
from gateway.pkix import Certificate, PathReport, PathState, PathValidator, Purpose
from gateway.smime import RecipientCertificate
from gateway.stores.folder import Contents, key_of, problem, read_folders
from gateway.stores.keyring import EXPIRY_NOTICE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    certificate: Certificate
    recipient: RecipientCertificate | None
    """``None`` where nothing can be wrapped for its key."""
    obstacle: str
    """Why not; empty where it can."""


class FolderCertificates:
    """Certificates of folders; implements ``ports.RecipientCertificates``. Immutable once made."""

    def __init__(self, folders: Sequence[Path], validator: PathValidator, *, now: Callable[[], datetime]) -> None:
        """Load the folders. ``now`` is the clock, asked now and at each look-up."""
        self._validator = validator
        self._now = now
        self._personal: defaultdict[str, list[_Candidate]] = defaultdict(list)
        self._domain: defaultdict[str, list[_Candidate]] = defaultdict(list)
        self._unavailable: dict[str, str] = {}
        contents = read_folders(folders, are_private=False)
        self._missing = tuple(contents.missing)
        certificates = list(dict.fromkeys(one for material in contents.materials for one in material.certificates))
        self._issuers = tuple(one for one in certificates if one.is_ca)
        self.certificates: tuple[Certificate, ...] = tuple(one for one in certificates if not one.is_ca)
        """Every end-entity certificate, in the order of the files."""
        self._index(contents)
        self._note_validity(contents)
        self.problems: tuple[Problem, ...] = tuple(contents.problems)
        """What has to be repaired."""
        self.warnings: tuple[Problem, ...] = tuple(contents.warnings)
        """What should be looked at: certificates that have expired or soon will, or lead to no anchor."""

    async def find_certificates(self, recipient: Address) -> Answer[tuple[RecipientCertificate, ...]]:
        """Find what to encrypt to ``recipient`` with: personal before domain certificates, valid longest first."""
        moment = self._now()
        found: dict[Certificate, RecipientCertificate] = {}
        for group in (self._personal.get(recipient.key, ()), self._domain.get(recipient.domain, ())):
            for candidate in sorted(group, key=lambda one: one.certificate.not_after, reverse=True):
                if candidate.recipient is not None and self._judge(candidate, moment).state is PathState.VALID:
                    found.setdefault(candidate.certificate, candidate.recipient)
        if found:
            return Found(tuple(found.values()))
        for key in (recipient.key, f"@{recipient.domain}"):
            if key in self._unavailable:
                return Unavailable(self._unavailable[key])
        return Unavailable(self._missing[0]) if self._missing else Nothing()

    def explain(self, recipient: Address) -> tuple[str, ...]:
        """Say, for each certificate for ``recipient`` that is not offered now, why not."""
        moment = self._now()
        reasons: list[str] = []
        for candidate in (*self._personal.get(recipient.key, ()), *self._domain.get(recipient.domain, ())):
            name = f"certificate {candidate.certificate.serial:x} of {candidate.certificate.issuer}"
            if candidate.obstacle:
                reasons.append(f"{name}: {candidate.obstacle}")
            elif (report := self._judge(candidate, moment)).state is not PathState.VALID:
                reasons.append(f"{name}: {report.state}: {report.reason}")
        return tuple(reasons)

    def _judge(self, candidate: _Candidate, moment: datetime) -> PathReport:
        return self._validator.validate(candidate.certificate, self._issuers, moment=moment, purpose=Purpose.ENCRYPT)

    def _index(self, contents: Contents) -> None:
        candidates: dict[Certificate, _Candidate] = {}
        for material in contents.materials:
            for certificate in material.certificates:
                if certificate.is_ca and not certificate.emails:
                    continue
                candidate = candidates.setdefault(certificate, _make_candidate(certificate))
                domain = _domain_of(material.path)
                if domain is not None and not certificate.is_ca:
                    _add(self._domain[domain], candidate)
                for key in dict.fromkeys(map(key_of, certificate.emails)):
                    if key is not None:
                        _add(self._personal[key], candidate)
                if domain is None and not certificate.emails:
                    contents.warnings.append(problem(material.path, "the certificate names no mail address"))
        for key, cause in contents.addresses_of_broken():
            self._unavailable[key] = cause
        for broken in contents.broken:
            domain = _domain_of(broken.path)
            if domain is not None:
                self._unavailable[f"@{domain}"] = broken.cause

    def _note_validity(self, contents: Contents) -> None:
        moment = self._now()
        candidates = {one.certificate: one for group in self._personal.values() for one in group}
        candidates.update({one.certificate: one for group in self._domain.values() for one in group})
        for material in contents.materials:
            for certificate in material.certificates:
                candidate = candidates.pop(certificate, None)
                if candidate is None or candidate.recipient is None:
                    continue
                report = self._judge(candidate, moment)
                if report.state is not PathState.VALID:
                    text = f"the certificate of {certificate.subject} is not used: {report.state}: {report.reason}"
                    contents.warnings.append(problem(material.path, text))
                elif certificate.not_after <= moment + EXPIRY_NOTICE:
                    text = f"the certificate of {certificate.subject} expires on {certificate.not_after:%Y-%m-%d}"
                    contents.warnings.append(problem(material.path, text))


def _make_candidate(certificate: Certificate) -> _Candidate:
    obstacle, recipient = "", None
    if not certificate.may_encrypt:
        obstacle = "its key usage does not allow to encrypt"
    else:
        try:
            prepared = prepare_recipient(certificate.der)
            recipient = RecipientCertificate(certificate=certificate, prepared=prepared)
        except (CmsError, CertificateError) as error:
            obstacle = str(error)
    return _Candidate(certificate=certificate, recipient=recipient, obstacle=obstacle)


def _add(candidates: list[_Candidate], candidate: _Candidate) -> None:
    if candidate not in candidates:
        candidates.append(candidate)


def _domain_of(path: Path) -> str | None:
    """Return the domain of a file called ``@partner.example.crt``, lower case."""
    stem = path.stem.lower()
    return stem[1:] if stem.startswith("@") and len(stem) > 1 else None
