"""Trace events of single messages: what a client asked for, and what was answered. Names and numbers, no contents.

They cost one question to `logging` per message while they are not wanted.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from csproxy.core.log_events import LEVELS
from csproxy.core.model import SCHEMA
from csproxy.transport.wire.exchanges import message_name
from csproxy.transport.wire.frames import Frame

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["TRACE", "is_wanted", "tell_answered", "tell_objects_sent", "tell_received"]

TRACE: Final = LEVELS["trace"]
log = logging.getLogger("csproxy.messages")


is_wanted: Final = partial(log.isEnabledFor, TRACE)
"""Whether somebody wants these events; asked for every message."""


def tell_received(connection: ServerConnection, frame: Frame) -> None:
    """Write event 04541."""
    extra = {"event": 4541}
    log.log(TRACE, "%s from %r, request %d", message_name(frame.message), connection, frame.request, extra=extra)


def tell_answered(connection: ServerConnection, message: int, request: int) -> None:
    """Write event 04542."""
    log.log(TRACE, "%s to %r, request %d", message_name(message), connection, request, extra={"event": 4542})


def tell_objects_sent(connection: ServerConnection, kind: int, count: int) -> None:
    """Write event 24215."""
    known = SCHEMA.types.get(kind)
    name = kind if known is None else known.name
    log.log(TRACE, "%d objects of type %s sent to %r", count, name, connection, extra={"event": 24215})
