"""What a connection proves about its client: TLS, a client certificate, a trusted network (law: no signing oracle)."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass

from gateway.envelope import TlsFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderProof:
    """What makes a client a trusted peer (law 9)."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    certificates: frozenset[str] = frozenset()
    """SHA-256 hex digests of client certificates."""
    any_certificate: bool = False
    """Whether every certificate that the listener's CA verified is one."""

    def judge(self, address: str, tls: TlsFacts | None) -> str:
        """Return ``client-certificate``, ``network`` or ``none``."""
        digest = tls.client_certificate_sha256 if tls else None
        if digest is not None and (self.any_certificate or digest in self.certificates):
            return "client-certificate"
        peer = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return "network" if any(peer in network for network in self.networks) else "none"


def tls_facts(transport: asyncio.Transport) -> TlsFacts:
    """Return what is known of the TLS of a server's connection, after its handshake."""
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    cipher = tls.cipher()
    # The context asks for a client certificate only where there is a CA to verify it: what is here is verified.
    certificate = tls.getpeercert(binary_form=True)
    return TlsFacts(
        version=tls.version() or "TLS",
        cipher=cipher[0] if cipher else "unknown",
        client_certificate_sha256=hashlib.sha256(certificate).hexdigest() if certificate else None,
    )
