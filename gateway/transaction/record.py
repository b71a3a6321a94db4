"""What a mail transaction tells about itself: its stages while it runs, one record when it has ended.

The pipeline makes these values, the room ``observe`` writes them (mail log, metrics, decision records), and the command
``why`` reads them back. A record is plain data: closed words where another room has an enum for them, never that enum,
so that a record of an older version can still be read.

What it holds: envelope, decisions, replies, times. What it never holds: subjects, bodies, header fields, keys. Text
that comes from outside (addresses, HELO, upstream replies) is kept as it is; whoever prints it escapes it.

What it refuses: :meth:`Record.from_json` raises :class:`ValueError` for anything that is not a record. Keys it does not
know are ignored (a newer version may have written them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gateway.transaction.reading import (
    read_integer,
    read_items,
    read_mapping,
    read_moment,
    read_number,
    read_text,
    read_words,
)


class Stage(StrEnum):
    """The stages of a transaction, in their order; ``total`` spans them all."""

    PROBE = "probe"
    """MAIL and RCPT, put to the upstream as they arrive."""
    RECEIVE = "receive"
    """The mail data, up to the client's final dot."""
    PLAN = "plan"
    """Classify, evaluate the policy, look up what is needed, form the groups."""
    BUILD = "build"
    """Make and check every outgoing message."""
    COMMIT = "commit"
    """Send the outgoing messages, up to the upstream's last reply."""
    SETTLE = "settle"
    """Join the replies, settle the journal, report."""
    TOTAL = "total"
    """From MAIL to the reply to the client's final dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientRecord:
    """What was decided for one recipient, and what became of it."""

    recipient: str
    """The forward-path between its angle brackets; foreign text."""
    direction: str
    """``outbound``, ``inbound`` or ``internal``."""
    rule: str
    """Name of the rule that matched; empty where none was asked."""
    reason: str
    """The decision's reason, a word of the policy's closed set."""
    actions: tuple[str, ...]
    """What was to be done, in order: ``sign encrypt decrypt verify pass reject``."""
    group: int | None
    """Number of the outgoing message it shares with others, from 0; ``None`` where it got none."""
    outcome: str
    """Label of its :class:`~gateway.outcome.Outcome`: ``accepted``."""
    reply: str
    """The upstream's reply or ours, one line; foreign text."""
    notes: tuple[str, ...] = ()
    """Further reasons: ``no-certificate``, ``already-signed``."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "recipient": self.recipient,
            "direction": self.direction,
            "rule": self.rule,
            "reason": self.reason,
            "actions": self.actions,
            "group": self.group,
            "outcome": self.outcome,
            "reply": self.reply,
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, data: object) -> RecipientRecord:
        """Read the JSON form; :class:`ValueError` for anything else."""
        data = read_mapping(data)
        group = data.get("group")
        return cls(
            recipient=read_text(data, "recipient"),
            direction=read_text(data, "direction"),
            rule=read_text(data, "rule"),
            reason=read_text(data, "reason"),
            actions=read_words(data, "actions"),
            group=None if group is None else read_integer(data, "group"),
            outcome=read_text(data, "outcome"),
            reply=read_text(data, "reply"),
            notes=read_words(data, "notes"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRecord:
    """One cryptographic act."""

    action: str
    """``sign``, ``encrypt``, ``decrypt`` or ``verify``."""
    algorithm: str
    """``rsa-sha256``, ``aes-256-cbc``; empty where it came to none."""
    result: str
    """``ok``, ``skipped`` or ``failed``; for ``verify`` the word of RFC 8601 2.7."""
    reason: str = ""
    """Why it was skipped or failed; a closed word, or empty."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"action": self.action, "algorithm": self.algorithm, "result": self.result, "reason": self.reason}

    @classmethod
    def from_json(cls, data: object) -> ActionRecord:
        """Read the JSON form; :class:`ValueError` for anything else."""
        data = read_mapping(data)
        return cls(
            action=read_text(data, "action"),
            algorithm=read_text(data, "algorithm"),
            result=read_text(data, "result"),
            reason=read_text(data, "reason"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRecord:
    """One reply of an upstream."""

    upstream: str
    """Name of the upstream in the settings."""
    command: str
    """What it replied to: ``MAIL``, ``RCPT``, ``DATA``, or ``.`` for the final dot."""
    code: int
    """Reply code; 0 where the connection broke before one came."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"upstream": self.upstream, "command": self.command, "code": self.code}

    @classmethod
    def from_json(cls, data: object) -> UpstreamRecord:
        """Read the JSON form; :class:`ValueError` for anything else."""
        data = read_mapping(data)
        return cls(
            upstream=read_text(data, "upstream"), command=read_text(data, "command"), code=read_integer(data, "code")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One mail transaction, told when it has ended."""

    transaction: str
    """Its id, 16 characters of ``0-9a-z``."""
    moment: datetime
    """When MAIL arrived; aware, UTC."""
    listener: str
    """Name of the listener in the settings."""
    client: str
    """IP address of the client."""
    helo: str
    """What the client said in EHLO or HELO; foreign text."""
    tls: str
    """Version and cipher of its TLS; empty without."""
    proof: str
    """Which sender proof held: ``network``, ``client-certificate``, ``none``."""
    reverse_path: str
    """The reverse-path between its angle brackets, empty for the null one; foreign text."""
    size: int
    """Octets of mail data as received; 0 where none came."""
    recipients: tuple[RecipientRecord, ...]
    """In the order of their RCPT."""
    actions: tuple[ActionRecord, ...]
    """In the order in which they happened."""
    upstream_replies: tuple[UpstreamRecord, ...]
    """In the order in which they came."""
    outcome: str
    """Label of the joined :class:`~gateway.outcome.Outcome`."""
    code: int
    """Reply code that the client was given."""
    enhanced: str
    """Its enhanced status."""
    reply: str
    """Its text, one line; foreign text where the upstream spoke."""
    verification: str
    """RFC 8601 word of the message's verification; empty where none was made."""
    seconds: float
    """From MAIL to the reply."""
    stages: Mapping[str, float]
    """Seconds of each stage that ran, by its name."""
    groups: int
    """How many outgoing messages were planned."""

    def __post_init__(self) -> None:
        if self.moment.tzinfo is None:
            raise ValueError("the moment of a record is aware")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: strings, numbers, lists, objects; the id is its first key; times to the microsecond."""
        return {
            "transaction": self.transaction,
            "moment": self.moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "listener": self.listener,
            "client": self.client,
            "helo": self.helo,
            "tls": self.tls,
            "proof": self.proof,
            "reverse_path": self.reverse_path,
            "size": self.size,
            "recipients": [recipient.to_json() for recipient in self.recipients],
            "actions": [action.to_json() for action in self.actions],
            "upstream_replies": [reply.to_json() for reply in self.upstream_replies],
            "outcome": self.outcome,
            "code": self.code,
            "enhanced": self.enhanced,
            "reply": self.reply,
            "verification": self.verification,
            "seconds": round(self.seconds, 6),
            "stages": {name: round(seconds, 6) for name, seconds in self.stages.items()},
            "groups": self.groups,
        }

    @classmethod
    def from_json(cls, data: object) -> Record:
        """Read the JSON form; :class:`ValueError` for anything else."""
        data = read_mapping(data)
        stages = read_mapping(data.get("stages", {}))
        return cls(
            transaction=read_text(data, "transaction"),
            moment=read_moment(data, "moment"),
            listener=read_text(data, "listener"),
            client=read_text(data, "client"),
            helo=read_text(data, "helo"),
            tls=read_text(data, "tls"),
            proof=read_text(data, "proof"),
            reverse_path=read_text(data, "reverse_path"),
            size=read_integer(data, "size"),
            recipients=tuple(RecipientRecord.from_json(item) for item in read_items(data, "recipients")),
            actions=tuple(ActionRecord.from_json(item) for item in read_items(data, "actions")),
            upstream_replies=tuple(UpstreamRecord.from_json(item) for item in read_items(data, "upstream_replies")),
            outcome=read_text(data, "outcome"),
            code=read_integer(data, "code"),
            enhanced=read_text(data, "enhanced"),
            reply=read_text(data, "reply"),
            verification=read_text(data, "verification"),
            seconds=read_number(data, "seconds"),
            stages={name: read_number(stages, name) for name in stages},
            groups=read_integer(data, "groups"),
        )
