"""The receiving agent: layers from the outside in, each judged for itself, and nothing said that is not known."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.address import Address
from gateway.cms import KeyTransport, Verdict
from gateway.errors import DecryptionFailed, KeyMaterialError
from gateway.limits import Limits
from gateway.mime import parse_entity, split_multipart_signed
from gateway.pkix import PathState, PathValidator, RevocationState
from gateway.smime import (
    DecryptionKey,
    Identity,
    LayerType,
    NotOpened,
    ProblemCode,
    Report,
    ResultWord,
    SignatureState,
    SignedForm,
    SignerReport,
    Unprotected,
    assemble,
    inspect,
    prepare,
    sign,
    unprotect,
)
from tests.support.pki import MOMENT, Pki
from tests.unit.smime.agents import (
    BOUNDARY,
    ENTITY,
    MESSAGE,
    TestKey,
    alice,
    anchors,
    bob,
    certificate,
    decryption_key,
    encrypted,
    eve,
    person,
    pki,
    received,
    signed,
    signer,
)
from tests.unit.smime.test_classify import (
    BROKEN_SIGNED_DATA,
    CERTS_ONLY_HEAD,
    NO_SIGNERS,
    clear_signed_by,
    cms_entity,
    entity_of,
    inside_mixed,
)

W = ResultWord
OUTER = MESSAGE.partition(b"MIME-Version")[0]


def outline(report: Report) -> list[str]:
    """The layers in one word each."""
    return [
        layer.type.value if layer.type is not LayerType.ENCRYPTED else str(layer.reason or "opened")
        for layer in report.layers
    ]


def only_signer(found: Unprotected) -> SignerReport:
    assert found.report.signed is not None
    (signer_report,) = found.report.signed.signers
    return signer_report


@pytest.mark.parametrize("form", list(SignedForm))
def test_a_good_signature(form: SignedForm) -> None:
    """Every judgement is there, and they fold to pass."""
    found = received(signed(form=form))
    report = only_signer(found)
    assert found.report.result is W.PASS
    assert found.report.problems == ()
    assert found.opened is None
    assert (report.intact, report.valid) == (True, True)
    assert report.path is PathState.VALID
    assert report.revocation is RevocationState.UNCHECKED
    assert report.identity is Identity.MATCH
    assert report.algorithm is Verdict.ACCEPTABLE
    assert report.email == ("alice@acme.example",)
    assert report.subject == "CN=alice"
    assert report.issuer == "CN=Acme Issuing CA,O=Acme"
    assert int(report.serial, 16) == alice().serial
    assert len(report.serial) % 2 == 0
    assert (report.digest, report.signature) == ("sha256", "rsa")
    assert report.signing_time == MOMENT
    assert report.reason == ""
    assert report.certificate_der == alice().certificate_der


def test_plain_mail() -> None:
    """Nothing to say."""
    found = received(MESSAGE, bob())
    assert found.report.to_json() == {"result": "none", "layers": [], "problems": []}
    assert found.opened is None


def test_encrypted_mail_is_opened() -> None:
    """Outer fields stay, the Content fields are those of the entity inside."""
    found = received(encrypted(), bob())
    (layer,) = found.report.layers
    assert found.report.result is W.NONE
    assert found.report.problems == ()
    assert layer.opened
    assert layer.reason is None
    assert layer.algorithm == "aes-256-cbc"
    assert found.opened is not None
    taken, again = prepare(MESSAGE), prepare(found.opened)
    assert (again.outer_fields, again.entity) == (taken.outer_fields, taken.entity)


def test_signed_and_encrypted() -> None:
    """Both layers, and the signed one comes out as it was."""
    message = signed()
    found = received(encrypted(message), bob())
    assert outline(found.report) == ["opened", "signed"]
    assert found.report.result is W.PASS
    assert found.opened is not None
    assert entity_of(found.opened) == entity_of(message)
    assert received(found.opened).report.result is W.PASS


def test_triple_wrapped() -> None:
    """RFC 2634 1.1: the outer signature is never touched, so the report looks inside and the message stays closed."""
    message = signed(encrypted(signed()), boundary="outer")
    found = received(message, bob())
    assert outline(found.report) == ["signed", "opened", "signed"]
    assert found.report.result is W.PASS
    assert found.report.codes == {ProblemCode.ENCRYPTED_INSIDE_SIGNED}
    assert found.opened is None


def test_triple_wrapped_with_the_signature_given_up() -> None:
    """Who has no key at the desk cannot read it otherwise: the outer signature is judged, then goes with its layer."""
    found = received(signed(encrypted(signed()), boundary="outer"), bob(), through_signatures=True)
    assert outline(found.report) == ["signed", "opened", "signed"]
    assert found.report.result is W.PASS
    assert found.report.codes == {ProblemCode.ENCRYPTED_INSIDE_SIGNED}
    assert found.opened is not None
    assert entity_of(found.opened) == entity_of(signed())
    closed = received(signed(encrypted(to=[eve()]), boundary="outer"), bob(), through_signatures=True)
    assert closed.opened is None
    assert closed.report.codes == {ProblemCode.NO_KEY}


def test_encrypted_twice() -> None:
    """Every encrypted layer outside of the signed one goes."""
    found = received(encrypted(encrypted(signed())), bob())
    assert outline(found.report) == ["opened", "opened", "signed"]
    assert found.opened is not None
    assert entity_of(found.opened) == entity_of(signed())


def test_the_first_layer_opens_and_the_second_does_not() -> None:
    """What could be opened comes out, the rest is reported."""
    found = received(encrypted(encrypted(to=[eve()])), bob())
    assert outline(found.report) == ["opened", "no-key"]
    assert found.opened is not None
    assert outline(received(found.opened).report) == ["no-key"]


@pytest.mark.parametrize(
    ("change", "word", "code"),
    [
        pytest.param(lambda m: m.replace(b"The numbers", b"The Numbers"), W.FAIL, None, id="content changed"),
        pytest.param(
            lambda m: m.replace(b"Content-Type: text/plain", b"Content-Type: text/html"), W.FAIL, None, id="fields"
        ),
        pytest.param(lambda m: m.replace(b"alice@acme", b"eve@evil", 1), W.POLICY, None, id="another From"),
        pytest.param(lambda m: m.replace(b"From:", b"X-From:"), W.POLICY, None, id="no From"),
        pytest.param(lambda m: b"From: eve@evil.example\r\n" + m, W.POLICY, None, id="a second From"),
        pytest.param(lambda m: m.replace(b"MII", b"AAA"), W.PERMERROR, ProblemCode.MALFORMED, id="no CMS"),
        pytest.param(lambda m: m.replace(b"MII", b"!!!"), W.PERMERROR, ProblemCode.MALFORMED, id="no base64"),
        pytest.param(
            lambda m: m.replace(
                b"--" + BOUNDARY.encode() + b"--",
                b"--" + BOUNDARY.encode() + b"\r\n\r\nx\r\n--" + BOUNDARY.encode() + b"--",
            ),
            W.PERMERROR,
            ProblemCode.MALFORMED,
            id="three parts",
        ),
        pytest.param(
            lambda m: m.replace(b"\r\n\r\n", b"\r\nContent-Type: text/html\r\n\r\n", 1),
            W.PERMERROR,
            ProblemCode.MALFORMED,
            id="two types",
        ),
    ],
)
def test_wrong_signatures(change: Callable[[bytes], bytes], word: ResultWord, code: ProblemCode | None) -> None:
    """Each flaw has its word; a broken layer is never no layer."""
    found = received(change(signed())).report
    assert found.result is word
    assert found.codes == ({code} if code else set())
    assert outline(found) == ["signed"]


def test_a_signature_by_another_key() -> None:
    """Intact and not valid are two facts."""
    taken = prepare(MESSAGE)
    forger = signer(alice())
    forged = sign(
        taken, type(forger)(certificate=forger.certificate, key=TestKey(eve().key), prepared=forger.prepared),
        moment=MOMENT, boundary=BOUNDARY,
    )  # fmt: skip
    found = received(b"".join(assemble(taken.outer_fields, forged)))
    report = only_signer(found)
    assert (report.intact, report.valid) == (True, False)
    assert found.report.result is W.FAIL
    assert report.reason


@pytest.mark.parametrize(
    ("further", "path"),
    [
        pytest.param({"anchors": PathValidator([])}, PathState.INCOMPLETE, id="no anchors"),
        pytest.param({"anchors": None}, PathState.UNCHECKED, id="paths not asked for"),
        pytest.param({"moment": MOMENT + timedelta(days=3650)}, PathState.EXPIRED, id="too late"),
        pytest.param({"moment": MOMENT - timedelta(days=3650)}, PathState.NOT_YET_VALID, id="too early"),
    ],
)
def test_paths(further: dict[str, object], path: PathState) -> None:
    """Anchors and moment are arguments; a right signature without a valid path is policy."""
    found = received(signed(), **further)
    assert only_signer(found).path is path
    assert only_signer(found).valid
    assert found.report.result is W.POLICY


def test_revocation() -> None:
    """A revoked signer is policy, with the reason."""
    mallory = pki().identity("mallory@acme.example")
    message = signed(MESSAGE.replace(b"alice@", b"mallory@"), mallory)
    assert received(message).report.result is W.PASS
    found = received(message, crls=[pki().issuing.crl(revoked=[mallory])])
    assert found.report.result is W.POLICY
    assert only_signer(found).revocation is RevocationState.REVOKED
    assert only_signer(found).path is PathState.REVOKED
    stale = pki().issuing.crl(next_update=MOMENT - timedelta(hours=1))
    unknown = received(message, crls=[stale])
    assert only_signer(unknown).revocation is RevocationState.UNKNOWN
    assert unknown.report.result is W.TEMPERROR
    good = received(message, crls=[pki().issuing.crl(), pki().root.crl()])
    assert good.report.result is W.PASS
    assert only_signer(good).revocation is RevocationState.GOOD


def test_the_sender_may_be_given() -> None:
    """In place of the From field."""
    assert received(signed(), sender=Address("Alice@Acme.example")).report.result is W.PASS
    other = received(signed(), sender=Address("bob@partner.example"))
    assert only_signer(other).identity is Identity.MISMATCH


def test_certificates_at_hand() -> None:
    """Where the message does not carry its chain, further certificates complete the path."""
    taken = prepare(MESSAGE)
    bare = b"".join(
        assemble(taken.outer_fields, sign(taken, signer(alice(), chain=[]), moment=MOMENT, boundary=BOUNDARY))
    )
    assert only_signer(received(bare)).path is PathState.INCOMPLETE
    assert received(bare, certificates=[certificate(pki().issuing)]).report.result is W.PASS


def test_a_part_of_a_message_is_not_the_message() -> None:
    """The footer of a mailing list: none, and a problem says why."""
    found = received(inside_mixed(entity_of(signed()), b"\r\n-- \r\nfooter")).report
    assert found.result is W.NONE
    assert found.layers == ()
    assert found.codes == {ProblemCode.SIGNED_PART_INSIDE}


def test_an_encrypted_part_is_not_opened() -> None:
    """Somebody else's text around it would carry the clear text out."""
    found = received(inside_mixed(entity_of(encrypted()), b"\r\nReply please"), bob())
    assert found.opened is None
    assert found.report.layers == ()
    assert found.report.codes == {ProblemCode.ENCRYPTED_PART_INSIDE}


def test_a_wrong_signature_under_a_right_one() -> None:
    """The outermost speaks, the problem is reported."""
    inner = signed(by=eve(), boundary="inner").replace(b"The numbers", b"The Numbers")
    found = received(signed(inner)).report
    assert found.result is W.PASS
    assert outline(found) == ["signed", "signed"]
    assert found.codes == {ProblemCode.INNER_SIGNATURE}


def test_somebody_else_s_signature_inside() -> None:
    """Forwarded signed mail, signed again: an inner signer need not be the sender."""
    found = received(signed(signed(by=eve(), boundary="inner"))).report
    assert found.result is W.PASS
    assert found.problems == ()
    assert found.layers[1].signers[0].identity is Identity.MISMATCH


def test_lines_that_do_not_end_in_crlf() -> None:
    """No field can be found in such a header section; it does not look like mail without layers."""
    found = received(signed().replace(b"\r\n", b"\n"))
    assert found.report.result is W.PERMERROR
    assert found.report.codes == {ProblemCode.MALFORMED}


def test_no_key() -> None:
    """None, and a problem; the recipients are told, not the cause."""
    found = received(encrypted(to=[bob(), eve()]), alice())
    assert found.opened is None
    assert found.report.result is W.NONE
    assert found.report.codes == {ProblemCode.NO_KEY}
    (layer,) = found.report.layers
    assert layer.reason is NotOpened.NO_KEY
    assert {int(one["serial"], 16) for one in layer.recipients} == {bob().serial, eve().serial}


def broken_messages() -> list[bytes]:
    """One encrypted message for Bob, broken in every way."""
    message = encrypted()
    head, _, text = message.partition(b"\r\n\r\n")
    der = base64.b64decode(text)
    variants = [
        der[:-1] + bytes([der[-1] ^ 1]),
        der[:-17] + bytes([der[-17] ^ 1]) + der[-16:],
        der[:-40] + bytes([der[-40] ^ 0x80]) + der[-39:],
    ]
    key_at = der.index(b"\x04\x82\x01\x00") + 4
    variants += [
        der[:key_at] + b"\0" * 256 + der[key_at + 256 :],
        der[: key_at + 5] + bytes([der[key_at + 5] ^ 1]) + der[key_at + 6 :],
    ]
    return [head + b"\r\n\r\n" + base64.encodebytes(one).replace(b"\n", b"\r\n") for one in variants]


def test_every_break_looks_the_same() -> None:
    """Law: whatever is wrong under an encrypted layer, the report is octet for octet the same."""
    reports = [received(message, bob()) for message in broken_messages()]
    closed = [found for found in reports if found.opened is None]
    assert len(closed) >= 4
    assert len({str(found.report.to_json()) for found in closed}) == 1
    assert closed[0].report.layers[0].reason is NotOpened.BROKEN
    assert closed[0].report.codes == {ProblemCode.BROKEN}


def test_a_key_that_does_not_fit() -> None:
    """Bob's certificate with Eve's key: broken, as for any other cause."""
    wrong = DecryptionKey(certificate=certificate(bob()), key=TestKey(eve().key))
    for _ in range(3):
        found = unprotect(encrypted(), keys=[wrong], anchors=anchors(), moment=MOMENT)
        assert found.opened is None
        assert outline(found.report) == ["broken"]


class LostKey:
    """A key whose store is away."""

    def unwrap(self, encrypted_key: bytes, transport: object) -> bytes:
        raise KeyMaterialError("the token is away")


def test_our_own_missing_key_is_not_the_message_s_fault() -> None:
    """KeyMaterialError passes, so that the caller can defer."""
    lost = DecryptionKey(certificate=certificate(bob()), key=LostKey())
    with pytest.raises(KeyMaterialError):
        unprotect(encrypted(), keys=[lost], anchors=anchors(), moment=MOMENT)
    found = unprotect(encrypted(to=[eve()]), keys=[lost], anchors=anchors(), moment=MOMENT)
    assert outline(found.report) == ["no-key"]


def test_private_key_operations_are_bounded() -> None:
    """A message that names one certificate three hundred times costs sixteen of them, not three hundred."""

    class Counting(TestKey):
        count = 0

        def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes:
            type(self).count += 1
            raise DecryptionFailed

    key = DecryptionKey(certificate=certificate(bob()), key=Counting(eve().key))
    found = unprotect(encrypted(to=[bob()] * 300), keys=[key], anchors=anchors(), moment=MOMENT)
    assert found.opened is None
    assert Counting.count == 16


def test_a_second_key_opens() -> None:
    """Keys are tried where they are named, whatever their order."""
    message = encrypted(to=[eve(), bob()])
    for people in ([bob()], [eve()], [alice(), bob()], [bob(), eve(), alice()]):
        assert received(message, *people).opened is not None


def test_layers_are_bounded() -> None:
    """No more than the limit, and a problem says so."""
    message = encrypted(encrypted(encrypted(signed())))
    found = received(message, bob(), limits=Limits(smime_layers=2))
    assert outline(found.report) == ["opened", "opened", "refused"]
    assert found.report.codes == {ProblemCode.TOO_MANY_LAYERS}
    assert found.opened is not None
    assert outline(received(message, bob(), limits=Limits(smime_layers=4)).report)[-1] == "signed"


def test_signed_layers_are_bounded_too() -> None:
    """The layer beyond the limit is not looked at."""
    found = received(signed(signed(boundary="inner")), limits=Limits(smime_layers=1))
    assert outline(found.report) == ["signed"]
    assert found.report.codes == {ProblemCode.TOO_MANY_LAYERS}


def signed_octets(content: bytes) -> bytes:
    """These octets as they are under an opaque signature of Alice."""
    taken = replace(prepare(MESSAGE), entity=content)
    protected = sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY, form=SignedForm.OPAQUE)
    return b"".join(assemble(taken.outer_fields, protected))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"Content-Type: text/plain\r\n\r\nx\n", ProblemCode.NOT_MIME, id="mixed line ends"),
        pytest.param(b"Content-Type: message/rfc822\r\n\r\n" * 100, ProblemCode.NOT_MIME, id="too deep"),
        pytest.param(b"Content-Type: application/pkcs7-mime\r\n\r\nno", ProblemCode.MALFORMED, id="no CMS"),
    ],
)
def test_what_is_under_a_signature_cannot_be_read(content: bytes, code: ProblemCode) -> None:
    """The signature is right all the same, and a problem says what is not."""
    found = received(signed_octets(content)).report
    assert found.result is W.PASS
    assert found.codes == {code}


def test_not_readable_at_all() -> None:
    """Deep nesting is permerror, not an exception."""
    found = received(b"Content-Type: message/rfc822\r\n\r\n" * 100)
    assert found.report.result is W.PERMERROR
    assert found.report.codes == {ProblemCode.MALFORMED}


@pytest.mark.parametrize(
    ("message", "word", "layers", "codes"),
    [
        pytest.param(cms_entity(CERTS_ONLY_HEAD, NO_SIGNERS), W.NONE, ["certs-only"], set(), id="certs-only"),
        pytest.param(
            cms_entity(b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n", b"\x30\x03\x02\x01\x00"),
            W.NONE,
            ["broken"],
            {ProblemCode.BROKEN},
            id="enveloped-data that is none",
        ),
        pytest.param(
            cms_entity(b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", b"\x30\x03\x02\x01\x00"),
            W.PERMERROR,
            ["signed"],
            {ProblemCode.MALFORMED},
            id="signed-data that is none",
        ),
        pytest.param(
            cms_entity(b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", NO_SIGNERS),
            W.PERMERROR,
            ["signed"],
            {ProblemCode.NO_SIGNER, ProblemCode.MALFORMED},
            id="signed-data without signer and content",
        ),
        pytest.param(
            cms_entity(b"Content-Type: application/pkcs7-mime\r\n", b"garbage"),
            W.PERMERROR,
            [],
            {ProblemCode.MALFORMED},
            id="says nothing and is nothing",
        ),
        pytest.param(
            cms_entity(
                b"Content-Type: application/pkcs7-mime\r\n", bytes.fromhex("300f06092a864886f70d010701a0020400")
            ),
            W.NONE,
            [],
            {ProblemCode.UNSUPPORTED},
            id="id-data",
        ),
        pytest.param(
            cms_entity(
                b"Content-Type: application/pkcs7-mime\r\n",
                bytes.fromhex("3014060b2a864886f70d010910011 7a0053003020100".replace(" ", "")),
            ),
            W.NONE,
            ["unsupported"],
            {ProblemCode.UNSUPPORTED},
            id="authEnveloped-data",
        ),
        pytest.param(
            cms_entity(
                b"Content-Type: application/pkcs7-mime\r\n",
                bytes.fromhex("3014060b2a864886f70d0109100109a0053003020100"),
            ),
            W.NONE,
            ["compressed"],
            {ProblemCode.UNSUPPORTED},
            id="compressed-data",
        ),
    ],
)
def test_odd_layers(message: bytes, word: ResultWord, layers: list[str], codes: set[ProblemCode]) -> None:
    """What says that it is S/MIME is reported as what it is."""
    found = received(message, bob()).report
    assert (found.result, outline(found), found.codes) == (word, layers, codes)


def test_a_second_content_beside_the_signed_part() -> None:
    """A detached signature that carries a content of its own: that content is never what was verified."""
    taken = prepare(MESSAGE)
    other = prepare(MESSAGE.replace(b"The numbers", b"Other numbers"))
    opaque = sign(other, signer(alice()), moment=MOMENT, boundary=BOUNDARY, form=SignedForm.OPAQUE)
    clear = b"".join(assemble(taken.outer_fields, sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY)))
    head, _, tail = clear.rpartition(b"Content-Transfer-Encoding: base64")
    forged = (
        head + b"Content-Transfer-Encoding: base64\r\n\r\n" + opaque.body[0] + b"\r\n--" + BOUNDARY.encode() + b"--\r\n"
    )
    assert tail
    found = received(forged)
    assert found.report.result is W.FAIL
    assert found.report.codes == {ProblemCode.MALFORMED}
    assert not only_signer(found).intact


def test_the_same_content_beside_the_signed_part() -> None:
    """RFC 8551 3.5.3 forbids it even then: permerror."""
    taken = prepare(MESSAGE)
    opaque = sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY, form=SignedForm.OPAQUE)
    clear = b"".join(assemble(taken.outer_fields, sign(taken, signer(alice()), moment=MOMENT, boundary=BOUNDARY)))
    head, _, _ = clear.rpartition(b"Content-Transfer-Encoding: base64")
    forged = (
        head + b"Content-Transfer-Encoding: base64\r\n\r\n" + opaque.body[0] + b"\r\n--" + BOUNDARY.encode() + b"--\r\n"
    )
    assert received(forged).report.result is W.PERMERROR


def test_a_signer_without_certificate() -> None:
    """RFC 7281 3.1: permerror; the report names what the SignerInfo says. At hand it does as well as in the message."""
    whole = signer(alice())
    bare = replace(whole, prepared=replace(whole.prepared, certificates=b""))
    taken = prepare(MESSAGE)
    message = b"".join(assemble(taken.outer_fields, sign(taken, bare, moment=MOMENT, boundary=BOUNDARY)))
    found = received(message)
    assert found.report.result is W.PERMERROR
    report = only_signer(found)
    assert report.state is SignatureState.NO_CERTIFICATE
    assert int(report.serial, 16) == alice().serial
    assert report.email == ()
    at_hand = [certificate(alice()), certificate(pki().issuing)]
    assert received(message, certificates=at_hand).report.result is W.PASS


def with_certificates(octets: bytes) -> bytes:
    """Alice's clear-signed message with these certificates ([0] IMPLICIT) in place of hers."""
    whole = signer(alice())
    changed = replace(whole, prepared=replace(whole.prepared, certificates=octets))
    taken = prepare(MESSAGE)
    return b"".join(assemble(taken.outer_fields, sign(taken, changed, moment=MOMENT, boundary=BOUNDARY)))


def tlv(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content


def test_somebody_s_broken_certificate() -> None:
    """Beside the signer's own it spoils nothing."""
    chain = b"".join(alice().chain_der)
    broken = alice().chain_der[0].replace(b"\x55\x1d\x0e", b"\x55\x1d\x23")
    found = received(with_certificates(tlv(0xA0, alice().certificate_der + chain + broken)))
    assert found.report.result is W.PASS


def test_the_signer_s_broken_certificate() -> None:
    """An extension twice: it is as if there were none."""
    broken = alice().certificate_der.replace(b"\x55\x1d\x0e", b"\x55\x1d\x23")
    assert broken != alice().certificate_der
    found = received(with_certificates(tlv(0xA0, broken)))
    assert found.report.result is W.PERMERROR
    assert only_signer(found).state is SignatureState.NO_CERTIFICATE


def test_an_algorithm_that_is_not_implemented() -> None:
    """SHA3-256 in place of SHA-256: neutral, and the report names it."""
    message = signed(form=SignedForm.OPAQUE)
    head, _, text = message.partition(b"\r\n\r\n")
    sha256, sha3 = bytes.fromhex("608648016503040201"), bytes.fromhex("608648016503040208")
    changed = base64.b64decode(text).replace(sha256, sha3)
    found = received(head + b"\r\n\r\n" + base64.encodebytes(changed).replace(b"\n", b"\r\n"))
    assert found.report.result is W.NEUTRAL
    assert only_signer(found).state is SignatureState.UNSUPPORTED
    assert "sha3-256" in only_signer(found).reason


def test_a_detached_signature_without_its_content() -> None:
    """Signed-data that is the whole message, and nothing in it: permerror, nothing intact."""
    der = split_multipart_signed(parse_entity(signed())).signature
    found = received(cms_entity(b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", der))
    assert found.report.result is W.PERMERROR
    assert found.report.codes == {ProblemCode.MALFORMED}
    assert not only_signer(found).intact


def test_a_signature_of_another_protocol() -> None:
    """SignedData over something else than mail data says nothing about mail, whoever made it."""
    other = NO_SIGNERS.replace(bytes.fromhex("2a864886f70d010701"), bytes.fromhex("2a864886f70d010705"))
    found = received(clear_signed_by(other)).report
    assert found.result is W.PERMERROR
    assert found.codes == {ProblemCode.NO_SIGNER, ProblemCode.MALFORMED}


def test_broken_signed_data() -> None:
    """It says signed-data by its content type and is not readable: both forms."""
    assert received(clear_signed_by(BROKEN_SIGNED_DATA)).report.result is W.PERMERROR
    fields = b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n"
    assert received(cms_entity(fields, BROKEN_SIGNED_DATA)).report.result is W.PERMERROR


def test_an_elliptic_curve_signature() -> None:
    """ECDSA is one of the algorithms we read."""
    ellie = pki().identity("ellie@acme.example", key_kind="ec-p256")
    found = received(signed(MESSAGE.replace(b"alice@", b"ellie@"), ellie))
    assert found.report.result is W.PASS
    assert only_signer(found).signature == "ecdsa"


def test_an_encryption_certificate_does_not_sign() -> None:
    """keyUsage without digitalSignature: the path for this purpose is not valid (RFC 8550 4.4.2)."""
    carol = pki().identity("carol@acme.example", key_usage=("keyEncipherment",))
    found = received(signed(MESSAGE.replace(b"alice@", b"carol@"), carol))
    assert found.report.result is W.POLICY
    assert only_signer(found).path is PathState.CONSTRAINT


def test_a_weak_key() -> None:
    """RSA of 1024 bits is legacy: right, and not acceptable."""
    weak = pki().identity("weak@acme.example", key_kind="rsa-1024")
    found = received(signed(MESSAGE.replace(b"alice@", b"weak@"), weak))
    assert only_signer(found).valid
    assert only_signer(found).algorithm is Verdict.LEGACY
    assert found.report.result is W.POLICY


def test_another_ca() -> None:
    """A complete chain to a root that is no anchor."""
    foreign = Pki.make(name="Foreign", key_index=1)
    stranger = foreign.identity("alice@acme.example")
    found = received(signed(by=stranger))
    assert found.report.result is W.POLICY
    assert only_signer(found).path in (PathState.UNTRUSTED, PathState.INCOMPLETE)


def test_inner_from() -> None:
    """A payload that protects its header and names another From: said as a problem, the outer From counts."""
    inner = (
        MESSAGE.replace(b"text/plain;", b'text/plain; hp="clear";')
        .replace(b"MIME-Version: 1.0\r\n", b"")
        .replace(b"Content-Type:", b"From: Eve <eve@evil.example>\r\nContent-Type:")
    )
    head, _, body = inner.partition(b"\r\n\r\n")
    entity = b"From: Eve <eve@evil.example>\r\n" + head[head.index(b"Content-Type:") :] + b"\r\n\r\n" + body
    taken = prepare(MESSAGE)
    protected = sign(
        type(taken)(outer_fields=taken.outer_fields, entity=entity), signer(alice()), moment=MOMENT, boundary=BOUNDARY
    )
    found = received(b"".join(assemble(taken.outer_fields, protected))).report
    assert found.result is W.PASS
    assert found.codes == {ProblemCode.INNER_FROM}


@pytest.mark.parametrize(("author", "codes"), [(b"alice@acme", set()), (b"eve@evil", {ProblemCode.INNER_FROM})])
def test_inner_from_of_an_enclosed_message(author: bytes, codes: set[ProblemCode]) -> None:
    """The scheme of RFC 8551 3.1: a whole message under the signature."""
    enclosed = MESSAGE.replace(b"alice@acme", author)
    message = OUTER + b"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\n" + enclosed
    found = received(signed(message)).report
    assert found.result is W.PASS
    assert found.codes == codes


def test_inspect_needs_nothing() -> None:
    """Structure and layers, no key, no trust."""
    report = inspect(encrypted(signed()), moment=MOMENT)
    assert outline(report) == ["no-key"]
    clear = inspect(signed(), moment=MOMENT)
    assert clear.result is W.POLICY
    assert clear.signed is not None
    assert clear.signed.signers[0].valid
    assert clear.signed.signers[0].path is PathState.UNCHECKED


def test_states_of_signatures() -> None:
    """The certificate of a signature that could be checked is told."""
    assert only_signer(received(signed())).state is SignatureState.CHECKED


SAMPLES = ("clear", "opaque", "encrypted", "both", "triple")


def sample(name: str) -> bytes:
    if name == "clear":
        return signed()
    if name == "opaque":
        return signed(form=SignedForm.OPAQUE)
    if name == "encrypted":
        return encrypted()
    return encrypted(signed()) if name == "both" else signed(encrypted(signed()), boundary="outer")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_any_change_gives_a_report(name: str, data: st.DataObject) -> None:
    """Cut, changed or enlarged anywhere: a report, never an exception, never a pass with other content."""
    message = sample(name)
    at = data.draw(st.integers(0, len(message)))
    noise = data.draw(st.binary(min_size=1, max_size=6))
    changed = data.draw(
        st.sampled_from(
            [message[:at], message[:at] + noise + message[at:], message[:at] + noise + message[at + len(noise) :]]
        )
    )
    found = received(changed, bob())
    found.report.to_json()
    if found.report.result is W.PASS and name in ("clear", "opaque"):
        layer = found.report.signed
        assert layer is not None
        assert layer.signers[0].identity is Identity.MATCH
        if name == "clear":
            assert ENTITY in changed


@given(st.binary(max_size=600))
def test_any_octets(octets: bytes) -> None:
    """Not mail at all: a report all the same."""
    assert isinstance(received(octets, bob()).report, Report)


@given(
    st.binary(max_size=200), st.sampled_from(["signed-data", "enveloped-data", "certs-only", "compressed-data", "x"])
)
def test_any_cms(octets: bytes, claim: str) -> None:
    """Whatever stands in the place of the CMS object."""
    fields = f"Content-Type: application/pkcs7-mime; smime-type={claim}\r\n".encode()
    assert received(cms_entity(fields, octets), bob()).opened is None


def test_the_parts_of_the_tests_are_what_they_seem() -> None:
    """The helper takes the Content fields and body of a message."""
    assert parse_entity(entity_of(signed())).content_type.essence == "multipart/signed"
    assert person("alice@acme.example") is alice()
    assert decryption_key(bob()).certificate == certificate(bob())
