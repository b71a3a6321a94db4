"""A gateway of acme.example for these tests: the real pipeline and crypto rooms, doubles at every port.

alice and bob @acme.example are ours and have keys; carol and erin (@bank.example, @partner.example) have certificates,
dave@bank.example has none. Everything can be replaced by keyword.
"""

from __future__ import annotations

import functools
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.address import Address
from gateway.envelope import Client, MailParameters, Path, Recipient, TlsFacts
from gateway.limits import Limits
from gateway.lookup import Found
from gateway.outcome import Reply
from gateway.policy import Direction, DomainSet, Policy, parse_policies
from gateway.smime import Unprotected, unprotect
from gateway.transaction.house import House, Ports, Route
from gateway.transaction.journal import journal_keys
from gateway.transaction.pipeline import Transaction
from gateway.transaction.ports import Delivery
from gateway.transaction.record import RecipientRecord, Record
from gateway.transaction.state import RecipientState
from tests.support.doubles import (
    AnswerBook,
    CountingEntropy,
    FixedClock,
    JournalDouble,
    ObserverDouble,
    UpstreamDouble,
    inline,
    run,
)
from tests.support.pki import MOMENT
from tests.unit.smime import agents

ALICE, BOB = "alice@acme.example", "bob@acme.example"
CAROL, DAVE, ERIN = "carol@bank.example", "dave@bank.example", "erin@partner.example"
SECRET = b"s" * 32
HOSTNAME = "gw1.acme.example"
DEADLINE = 50.0
LOOKUP_TIMEOUT = 8.0

PASS = "default: pass\n"
REQUIRED = "default: {sign: required, encrypt: required}\n"
SIGN = "default: {sign: required}\n"
DEFER = "default: {sign: if-possible, encrypt: if-possible, no_certificate: sign, unavailable: defer}\n"
SKIP = "default: {sign: if-possible, encrypt: if-possible, no_certificate: sign, unavailable: skip}\n"
INBOUND = "default: {decrypt: strict, verify: report}\n"
TWO_GROUPS = """\
rules:
  - name: signed
    match: {recipient: "*@bank.example"}
    then: {sign: required}
default: pass
"""
"""carol and dave share one outgoing message, everybody else another."""
DAVE_REFUSED = """\
rules:
  - name: no
    match: {recipient: "dave@*", sender: "*@*"}
    then: reject
default: pass
"""
"""The upstream has accepted dave when we refuse him at the final dot: the probe cannot carry the message."""


def late(policy: str) -> str:
    """Return a policy that is only a default in a form that needs the message before it decides."""
    then = policy.removeprefix("default:").strip()
    return f'rules:\n  - name: late\n    match: {{sender: "*@*"}}\n    then: {then}\ndefault: reject\n'


CLIENT = Client(
    listener="users",
    address="192.0.2.7",
    port=40000,
    helo="laptop.acme.example",
    tls=TlsFacts(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384"),
    proven=True,
    proof="network",
)


def path(address: str) -> Path:
    """Return a path; the empty one is the null reverse-path."""
    return Path(octets=address.encode(), address=Address(address) if address else None)


def state(number: int = 0, address: str = CAROL, direction: Direction = Direction.OUTBOUND) -> RecipientState:
    """Return a recipient of whom nothing is known yet."""
    return RecipientState(number=number, recipient=Recipient(path=path(address)), direction=direction)


@functools.cache
def policy_of(text: str) -> Policy:
    """Compile a policy document."""
    return parse_policies([("10-test.yaml", text)])


def message(*to: str, sender: str = ALICE, subject: str = "Numbers", body: bytes = b"The numbers.\r\n") -> bytes:
    """Return a message with these addresses in To; every octet of it is in canonical form."""
    lines = [
        f"From: {sender}",
        *([f"To: {', '.join(to)}"] if to else []),
        f"Subject: {subject}",
        "Date: Mon, 01 Jun 2026 12:00:00 +0000",
        "Message-ID: <1@acme.example>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def signers() -> AnswerBook:
    """Return our own signing identities."""
    return AnswerBook({address: Found(agents.signer(agents.person(address))) for address in (ALICE, BOB)})


def certificates(*addresses: str) -> AnswerBook:
    """Return certificates of these, by default of carol and erin."""
    chosen = addresses or (CAROL, ERIN)
    return AnswerBook({address: Found((agents.recipient(agents.person(address)),)) for address in chosen})


def keys() -> AnswerBook:
    """Return our own decryption keys."""
    return AnswerBook({address: Found((agents.decryption_key(agents.person(address)),)) for address in (ALICE, BOB)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one transaction."""

    mail: Reply
    rcpt: tuple[Reply, ...]
    reply: Reply
    """To the final dot; to MAIL or the last RCPT where it did not come to that."""
    record: Record

    @property
    def outcome(self) -> str:
        """Label of the outcome of the whole."""
        return self.record.outcome

    def of(self, address: str) -> RecipientRecord:
        """Return the record of the first recipient of this address."""
        return next(one for one in self.record.recipients if one.recipient == address)


@dataclass(kw_only=True)
class Company:
    """The gateway; each :meth:`send` is one transaction."""

    policy: str = PASS
    upstream: UpstreamDouble = field(default_factory=UpstreamDouble)
    reports: UpstreamDouble | None = None
    journal: JournalDouble = field(default_factory=JournalDouble)
    signers: AnswerBook = field(default_factory=signers)
    keys: AnswerBook = field(default_factory=keys)
    certificates: AnswerBook = field(default_factory=certificates)
    aliases: AnswerBook = field(default_factory=AnswerBook)
    observer: ObserverDouble = field(default_factory=ObserverDouble)
    offload: Any = inline
    clock: Any = field(default_factory=FixedClock)
    entropy: Any = field(default_factory=CountingEntropy)
    limits: Limits = field(default_factory=Limits)
    deadline: float = DEADLINE
    client: Client = CLIENT
    hide_client: bool = False
    failures: list[BaseException] = field(default_factory=list)
    """What the port ``failed`` was told."""
    unavailable: list[tuple[str, str]] = field(default_factory=list)
    """What the port ``unavailable`` was told."""

    def begin(self, sender: str = ALICE, *, smtputf8: bool = False) -> Transaction:
        """Begin a transaction, as a listener does at MAIL."""
        ports = Ports(
            clock=self.clock,
            entropy=self.entropy,
            offload=self.offload,
            signers=self.signers,
            keys=self.keys,
            certificates=self.certificates,
            aliases=self.aliases,
            journal=self.journal,
            observer=self.observer,
            unavailable=lambda _transaction, lookup, cause: self.unavailable.append((lookup, cause)),
            failed=lambda _where, error: self.failures.append(error),
        )
        house = House(
            hostname=HOSTNAME,
            authserv_id="smime.gw1.acme.example",
            internal=DomainSet(["acme.example"]),
            policy=policy_of(self.policy),
            anchors=agents.anchors(),
            limits=self.limits,
            lookup_timeout=LOOKUP_TIMEOUT,
            secret=SECRET,
            reports=self.reports,
        )
        route = Route(
            upstream_name="next", upstream=self.upstream, deadline=self.deadline, hide_client=self.hide_client
        )
        return Transaction(ports, house, route, self.client, path(sender), MailParameters(smtputf8=smtputf8))

    async def sending(
        self,
        content: bytes,
        *recipients: str,
        sender: str = ALICE,
        smtputf8: bool = False,
        transaction: Transaction | None = None,
        ahead: Sequence[str] = (),
        confirms: bool = False,
    ) -> Sent:
        """Carry one message as a listener does.

        ``ahead``: recipients that the client has pipelined behind MAIL. ``confirms``: the reply reaches the client;
        without it the client never learns how it ended, and will try again.
        """
        one = transaction or self.begin(sender, smtputf8=smtputf8)
        mail = await one.mail([path(recipient) for recipient in ahead])
        replies: list[Reply] = []
        reply = mail
        if not one.has_ended:
            replies = [await one.rcpt(path(recipient)) for recipient in recipients]
            if any(reply.is_positive for reply in replies):
                reply = await one.content(content, 0.5)
                if confirms:
                    await one.confirm()
            else:
                one.abort()
                reply = replies[-1]
        return Sent(mail=mail, rcpt=tuple(replies), reply=reply, record=self.observer.records[-1])

    def send(self, content: bytes, *recipients: str, **options: Any) -> Sent:
        """Carry one message on a loop of its own."""
        return self.run(self.sending(content, *recipients, **options))

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run something, and see that no connection was misused or is left over after it."""

        async def watched() -> Any:
            result = await main
            for upstream in filter(None, (self.upstream, self.reports)):
                assert upstream.misuses == []
                assert upstream.leaked == []
            return result

        return run(watched())

    def known(self, content: bytes, *recipients: str, sender: str = ALICE) -> list[Delivery]:
        """Return what the journal holds of these recipients."""
        paths = [path(recipient) for recipient in recipients]
        made = journal_keys(SECRET, self.client.listener, path(sender), content, paths)
        return [self.journal.rows.get(key, Delivery.UNKNOWN) for key in made]

    def know(self, delivery: Delivery, content: bytes, *recipients: str, sender: str = ALICE) -> None:
        """Write into the journal, as an earlier attempt would have."""
        paths = [path(recipient) for recipient in recipients]
        made = journal_keys(SECRET, self.client.listener, path(sender), content, paths)
        self.journal.rows.update(dict.fromkeys(made, delivery))


def read(content: bytes, *readers: str) -> Unprotected:
    """Read a message as a receiving agent with the keys of these people."""
    found = [agents.decryption_key(agents.person(reader)) for reader in readers]
    return unprotect(content, keys=found, anchors=agents.anchors(), moment=MOMENT)


def layers(content: bytes, *readers: str) -> Sequence[str]:
    """Return the types of the layers that these readers find, outermost first; a closed one in brackets."""
    report = read(content, *readers).report
    return [f"({layer.type})" if layer.reason else str(layer.type) for layer in report.layers]
