"""Recipients' certificates: only what can be encrypted to, with a valid path now, and unknown is not absent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.address import Address
from gateway.lookup import Answer, Found, Nothing, Unavailable
from gateway.pkix import PathValidator, load_certificate
from gateway.smime import RecipientCertificate
from gateway.stores import FolderCertificates
from gateway.transaction.ports import RecipientCertificates
from tests.support.pki import MOMENT, NOT_AFTER, Issued, Pki, issue

PKI = Pki.make()
OTHER = Pki.make(name="Other", key_index=1)
BOB = PKI.identity("bob@partner.example")
DAY = timedelta(days=1)


def write(folder: Path, *issued: Issued, names: Sequence[str] = ()) -> Path:
    """Write certificates, and the issuing CA beside them."""
    folder.mkdir(exist_ok=True)
    for place, one in enumerate(issued):
        name = names[place] if place < len(names) else f"{place}.pem"
        (folder / name).write_bytes(one.certificate_pem)
    (folder / "issuing.der").write_bytes(PKI.issuing.certificate_der)
    return folder


def load(*folders: Path, moment: datetime = MOMENT, anchors: Sequence[Issued] = (PKI.root,)) -> FolderCertificates:
    """Load at a fixed moment."""
    validator = PathValidator([load_certificate(one.certificate_der) for one in anchors])
    return FolderCertificates(folders, validator, now=lambda: moment)


def ask(store: RecipientCertificates, address: str) -> Answer[tuple[RecipientCertificate, ...]]:
    """Ask for the certificates of an address."""
    return asyncio.run(store.find_certificates(Address(address)))


def serials(answer: Answer[tuple[RecipientCertificate, ...]]) -> list[int]:
    """Return what was found."""
    assert isinstance(answer, Found), answer
    return [one.certificate.serial for one in answer.value]


@pytest.mark.parametrize("address", ["bob@partner.example", "BOB@Partner.Example"])
def test_a_recipient_is_found(tmp_path: Path, address: str) -> None:
    """Whatever the case; nothing is wrong, and key wrapping is prepared."""
    store = load(write(tmp_path, BOB))
    assert serials(ask(store, address)) == [BOB.serial]
    assert (store.problems, store.warnings) == ((), ())
    assert store.explain(Address(address)) == ()


def test_strangers_are_nothing(tmp_path: Path) -> None:
    """The folder was read, and there is none."""
    assert ask(load(write(tmp_path, BOB)), "carol@partner.example") == Nothing()


@pytest.mark.parametrize(
    ("issued", "reason"),
    [
        (PKI.identity("bob@partner.example", not_after=MOMENT - DAY), "expired"),
        (PKI.identity("bob@partner.example", not_before=MOMENT + DAY), "not-yet-valid"),
        (PKI.identity("bob@partner.example", key_usage=["digitalSignature"]), "key usage"),
        (PKI.identity("bob@partner.example", ext_key_usage=["serverAuth"]), "constraint"),
        (OTHER.identity("bob@partner.example"), "incomplete"),
        (PKI.identity("bob@partner.example", signed_by=OTHER.root), "invalid"),
        (issue("CN=bob", emails=["bob@partner.example"]), "untrusted"),
        (PKI.identity("bob@partner.example", key_kind="rsa-1024"), ""),
        (PKI.identity("bob@partner.example", key_kind="ec-p256"), ""),
    ],
    ids=["expired", "early", "usage", "purpose", "no-issuer", "forged", "self-signed", "small", "ec"],
)
def test_what_cannot_be_used_is_not_offered(tmp_path: Path, issued: Issued, reason: str) -> None:
    """The answer is nothing, the reason is kept for the log, and other certificates still count."""
    store = load(write(tmp_path / "bad", issued))
    assert ask(store, "bob@partner.example") == Nothing()
    (text,) = store.explain(Address("Bob@partner.example"))
    assert reason in text
    both = load(write(tmp_path / "both", issued, BOB))
    assert serials(ask(both, "bob@partner.example")) == [BOB.serial]
    assert len(both.explain(Address("bob@partner.example"))) == 1
    assert both.problems == ()


def test_an_end_entity_may_be_its_own_anchor(tmp_path: Path) -> None:
    """A self-signed certificate of a partner, trusted by name."""
    bob = issue("CN=bob", emails=["bob@partner.example"], ca=True, key_usage=["keyEncipherment", "keyCertSign"])
    store = load(write(tmp_path, bob), anchors=(bob,))
    assert serials(ask(store, "bob@partner.example")) == [bob.serial]


def test_the_best_comes_first(tmp_path: Path) -> None:
    """Valid longest first, however the files are called; the same certificate in two files is one."""
    short = PKI.identity("bob@partner.example", not_after=MOMENT + 60 * DAY, key_index=8)
    assert serials(ask(load(write(tmp_path, short, BOB, BOB)), "bob@partner.example")) == [BOB.serial, short.serial]


def test_domain_certificates(tmp_path: Path) -> None:
    """A file called by a domain is for everybody there, after personal ones, and for nobody below or beside it."""
    domain = PKI.identity("gateway@partner.example", key_index=8)
    store = load(write(tmp_path, domain, BOB, names=["@Partner.example.crt", "bob.pem"]))
    assert serials(ask(store, "anybody@PARTNER.example")) == [domain.serial]
    assert serials(ask(store, "bob@partner.example")) == [BOB.serial, domain.serial]
    assert ask(store, "bob@sub.partner.example") == Nothing()
    assert ask(store, "bob@notpartner.example") == Nothing()


@pytest.mark.parametrize("name", ["bob@partner.example.pem", "@partner.example.cer"])
def test_a_broken_file_with_a_known_name_is_unavailable(tmp_path: Path, name: str) -> None:
    """For those it was for, unless there is another."""
    folder = write(tmp_path)
    (folder / name).write_bytes(b"garbage")
    store = load(folder)
    assert isinstance(ask(store, "Bob@partner.example"), Unavailable)
    assert ask(store, "bob@other.example") == Nothing()
    assert name in str(store.problems[0])
    write(tmp_path, BOB)
    assert serials(ask(load(folder), "bob@partner.example")) == [BOB.serial]


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """What is not found elsewhere is unavailable."""
    store = load(write(tmp_path / "one", BOB), tmp_path / "missing")
    assert serials(ask(store, "bob@partner.example")) == [BOB.serial]
    assert isinstance(ask(store, "carol@partner.example"), Unavailable)
    assert len(store.problems) == 1


def test_the_clock_is_asked_at_each_look_up(tmp_path: Path) -> None:
    """A certificate ends while the gateway runs."""
    moments = [MOMENT]
    validator = PathValidator([load_certificate(PKI.root.certificate_der)])
    store = FolderCertificates([write(tmp_path, BOB)], validator, now=lambda: moments[-1])
    assert serials(ask(store, "bob@partner.example")) == [BOB.serial]
    moments.append(NOT_AFTER + DAY)
    assert ask(store, "bob@partner.example") == Nothing()


def test_warnings(tmp_path: Path) -> None:
    """What is not used, ends soon, or names nobody; a CA certificate is none of these."""
    nobody = PKI.identity(subject="CN=nobody")
    expired = PKI.identity("old@partner.example", not_after=MOMENT - DAY)
    soon = PKI.identity("soon@partner.example", not_after=MOMENT + DAY)
    store = load(write(tmp_path, nobody, expired, soon, names=["nobody.pem", "expired.pem", "soon.pem"]))
    found = {Path(warning.file).name: warning.text for warning in store.warnings}
    assert set(found) == {"nobody.pem", "expired.pem", "soon.pem"}
    assert "no mail address" in found["nobody.pem"]
    assert "is not used: expired" in found["expired.pem"]
    assert "expires on 2026-06-02" in found["soon.pem"]
