"""A throw-away house: certificates of two organisations, keys, anchors, settings; the policies are the shipped ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import gateway
from gateway.address import Address
from gateway.app.system import SystemClock
from gateway.pkix import Certificate, IssuedKey, KeyChoice, Profile, issue_certificate

OWN = ("alice@acme.example", "bob@acme.example")
"""Who has keys in the gateway."""
PARTNERS = ("carol@partner.example", "erin@partner.example")
"""Who has a certificate there."""
STRANGER = "mallory@partner.example"
"""Has a key that the gateway does not have."""

_SETTINGS = """\
# Made by 'smime-gateway demo'. docs/settings.md lists every key.
identity: {{hostname: gw1.acme.example, authserv_id: smime.gw1.acme.example}}
internal: {{domains: [acme.example]}}
listeners:
  users:  {{listen: "127.0.0.1:0", client: user, sender_proof: {{networks: ["127.0.0.0/8"]}}, upstream: mailboxes}}
  border: {{listen: "127.0.0.1:0", client: queueing, upstream: mailboxes}}
upstreams:
  mailboxes: {{hosts: ["127.0.0.1:{port}"], tls: none}}
keys: [{{folder: keys}}]
certificates: [{{folder: partners}}]
anchors: {{default: anchors}}
policies: policies
metrics: {{listen: "127.0.0.1:0"}}
workers: 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with a certificate; key and certificate as files for the cross-check."""

    address: str
    certificate: Certificate
    chain: tuple[Certificate, ...]
    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The folder of the demo."""

    folder: Path
    people: dict[str, Person]
    anchors_file: Path
    """Both roots in one file, for the cross-check."""

    @property
    def settings(self) -> Path:
        """``gateway.yaml``."""
        return self.folder / "gateway.yaml"

    def write_settings(self, upstream_port: int) -> None:
        """Write ``gateway.yaml`` for this upstream."""
        self.settings.write_text(_SETTINGS.format(port=upstream_port), encoding="utf-8")


def build_house(folder: Path) -> House:
    """Make everything; RSA-2048 throughout, so that it takes a second."""
    for name in ("keys", "partners", "anchors", "outside"):
        (folder / name).mkdir(parents=True)
    acme, partner = _Organisation("Acme"), _Organisation("Partner")
    people = {
        **{address: acme.person(address, folder / "keys") for address in OWN},
        **{address: partner.person(address, folder / "outside") for address in (*PARTNERS, STRANGER)},
    }
    for address in PARTNERS:
        _write_pem(folder / "partners" / f"{address}.crt", (people[address].certificate, *people[address].chain))
    for organisation in (acme, partner):
        _write_pem(folder / "anchors" / f"{organisation.name}.crt", (organisation.root,))
    _write_pem(folder / "outside" / "roots.crt", (acme.root, partner.root))
    shutil.copytree(shipped_policies(), folder / "policies")
    return House(folder=folder, people=people, anchors_file=folder / "outside" / "roots.crt")


def shipped_policies() -> Path:
    """Return the folder of the policies that come with the program: inside a wheel, or beside a checkout."""
    package = Path(gateway.__file__).parent
    inside = package / "shipped" / "policies"
    return inside if inside.is_dir() else package.parent / "policies"


class _Organisation:
    """A root, and an issuing CA below it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._moment = SystemClock().now() - timedelta(hours=1)
        self.root, root_key = self._issue(Profile.ROOT, f"{name} Root CA", None)
        self.issuing, self._issuing_key = self._issue(Profile.ISSUING_CA, f"{name} Issuing CA", (self.root, root_key))

    def person(self, address: str, folder: Path) -> Person:
        certificate, key = self._issue(
            Profile.END_ENTITY, "", (self.issuing, self._issuing_key), emails=[Address(address)]
        )
        certificate_file, key_file = folder / f"{address}.crt", folder / f"{address}.key"
        _write_pem(certificate_file, (certificate, self.issuing))
        key_file.touch(mode=0o600)
        key_file.write_bytes(key.pkcs8_pem())
        return Person(
            address=address,
            certificate=certificate,
            chain=(self.issuing,),
            certificate_file=certificate_file,
            key_file=key_file,
        )

    def _issue(
        self,
        profile: Profile,
        common_name: str,
        issuer: tuple[Certificate, IssuedKey] | None,
        emails: Sequence[Address] = (),
    ) -> tuple[Certificate, IssuedKey]:
        return issue_certificate(
            profile,
            moment=self._moment,
            days=365,
            common_name=common_name,
            organization=self.name,
            emails=emails,
            key_choice=KeyChoice.RSA_2048,
            issuer=issuer,
        )


def _write_pem(path: Path, certificates: Sequence[Certificate]) -> None:
    path.write_bytes(b"".join(one.pem() for one in certificates))
