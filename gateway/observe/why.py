"""A decision record as an answer to "why": lines for people.

What it does: :func:`render` tells, in order, who sent what, what was decided for each recipient and by which rule, what
was done, what the upstream said, and how it ended. Foreign text is escaped. What it refuses: nothing.
"""

from __future__ import annotations

from gateway.observe.text import printable
from gateway.transaction.record import RecipientRecord, Record


def render(record: Record) -> list[str]:
    """Return the lines of the answer, without line ends."""
    lines = [
        f"transaction {printable(record.transaction)}",
        f"  began         {record.moment:%Y-%m-%d %H:%M:%S} UTC, took {record.seconds:.3f} s",
        f"  listener      {printable(record.listener)}",
        f"  client        {printable(record.client)} ({printable(record.helo)}), "
        f"{printable(record.tls) or 'no TLS'}, sender proof: {printable(record.proof)}",
        f"  reverse-path  <{printable(record.reverse_path)}>",
        f"  size          {record.size} octets",
        f"  outcome       {printable(record.outcome)}: {_reply(record)}",
    ]
    if record.verification:
        lines.append(f"  verification  {printable(record.verification)}")
    for recipient in record.recipients:
        lines += _recipient(recipient)
    if record.actions:
        lines.append("done")
        lines += [
            f"  {printable(' '.join(filter(None, (act.action, act.algorithm, act.result, act.reason))))}"
            for act in record.actions
        ]
    if record.upstream_replies:
        lines.append("upstream")
        lines += [
            f"  {printable(reply.upstream)} {printable(reply.command)}: {reply.code or 'connection lost'}"
            for reply in record.upstream_replies
        ]
    if record.stages:
        lines.append("stages")
        lines += [f"  {printable(name):<12}  {seconds * 1000:.1f} ms" for name, seconds in record.stages.items()]
    return lines


def _recipient(recipient: RecipientRecord) -> list[str]:
    where = "no outgoing message" if recipient.group is None else f"outgoing message {recipient.group + 1}"
    rule = f"rule {printable(recipient.rule)}" if recipient.rule else "no rule"
    lines = [
        f"recipient <{printable(recipient.recipient)}> ({printable(recipient.direction)})",
        f"  decision      {printable(' '.join(recipient.actions)) or 'none'}, by {rule}: {printable(recipient.reason)}",
        f"  outcome       {printable(recipient.outcome)}, {where}",
        f"  reply         {printable(recipient.reply)}",
    ]
    if recipient.notes:
        lines.append(f"  notes         {printable(', '.join(recipient.notes))}")
    return lines


def _reply(record: Record) -> str:
    return printable(" ".join(filter(None, (str(record.code), record.enhanced, record.reply))))
