"""The operational mode: a row beside the objects.

Functions over a connection; `csproxy.core.persistence.store.Store.read_beside` and `write_beside` call
them in a transaction. The mode belongs to no UEN: a change of it is no change of an object.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, insert, select

from csproxy.core.model.other_enumerations import CfgOperationalMode
from csproxy.core.persistence import tables

__all__ = ["read_mode", "write_mode"]

_MODE: Final = "operational_mode"
_FULL: Final = int(CfgOperationalMode.CFGOperationalFullMode)


def read_mode(connection: Connection) -> int:
    """A number of CfgOperationalMode."""
    mode = connection.execute(select(tables.meta.c.value).where(tables.meta.c.name == _MODE)).scalar()
    return _FULL if mode is None else int(mode)


def write_mode(connection: Connection, mode: int) -> None:
    """Put the operational mode in place."""
    table = tables.meta
    connection.execute(delete(table).where(table.c.name == _MODE))
    connection.execute(insert(table), {"name": _MODE, "value": str(mode)})
