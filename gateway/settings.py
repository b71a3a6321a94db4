"""The settings of a gateway: the models behind ``gateway.yaml``, and the checks across them.

What it does: :func:`parse_settings` takes the text and gives an immutable :class:`Settings`, or a
:class:`~gateway.errors.ConfigurationError` with every problem, its line and key. It reads no file: whether a folder
exists or a key can be used is told by who loads it, through :meth:`Settings.problem`. ``docs/settings.md`` lists every
key with default, unit and reason; a test compares the two.

What it refuses: unknown keys, values without their unit, and what is designed but not built yet (``sender_proof.auth``,
``trust: xforward``, ``bare_newline: repair``, several ``hosts``), each by name. No key weakens a protection.

Standards: RFC 5321 4.5.3 (limits and timeouts), RFC 8601 2.2 (authserv-id), RFC 3207 (STARTTLS).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator, PrivateAttr, WithJsonSchema

from gateway.documents import (
    NOT_EMPTY,
    Count,
    Document,
    Duration,
    KeyPath,
    Size,
    StrictModel,
    Switch,
    WrittenPath,
    read_document,
    suggest,
    validate,
)
from gateway.errors import ConfigurationError, Problem
from gateway.limits import DEFAULT_LIMITS, Limits

MIB = 1024 * 1024
MINUTE = 60.0
DAY = 86400.0


# -- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen or connect: ``host:port``, ``[address]:port``."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    """0 asks the system for a free one (listening only)."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def _parse_endpoint(value: object) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    found = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[3]) > 65535:
        raise ValueError(f"expected host:port or [IPv6 address]:port, not {value!r:.80}")
    return Endpoint(found[1] or found[2], int(found[3]))


def _check_target(endpoint: Endpoint) -> Endpoint:
    if endpoint.port == 0:
        raise ValueError("port 0 cannot be connected to")
    return endpoint


def _parse_network(value: object) -> IPv4Network | IPv6Network:
    try:
        if not isinstance(value, (str, IPv4Network, IPv6Network)):
            raise ValueError("expected text like 10.0.0.0/8")
        network = ip_network(value)
    except ValueError as error:
        raise ValueError(f"not a network: {error}") from None
    if network.prefixlen == 0:
        raise ValueError("this names every address there is, so it proves nothing")
    return network


def _parse_fingerprint(value: object) -> str:
    digest = value.replace(":", "").lower() if isinstance(value, str) else ""
    if digest != "any" and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("expected a SHA-256 fingerprint (64 hexadecimal digits, colons allowed) or 'any'")
    return digest


def _check_domain(value: str) -> str:
    if len(value) > 255 or not _DOMAIN.fullmatch(value):
        raise ValueError(f"expected a domain name, not {value!r:.80}")
    return value


def _check_own_domain(value: str) -> str:
    _check_domain(value.removeprefix("*."))
    return value.lower()


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name has letters, digits, - and _ only, 64 at most")
    return value


def _refuse_unbuilt(built: Iterable[str], hint: str) -> AfterValidator:
    """Make a validator that lets only what is built through; the model keeps the word, so that it is not unknown."""
    words = frozenset(built)

    def check(value: str | None) -> str | None:
        if value is not None and value not in words:
            raise ValueError(f"'{value}' is not supported yet; {hint}")
        return value

    return AfterValidator(check)


def _check_one_host(value: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    if len(value) > 1:
        raise ValueError("several hosts are not supported yet; name one, and let it be a name with several addresses")
    return value


_TEXT = WithJsonSchema({"type": "string"})
ListenEndpoint = Annotated[Endpoint, PlainValidator(_parse_endpoint), _TEXT]
TargetEndpoint = Annotated[Endpoint, PlainValidator(lambda value: _check_target(_parse_endpoint(value))), _TEXT]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_parse_network), _TEXT]
Fingerprint = Annotated[str, PlainValidator(_parse_fingerprint), _TEXT]
Domain = Annotated[str, AfterValidator(_check_domain)]
OwnDomain = Annotated[str, AfterValidator(_check_own_domain)]
Name = Annotated[str, AfterValidator(_check_name)]


class ClientKind(StrEnum):
    """Who speaks to a listener."""

    USER = "user"
    """Mail programs: they give up after a minute, and their user waits."""
    QUEUEING = "queueing"
    """MTAs: they keep a queue, and wait longer."""


class ListenerTlsMode(StrEnum):
    """TLS of a listener (RFC 3207)."""

    NONE = "none"
    OFFERED = "offered"
    REQUIRED = "required"
    """MAIL is refused before STARTTLS."""


class UpstreamTlsMode(StrEnum):
    """TLS towards an upstream (RFC 3207)."""

    NONE = "none"
    OFFERED = "offered"
    """Used where it is offered, its certificate not checked: against listeners, not against attackers."""
    VERIFIED = "verified"
    """Required, with a certificate that is valid for the host's name."""


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


# -- sections ---------------------------------------------------------------------------------------------------------


class Identity(StrictModel):
    """Who this gateway is."""

    hostname: Domain
    """Its name in the greeting, EHLO and trace fields."""
    authserv_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")] | None = None
    """Its name in Authentication-Results (RFC 8601 2.2), unique per gateway; ``None`` is the hostname."""


class Internal(StrictModel):
    """What is ours."""

    domains: Annotated[tuple[OwnDomain, ...], NOT_EMPTY]
    """Exact names, and ``*.acme.example`` for everything below a name; lower case."""
    aliases: WrittenPath | None = None
    """CSV file of ``alias,mailbox``: which addresses are the same mailbox."""


class ListenerTls(StrictModel):
    """TLS of a listener."""

    mode: ListenerTlsMode
    certificate: WrittenPath | None = None
    """PEM file: the certificate, its chain, and the key unless :attr:`key` names another file."""
    key: WrittenPath | None = None
    client_ca: WrittenPath | None = None
    """PEM file of the CAs whose client certificates are accepted."""


class SenderProof(StrictModel):
    """How a client proves that it may send for our addresses; either proof is enough, none given proves nothing."""

    networks: tuple[Network, ...] = ()
    client_certificates: tuple[Fingerprint, ...] = ()
    """SHA-256 fingerprints, lower case without colons, or ``any`` that :attr:`ListenerTls.client_ca` verifies."""
    auth: Annotated[Literal["relay"] | None, _refuse_unbuilt((), "use networks or client_certificates")] = None
    logins: Annotated[str | None, _refuse_unbuilt((), "it belongs to auth")] = None


class Listener(StrictModel):
    """A place where mail comes in."""

    listen: ListenEndpoint
    client: ClientKind = ClientKind.USER
    deadline: Annotated[Duration, Field(ge=5, le=540)] | None = None
    """Seconds from the client's final dot to the first upstream final dot; see :attr:`deadline_seconds`."""
    tls: ListenerTls = ListenerTls(mode=ListenerTlsMode.NONE)
    sender_proof: SenderProof = SenderProof()
    trust: tuple[
        Annotated[
            Literal["authentication-results", "xforward"],
            _refuse_unbuilt(("authentication-results",), "leave it out"),
        ],
        ...,
    ] = ()
    """Trust marks of the client that stay (RFC 8601 5); all others are removed."""
    hide_client: Switch = False
    """Whether the client's address and name are left out of our Received field."""
    bare_newline: Annotated[Literal["refuse", "repair"], _refuse_unbuilt(("refuse",), "write 'refuse'")] = "refuse"
    upstream: str
    """Name of the upstream that everything from here goes to."""
    sessions: Annotated[Count, Field(ge=1, le=100_000)] = 500
    """Most open sessions per worker."""
    idle: Annotated[Duration, Field(ge=10, le=3600)] = 5 * MINUTE
    """Seconds without a command or octet before a session is closed (RFC 5321 4.5.3.2.7)."""

    @property
    def deadline_seconds(self) -> float:
        """The deadline, or what the kind of client stands: 50 s and 90 s."""
        if self.deadline is not None:
            return self.deadline
        return 50.0 if self.client is ClientKind.USER else 90.0


class Timeouts(StrictModel):
    """How long to wait for an upstream, in seconds (RFC 5321 4.5.3.2)."""

    connect: Annotated[Duration, Field(ge=1, le=300)] = 30.0
    """TCP, greeting, TLS and EHLO together."""
    reply: Annotated[Duration, Field(ge=1, le=600)] = 5 * MINUTE
    """Each command."""
    final: Annotated[Duration, Field(ge=60, le=3600)] = 10 * MINUTE
    """The reply to the final dot (RFC 5321 4.5.3.2.6)."""


class Upstream(StrictModel):
    """A next hop."""

    hosts: Annotated[tuple[TargetEndpoint, ...], NOT_EMPTY, AfterValidator(_check_one_host)]
    tls: UpstreamTlsMode
    ca: WrittenPath | None = None
    """PEM file of the CAs that may vouch for it; ``None`` is the system's."""
    trusted_link: Switch = False
    """Whether opened mail may travel to it without verified TLS."""
    connections: Annotated[Count, Field(ge=1, le=10_000)] = 20
    """Most idle connections that a worker keeps."""
    connections_per_transaction: Annotated[Count, Field(ge=1, le=100)] = 4
    """Most connections one transaction holds at once."""
    timeouts: Timeouts = Timeouts()


class Reports(StrictModel):
    """Where our own delivery reports (RFC 3464) go."""

    upstream: str


class LimitSettings(StrictModel):
    """Bounds of the work that mail can cause; :class:`gateway.limits.Limits` gives the reasons."""

    message: Annotated[Size, Field(ge=65536, le=2**31)] = DEFAULT_LIMITS.message_octets
    in_flight: Annotated[Size, Field(ge=MIB)] = 512 * MIB
    """Memory for mail under way, per worker; what comes beyond hears 452 4.3.1."""
    lookups: Annotated[Duration, Field(ge=0.1, le=300)] = 8.0
    """Seconds for each look-up, which run together; what has not answered by then is unavailable."""
    recipients: Annotated[Count, Field(ge=100, le=100_000)] = DEFAULT_LIMITS.recipients
    hidden_copies: Annotated[Count, Field(ge=0, le=1000)] = DEFAULT_LIMITS.hidden_copies
    header: Annotated[Size, Field(ge=16384)] = DEFAULT_LIMITS.header_octets
    header_fields: Annotated[Count, Field(ge=100)] = DEFAULT_LIMITS.header_fields
    mime_depth: Annotated[Count, Field(ge=5, le=200)] = DEFAULT_LIMITS.mime_depth
    mime_parts: Annotated[Count, Field(ge=10)] = DEFAULT_LIMITS.mime_parts
    smime_layers: Annotated[Count, Field(ge=1, le=50)] = DEFAULT_LIMITS.smime_layers
    signers: Annotated[Count, Field(ge=1, le=1000)] = DEFAULT_LIMITS.signers
    recipient_infos: Annotated[Count, Field(ge=1, le=100_000)] = DEFAULT_LIMITS.recipient_infos
    certificates: Annotated[Count, Field(ge=1, le=10_000)] = DEFAULT_LIMITS.certificates
    received: Annotated[Count, Field(ge=100)] = DEFAULT_LIMITS.received_fields
    visits: Annotated[Count, Field(ge=1, le=100)] = DEFAULT_LIMITS.own_visits

    def to_limits(self) -> Limits:
        """Return what the parsers and builders ask for."""
        return Limits(
            message_octets=self.message,
            header_octets=self.header,
            header_fields=self.header_fields,
            mime_depth=self.mime_depth,
            mime_parts=self.mime_parts,
            smime_layers=self.smime_layers,
            signers=self.signers,
            recipient_infos=self.recipient_infos,
            certificates=self.certificates,
            recipients=self.recipients,
            hidden_copies=self.hidden_copies,
            received_fields=self.received,
            own_visits=self.visits,
        )


class Folder(StrictModel):
    """A folder of keys or certificates."""

    folder: WrittenPath


class Anchors(StrictModel):
    """Trust anchors; nothing is trusted that is not here."""

    default: WrittenPath
    """A file or a folder of CA certificates."""


class Metrics(StrictModel):
    """The page of metrics and health."""

    listen: ListenEndpoint


class Log(StrictModel):
    """The mail log."""

    format: LogFormat = LogFormat.JSON


class Kept(StrictModel):
    """How long delivery journal entries are kept."""

    kept: Annotated[Duration, Field(ge=3600)] = 5 * DAY


class KeptRecords(StrictModel):
    """How long decision records are kept."""

    kept: Annotated[Duration, Field(ge=0)] = 30 * DAY


class Settings(StrictModel):
    """``gateway.yaml``."""

    identity: Identity
    internal: Internal
    listeners: Annotated[dict[Name, Listener], NOT_EMPTY]
    upstreams: Annotated[dict[Name, Upstream], NOT_EMPTY]
    reports: Reports | None = None
    limits: LimitSettings = LimitSettings()
    keys: tuple[Folder, ...] = ()
    certificates: tuple[Folder, ...] = ()
    anchors: Anchors | None = None
    policies: WrittenPath
    """A file, or a folder whose ``*.yaml`` are read in the order of their names, tables of cases excepted."""
    state: WrittenPath = Path("state")
    """Folder of the secret, the delivery journal and the decision records."""
    metrics: Metrics | None = None
    workers: Annotated[Count, Field(ge=1, le=256)] = 1
    log: Log = Log()
    journal: Kept = Kept()
    records: KeptRecords = KeptRecords()
    drain: Annotated[Duration, Field(ge=0, le=3600)] = 30.0
    """Seconds that running transactions get after SIGTERM."""

    _document: Document | None = PrivateAttr(default=None)

    @property
    def file(self) -> str:
        """The path of the settings file; empty for settings that were not read."""
        return self._document.file if self._document else ""

    @property
    def authserv_id(self) -> str:
        """Our authserv-id: the one that is set, or the hostname."""
        return self.identity.authserv_id or self.identity.hostname

    def resolve(self, path: Path) -> Path:
        """Return a path of these settings, taken from the folder of the settings file."""
        return Path(self.file).parent / path

    def problem(self, key: KeyPath, text: str) -> Problem:
        """Make a problem of a key, ``("keys", 0, "folder")``, with the line where it stands."""
        if self._document is None:
            return Problem(file="", line=None, key=".".join(map(str, key)), text=text)
        return self._document.problem(key, text)


def parse_settings(text: str, file: str) -> Settings:
    """Read settings; raise :class:`~gateway.errors.ConfigurationError` with everything that is wrong."""
    document = read_document(text, file)
    settings = validate(document, Settings)
    settings._document = document
    problems = tuple(_check_across(settings))
    if problems:
        raise ConfigurationError(*problems)
    return settings


# -- checks across keys -----------------------------------------------------------------------------------------------


def _check_across(settings: Settings) -> Iterator[Problem]:
    for name, listener in settings.listeners.items():
        yield from _check_listener(settings, name, listener)
    for name, upstream in settings.upstreams.items():
        yield from _check_upstream(settings, name, upstream)
    if settings.reports is not None:
        yield from _check_reference(settings, ("reports", "upstream"), settings.reports.upstream)
    if settings.limits.in_flight < settings.limits.message:
        yield settings.problem(("limits", "in_flight"), "smaller than limits.message: no such message could be taken")
    taken = Counter(listener.listen for listener in settings.listeners.values())
    if settings.metrics is not None and taken[settings.metrics.listen] and settings.metrics.listen.port:
        yield settings.problem(("metrics", "listen"), f"{settings.metrics.listen} is taken by a listener")


def _check_listener(settings: Settings, name: str, listener: Listener) -> Iterator[Problem]:
    here: KeyPath = ("listeners", name)
    yield from _check_reference(settings, (*here, "upstream"), listener.upstream)
    others = (other for key, other in settings.listeners.items() if key != name)
    if listener.listen.port and any(other.listen == listener.listen for other in others):
        yield settings.problem((*here, "listen"), f"{listener.listen} is used by two listeners")
    tls = listener.tls
    if tls.mode is ListenerTlsMode.NONE:
        for key in ("certificate", "key", "client_ca"):
            if getattr(tls, key) is not None:
                yield settings.problem((*here, "tls", key), "has no use with tls.mode: none")
    elif tls.certificate is None:
        yield settings.problem((*here, "tls"), f"tls.mode: {tls.mode} needs tls.certificate")
    proof = listener.sender_proof
    if proof.client_certificates and tls.client_ca is None:
        yield settings.problem((*here, "sender_proof", "client_certificates"), "needs tls.client_ca")
    if "any" in proof.client_certificates and len(proof.client_certificates) > 1:
        yield settings.problem((*here, "sender_proof", "client_certificates"), "'any' stands alone")


def _check_upstream(settings: Settings, name: str, upstream: Upstream) -> Iterator[Problem]:
    here: KeyPath = ("upstreams", name)
    own = {listener.listen: key for key, listener in settings.listeners.items()}
    for position, host in enumerate(upstream.hosts):
        if host in own:
            yield settings.problem((*here, "hosts", position), f"{host} is our own listener '{own[host]}': a mail loop")
    if upstream.ca is not None and upstream.tls is not UpstreamTlsMode.VERIFIED:
        yield settings.problem((*here, "ca"), "is looked at only with tls: verified")
    if upstream.connections_per_transaction > upstream.connections:
        yield settings.problem((*here, "connections_per_transaction"), "larger than connections")


def _check_reference(settings: Settings, key: KeyPath, name: str) -> Iterator[Problem]:
    if name not in settings.upstreams:
        hint = suggest(name, tuple(settings.upstreams)) or f"; known: {', '.join(settings.upstreams)}"
        yield settings.problem(key, f"there is no upstream '{name}'{hint}")
