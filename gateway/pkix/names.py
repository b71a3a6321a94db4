"""Names in certificates: distinguished names as text, mail addresses, and constraints on mail addresses.

Standards: RFC 4514 2 (text of a distinguished name; control characters are always escaped, so that the text can stand
in logs), RFC 8550 3 (mail addresses: subjectAltName, and emailAddress in the subject), RFC 9598 3 (SmtpUTF8Mailbox),
RFC 5280 4.2.1.10 with RFC 9598 6 (name constraints of the form rfc822Name).

Constraints here are *stricter* than RFC 5280 in one point: they bind every address by which this program would know the
subject, so also emailAddress in a subject that has a subjectAltName, and SmtpUTF8Mailbox. What cannot be judged
(constraints on otherName and other rare forms, on minimum or maximum, on a domain that is not ASCII) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_SMTP_UTF8_MAILBOX = "1.3.6.1.5.5.7.8.9"
_EMAIL_ADDRESS = "1.2.840.113549.1.9.1"
_ATTRIBUTE_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    _EMAIL_ADDRESS: "emailAddress",
}
_JUDGED_FORMS = frozenset({"rfc822_name", "dns_name", "directory_name", "uniform_resource_identifier", "ip_address"})


def format_name(name: Any) -> str:
    """Return a distinguished name as RFC 4514 text, most specific part first. ``name``: the parsed ASN.1 Name."""
    return ",".join("+".join(_format_attribute(pair) for pair in rdn) for rdn in reversed(list(name.chosen)))


def find_mailboxes(view: Any) -> tuple[str, ...]:
    """Return the mail addresses of a parsed certificate as they are written, each once, subjectAltName first."""
    return tuple(dict.fromkeys([*_alternative_mailboxes(view), *_subject_mailboxes(view)]))


def find_constraint_violation(emails: Sequence[str], issuers: Iterable[Any]) -> str | None:
    """Say why ``emails`` break the name constraints of one of ``issuers`` (parsed certificates), or ``None``."""
    for issuer in issuers:
        constraints = issuer.name_constraints_value
        if constraints is None:
            continue
        permitted, permitted_unclear = _read_subtrees(constraints["permitted_subtrees"])
        excluded, excluded_unclear = _read_subtrees(constraints["excluded_subtrees"])
        if permitted_unclear or excluded_unclear:
            return f"a name constraint of the form {permitted_unclear or excluded_unclear} cannot be judged"
        if not permitted and not excluded:
            continue
        for email in emails:
            if not email.rpartition("@")[2].isascii():
                return "a name constraint cannot be judged for a domain that is not ASCII"
            if permitted and not any(_contains(base, email) for base in permitted):
                return "a mail address is outside the issuer's permitted names"
            if any(not base or _contains(base, email) for base in excluded):
                return "a mail address is among the issuer's excluded names"
    return None


def _read_subtrees(subtrees: Any) -> tuple[list[str], str]:
    """Return the rfc822Name bases, and the form that cannot be judged if there is one."""
    bases: list[str] = []
    for subtree in subtrees or ():
        form = subtree["base"].name
        if form not in _JUDGED_FORMS:
            return [], str(form)
        if subtree["minimum"].native != 0 or subtree["maximum"].native is not None:
            return [], f"{form} with minimum or maximum"
        if form == "rfc822_name":
            base = _ascii(subtree["base"].chosen)
            if base is None:
                return [], str(form)
            bases.append(base)
    return bases, ""


def _contains(base: str, email: str) -> bool:
    """Whether an rfc822Name constraint holds an address: a mailbox, a host, or with a leading dot the hosts below."""
    local, _, host = base.rpartition("@")
    email_local, _, email_host = email.rpartition("@")
    host, email_host = host.lower().rstrip("."), email_host.lower().rstrip(".")
    if local:
        return local == email_local and host == email_host
    if host.startswith("."):
        return email_host.endswith(host) and email_host != host
    return bool(host) and email_host == host


def _alternative_mailboxes(view: Any) -> Iterator[str]:
    for name in view.subject_alt_name_value or ():
        if name.name == "rfc822_name":
            address = _ascii(name.chosen)
        elif name.name == "other_name" and name.chosen["type_id"].dotted == _SMTP_UTF8_MAILBOX:
            address = _utf8(name.chosen["value"])
        else:
            continue
        if address and _is_mailbox(address):
            yield address


def _subject_mailboxes(view: Any) -> Iterator[str]:
    for rdn in view.subject.chosen:
        for pair in rdn:
            if pair["type"].dotted == _EMAIL_ADDRESS:
                address = _ascii(_chosen(pair["value"]))
                if address and _is_mailbox(address):
                    yield address


def _is_mailbox(address: str) -> bool:
    """Whether it has a local part and a domain, and nothing that could end a line or a field."""
    local, _, domain = address.rpartition("@")
    return bool(local and domain) and address.isprintable()


def _ascii(value: Any) -> str | None:
    """Return an IA5String's text from its octets: the parser's own reading would turn A-labels into U-labels."""
    octets: bytes = value.contents
    return octets.decode("ascii") if octets.isascii() else None


def _utf8(value: Any) -> str | None:
    """Return the UTF8String inside an otherName's explicit value."""
    try:
        text = value.native
    except (ValueError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _chosen(value: Any) -> Any:
    return getattr(value, "chosen", value)


def _format_attribute(pair: Any) -> str:
    oid: str = pair["type"].dotted
    value = _chosen(pair["value"])
    text = _ascii(value) if oid == _EMAIL_ADDRESS else value.native
    if oid not in _ATTRIBUTE_NAMES or not isinstance(text, str):
        # RFC 4514 2.4: a type without a name, or a value that is no string, is written as its BER
        return f"{_ATTRIBUTE_NAMES.get(oid, oid)}=#{pair['value'].dump().hex()}"
    return f"{_ATTRIBUTE_NAMES[oid]}={_escape(text)}"


def _escape(text: str) -> str:
    """RFC 4514 2.4, and every control character as hex pairs."""
    escaped = "".join(_escape_character(character) for character in text)
    if escaped.startswith(("#", " ")):
        escaped = "\\" + escaped
    if len(text) > 1 and text.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return escaped


def _escape_character(character: str) -> str:
    if character in '"+,;<>\\':
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\{octet:02X}" for octet in character.encode("utf-8", "surrogateescape"))
