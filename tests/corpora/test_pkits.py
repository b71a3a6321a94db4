"""NIST PKITS: path validation with policies, name constraints and CRLs, one signed message per test.

Every row is judged with the certificates and CRLs that its message carries, revocation required: what has to be valid
is ``valid`` and ``good``, what has to be invalid is not. The one deviation is stricter: DSA is not accepted in a path.
"""

from __future__ import annotations

import email
from datetime import UTC, datetime

import pytest

from gateway.cms import parse_signed_data
from gateway.errors import CertificateError
from gateway.pkix import Certificate, PathState, PathValidator, Purpose, RevocationState, load_certificate
from tests.support.corpora import CORPORA, corpus, expected_rows

pytestmark = pytest.mark.corpora
FOLDER = corpus("pkits")
MOMENT = datetime(2020, 1, 1, tzinfo=UTC)
ROWS = {file: (signer, "path VALID" in expected) for file, _, signer, expected in expected_rows("pkits")}
STRICTER = frozenset({"SignedValidDSASignaturesTest4.eml", "SignedValidDSAParameterInheritanceTest5.eml"})
"""Valid by the suite, refused here: DSA."""
VALIDATOR = PathValidator([load_certificate((FOLDER / "certs/TrustAnchorRootCertificate.crt").read_bytes())])


def read_all(ders: tuple[bytes, ...]) -> list[Certificate]:
    """Return the certificates that can be read."""
    found = []
    for der in ders:
        try:
            found.append(load_certificate(der))
        except CertificateError:
            continue
    return found


@pytest.mark.parametrize("file", ROWS)
def test_path(file: str) -> None:
    """The row's word."""
    signer, is_valid = ROWS[file]
    message = email.message_from_bytes((CORPORA / file).read_bytes())
    signature = message.get_payload()[1].get_payload(decode=True)  # type: ignore[index,union-attr]
    assert isinstance(signature, bytes)
    signed_data = parse_signed_data(signature)
    leaf = load_certificate((FOLDER / "certs" / signer).read_bytes())
    others = [one for one in read_all(signed_data.certificates) if one != leaf]
    report = VALIDATOR.validate(leaf, others, moment=MOMENT, purpose=Purpose.SIGN, crls=signed_data.crls)
    holds = report.state is PathState.VALID and report.revocation is RevocationState.GOOD
    if file.rpartition("/")[2] in STRICTER:
        assert report.state is PathState.POLICY
    else:
        assert holds is is_valid, f"{report.state} {report.revocation} {report.reason}"
