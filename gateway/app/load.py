"""From the admin's files to values and stores: settings, policies, keys, certificates, anchors, aliases, TLS.

What ``check`` reports, ``serve`` refuses to start with, and a reload leaves the running workers alone for, is found
here: :func:`load` reads everything and raises one :class:`~gateway.errors.ConfigurationError` with all problems of
the stage that failed. Nothing is listened on and nothing is written.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from gateway.errors import CertificateError, ConfigurationError, KeyMaterialError, Problem
from gateway.pkix import PathValidator, load_certificates
from gateway.policy import Policy, check_listeners, is_policy_file, parse_policies
from gateway.settings import Listener, ListenerTlsMode, Settings, Upstream, UpstreamTlsMode, parse_settings
from gateway.stores import CsvAliases, FolderAnchors, FolderCertificates, FolderKeyring, check_private_file

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Everything that the files say."""

    settings: Settings
    policy: Policy
    keyring: FolderKeyring
    anchors: FolderAnchors
    validator: PathValidator
    certificates: FolderCertificates
    aliases: CsvAliases
    listener_tls: dict[str, ssl.SSLContext | None]
    """By the listener's name; ``None``: no STARTTLS."""
    upstream_tls: dict[str, ssl.SSLContext | None]
    """By the upstream's name; ``None``: never TLS."""
    tls_ends: tuple[datetime, ...]
    """When the TLS certificates of the listeners expire."""
    problems: tuple[Problem, ...]
    """What has to be repaired and does not keep the gateway from running: what it concerns is deferred meanwhile."""
    warnings: tuple[Problem, ...]
    """What should be looked at: what expires soon."""


def read_text(path: Path) -> str:
    """Read one of the admin's files; raise :class:`ConfigurationError` where that fails."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigurationError(_whole(path, error.strerror or "not readable")) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(_whole(path, f"not UTF-8 at octet {error.start}")) from None


def load_settings(file: Path) -> Settings:
    """Read ``gateway.yaml``."""
    return parse_settings(read_text(file), str(file))


def load_policy(settings: Settings) -> Policy:
    """Read the policy documents that the settings name."""
    path = settings.resolve(settings.policies)
    if not path.exists():
        raise ConfigurationError(settings.problem(("policies",), f"{path}: no such file or folder"))
    files = sorted(one for one in path.glob("*.yaml") if is_policy_file(one.name)) if path.is_dir() else [path]
    if not files:
        raise ConfigurationError(settings.problem(("policies",), f"no *.yaml in {path}"))
    policy = parse_policies([(str(file), read_text(file)) for file in files])
    if unknown := check_listeners(policy, settings.listeners):
        raise ConfigurationError(*unknown)
    return policy


def load(file: Path, now: Callable[[], datetime]) -> Loaded:
    """Read everything. Raises :class:`ConfigurationError`."""
    settings = load_settings(file)
    policy = load_policy(settings)
    resolve = settings.resolve
    anchors = FolderAnchors([resolve(settings.anchors.default)] if settings.anchors else [], now=now)
    validator = anchors.validator()
    certificates = FolderCertificates([resolve(one.folder) for one in settings.certificates], validator, now=now)
    keyring = FolderKeyring([resolve(one.folder) for one in settings.keys], now=now)
    aliases = CsvAliases(resolve(settings.internal.aliases) if settings.internal.aliases else None)
    fatal: list[Problem] = [*aliases.problems]
    listener_tls = {
        name: _guarded(settings, ("listeners", name, "tls"), fatal, partial(_server_context, settings, one))
        for name, one in settings.listeners.items()
    }
    upstream_tls = {
        name: _guarded(settings, ("upstreams", name, "ca"), fatal, partial(_client_context, settings, one))
        for name, one in settings.upstreams.items()
    }
    tls_ends = [
        _guarded(settings, ("listeners", name, "tls"), fatal, partial(_tls_end, settings, one))
        for name, one in settings.listeners.items()
        if listener_tls[name] is not None
    ]
    # A key file that cannot be read, or that others can, ends the start; a certificate that has expired only defers the
    # mail of whom it names.
    fatal += keyring.unreadable
    if fatal:
        raise ConfigurationError(*fatal)
    stores = (keyring, anchors, certificates)
    return Loaded(
        settings=settings,
        policy=policy,
        keyring=keyring,
        anchors=anchors,
        validator=validator,
        certificates=certificates,
        aliases=aliases,
        listener_tls=listener_tls,
        upstream_tls=upstream_tls,
        tls_ends=tuple(end for end in tls_ends if end is not None),
        problems=tuple(problem for store in stores for problem in store.problems),
        warnings=tuple(warning for store in stores for warning in store.warnings),
    )


def _guarded(
    settings: Settings, key: tuple[str | int, ...], problems: list[Problem], make: Callable[[], T | None]
) -> T | None:
    try:
        return make()
    except (KeyMaterialError, CertificateError) as error:
        problems.append(settings.problem(key, str(error)))
    except ssl.SSLError as error:
        problems.append(settings.problem(key, f"not usable: {error.reason or error}"))
    except OSError as error:
        problems.append(settings.problem(key, f"{error.filename}: {error.strerror or 'not readable'}"))
    return None


def _server_context(settings: Settings, listener: Listener) -> ssl.SSLContext | None:
    tls = listener.tls
    if tls.mode is ListenerTlsMode.NONE or tls.certificate is None:
        return None
    certificate = settings.resolve(tls.certificate)
    key = settings.resolve(tls.key) if tls.key else certificate
    check_private_file(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(_readable(certificate), key, password=_no_passphrase)
    if tls.client_ca is not None:
        context.load_verify_locations(_readable(settings.resolve(tls.client_ca)))
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _tls_end(settings: Settings, listener: Listener) -> datetime:
    assert listener.tls.certificate is not None
    file = settings.resolve(listener.tls.certificate)
    try:
        return load_certificates(file.read_bytes())[0].not_after
    except CertificateError as error:
        raise CertificateError(f"{file}: {error}") from None


def _no_passphrase() -> str:
    """Never ask at a terminal: a key of TLS is without passphrase, or the start fails."""
    return ""


def _client_context(settings: Settings, upstream: Upstream) -> ssl.SSLContext | None:
    if upstream.tls is UpstreamTlsMode.NONE:
        return None
    if upstream.tls is UpstreamTlsMode.VERIFIED:
        return ssl.create_default_context(cafile=_readable(settings.resolve(upstream.ca)) if upstream.ca else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _readable(path: Path) -> str:
    """Return the path of a file that can be opened; the ssl module's own errors do not name theirs."""
    path.open("rb").close()
    return str(path)


def _whole(path: Path, text: str) -> Problem:
    return Problem(file=str(path), line=None, key="", text=text)
