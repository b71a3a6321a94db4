"""Which addresses are the same mailbox, from a CSV file. Implements a port of a transaction.

The file (RFC 4180; UTF-8; ``#`` starts a comment line; a first line ``alias,mailbox`` is a heading)::

    alias,mailbox
    sales@acme.example,alice@acme.example
    a.smith@acme.example,alice@acme.example

What it does: everything that leads to one mailbox, over several lines too, is one group, and resolving any of them
gives the group; upper and lower case are the same. It decides whose keys may open a message, so it is strict: an alias
with two mailboxes is a distribution list, not a mailbox, and is refused, as is what is no address. Such lines are
:attr:`CsvAliases.problems`, and the addresses in them are ``unavailable`` until they are repaired; with a file that
cannot be read, every address is. Known gap: no patterns and no whole domains.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from gateway.address import Address
from gateway.errors import KeyMaterialError, Problem
from gateway.lookup import Answer, Found, Unavailable
from gateway.stores.keys import read_octets


class CsvAliases:
    """The alias map; implements ``ports.Aliases``. Immutable once made."""

    def __init__(self, path: Path | None) -> None:
        """Load the file; without one, every address stands for itself."""
        self._group_of: dict[str, str] = {}
        self._members: dict[str, dict[str, Address]] = {}
        self._unavailable: dict[str, str] = {}
        self._broken = ""
        self._path = path
        self._problems: list[Problem] = []
        if path is not None:
            self._load(path)
        self.problems: tuple[Problem, ...] = tuple(self._problems)
        """What has to be repaired, with line numbers."""
        self.warnings: tuple[Problem, ...] = ()
        """Nothing, so far: here for the sake of its likes."""

    async def resolve(self, recipient: Address) -> Answer[tuple[Address, ...]]:
        """Return ``recipient`` as it is, then every other address of the same mailbox. Never ``Nothing``."""
        key = recipient.key
        if self._broken:
            return Unavailable(self._broken)
        if key in self._unavailable:
            return Unavailable(self._unavailable[key])
        group = self._group_of.get(key)
        members = self._members[group] if group is not None else {}
        return Found((recipient, *(address for member, address in members.items() if member != key)))

    def _load(self, path: Path) -> None:
        try:
            text = read_octets(path).decode("utf-8-sig")
        except (KeyMaterialError, UnicodeDecodeError) as error:
            cause = str(error) if isinstance(error, KeyMaterialError) else f"{path}: not UTF-8"
            self._broken = cause
            self._problems.append(Problem(file=str(path), line=None, key="", text=cause.removeprefix(f"{path}: ")))
            return
        pairs: list[tuple[Address, Address]] = []
        mailbox_of: dict[str, str] = {}
        for line, fields in _rows(text):
            addresses = [_parse(field) for field in fields]
            alias, mailbox = (*addresses, None, None)[:2]
            if len(fields) != 2 or alias is None or mailbox is None:
                self._refuse(line, addresses, "expected alias,mailbox: two mail addresses")
            elif mailbox_of.setdefault(alias.key, mailbox.key) != mailbox.key:
                self._refuse(line, [alias], f"{alias} has another mailbox already: a list is no mailbox")
            else:
                pairs.append((alias, mailbox))
        for alias, mailbox in pairs:
            if alias.key not in self._unavailable:
                self._join(alias, mailbox)

    def _refuse(self, line: int, addresses: list[Address | None], text: str) -> None:
        self._problems.append(Problem(file=str(self._path), line=line, key="", text=text))
        for address in addresses:
            if address is not None:
                self._unavailable[address.key] = f"{self._path}:{line}: {text}"

    def _join(self, alias: Address, mailbox: Address) -> None:
        """Make the groups of both one."""
        target = self._group_of.setdefault(mailbox.key, mailbox.key)
        members = self._members.setdefault(target, {mailbox.key: mailbox})
        source = self._group_of.setdefault(alias.key, alias.key)
        if source != target:
            moved = self._members.pop(source, {alias.key: alias})
            members.update(moved)
            self._group_of.update(dict.fromkeys(moved, target))


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of every line that says something."""
    for line, row in enumerate(text.splitlines(), start=1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        fields = [field.strip() for field in next(csv.reader([row]), [])]
        if line == 1 and [field.lower() for field in fields] == ["alias", "mailbox"]:
            continue
        yield line, fields


def _parse(field: str) -> Address | None:
    try:
        address = Address(field)
    except ValueError:
        return None
    return address if field.isprintable() and " " not in field else None
