"""The supervisor's small web server: ``/metrics``, ``/healthz``, ``/readyz``.

What it does: answers GET and HEAD over HTTP/1.0, one thread for each request, from a registry and a :class:`Health`.
``/healthz`` and ``/readyz`` give 200 or 503 and one line of text. It runs in the supervisor, beside no mail.

What it refuses: other paths (404), other methods (405), a client that is silent for :data:`PATIENCE` seconds, more than
:data:`MOST_REQUESTS` requests at once (closed). Logs no requests. Known gap: no TLS and no authentication; listen on
loopback or on a network of the monitoring's own.
"""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable, Iterable
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from gateway.observe.supervisor import Health

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PATIENCE = 10.0
"""Seconds that a client has for each read and write."""
MOST_REQUESTS = 16
"""Requests answered at once; Prometheus and the probes need three."""


class WebServer:
    """One listening address. :meth:`start` it once it is built, :meth:`stop` it at the end."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        """Bind and listen: :class:`OSError` where that cannot be. Port 0 takes any; see :attr:`address`."""
        self._server = _Server((host, port), _family(host, port))
        self._server.set_app(_application(registry, health))
        self._thread = Thread(target=self._server.serve_forever, name="web", kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens at."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Answer requests, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and close. Idempotent."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = MOST_REQUESTS

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.address_family = family
        self._free = BoundedSemaphore(MOST_REQUESTS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without the look-up of the host's name that the standard library makes here."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a request, or close it when there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is no event of ours."""


def _application(registry: CollectorRegistry, health: Health) -> WSGIApplication:
    metrics = make_wsgi_app(registry)
    probes: dict[str, Callable[[], tuple[bool, str]]] = {"/healthz": health.live, "/readyz": health.ready}

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            return _text(start_response, "405 Method Not Allowed", "GET or HEAD", ("Allow", "GET, HEAD"))
        if path == "/metrics":
            return _metrics(metrics, {**environ, "REQUEST_METHOD": "GET"}, start_response)
        if path in probes:
            good, line = probes[path]()
            return _text(start_response, "200 OK" if good else "503 Service Unavailable", line)
        return _text(start_response, "404 Not Found", "/metrics /healthz /readyz")

    def without_body(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = answer(environ, start_response)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    return without_body


def _metrics(metrics: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    try:
        # Everything is collected before the response starts, so it is not too late for another one.
        return metrics(environ, start_response)
    except Exception:
        return _text(start_response, "503 Service Unavailable", "metrics are not available")


def _text(start_response: StartResponse, status: str, line: str, *headers: tuple[str, str]) -> list[bytes]:
    body = line.encode("utf-8", "backslashreplace") + b"\n"
    start_response(
        status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *headers]
    )
    return [body]


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
