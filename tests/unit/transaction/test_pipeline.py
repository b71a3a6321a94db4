"""The one path of a message: what is refused where, what is protected and opened, and what never leaves."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from typing import Any

import pytest

from gateway.address import Address
from gateway.errors import UpstreamUnavailable
from gateway.limits import Limits
from gateway.lookup import Found
from gateway.mime import Flaw, decode_body, encode_base64_lines, parse_entity, parse_header
from gateway.outcome import Outcome
from gateway.pkix import load_certificate
from gateway.policy import Direction
from gateway.smime import SignedForm, opened_mark, trace_token
from gateway.transaction.house import INLINE_OCTETS
from gateway.transaction.ports import Delivery
from tests.support.doubles import (
    BROKEN,
    FACTS,
    SLOW,
    AnswerBook,
    Rule,
    Step,
    UpstreamDouble,
    refusal,
)
from tests.unit.smime import agents
from tests.unit.transaction.company import (
    ALICE,
    BOB,
    CAROL,
    CLIENT,
    DAVE,
    DAVE_REFUSED,
    ERIN,
    HOSTNAME,
    INBOUND,
    PASS,
    REQUIRED,
    SECRET,
    SIGN,
    SKIP,
    TWO_GROUPS,
    Company,
    Sent,
    late,
    layers,
    message,
    path,
    read,
)

NO = refusal(550, "5.7.1 no")
SIGN_AS_BOB = "default: {sign: required, sign_as: bob@acme.example}\n"
UNPROVEN = replace(CLIENT, listener="border", proven=False, proof="none")


def assert_nothing_sent(company: Company) -> None:
    assert company.upstream.dots == []
    assert b"".join(session.octets for session in company.upstream.sessions) == b""
    assert company.failures == []


# ---------------------------------------------------------------- transparency


def test_what_is_passed_goes_on_octet_for_octet() -> None:
    """With our Received field on top, and without marks of our name from outside (laws 7, 11)."""
    ugly = (
        b"Received: from x by y\r\nX-Odd : folded\r\n\tand  spaced \r\nFrom: a@b.example\r\n"
        b"Authentication-Results: mx.example; spf=pass\r\n\r\n.dot\r\n..\r\nFrom here\r\n trailing \t\r\n\xff\r\n"
    )
    forged = b"Authentication-Results: smime.gw1.acme.example; smime=pass\r\nSMIME-Gateway-Opened: 1 2\r\n"
    company = Company()
    assert company.send(forged + ugly, CAROL).reply.code == 250
    [dot] = company.upstream.dots
    trace = parse_header(dot.content).fields[0]
    assert trace.name == "Received"
    assert f"by {HOSTNAME}" in trace.value
    assert dot.content[len(trace.octets) :] == ugly


def test_a_message_without_a_last_line_end_gets_one() -> None:
    """The final dot needs a line of its own."""
    company = Company()
    assert company.send(b"From: a@b.example\r\n\r\nno end", CAROL).reply.code == 250
    assert company.upstream.dots[0].content.endswith(b"\r\n\r\nno end\r\n")


@pytest.mark.parametrize("smtputf8", [True, False])
def test_smtputf8_is_asked_of_the_upstream(smtputf8: bool) -> None:
    """Where the client needs it and the upstream has it not, MAIL is refused (RFC 6531 3.5)."""
    upstream = UpstreamDouble(facts=replace(FACTS, smtputf8=False))
    sent = Company(upstream=upstream).send(message(CAROL), CAROL, smtputf8=smtputf8)
    assert sent.outcome == (Outcome.SMTPUTF8_REQUIRED if smtputf8 else Outcome.ACCEPTED).label
    assert len(upstream.dots) == (not smtputf8)


# ---------------------------------------------------------------- before the message


def test_a_rejected_recipient_is_not_put_to_the_upstream() -> None:
    """What the envelope alone decides is answered at RCPT, and the others are served."""
    policy = 'rules:\n  - name: no\n    match: {recipient: "dave@*"}\n    then: reject\ndefault: pass\n'
    company = Company(policy=policy)
    sent = company.send(message(CAROL), DAVE, CAROL)
    assert [(reply.code, reply.enhanced) for reply in sent.rcpt] == [(550, "5.7.1"), (250, "2.1.5")]
    assert sent.of(DAVE).outcome == Outcome.REJECTED_BY_POLICY.label
    assert (sent.of(DAVE).rule, sent.of(DAVE).reason) == ("no", "rejected")
    assert company.upstream.sessions[0].commands[1] == f"RCPT TO:<{CAROL}>"
    assert company.upstream.recipients == [CAROL]


def test_more_recipients_than_the_limit() -> None:
    """452 4.5.3 for those beyond, the others are served; who was refused does not count."""
    company = Company(limits=Limits(recipients=2), upstream=UpstreamDouble(Rule(Step.RCPT, NO, path=DAVE)))
    sent = company.send(message(CAROL), DAVE, CAROL, ERIN, "more@partner.example")
    assert [reply.code for reply in sent.rcpt] == [550, 250, 250, 452]
    assert sent.of("more@partner.example").outcome == Outcome.TOO_MANY_RECIPIENTS.label
    assert company.upstream.recipients == [CAROL, ERIN]


def test_records_keep_the_order_of_rcpt() -> None:
    """The refused ones stand where they were named."""
    sent = Company(policy=REQUIRED).send(message(CAROL), DAVE, CAROL, "nobody@bank.example", ERIN)
    assert [one.recipient for one in sent.record.recipients] == [DAVE, CAROL, "nobody@bank.example", ERIN]
    assert [one.group is None for one in sent.record.recipients] == [True, False, True, False]


def test_who_is_refused_to_the_last_one_hears_why() -> None:
    """Without a single recipient the client has no message to send; the transaction tells the most telling reason."""
    company = Company(upstream=UpstreamDouble(Rule(Step.RCPT, NO)))
    sent = company.send(message(CAROL), CAROL, DAVE)
    assert sent.outcome == Outcome.UPSTREAM_PERMANENT.label
    assert sent.reply == NO


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (lambda one: one.refuse(Outcome.MESSAGE_TOO_LARGE), Outcome.MESSAGE_TOO_LARGE),
        (lambda one: one.refuse(Outcome.MEMORY_BUDGET), Outcome.MEMORY_BUDGET),
        (lambda one: one.refuse_flaw(Flaw.BARE_CR), Outcome.BARE_LINE_ENDING),
        (lambda one: one.refuse_flaw(Flaw.BARE_LF), Outcome.BARE_LINE_ENDING),
        (lambda one: one.refuse_flaw(Flaw.NUL), Outcome.NUL_OCTET),
        (lambda one: one.refuse_flaw(Flaw.LONG_LINE), Outcome.LINE_TOO_LONG),
        (lambda one: one.abort(), Outcome.CLIENT_GONE),
    ],
    ids=["too large", "memory", "bare CR", "bare LF", "NUL", "long line", "abort"],
)
def test_the_ways_to_end_without_delivery(end: Any, outcome: Outcome) -> None:
    """Each ends once, gives the probe back, and is told of every recipient."""
    company = Company()

    async def main() -> None:
        transaction = company.begin()
        await transaction.mail()
        await transaction.rcpt(path(CAROL))
        end(transaction)
        assert transaction.has_ended
        transaction.abort()

    company.run(main())
    [record] = company.observer.records
    assert record.outcome == outcome.label
    assert [one.outcome for one in record.recipients] == [outcome.label]
    assert_nothing_sent(company)


def test_an_ended_transaction_cannot_end_again() -> None:
    """A second reply would be a bug: it is not made."""
    company = Company()

    async def main() -> None:
        transaction = company.begin()
        await transaction.mail()
        transaction.refuse(Outcome.MEMORY_BUDGET)
        with pytest.raises(AssertionError, match="no way from ended to ended"):
            transaction.refuse(Outcome.MEMORY_BUDGET)

    company.run(main())
    assert len(company.observer.records) == 1


# ---------------------------------------------------------------- the message itself


@pytest.mark.parametrize(
    "content",
    [b"A: 1\r\n" * 11 + b"\r\n", b"Subject: " + b"x" * 70000 + b"\r\n\r\n"],
    ids=["too many fields", "too long a header"],
)
def test_what_cannot_be_read_within_the_limits(content: bytes) -> None:
    """Refused for its form, and the reply names the settings."""
    company = Company(limits=Limits(header_fields=10, header_octets=65536))
    assert company.send(content, CAROL).outcome == Outcome.FORM_REFUSED.label
    assert_nothing_sent(company)


def test_too_many_received_fields_are_a_loop() -> None:
    """RFC 5321 6.3; the number itself is still allowed."""
    company = Company(limits=Limits(received_fields=100))
    received = b"Received: from a by b\r\n"
    assert company.send(received * 100 + message(CAROL), CAROL).reply.code == 250
    company.upstream = UpstreamDouble()
    assert company.send(received * 101 + message(CAROL), CAROL).outcome == Outcome.ROUTING_LOOP.label
    assert_nothing_sent(company)


def test_a_message_that_comes_back_again_and_again_is_a_loop() -> None:
    """What left here is sent in again: the keyed tokens count its visits."""
    company = Company(limits=Limits(own_visits=3))
    content, outcomes = message(CAROL), []
    for _ in range(4):
        company.upstream = UpstreamDouble()
        outcomes.append(company.send(content, CAROL).outcome)
        content = company.upstream.dots[0].content if company.upstream.dots else content
    assert outcomes == ["accepted", "accepted", "accepted", Outcome.ROUTING_LOOP.label]
    assert_nothing_sent(company)


def test_nobody_can_make_a_message_loop_by_writing_our_name() -> None:
    """Without the secret a token counts for nothing."""
    token = trace_token(b"x" * 32, "0000000000000001")
    forged = f"Received: from a by {HOSTNAME} (smime-gateway {token}) id 1; now\r\n".encode() * 10
    assert Company().send(forged + message(CAROL), CAROL).reply.code == 250


def test_the_message_is_decided_on_as_a_whole() -> None:
    """One recipient refused for good at the final dot, and nobody to report it to: refused for all (law 3)."""
    company = Company(policy=DAVE_REFUSED)
    sent = company.send(message(CAROL), DAVE, CAROL)
    assert (sent.reply.code, sent.outcome) == (550, Outcome.REJECTED_BY_POLICY.label)
    assert_nothing_sent(company)


# ---------------------------------------------------------------- protection


def test_signed_and_encrypted_mail_reads_as_it_was() -> None:
    """The recipient opens and verifies it; neither the text nor the content fields stay outside."""
    company = Company(policy=REQUIRED)
    sent = company.send(message(CAROL, body=b"secret figures\r\n"), CAROL)
    assert sent.reply.code == 250
    content = company.upstream.dots[0].content
    assert b"secret" not in content
    found = read(content, CAROL)
    assert found.report.result == "pass"
    assert found.opened is not None
    assert b"secret figures" in found.opened
    assert [(act.action, act.algorithm) for act in sent.record.actions] == [
        ("sign", "rsa-sha256"),
        ("encrypt", "aes-256-cbc"),
    ]
    assert (sent.of(CAROL).reason, sent.of(CAROL).actions) == ("protected", ("sign", "encrypt"))


@pytest.mark.parametrize(("form", "expected"), [("clear", "multipart/signed"), ("opaque", "signed-data")])
def test_the_form_of_a_signature(form: str, expected: str) -> None:
    """As the rule says."""
    company = Company(policy=f"default: {{sign: required, form: {form}}}\n")
    assert company.send(message(CAROL), CAROL).reply.code == 250
    assert read(company.upstream.dots[0].content).report.layers[0].form == expected


def test_a_large_message_is_worked_on_off_the_loop() -> None:
    """The same as a small one."""
    company = Company(policy=REQUIRED)
    assert company.send(message(CAROL, body=b"0123456\r\n" * (INLINE_OCTETS // 9 + 1)), CAROL).reply.code == 250
    assert layers(company.upstream.dots[0].content, CAROL) == ["encrypted", "signed"]


def test_hidden_recipients_have_messages_of_their_own() -> None:
    """No visible recipient learns of them from a RecipientInfo, nor one of them of another."""
    hidden = ["h1@bank.example", "h2@bank.example"]
    people = [CAROL, ERIN, *hidden]
    company = Company(policy=REQUIRED)
    company.certificates = AnswerBook(
        {address: Found((agents.recipient(agents.person(address)),)) for address in people}
    )
    content = message(CAROL, ERIN, body=b"x" * 50 + b"\r\n")
    assert company.send(content, *people).reply.code == 250
    by_recipients = {dot.recipients: dot.content for dot in company.upstream.dots}
    assert list(by_recipients) == [(CAROL, ERIN), (hidden[0],), (hidden[1],)]
    for recipients, sent in by_recipients.items():
        infos = read(sent).report.layers[0].recipients
        serials = {load_certificate(agents.person(one).certificate_der).serial for one in recipients}
        assert {int(info["serial"], 16) for info in infos} == serials
    assert all(b"x" * 50 in (read(sent, recipients[0]).opened or b"") for recipients, sent in by_recipients.items())


@pytest.mark.parametrize(
    ("policy", "client", "content", "outcome", "reason"),
    [
        (SIGN, UNPROVEN, message(CAROL), Outcome.PROTECTION_IMPOSSIBLE, "sender-not-proven"),
        (SKIP, UNPROVEN, message(CAROL), Outcome.ACCEPTED, "protected"),
        (SIGN, CLIENT, message(CAROL, sender=f"{ALICE}, {BOB}"), Outcome.PROTECTION_IMPOSSIBLE, "sender-ambiguous"),
        (SIGN, CLIENT, message(CAROL, sender="nobody <"), Outcome.PROTECTION_IMPOSSIBLE, "sender-ambiguous"),
        (SIGN, CLIENT, b"Subject: x\r\n\r\n", Outcome.PROTECTION_IMPOSSIBLE, "sender-ambiguous"),
        (SIGN, CLIENT, message(CAROL, sender="dan@acme.example"), Outcome.OWN_KEY_UNAVAILABLE, "no-signer"),
        (
            "default: {sign: required, sign_as: bob@acme.example}\n",
            CLIENT,
            message(CAROL),
            Outcome.ACCEPTED,
            "protected",
        ),
        (
            "default: {sign: required, sign_as: bob@acme.example}\n",
            UNPROVEN,
            message(CAROL),
            Outcome.PROTECTION_IMPOSSIBLE,
            "sender-not-proven",
        ),
    ],
    ids=[
        "not proven",
        "not proven and if-possible",
        "two From addresses",
        "From unreadable",
        "no From",
        "no key",
        "fixed identity",
        "fixed identity and not proven",
    ],
)
def test_no_signing_oracle(policy: str, client: Any, content: bytes, outcome: Outcome, reason: str) -> None:
    """Only for a sender whom the transaction proves, with one From address, is a signature made (law 9)."""
    company = Company(policy=policy, client=client)
    sent = company.send(content, CAROL)
    assert (sent.outcome, sent.of(CAROL).reason) == (outcome.label, reason)
    if outcome is Outcome.ACCEPTED and policy != SKIP:
        [layer] = read(company.upstream.dots[0].content).report.layers
        assert layer.signers[0].email == (BOB,)
    elif outcome is not Outcome.ACCEPTED:
        assert_nothing_sent(company)


def test_mail_that_comes_signed_by_its_sender_keeps_that_signature() -> None:
    """Also where a signature is required and no key of ours is at hand; the signed part is not touched."""
    content = agents.signed()
    company = Company(policy=SIGN, signers=AnswerBook())
    sent = company.send(content, CAROL)
    assert (sent.reply.code, sent.of(CAROL).reason, sent.of(CAROL).actions) == (250, "already-signed", ("pass",))
    assert company.upstream.dots[0].content.endswith(content)


def test_mail_that_comes_signed_is_encrypted_with_its_signature() -> None:
    """Required encryption is not satisfied by a signature."""
    company = Company(policy=REQUIRED, signers=AnswerBook())
    sent = company.send(agents.signed(), CAROL)
    assert (sent.reply.code, sent.of(CAROL).notes) == (250, ("already-signed",))
    assert layers(company.upstream.dots[0].content, CAROL) == ["encrypted", "signed"]


@pytest.mark.parametrize(
    "content",
    [
        agents.signed().replace(b"The numbers.", b"The number's"),
        agents.signed(by=agents.eve()),
        b'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=x\r\n'
        b"From: alice@acme.example\r\n\r\n--x\r\n\r\nhello\r\n--x--\r\n",
    ],
    ids=["changed on its way", "by somebody else", "in form only"],
)
def test_a_signature_that_is_not_the_senders_does_not_count(content: bytes) -> None:
    """Where one is required ours is made, over the message as it is; without a key nothing leaves."""
    company = Company(policy=SIGN)
    assert company.send(content, CAROL).reply.code == 250
    outer = read(company.upstream.dots[0].content).report.layers[0]
    assert outer.signers[0].email == (ALICE,)
    company = Company(policy=SIGN, signers=AnswerBook())
    assert company.send(content, CAROL).outcome == Outcome.OWN_KEY_UNAVAILABLE.label
    assert_nothing_sent(company)


@pytest.mark.parametrize("policy", [SIGN, REQUIRED, SKIP], ids=["sign", "sign and encrypt", "if-possible"])
def test_mail_that_comes_encrypted_stays_as_it_is(policy: str) -> None:
    """Nothing is put around it."""
    content = agents.encrypted(to=[agents.person(CAROL)])
    company = Company(policy=late(policy))
    sent = company.send(content, CAROL)
    assert (sent.reply.code, sent.of(CAROL).reason) == (250, "already-encrypted")
    assert company.upstream.dots[0].content.endswith(content)
    assert company.certificates.asked == []


def test_look_ups_of_a_transaction_run_together() -> None:
    """Ten recipients whose directory does not answer cost the time of one look-up, not of ten."""
    people = [f"p{number}@bank.example" for number in range(10)]
    company = Company(policy=late(SKIP), certificates=AnswerBook(dict.fromkeys(people, SLOW)))
    sent = company.send(message(*people), *people)
    assert (sent.reply.code, sent.record.stages["plan"]) == (250, 8.0)


# ---------------------------------------------------------------- opening

FROM_ERIN = agents.MESSAGE.replace(b"alice@acme.example", b"erin@partner.example")


def closed(*to: str, by: str | None = ERIN) -> bytes:
    """Return mail from erin, signed and encrypted."""
    inner = agents.signed(FROM_ERIN, agents.person(by)) if by else FROM_ERIN
    return agents.encrypted(inner, [agents.person(one) for one in to or (BOB,)])


def receive(content: bytes, *recipients: str, policy: str = INBOUND, **options: Any) -> tuple[Company, Sent]:
    """Let mail come in from outside."""
    company = Company(policy=policy, client=UNPROVEN, **options)
    return company, company.send(content, *(recipients or (BOB,)), sender=ERIN)


def test_mail_from_outside_is_opened_and_verified() -> None:
    """It goes on with the result in our name, a mark, and the sender's signature untouched."""
    company, sent = receive(b"Authentication-Results: smime.gw1.acme.example; smime=fail\r\n" + closed())
    assert sent.reply.code == 250
    [dot] = company.upstream.dots
    header = parse_header(dot.content)
    [results] = header.all("Authentication-Results")
    assert results.value.startswith("smime.gw1.acme.example; smime=pass body.smime-identifier=erin@partner.example")
    assert len(header.all("SMIME-Gateway-Opened")) == 1
    assert layers(dot.content) == ["signed"]
    assert sent.record.verification == "pass"
    assert [(act.action, act.result) for act in sent.record.actions] == [("decrypt", "ok"), ("verify", "pass")]
    assert (sent.of(BOB).reason, sent.of(BOB).notes) == ("opened", ("verified",))


def test_plain_mail_from_outside() -> None:
    """Nothing to open or verify: no key is asked for, and the result says none, once for all its recipients."""
    company, sent = receive(FROM_ERIN, BOB, ALICE)
    assert (sent.reply.code, sent.of(BOB).reason, company.keys.asked) == (250, "not-protected", [])
    [dot] = company.upstream.dots
    assert dot.recipients == (BOB, ALICE)
    [results] = parse_header(dot.content).all("Authentication-Results")
    assert results.value == "smime.gw1.acme.example; smime=none"


def test_only_a_recipients_own_key_opens_his_mail() -> None:
    """Bob's mail, sent to alice too: hers stays closed (law 10). Two messages, two results."""
    company, sent = receive(closed(BOB), BOB, ALICE)
    assert sent.reply.code == 250
    by_recipient = {dot.recipients[0]: dot for dot in company.upstream.dots}
    assert layers(by_recipient[BOB].content) == ["signed"]
    assert layers(by_recipient[ALICE].content) == ["(encrypted)"]
    assert (sent.of(ALICE).reason, sent.of(BOB).reason) == ("no-key", "opened")


def test_an_alias_opens_the_mail_of_its_mailbox() -> None:
    """Through the map, and only through it."""
    answer = Found((Address("info@acme.example"), Address(BOB)))
    company, sent = receive(closed(BOB), "info@acme.example", aliases=AnswerBook({"info@acme.example": answer}))
    assert (sent.reply.code, layers(company.upstream.dots[0].content)) == (250, ["signed"])


@pytest.mark.parametrize("trusted", [True, False])
def test_opened_mail_travels_only_on_a_confidential_link(trusted: bool) -> None:
    """Over another one it waits for a better one: 451 4.3.5 (law 10)."""
    company, sent = receive(closed(), upstream=UpstreamDouble(facts=replace(FACTS, confidential=trusted)))
    assert sent.outcome == (Outcome.ACCEPTED if trusted else Outcome.LINK_NOT_TRUSTED).label
    if not trusted:
        assert (sent.reply.code, sent.reply.enhanced) == (451, "4.3.5")
        assert_nothing_sent(company)


BROKEN_LAYER = closed()[:-400] + b"\r\n"
GARBLED = closed().replace(b"\r\n\r\n", b"\r\n\r\nAAAA", 1)


@pytest.mark.parametrize("policy", [INBOUND, "default: {decrypt: required}\n"], ids=["strict", "required"])
@pytest.mark.parametrize("content", [BROKEN_LAYER, GARBLED], ids=["cut short", "garbled"])
def test_every_failure_under_encryption_sounds_the_same(content: bytes, policy: str) -> None:
    """550 5.7.5, for every cause (law 10)."""
    company, sent = receive(content, policy=policy)
    assert (sent.reply.code, sent.reply.enhanced) == (550, "5.7.5")
    assert sent.reply.lines == (f"a protected layer cannot be processed [{sent.record.transaction}]",)
    assert_nothing_sent(company)


def test_strict_lets_through_what_is_not_for_our_keys() -> None:
    """A broken layer for somebody who has no key here is his affair: handed on closed."""
    _, sent = receive(BROKEN_LAYER, keys=AnswerBook())
    assert (sent.reply.code, sent.of(BOB).reason) == (250, "broken-layer")


def unsupported(content: bytes, old: str, new: str) -> bytes:
    """Return encrypted mail with another algorithm's identifier."""
    entity = parse_entity(content)
    der = decode_body(entity)
    changed = der.replace(bytes.fromhex(old), bytes.fromhex(new), 1)
    assert changed != der
    return entity.header.octets + b"\r\n" + encode_base64_lines(changed)


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (INBOUND, 250),
        ("default: {decrypt: if-possible}\n", 250),
        ("default: {decrypt: required}\n", 550),
        ("default: {decrypt: strict, verify: required}\n", 550),
    ],
    ids=["strict", "if-possible", "required", "strict and verified"],
)
@pytest.mark.parametrize(
    ("old", "new"),
    [("60864801650304012a", "60864801650304012e"), ("2a864886f70d010101", "2a864886f70d010107")],
    ids=["cipher", "key transport"],
)
def test_an_algorithm_that_is_not_there_yet(old: str, new: str, policy: str, code: int) -> None:
    """No key was used and nothing is wrong with it: strict hands it on as it came, closed."""
    content = unsupported(closed(), old, new)
    company, sent = receive(content, policy=policy)
    assert sent.reply.code == code
    if code == 250:
        [dot] = company.upstream.dots
        assert dot.content.endswith(content)
        assert sent.of(BOB).actions in (("verify",), ("pass",))
    else:
        assert sent.outcome == Outcome.LAYER_REFUSED.label
        assert_nothing_sent(company)


def test_required_decryption_is_not_satisfied_by_the_outer_layer() -> None:
    """A second encrypted layer for another key stays closed under the opened one: refused, not handed on half open."""
    twice = agents.encrypted(agents.encrypted(FROM_ERIN, [agents.person(CAROL)]), [agents.person(BOB)])
    company, sent = receive(twice, policy="default: {decrypt: required}\n")
    assert sent.outcome == Outcome.LAYER_REFUSED.label
    assert_nothing_sent(company)
    company, sent = receive(twice)
    assert (sent.reply.code, layers(company.upstream.dots[0].content)) == (250, ["(encrypted)"])


def test_required_decryption_is_not_satisfied_under_a_signature() -> None:
    """An encrypted layer under a signed one is never taken out of it, so required refuses it."""
    inside = agents.signed(closed(BOB, by=None), agents.person(ERIN))
    company, sent = receive(inside, policy="default: {decrypt: required}\n")
    assert sent.outcome == Outcome.LAYER_REFUSED.label
    assert_nothing_sent(company)


VERIFY = "default: {verify: required}\n"
OPEN_AND_VERIFY = "default: {decrypt: strict, verify: required}\n"


@pytest.mark.parametrize(
    ("policy", "content", "outcome"),
    [
        (VERIFY, agents.signed(FROM_ERIN, agents.person(ERIN)), Outcome.ACCEPTED),
        (
            VERIFY,
            agents.signed(FROM_ERIN, agents.person(ERIN)).replace(b"The numbers.", b"The number's"),
            Outcome.INTEGRITY_REFUSED,
        ),
        (VERIFY, agents.signed(FROM_ERIN, agents.eve()), Outcome.LAYER_REFUSED),
        (VERIFY, FROM_ERIN, Outcome.LAYER_REFUSED),
        (OPEN_AND_VERIFY, closed(), Outcome.ACCEPTED),
        (OPEN_AND_VERIFY, closed(by=None), Outcome.LAYER_REFUSED),
        (
            OPEN_AND_VERIFY,
            agents.encrypted(
                agents.signed(FROM_ERIN, agents.person(ERIN)).replace(b"The numbers.", b"The number's"),
                [agents.person(BOB)],
            ),
            Outcome.LAYER_REFUSED,
        ),
    ],
    ids=["good", "changed", "by another", "unsigned", "good inside", "unsigned inside", "changed inside"],
)
def test_required_verification(policy: str, content: bytes, outcome: Outcome) -> None:
    """Only ``pass`` is delivered; a plain wrong signature is 5.7.7, anything under encryption 5.7.5 (law 10)."""
    company, sent = receive(content, policy=policy)
    assert sent.outcome == outcome.label
    if outcome is not Outcome.ACCEPTED:
        assert_nothing_sent(company)


def test_a_rule_may_ask_what_verification_found() -> None:
    """Opened for the answer, decided by it, and handed on closed where the rule that decides does not open."""
    policy = """\
rules:
  - name: forged
    match: {verification: [fail, policy]}
    then: reject
default: pass
"""
    company, sent = receive(closed(), policy=policy)
    assert (sent.reply.code, layers(company.upstream.dots[0].content)) == (250, ["(encrypted)"])
    forged = agents.encrypted(agents.signed(FROM_ERIN, agents.eve()), [agents.person(BOB)])
    company, sent = receive(forged, policy=policy)
    assert (sent.outcome, sent.of(BOB).rule) == (Outcome.REJECTED_BY_POLICY.label, "forged")
    assert_nothing_sent(company)


# ---------------------------------------------------------------- opened mail on its way out

MARK = opened_mark(SECRET, "0000000000000042")
BOUNCE = (
    b"From: alice@acme.example\r\nTo: erin@partner.example\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/report; boundary=r\r\n\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n"
    + MARK
    + b"From: erin@partner.example\r\n\r\nwhat was secret\r\n--r--\r\n"
)


@pytest.mark.parametrize("policy", [PASS, SIGN], ids=["passed", "signed"])
@pytest.mark.parametrize("content", [MARK + message(ERIN), BOUNCE], ids=["forwarded", "bounced"])
def test_opened_mail_does_not_leave_in_clear(content: bytes, policy: str) -> None:
    """The mark betrays it wherever it stands: 550 5.7.1 (law 10)."""
    company = Company(policy=policy)
    sent = company.send(content, ERIN)
    assert sent.outcome == Outcome.OPENED_MAIL_IN_CLEAR.label
    assert sent.of(ERIN).reason == "opened-mail-in-clear"
    assert_nothing_sent(company)


def test_opened_mail_may_leave_encrypted_or_stay_in_the_house() -> None:
    """To erin under encryption, and to bob in clear."""
    company = Company(policy=REQUIRED)
    assert company.send(MARK + message(ERIN), ERIN).reply.code == 250
    assert layers(company.upstream.dots[0].content, ERIN) == ["encrypted", "signed"]
    assert Company().send(MARK + message(BOB), BOB).reply.code == 250


# ---------------------------------------------------------------- reports


def report_of(reports: UpstreamDouble) -> Any:
    """Return the one report that was sent, read by the standard library."""
    [dot] = reports.dots
    assert (dot.reverse_path, dot.recipients) == ("<>", (ALICE,))
    return email.message_from_bytes(dot.content, policy=email.policy.SMTP)


def test_who_was_refused_is_reported_and_the_others_are_served() -> None:
    """Some accepted, one refused for good, outbound: one report, then 250 (law 3)."""
    company = Company(policy=DAVE_REFUSED, reports=UpstreamDouble())
    sent = company.send(message(CAROL, subject="the subject"), DAVE, CAROL, ERIN)
    assert (sent.reply.code, sent.outcome) == (250, "accepted")
    assert company.upstream.recipients == [CAROL, ERIN]
    assert company.reports is not None
    report = report_of(company.reports)
    text, status, returned = report.iter_parts()
    assert DAVE in text.get_content()
    assert CAROL not in text.get_content()
    assert [part["Final-Recipient"] for part in status.iter_parts()] == [None, f"rfc822; {DAVE}"]
    assert "Subject: the subject" in returned.get_content()
    assert "The numbers" not in company.reports.dots[0].content.decode()
    assert sent.of(DAVE).outcome == Outcome.REJECTED_BY_POLICY.label


def test_a_refusal_by_the_upstream_is_reported_in_its_words() -> None:
    """At the final dot of one of two messages."""
    upstream = UpstreamDouble(Rule(Step.DOT, refusal(554, "5.6.0 spam"), connection=1))
    company = Company(policy=TWO_GROUPS, upstream=upstream, reports=UpstreamDouble())
    assert company.send(message(CAROL, ERIN), CAROL, ERIN).reply.code == 250
    assert company.reports is not None
    assert b"Diagnostic-Code: smtp; 554 5.6.0 spam\r\n" in company.reports.dots[0].content
    assert company.known(message(CAROL, ERIN), CAROL, ERIN) == [Delivery.ACCEPTED, Delivery.UNKNOWN]


@pytest.mark.parametrize(
    "rule",
    [
        Rule(Step.CONNECT, UpstreamUnavailable("down")),
        Rule(Step.CONNECT, RuntimeError("a bug")),
        Rule(Step.BEGIN, NO),
        Rule(Step.BEGIN, BROKEN),
        Rule(Step.BEGIN, SLOW),
        Rule(Step.BEGIN_RCPT, NO),
        Rule(Step.DATA, NO),
        Rule(Step.DATA, BROKEN),
        Rule(Step.CONTENT, SLOW),
        Rule(Step.DOT, NO),
        Rule(Step.DOT, BROKEN),
        Rule(Step.DOT, SLOW),
    ],
    ids=lambda rule: f"{rule.step.name.lower()}-{rule.act if not isinstance(rule.act, Exception) else 'error'}"[:24],
)
def test_a_report_that_cannot_be_sent_makes_the_refusal_everybodys(rule: Rule) -> None:
    """To report too much loses nothing: the sender hears the 5yz for all, and no more than that (law 3)."""
    company = Company(policy=DAVE_REFUSED, reports=UpstreamDouble(rule))
    sent = company.send(message(CAROL), DAVE, CAROL)
    assert (sent.reply.code, sent.outcome) == (550, Outcome.REJECTED_BY_POLICY.label)
    assert company.upstream.recipients == [CAROL]
    assert len(company.failures) == isinstance(rule.act, RuntimeError)


@pytest.mark.parametrize(
    ("client", "sender", "recipients"),
    [
        (CLIENT, "", (DAVE, CAROL)),
        (CLIENT, "someone@else.example", (DAVE, CAROL)),
        (UNPROVEN, ALICE, (DAVE, CAROL)),
        (UNPROVEN, ERIN, (DAVE, BOB)),
    ],
    ids=["null reverse-path", "a sender who is not ours", "not proven", "inbound"],
)
def test_no_report_is_backscatter(client: Any, sender: str, recipients: tuple[str, str]) -> None:
    """Only a proven sender of ours gets one; else one refusal is everybody's, before anything is sent."""
    company = Company(policy=DAVE_REFUSED, client=client, reports=UpstreamDouble())
    sent = company.send(message(CAROL), *recipients, sender=sender)
    assert sent.outcome == Outcome.REJECTED_BY_POLICY.label
    assert company.reports is not None
    assert company.reports.sessions == []
    assert_nothing_sent(company)


def test_a_temporary_refusal_beside_a_permanent_one_defers_all() -> None:
    """Nothing is lost by trying all again, so nothing is sent and nothing is reported yet."""
    upstream = UpstreamDouble(Rule(Step.BEGIN_RCPT, refusal(450, "4.2.0 busy"), path=CAROL))
    company = Company(policy=DAVE_REFUSED, upstream=upstream, reports=UpstreamDouble())
    sent = company.send(message(CAROL), DAVE, CAROL, ERIN)
    assert sent.reply.code == 450
    assert upstream.dots == []
    assert company.reports is not None
    assert company.reports.sessions == []


def test_a_report_to_an_address_that_needs_smtputf8() -> None:
    """RFC 6531 3.4: the envelope of the report asks for it."""
    company = Company(policy=DAVE_REFUSED, reports=UpstreamDouble())
    sender = "älice@acme.example"
    assert company.send(message(CAROL), DAVE, CAROL, sender=sender, smtputf8=True).reply.code == 250
    assert company.reports is not None
    [dot] = company.reports.dots
    assert (dot.smtputf8, dot.recipients) == (True, (sender,))


# ---------------------------------------------------------------- what is told


def test_the_record_of_a_transaction() -> None:
    """Envelope, decisions, stages, replies; told once, with the id that stands in Received and in the reply."""
    company = Company(policy=REQUIRED)
    sent = company.send(message(CAROL), CAROL)
    record = sent.record
    assert company.observer.listeners == ["users"]
    assert company.observer.records == [record]
    assert (record.listener, record.client, record.proof) == ("users", "192.0.2.7", "network")
    assert (record.reverse_path, record.size, record.groups) == (ALICE, len(message(CAROL)), 1)
    assert (record.code, record.enhanced, record.reply) == (250, "2.0.0", sent.reply.lines[0])
    assert record.transaction in record.reply
    assert f"id {record.transaction};" in parse_header(company.upstream.dots[0].content).fields[0].value
    assert set(record.stages) == {"probe", "receive", "plan", "build", "commit", "settle", "total"}
    assert [(one.command, one.code) for one in record.upstream_replies] == [("MAIL", 250), ("RCPT", 250), (".", 250)]
    assert sent.of(CAROL).direction == Direction.OUTBOUND.value


def test_no_content_is_told() -> None:
    """Neither subject nor body stands in a record (style 18)."""
    company = Company(policy=REQUIRED)
    sent = company.send(message(CAROL, subject="top secret", body=b"figures\r\n"), CAROL)
    told = str(sent.record.to_json())
    assert "top secret" not in told
    assert "figures" not in told


def test_the_client_is_hidden_where_the_listener_says_so() -> None:
    """No inner name or address in Received."""
    company = Company(hide_client=True)
    assert company.send(message(CAROL), CAROL).reply.code == 250
    received = parse_header(company.upstream.dots[0].content).fields[0].value
    assert "192.0.2.7" not in received
    assert "laptop" not in received


def test_signed_form_of_the_two_rooms_is_the_same_set() -> None:
    """The pipeline maps them by name."""
    from gateway.policy import SignedForm as PolicyForm

    assert {form.name for form in PolicyForm} == {form.name for form in SignedForm}
