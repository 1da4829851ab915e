"""Payloads of reading: objects as of one position, and what a server says of itself."""

from __future__ import annotations

from typing import Any

import msgspec

from csproxy.transport.wire.payload import Payload

__all__ = ["ObjectsRead", "ObjectsSent", "ReadObjects", "SnapshotHandle", "Status"]


class ReadObjects(Payload, kw_only=True):
    """10 and 28, request: the objects of a type that fit the filter (docs/reference: filter keys).

    ``snapshot`` is a handle of OpenSnapshot or LoadBegin: the answer is then as of its position.
    ``consistent``: not older than the master's data is when the request comes (10 only).
    """

    type: int
    filter: dict[str, Any] = msgspec.field(default_factory=dict)
    snapshot: int = 0
    consistent: bool = False


class ObjectsRead(Payload, kw_only=True):
    """73, one part of an answer. ``objects`` stands last in the map.

    ``total`` is the number of objects of the whole answer (-1 while it is not known). ``folders``
    holds a folder DBID for each object when the filter has ``read_folder_dbid``, and ``paths`` a
    list of folder names, outermost first, when it has ``object_path``.
    """

    type: int
    total: int = 0
    folders: list[int] = msgspec.field(default_factory=list)
    paths: list[list[str]] = msgspec.field(default_factory=list)
    objects: list[msgspec.Raw] = msgspec.field(default_factory=list)


class ObjectsSent(Payload, kw_only=True):
    """20: the answer is complete; ``total`` objects were sent."""

    total: int = 0


class SnapshotHandle(Payload, kw_only=True):
    """1006, 1010 request: release; 1009 answer: the handle to use in ReadObjects."""

    snapshot: int


class Status(Payload, kw_only=True):
    """1015: what the server says of itself; see docs/reference for the keys of ``status``."""

    status: dict[str, Any] = msgspec.field(default_factory=dict)
