r"""Golden comparison of messages: every octet counts, but for the fields that cannot be the same twice.

A golden message is a file with CRLF or LF line ends. In it ``*`` may stand:

- in the value of a *volatile* field (:data:`VOLATILE`), for any text: ``Date: *``, ``Received: by gw1.test*``;
- alone on a line of the body, for any number of lines: the base64 of a signature or of encrypted content.

Boundaries differ each time, so the one that is declared first is compared as ``=boundary-1``, the next as
``=boundary-2``; the golden message may use these names or any other. Elsewhere ``*`` is only a star.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

VOLATILE = frozenset(
    {"authentication-results", "date", "message-id", "received", "resent-date", "resent-message-id", "return-path"}
)
"""Fields whose golden value may hold ``*``; names that begin with ``smime-gateway-`` are volatile too."""

_FIELD = re.compile(rb"([!-9;-~]+):(.*)", re.DOTALL)
_BOUNDARY = re.compile(rb'boundary="?([^";\r\n]+)"?', re.IGNORECASE)


def differences(golden: bytes, message: bytes) -> list[str]:
    """Return what differs, one line for each; empty when the message is as the golden one says.

    The message must use CRLF throughout; that it does not is a difference.
    """
    found = []
    if re.search(rb"(?<!\r)\n|\r(?!\n)", message):
        found.append("the message has a bare CR or LF")
    golden_header, golden_body = _split(_name_boundaries(re.sub(rb"\r?\n", b"\r\n", golden)))
    header, body = _split(_name_boundaries(message))
    found += _compare_fields(golden_header, header)
    if not re.fullmatch(_body_pattern(golden_body), body, re.DOTALL):
        found += _compare_lines(golden_body, body)
    return found


def assert_same(golden: bytes, message: bytes) -> None:
    """AssertionError that lists what differs, with the message."""
    found = differences(golden, message)
    assert not found, "\n".join([*found, "--- the message:", message.decode("utf-8", "backslashreplace")])


def _name_boundaries(message: bytes) -> bytes:
    for number, boundary in enumerate(dict.fromkeys(_BOUNDARY.findall(message)), 1):
        message = message.replace(boundary, b"=boundary-%d" % number)
    return message


def _split(message: bytes) -> tuple[list[bytes], bytes]:
    """Return the fields, folding included, without their last CRLF; and what follows the empty line."""
    header, _, body = message.partition(b"\r\n\r\n")
    return re.split(rb"\r\n(?![ \t])", header), body


def _compare_fields(golden: list[bytes], actual: list[bytes]) -> Iterator[str]:
    for index in range(max(len(golden), len(actual))):
        wanted = golden[index] if index < len(golden) else None
        got = actual[index] if index < len(actual) else None
        if wanted is None or got is None or not re.fullmatch(_field_pattern(wanted), got, re.DOTALL):
            yield f"field {index + 1}: expected {wanted!r}, got {got!r}"


def _field_pattern(field: bytes) -> bytes:
    found = _FIELD.fullmatch(field)
    name = found[1].decode("ascii").lower() if found else ""
    if name in VOLATILE or name.startswith("smime-gateway-"):
        return re.escape(field).replace(rb"\*", b".*")
    return re.escape(field)


def _body_pattern(body: bytes) -> bytes:
    return b"\r\n".join(rb".*?" if line == b"*" else re.escape(line) for line in body.split(b"\r\n"))


def _compare_lines(golden: bytes, actual: bytes) -> Iterator[str]:
    wanted, got = golden.split(b"\r\n"), actual.split(b"\r\n")
    for number, (left, right) in enumerate(zip(wanted, got, strict=False), 1):
        if left == b"*":
            yield f"body: differs behind the * in line {number}"
            return
        if left != right:
            yield f"body line {number}: expected {left!r}, got {right!r}"
            return
    yield f"body: expected {len(wanted)} lines, got {len(got)}"
