"""The table of the delivery journal, and the statements that are made on it.

What it does: one row for each recipient of a message (the key names both, see :mod:`gateway.transaction.journal`), in
doubt or accepted. Each function makes one statement, or one for each batch of keys, on a connection whose transaction
the caller has begun. What it raises: what SQLAlchemy does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

SCHEMA_VERSION = 1
"""``PRAGMA user_version`` of a database with this table."""

_BATCH = 500
"""Keys per statement, well below SQLite's limit of parameters."""


class State(StrEnum):
    """State of a row."""

    IN_DOUBT = "in doubt"
    """It is being sent, or was when its owner died."""
    ACCEPTED = "accepted"
    """The upstream has accepted it."""


metadata = sa.MetaData()
rows = sa.Table(
    "deliveries",
    metadata,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("claim", sa.Integer, nullable=False),
    sa.Column("moment", sa.Integer, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""``claim`` counts within the owner; ``moment`` is civil time of the last write, in seconds since 1970."""

Row = sa.Row[*tuple[object, ...]]

_FORGET = sa.delete(rows).where(
    rows.c.key == sa.bindparam("one"),
    rows.c.claim == sa.bindparam("number"),
    rows.c.owner == sa.bindparam("mine"),
    rows.c.state == State.IN_DOUBT,
)


def select(connection: sa.Connection, keys: Sequence[bytes]) -> list[Row]:
    """Return the rows of ``keys`` that exist."""
    found: list[Row] = []
    for start in range(0, len(keys), _BATCH):
        found += connection.execute(sa.select(rows).where(rows.c.key.in_(keys[start : start + _BATCH]))).all()
    return found


def select_older(connection: sa.Connection, moment: int, most: int) -> Sequence[Row]:
    """Return rows last written before ``moment``, oldest first, at most ``most``."""
    older = sa.select(rows).where(rows.c.moment < moment).order_by(rows.c.moment).limit(most)
    return connection.execute(older).all()


def write(
    connection: sa.Connection, keys: Iterable[bytes], state: State, *, owner: str, claim: int, moment: int
) -> None:
    """Put in rows or replace them; ``keys`` is not empty."""
    statement = insert(rows)
    changed = {name: statement.excluded[name] for name in ("state", "owner", "claim", "moment")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=[rows.c.key], set_=changed),
        [{"key": key, "state": state.value, "owner": owner, "claim": claim, "moment": moment} for key in keys],
    )


def forget(connection: sa.Connection, owner: str, claimed: Iterable[tuple[bytes, int]]) -> None:
    """Remove what ``owner`` has in doubt of these keys and claims; ``claimed`` is not empty."""
    connection.execute(_FORGET, [{"one": key, "number": number, "mine": owner} for key, number in claimed])


def delete(connection: sa.Connection, keys: Sequence[bytes]) -> None:
    """Remove rows."""
    for start in range(0, len(keys), _BATCH):
        connection.execute(sa.delete(rows).where(rows.c.key.in_(keys[start : start + _BATCH])))


def oldest(connection: sa.Connection) -> int | None:
    """Return when the oldest row was last written; ``None`` for an empty table."""
    found: int | None = connection.scalar(sa.select(sa.func.min(rows.c.moment)))
    return found


def is_empty(connection: sa.Connection) -> bool:
    """Whether there is no row."""
    return connection.execute(sa.select(rows.c.key).limit(1)).first() is None
