"""The newest changes as the status page shows them: which object, what happened, who did it. No attribute of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import msgspec

from csproxy.core.changelog import ChangeLog, LogRecord
from csproxy.core.changes import Action
from csproxy.core.model import SCHEMA
from csproxy.daemon.health import iso
from csproxy.transport.wire.frames import HEADER, HEADER_SIZE

__all__ = ["SHOWN", "recent_changes"]

SHOWN: Final = 20
_LOOKED_AT: Final = 100
"""Records of the log that are looked at for them: some are no changes that clients see."""
_MAX_FRAME: Final = 256 * 1024
"""Of a longer one the author is not read: that takes time."""
_WORDS: Final = {int(Action.CREATED): "created", int(Action.UPDATED): "changed", int(Action.DELETED): "deleted"}


class _Heading(msgspec.Struct):
    """What the payloads of all three notifications have."""

    user: str = ""
    application: str = ""
    time_ms: int = 0


_decode = msgspec.msgpack.Decoder(_Heading).decode


def recent_changes(log: ChangeLog) -> list[dict[str, Any]]:
    """The last changes of the window, the newest first, at most `SHOWN`."""
    found: list[dict[str, Any]] = []
    for record in reversed(list(log.records(max(log.start, log.end - _LOOKED_AT), log.end))):
        if len(found) == SHOWN:
            break
        known = SCHEMA.types.get(record.type)
        if known is not None and record.frame:
            found.append({"uen": record.position.uen, "type": known.name, "dbid": record.dbid, **_told(record)})
    return found


def _told(record: LogRecord) -> dict[str, Any]:
    frame = record.frame
    action = _WORDS.get(HEADER.unpack_from(frame)[1], "")
    heading = _Heading()
    if len(frame) <= _MAX_FRAME:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):  # whoever follows the stream refuses it
            heading = _decode(frame[HEADER_SIZE:])
    return {
        "action": action,
        "user": heading.user,
        "application": heading.application,
        "time": iso(heading.time_ms / 1000) if heading.time_ms else "",
    }
