"""The closed sets of words that label the metrics.

What it does: gathers each set from the room that owns the words, so that a new outcome, reason or algorithm gets its
series by itself, and adds :data:`OTHER` where a value comes from outside a set. No label ever holds foreign text: every
series exists from the start, with 0, and their number is known.
"""

from __future__ import annotations

import sys
from enum import StrEnum

from gateway.cms import ContentCipher, Digest, SignatureScheme, Verdict
from gateway.outcome import Outcome
from gateway.policy import Direction, Reason, Verification
from gateway.transaction.record import Stage

OTHER = "other"
"""Stands for every word that is not in a set."""

MIXED = "mixed"
"""Direction of a transaction whose recipients differ in theirs."""
DIRECTIONS = (*(str(direction) for direction in Direction), MIXED, OTHER)
"""``other`` for a transaction that ended before a recipient was taken."""

OUTCOMES = (*(outcome.label for outcome in Outcome), OTHER)

DECIDED_HERE = frozenset(
    outcome.label
    for outcome in (
        Outcome.REJECTED_BY_POLICY,
        Outcome.PROTECTION_IMPOSSIBLE,
        Outcome.OPENED_MAIL_IN_CLEAR,
        Outcome.LOOKUP_UNAVAILABLE,
        Outcome.OWN_KEY_UNAVAILABLE,
        Outcome.LINK_NOT_TRUSTED,
        Outcome.LAYER_REFUSED,
        Outcome.INTEGRITY_REFUSED,
    )
)
"""Outcomes whose cause is a reason of the policy's."""
REASONS = (*dict.fromkeys([*map(str, Reason), *(outcome.label for outcome in Outcome if outcome.code >= 400)]), OTHER)
"""Why a recipient was refused: a reason of the policy's, or the outcome where the refusal was not decided."""

NO_ALGORITHM = "none"
"""Algorithm of an action that came to none."""
SIGNATURES = (
    *(
        f"{scheme.label}-{digest.label}"
        for scheme in SignatureScheme
        for digest in Digest
        if digest.verdict is Verdict.ACCEPTABLE
    ),
    NO_ALGORITHM,
    OTHER,
)
CIPHERS = (*(cipher.label for cipher in ContentCipher), NO_ALGORITHM, OTHER)
ALGORITHMS = {"sign": SIGNATURES, "encrypt": CIPHERS, "decrypt": CIPHERS}
"""What each action can be done with."""
RESULTS = ("ok", "skipped", "failed", OTHER)

VERIFICATIONS = (*(str(word) for word in Verification), OTHER)

STAGES = tuple(str(stage) for stage in Stage)

COMMANDS = ("MAIL", "RCPT", "DATA", ".", OTHER)
CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
"""First digit of an upstream's reply; ``none`` where the connection broke before one came."""

JOURNAL_CALLS = ("read", "claim", "settle", "forget")
JOURNAL_RESULTS = ("done", "refused", "failed")
"""``refused``: a claim that another attempt or an earlier acceptance stood against."""


class CertificateUse(StrEnum):
    """What own certificates are for."""

    SIGN = "sign"
    DECRYPT = "decrypt"
    TLS = "tls"


WINDOWS = (("expired", 0), ("7d", 7), ("30d", 30), ("90d", 90), ("later", sys.maxsize))
"""When own certificates expire: name, and days from now below which one counts there."""


def class_of(code: int) -> str:
    """Return the class of a reply code."""
    return f"{code // 100}xx" if 200 <= code <= 599 else "none"
