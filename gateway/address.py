"""Mail addresses: kept as they were written, compared by a folded key.

What it does: splits an addr-spec (RFC 5321 4.1.2 Mailbox) and gives the key by which maps, certificates and rules look
it up. What it refuses: anything without exactly one local part and one domain. Known gap: no IDNA mapping between
U-labels and A-labels; a domain matches in the form in which it is written.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """An addr-spec. Immutable; equal when spelled alike, look-ups use :attr:`key`."""

    spec: str
    """As it was written, ``"Alice.A@Acme.Example"``. Octets that are not UTF-8 are surrogate-escaped."""

    def __post_init__(self) -> None:
        local, at, domain = self.spec.rpartition("@")
        if not (local and at and domain):
            raise ValueError("an address needs a local part, @ and a domain")

    @property
    def local(self) -> str:
        """The local part as written, quotes included."""
        return self.spec.rpartition("@")[0]

    @property
    def domain(self) -> str:
        """The domain, lower case."""
        return self.spec.rpartition("@")[2].lower()

    @property
    def key(self) -> str:
        """The form for look-ups: lower case throughout.

        RFC 5321 2.4 leaves the case of a local part to its host; no directory or certificate in use tells two people
        apart by it, so look-ups fold it. What travels is never folded.
        """
        return self.spec.lower()

    def __str__(self) -> str:
        return self.spec
