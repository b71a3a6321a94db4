r"""Authentication-Results: written for what was found here.

What it does: writes the field of RFC 8601 2.2 with the method ``smime`` of RFC 7281: one result, the folded word of the
report, with the properties of the signature that decided it (``body.smime-identifier``, ``body.smime-part``,
``body.smime-serial`` and ``body.smime-issuer``, of which the last two only together, RFC 7281 3.2.3). Mail without a
signed layer gets ``smime=none``.

Every value that comes from a message or a certificate stands in a quoted-string without control characters; what is not
ASCII is written as ``\XX`` pairs in the manner of RFC 4514 2.4, so foreign text can neither end the string nor start
another result. A value too long to fold is left out: half a name would be another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.mime import fold_field
from gateway.smime.report import Report, SignerReport
from gateway.smime.words import ResultWord

AUTHENTICATION_RESULTS: Final = "Authentication-Results"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+")
_ADDRESS: Final = re.compile(r"[!#$%&'*+/=?^_`{|}~0-9A-Za-z.-]+@[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*")
_LONGEST_VALUE: Final = 400
_PARTS: Final = {"multipart/signed": "2", "signed-data": "1"}
"""Where the signature of a layer that is the whole message lies, as a body part reference (RFC 7281 3.2.2)."""


def authentication_results(authserv_id: str, report: Report) -> bytes:
    """Return the field with our result; it ends in CRLF.

    ``authserv_id``: ours, from the settings. Raise :class:`ValueError` for one that is no token.
    """
    if not _TOKEN.fullmatch(authserv_id):
        raise ValueError("an authserv-id is a token (RFC 8601 2.2)")
    words = [f"smime={report.result.value}"]
    signer = deciding_signer(report)
    if signer is not None and report.signed is not None:
        if signer.reason and report.result is not ResultWord.PASS:
            words.append(f"reason={quoted(signer.reason)}")
        words.extend(_properties(report.signed.form, signer))
    return fold_field(AUTHENTICATION_RESULTS, f"{authserv_id}; {' '.join(words)}")


def deciding_signer(report: Report) -> SignerReport | None:
    """Return the signer of the outermost signed layer whose own word is the result; the first if none is."""
    layer = report.signed
    if layer is None or not layer.signers:
        return None
    return next((signer for signer in layer.signers if signer.word is report.result), layer.signers[0])


def quoted(text: str) -> str:
    """Return foreign text as a quoted-string (RFC 5322 3.2.4)."""
    return '"' + _printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _properties(form: str, signer: SignerReport) -> Iterator[str]:
    if signer.email:
        email = signer.email[0]
        value = email if _ADDRESS.fullmatch(email) else quoted(email)
        if len(value) <= _LONGEST_VALUE:
            yield f"body.smime-identifier={value}"
    yield f"body.smime-part={_PARTS[form]}"
    issuer = quoted(signer.issuer)
    if signer.issuer and signer.serial and len(issuer) + len(signer.serial) <= _LONGEST_VALUE:
        yield f"body.smime-serial={signer.serial}"
        yield f"body.smime-issuer={issuer}"


def _printable(text: str) -> str:
    return "".join(one if " " <= one <= "~" else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return "".join(f"\\{octet:02X}" for octet in one.encode("utf-8", "surrogateescape"))
