"""Certificates and the paths that lead from them to our trust anchors (RFC 5280, RFC 8550). Pure: no file, no clock."""

from gateway.pkix.certificate import Certificate, KeyKind, load_certificate, load_certificates
from gateway.pkix.issue import IssuedKey, KeyChoice, Profile, issue_certificate, load_issued_key
from gateway.pkix.path import PathReport, PathValidator
from gateway.pkix.pem import PemBlock, is_pem, read_pem, write_pem
from gateway.pkix.revocation import load_crls
from gateway.pkix.state import PathState, Purpose, RevocationState

__all__ = [
    "Certificate",
    "IssuedKey",
    "KeyChoice",
    "KeyKind",
    "PathReport",
    "PathState",
    "PathValidator",
    "PemBlock",
    "Profile",
    "Purpose",
    "RevocationState",
    "is_pem",
    "issue_certificate",
    "load_certificate",
    "load_certificates",
    "load_crls",
    "load_issued_key",
    "read_pem",
    "write_pem",
]
