"""Our own keys in folders: who signs, and what opens a message. Implements two ports of a transaction.

What it does: loads the folders once, indexes identities by the mail addresses of their certificates (upper and lower
case are the same), and answers from memory; a reload is a new object. *Unknown is not absent*: an address whose key is
there and cannot be used (its file is broken, its passphrase wrong, its certificate expired or without key) is
``unavailable``, so that its mail waits for the repair. Standards: RFC 8550 4.4.2 (which certificate signs, which
decrypts), RFC 8551 2.3.

What signs: a certificate that is valid now, names the address, and allows it; of several the one that is valid longest.
What opens: every RSA key whose certificate names one of the recipients and allows encryption, however old: old mail is
still mail. A key that only signs opens nothing, since answers about it would help to forge signatures (RFC 3218).

Refuses nothing: :attr:`FolderKeyring.problems` and :attr:`FolderKeyring.warnings` say what is wrong. Known gap: whether
the signer's certificate leads to an anchor that others trust is not looked at here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from gateway.address import Address
from gateway.cms import Digest
from gateway.errors import Problem
from gateway.lookup import Answer, Found, Nothing, Unavailable
from gateway.pkix import Certificate, KeyKind
from gateway.smime import DecryptionKey, SigningIdentity
from gateway.stores.folder import Contents, key_of, problem, read_folders
from gateway.stores.material import Identity, pair

EXPIRY_NOTICE = timedelta(days=30)
"""How long before the end of a certificate it is warned of."""


class FolderKeyring:
    """Keys of folders; implements ``ports.SigningKeys`` and ``ports.DecryptionKeys``. Immutable once made."""

    def __init__(self, folders: Sequence[Path], *, now: Callable[[], datetime], digest: Digest = Digest.SHA256) -> None:
        """Load the folders. ``now`` is the clock, asked now and at each look-up; ``digest`` signs."""
        self._now = now
        self._signers: defaultdict[str, list[SigningIdentity]] = defaultdict(list)
        self._openers: defaultdict[str, list[DecryptionKey]] = defaultdict(list)
        self._broken: defaultdict[str, list[str]] = defaultdict(list)
        self._keyless: defaultdict[str, list[str]] = defaultdict(list)
        contents = read_folders(folders, are_private=True)
        self._missing = tuple(contents.missing)
        self.unreadable: tuple[Problem, ...] = tuple(contents.problems)
        """The part of :attr:`problems` for which a gateway does not start: files unreadable, or open to others."""
        self.identities: tuple[Identity, ...] = pair(contents.materials)
        """Every certificate with a private key, in the order of the files."""
        for identity in self.identities:
            self._index(identity, digest)
        for key, cause in contents.addresses_of_broken():
            self._broken[key].append(cause)
        self._note_keyless(contents)
        self._note_unused(contents)
        self._note_validity(contents)
        self.problems: tuple[Problem, ...] = tuple(contents.problems)
        """What has to be repaired."""
        self.warnings: tuple[Problem, ...] = tuple(contents.warnings)
        """What should be looked at: the end of a validity, duplicates."""

    async def find_signer(self, sender: Address) -> Answer[SigningIdentity]:
        """Find the identity that signs for ``sender``; one that exists and cannot be used is unavailable."""
        moment = self._now()
        candidates = self._signers.get(sender.key, [])
        valid = [one for one in candidates if one.certificate.is_valid_at(moment)]
        if valid:
            return Found(max(valid, key=lambda one: one.certificate.not_after))
        causes = self._causes(sender.key)
        if candidates:
            return Unavailable(f"every signing certificate of {sender.key} is expired or not yet valid")
        return Unavailable(causes[0]) if causes else Nothing()

    async def find_keys(self, recipients: Sequence[Address]) -> Answer[tuple[DecryptionKey, ...]]:
        """Find every key that may open mail for one of ``recipients``, those valid longest first."""
        keys = list(dict.fromkeys(address.key for address in recipients))
        found = {one.certificate: one for key in keys for one in self._openers.get(key, ())}
        broken = [*self._missing, *(cause for key in keys for cause in self._broken.get(key, ()))]
        if broken:
            # one of their keys might be the one that is needed
            return Unavailable(broken[0])
        if found:
            return Found(tuple(sorted(found.values(), key=lambda one: one.certificate.not_after, reverse=True)))
        causes = [cause for key in keys for cause in self._causes(key)]
        return Unavailable(causes[0]) if causes else Nothing()

    def _causes(self, key: str) -> list[str]:
        """Return why nothing can be said, or used, for an address."""
        return [*self._broken.get(key, ()), *self._keyless.get(key, ()), *self._missing]

    def _index(self, identity: Identity, digest: Digest) -> None:
        certificate = identity.certificate
        if not certificate.has_email_protection:
            return
        signer = identity.signing_identity(digest) if certificate.may_sign else None
        opens = certificate.may_encrypt and certificate.key_kind is KeyKind.RSA
        for key in _keys_of(certificate):
            if signer is not None:
                self._signers[key].append(signer)
            if opens:
                self._openers[key].append(identity.decryption_key())

    def _note_keyless(self, contents: Contents) -> None:
        """Note end-entity certificates that came without a key."""
        owned = {identity.certificate for identity in self.identities}
        broken = {path.path.with_suffix("") for path in contents.broken}
        for material in contents.materials:
            for certificate in material.certificates:
                if certificate.is_ca or certificate in owned:
                    continue
                for key in _keys_of(certificate):
                    self._keyless[key].append(f"{material.path}: a certificate without its private key")
                if material.path.with_suffix("") not in broken:
                    text = f"the certificate of {certificate.subject} has no private key in this folder"
                    contents.problems.append(problem(material.path, text))

    def _note_unused(self, contents: Contents) -> None:
        """Note keys without certificates, identities that name nobody or may do nothing, and duplicates."""
        fitting = {identity.key.public_key_der for identity in self.identities}
        seen: dict[str, Path] = {}
        for material in contents.materials:
            for key in material.keys:
                if key.public_key_der not in fitting:
                    contents.problems.append(problem(material.path, "no certificate fits this private key"))
                earlier = seen.setdefault(key.public_key_der.hex(), material.path)
                if earlier != material.path:
                    contents.warnings.append(problem(material.path, f"the same private key is in {earlier}"))
        for identity in self.identities:
            certificate = identity.certificate
            text = ""
            if not certificate.emails:
                text = f"the certificate of {certificate.subject} names no mail address"
            elif not certificate.has_email_protection:
                text = "the certificate's extended key usage does not allow mail"
            if text:
                contents.problems.append(problem(_path_of(certificate, contents), text))

    def _note_validity(self, contents: Contents) -> None:
        """Note addresses whose newest signing certificate has ended, and what ends soon."""
        moment = self._now()
        reported: set[Certificate] = set()
        for key, signers in self._signers.items():
            newest = max((one.certificate for one in signers), key=lambda one: one.not_after)
            if newest in reported or newest.not_after > moment + EXPIRY_NOTICE:
                continue
            reported.add(newest)
            path = _path_of(newest, contents)
            if newest.not_after < moment:
                text = f"the signing certificate of {key} has expired on {newest.not_after:%Y-%m-%d}"
                contents.problems.append(problem(path, text))
            else:
                text = f"the signing certificate of {key} expires on {newest.not_after:%Y-%m-%d}"
                contents.warnings.append(problem(path, text))


def _keys_of(certificate: Certificate) -> list[str]:
    """Return the look-up keys of a certificate's addresses, each once."""
    return list(dict.fromkeys(key for key in map(key_of, certificate.emails) if key is not None))


def _path_of(certificate: Certificate, contents: Contents) -> Path:
    return next(material.path for material in contents.materials if certificate in material.certificates)
