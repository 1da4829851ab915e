"""Which message may answer which, and who may send what: facts that both state machines share.

Every message number belongs to exactly one of: requests (keys of `ANSWERS`), answers (their
values) and unasked messages (`UNASKED`, request id 0). The three notifications of changes are
both: answers to a write, and unasked to subscribers. `docs/protocol.md` prints the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from csproxy.transport.wire.messages import PAYLOADS, MessageId

__all__ = ["ANSWERS", "IMPLEMENTED_REQUESTS", "NOT_FROM_CLIENTS", "PARTS", "REGISTRATIONS", "UNASKED", "message_name"]

_M = MessageId

ANSWERS: Final[Mapping[int, frozenset[int]]] = {
    _M.PROTOCOL_VERSION: frozenset({_M.PROTOCOL_VERSION_READ}),
    _M.REGISTER_CLIENT: frozenset({_M.CLIENT_REGISTERED}),
    _M.REGISTER_CLIENT_2: frozenset({_M.CLIENT_REGISTERED}),
    _M.RESTORE_SESSION: frozenset({_M.CLIENT_REGISTERED}),
    _M.HISTORY_LOG: frozenset({_M.HISTORY_LOG_SENT}),
    _M.RESUME_FROM: frozenset({_M.HISTORY_LOG_SENT}),
    _M.CREATE_OBJECT: frozenset({_M.OBJECT_CREATED}),
    _M.UPDATE_OBJECT: frozenset({_M.OBJECT_UPDATED}),
    _M.DELETE_OBJECT: frozenset({_M.OBJECT_DELETED}),
    _M.READ_OBJECTS: frozenset({_M.OBJECTS_READ, _M.OBJECTS_SENT}),
    _M.GET_BRIEF_INFO: frozenset({_M.BRIEF_INFO, _M.OBJECTS_SENT}),
    _M.READ_PERMISSIONS: frozenset({_M.PERMISSIONS_READ}),
    _M.UPDATE_PERMISSIONS: frozenset({_M.PERMISSIONS_UPDATED}),
    _M.READ_OBJECT_PERMISSIONS: frozenset({_M.OBJECT_PERMISSIONS_READ}),
    _M.READ_ACCOUNT: frozenset({_M.ACCOUNT_READ}),
    _M.UPDATE_ACCOUNT: frozenset({_M.ACCOUNT_UPDATED}),
    _M.CHANGE_OPERATIONAL_MODE: frozenset({_M.OPERATIONAL_MODE_CHANGED}),
    _M.READ_OPERATIONAL_MODE: frozenset({_M.OPERATIONAL_MODE_READ}),
    _M.READ_SCHEMA_INFO: frozenset({_M.SCHEMA_INFO}),
    _M.SCHEMA_FILE: frozenset({_M.SCHEMA_FILE_SENT}),
    _M.READ_LOCALE: frozenset({_M.LOCALE_READ}),
    _M.GET_LOCALE_SETS: frozenset({_M.LOCALE_SETS}),
    _M.REGISTER_PERMISSIONS_NOTIFICATION: frozenset({_M.PERMISSIONS_NOTIFICATION_REGISTERED}),
    _M.UNREGISTER_PERMISSIONS_NOTIFICATION: frozenset({_M.PERMISSIONS_NOTIFICATION_UNREGISTERED}),
    _M.AUTHENTICATE: frozenset({_M.AUTHENTICATED}),
    _M.REGISTER_NOTIFICATION: frozenset({_M.NOTIFICATION_REGISTERED}),
    _M.UNREGISTER_NOTIFICATION: frozenset({_M.NOTIFICATION_UNREGISTERED}),
    _M.CHANGE_PASSWORD: frozenset({_M.PASSWORD_CHANGED}),
    _M.LOAD_BEGIN: frozenset({_M.LOAD_GRANTED, _M.LOAD_DEFERRED}),
    _M.LOAD_END: frozenset({_M.LOAD_ENDED}),
    _M.OPEN_SNAPSHOT: frozenset({_M.SNAPSHOT_OPENED}),
    _M.CLOSE_SNAPSHOT: frozenset({_M.SNAPSHOT_CLOSED}),
    _M.READ_DIGEST: frozenset({_M.DIGEST}),
    _M.VERIFY: frozenset({_M.VERIFIED}),
    _M.READ_STATUS: frozenset({_M.STATUS}),
    _M.WRITE_OUTCOME: frozenset({_M.WRITE_OUTCOME_READ}),
    _M.APPLY_TRANSACTION: frozenset({_M.TRANSACTION_APPLIED}),
    _M.PEER_UPDATE: frozenset({_M.PEER_UPDATE_TAKEN}),
    _M.SESSION_RECORDS: frozenset({_M.SESSION_RECORDS_STORED}),
    _M.PING: frozenset({_M.PONG}),
    _M.READ_CREDENTIALS: frozenset({_M.CREDENTIALS_READ}),
    _M.LOG_IN_RECORDS: frozenset({_M.LOG_IN_RECORDS_STORED}),
    _M.READ_HISTORY: frozenset({_M.HISTORY_RECORDS}),
    _M.SET_KEEP_ALIVE: frozenset({_M.KEEP_ALIVE_SET}),
}
"""Request → its answers. Error (2) may answer every request and is left out here."""

IMPLEMENTED_REQUESTS: Final[frozenset[int]] = frozenset(ANSWERS.keys() & PAYLOADS.keys())
"""Requests that a server of this release serves; every other request is answered with error 3 by name."""

PARTS: Final[frozenset[int]] = frozenset({_M.OBJECTS_READ, _M.BRIEF_INFO})
"""Answers that never carry END: another frame of the same answer follows. All other answers carry it."""

REGISTRATIONS: Final[frozenset[int]] = frozenset({_M.REGISTER_CLIENT, _M.REGISTER_CLIENT_2, _M.RESTORE_SESSION})
"""The requests that an unregistered client may send, and a registered one may not."""

UNASKED: Final[frozenset[int]] = frozenset(
    {
        _M.DISCONNECTED,
        _M.OBJECT_CREATED,
        _M.OBJECT_UPDATED,
        _M.OBJECT_DELETED,
        _M.PERMISSIONS_CHANGED,
        _M.PROGRESS_MARK,
        _M.CREDENTIALS_CHANGED,
        _M.POLL,
        _M.PEER_NEWS,
    }
)
"""What a server sends with request id 0."""

NOT_FROM_CLIENTS: Final[frozenset[int]] = UNASKED.union({_M.ERROR}, *ANSWERS.values())
"""Numbers that only a server sends."""


def message_name(message: int) -> str:
    """``"ReadObjects (10)"``, or ``"message 4711"`` for a number that nobody knows; for error texts."""
    if message in MessageId._value2member_map_:
        words = MessageId(message).name.split("_")
        return "".join(word.capitalize() for word in words) + f" ({message})"
    return f"message {message}"
