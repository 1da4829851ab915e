"""A change, a transaction and a position in the change stream.

The payloads of the three notifications (created, updated, deleted) are defined here and not with
the wire messages, because the change records of the database hold the same bytes: what a
subscriber receives after a restart of the master is what it would have received before.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

__all__ = ["Action", "Change", "Epoch", "ObjectCreated", "ObjectDeleted", "ObjectUpdated", "Position", "Transaction"]


class Position(NamedTuple):
    """A place in the change stream: everything up to and including change ``uen`` of ``epoch``.

    ``epoch`` is a random number that a master draws each time it takes the database; two positions
    can be compared by ``uen`` alone only when the epoch table says that one history contains both.
    ``Position(0, 0)`` means *none*.
    """

    epoch: int
    uen: int


class Epoch(NamedTuple):
    """One row of the epoch table: a master took the database and numbered its changes from ``first_uen``."""

    epoch: int
    first_uen: int


class Action(IntEnum):
    """What happened to the object; the values are the numbers of the published notifications."""

    CREATED = 74
    UPDATED = 75
    DELETED = 16


class ObjectCreated(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Payload of message 74: the complete object, its folder and who made it.

    ``object`` is the stored form: a map by published attribute names, defaults left out, canonical.
    ``time_ms`` counts milliseconds since 1970-01-01 UTC. ``correction`` is explained at `Change`.
    """

    type: int
    object: msgspec.Raw
    folder: int = 0
    user: str = ""
    application: str = ""
    time_ms: int = 0
    correction: bool = False


class ObjectUpdated(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Payload of message 75: a delta, or the complete new object where a reload found a difference.

    ``folder`` is above 0 only when the object's folder differs from before.
    """

    type: int
    dbid: int
    delta: dict[str, Any] | None = None
    object: msgspec.Raw | None = None
    folder: int = 0
    user: str = ""
    application: str = ""
    time_ms: int = 0
    correction: bool = False


class ObjectDeleted(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Payload of message 16: the object's type and DBID, what it was, and who deleted it."""

    type: int
    dbid: int
    former: msgspec.Raw | None = None
    user: str = ""
    application: str = ""
    time_ms: int = 0
    correction: bool = False


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one object, decoded once and carried with the frame that announces it.

    ``object`` is the complete stored form for a creation (and for an update by a reload),
    ``delta`` the difference for any other update, ``former`` what a deleted object was. ``frame``
    is the whole notification frame (header included, request id 0, no history flag): fan-out and
    replay send these bytes and encode nothing again. ``last`` is true for the last change of its
    transaction.

    ``correction``: the server's data had differed from its master's and was put right, at a position
    that had been reached before. Such a change says what the object is (or that there is none), whatever
    the receiver holds, and counts although its position is not new.
    """

    action: Action
    type: int
    dbid: int
    position: Position
    frame: bytes
    last: bool = True
    object: bytes | None = None
    delta: dict[str, Any] | None = None
    former: bytes | None = None
    folder: int = 0
    user: str = ""
    application: str = ""
    time_ms: int = 0
    correction: bool = False


Transaction = Sequence[Change]
"""Changes that become visible together; only the last one has ``last`` set."""
