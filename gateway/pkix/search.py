"""Finds candidate certification paths: from an end-entity certificate up to a trust anchor, by names and identifiers.

Standards: RFC 5280 6 (a path), 7.1 (names that match), 4.2.1.1 and 4.2.1.2 (key identifiers, which exclude an issuer
only where both are there and differ), RFC 8550 4.1. It checks no signature; that is validation's job.

Certificates beside the end entity's come from mail, so the search is bounded: certificates that all issue one another
have factorially many paths. It takes :data:`MAX_STEPS` steps and paths of at most :data:`MAX_PATH` certificates, and
then says that it found nothing more. Anchors are tried before anything else, so a sender cannot hide one behind noise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.pkix.certificate import Certificate

MAX_STEPS = 256
"""Most issuers tried in one search; a real search takes fewer than ten."""
MAX_PATH = 12
"""Most certificates in a path, anchor included. The deepest public hierarchies have five or six."""

Index = Mapping[str, Sequence[Certificate]]


def index_by_subject(certificates: Iterable[Certificate]) -> Index:
    """Return the certificates by their subject in matching form, in their order, each once."""
    index: defaultdict[str, dict[Certificate, None]] = defaultdict(dict)
    for certificate in certificates:
        index[certificate.subject_match][certificate] = None
    return {subject: tuple(entries) for subject, entries in index.items()}


def index_anchors(anchors: Iterable[Certificate]) -> Index:
    """Return the anchors that may issue certificates: an end-entity certificate is an anchor for itself alone."""
    return index_by_subject(anchor for anchor in anchors if _may_issue(anchor))


@dataclass(slots=True)
class Search:
    """One search; iterate over :meth:`find_paths`, then look at why it ended."""

    anchors: Index
    others: Index
    steps: int = 0
    """Issuers tried so far."""
    ends_self_signed: str = ""
    """Subject of a self-signed certificate, not an anchor, in which a path ended."""
    missing_issuer: str = ""
    """Name of an issuer that was not found."""
    _trail: list[Certificate] = field(default_factory=list)

    @property
    def is_exhausted(self) -> bool:
        """Whether it stopped for its bounds, not because it had seen everything."""
        return self.steps >= MAX_STEPS

    def find_paths(self, certificate: Certificate) -> Iterator[tuple[Certificate, ...]]:
        """Yield candidate paths, end-entity certificate first, anchor last."""
        self._trail.append(certificate)
        try:
            yield from self._continue(certificate)
        finally:
            self._trail.pop()

    def _continue(self, certificate: Certificate) -> Iterator[tuple[Certificate, ...]]:
        found = False
        for anchor in _plausible(certificate, self.anchors):
            found = True
            self.steps += 1
            yield (*self._trail, anchor)
        for issuer in _plausible(certificate, self.others):
            if issuer in self._trail:
                continue
            found = True
            if len(self._trail) + 1 >= MAX_PATH or self.is_exhausted:
                return
            self.steps += 1
            yield from self.find_paths(issuer)
        if certificate.is_self_issued and not found:
            self.ends_self_signed = self.ends_self_signed or certificate.subject
        elif not found:
            self.missing_issuer = self.missing_issuer or certificate.issuer


def _plausible(certificate: Certificate, index: Index) -> Iterator[Certificate]:
    """Yield those whose name and key identifier fit, the ones named by serial number first."""
    wanted = certificate.authority_key_identifier
    fitting = [
        issuer
        for issuer in index.get(certificate.issuer_match, ())
        if not (wanted and issuer.subject_key_identifier and wanted != issuer.subject_key_identifier)
    ]
    named = certificate.view.authority_issuer_serial
    if named and len(fitting) > 1:
        fitting.sort(key=lambda issuer: issuer.view.issuer_serial != named)
    yield from fitting


def _may_issue(anchor: Certificate) -> bool:
    """Whether an anchor stands for a CA: it says so, or is a version 1 root, which cannot say anything."""
    if anchor.key_usage is not None and "key_cert_sign" not in anchor.key_usage:
        return False
    is_version_1 = not len(anchor.view["tbs_certificate"]["extensions"])
    return anchor.is_ca or (is_version_1 and anchor.is_self_issued)
