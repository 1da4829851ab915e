"""Writing a complete first configuration: `csproxy init` and generated sites; and what a master's first start adds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, select

from csproxy.core import codec
from csproxy.core.model.canonical import encode_object
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.model.schema import SCHEMA
from csproxy.core.persistence import tables
from csproxy.core.persistence.records import CredentialRow, ObjectRow
from csproxy.core.persistence.rows import replace_objects
from csproxy.core.persistence.store import Store
from csproxy.core.wellknown import FIRST_FREE_DBID

__all__ = ["create_configuration", "put_first_options"]

_APPLICATION = int(CfgObjectType.CFGApplication)


def create_configuration(
    url: str,
    objects: Iterable[tuple[int, Mapping[str, Any], int]],
    *,
    release: str,
    password_hashes: Mapping[tuple[int, int], str] | None = None,
    time_ms: int = 0,
) -> None:
    """Make a new database with ``objects``, each given as type number, plain object and folder DBID.

    The objects are encoded as they are: what breaks the integrity rules is the caller's affair.
    ``password_hashes`` are keyed by type number and DBID. UEN is 0 and there is no epoch until a
    master takes the database. Raises `StoreError` as `Store.create`, and `ModelError` for an object
    that cannot be encoded; then no database is left behind.
    """
    credentials = [CredentialRow(kind, dbid, hash, time_ms) for (kind, dbid), hash in (password_hashes or {}).items()]
    counters = dict.fromkeys(SCHEMA.types, FIRST_FREE_DBID - 1)
    Store.create(url, _rows(objects), release=release, credentials=credentials, counters=counters)


def put_first_options(connection: Connection, application: str, options: Mapping[str, Mapping[str, str]]) -> None:
    """Give the Application of a name the options, {section: {option: text}}, that it does not have yet.

    No change is recorded: it is for a database that no master has had, so that nobody follows it. Nothing
    happens if there is no such Application. Raises `ModelError` for options that an object cannot hold.
    """
    columns = tables.objects.c
    found = connection.execute(
        select(columns.dbid, columns.folder, columns.body).where(columns.type == _APPLICATION)
    ).all()
    for dbid, folder, body in found:
        obj = codec.decode_map(body)
        if obj.get("name") == application:
            own = obj.get("options") or {}
            merged = {section: {**names, **own.get(section, {})} for section, names in options.items()}
            body = encode_object(SCHEMA.types[_APPLICATION], {**obj, "options": {**own, **merged}})
            replace_objects(connection, [ObjectRow(_APPLICATION, dbid, folder, body)])


def _rows(objects: Iterable[tuple[int, Mapping[str, Any], int]]) -> Iterator[ObjectRow]:
    types = SCHEMA.types
    for number, obj, folder in objects:
        yield ObjectRow(number, obj["DBID"], folder, encode_object(types[number], obj))
