"""Exit statuses: 0 good, 1 a negative answer or a failure, 2 wrong usage, 3 input that is not readable as mail.

One table over all commands, inside this process. Whoever asks wrongly gets lines on standard error, none of them a
traceback, and nothing on standard output.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway import __version__
from gateway.address import Address
from gateway.cli.files import Usage, parse_address, parse_moment, read_mail, words
from tests.support.cli import cli
from tests.support.house import House
from tests.support.letters import Letter

ALICE, CAROL = "alice@acme.example", "carol@bank.example"
MAIL = Letter.plain(sender=ALICE, to=CAROL).octets


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A company; :data:`TABLE` names its files by what stands in braces."""
    made = House(tmp_path_factory.mktemp("house"), key_kind="ec-p256")
    made.write(("192.0.2.1", 25))
    (made.folder / "plain.eml").write_bytes(MAIL)
    (made.folder / "broken.yaml").write_text("listeners: 7\n")
    (made.folder / "garbage").write_bytes(b"garbage")
    (made.folder / "empty").mkdir()
    refusing = made.folder / "refusing"
    refusing.mkdir()
    (refusing / "policy.yaml").write_text("default: reject\n")
    text = made.settings.read_text()
    (made.folder / "refusing.yaml").write_text(text.replace("policies: policies", "policies: refusing/policy.yaml"))
    late = 'rules:\n  - {name: spam, match: {subject: "*x*"}, then: reject}\ndefault: pass\n'
    (refusing / "late.yaml").write_text(late)
    (made.folder / "late.yaml").write_text(text.replace("policies: policies", "policies: refusing/late.yaml"))
    return made


CONFIG = ("-c", "{gateway.yaml}")
REFUSING = ("-c", "{refusing.yaml}")
WHO = ("--from", ALICE, "--to", CAROL)
SIGNER = ("--signer", "{keys/alice@acme.example.key}", "--signer", "{keys/alice@acme.example.crt}")
KEYS = tuple(one.replace("--signer", "--key") for one in SIGNER)
GENERATE = ("certs", "generate", "--email", ALICE, "--key", "ec-p256")
ANCHORS = ("--anchors", "{anchors}")
PARTNER = "{partners/carol@bank.example.crt}"

TABLE: dict[str, tuple[int, Sequence[str], bytes]] = {
    "version": (0, ["--version"], b""),
    "help": (0, ["--help"], b""),
    "help of a command": (0, ["message", "sign", "-h"], b""),
    "nothing asked": (2, [], b""),
    "no such command": (2, ["nonsense"], b""),
    "serve without settings": (2, ["serve"], b""),
    "serve with broken ones": (1, ["serve", "-c", "{broken.yaml}"], b""),
    "check, good": (0, ["check", *CONFIG], b""),
    "check, broken": (1, ["check", "-c", "{broken.yaml}"], b""),
    "check, not there": (1, ["check", "-c", "{nowhere.yaml}"], b""),
    "why, no such transaction": (1, ["why", "0123456789abcdef", *CONFIG], b""),
    "explain, decided": (0, ["policy", "explain", *CONFIG, *WHO, "--header", "Subject: x"], b""),
    "explain, decided by a message": (0, ["policy", "explain", *CONFIG, *WHO, "--message", "{plain.eml}"], b""),
    "explain, JSON": (0, ["policy", "explain", *CONFIG, *WHO, "--json", "--message", "{plain.eml}"], b""),
    "explain, a fact is missing": (1, ["policy", "explain", "-c", "{late.yaml}", *WHO], b""),
    "explain, the null reverse-path": (0, ["policy", "explain", *CONFIG, "--from", "<>", "--to", ALICE], b""),
    "explain, no such listener": (2, ["policy", "explain", *CONFIG, *WHO, "--listener", "x"], b""),
    "explain, no address": (2, ["policy", "explain", *CONFIG, "--from", "alice", "--to", CAROL], b""),
    "explain, no field": (2, ["policy", "explain", *CONFIG, *WHO, "--header", "nonsense"], b""),
    "explain, no mail": (3, ["policy", "explain", *CONFIG, *WHO, "--message", "{garbage}"], b""),
    "policy test, good": (0, ["policy", "test", "{policies}"], b""),
    "policy test, no tables": (1, ["policy", "test", "{refusing}"], b""),
    "policy test, nowhere": (2, ["policy", "test", "{nowhere}"], b""),
    "inspect": (0, ["message", "inspect"], MAIL),
    "inspect a file": (0, ["message", "inspect", "{plain.eml}", "--json"], b""),
    "inspect, no such file": (3, ["message", "inspect", "{nowhere.eml}"], b""),
    "inspect, no mail": (3, ["message", "inspect"], b"garbage"),
    "inspect, mixed line ends": (3, ["message", "inspect"], b"Subject: x\r\n\r\na\nb\r\n"),
    "inspect, a NUL": (3, ["message", "inspect"], b"Subject: x\r\n\r\na\0b\r\n"),
    "sign": (0, ["message", "sign", *SIGNER], MAIL),
    "sign, no key": (2, ["message", "sign", "--signer", "{keys/alice@acme.example.crt}"], MAIL),
    "sign, no such file": (2, ["message", "sign", "--signer", "{nowhere}"], MAIL),
    "sign, no such digest": (2, ["message", "sign", *SIGNER, "--digest", "md5"], MAIL),
    "sign, no mail": (3, ["message", "sign", *SIGNER], b"garbage"),
    "encrypt": (0, ["message", "encrypt", "--recipient", PARTNER], MAIL),
    "encrypt, to a CA only": (2, ["message", "encrypt", "--recipient", "{anchors/acme.pem}"], MAIL),
    "encrypt, no such cipher": (2, ["message", "encrypt", "--recipient", PARTNER, "--cipher", "des"], MAIL),
    "encrypt, no certificate": (2, ["message", "encrypt", "--recipient", "{garbage}"], MAIL),
    "encrypt, no mail": (3, ["message", "encrypt", "--recipient", PARTNER], b"garbage"),
    "decrypt what is not encrypted": (1, ["message", "decrypt", *KEYS], MAIL),
    "decrypt, no key": (2, ["message", "decrypt", "--key", "{garbage}"], MAIL),
    "decrypt, no mail": (3, ["message", "decrypt", "--key", "{garbage}"], b"garbage"),
    "verify what is not signed": (1, ["message", "verify", *ANCHORS], MAIL),
    "verify, no anchors": (2, ["message", "verify"], MAIL),
    "verify, an empty folder of anchors": (2, ["message", "verify", "--anchors", "{empty}"], MAIL),
    "verify, no moment": (2, ["message", "verify", *ANCHORS, "--moment", "yesterday"], MAIL),
    "verify, a moment of nowhere": (2, ["message", "verify", *ANCHORS, "--moment", "2026-06-01T12:00:00"], MAIL),
    "verify, no sender": (2, ["message", "verify", *ANCHORS, "--sender", "alice"], MAIL),
    "verify, no list": (2, ["message", "verify", *ANCHORS, "--crl", "{garbage}"], MAIL),
    "verify, no such list": (2, ["message", "verify", *ANCHORS, "--crl", "{nowhere}"], MAIL),
    "verify, no mail": (3, ["message", "verify", *ANCHORS], b"garbage"),
    "process, accepted": (0, ["message", "process", *CONFIG, *WHO, "--listener", "users"], MAIL),
    "process, refused": (1, ["message", "process", *REFUSING, *WHO, "--json"], MAIL),
    "process, broken settings": (1, ["message", "process", "-c", "{broken.yaml}", *WHO], MAIL),
    "process, no such listener": (2, ["message", "process", *CONFIG, *WHO, "--listener", "x"], MAIL),
    "process, no client": (2, ["message", "process", *CONFIG, *WHO, "--client", "localhost"], MAIL),
    "process, no address": (2, ["message", "process", *CONFIG, "--from", ALICE, "--to", "dave"], MAIL),
    "process, nobody": (2, ["message", "process", *CONFIG, "--from", ALICE], MAIL),
    "process, no mail": (3, ["message", "process", *CONFIG, *WHO], b"garbage"),
    "certs list": (0, ["certs", "list", *CONFIG], b""),
    "certs show": (0, ["certs", "show", PARTNER], b""),
    "certs show, JSON": (0, ["certs", "show", PARTNER, "--json"], b""),
    "certs show, none": (2, ["certs", "show", "{garbage}"], b""),
    "certs generate, over another": (2, [*GENERATE, "-o", "{keys}"], b""),
    "certs generate, for nobody": (2, ["certs", "generate", "-o", "{empty}", "--email", "alice"], b""),
    "certs generate, no issuer": (2, [*GENERATE, "-o", "{empty}", "--ca", "{garbage}"], b""),
    "certs generate, an issuer without key": (2, [*GENERATE, "-o", "{empty}", "--ca", "{anchors/acme.pem}"], b""),
    "certs generate, no passphrase": (
        2,
        [*GENERATE, "-o", "{empty}", "--ca", PARTNER, "--passphrase-file", "{nowhere}"],
        b"",
    ),
}


def named(house: House, argument: str) -> str:
    """Put a file of the house in place of its name in braces."""
    is_file = argument.startswith("{") and argument.endswith("}")
    return str(house.folder / argument[1:-1]) if is_file else argument


@pytest.mark.parametrize(("status", "arguments", "stdin"), TABLE.values(), ids=TABLE)
def test_exit_status(house: House, status: int, arguments: Sequence[str], stdin: bytes) -> None:
    before = sorted(house.folder.rglob("*"))
    done = cli(*(named(house, one) for one in arguments), stdin=stdin)
    assert done.status == status, done
    assert "Traceback" not in done.err
    if status == 0:
        assert done.out
    else:
        assert done.err or done.out
    if status in (2, 3):
        # Without any command the help is what was asked for.
        assert done.out == b"" or not arguments
    assert sorted(house.folder.rglob("*")) == before


def test_version() -> None:
    assert cli("--version").text == f"smime-gateway {__version__}\n"


# ---------------------------------------------------------------- the parts


MOMENTS = ["2026-06-01T12:00:00Z", "2026-06-01T14:00:00+02:00", "2026-06-01 12:00:00+00:00"]


@pytest.mark.parametrize("text", MOMENTS)
def test_moments(text: str) -> None:
    assert parse_moment(text).timestamp() == 1780315200


@pytest.mark.parametrize("text", ["", "now", "2026-06-01", "2026-06-01T12:00:00", "2026-13-01T12:00:00Z"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(Usage, match="--moment"):
        parse_moment(text)


def test_addresses() -> None:
    assert parse_address(ALICE) == Address(ALICE)
    with pytest.raises(Usage, match="alice: "):
        parse_address("alice")


@pytest.mark.parametrize(
    ("value", "text"), [(True, "yes"), (False, "no"), ([1, "a"], "1, a"), ([], ""), (7, "7"), ("x", "x")]
)
def test_values_for_people(value: object, text: str) -> None:
    assert words(value) == text


READ = {
    "CRLF": (b"Subject: x\r\n\r\nHello\r\n", b"Subject: x\r\n\r\nHello\r\n"),
    "LF": (b"Subject: x\n\nHello\n", b"Subject: x\r\n\r\nHello\r\n"),
    "fields only": (b"Subject: x\r\n", b"Subject: x\r\n"),
}


@pytest.mark.parametrize(("octets", "content"), READ.values(), ids=READ)
def test_mail_is_read_with_crlf(octets: bytes, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.eml"
    file.write_bytes(octets)
    assert read_mail(file) == content
