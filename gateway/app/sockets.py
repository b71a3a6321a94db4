"""The ports of the listeners: decided once, held for the workers, exchanged as a whole at a reload.

A bound socket that does not listen reserves a port for the workers, which bind it too (SO_REUSEPORT); a bind without
sharing before that shows that nobody else has it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from gateway.app.process import bind
from gateway.errors import GatewayError
from gateway.settings import Endpoint, Settings


class StartFailed(GatewayError):
    """The gateway cannot be started; the text is one line for the admin."""


class Ports:
    """The ports of one set of listeners. Two of them may share sockets: what still fits is taken over."""

    def __init__(self) -> None:
        self._held: dict[str, socket.socket] = {}
        self.listen: dict[str, Endpoint] = {}
        """Where each listener listens; no port is 0."""

    def reserve(self, settings: Settings) -> Ports:
        """Return the ports for these settings; ours stay as they are. Raises :class:`StartFailed`."""
        found = Ports()
        try:
            for name, listener in settings.listeners.items():
                endpoint = listener.listen
                if self._fits(name, endpoint):
                    found._held[name], found.listen[name] = self._held[name], self.listen[name]
                    continue
                sock = _reserve(settings, name, endpoint)
                found._held[name] = sock
                found.listen[name] = Endpoint(endpoint.host, sock.getsockname()[1])
        except StartFailed:
            found.close(besides=self)
            raise
        return found

    def close(self, *, besides: Ports | None = None) -> None:
        """Let go of every port that ``besides`` does not hold."""
        kept: Mapping[str, socket.socket] = besides._held if besides else {}
        for name, sock in self._held.items():
            if kept.get(name) is not sock:
                sock.close()

    def _fits(self, name: str, endpoint: Endpoint) -> bool:
        held = self.listen.get(name)
        return held is not None and held.host == endpoint.host and endpoint.port in (0, held.port)


def _reserve(settings: Settings, name: str, endpoint: Endpoint) -> socket.socket:
    try:
        bind(endpoint, shared=False).close()
        try:
            return bind(endpoint, shared=True, holds=True)
        except OSError:
            # Another program has had it until just now: held less well, until the workers listen.
            return bind(endpoint, shared=True)
    except OSError as error:
        raise cannot_listen(settings, ("listeners", name, "listen"), endpoint, error) from error


def cannot_listen(settings: Settings, key: tuple[str, ...], endpoint: Endpoint, error: OSError) -> StartFailed:
    """Return what to raise for a place where nobody can listen; ``key`` is its key in the settings."""
    return StartFailed(str(settings.problem(key, f"cannot listen on {endpoint}: {error.strerror or error}")))
