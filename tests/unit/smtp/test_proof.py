"""What a connection proves: the table of clients by what the settings trust (law 9: no signing oracle)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.envelope import TlsFacts
from gateway.smtp.proof import SenderProof

DIGEST, OTHER = "a" * 64, "b" * 64
LAN = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


def tls(digest: str | None) -> TlsFacts:
    """A session under TLS, with or without a client certificate."""
    return TlsFacts(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", client_certificate_sha256=digest)


NETWORKS = {
    "inside": ("192.0.2.7", "network"),
    "its first address": ("192.0.2.0", "network"),
    "its last address": ("192.0.2.255", "network"),
    "beside it": ("192.0.3.0", "none"),
    "IPv6 inside": ("2001:db8::1", "network"),
    "IPv6 beside it": ("2001:db9::1", "none"),
    "IPv4 on a socket of both kinds": ("::ffff:192.0.2.7", "network"),
    "IPv4 on a socket of both kinds, outside": ("::ffff:198.51.100.7", "none"),
    "a zone": ("fe80::1%eth0", "none"),
    "of which nothing is known": ("0.0.0.0", "none"),
}


@pytest.mark.parametrize(("address", "proof"), NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("facts", [None, tls(None), tls(DIGEST)], ids=["clear", "TLS", "TLS with a certificate"])
def test_networks(address: str, proof: str, facts: TlsFacts | None) -> None:
    """A certificate that nothing names proves nothing, and takes nothing away."""
    assert SenderProof(networks=LAN).judge(address, facts) == proof


CERTIFICATES = {
    "named": (frozenset({DIGEST}), False, DIGEST, "client-certificate"),
    "one of several": (frozenset({OTHER, DIGEST}), False, DIGEST, "client-certificate"),
    "another": (frozenset({OTHER}), False, DIGEST, "none"),
    "none shown": (frozenset({DIGEST}), False, None, "none"),
    "any": (frozenset(), True, DIGEST, "client-certificate"),
    "any, none shown": (frozenset(), True, None, "none"),
    "nothing asked for": (frozenset(), False, DIGEST, "none"),
}


@pytest.mark.parametrize(("known", "takes_any", "shown", "proof"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_certificates(known: frozenset[str], takes_any: bool, shown: str | None, proof: str) -> None:
    asked = SenderProof(certificates=known, any_certificate=takes_any)
    assert asked.judge("192.0.2.7", tls(shown)) == proof
    assert asked.judge("192.0.2.7", None) == "none"


def test_the_stronger_proof_is_named() -> None:
    asked = SenderProof(networks=LAN, certificates=frozenset({DIGEST}))
    assert asked.judge("192.0.2.7", tls(DIGEST)) == "client-certificate"
    assert asked.judge("192.0.2.7", tls(OTHER)) == "network"
    assert asked.judge("198.51.100.7", tls(OTHER)) == "none"


def test_nothing_configured_proves_nothing() -> None:
    for address in ("127.0.0.1", "::1", "192.0.2.7"):
        for facts in (None, tls(None), tls(DIGEST)):
            assert SenderProof().judge(address, facts) == "none"
