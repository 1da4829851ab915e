"""The writes that `ConfigClient.apply` carries out together.

    await client.apply([
        CreateWrite(CfgSkill, {"DBID": -1, "name": "english", "tenantDBID": 1}),
        UpdateWrite(CfgPerson, 101, {"agentInfo": {"skillLevels": {"added": [{"skillDBID": -1, "level": 5}]}}}),
    ])

Objects and deltas are in plain form: maps by published attribute names, enumerations as numbers. A
new object that later writes refer to has a negative DBID, unique among the new objects of its type
in the transaction; wherever a DBID may stand (links, pairs of DBID and type, ``folder``, ``dbid``),
this number stands for the DBID that the server gives out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from csproxy.core.model import SCHEMA, CfgObject
from csproxy.core.transactions import RequestedChange, Verb

__all__ = ["CreateWrite", "DeleteWrite", "UpdateWrite", "Write", "requested_change"]


class CreateWrite(NamedTuple):
    """Create an object; ``folder`` 0 is the default folder of its container and type."""

    type: type[CfgObject] | str | int
    object: Mapping[str, Any]
    folder: int = 0


class UpdateWrite(NamedTuple):
    """Change an object by a delta (docs/reference/delta.md)."""

    type: type[CfgObject] | str | int
    dbid: int
    delta: Mapping[str, Any]


class DeleteWrite(NamedTuple):
    """Delete an object and what belongs to it."""

    type: type[CfgObject] | str | int
    dbid: int


Write = CreateWrite | UpdateWrite | DeleteWrite | RequestedChange
"""A `RequestedChange` is a write as it is sent: for programs that make thousands."""


def requested_change(write: Write) -> RequestedChange:
    """A write as it is sent. Raises `ModelError` UNSUPPORTED_OBJECT for a type that does not exist."""
    if isinstance(write, RequestedChange):
        return write
    number = SCHEMA.object_type(write.type).number
    match write:
        case CreateWrite():
            return RequestedChange(message=Verb.CREATE, type=number, object=dict(write.object), folder=write.folder)
        case UpdateWrite():
            return RequestedChange(message=Verb.UPDATE, type=number, dbid=write.dbid, delta=dict(write.delta))
        case DeleteWrite():
            return RequestedChange(message=Verb.DELETE, type=number, dbid=write.dbid)
