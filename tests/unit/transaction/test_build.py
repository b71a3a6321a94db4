"""Making outgoing messages: shared where they can be, checked before they may leave."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import SelfCheckFailed
from gateway.limits import Limits
from gateway.mime import parse_header
from gateway.smime import SignedForm, prepare
from gateway.transaction.build import Materials, Outgoing, build_all
from gateway.transaction.plan import PASS, Group, Work
from tests.support.pki import MOMENT
from tests.unit.smime import agents
from tests.unit.transaction.company import ALICE, BOB, CAROL, ERIN, SECRET, message, read, state

CONTENT = message(CAROL)
SIGNER = agents.signer(agents.person(ALICE))
FOR_CAROL = (agents.recipient(agents.person(CAROL)),)
FOR_ERIN = (agents.recipient(agents.person(ERIN)),)


def build(*works: Work, **changes: Any) -> tuple[Outgoing, ...]:
    content = changes.get("content", CONTENT)
    materials = Materials(
        content=content,
        header=parse_header(content).octets,
        protectable=prepare(content),
        trace=b"Received: by us\r\n",
        transaction="0000000000000001",
        moment=MOMENT,
        authserv_id="smime.gw1.acme.example",
        is_our_name=None,
        secret=SECRET,
        limits=Limits(),
        boundaries=(f"=_{number:04d}" for number in itertools.count()).__next__,
    )
    groups = [Group(number=number, work=work, members=(state(number),)) for number, work in enumerate(works)]
    return build_all(groups, replace(materials, **changes))


def octets(outgoing: Outgoing) -> bytes:
    return b"".join(outgoing.buffers)


def test_a_signature_is_made_once_for_all_groups() -> None:
    """A signed message and two encrypted ones over it hold one and the same signature."""
    sign = Work(signer=SIGNER)
    signed, carol, erin = build(sign, replace(sign, certificates=FOR_CAROL), replace(sign, certificates=FOR_ERIN))
    assert [[act.action for act in one.actions] for one in (signed, carol, erin)] == [
        ["sign"],
        ["encrypt"],
        ["encrypt"],
    ]
    inner = octets(signed)[octets(signed).index(b"Content-Type: multipart/signed") :]
    for one, reader in ((carol, CAROL), (erin, ERIN)):
        opened = read(octets(one), reader).opened
        assert opened is not None
        assert opened.endswith(inner.split(b"\r\n\r\n", 1)[1])


def test_forms_and_signers_do_not_mix() -> None:
    """Each pair of signer and form has its own signature."""
    works = [Work(signer=signer, form=form) for signer in (SIGNER, agents.signer(agents.bob())) for form in SignedForm]
    made = build(*works)
    found = [read(octets(one)).report.layers[0] for one in made]
    assert [(one.form, one.signers[0].email) for one in found] == [
        ("multipart/signed", (ALICE,)),
        ("signed-data", (ALICE,)),
        ("multipart/signed", ("bob@partner.example",)),
        ("signed-data", ("bob@partner.example",)),
    ]


def test_what_is_passed_has_the_trace_on_top() -> None:
    """And is otherwise the message; it is not opened mail."""
    [one] = build(PASS)
    assert (octets(one), one.is_opened, one.size) == (b"Received: by us\r\n" + CONTENT, False, len(CONTENT) + 17)


@pytest.mark.parametrize(
    ("works", "changes", "text"),
    [
        ([Work(signer=SIGNER)], {"protectable": None}, "was not prepared"),
        ([Work(certificates=FOR_CAROL)], {"protectable": None}, "was not prepared"),
        ([Work(signer=SIGNER)], {"trace": b"Received: by us\n"}, "bare LF"),
        ([PASS], {"trace": b"Received: by us\rx\r\n"}, "bare CR"),
        ([PASS], {"trace": b"Received: \0\r\n"}, "NUL"),
    ],
    ids=["not prepared to sign", "not prepared to encrypt", "bare LF", "bare CR", "NUL"],
)
def test_what_does_not_stand_the_check_does_not_leave(works: list[Work], changes: Any, text: str) -> None:
    """A bug of ours ends in nothing sent, for no group."""
    with pytest.raises(SelfCheckFailed, match=text):
        build(PASS, *works, **changes)


def test_a_signing_key_that_does_not_fit_its_certificate() -> None:
    """The signature is verified before the message leaves."""
    wrong = replace(SIGNER, key=agents.TestKey(agents.person(BOB).key))
    with pytest.raises(SelfCheckFailed):
        build(Work(signer=wrong))


def test_a_certificate_that_was_not_planned() -> None:
    """RecipientInfos that are not those of the plan do not leave: here one prepared from another certificate."""
    [carol], [erin] = FOR_CAROL, FOR_ERIN
    with pytest.raises(SelfCheckFailed, match="nobody who was planned"):
        build(Work(certificates=(replace(carol, prepared=erin.prepared),)))


def test_more_recipients_than_are_read_of_foreign_mail() -> None:
    """The limit on RecipientInfos does not keep our own message from its check."""
    [one] = build(Work(certificates=FOR_CAROL + FOR_ERIN), limits=Limits(recipient_infos=1))
    assert len(read(octets(one)).report.layers[0].recipients) == 2


def test_a_boundary_that_occurs_in_the_message() -> None:
    """It would end the signed part early: refused."""
    with pytest.raises(ValueError, match="boundary"):
        build(Work(signer=SIGNER), content=message(CAROL, body=b"--=_0000\r\n"), boundaries=lambda: "=_0000")
