"""CRLs: what they say of a path, and that what they do not say is unknown, never good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CertificateError
from gateway.pkix import (
    PathReport,
    PathState,
    PathValidator,
    Purpose,
    RevocationState,
    load_certificate,
    load_crls,
    write_pem,
)
from tests.support.pki import MOMENT, Pki, issue_ca

PKI = Pki.make()
OTHER = Pki.make(name="Other", key_index=1)
ALICE = PKI.identity("alice@acme.example")
HOUR = timedelta(hours=1)
GOOD = PKI.issuing.crl()
GOOD_ABOVE = PKI.root.crl()
REVOKES = PKI.issuing.crl(revoked=[ALICE])
REVOKES_ABOVE = PKI.root.crl(revoked=[PKI.issuing])
STALE = PKI.issuing.crl(this_update=MOMENT - 3 * HOUR, next_update=MOMENT - HOUR)
STALE_REVOKES = PKI.issuing.crl(revoked=[ALICE], this_update=MOMENT - 3 * HOUR, next_update=MOMENT - HOUR)
EARLY = PKI.issuing.crl(this_update=MOMENT + HOUR, next_update=MOMENT + 3 * HOUR)
EARLY_REVOKES = PKI.issuing.crl(revoked=[ALICE], this_update=MOMENT + HOUR, next_update=MOMENT + 3 * HOUR)
LATER_REVOKES = PKI.issuing.crl(revoked=[ALICE], revoked_at=MOMENT + HOUR)
FORGED_GOOD = PKI.issuing.crl(signed_by=OTHER.issuing)
FORGED_REVOKES = PKI.issuing.crl(revoked=[ALICE], signed_by=OTHER.issuing)
STALE_ABOVE = PKI.root.crl(this_update=MOMENT - 3 * HOUR, next_update=MOMENT - HOUR)
FOREIGN = OTHER.issuing.crl(revoked=[ALICE])


def judge(crls: Sequence[bytes], *, moment: datetime = MOMENT) -> PathReport:
    """Judge Alice with these CRLs."""
    validator = PathValidator([load_certificate(PKI.root.certificate_der)])
    issuing = load_certificate(PKI.issuing.certificate_der)
    leaf = load_certificate(ALICE.certificate_der)
    return validator.validate(leaf, [issuing], moment=moment, purpose=Purpose.SIGN, crls=crls)


@pytest.mark.parametrize(
    ("crls", "revocation"),
    [
        ([], RevocationState.UNCHECKED),
        ([GOOD], RevocationState.GOOD),
        ([GOOD, GOOD_ABOVE], RevocationState.GOOD),
        ([REVOKES], RevocationState.REVOKED),
        ([GOOD, REVOKES_ABOVE], RevocationState.REVOKED),
        ([REVOKES_ABOVE], RevocationState.REVOKED),
        ([GOOD_ABOVE], RevocationState.UNKNOWN),
        ([FOREIGN], RevocationState.UNKNOWN),
        ([STALE], RevocationState.UNKNOWN),
        ([STALE_REVOKES], RevocationState.REVOKED),
        ([STALE_REVOKES, GOOD], RevocationState.GOOD),
        ([EARLY], RevocationState.UNKNOWN),
        ([EARLY_REVOKES], RevocationState.REVOKED),
        ([LATER_REVOKES], RevocationState.GOOD),
        ([FORGED_GOOD], RevocationState.UNKNOWN),
        ([FORGED_REVOKES], RevocationState.UNKNOWN),
        ([FORGED_REVOKES, GOOD], RevocationState.GOOD),
        ([GOOD, STALE_ABOVE], RevocationState.UNKNOWN),
        ([b"garbage"], RevocationState.UNKNOWN),
        ([b"garbage", GOOD], RevocationState.GOOD),
        ([GOOD[:-1]], RevocationState.UNKNOWN),
    ],
    ids=[
        "none",
        "good",
        "good-both",
        "revoked",
        "ca-revoked",
        "only-ca-revoked",
        "not-of-issuer",
        "foreign",
        "stale",
        "stale-condemns",
        "stale-beside-current",
        "early",
        "early-condemns",
        "revoked-later",
        "forged",
        "forged-revocation",
        "forged-beside-good",
        "stale-above",
        "garbage",
        "garbage-beside-good",
        "cut",
    ],
)
def test_what_crls_say(crls: Sequence[bytes], revocation: RevocationState) -> None:
    """The path's word follows only where something is revoked; unknown is left to policy."""
    report = judge(crls)
    assert report.revocation is revocation
    assert report.state is (PathState.REVOKED if revocation is RevocationState.REVOKED else PathState.VALID)
    silent = revocation in (RevocationState.GOOD, RevocationState.UNCHECKED)
    assert (report.reason == "") is silent


def test_a_path_that_does_not_hold_is_not_checked() -> None:
    """Revocation is asked for valid paths only."""
    report = judge([GOOD], moment=MOMENT + timedelta(days=3650))
    assert (report.state, report.revocation) == (PathState.EXPIRED, RevocationState.UNCHECKED)


def test_a_ca_without_crl_sign_answers_nothing() -> None:
    """RFC 5280 4.2.1.3: keyUsage without cRLSign."""
    from tests.support.pki import issue

    no_crls = issue("No CRL CA", issuer=PKI.root, key_index=1020, ca=True, key_usage=["keyCertSign"])
    leaf = PKI.identity("a@b.example", issuer=no_crls)
    validator = PathValidator([load_certificate(PKI.root.certificate_der)])
    report = validator.validate(
        load_certificate(leaf.certificate_der),
        [load_certificate(no_crls.certificate_der)],
        moment=MOMENT,
        purpose=Purpose.SIGN,
        crls=[no_crls.crl(revoked=[leaf])],
    )
    assert report.revocation is RevocationState.UNKNOWN


def test_kept_reports_know_no_crls() -> None:
    """A report without CRLs is no answer with them, whatever came first."""
    validator = PathValidator([load_certificate(PKI.root.certificate_der)])
    leaf, others = load_certificate(ALICE.certificate_der), [load_certificate(PKI.issuing.certificate_der)]
    for crls, state in (((), "valid"), ((REVOKES,), "revoked"), ((), "valid"), ((GOOD,), "valid")):
        report = validator.validate(leaf, others, moment=MOMENT, purpose=Purpose.SIGN, crls=crls)
        assert report.state == state


def test_crls_are_read_from_der_and_pem() -> None:
    """Told by content; several in one PEM file."""
    assert load_crls(GOOD) == (GOOD,)
    assert load_crls(write_pem("X509 CRL", GOOD) + write_pem("X509 CRL", REVOKES)) == (GOOD, REVOKES)


@pytest.mark.parametrize(
    "octets",
    [b"", b"garbage", ALICE.certificate_der, ALICE.certificate_pem, GOOD + b"x"],
    ids=["empty", "text", "certificate", "certificate-pem", "more"],
)
def test_what_is_no_crl_is_refused(octets: bytes) -> None:
    """With our exception."""
    with pytest.raises(CertificateError):
        load_crls(octets)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_changed_octet_acquits(place: int, change: int) -> None:
    """A damaged CRL never answers ``good``, and never raises."""
    octets = bytearray(GOOD)
    octets[place] ^= change
    assert judge([bytes(octets)]).revocation is not RevocationState.GOOD


def test_indirect_crls_are_not_taken_from_anybody() -> None:
    """A CRL by another CA under the same root says nothing about Alice."""
    neighbour = issue_ca("CN=Neighbour CA", issuer=PKI.root, key_index=21)
    assert judge([neighbour.crl(revoked=[ALICE])]).revocation is RevocationState.UNKNOWN
