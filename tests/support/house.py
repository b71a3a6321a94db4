"""A company to put a gateway into: PKI of two organisations, key and partner folders, policies, ``gateway.yaml``.

    house = House(tmp_path)
    house.write(upstream=("127.0.0.1", sink.port))
    with GatewayProcess(house.settings) as gateway: ...

acme.example is ours: alice and bob have keys. bank.example is a partner: carol has a certificate, dave has none. The
clock of a process is the machine's, so everything here is valid from yesterday for a year.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.pki import Issued, KeyKind, Pki
from tests.support.process import ROOT

OWN = ("alice@acme.example", "bob@acme.example")
"""Who has keys in the gateway."""
PARTNERS = ("carol@bank.example", "erin@partner.example")
"""Who has a certificate there."""


class House:
    """A folder with everything; :meth:`write` makes ``gateway.yaml``."""

    def __init__(self, folder: Path, *, key_kind: KeyKind = "rsa-2048") -> None:
        """Mint the certificates and write the folders."""
        self.folder = folder
        self.settings = folder / "gateway.yaml"
        self.acme = Pki.make(name="Acme")
        self.partner = Pki.make(name="Bank", key_index=1)
        now = datetime.now(UTC)
        begin, end = now - timedelta(days=1), now + timedelta(days=365)
        self.people: dict[str, Issued] = {
            address: self.acme.identity(address, key_kind=key_kind, not_before=begin, not_after=end) for address in OWN
        }
        for address in PARTNERS:
            self.people[address] = self.partner.identity(address, not_before=begin, not_after=end)
        for address in OWN:
            self.people[address].pem_files(folder / "keys")
        for address in PARTNERS:
            (folder / "partners").mkdir(exist_ok=True)
            (folder / "partners" / f"{address}.crt").write_bytes(
                self.people[address].certificate_pem + self.people[address].chain_pem
            )
        self.acme.anchor_file(folder / "anchors", "acme.pem")
        self.partner.anchor_file(folder / "anchors", "bank.pem")
        shutil.copytree(ROOT / "policies", folder / "policies")

    def write(
        self,
        upstream: tuple[str, int],
        *,
        listeners: Mapping[str, Mapping[str, Any]] | None = None,
        policy: str | None = None,
        reports: bool = False,
        upstream_options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Path:
        """Write ``gateway.yaml``: one upstream, by default a proven listener ``users`` and an unproven ``border``."""
        if policy is not None:
            shutil.rmtree(self.folder / "policies")
            (self.folder / "policies").mkdir()
            (self.folder / "policies" / "10-test.yaml").write_text(policy)
        default: dict[str, Any] = {
            "users": {"sender_proof": {"networks": ["127.0.0.0/8"]}},
            "border": {"client": "queueing"},
        }
        host, port = upstream
        settings: dict[str, Any] = {
            "identity": {"hostname": "gw1.acme.example", "authserv_id": "smime.gw1.acme.example"},
            "internal": {"domains": ["acme.example"]},
            "listeners": {
                name: {"listen": "127.0.0.1:0", "upstream": "next", **options}
                for name, options in (listeners or default).items()
            },
            "upstreams": {"next": {"hosts": [f"{host}:{port}"], "tls": "none", **(upstream_options or {})}},
            "keys": [{"folder": "keys"}],
            "certificates": [{"folder": "partners"}],
            "anchors": {"default": "anchors"},
            "policies": "policies",
            "metrics": {"listen": "127.0.0.1:0"},
            **({"reports": {"upstream": "next"}} if reports else {}),
            **more,
        }
        yaml = YAML(typ="safe")
        # One value that stands at two places is written out at both: the gateway reads no anchors.
        yaml.representer.ignore_aliases = lambda _: True
        with self.settings.open("w") as file:
            yaml.dump(settings, file)
        return self.settings

    def anchors(self) -> Sequence[Path]:
        """Return the files of the trust anchors."""
        return sorted((self.folder / "anchors").iterdir())
