"""Treatments: what is to be done with a message for one recipient, and what happens where it cannot be done.

A :class:`Treatment` is hashable: recipients with equal treatments share an outgoing message. It cannot be built in a
form in which ``required`` would give way to clear text (:func:`find_weakness`): no document, default or caller can say
so.

Standards: RFC 8551 3.5 (forms of a signed message), RFC 8601 (``verify: report``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.address import Address


class Requirement(StrEnum):
    """How strongly a protection is wanted."""

    REQUIRED = "required"
    """Done, or the recipient is refused or deferred."""
    IF_POSSIBLE = "if-possible"
    """Done where it can be; what happens else is the rule's word, with a reason."""
    NEVER = "never"
    """Not done."""


class DecryptMode(StrEnum):
    """What happens to encrypted layers."""

    REQUIRED = "required"
    """Opened, or refused."""
    STRICT = "strict"
    """No fitting key: handed on closed. A layer with a fitting key that cannot be opened: refused."""
    IF_POSSIBLE = "if-possible"
    """Opened where a key of the recipient fits, else handed on closed."""
    NEVER = "never"
    """Handed on closed."""


class VerifyMode(StrEnum):
    """What happens to signatures."""

    REQUIRED = "required"
    """Only a message whose result is ``pass`` is delivered."""
    REPORT = "report"
    """Delivered with an Authentication-Results field (RFC 8601)."""
    NEVER = "never"
    """Not looked at."""


class NoCertificate(StrEnum):
    """What happens where a recipient has no certificate to encrypt to."""

    REFUSE = "refuse"
    """The recipient is refused."""
    SIGN = "sign"
    """Sent without encryption, signed as ``sign`` says."""
    CLEAR = "clear"
    """Sent as it came."""


class OnUnavailable(StrEnum):
    """What happens where a look-up for an ``if-possible`` does not answer; for a ``required`` it always defers."""

    DEFER = "defer"
    """4xx: the client keeps the mail and tries again."""
    SKIP = "skip"
    """Go on without; counted with its reason."""


class SignedForm(StrEnum):
    """The form of a signed message (RFC 8551 3.5)."""

    CLEAR = "clear"
    """multipart/signed: readable without S/MIME (RFC 8551 3.5.3)."""
    OPAQUE = "opaque"
    """application/pkcs7-mime signed-data: survives gateways that change text (RFC 8551 3.5.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What is to be done with a message for one recipient. The default is: nothing, and nothing gives way."""

    sign: Requirement = Requirement.NEVER
    encrypt: Requirement = Requirement.NEVER
    decrypt: DecryptMode = DecryptMode.NEVER
    verify: VerifyMode = VerifyMode.NEVER
    no_certificate: NoCertificate = NoCertificate.REFUSE
    unavailable: OnUnavailable = OnUnavailable.DEFER
    sign_as: Address | None = None
    """The fixed identity that signs in place of the sender."""
    form: SignedForm = SignedForm.CLEAR

    def __post_init__(self) -> None:
        weakness = find_weakness(self)
        if weakness is not None:
            raise ValueError(": ".join(weakness))

    @property
    def protects(self) -> bool:
        """Whether it signs or encrypts."""
        return self.sign is not Requirement.NEVER or self.encrypt is not Requirement.NEVER

    @property
    def unprotects(self) -> bool:
        """Whether it decrypts or verifies."""
        return self.decrypt is not DecryptMode.NEVER or self.verify is not VerifyMode.NEVER

    def to_json(self) -> dict[str, str]:
        """Return what differs from the default, by the keys of a policy document."""
        written: dict[str, str] = {}
        for key in TREATMENT_KEYS:
            value = getattr(self, key)
            if value != getattr(NOTHING, key):
                written[key] = str(value)
        return written


TREATMENT_KEYS = ("sign", "encrypt", "decrypt", "verify", "no_certificate", "unavailable", "sign_as", "form")
"""The keys of a ``then`` mapping, in the order in which they are shown."""


class Wish(Protocol):
    """What :func:`find_weakness` looks at: a :class:`Treatment`, or a document's words for one."""

    @property
    def sign(self) -> Requirement: ...  # noqa: D102
    @property
    def encrypt(self) -> Requirement: ...  # noqa: D102
    @property
    def decrypt(self) -> DecryptMode: ...  # noqa: D102
    @property
    def verify(self) -> VerifyMode: ...  # noqa: D102
    @property
    def no_certificate(self) -> NoCertificate: ...  # noqa: D102
    @property
    def unavailable(self) -> OnUnavailable: ...  # noqa: D102
    @property
    def sign_as(self) -> Address | None: ...  # noqa: D102


def find_weakness(wish: Wish) -> tuple[str, str] | None:
    """Return (key, text) for the first thing by which ``required`` would give way, else ``None``."""
    decrypts, verifies = wish.decrypt is not DecryptMode.NEVER, wish.verify is not VerifyMode.NEVER
    protections = {wish.sign, wish.encrypt} - {Requirement.NEVER}
    if protections and (decrypts or verifies):
        text = "a rule either protects (sign, encrypt) or unprotects (decrypt, verify); write two rules"
        return ("decrypt" if decrypts else "verify"), text
    if wish.sign_as is not None and wish.sign is Requirement.NEVER:
        return "sign_as", "needs sign: required or sign: if-possible beside it"
    return _find_weak_fallback(wish) or _find_weak_skip(wish, protections)


def _find_weak_fallback(wish: Wish) -> tuple[str, str] | None:
    fallback = wish.no_certificate
    if wish.encrypt is Requirement.REQUIRED and fallback is not NoCertificate.REFUSE:
        text = f"'{fallback}' would send clear text where encrypt is required; write 'refuse', or encrypt: if-possible"
        return "no_certificate", text
    if wish.sign is Requirement.REQUIRED and fallback is NoCertificate.CLEAR:
        return "no_certificate", "'clear' would drop the signature that sign: required asks for; write 'sign'"
    if wish.sign is Requirement.NEVER and fallback is NoCertificate.SIGN:
        return "no_certificate", "'sign' needs sign: required or sign: if-possible beside it"
    return None


def _find_weak_skip(wish: Wish, protections: set[Requirement]) -> tuple[str, str] | None:
    if wish.unavailable is not OnUnavailable.SKIP:
        return None
    if wish.decrypt is DecryptMode.REQUIRED or wish.verify is VerifyMode.REQUIRED:
        return "unavailable", "'skip' has no place beside a required decrypt or verify; write 'defer'"
    if protections == {Requirement.REQUIRED}:
        return "unavailable", "'skip' would drop what is required; write 'defer', or if-possible above it"
    return None


NOTHING = Treatment()
"""Nothing is done: the treatment of ``pass`` and ``reject``."""
