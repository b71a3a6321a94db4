"""TLS for the tests' servers: one certificate for 127.0.0.1, valid now, with the CA over it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from tests.support.pki import issue, issue_ca, write_private


class TlsFiles(NamedTuple):
    """What :func:`write_tls_files` wrote."""

    server: Path
    """Key and certificate in one file, mode 0600."""
    ca: Path


def write_tls_files(folder: Path) -> TlsFiles:
    """Write ``tls.pem`` and ``tls-ca.pem``."""
    ca = issue_ca("CN=TLS CA", key_index=20)
    server = issue(
        "127.0.0.1",
        issuer=ca,
        other_names=[x509.IPAddress(ip_address("127.0.0.1"))],
        key_usage=("digitalSignature", "keyEncipherment"),
        ext_key_usage=("serverAuth",),
    )
    files = TlsFiles(folder / "tls.pem", folder / "tls-ca.pem")
    write_private(files.server, server.key_octets() + server.certificate_pem)
    files.ca.write_bytes(ca.certificate_pem)
    return files
