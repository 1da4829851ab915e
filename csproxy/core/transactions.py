"""What a client asks for in a transaction: several changes that are carried out together or not at all."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

__all__ = ["RequestedChange", "Verb"]


class Verb(IntEnum):
    """What a change of a transaction asks for; the values are the numbers of the published requests."""

    CREATE = 7
    UPDATE = 8
    DELETE = 9


class RequestedChange(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One change of a transaction, as a client asks for it.

    ``message`` is a `Verb`. A creation has ``object`` and ``folder``, an update ``dbid`` and
    ``delta``, a deletion ``dbid``. A negative ``DBID`` of ``object`` is the number by which later
    changes of the transaction refer to it (`csproxy.core.placeholders`).
    """

    message: int
    type: int
    dbid: int = 0
    object: dict[str, Any] = msgspec.field(default_factory=dict)
    delta: dict[str, Any] = msgspec.field(default_factory=dict)
    folder: int = 0
