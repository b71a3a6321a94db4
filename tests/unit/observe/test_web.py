"""The web server of the supervisor, asked over real connections."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from gateway.observe import Health, Metrics, WebServer, WorkerState, web


@pytest.fixture
def health() -> Health:
    return Health(1)


@pytest.fixture
def server(registry: CollectorRegistry, metrics: Metrics, health: Health) -> Iterator[WebServer]:
    server = WebServer("127.0.0.1", 0, registry, health)
    server.start()
    yield server
    server.stop()


def ask(server: WebServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    with closing(http.client.HTTPConnection(*server.address, timeout=10)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read()


def test_metrics(server: WebServer, metrics: Metrics) -> None:
    """In Prometheus' text form, as of now."""
    metrics.upstream_lost("submission")
    status, kind, body = ask(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    lost = {
        sample.labels["upstream"]: sample.value
        for sample in families["smime_gateway_upstream_connections_lost"].samples
        if sample.name.endswith("_total")
    }
    assert lost == {"submission": 1.0, "other": 0.0}


def test_open_metrics(server: WebServer) -> None:
    """For who asks for it."""
    status, kind, body = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_probes(server: WebServer, health: Health) -> None:
    """200 or 503, and a line that says why."""
    assert ask(server, "/readyz") == (503, "text/plain; charset=utf-8", b"0 of 1 workers ready\n")
    assert ask(server, "/healthz") == (200, "text/plain; charset=utf-8", b"alive\n")
    health.worker("w1", WorkerState.READY)
    assert ask(server, "/readyz") == (200, "text/plain; charset=utf-8", b"1 of 1 workers ready\n")
    health.failed("broken")
    assert ask(server, "/healthz")[::2] == (503, b"broken\n")


def test_everything_else_is_refused(server: WebServer) -> None:
    """Other paths, other methods."""
    asked = [
        ("GET", "/"),
        ("GET", "/metrics/"),
        ("GET", "/%2e%2e/etc/passwd"),
        ("POST", "/metrics"),
        ("DELETE", "/readyz"),
    ]
    assert [ask(server, path, method)[0] for method, path in asked] == [404, 404, 404, 405, 405]


def test_head(server: WebServer) -> None:
    """As GET, without a body."""
    for path in ("/metrics", "/healthz", "/readyz", "/"):
        assert ask(server, path, "HEAD")[0::2] == (ask(server, path)[0], b"")


def test_a_query_is_left_to_prometheus(server: WebServer) -> None:
    """``name[]`` narrows what is given; it makes no error."""
    assert ask(server, "/readyz?x=1")[0] == 503
    status, _, body = ask(server, "/metrics?name[]=smime_gateway_sessions_open")
    assert status == 200
    assert b"smime_gateway_transactions" not in body
    assert b"smime_gateway_sessions_open" in body


def test_a_collector_that_fails(
    registry: CollectorRegistry,
    server: WebServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Metrics that cannot be had are a 503, without a traceback for the asker or on the console."""

    class Failing:
        def collect(self) -> Iterator[object]:
            raise RuntimeError("secret")

        def describe(self) -> list[object]:
            return []

    registry.register(Failing())  # type: ignore[arg-type]
    assert ask(server, "/metrics")[::2] == (503, b"metrics are not available\n")
    assert ask(server, "/healthz")[0] == 200
    assert "secret" not in "".join(capfd.readouterr())


NONSENSE = [
    b"",
    b"\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x00\xa5",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"x" * 70_000 + b" HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n",
]


def test_nonsense_does_no_harm(server: WebServer, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever is sent: the server answers the next one, and says nothing on the console."""
    for octets in NONSENSE:
        # It may close while there is more to send, and then there is nothing to read either.
        with suppress(ConnectionError), socket.create_connection(server.address, timeout=10) as client:
            client.sendall(octets)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        assert ask(server, "/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_silent_clients_take_no_more_than_their_share(server: WebServer) -> None:
    """Connections beyond the bound are closed at once, and as soon as others go the probes are answered again."""
    with closing(socket.create_connection(server.address, timeout=10)):
        clients = [socket.create_connection(server.address, timeout=10) for _ in range(web.MOST_REQUESTS)]
        assert clients[-1].recv(1) == b""
        for client in clients:
            client.close()
    for _ in range(100):
        try:
            assert ask(server, "/healthz")[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            continue
    else:
        pytest.fail("the server did not come back")


def test_ipv6(registry: CollectorRegistry, health: Health) -> None:
    """The family follows the address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = WebServer("::1", 0, registry, health)
    server.start()
    try:
        assert ask(server, "/healthz")[0] == 200
    finally:
        server.stop()
        server.stop()


def test_an_address_in_use(server: WebServer, registry: CollectorRegistry, health: Health) -> None:
    """Is told when it is built, before anything runs."""
    with pytest.raises(OSError, match="in use"):
        WebServer(*server.address, registry, health)
