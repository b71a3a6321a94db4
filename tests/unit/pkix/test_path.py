"""A path is valid or it has one word for why not; hostile certificates cost bounded work and never an exception."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CertificateError
from gateway.pkix import Certificate, PathReport, PathState, PathValidator, Purpose, RevocationState, load_certificate
from gateway.pkix.path import MAX_PATHS, MAX_REPORTS
from gateway.pkix.search import MAX_STEPS, Search, index_anchors, index_by_subject
from tests.support.pki import CA_KEYS, MOMENT, NOT_AFTER, NOT_BEFORE, Issued, Pki, issue, issue_ca

PKI = Pki.make()
OTHER = Pki.make(name="Other", key_index=1)
ALICE = PKI.identity("alice@acme.example")
DAY = timedelta(days=1)


def view(issued: Issued) -> Certificate:
    """Return a minted certificate as the code under test sees it."""
    return load_certificate(issued.certificate_der)


def judge(
    leaf: Issued,
    others: Sequence[Issued] = (PKI.issuing,),
    anchors: Sequence[Issued] = (PKI.root,),
    *,
    moment: datetime = MOMENT,
    purpose: Purpose = Purpose.SIGN,
) -> PathReport:
    """Judge with a fresh validator."""
    validator = PathValidator([view(anchor) for anchor in anchors])
    return validator.validate(view(leaf), [view(one) for one in others], moment=moment, purpose=purpose)


def constrained(*, permitted: Sequence[x509.GeneralName] = (), excluded: Sequence[x509.GeneralName] = ()) -> Issued:
    """Return an issuing CA with name constraints."""
    constraints = x509.NameConstraints(permitted or None, excluded or None)
    return issue_ca("Constrained CA", issuer=PKI.root, key_index=7, name_constraints=constraints)


def mail(base: str) -> x509.RFC822Name:
    """Return an rfc822Name as constraints carry it: not always an address."""
    return x509.RFC822Name._init_without_validation(base)


# -- what is valid ----------------------------------------------------------------------------------------------------


def test_an_ordinary_path() -> None:
    """End entity, issuing CA, root: in this order, and revocation was not asked."""
    report = judge(ALICE)
    assert report.state is PathState.VALID
    assert report.reason == ""
    assert report.revocation is RevocationState.UNCHECKED
    assert report.path == (view(ALICE), view(PKI.issuing), view(PKI.root))


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("kind", ["rsa-2048", "rsa-3072", "ec-p256", "ec-p384"])
def test_both_purposes_with_every_kind_of_key(purpose: Purpose, kind: str) -> None:
    """What the tests' PKI calls an S/MIME certificate is one."""
    leaf = PKI.identity("kinds@acme.example", key_kind=kind)  # type: ignore[arg-type]
    assert judge(leaf, purpose=purpose).state is PathState.VALID


@pytest.mark.parametrize(
    ("anchors", "length"),
    [((PKI.root,), 3), ((PKI.issuing,), 2), ((ALICE,), 1), ((OTHER.root, PKI.issuing, PKI.root), 2)],
    ids=["root", "intermediate", "itself", "several"],
)
def test_what_an_anchor_may_be(anchors: Sequence[Issued], length: int) -> None:
    """Any CA certificate ends the path, and an end-entity certificate is an anchor for itself."""
    report = judge(ALICE, anchors=anchors)
    assert (report.state, len(report.path)) == (PathState.VALID, length)


def test_an_end_entity_anchor_issues_nothing() -> None:
    """Trusting a person is not trusting what the person's key signs."""
    forged = issue("CN=bob", issuer=ALICE, emails=["bob@acme.example"], key_index=3, ext_key_usage=["emailProtection"])
    assert judge(forged, others=(ALICE,), anchors=(ALICE,)).state is PathState.INCOMPLETE


def test_a_cross_certificate_leads_to_the_other_root() -> None:
    """The same CA key under two roots: whichever is trusted."""
    cross = issue(
        PKI.root.certificate.subject,
        issuer=OTHER.root,
        key_index=CA_KEYS,
        ca=True,
        key_usage=["keyCertSign", "cRLSign"],
    )
    report = judge(ALICE, others=(PKI.issuing, cross, PKI.root), anchors=(OTHER.root,))
    assert report.state is PathState.VALID
    assert [one.subject for one in report.path][-1] == "CN=Other Root CA,O=Other"


def test_noise_does_not_hide_a_path() -> None:
    """Certificates of the same names with other keys are passed over, whatever stands first."""
    noise = [
        issue_ca("CN=Acme Issuing CA,O=Acme", issuer=OTHER.root, key_index=20 + index, key_kind="ec-p256")
        for index in range(3)
    ]
    assert judge(ALICE, others=(*noise, PKI.issuing)).state is PathState.VALID


# -- what is not ------------------------------------------------------------------------------------------------------

WEAK_ROOT = issue_ca("Weak Root", key_kind="rsa-1024")
SHORT = issue_ca("Short CA", issuer=PKI.root, key_index=5, path_length=0)
BELOW_SHORT = issue_ca("Below Short CA", issuer=SHORT, key_index=6)
SHORT_ROOT = issue_ca("Short Root", key_index=8, path_length=0)
BELOW_SHORT_ROOT = issue_ca("Below Short Root", issuer=SHORT_ROOT, key_index=9)
NO_SIGN = issue("No Sign CA", issuer=PKI.root, key_index=1010, ca=True, key_usage=["cRLSign"])
TLS_CA = issue_ca("TLS CA", issuer=PKI.root, key_index=11, ext_key_usage=["serverAuth"])
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
NO_POLICY = issue_ca(
    "Policy CA",
    issuer=PKI.root,
    key_index=12,
    policies=["1.2.3.1"],
    extensions=[(x509.PolicyConstraints(0, None), True)],
)
EXPIRED_CA = issue_ca("Expired CA", issuer=PKI.root, key_index=13, not_after=MOMENT - DAY)
EXPIRED_ROOT = issue_ca("Expired Root", key_index=14, not_after=MOMENT - DAY)
CASES: dict[str, tuple[PathState, str, Callable[[], PathReport]]] = {
    "no-issuer": (PathState.INCOMPLETE, "not found", lambda: judge(ALICE, others=())),
    "no-anchors": (PathState.UNTRUSTED, "ends in", lambda: judge(ALICE, others=(PKI.issuing, PKI.root), anchors=())),
    "no-root-sent": (PathState.INCOMPLETE, "Acme Root", lambda: judge(ALICE, anchors=(OTHER.root,))),
    "other-root": (
        PathState.UNTRUSTED,
        "Acme Root",
        lambda: judge(ALICE, others=(PKI.issuing, PKI.root), anchors=(OTHER.root,)),
    ),
    "self-signed": (PathState.UNTRUSTED, "ends in", lambda: judge(issue("CN=x", emails=["x@y.example"]), others=())),
    "expired": (PathState.EXPIRED, "expired", lambda: judge(PKI.identity("a@b.example", not_after=MOMENT - DAY))),
    "expired-ca": (
        PathState.EXPIRED,
        "intermediate",
        lambda: judge(PKI.identity("a@b.example", issuer=EXPIRED_CA), others=(EXPIRED_CA,)),
    ),
    "expired-anchor": (
        PathState.EXPIRED,
        "anchor",
        lambda: judge(PKI.identity("a@b.example", issuer=EXPIRED_ROOT), anchors=(EXPIRED_ROOT,)),
    ),
    "not-yet": (PathState.NOT_YET_VALID, "until", lambda: judge(PKI.identity("a@b.example", not_before=MOMENT + DAY))),
    "not-yet-anchor": (PathState.NOT_YET_VALID, "not valid until", lambda: judge(ALICE, moment=NOT_BEFORE - DAY)),
    "expired-itself": (PathState.EXPIRED, "expired", lambda: judge(ALICE, anchors=(ALICE,), moment=NOT_AFTER + DAY)),
    "not-yet-itself": (
        PathState.NOT_YET_VALID,
        "until",
        lambda: judge(ALICE, anchors=(ALICE,), moment=NOT_BEFORE - DAY),
    ),
    "forged": (PathState.INVALID, "signature", lambda: judge(PKI.identity("a@b.example", signed_by=OTHER.issuing))),
    "forged-ca": (
        PathState.INVALID,
        "signature",
        lambda: judge(PKI.identity("a@b.example", issuer=_forged_ca()), others=(_forged_ca(),)),
    ),
    "not-a-ca": (
        PathState.CONSTRAINT,
        "not a CA",
        lambda: judge(issue("x", issuer=ALICE, emails=["x@y.example"]), others=(ALICE, PKI.issuing)),
    ),
    "path-length": (
        PathState.CONSTRAINT,
        "maximum path length",
        lambda: judge(PKI.identity("a@b.example", issuer=BELOW_SHORT), others=(SHORT, BELOW_SHORT)),
    ),
    "path-length-of-anchor": (
        PathState.CONSTRAINT,
        "maximum path length",
        lambda: judge(
            PKI.identity("a@b.example", issuer=BELOW_SHORT_ROOT), others=(BELOW_SHORT_ROOT,), anchors=(SHORT_ROOT,)
        ),
    ),
    "no-keyCertSign": (
        PathState.CONSTRAINT,
        "sign certificates",
        lambda: judge(PKI.identity("a@b.example", issuer=NO_SIGN), others=(NO_SIGN,)),
    ),
    "critical-extension": (
        PathState.CONSTRAINT,
        "critical",
        lambda: judge(PKI.identity("a@b.example", extensions=[(UNKNOWN, True)])),
    ),
    "key-usage": (
        PathState.CONSTRAINT,
        "4.4.2",
        lambda: judge(PKI.identity("a@b.example", key_usage=["keyEncipherment"])),
    ),
    "key-usage-encrypt": (
        PathState.CONSTRAINT,
        "4.4.2",
        lambda: judge(PKI.identity("a@b.example", key_usage=["digitalSignature"]), purpose=Purpose.ENCRYPT),
    ),
    "key-usage-itself": (PathState.CONSTRAINT, "4.4.2", lambda: _key_usage_itself()),
    "extended-key-usage": (
        PathState.CONSTRAINT,
        "4.4.4",
        lambda: judge(PKI.identity("a@b.example", ext_key_usage=["serverAuth"])),
    ),
    "extended-key-usage-of-ca": (
        PathState.CONSTRAINT,
        "issuer",
        lambda: judge(PKI.identity("a@b.example", issuer=TLS_CA), others=(TLS_CA,)),
    ),
    "policies": (
        PathState.POLICY,
        "set of policies",
        lambda: judge(PKI.identity("a@b.example", issuer=NO_POLICY, policies=["1.2.3.2"]), others=(NO_POLICY,)),
    ),
    "small-key": (PathState.POLICY, "1024 bits", lambda: judge(PKI.identity("a@b.example", key_kind="rsa-1024"))),
    "small-key-of-ca": (
        PathState.POLICY,
        "1024 bits",
        lambda: judge(PKI.identity("a@b.example", issuer=WEAK_ROOT), anchors=(WEAK_ROOT,)),
    ),
    "digest": (PathState.POLICY, "sha224", lambda: judge(_with_digest(hashes.SHA224()))),
}


def _forged_ca() -> Issued:
    return issue_ca("Forged CA", issuer=PKI.root, key_index=30, key_kind="ec-p256", signed_by=OTHER.root)


def _with_digest(digest: hashes.SHA224) -> Issued:
    return issue("x", issuer=PKI.issuing, emails=["x@y.example"], digest=digest)


def _key_usage_itself() -> PathReport:
    leaf = PKI.identity("a@b.example", key_usage=["keyEncipherment"])
    return judge(leaf, anchors=(leaf,))


@pytest.mark.parametrize(("state", "reason", "ask"), CASES.values(), ids=CASES)
def test_every_word(state: PathState, reason: str, ask: Callable[[], PathReport]) -> None:
    """Each failure has its word, and a reason of one printable line that names it."""
    report = ask()
    assert report.state is state, report.reason
    assert reason in report.reason
    assert report.reason.isprintable()
    assert report.revocation is RevocationState.UNCHECKED


def test_the_word_of_the_better_path() -> None:
    """Of a forged and an expired path, the expired one is reported."""
    expired = issue_ca("CN=Acme Issuing CA,O=Acme", issuer=PKI.root, key_index=1, not_after=MOMENT - DAY)
    forged = issue_ca("CN=Acme Issuing CA,O=Acme", issuer=PKI.root, key_index=1, signed_by=OTHER.root)
    for others in ((expired, forged), (forged, expired)):
        assert judge(ALICE, others=others).state is PathState.EXPIRED


# -- names ------------------------------------------------------------------------------------------------------------

OTHER_NAME = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), b"\x0c\x03a@b")


@pytest.mark.parametrize(
    ("permitted", "excluded", "emails", "state"),
    [
        (["acme.example"], [], ["a@acme.example"], PathState.VALID),
        (["acme.example"], [], ["a@ACME.example"], PathState.VALID),
        (["acme.example"], [], ["a@sub.acme.example"], PathState.CONSTRAINT),
        (["acme.example"], [], ["a@evilacme.example"], PathState.CONSTRAINT),
        (["acme.example"], [], ["a@acme.example", "a@other.example"], PathState.CONSTRAINT),
        ([".acme.example"], [], ["a@sub.acme.example"], PathState.VALID),
        ([".acme.example"], [], ["a@acme.example"], PathState.CONSTRAINT),
        (["a@acme.example"], [], ["a@acme.example"], PathState.VALID),
        (["a@acme.example"], [], ["b@acme.example"], PathState.CONSTRAINT),
        (["acme.example", "b.example"], [], ["a@acme.example", "a@b.example"], PathState.VALID),
        ([], ["acme.example"], ["a@acme.example"], PathState.CONSTRAINT),
        ([], ["acme.example"], ["a@b.example"], PathState.VALID),
        ([], ["a@acme.example"], ["b@acme.example"], PathState.VALID),
        ([], [""], ["b@acme.example"], PathState.CONSTRAINT),
        (["acme.example"], ["a@acme.example"], ["a@acme.example"], PathState.CONSTRAINT),
    ],
)
def test_constraints_on_addresses(
    permitted: list[str], excluded: list[str], emails: list[str], state: PathState
) -> None:
    """RFC 5280 4.2.1.10: hosts, hosts below a domain, and single mailboxes."""
    issuer = constrained(permitted=[mail(one) for one in permitted], excluded=[mail(one) for one in excluded])
    assert judge(PKI.identity(*emails, issuer=issuer), others=(issuer,)).state is state


@pytest.mark.parametrize(
    ("keywords", "state"),
    [
        ({"utf8_emails": ["å@acme.example"]}, PathState.VALID),
        ({"utf8_emails": ["å@other.example"]}, PathState.CONSTRAINT),
        ({"utf8_emails": ["å@ü.example"]}, PathState.CONSTRAINT),
        ({"dn_emails": ["a@other.example"]}, PathState.CONSTRAINT),
        ({"dn_emails": ["a@other.example"], "other_names": [x509.DNSName("x.example")]}, PathState.CONSTRAINT),
        ({"dn_emails": ["a@acme.example"], "other_names": [x509.DNSName("x.example")]}, PathState.VALID),
    ],
    ids=["utf8-in", "utf8-out", "utf8-unclear", "subject-out", "subject-beside-san", "subject-in-beside-san"],
)
def test_constraints_bind_every_address_we_would_take(keywords: dict[str, object], state: PathState) -> None:
    """SmtpUTF8Mailbox (RFC 9598 6) and addresses of the subject too, even beside a subjectAltName."""
    issuer = constrained(permitted=[mail("acme.example")])
    leaf = PKI.identity(issuer=issuer, **keywords)  # type: ignore[arg-type]
    assert judge(leaf, others=(issuer,)).state is state


@pytest.mark.parametrize("side", ["permitted", "excluded"])
@pytest.mark.parametrize(
    "base", [OTHER_NAME, x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))], ids=["otherName", "registeredID"]
)
@pytest.mark.parametrize("keywords", [{}, {"utf8_emails": ["å@acme.example"]}], ids=["plain", "with-otherName"])
def test_constraints_that_cannot_be_judged(side: str, base: x509.GeneralName, keywords: dict[str, list[str]]) -> None:
    """They fail closed, whether or not the certificate has a name of that form."""
    issuer = constrained(**{side: [base]})
    report = judge(PKI.identity("a@acme.example", issuer=issuer, **keywords), others=(issuer,))  # type: ignore[arg-type]
    assert report.state is PathState.CONSTRAINT
    assert "cannot be judged" in report.reason


def subtree(base: bytes, bounds: bytes = b"") -> x509.UnrecognizedExtension:
    """Return name constraints from raw octets: one permitted subtree."""
    octets = base + bounds
    for tag in (0x30, 0xA0, 0x30):
        octets = bytes([tag, len(octets)]) + octets
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), octets)


@pytest.mark.parametrize(
    ("extension", "state"),
    [
        (subtree(b"\x81\x0cacme.example"), PathState.VALID),
        (subtree(b"\x81\x0cacme.example", b"\x80\x01\x01"), PathState.CONSTRAINT),
        (subtree(b"\x81\x0cacme.example", b"\x81\x01\x05"), PathState.CONSTRAINT),
        (subtree(b"\x81\x0d\xc3\xa5cme.example"), PathState.CONSTRAINT),
        (subtree(b"\x81\x20acme.example"), PathState.CONSTRAINT),
        (subtree(b"\x82\x0cacme.example"), PathState.VALID),
    ],
    ids=["usual", "minimum", "maximum", "not-ascii", "cut", "dns-only"],
)
def test_constraints_of_unusual_form(extension: x509.UnrecognizedExtension, state: PathState) -> None:
    """RFC 5280 4.2.1.10 has no minimum and maximum, and IA5String is ASCII."""
    issuer = issue_ca("Raw CA", issuer=PKI.root, key_index=7, extensions=[(extension, True)])
    assert judge(PKI.identity("a@acme.example", issuer=issuer), others=(issuer,)).state is state


def test_an_issuer_named_by_serial_number_comes_first() -> None:
    """authorityCertIssuer and serial number order the candidates, and exclude none."""
    twin = issue_ca("CN=Acme Issuing CA,O=Acme", issuer=PKI.root, key_index=1)
    issuer_name = x509.DirectoryName(PKI.root.certificate.subject)
    identifier = x509.AuthorityKeyIdentifier(None, [issuer_name], twin.serial)
    leaf = issue("CN=x", issuer=twin, emails=["x@y.example"], key_identifiers=False, extensions=[(identifier, False)])
    for others in ((PKI.issuing, twin), (twin, PKI.issuing)):
        report = judge(leaf, others=others)
        assert (report.state, report.path[1].serial) == (PathState.VALID, twin.serial)
    assert judge(leaf).state is PathState.VALID


def test_constraints_of_the_anchor_hold() -> None:
    """Unlike RFC 5280 6.1.1 has it, and as RFC 5937 3 allows."""
    for names, state in (([mail("acme.example")], PathState.VALID), ([mail("b.example")], PathState.CONSTRAINT)):
        root = issue_ca("Constrained Root", key_index=15, name_constraints=x509.NameConstraints(names, None))
        leaf = PKI.identity("a@acme.example", issuer=root)
        assert judge(leaf, others=(), anchors=(root,)).state is state


def test_usual_constraints_of_public_issuers() -> None:
    """Directory names permitted, all DNS and IP names excluded: mail certificates pass."""
    from ipaddress import ip_network

    issuer = constrained(
        permitted=[mail("acme.example"), x509.DirectoryName(x509.Name.from_rfc4514_string("O=Acme"))],
        excluded=[
            x509.DNSName(""),
            x509.IPAddress(ip_network("0.0.0.0/0")),
            x509.IPAddress(ip_network("::/0")),
        ],
    )
    inside = PKI.identity("a@acme.example", subject="CN=a,O=Acme", issuer=issuer)
    outside = PKI.identity("a@acme.example", subject="CN=a,O=Evil", issuer=issuer)
    assert judge(inside, others=(issuer,)).state is PathState.VALID
    assert judge(outside, others=(issuer,)).state is PathState.CONSTRAINT


# -- hostile input ----------------------------------------------------------------------------------------------------


def test_certificates_that_all_issue_one_another_cost_bounded_work() -> None:
    """Forty CAs of one name: factorially many paths, of which a bounded number is looked at."""
    name = "CN=Clique"
    clique = [issue_ca(name, key_index=40 + index % 4, key_kind="ec-p256", extensions=()) for index in range(40)]
    strangers = [
        issue(
            name,
            issuer=clique[index % 4],
            ca=True,
            key_kind="ec-p256",
            key_index=1040 + index % 4,
            key_usage=["keyCertSign"],
            key_identifiers=False,
        )
        for index in range(40)
    ]
    leaf = issue("CN=x", issuer=strangers[0], emails=["x@y.example"], key_identifiers=False)
    report = judge(leaf, others=strangers)
    assert report.state in (PathState.INCOMPLETE, PathState.UNTRUSTED)
    search = Search(anchors={}, others=index_by_subject([view(one) for one in strangers]))
    assert list(search.find_paths(view(leaf))) == []
    assert search.steps <= MAX_STEPS


def test_a_loop_of_two_issuers_ends() -> None:
    """Certificates that issue each other lead nowhere."""
    one = issue(
        "CN=One",
        issuer=issue_ca("CN=Two", key_index=51, key_kind="ec-p256"),
        ca=True,
        key_index=1050,
        key_kind="ec-p256",
    )
    two = issue(
        "CN=Two",
        issuer=issue_ca("CN=One", key_index=50, key_kind="ec-p256"),
        ca=True,
        key_index=1051,
        key_kind="ec-p256",
    )
    leaf = issue("CN=x", issuer=one, emails=["x@y.example"])
    assert judge(leaf, others=(one, two)).state is PathState.INCOMPLETE


CORRUPT = bytearray(ALICE.certificate_der)


@given(st.integers(0, len(CORRUPT) - 1), st.integers(1, 255))
def test_no_changed_octet_makes_a_valid_path(place: int, change: int) -> None:
    """Whatever is changed in a certificate, the report is a word, and never ``valid``."""
    octets = bytearray(CORRUPT)
    octets[place] ^= change
    try:
        leaf = load_certificate(bytes(octets))
    except CertificateError:
        return
    validator = PathValidator([view(PKI.root)])
    report = validator.validate(leaf, [view(PKI.issuing)], moment=MOMENT, purpose=Purpose.SIGN)
    assert report.state is not PathState.VALID


@given(st.integers(0, len(PKI.issuing.certificate_der) - 1), st.integers(1, 255))
def test_no_changed_issuer_makes_a_valid_path(place: int, change: int) -> None:
    """The same for an issuing certificate."""
    octets = bytearray(PKI.issuing.certificate_der)
    octets[place] ^= change
    try:
        issuer = load_certificate(bytes(octets))
    except CertificateError:
        return
    report = PathValidator([view(PKI.root)]).validate(view(ALICE), [issuer], moment=MOMENT, purpose=Purpose.SIGN)
    assert report.state is not PathState.VALID
    assert PathValidator([issuer]).validate(view(ALICE), [], moment=MOMENT, purpose=Purpose.SIGN).reason.isprintable()


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_a_kept_report_ends_with_the_validity_it_depends_on() -> None:
    """One validator gives at every moment what a fresh one gives, across all ends of validity."""
    leaf = PKI.identity("a@b.example", not_before=MOMENT - 5 * DAY, not_after=MOMENT + 5 * DAY)
    issuer = issue_ca(
        "CN=Acme Issuing CA,O=Acme",
        issuer=PKI.root,
        key_index=1,
        not_before=MOMENT - 3 * DAY,
        not_after=MOMENT + 3 * DAY,
    )
    root = PKI.root
    validator = PathValidator([view(root)])
    tick = timedelta(microseconds=1)
    ends = [
        end
        for one in (leaf, issuer, root)
        for end in (one.certificate.not_valid_before_utc, one.certificate.not_valid_after_utc)
    ]
    moments = [MOMENT, *(end + step for end in ends for step in (-tick, timedelta(0), tick))]
    for moment in (*moments, *reversed(moments)):
        kept = validator.validate(view(leaf), [view(issuer)], moment=moment, purpose=Purpose.SIGN)
        fresh = judge(leaf, others=(issuer,), moment=moment)
        assert kept == fresh


def test_purpose_and_others_are_part_of_the_question() -> None:
    """A report for one question is no answer to another."""
    leaf = view(PKI.identity("a@b.example", key_usage=["digitalSignature"]))
    validator = PathValidator([view(PKI.root)])
    issuers = [view(PKI.issuing)]
    assert validator.validate(leaf, issuers, moment=MOMENT, purpose=Purpose.SIGN).state is PathState.VALID
    assert validator.validate(leaf, issuers, moment=MOMENT, purpose=Purpose.ENCRYPT).state is PathState.CONSTRAINT
    assert validator.validate(leaf, [], moment=MOMENT, purpose=Purpose.SIGN).state is PathState.INCOMPLETE


def test_anchors_of_one_name_cost_bounded_work() -> None:
    """Only so many signatures are checked for one question; nothing is valid that was not checked."""
    anchors = [
        issue("CN=Twin Root", key_index=index % 4, key_kind="ec-p256", ca=True, key_identifiers=False)
        for index in range(MAX_PATHS + 2)
    ]
    stranger = issue("CN=Twin Root", key_index=5, key_kind="ec-p256", ca=True, key_identifiers=False)
    leaf = issue("CN=x", issuer=stranger, emails=["x@y.example"], key_identifiers=False)
    assert judge(leaf, others=(), anchors=anchors).state is PathState.INVALID


def test_the_least_used_report_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory has a bound."""
    monkeypatch.setattr("gateway.pkix.path.MAX_REPORTS", 2)
    validator = PathValidator([view(PKI.root)])
    leaves = [view(PKI.identity(f"k{index}@acme.example", key_index=0)) for index in range(3)]
    for leaf in (leaves[0], leaves[1], leaves[0], leaves[2]):
        validator.validate(leaf, [view(PKI.issuing)], moment=MOMENT, purpose=Purpose.SIGN)
    assert [leaf for leaf, _, _ in validator._kept] == [leaves[0], leaves[2]]


def test_what_is_kept_is_bounded() -> None:
    """Strangers cannot fill the memory."""
    validator = PathValidator([view(PKI.root)])
    leaf, root = view(ALICE), view(PKI.root)
    others: list[Certificate] = []
    for _ in range(30):
        others.append(root)
        validator.validate(leaf, others, moment=MOMENT, purpose=Purpose.SIGN)
    assert len(validator._kept) <= min(MAX_REPORTS, 30)
    for year in range(1990, 2090):
        moment = datetime(year, 1, 1, tzinfo=UTC)
        validator.validate(leaf, others, moment=moment, purpose=Purpose.SIGN)
    assert all(len(reports) <= 4 for reports in validator._kept.values())


def test_threads_agree() -> None:
    """Shared certificates and one validator give one answer to all threads."""
    validator = PathValidator([view(PKI.root)])
    leaves = [view(PKI.identity(f"t{index}@acme.example", key_index=0)) for index in range(8)]
    states: list[PathState] = []

    def ask() -> None:
        for leaf in leaves:
            report = validator.validate(leaf, [view(PKI.issuing)], moment=MOMENT, purpose=Purpose.SIGN)
            states.append(report.state)

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == [PathState.VALID] * 32


def test_version_1_roots_may_be_anchors() -> None:
    """A root without extensions cannot say that it is a CA; one with basicConstraints false is none."""
    old = issue("CN=Old Root", key_index=60, key_kind="ec-p256", key_identifiers=False)
    no_ca = issue("CN=No CA", key_index=60, key_kind="ec-p256", ca=False)
    assert len(index_anchors([view(old)])) == 1
    assert index_anchors([view(no_ca)]) == {}
    leaf = issue("CN=x", issuer=old, emails=["x@y.example"], key_identifiers=False)
    assert judge(leaf, others=(), anchors=(old,)).state is PathState.VALID
