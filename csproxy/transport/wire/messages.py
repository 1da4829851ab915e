"""Message numbers and payloads.

Numbers below 1000 and their names are those that the vendor publishes for its Configuration
Protocol; the bytes are ours. Numbers from 1001 up are our additions. Payloads are msgpack maps
whose keys are the field names below; a field at its default may be left out, and an unknown field
is ignored, so that fields can be added without a new protocol version.

The notification payloads (16, 74, 75) are defined in `csproxy.core.changes`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, TypeVar

import msgspec

from csproxy.core.changes import ObjectCreated, ObjectDeleted, ObjectUpdated
from csproxy.core.transactions import RequestedChange
from csproxy.errors import ErrorCode, RemoteProtocolError
from csproxy.transport.wire import administration
from csproxy.transport.wire.payload import Payload

__all__ = ["IMPLEMENTED_REQUESTS", "PAYLOADS", "PROTOCOL_VERSIONS", "MessageId", "Payload", "decode_payload"]

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
    PEER_ROLE = 1020
    PEER_ROLE_KNOWN = 1021
    PEER_SESSION_OPENED = 1022
    PEER_SESSION_CLOSED = 1023
    PEER_SUBSCRIPTIONS = 1024
    PEER_RECORD_STORED = 1025
    SESSION_RECORDS = 1026
    SESSION_RECORDS_STORED = 1027
    PING = 1028
    PONG = 1029
    READ_CREDENTIALS = 1030
    CREDENTIALS_READ = 1031
    CREDENTIALS_CHANGED = 1032
    READ_HISTORY = 1033
    HISTORY_RECORDS = 1034


class Subscription(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What a client wants to be told of; 0 stands for *all* in each field."""

    object_type: int = 0
    tenant_id: int = 0
    object_dbid: int = 0
    exclude_bytecode: bool = False


class Error(Payload, kw_only=True):
    """2, event: a request was refused. ``retry_after_ms`` > 0: the same request may succeed later."""

    code: int
    object_type: int = 0
    property: str = ""
    description: str = ""
    retry_after_ms: int = 0


class Disconnected(Payload, kw_only=True):
    """4, event: the last frame before the sender closes the connection, with the reason."""

    code: int
    description: str = ""
    retry_after_ms: int = 0


class ProtocolVersion(Payload, kw_only=True):
    """49, request, the first of a connection: the versions that the client speaks."""

    client: str = ""
    versions: list[int] = msgspec.field(default_factory=list)
    release: str = ""


class ProtocolVersionRead(Payload, kw_only=True):
    """50: the version chosen, and the limits (bytes) that the server sets on frames."""

    version: int
    encoding: str = "UTF-8"
    release: str = ""
    max_frame: int = 0


class RegisterClient(Payload, kw_only=True):
    """3 and 103, request: log in. 103 carries ``new_password`` too.

    ``type`` is a CfgAppType number and ``name`` that of an Application object of this type. A
    daemon Application may leave ``user`` empty and acts as its account.
    """

    type: int
    name: str
    user: str = ""
    password: str = ""
    app_password: str = ""
    new_password: str = ""
    encoding: str = "UTF-8"
    ticket: bytes = b""
    gss_token: bytes = b""
    release: str = ""


class RestoreSession(RegisterClient, kw_only=True):
    """40, request: continue session ``session`` (32 hexadecimal digits) with its subscriptions.

    The session id is the credential: no password is checked. Notifications stay held back until
    the client sends HistoryLog.
    """

    session: str


class ClientRegistered(Payload, kw_only=True):
    """19: the client may work. The header holds the server's position.

    ``role`` is ``master`` or ``proxy``; ``epochs`` is the epoch table, oldest first, as pairs of
    epoch and first UEN.
    """

    session: str
    protocol_version: int
    server_dbid: int = 0
    backup_dbid: int = 0
    schema_version: str = ""
    encoding: str = "UTF-8"
    release: str = ""
    role: str = ""
    epochs: list[tuple[int, int]] = msgspec.field(default_factory=list)
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


class HistoryLog(Payload, kw_only=True):
    """41, request: send what was missed since the position in the header, then the live stream.

    ``session`` is the caller's own session id. Only for a restored session that has not asked yet.
    """

    session: str


class ResumeFrom(Payload, kw_only=True):
    """1002, request: take these subscriptions and send all matching changes after the header's position.

    For a fresh registration, at any member of a pair or pool. Subscriptions already held are kept.
    """

    subscriptions: list[Subscription] = msgspec.field(default_factory=list)


class RegisterNotification(Subscription, frozen=True):
    """78, request: subscribe. A position in the header means: start with the changes after it."""


class UnregisterNotification(Subscription, frozen=True):
    """77, request: end the subscription that was made with the same fields."""


class ReadObjects(Payload, kw_only=True):
    """10 and 28, request: the objects of a type that fit the filter (docs/reference: filter keys).

    ``snapshot`` is a handle of OpenSnapshot or LoadBegin: the answer is then as of its position.
    """

    type: int
    filter: dict[str, Any] = msgspec.field(default_factory=dict)
    snapshot: int = 0


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


class CreateObject(Payload, kw_only=True):
    """7, request. ``key`` is an idempotency key: the same key never creates twice.

    ``folder`` 0 means the tenant's default folder of the type. ``on_behalf_of`` is accepted only
    from trusted proxies.
    """

    type: int
    object: dict[str, Any]
    folder: int = 0
    key: str = ""
    on_behalf_of: dict[str, Any] = msgspec.field(default_factory=dict)


class UpdateObject(Payload, kw_only=True):
    """8, request: ``delta`` as docs/protocol.md defines it."""

    type: int
    dbid: int
    delta: dict[str, Any] = msgspec.field(default_factory=dict)
    key: str = ""
    on_behalf_of: dict[str, Any] = msgspec.field(default_factory=dict)


class DeleteObject(Payload, kw_only=True):
    """9, request: delete an object and what belongs to it."""

    type: int
    dbid: int
    key: str = ""
    on_behalf_of: dict[str, Any] = msgspec.field(default_factory=dict)


class ApplyTransaction(Payload, kw_only=True):
    """1018, request: several creations, updates and deletions, all or nothing, in their order.

    A negative DBID of a new object is the number by which later changes refer to it.
    """

    changes: list[RequestedChange]
    key: str = ""
    on_behalf_of: dict[str, Any] = msgspec.field(default_factory=dict)


class WriteOutcome(Payload, kw_only=True):
    """1016, request: what became of the caller's own write with this idempotency key."""

    key: str


class AppliedChange(Payload, kw_only=True):
    """What became of one requested change; ``action`` is the number of its notification."""

    action: int
    type: int
    dbid: int


class TransactionApplied(Payload, kw_only=True):
    """1019: the transaction is committed; one item per requested change, in the order of the request."""

    changes: list[AppliedChange] = msgspec.field(default_factory=list)


class WriteOutcomeRead(Payload, kw_only=True):
    """1017: whether the write was carried out, where its transaction ended, and its changes as in 1019.

    Not ``known``: it was not carried out, or more than a day ago.
    """

    known: bool = False
    epoch: int = 0
    uen: int = 0
    changes: list[AppliedChange] = msgspec.field(default_factory=list)


class Authenticate(Payload, kw_only=True):
    """69, request: check a log-in without registering."""

    user: str
    password: str = ""
    ticket: bytes = b""
    gss_token: bytes = b""


class Authenticated(Payload, kw_only=True):
    """70: the log-in is right; ``person_dbid`` is the user's Person."""

    person_dbid: int = 0


class LoadBegin(Payload, kw_only=True):
    """1003, request of a proxy: a consistent snapshot of everything, and all changes after it.

    Granted, it opens a snapshot and subscribes to everything in one step.
    """


class LoadGranted(Payload, kw_only=True):
    """1004: read each type with this ``snapshot``; ``counts`` maps type number to objects.

    The header's position is that of the snapshot; changes after it follow as notifications.
    """

    snapshot: int
    counts: dict[int, int] = msgspec.field(default_factory=dict)
    epochs: list[tuple[int, int]] = msgspec.field(default_factory=list)


class LoadDeferred(Payload, kw_only=True):
    """1005: no load slot is free; ask again after ``retry_after_ms``."""

    retry_after_ms: int


class SnapshotHandle(Payload, kw_only=True):
    """1006, 1010 request: release; 1009 answer: the handle to use in ReadObjects."""

    snapshot: int


class ReadDigest(Payload, kw_only=True):
    """1012, request: ``types`` empty means all."""

    types: list[int] = msgspec.field(default_factory=list)


class Digest(Payload, kw_only=True):
    """1013: digest per type number, as 32 hexadecimal digits, at the header's position."""

    digests: dict[int, str] = msgspec.field(default_factory=dict)


class SessionRecords(Payload, kw_only=True):
    """1026, request of a proxy: clients that came to it and left it, each as `csproxy.core.history.SessionRecord`."""

    records: list[msgspec.Raw] = msgspec.field(default_factory=list)


class ReadHistory(Payload, kw_only=True):
    """1033, request: records of the history log numbered above ``after``, of changes after UEN ``since_uen``.

    At most ``limit`` of them (0: as many as the server gives in one answer).
    """

    since_uen: int = 0
    after: int = 0
    limit: int = 0


class HistoryRecords(Payload, kw_only=True):
    """1034: records, oldest first, each as `csproxy.core.history.HistoryRecord`, and their numbers.

    ``more``: others follow; ask again with ``after`` = the last number.
    """

    numbers: list[int] = msgspec.field(default_factory=list)
    records: list[msgspec.Raw] = msgspec.field(default_factory=list)
    more: bool = False


class Status(Payload, kw_only=True):
    """1015: what the server says of itself; see docs/reference for the keys of ``status``."""

    status: dict[str, Any] = msgspec.field(default_factory=dict)


class Empty(Payload, kw_only=True):
    """A payload without fields."""


PAYLOADS: Final[dict[int, type[msgspec.Struct]]] = {
    MessageId.ERROR: Error,
    MessageId.REGISTER_CLIENT: RegisterClient,
    MessageId.REGISTER_CLIENT_2: RegisterClient,
    MessageId.DISCONNECTED: Disconnected,
    MessageId.CREATE_OBJECT: CreateObject,
    MessageId.UPDATE_OBJECT: UpdateObject,
    MessageId.DELETE_OBJECT: DeleteObject,
    MessageId.READ_OBJECTS: ReadObjects,
    MessageId.NOTIFICATION_UNREGISTERED: Empty,
    MessageId.NOTIFICATION_REGISTERED: Empty,
    MessageId.OBJECT_DELETED: ObjectDeleted,
    MessageId.CLIENT_REGISTERED: ClientRegistered,
    MessageId.OBJECTS_SENT: ObjectsSent,
    MessageId.READ_PERMISSIONS: administration.ReadPermissions,
    MessageId.PERMISSIONS_READ: administration.PermissionsRead,
    MessageId.UPDATE_PERMISSIONS: administration.UpdatePermissions,
    MessageId.PERMISSIONS_UPDATED: administration.PermissionsUpdated,
    MessageId.GET_BRIEF_INFO: ReadObjects,
    MessageId.BRIEF_INFO: administration.BriefInfo,
    MessageId.READ_ACCOUNT: administration.ReadAccount,
    MessageId.ACCOUNT_READ: administration.Account,
    MessageId.UPDATE_ACCOUNT: administration.Account,
    MessageId.ACCOUNT_UPDATED: administration.Account,
    MessageId.CHANGE_OPERATIONAL_MODE: administration.OperationalMode,
    MessageId.OPERATIONAL_MODE_CHANGED: administration.OperationalMode,
    MessageId.READ_OPERATIONAL_MODE: Empty,
    MessageId.OPERATIONAL_MODE_READ: administration.OperationalMode,
    MessageId.RESTORE_SESSION: RestoreSession,
    MessageId.HISTORY_LOG: HistoryLog,
    MessageId.HISTORY_LOG_SENT: Empty,
    MessageId.READ_SCHEMA_INFO: Empty,
    MessageId.SCHEMA_INFO: administration.SchemaInfo,
    MessageId.READ_OBJECT_PERMISSIONS: administration.ReadObjectPermissions,
    MessageId.OBJECT_PERMISSIONS_READ: administration.ObjectPermissionsRead,
    MessageId.PROTOCOL_VERSION: ProtocolVersion,
    MessageId.PROTOCOL_VERSION_READ: ProtocolVersionRead,
    MessageId.READ_LOCALE: administration.ReadLocale,
    MessageId.LOCALE_READ: administration.LocaleRead,
    MessageId.REGISTER_PERMISSIONS_NOTIFICATION: Empty,
    MessageId.UNREGISTER_PERMISSIONS_NOTIFICATION: Empty,
    MessageId.PERMISSIONS_NOTIFICATION_REGISTERED: Empty,
    MessageId.PERMISSIONS_NOTIFICATION_UNREGISTERED: Empty,
    MessageId.PERMISSIONS_CHANGED: administration.PermissionsChanged,
    MessageId.AUTHENTICATE: Authenticate,
    MessageId.AUTHENTICATED: Authenticated,
    MessageId.SCHEMA_FILE: Empty,
    MessageId.SCHEMA_FILE_SENT: administration.SchemaFileSent,
    MessageId.OBJECTS_READ: ObjectsRead,
    MessageId.OBJECT_CREATED: ObjectCreated,
    MessageId.OBJECT_UPDATED: ObjectUpdated,
    MessageId.UNREGISTER_NOTIFICATION: UnregisterNotification,
    MessageId.REGISTER_NOTIFICATION: RegisterNotification,
    MessageId.GET_LOCALE_SETS: Empty,
    MessageId.LOCALE_SETS: administration.LocaleSets,
    MessageId.CHANGE_PASSWORD: administration.ChangePassword,
    MessageId.PASSWORD_CHANGED: Empty,
    MessageId.PROGRESS_MARK: Empty,
    MessageId.RESUME_FROM: ResumeFrom,
    MessageId.LOAD_BEGIN: LoadBegin,
    MessageId.LOAD_GRANTED: LoadGranted,
    MessageId.LOAD_DEFERRED: LoadDeferred,
    MessageId.LOAD_END: SnapshotHandle,
    MessageId.LOAD_ENDED: Empty,
    MessageId.OPEN_SNAPSHOT: Empty,
    MessageId.SNAPSHOT_OPENED: SnapshotHandle,
    MessageId.CLOSE_SNAPSHOT: SnapshotHandle,
    MessageId.SNAPSHOT_CLOSED: Empty,
    MessageId.READ_DIGEST: ReadDigest,
    MessageId.DIGEST: Digest,
    MessageId.READ_STATUS: Empty,
    MessageId.STATUS: Status,
    MessageId.APPLY_TRANSACTION: ApplyTransaction,
    MessageId.TRANSACTION_APPLIED: TransactionApplied,
    MessageId.WRITE_OUTCOME: WriteOutcome,
    MessageId.WRITE_OUTCOME_READ: WriteOutcomeRead,
    MessageId.SESSION_RECORDS: SessionRecords,
    MessageId.SESSION_RECORDS_STORED: Empty,
    MessageId.PING: Empty,
    MessageId.PONG: Empty,
    MessageId.READ_HISTORY: ReadHistory,
    MessageId.HISTORY_RECORDS: HistoryRecords,
}
"""Payload class of each message that this release builds or reads."""

IMPLEMENTED_REQUESTS: Final = frozenset(
    {
        MessageId.PROTOCOL_VERSION,
        MessageId.REGISTER_CLIENT,
        MessageId.REGISTER_CLIENT_2,
        MessageId.RESTORE_SESSION,
        MessageId.HISTORY_LOG,
        MessageId.RESUME_FROM,
        MessageId.CREATE_OBJECT,
        MessageId.UPDATE_OBJECT,
        MessageId.DELETE_OBJECT,
        MessageId.READ_OBJECTS,
        MessageId.REGISTER_NOTIFICATION,
        MessageId.UNREGISTER_NOTIFICATION,
        MessageId.AUTHENTICATE,
        MessageId.READ_PERMISSIONS,
        MessageId.UPDATE_PERMISSIONS,
        MessageId.GET_BRIEF_INFO,
        MessageId.READ_ACCOUNT,
        MessageId.UPDATE_ACCOUNT,
        MessageId.CHANGE_OPERATIONAL_MODE,
        MessageId.READ_OPERATIONAL_MODE,
        MessageId.READ_SCHEMA_INFO,
        MessageId.READ_OBJECT_PERMISSIONS,
        MessageId.READ_LOCALE,
        MessageId.REGISTER_PERMISSIONS_NOTIFICATION,
        MessageId.UNREGISTER_PERMISSIONS_NOTIFICATION,
        MessageId.SCHEMA_FILE,
        MessageId.GET_LOCALE_SETS,
        MessageId.CHANGE_PASSWORD,
        MessageId.LOAD_BEGIN,
        MessageId.LOAD_END,
        MessageId.OPEN_SNAPSHOT,
        MessageId.CLOSE_SNAPSHOT,
        MessageId.READ_DIGEST,
        MessageId.READ_STATUS,
        MessageId.SESSION_RECORDS,
        MessageId.READ_HISTORY,
        MessageId.APPLY_TRANSACTION,
        MessageId.WRITE_OUTCOME,
        MessageId.PING,
    }
)
"""Requests that a server of this release serves; every other request is answered with error 3 by name."""

_S = TypeVar("_S", bound=msgspec.Struct)
_DECODERS: Final[dict[type[msgspec.Struct], msgspec.msgpack.Decoder[Any]]] = {
    cls: msgspec.msgpack.Decoder(cls) for cls in PAYLOADS.values()
}
_EMPTY_MAP: Final = b"\x80"


def decode_payload(cls: type[_S], payload: bytes) -> _S:
    """Read the payload of a frame as ``cls``, one of PAYLOADS; no bytes stand for an empty map.

    Raises `RemoteProtocolError` (code 25) naming the field, when the bytes are not such a payload. A
    server answers a registered client's request with this error and goes on.
    """
    try:
        decoded: _S = _DECODERS[cls].decode(payload or _EMPTY_MAP)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise RemoteProtocolError(
            f"the payload is not a valid {cls.__name__}: {e}", code=ErrorCode.OBJECT_PACKING_ERROR
        ) from e
    return decoded
