"""Message numbers, and the payload of each message.

Numbers below 1000 and their names are those that the vendor publishes for its Configuration
Protocol; the bytes are ours. Numbers from 1001 up are our additions. Payloads are msgpack maps
whose keys are the names of the fields; a field at its default may be left out, and an unknown field
is ignored, so that fields can be added without a new protocol version.

The payloads stand in a module for each subject, those of notifications (16, 74, 75) in
`csproxy.core.changes`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, TypeVar

import msgspec

from csproxy.core.changes import ObjectCreated, ObjectDeleted, ObjectUpdated
from csproxy.core.model.misencoded import text_error
from csproxy.errors import ErrorCode, RemoteProtocolError
from csproxy.transport.wire import (
    administration,
    credentials,
    history,
    keepalive,
    pairs,
    reads,
    registration,
    replication,
    subscriptions,
    verification,
    writes,
)
from csproxy.transport.wire.payload import Disconnected, Empty, Error

__all__ = ["PAYLOADS", "PROTOCOL_VERSIONS", "MessageId", "decode_payload"]

PROTOCOL_VERSIONS: Final = (1,)
"""Versions that this release speaks, best last."""


class MessageId(IntEnum):
    """Every message number; a request stands before its answer."""

    ERROR = 2
    REGISTER_CLIENT = 3
    DISCONNECTED = 4
    CREATE_OBJECT = 7
    UPDATE_OBJECT = 8
    DELETE_OBJECT = 9
    READ_OBJECTS = 10
    NOTIFICATION_UNREGISTERED = 12
    NOTIFICATION_REGISTERED = 13
    OBJECT_DELETED = 16
    CLIENT_REGISTERED = 19
    OBJECTS_SENT = 20
    READ_PERMISSIONS = 24
    PERMISSIONS_READ = 25
    UPDATE_PERMISSIONS = 26
    PERMISSIONS_UPDATED = 27
    GET_BRIEF_INFO = 28
    BRIEF_INFO = 29
    READ_ACCOUNT = 30
    ACCOUNT_READ = 31
    UPDATE_ACCOUNT = 32
    ACCOUNT_UPDATED = 33
    CHANGE_OPERATIONAL_MODE = 36
    OPERATIONAL_MODE_CHANGED = 37
    READ_OPERATIONAL_MODE = 38
    OPERATIONAL_MODE_READ = 39
    RESTORE_SESSION = 40
    HISTORY_LOG = 41
    HISTORY_LOG_SENT = 42
    READ_SCHEMA_INFO = 43
    SCHEMA_INFO = 44
    READ_OBJECT_PERMISSIONS = 47
    OBJECT_PERMISSIONS_READ = 48
    PROTOCOL_VERSION = 49
    PROTOCOL_VERSION_READ = 50
    READ_LOCALE = 58
    LOCALE_READ = 59
    REGISTER_PERMISSIONS_NOTIFICATION = 62
    UNREGISTER_PERMISSIONS_NOTIFICATION = 63
    PERMISSIONS_NOTIFICATION_REGISTERED = 64
    PERMISSIONS_NOTIFICATION_UNREGISTERED = 65
    PERMISSIONS_CHANGED = 66
    AUTHENTICATE = 69
    AUTHENTICATED = 70
    SCHEMA_FILE = 71
    SCHEMA_FILE_SENT = 72
    OBJECTS_READ = 73
    OBJECT_CREATED = 74
    OBJECT_UPDATED = 75
    UNREGISTER_NOTIFICATION = 77
    REGISTER_NOTIFICATION = 78
    GET_LOCALE_SETS = 79
    LOCALE_SETS = 80
    CHANGE_PASSWORD = 81
    PASSWORD_CHANGED = 82
    REGISTER_CLIENT_2 = 103

    PROGRESS_MARK = 1001
    RESUME_FROM = 1002
    LOAD_BEGIN = 1003
    LOAD_GRANTED = 1004
    LOAD_DEFERRED = 1005
    LOAD_END = 1006
    LOAD_ENDED = 1007
    OPEN_SNAPSHOT = 1008
    SNAPSHOT_OPENED = 1009
    CLOSE_SNAPSHOT = 1010
    SNAPSHOT_CLOSED = 1011
    READ_DIGEST = 1012
    DIGEST = 1013
    READ_STATUS = 1014
    STATUS = 1015
    WRITE_OUTCOME = 1016
    WRITE_OUTCOME_READ = 1017
    APPLY_TRANSACTION = 1018
    TRANSACTION_APPLIED = 1019
    PEER_UPDATE = 1020
    PEER_UPDATE_TAKEN = 1021
    PEER_NEWS = 1022
    SESSION_RECORDS = 1026
    SESSION_RECORDS_STORED = 1027
    PING = 1028
    PONG = 1029
    READ_CREDENTIALS = 1030
    CREDENTIALS_READ = 1031
    CREDENTIALS_CHANGED = 1032
    READ_HISTORY = 1033
    HISTORY_RECORDS = 1034
    LOG_IN_RECORDS = 1035
    LOG_IN_RECORDS_STORED = 1036
    SET_KEEP_ALIVE = 1037
    KEEP_ALIVE_SET = 1038
    POLL = 1039
    VERIFY = 1040
    VERIFIED = 1041


PAYLOADS: Final[dict[int, type[msgspec.Struct]]] = {
    MessageId.ERROR: Error,
    MessageId.REGISTER_CLIENT: registration.RegisterClient,
    MessageId.REGISTER_CLIENT_2: registration.RegisterClient,
    MessageId.DISCONNECTED: Disconnected,
    MessageId.CREATE_OBJECT: writes.CreateObject,
    MessageId.UPDATE_OBJECT: writes.UpdateObject,
    MessageId.DELETE_OBJECT: writes.DeleteObject,
    MessageId.READ_OBJECTS: reads.ReadObjects,
    MessageId.NOTIFICATION_UNREGISTERED: Empty,
    MessageId.NOTIFICATION_REGISTERED: Empty,
    MessageId.OBJECT_DELETED: ObjectDeleted,
    MessageId.CLIENT_REGISTERED: registration.ClientRegistered,
    MessageId.OBJECTS_SENT: reads.ObjectsSent,
    MessageId.READ_PERMISSIONS: administration.ReadPermissions,
    MessageId.PERMISSIONS_READ: administration.PermissionsRead,
    MessageId.UPDATE_PERMISSIONS: administration.UpdatePermissions,
    MessageId.PERMISSIONS_UPDATED: administration.PermissionsUpdated,
    MessageId.GET_BRIEF_INFO: reads.ReadObjects,
    MessageId.BRIEF_INFO: administration.BriefInfo,
    MessageId.READ_ACCOUNT: administration.ReadAccount,
    MessageId.ACCOUNT_READ: administration.Account,
    MessageId.UPDATE_ACCOUNT: administration.Account,
    MessageId.ACCOUNT_UPDATED: administration.Account,
    MessageId.CHANGE_OPERATIONAL_MODE: administration.OperationalMode,
    MessageId.OPERATIONAL_MODE_CHANGED: administration.OperationalMode,
    MessageId.READ_OPERATIONAL_MODE: Empty,
    MessageId.OPERATIONAL_MODE_READ: administration.OperationalMode,
    MessageId.RESTORE_SESSION: registration.RestoreSession,
    MessageId.HISTORY_LOG: subscriptions.HistoryLog,
    MessageId.HISTORY_LOG_SENT: Empty,
    MessageId.READ_SCHEMA_INFO: Empty,
    MessageId.SCHEMA_INFO: administration.SchemaInfo,
    MessageId.READ_OBJECT_PERMISSIONS: administration.ReadObjectPermissions,
    MessageId.OBJECT_PERMISSIONS_READ: administration.ObjectPermissionsRead,
    MessageId.PROTOCOL_VERSION: registration.ProtocolVersion,
    MessageId.PROTOCOL_VERSION_READ: registration.ProtocolVersionRead,
    MessageId.READ_LOCALE: administration.ReadLocale,
    MessageId.LOCALE_READ: administration.LocaleRead,
    MessageId.REGISTER_PERMISSIONS_NOTIFICATION: Empty,
    MessageId.UNREGISTER_PERMISSIONS_NOTIFICATION: Empty,
    MessageId.PERMISSIONS_NOTIFICATION_REGISTERED: Empty,
    MessageId.PERMISSIONS_NOTIFICATION_UNREGISTERED: Empty,
    MessageId.PERMISSIONS_CHANGED: administration.PermissionsChanged,
    MessageId.AUTHENTICATE: registration.Authenticate,
    MessageId.AUTHENTICATED: registration.Authenticated,
    MessageId.SCHEMA_FILE: Empty,
    MessageId.SCHEMA_FILE_SENT: administration.SchemaFileSent,
    MessageId.OBJECTS_READ: reads.ObjectsRead,
    MessageId.OBJECT_CREATED: ObjectCreated,
    MessageId.OBJECT_UPDATED: ObjectUpdated,
    MessageId.UNREGISTER_NOTIFICATION: subscriptions.UnregisterNotification,
    MessageId.REGISTER_NOTIFICATION: subscriptions.RegisterNotification,
    MessageId.GET_LOCALE_SETS: Empty,
    MessageId.LOCALE_SETS: administration.LocaleSets,
    MessageId.CHANGE_PASSWORD: administration.ChangePassword,
    MessageId.PASSWORD_CHANGED: Empty,
    MessageId.PROGRESS_MARK: Empty,
    MessageId.RESUME_FROM: subscriptions.ResumeFrom,
    MessageId.LOAD_BEGIN: replication.LoadBegin,
    MessageId.LOAD_GRANTED: replication.LoadGranted,
    MessageId.LOAD_DEFERRED: replication.LoadDeferred,
    MessageId.LOAD_END: reads.SnapshotHandle,
    MessageId.LOAD_ENDED: Empty,
    MessageId.OPEN_SNAPSHOT: Empty,
    MessageId.SNAPSHOT_OPENED: reads.SnapshotHandle,
    MessageId.CLOSE_SNAPSHOT: reads.SnapshotHandle,
    MessageId.SNAPSHOT_CLOSED: Empty,
    MessageId.READ_DIGEST: replication.ReadDigest,
    MessageId.DIGEST: replication.Digest,
    MessageId.VERIFY: verification.Verify,
    MessageId.VERIFIED: verification.Verified,
    MessageId.READ_STATUS: Empty,
    MessageId.STATUS: reads.Status,
    MessageId.APPLY_TRANSACTION: writes.ApplyTransaction,
    MessageId.TRANSACTION_APPLIED: writes.TransactionApplied,
    MessageId.WRITE_OUTCOME: writes.WriteOutcome,
    MessageId.WRITE_OUTCOME_READ: writes.WriteOutcomeRead,
    MessageId.PEER_UPDATE: pairs.PeerUpdate,
    MessageId.PEER_UPDATE_TAKEN: Empty,
    MessageId.PEER_NEWS: pairs.PeerNews,
    MessageId.READ_CREDENTIALS: credentials.ReadCredentials,
    MessageId.CREDENTIALS_READ: credentials.CredentialsRead,
    MessageId.CREDENTIALS_CHANGED: credentials.CredentialsChanged,
    MessageId.LOG_IN_RECORDS: credentials.LogInRecords,
    MessageId.LOG_IN_RECORDS_STORED: Empty,
    MessageId.SESSION_RECORDS: history.SessionRecords,
    MessageId.SESSION_RECORDS_STORED: Empty,
    MessageId.PING: Empty,
    MessageId.PONG: Empty,
    MessageId.SET_KEEP_ALIVE: keepalive.SetKeepAlive,
    MessageId.KEEP_ALIVE_SET: Empty,
    MessageId.POLL: Empty,
    MessageId.READ_HISTORY: history.ReadHistory,
    MessageId.HISTORY_RECORDS: history.HistoryRecords,
}
"""Payload class of each message that this release builds or reads."""

_S = TypeVar("_S", bound=msgspec.Struct)
_DECODERS: Final[dict[type[msgspec.Struct], msgspec.msgpack.Decoder[Any]]] = {
    cls: msgspec.msgpack.Decoder(cls) for cls in PAYLOADS.values()
}
_EMPTY_MAP: Final = b"\x80"


def decode_payload(cls: type[_S], payload: bytes) -> _S:
    """Read the payload of a frame as ``cls``, one of PAYLOADS; no bytes stand for an empty map.

    Raises `RemoteProtocolError` when the bytes are not such a payload: code 25 naming the field, code 41 naming
    the field and the byte for a text that is not UTF-8.
    """
    try:
        decoded: _S = _DECODERS[cls].decode(payload or _EMPTY_MAP)
    except UnicodeDecodeError as e:
        wrong = text_error(f"the payload is not a valid {cls.__name__}", payload, e)
        raise RemoteProtocolError(str(wrong), code=wrong.code) from e
    except (msgspec.MsgspecError, RecursionError) as e:
        raise RemoteProtocolError(
            f"the payload is not a valid {cls.__name__}: {e}", code=ErrorCode.OBJECT_PACKING_ERROR
        ) from e
    return decoded
