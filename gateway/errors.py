"""The exceptions of this program: one tree, told apart by whose fault it is.

::

    GatewayError                      never raised itself
    ├── InputError                    what came in is wrong: the sender's fault
    │   ├── WireError                 line discipline: bare CR, bare LF, NUL, over-long line
    │   ├── MimeError                 not readable as a message within the limits
    │   └── CmsError                  not readable as CMS (malformed DER, wrong structure)
    │       ├── UnsupportedCms        well-formed, and names something we do not implement
    │       └── DecryptionFailed      one exception, one text, for every cause under an encrypted layer
    ├── CertificateError              a certificate that cannot be read or used for the purpose
    ├── ConfigurationError            the admin's files: carries every Problem with file and line
    ├── KeyMaterialError              our own key or store is missing or broken
    ├── SelfCheckFailed               what we built does not stand our own check: our bug
    └── UpstreamError                 the next hop
        ├── UpstreamUnavailable       no connection could be had
        └── UpstreamBroken            a connection ended, stalled or spoke nonsense

Two texts: ``str(error)`` is the private cause, for log and console; it never holds message content, subjects or key
material. What an SMTP client hears is the public text of an :class:`~gateway.outcome.Outcome`, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass


class GatewayError(Exception):
    """Base of all; catch it, never raise it."""


class InputError(GatewayError):
    """What came in is wrong."""


class WireError(InputError):
    """A line breaks the discipline of RFC 5321 2.3.8; ``flaw`` is a value of :class:`gateway.mime.Flaw`."""

    def __init__(self, flaw: str, offset: int) -> None:
        super().__init__(f"{flaw} at octet {offset}")
        self.flaw = flaw
        self.offset = offset


class MimeError(InputError):
    """Not readable as a message or MIME entity within the limits."""


class CmsError(InputError):
    """Malformed CMS (RFC 5652) or DER (X.690)."""


class UnsupportedCms(CmsError):
    """Well-formed CMS that names an algorithm, version or choice we do not implement; the text names it."""


class DecryptionFailed(CmsError):
    """An encrypted layer cannot be opened. The same text for every cause, so that nobody can tell them apart."""

    def __init__(self) -> None:
        super().__init__("the encrypted layer cannot be opened")


class CertificateError(GatewayError):
    """A certificate cannot be read, or not be used for the purpose."""


class KeyMaterialError(GatewayError):
    """Our own key or store is missing, unreadable or does not fit its certificate."""


class SelfCheckFailed(GatewayError):
    """An outgoing message did not stand our own check; it is not sent."""


class UpstreamError(GatewayError):
    """The next hop could not be used."""


class UpstreamUnavailable(UpstreamError):
    """No connection could be opened."""


class UpstreamBroken(UpstreamError):
    """A connection ended, stalled or said what the protocol does not allow; it is not used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in the admin's files."""

    file: str
    """Path as the admin wrote it."""
    line: int | None
    """Line number from 1, where known."""
    key: str
    """Dotted key, ``listeners.users.tls``; empty for the whole file."""
    text: str
    """What is wrong and what to do, one sentence."""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class ConfigurationError(GatewayError):
    """The admin's files are wrong; ``problems`` lists everything that was found."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
