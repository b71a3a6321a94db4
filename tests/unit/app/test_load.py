"""From the admin's files to values: what is broken is one problem with its file and line, and all are told at once.

Rows: what is done to a house that is in order, and the problem that comes of it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.app.load import Loaded, load
from gateway.errors import ConfigurationError, Problem
from tests.support.house import House
from tests.support.loopback import tls_material
from tests.support.pki import Pki, write_private

NEXT = ("192.0.2.1", 25)
TLS_FILE = "tls.pem"


def now() -> datetime:
    """The house's certificates are valid by the machine's clock."""
    return datetime.now(UTC)


def problems_of(house: House) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(house.settings, now)
    return caught.value.problems


def write_tls(house: House, octets: bytes | None = None, *, name: str = TLS_FILE, mode: int = 0o600) -> None:
    server = tls_material().server
    file = house.folder / name
    write_private(file, server.certificate_pem + server.key_octets() if octets is None else octets)
    file.chmod(mode)


def with_tls(house: House, **more: Any) -> None:
    """Settings whose only listener has TLS, and whose upstream is verified by a CA of its own."""
    (house.folder / "ca.pem").write_bytes(tls_material().ca.certificate_pem)
    listener = {"tls": {"mode": "required", "certificate": TLS_FILE, "client_ca": "ca.pem", **more}}
    house.write(NEXT, listeners={"users": listener}, upstream_options={"tls": "verified", "ca": "ca.pem"})


def line_of(house: House, text: str) -> int:
    """Return the number of the line of the settings in which this stands first."""
    lines = house.settings.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


# ---------------------------------------------------------------- what loads


def test_a_house_in_order(house: House) -> None:
    (house.folder / "aliases.csv").write_text("sales@acme.example,alice@acme.example\n")
    write_tls(house)
    with_tls(house)
    loaded = load(house.settings, now)
    assert isinstance(loaded, Loaded)
    assert sorted(identity.certificate.emails[0] for identity in loaded.keyring.identities) == [
        "alice@acme.example",
        "bob@acme.example",
    ]
    assert len(loaded.certificates.certificates) == 2
    assert len(loaded.anchors.certificates) == 2
    assert loaded.policy.rules
    assert (loaded.problems, loaded.warnings) == ((), ())
    assert loaded.tls_ends == (datetime(2099, 1, 1, tzinfo=UTC),)
    server, client = loaded.listener_tls["users"], loaded.upstream_tls["next"]
    assert server is not None
    assert client is not None
    assert server.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert server.verify_mode is ssl.CERT_OPTIONAL
    assert (client.verify_mode, client.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_nothing_is_written(house: House) -> None:
    house.write(NEXT)
    before = {path: path.stat().st_mtime_ns for path in house.folder.rglob("*")}
    load(house.settings, now)
    assert {path: path.stat().st_mtime_ns for path in house.folder.rglob("*")} == before


def test_tls_is_as_the_settings_say(house: House) -> None:
    write_tls(house)
    house.write(
        NEXT,
        listeners={
            "clear": {},
            "offered": {"tls": {"mode": "offered", "certificate": TLS_FILE}},
        },
        upstream_options={"tls": "offered"},
    )
    loaded = load(house.settings, now)
    server, client = loaded.listener_tls["offered"], loaded.upstream_tls["next"]
    assert loaded.listener_tls["clear"] is None
    assert server is not None
    assert server.verify_mode is ssl.CERT_NONE
    assert client is not None
    assert (client.verify_mode, client.check_hostname) == (ssl.CERT_NONE, False)
    assert len(loaded.tls_ends) == 1

    house.write(NEXT, upstream_options={"tls": "verified"})
    loaded = load(house.settings, now)
    client = loaded.upstream_tls["next"]
    assert client is not None
    assert (client.verify_mode, client.check_hostname) == (ssl.CERT_REQUIRED, True)

    house.write(NEXT)
    assert load(house.settings, now).upstream_tls == {"next": None}


def test_the_key_of_tls_in_a_file_of_its_own(house: House) -> None:
    server = tls_material().server
    write_tls(house, server.certificate_pem, mode=0o644)
    write_tls(house, server.key_octets(), name="tls.key")
    with_tls(house, key="tls.key")
    assert load(house.settings, now).listener_tls["users"] is not None


def test_policies_in_one_file(house: House) -> None:
    house.write(NEXT, policy="default: pass\n")
    house.settings.write_text(
        house.settings.read_text().replace("policies: policies", "policies: policies/10-test.yaml")
    )
    assert load(house.settings, now).policy.rules == ()


def test_without_anchors_nothing_is_trusted(house: House) -> None:
    house.write(NEXT)
    text = house.settings.read_text()
    house.settings.write_text("\n".join(line for line in text.split("\n") if "anchors" not in line))
    loaded = load(house.settings, now)
    assert loaded.anchors.certificates == ()
    assert loaded.certificates.certificates


# ---------------------------------------------------------------- what does not


Break = Callable[[House], object]


def settings(old: str, new: str) -> Break:
    """Write settings with this in place of that."""

    def breaking(house: House) -> None:
        house.write(NEXT)
        text = house.settings.read_text()
        assert old in text
        house.settings.write_text(text.replace(old, new, 1))

    return breaking


def put(name: str, octets: bytes) -> Break:
    """Put a file into a house in order."""
    return lambda house: [house.write(NEXT), write_private(house.folder / name, octets)]


def aliases(text: str | None) -> Break:
    """Name a file of aliases, and write it unless it is not to be there."""

    def breaking(house: House) -> None:
        if text is not None:
            (house.folder / "aliases.csv").write_text(text)
        house.write(NEXT, internal={"domains": ["acme.example"], "aliases": "aliases.csv"})

    return breaking


def policy(octets: bytes) -> Break:
    """Write this policy."""

    def breaking(house: House) -> None:
        house.write(NEXT, policy="")
        (house.folder / "policies" / "10-test.yaml").write_bytes(octets)

    return breaking


def tls(octets: bytes | None = None, mode: int = 0o600, **more: str) -> Break:
    """Give the listener TLS with this file."""
    return lambda house: [write_tls(house, octets, mode=mode), with_tls(house, **more)]


def then(*steps: Break) -> Break:
    """Do one after the other."""
    return lambda house: [step(house) for step in steps]


def without(name: str) -> Break:
    """Take a file away."""
    return lambda house: (house.folder / name).unlink()


def garbage(name: str) -> Break:
    """Put nonsense in its place."""
    return lambda house: (house.folder / name).write_bytes(b"garbage\n")


def open_to_all(name: str) -> Break:
    """Let everybody read a file."""
    return lambda house: (house.folder / name).chmod(0o644)


def key_of_another(house: House) -> None:
    """Write a key that belongs to no certificate."""
    write_private(house.folder / "other.key", private_key_pem())


def private_key_pem() -> bytes:
    return Pki.make().identity("carol@acme.example", key_kind="ec-p256").key_octets()


SERVER = tls_material().server
LOCKED = SERVER.certificate_pem + SERVER.key_octets(b"secret")
TRUSTED = SERVER.certificate_pem.replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE") + SERVER.key_octets()
NO_LISTENER = b"rules:\n  - name: x\n    match: {listener: userz}\n    then: pass\ndefault: pass\n"
YAML, POLICY, TLS = "gateway.yaml", "policies/10-test.yaml", "listeners.users.tls"
AT_TLS = "tls: {"

# What is done to the house; then the problem: its file, its line (or what stands there), its key, a word of its text.
BROKEN: dict[str, tuple[Break, str, str | int | None, str, str]] = {
    "no settings": (lambda _house: None, YAML, None, "", "No such file"),
    "settings not UTF-8": (put(YAML, b"identity: \xff\n"), YAML, None, "", "not UTF-8 at octet 10"),
    "settings that are no YAML": (put(YAML, b"a: [1\n"), YAML, 2, "", ""),
    "an unknown key": (
        settings("upstreams:", "upstraems: 1\nupstreams:"),
        YAML,
        "upstraems",
        "upstraems",
        "did you mean",
    ),
    "an upstream that is not": (
        settings("upstream: next", "upstream: nxet"),
        YAML,
        "upstream: nxet",
        "listeners.border.upstream",
        "did you mean 'next'",
    ),
    "no policies": (
        settings("policies: policies", "policies: x"),
        YAML,
        "policies:",
        "policies",
        "no such file or folder",
    ),
    "an empty folder of policies": (
        settings("policies: policies", "policies: keys"),
        YAML,
        "policies:",
        "policies",
        "no *.yaml",
    ),
    "a policy that is none": (policy(b"default: pass\nrules: 7\n"), POLICY, 2, "rules", ""),
    "a policy not UTF-8": (policy(b"default: \xff\n"), POLICY, None, "", "not UTF-8 at octet 9"),
    "a policy for a listener that is not": (policy(NO_LISTENER), POLICY, 3, "listener", "did you mean 'users'"),
    "no aliases": (aliases(None), "aliases.csv", None, "", "No such file"),
    "an alias that is none": (aliases("a@acme.example,b@acme.example\n\nnonsense,\n"), "aliases.csv", 3, "", ""),
    "a key that is none": (put("keys/carol.key", b"garbage"), "keys/carol.key", None, "", ""),
    "a key that all can read": (
        then(put("keys/carol.key", private_key_pem()), open_to_all("keys/carol.key")),
        "keys/carol.key",
        None,
        "",
        "lets others at it",
    ),
    "no folder of keys": (settings("folder: keys", "folder: kyes"), "kyes", None, "", "folder that exists"),
    "no certificate of TLS": (then(tls(), without(TLS_FILE)), YAML, AT_TLS, TLS, "tls.pem: No such file"),
    "a certificate of TLS that is none": (tls(b"garbage"), YAML, AT_TLS, TLS, "not usable"),
    "a certificate of TLS in a form of OpenSSL's own": (
        tls(TRUSTED),
        YAML,
        AT_TLS,
        TLS,
        "tls.pem: the file holds no certificate",
    ),
    "a key of TLS that all can read": (tls(mode=0o644), YAML, AT_TLS, TLS, "lets others at it"),
    "a key of TLS with a passphrase": (tls(LOCKED), YAML, AT_TLS, TLS, "not usable"),
    "no key of TLS": (tls(key="other.key"), YAML, AT_TLS, TLS, "other.key: No such file"),
    "a key of TLS of another": (then(tls(key="other.key"), key_of_another), YAML, AT_TLS, TLS, "MISMATCH"),
    "no CA of clients": (tls(client_ca="x.pem"), YAML, AT_TLS, TLS, "x.pem: No such file"),
    "a CA of clients that is none": (
        then(tls(client_ca=TLS_FILE), garbage("ca.pem")),
        YAML,
        "  ca: ca.pem",
        "upstreams.next.ca",
        "not usable",
    ),
}


@pytest.mark.parametrize(("breaking", "file", "line", "key", "text"), BROKEN.values(), ids=BROKEN)
def test_one_broken_file_is_one_problem(
    house: House, breaking: Break, file: str, line: str | int | None, key: str, text: str
) -> None:
    breaking(house)
    [problem] = problems_of(house)
    assert Path(problem.file) == house.folder / file
    assert problem.line == (line_of(house, line) if isinstance(line, str) else line)
    assert problem.key == key
    assert text in problem.text
    assert "\n" not in str(problem)


@pytest.mark.parametrize(("make", "text"), [(without("ca.pem"), "No such file"), (garbage("ca.pem"), "not usable")])
def test_a_ca_that_is_named_at_two_places_is_two_problems(house: House, make: Break, text: str) -> None:
    write_tls(house)
    with_tls(house)
    make(house)
    found = problems_of(house)
    assert [problem.key for problem in found] == ["listeners.users.tls", "upstreams.next.ca"]
    assert all(text in problem.text for problem in found)
    assert [problem.line for problem in found] == [line_of(house, AT_TLS), line_of(house, "  ca: ca.pem")]


def test_several_at_once(house: House) -> None:
    """Whoever mends files wants to know all that is wrong with them."""
    with_tls(house)
    text = house.settings.read_text()
    house.settings.write_text(text.replace("domains:", "aliases: aliases.csv\n  domains:", 1))
    (house.folder / "aliases.csv").write_text("nonsense\n")
    (house.folder / "keys" / "x.key").write_bytes(b"garbage")
    (house.folder / "ca.pem").unlink()
    found = problems_of(house)
    assert [Path(problem.file).name for problem in found] == ["aliases.csv", "gateway.yaml", "gateway.yaml", "x.key"]


def test_what_only_defers_mail_does_not_keep_from_starting(house: House) -> None:
    """An expired key, a broken certificate of somebody else, no anchors where a folder is named: told, and no more."""
    house.write(NEXT)
    pki = Pki.make()
    old = pki.identity("old@acme.example", not_before=now() - timedelta(days=9), not_after=now() - timedelta(days=1))
    old.pem_files(house.folder / "keys")
    (house.folder / "partners" / "x.crt").write_bytes(b"garbage")
    for anchor in (house.folder / "anchors").iterdir():
        anchor.unlink()
    loaded = load(house.settings, now)
    told = {Path(problem.file).name for problem in loaded.problems}
    assert {"old@acme.example.crt", "x.crt", "anchors"} <= told


def test_what_expires_soon_is_a_warning(house: House) -> None:
    house.write(NEXT)
    soon = house.acme.identity(
        "soon@acme.example", not_before=now() - timedelta(days=9), not_after=now() + timedelta(days=3)
    )
    soon.pem_files(house.folder / "keys")
    loaded = load(house.settings, now)
    assert loaded.problems == ()
    assert [Path(warning.file).name for warning in loaded.warnings] == ["soon@acme.example.crt"]
