"""A gateway that cannot start says why: one line for each problem, with file and line, and no traceback.

``serve`` and ``check`` find the same, since they read the same; what only listening shows, ``check`` cannot see.
"""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.cli import Done, cli, cli_process
from tests.support.house import House
from tests.support.process import GatewayProcess

pytestmark = pytest.mark.e2e

ALICE, CAROL = "alice@acme.example", "carol@bank.example"
NOBODY = ("127.0.0.1", 9)
"""An upstream that is never asked."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A company whose settings are good."""
    house = House(tmp_path)
    house.write(NOBODY)
    return house


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def line_of(house: House, text: str) -> int:
    """Return the number of the first line of the settings that has this text."""
    lines = house.settings.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


# ---------------------------------------------------------------- what serve and check find alike


def key_that_is_none(house: House) -> list[str]:
    file = house.folder / "keys" / f"{ALICE}.key"
    file.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    return [rf"{file}: not a readable private key"]


def key_that_cannot_be_read(house: House) -> list[str]:
    file = house.folder / "keys" / f"{ALICE}.key"
    file.unlink()
    # Nobody can read its first octet, not even root.
    file.symlink_to("/proc/self/mem")
    return [rf"{file}: Input/output error"]


def key_that_others_can_read(house: House) -> list[str]:
    file = house.folder / "keys" / f"{ALICE}.key"
    file.chmod(0o644)
    return [rf"{file}: mode 0644 lets others at it; chmod 06\d0 .*"]


def key_with_a_passphrase_that_is_missing(house: House) -> list[str]:
    file = house.people[ALICE].pem_files(house.folder / "keys", passphrase=b"secret").key
    (house.folder / "keys" / f"{ALICE}.pass").unlink()
    return [rf"{file}: the private key is encrypted: its passphrase is needed"]


def key_folder_that_is_missing(house: House) -> list[str]:
    shutil.rmtree(house.folder / "keys")
    return [rf"{house.folder}/keys: No such file or directory: .*"]


def unknown_key(house: House) -> list[str]:
    replace(house.settings, "policies:", "polices:")
    line = line_of(house, "polices:")
    return [
        rf"{house.settings}:1: policies: required key 'policies' is missing",
        rf"{house.settings}:{line}: polices: unknown key 'polices'; did you mean 'policies'\?",
    ]


def unknown_key_of_a_policy(house: House) -> list[str]:
    rule = "rules:\n  - name: all\n    match: {direction: outbound}\n    then: {encript: required}\ndefault: pass\n"
    house.write(NOBODY, policy=rule)
    file = house.folder / "policies" / "10-test.yaml"
    return [rf"{file}:4: rules\.0\.then\.encript: unknown key 'encript'; did you mean 'encrypt'\?"]


def broken_yaml(house: House) -> list[str]:
    house.settings.write_text(house.settings.read_text() + "reports: {upstream: next\nlimits: {}\n")
    last = len(house.settings.read_text().splitlines())
    return [rf"{house.settings}:{last}: broken YAML: .*"]


def unknown_upstream(house: House) -> list[str]:
    replace(house.settings, "upstream: next", "upstream: nxt")
    numbers = [number for number, text in enumerate(house.settings.read_text().splitlines(), 1) if "nxt" in text]
    name = r"upstream: there is no upstream 'nxt'; did you mean 'next'\?"
    return [rf"{house.settings}:{number}: listeners\.\w+\.{name}" for number in numbers]


def missing_policy(house: House) -> list[str]:
    shutil.rmtree(house.folder / "policies")
    line = line_of(house, "policies:")
    return [rf"{house.settings}:{line}: policies: {house.folder}/policies: no such file or folder"]


def empty_policy_folder(house: House) -> list[str]:
    missing_policy(house)
    (house.folder / "policies").mkdir()
    return [rf"{house.settings}:{line_of(house, 'policies:')}: policies: no \*\.yaml in .*"]


def policy_that_gives_way(house: House) -> list[str]:
    rule = "  - name: all\n    match: {direction: outbound}\n    then: {encrypt: required, no_certificate: clear}\n"
    house.write(NOBODY, policy=f"rules:\n{rule}default: pass\n")
    return [rf"{house.folder}/policies/10-test\.yaml:4: rules\.0\.then\.no_certificate: .*"]


def tls_without_files(house: House) -> list[str]:
    house.write(NOBODY, listeners={"users": {"tls": {"mode": "required", "certificate": "tls.pem"}}})
    return [rf"{house.settings}:\d+: listeners\.users\.tls: {house.folder}/tls\.pem: No such file or directory"]


def ca_without_file(house: House) -> list[str]:
    house.write(NOBODY, upstream_options={"tls": "verified", "ca": "nobody.pem"})
    return [rf"{house.settings}:\d+: upstreams\.next\.ca: {house.folder}/nobody\.pem: No such file or directory"]


def broken_aliases(house: House) -> list[str]:
    (house.folder / "aliases.csv").write_text("alias,mailbox\nsales@acme.example,alice@acme.example\nno address,x\n")
    house.write(NOBODY, internal={"domains": ["acme.example"], "aliases": "aliases.csv"})
    return [rf"{house.folder}/aliases\.csv:3: expected alias,mailbox: two mail addresses"]


def settings_that_are_missing(house: House) -> list[str]:
    house.settings.unlink()
    return [rf"{house.settings}: No such file or directory"]


def settings_that_are_no_text(house: House) -> list[str]:
    house.settings.write_bytes(b"identity: \xff\xfe\n")
    return [rf"{house.settings}: not UTF-8 at octet 10"]


def settings_that_are_empty(house: House) -> list[str]:
    house.settings.write_text("")
    required = ("identity", "internal", "listeners", "upstreams", "policies")
    return [rf"{house.settings}:1: {name}: required key '{name}' is missing" for name in required]


BROKEN: list[Callable[[House], list[str]]] = [
    key_that_is_none,
    key_that_cannot_be_read,
    key_that_others_can_read,
    key_with_a_passphrase_that_is_missing,
    key_folder_that_is_missing,
    unknown_key,
    unknown_key_of_a_policy,
    broken_yaml,
    unknown_upstream,
    missing_policy,
    empty_policy_folder,
    policy_that_gives_way,
    tls_without_files,
    ca_without_file,
    broken_aliases,
    settings_that_are_missing,
    settings_that_are_no_text,
    settings_that_are_empty,
]


def assert_told(done: Done, prefix: str, expected: list[str]) -> None:
    """Exit status 1, and exactly these lines on standard error."""
    assert done.status == 1, done
    assert done.out == b""
    assert len(done.errors) == len(expected), done.err
    for line, pattern in zip(done.errors, expected, strict=True):
        assert re.fullmatch(prefix + pattern, line), f"{line!r} is not {pattern!r}"


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__.replace("_", " "))
def test_serve_and_check_tell_the_same(house: House, make: Callable[[House], list[str]]) -> None:
    """One line for each problem, the same from both."""
    expected = make(house)

    assert_told(cli_process("serve", "-c", house.settings), "smime-gateway: ", expected)
    assert_told(cli("check", "-c", house.settings), "error: ", expected)


# ---------------------------------------------------------------- what only listening shows


def test_a_port_in_use(house: House) -> None:
    """By whomever: the listener's key, the address, and the system's reason."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        house.write(NOBODY, listeners={"users": {"listen": address}})
        line = line_of(house, address)
        told = rf"{house.settings}:{line}: listeners\.users\.listen: cannot listen on {address}: Address already in use"

        assert_told_and_no_more(cli_process("serve", "-c", house.settings), told)


def test_a_port_in_use_by_another_gateway(house: House, tmp_path: Path) -> None:
    """Its workers share it among themselves, and with nobody else; it goes on."""
    with GatewayProcess(house.settings) as first:
        address = f"127.0.0.1:{first.port('users')}"
        other = House(tmp_path / "other")
        other.write(NOBODY, listeners={"users": {"listen": address}})
        told = rf"{other.settings}:\d+: listeners\.users\.listen: cannot listen on {address}: Address already in use"

        assert_told_and_no_more(cli_process("serve", "-c", other.settings), told)
        assert first.get("/readyz")[0] == 200


def test_a_metrics_port_in_use(house: House) -> None:
    """The same for the page of metrics."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        house.write(NOBODY, metrics={"listen": address})
        told = rf"{house.settings}:\d+: metrics\.listen: cannot listen on {address}: Address already in use"

        assert_told_and_no_more(cli_process("serve", "-c", house.settings), told)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_start_ends_the_start(house: House, workers: int) -> None:
    """A state folder that is a file: said by the worker that needs it, and the process ends."""
    (house.folder / "state").write_text("")
    house.write(NOBODY, workers=workers)

    done = cli_process("serve", "-c", house.settings)

    assert done.status == 1
    assert "Traceback" not in done.err
    plain = {line for line in done.errors if not line.startswith("{")}
    assert plain == {
        told
        for name in ("w1", "w2")[:workers]
        for told in (
            f"smime-gateway: worker {name}: {house.folder}/state/secret: cannot be made: File exists",
            f"smime-gateway: worker {name} ended with exit 1 before it listened",
        )
    }


def assert_told_and_no_more(done: Done, told: str) -> None:
    assert_told(done, "smime-gateway: ", [told])


# ---------------------------------------------------------------- what is good, or only to be looked at


def test_check_of_good_settings(house: House) -> None:
    """One line that counts what was found."""
    done = cli("check", "-c", house.settings)

    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(
        rf"{house.settings}: good\. 2 listeners, 1 upstreams, 4 rules, 2 own keys, "
        r"2 certificates of others, 2 anchors\n",
        done.text,
    )


def mint_again(house: House, address: str, *, days: int) -> Path:
    """Replace somebody's certificate by one that ends in so many days; return its file."""
    end = datetime.now(UTC) + timedelta(days=days)
    pki, folder = (house.acme, "keys") if address.endswith("acme.example") else (house.partner, "partners")
    issued = pki.identity(address, not_before=end - timedelta(days=90), not_after=end)
    file = house.folder / folder / f"{address}.crt"
    if folder == "keys":
        issued.pem_files(house.folder / folder)
    else:
        file.write_bytes(issued.certificate_pem + issued.chain_pem)
    return file


def test_check_names_an_expired_signing_key(house: House) -> None:
    """It does not keep the gateway from starting, and has to be repaired: exit 1."""
    file = mint_again(house, ALICE, days=-2)

    expected = rf"{file}: the signing certificate of {ALICE} has expired on .*"
    assert_told(cli("check", "-c", house.settings), "error: ", [expected])


def test_check_names_a_missing_signing_key(house: House) -> None:
    """A certificate of ours without its key."""
    (house.folder / "keys" / f"{ALICE}.key").unlink()

    expected = rf"{house.folder}/keys/{ALICE}\.crt: the certificate of CN=alice has no private key in this folder"
    assert_told(cli("check", "-c", house.settings), "error: ", [expected])


@pytest.mark.parametrize("address", [ALICE, CAROL])
def test_check_warns_of_what_expires_soon(house: House, address: str) -> None:
    """Thirty days before: a warning, exit 0."""
    file = mint_again(house, address, days=10)

    done = cli("check", "-c", house.settings)

    assert done.status == 0
    [line] = done.errors
    assert re.fullmatch(rf"warning: {file}: the (signing )?certificate of .* expires on \d{{4}}-\d\d-\d\d", line)
