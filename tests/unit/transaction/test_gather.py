"""Look-ups of a transaction: each once, each in its time, and what is no answer is unavailable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.address import Address
from gateway.lookup import Found, Nothing, Unavailable
from gateway.transaction.gather import Gatherer
from tests.support.doubles import SLOW, AnswerBook, run

A, B = Address("a@x.example"), Address("b@x.example")


def gatherer(**books: Any) -> Gatherer:
    ports: Any = {name: AnswerBook() for name in ("signers", "keys", "certificates", "aliases")}
    return Gatherer(**{**ports, "unavailable": lambda _lookup, _cause: None, **books}, timeout=8.0)


def test_answers_are_handed_on() -> None:
    """Found, none, unavailable: as the port gives them."""

    async def main() -> None:
        book = AnswerBook({"a@x.example": Found("it"), "b@x.example": Unavailable("down")})
        one = gatherer(signers=book, certificates=book, keys=book)
        assert await one.signer(A) == Found("it")
        assert await one.certificates(B) == Unavailable("down")
        assert await one.decryption_keys(A) == Found("it")
        assert await one.signer(Address("c@x.example")) == Nothing()

    run(main())


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (SLOW, "no answer in time"),
        (TimeoutError(), "no answer in time"),
        (OSError("secret path"), "look-up failed: OSError"),
        (None, "look-up gave no answer"),
        ((), "look-up gave no answer"),
        (Found, "look-up gave no answer"),
    ],
    ids=str,
)
def test_what_is_no_answer_is_unavailable(act: Any, cause: str) -> None:
    """Never none; the cause names no content."""

    async def main() -> None:
        book = AnswerBook(default=act)
        one = gatherer(signers=book, certificates=book, keys=book)
        assert await one.signer(A) == Unavailable(cause)
        assert await one.certificates(A) == Unavailable(cause)
        assert await one.decryption_keys(A) == Unavailable(cause)

    run(main())


def test_each_is_asked_once() -> None:
    """However many recipients ask, and however they write the address; each port has a memory of its own."""

    async def main() -> None:
        book = AnswerBook()
        one = gatherer(certificates=book, signers=book)
        one.start_certificates(A)
        await asyncio.gather(one.certificates(A), one.certificates(Address("A@X.example")), one.certificates(A))
        await one.signer(A)
        assert book.asked == [A.key, A.key]

    run(main())


def test_look_ups_that_were_begun_run_together() -> None:
    """Two that do not answer cost the time of one."""

    async def main() -> None:
        one = gatherer(certificates=AnswerBook(default=SLOW))
        one.start_certificates(A)
        one.start_certificates(B)
        assert isinstance(await one.certificates(A), Unavailable)
        assert isinstance(await one.certificates(B), Unavailable)
        assert asyncio.get_running_loop().time() == 8.0

    run(main())


def test_keys_are_looked_up_under_every_name_of_the_mailbox() -> None:
    """The alias map answers first; where it does not, nothing is opened by guess."""

    async def main() -> None:
        keys = AnswerBook({"b@x.example": Found("bob's key")})
        mapped = AnswerBook({"a@x.example": Found((A, B))})
        assert await gatherer(keys=keys, aliases=mapped).decryption_keys(A) == Found("bob's key")
        assert await gatherer(keys=keys).decryption_keys(A) == Nothing()
        down = gatherer(keys=keys, aliases=AnswerBook(default=Unavailable("down")))
        assert await down.decryption_keys(B) == Unavailable("down")

    run(main())


def test_closing_drops_what_nobody_waits_for() -> None:
    """A look-up that still runs when the transaction ends is cancelled; a finished one does not mind."""

    async def main() -> None:
        one = gatherer(certificates=AnswerBook({"a@x.example": SLOW}))
        one.start_certificates(A)
        await one.certificates(B)
        one.close()
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert all(task.cancelling() or task.done() for task in others)

    run(main())


def test_what_is_unavailable_is_told() -> None:
    """What was looked up and why there is no answer, once for each look-up."""
    told: list[Any] = []

    async def main() -> None:
        one = gatherer(
            signers=AnswerBook(default=ValueError("a bug in a store")),
            certificates=AnswerBook(default=Unavailable("directory is down")),
            keys=AnswerBook(default=Nothing()),
            unavailable=lambda lookup, cause: told.append((lookup, cause)),
        )
        for _ in range(2):
            await one.signer(A)
            await one.certificates(A)
            await one.decryption_keys(A)

    run(main())
    assert told == [("signer", "look-up failed: ValueError"), ("certificates", "directory is down")]


def test_a_log_that_cannot_be_written_does_not_hold_up_the_mail() -> None:
    """The answer is the same."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        one = gatherer(signers=AnswerBook(default=ValueError()), unavailable=full)
        assert await one.signer(A) == Unavailable("look-up failed: ValueError")

    run(main())
