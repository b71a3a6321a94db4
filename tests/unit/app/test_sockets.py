"""The ports of the listeners: decided once, held against others, exchanged as a whole or not at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.app.process import bind
from gateway.app.sockets import Ports, StartFailed
from gateway.settings import Endpoint, Settings, parse_settings
from tests.support.peers import LOOPBACK, free_port


def settings(**listeners: int) -> Settings:
    """Settings with these listeners on these ports."""
    lines = [f'  {name}: {{listen: "{LOOPBACK}:{port}", upstream: mta}}' for name, port in listeners.items()]
    text = [
        "identity: {hostname: gw1.acme.example}",
        "internal: {domains: [acme.example]}",
        "listeners:",
        *lines,
        "upstreams: {mta: {hosts: ['192.0.2.1:25'], tls: none}}",
        "policies: policies",
        "",
    ]
    return parse_settings("\n".join(text), "gateway.yaml")


def is_held(port: int) -> bool:
    """Whether nobody else can have it, and a worker can."""
    bind(Endpoint(LOOPBACK, port), shared=True).close()
    try:
        bind(Endpoint(LOOPBACK, port), shared=False).close()
    except OSError:
        return True
    return False


@contextmanager
def reserved(**listeners: int) -> Iterator[Ports]:
    ports = Ports().reserve(settings(**listeners))
    try:
        yield ports
    finally:
        ports.close()


def test_every_port_is_decided_and_held() -> None:
    fixed = free_port()
    with reserved(users=0, border=fixed) as ports:
        assert ports.listen["border"] == Endpoint(LOOPBACK, fixed)
        assert ports.listen["users"].port not in (0, fixed)
        assert all(is_held(endpoint.port) for endpoint in ports.listen.values())
    assert not any(is_held(endpoint.port) for endpoint in ports.listen.values())


def test_what_fits_is_taken_over() -> None:
    """A port that the system chose stays the same over all reloads, and one that is not wanted any more is let go."""
    with reserved(users=0, border=0) as before:
        after = before.reserve(settings(users=0, other=0))
        before.close(besides=after)
        assert after.listen["users"] == before.listen["users"]
        assert is_held(after.listen["users"].port)
        assert is_held(after.listen["other"].port)
        assert not is_held(before.listen["border"].port)
        after.close()


def test_a_port_that_is_named_now_as_it_was_chosen_before_stays() -> None:
    with reserved(users=0) as before:
        chosen = before.listen["users"].port
        after = before.reserve(settings(users=chosen))
        before.close(besides=after)
        assert is_held(chosen)
        after.close()


def test_another_port_is_another_socket() -> None:
    with reserved(users=0) as before:
        other = free_port()
        after = before.reserve(settings(users=other))
        assert is_held(other)
        assert is_held(before.listen["users"].port)
        after.close(besides=before)
        assert not is_held(other)


def test_a_port_in_use_changes_nothing() -> None:
    """All or nothing: what was reserved for the new settings is let go, what is in force stays."""
    with socket.create_server((LOOPBACK, 0)) as taken, reserved(users=0) as before:
        port, another = taken.getsockname()[1], free_port()
        with pytest.raises(StartFailed) as caught:
            before.reserve(settings(users=0, another=another, border=port))
        said = f"gateway.yaml:6: listeners.border.listen: cannot listen on {LOOPBACK}:{port}: Address already in use"
        assert str(caught.value) == said
        assert not is_held(another)
        assert is_held(before.listen["users"].port)


def test_two_listeners_never_have_one_port() -> None:
    """The settings refuse it where both name it; a second gateway's supervisor meets the held socket."""
    with reserved(users=0) as first, pytest.raises(StartFailed, match="in use"):
        Ports().reserve(settings(users=first.listen["users"].port))


def test_a_port_that_another_program_had_until_just_now() -> None:
    """Its connections fade away for a minute (TIME_WAIT): that does not keep us from listening."""
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with socket.create_connection((LOOPBACK, port), timeout=1) as client:
            other.accept()[0].close()
            assert client.recv(1) == b""
    with reserved(users=port) as ports:
        assert ports.listen["users"].port == port
        bind(Endpoint(LOOPBACK, port), shared=True).close()
