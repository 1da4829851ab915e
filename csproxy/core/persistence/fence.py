"""Who may write: only the master of the newest epoch, whatever others do at the same moment.

Every transaction that writes takes the lock of one row first, that of the head UEN, and looks at the
epochs then. A server that takes the database over takes the same lock. So the two are one after the
other on every database: SQLite has one writer at a time anyway, elsewhere the second waits for the row,
and its next statement sees what the first committed (READ COMMITTED). The lock is an UPDATE, which all
databases understand alike, and not SELECT … FOR UPDATE, which they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from csproxy.core.changes import Epoch
from csproxy.core.persistence import tables
from csproxy.errors import ErrorCode, FencedError

__all__ = ["advance_head", "check_epoch", "lock_head", "read_epochs", "read_head", "was_written"]

_value: Final = tables.counters.c.value
_is_head: Final = tables.counters.c.type == tables.UEN_COUNTER
_advance: Final = update(tables.counters).where(_is_head, _value == bindparam("seen")).values(value=bindparam("head"))
_touch: Final = update(tables.counters).where(_is_head).values(value=_value)
_read_head: Final = select(_value).where(_is_head)
_newest_epoch: Final = select(tables.epochs.c.epoch).order_by(tables.epochs.c.number.desc()).limit(1)


def read_head(connection: Connection) -> int:
    """The head UEN."""
    return int(connection.execute(_read_head).scalar_one())


def lock_head(connection: Connection) -> int:
    """Wait until no other writer is under way and keep others out until the transaction ends; the head UEN."""
    connection.execute(_touch)
    return read_head(connection)


def advance_head(connection: Connection, epoch: int | None, *, seen: int, head: int) -> None:
    """Begin a commit: lock, check that ``epoch`` is the newest, and move the head from ``seen`` to ``head``.

    Raises `FencedError` when another master has taken the database.
    """
    moved = connection.execute(_advance, {"seen": seen, "head": head})
    _check(connection, epoch)
    if moved.rowcount != 1:
        raise _fenced()


def check_epoch(connection: Connection, epoch: int | None) -> None:
    """Begin a write beside the objects: lock, and check that ``epoch`` is the newest; raises `FencedError`."""
    connection.execute(_touch)
    _check(connection, epoch)


def read_epochs(connection: Connection) -> list[Epoch]:
    """The epoch table, oldest first."""
    c = tables.epochs.c
    query = select(c.epoch, c.first_uen).order_by(c.number)
    return [Epoch(row.epoch, row.first_uen) for row in connection.execute(query)]


def was_written(epochs: Sequence[Epoch], *, head: int, epoch: int, uen: int) -> bool:
    """Whether the database holds change ``uen`` of ``epoch``, by its epoch table and its head."""
    for index, each in enumerate(epochs):
        if each.epoch == epoch:
            following = epochs[index + 1].first_uen if index + 1 < len(epochs) else head + 1
            return each.first_uen <= uen <= head and uen < following
    return False


def _check(connection: Connection, epoch: int | None) -> None:
    if epoch is None or connection.execute(_newest_epoch).scalar() != epoch:
        raise _fenced()


def _fenced() -> FencedError:
    return FencedError(
        "another master has taken the database since: this one must not write any more", code=ErrorCode.NO_DB_ACCESS
    )
