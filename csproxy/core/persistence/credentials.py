"""Rows of passwords and log-ins: the tables ``credentials`` and ``log_ins``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from csproxy.core.log_in_state import LogInState
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.ownership import ObjectId
from csproxy.core.persistence import tables
from csproxy.core.persistence.records import CredentialRow
from csproxy.core.persistence.rows import delete_rows, insert_rows

__all__ = [
    "CREDENTIAL_COLUMNS",
    "credential_row",
    "log_in_row",
    "read_former",
    "replace_credentials",
    "replace_hash",
    "write_log_ins",
]

_c = tables.credentials.c
CREDENTIAL_COLUMNS: Final = (_c.type, _c.dbid, _c.hash, _c.updated_ms)
_PERSON: Final = int(CfgObjectType.CFGPerson)
_TEXT: Final = 255
_f = tables.former_hashes.c


def credential_row(row: Row[*tuple[Any, ...]]) -> CredentialRow:
    """A row of `CREDENTIAL_COLUMNS`."""
    return CredentialRow(row.type, row.dbid, row.hash, row.updated_ms)


def log_in_row(row: Row[*tuple[Any, ...]]) -> tuple[int, LogInState]:
    """A row of ``log_ins``: DBID and state."""
    dbid, *rest = row
    return dbid, LogInState(*rest)


def read_former(connection: Connection, ids: Iterable[ObjectId]) -> dict[ObjectId, list[str]]:
    """The former hashes of some objects, newest first."""
    found: dict[ObjectId, list[str]] = {}
    for id in ids:
        query = select(_f.hash).where(_f.type == id[0], _f.dbid == id[1]).order_by(_f.number)
        found[id] = list(connection.execute(query).scalars())
    return found


def replace_credentials(connection: Connection, rows: Sequence[CredentialRow]) -> None:
    """Write hashes and those before them; a row without hash deletes all that is kept of the object."""
    keys = [{"type": row.type, "dbid": row.dbid} for row in rows]
    former = [(row.type, row.dbid, number, hash) for row in rows for number, hash in enumerate(row.former)]
    delete_rows(connection, tables.credentials, keys)
    delete_rows(connection, tables.former_hashes, keys)
    insert_rows(connection, tables.credentials, [row[:4] for row in rows if row.hash is not None])
    insert_rows(connection, tables.former_hashes, former)
    gone = [{"dbid": row.dbid} for row in rows if row.hash is None and row.type == _PERSON]
    delete_rows(connection, tables.log_ins, gone)


def replace_hash(connection: Connection, id: ObjectId, *, old: str, new: str) -> None:
    """Put another hash of the same password in place, unless ``old`` is not there any more."""
    change = update(tables.credentials).where(_c.type == id[0], _c.dbid == id[1], _c.hash == old).values(hash=new)
    connection.execute(change)


def write_log_ins(connection: Connection, states: Mapping[int, LogInState | None]) -> None:
    """Write the log-ins of Persons by DBID; None deletes them."""
    delete_rows(connection, tables.log_ins, [{"dbid": dbid} for dbid in states])
    insert_rows(connection, tables.log_ins, [_values(dbid, state) for dbid, state in states.items() if state])


def _values(dbid: int, state: LogInState) -> tuple[Any, ...]:
    names = state.application[:_TEXT], state.address[:_TEXT]
    return dbid, state.last_ms, *names, state.failed, state.failed_ms, state.tries, state.locked_ms
