"""The whole path of a message without any connection: what ``message process`` runs.

The pipeline is the real one; only the ports to the outside world of delivery are stand-ins: an upstream that accepts
everything and keeps it, a journal that knows nothing. Stores, policy and settings are those of the files. Nothing is
written; where the gateway has no secret yet, one is made for this run only.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.address import Address
from gateway.app.load import Loaded
from gateway.app.system import SystemClock, SystemEntropy, offload
from gateway.app.worker import make_house
from gateway.envelope import Client, MailParameters, Path
from gateway.outcome import Reply, Session
from gateway.settings import UpstreamTlsMode
from gateway.smtp import SenderProof
from gateway.stores import load_or_create_secret
from gateway.transaction.house import Ports, Route
from gateway.transaction.pipeline import Transaction
from gateway.transaction.ports import Delivery, UpstreamFacts
from gateway.transaction.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One outgoing message."""

    reverse_path: Path
    recipients: tuple[Path, ...]
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed:
    """What became of a message."""

    reply: Reply
    """What the client would hear."""
    unavailable: tuple[str, ...]
    """Look-ups that had no answer, and why."""
    record: Record
    messages: tuple[Sent, ...]


async def process(
    loaded: Loaded,
    *,
    content: bytes,
    reverse_path: Address | None,
    recipients: Sequence[Address],
    listener: str,
    client_address: str,
) -> Processed:
    """Run one transaction. Raises :class:`~gateway.errors.KeyMaterialError` where the secret cannot be read."""
    settings = loaded.settings
    options = settings.listeners[listener]
    clock = SystemClock()
    outbox = _Outbox(is_confidential=_is_confidential(loaded, options.upstream))
    watcher = _Watcher()
    secret_file = settings.resolve(settings.state) / "secret"
    secret = load_or_create_secret(secret_file) if secret_file.exists() else secrets.token_bytes(32)
    ports = Ports(
        clock=clock,
        entropy=SystemEntropy(clock),
        offload=offload,
        signers=loaded.keyring,
        keys=loaded.keyring,
        certificates=loaded.certificates,
        aliases=loaded.aliases,
        journal=_NoJournal(),
        observer=watcher,
        unavailable=watcher.unavailable,
        failed=watcher.failed,
    )
    proof = SenderProof(networks=options.sender_proof.networks).judge(client_address, None)
    client = Client(
        listener=listener,
        address=client_address,
        port=0,
        helo=settings.identity.hostname,
        proven=proof != "none",
        proof=proof,
    )
    route = Route(
        upstream_name=options.upstream,
        upstream=outbox,
        deadline=options.deadline_seconds,
        trusts_results=bool(options.trust),
        hide_client=options.hide_client,
    )
    house = make_house(loaded, secret=secret, reports=outbox if settings.reports else None)
    transaction = Transaction(ports, house, route, client, _path(reverse_path), MailParameters())
    reply = await transaction.mail()
    replies = [await transaction.rcpt(_path(recipient)) for recipient in recipients]
    accepted = [one for one in replies if one.is_positive]
    if accepted:
        reply = await transaction.content(content, 0.0)
    else:
        transaction.abort()
        reply = replies[0]
    assert watcher.record is not None
    return Processed(reply=reply, record=watcher.record, messages=tuple(outbox.sent), unavailable=tuple(watcher.causes))


def _path(address: Address | None) -> Path:
    return Path(octets=address.spec.encode("utf-8", "surrogateescape") if address else b"", address=address)


def _is_confidential(loaded: Loaded, name: str) -> bool:
    upstream = loaded.settings.upstreams[name]
    host = upstream.hosts[0].host
    return _is_loopback(host) or upstream.trusted_link or upstream.tls is UpstreamTlsMode.VERIFIED


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Outbox:
    """An upstream that accepts everything; each connection of it is an :class:`_OutboxSession`."""

    connections = 1

    def __init__(self, *, is_confidential: bool) -> None:
        self.facts = UpstreamFacts(size=None, eight_bit=True, smtputf8=True, dsn=True, confidential=is_confidential)
        self.sent: list[Sent] = []

    async def connect(self) -> _OutboxSession:
        return _OutboxSession(self)


class _OutboxSession:
    def __init__(self, outbox: _Outbox) -> None:
        self._outbox = outbox
        self._reverse_path = Path(octets=b"", address=None)
        self._forward_paths: list[Path] = []
        self._content = b""

    @property
    def facts(self) -> UpstreamFacts:
        return self._outbox.facts

    async def mail(self, reverse_path: Path, *, smtputf8: bool = False, headers_only: bool = False) -> Reply:
        self._reverse_path, self._forward_paths = reverse_path, []
        return Session.SENDER_OK.reply()

    async def rcpt(self, forward_path: Path) -> Reply:
        self._forward_paths.append(forward_path)
        return Session.RECIPIENT_OK.reply()

    async def begin(
        self, reverse_path: Path, forward_paths: Sequence[Path], *, smtputf8: bool = False, headers_only: bool = False
    ) -> tuple[Reply, tuple[Reply, ...]]:
        return await self.mail(reverse_path), tuple([await self.rcpt(path) for path in forward_paths])

    async def data(self, buffers: Sequence[bytes], *, hold: bool = False) -> Reply | None:
        self._content = b"".join(buffers)
        return None

    async def finish(self) -> Reply:
        recipients = tuple(self._forward_paths)
        self._outbox.sent.append(Sent(reverse_path=self._reverse_path, recipients=recipients, content=self._content))
        return Session.OK.reply()

    async def reset(self) -> None:
        self._forward_paths = []

    def release(self) -> None:
        pass

    def discard(self) -> None:
        pass


class _NoJournal:
    """A journal that holds nothing and keeps nothing."""

    def may_hold_any(self) -> bool:
        return False

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, Delivery]:
        return {}

    async def claim(self, keys: Sequence[bytes]) -> bool:
        return True

    async def settle(self, accepted: Sequence[bytes], not_accepted: Sequence[bytes]) -> None:
        pass

    async def forget(self, keys: Sequence[bytes]) -> None:
        pass


class _Watcher:
    """Keeps the record."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.causes: list[str] = []
        """Why look-ups had no answer."""

    def started(self, listener: str) -> None:
        pass

    def ended(self, record: Record) -> None:
        self.record = record

    def unavailable(self, transaction: str, lookup: str, cause: str) -> None:
        self.causes.append(f"{lookup}: {cause}")

    def failed(self, where: str, error: BaseException) -> None:
        # In a gateway this is a line of the log; here the one who runs the command is told all.
        raise error
