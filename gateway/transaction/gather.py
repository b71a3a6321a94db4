"""Gathering what a decision needs: look-ups, each once per transaction, each with the same time to answer.

A look-up that takes longer, raises, or gives what is no answer has not answered: *unavailable*, never *none*. Each
cause is told, or nobody could say later why the mail had to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from gateway.address import Address
from gateway.lookup import Answer, Found, Nothing, Unavailable
from gateway.smime import DecryptionKey, RecipientCertificate, SigningIdentity
from gateway.transaction.ports import Aliases, DecryptionKeys, RecipientCertificates, SigningKeys

T = TypeVar("T")


class Gatherer:
    """The look-ups of one transaction. ``timeout`` in seconds is for each look-up, all run at once.

    ``unavailable`` is told what was looked up and why there is no answer.
    """

    def __init__(
        self,
        *,
        signers: SigningKeys,
        keys: DecryptionKeys,
        certificates: RecipientCertificates,
        aliases: Aliases,
        timeout: float,
        unavailable: Callable[[str, str], None],
    ) -> None:
        self._signers = signers
        self._keys = keys
        self._certificates = certificates
        self._aliases = aliases
        self._timeout = timeout
        self._unavailable = unavailable
        self._tasks: dict[tuple[str, str], asyncio.Task[Answer[object]]] = {}
        """Look-ups that were begun before anybody waits for them."""
        self._answers: dict[tuple[str, str], object] = {}

    async def signer(self, sender: Address) -> Answer[SigningIdentity]:
        """The identity that signs for ``sender``."""
        return await self._once("signer", sender, self._signers.find_signer)

    async def certificates(self, recipient: Address) -> Answer[tuple[RecipientCertificate, ...]]:
        """Certificates of ``recipient``."""
        return await self._once("certificates", recipient, self._certificates.find_certificates)

    async def decryption_keys(self, recipient: Address) -> Answer[tuple[DecryptionKey, ...]]:
        """Keys of ``recipient``, through the alias map (law: only a key of that envelope recipient opens)."""
        return await self._once("keys", recipient, self._find_keys)

    def start_certificates(self, recipient: Address) -> None:
        """Begin a look-up whose answer will be asked for later."""
        self._start("certificates", recipient, self._certificates.find_certificates)

    def close(self) -> None:
        """Drop look-ups that nobody waits for any more."""
        for task in self._tasks.values():
            task.cancel()

    async def _find_keys(self, recipient: Address) -> Answer[tuple[DecryptionKey, ...]]:
        names = await self._aliases.resolve(recipient)
        if not isinstance(names, Found):
            return names
        return await self._keys.find_keys(names.value)

    async def _once(self, kind: str, about: Address, ask: Callable[[Address], Awaitable[Answer[T]]]) -> Answer[T]:
        key = (kind, about.key)
        if key in self._tasks:
            # The key of the memo names the port, so the type of the answer is the port's.
            return await self._tasks[key]  # type: ignore[return-value]
        if key in self._answers:
            return self._answers[key]  # type: ignore[return-value]
        answer = await self._ask(kind, about, ask)
        self._answers[key] = answer
        return answer

    def _start(self, kind: str, about: Address, ask: Callable[[Address], Awaitable[Answer[T]]]) -> None:
        key = (kind, about.key)
        if key not in self._tasks and key not in self._answers:
            self._tasks[key] = asyncio.create_task(self._ask(kind, about, ask))  # type: ignore[arg-type]

    async def _ask(self, kind: str, about: Address, ask: Callable[[Address], Awaitable[Answer[T]]]) -> Answer[T]:
        answer = await self._answer(about, ask)
        if isinstance(answer, Unavailable):
            # A log that cannot be written does not hold up the mail.
            with suppress(OSError):
                self._unavailable(kind, answer.cause)
        return answer

    async def _answer(self, about: Address, ask: Callable[[Address], Awaitable[Answer[T]]]) -> Answer[T]:
        try:
            async with asyncio.timeout(self._timeout):
                answer: object = await ask(about)
        except TimeoutError:
            return Unavailable("no answer in time")
        except Exception as error:  # a store's own bug or an error of its library has not answered either
            return Unavailable(f"look-up failed: {type(error).__name__}")
        return answer if isinstance(answer, (Found, Nothing, Unavailable)) else Unavailable("look-up gave no answer")
