"""The examples of `generate_vectors.py`: what the byte-exact vectors are made of.

One example per message, and a whole session. Values are chosen so that each kind of msgpack value
occurs: small and large integers, text beyond ASCII, byte strings, nested maps, maps with integer keys.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from csproxy.core import codec
from csproxy.core.changes import ObjectCreated, ObjectDeleted, ObjectUpdated, Position
from csproxy.core.credentials import PersonEntry
from csproxy.core.log_in_state import LogIn, LogInState
from csproxy.core.standby import Role
from csproxy.core.transactions import RequestedChange
from csproxy.transport.wire import (
    credentials,
    history,
    keepalive,
    pairs,
    payload,
    reads,
    registration,
    replication,
    subscriptions,
    verification,
    writes,
)
from csproxy.transport.wire.frames import FLAG_END, FLAG_HISTORY
from csproxy.transport.wire.messages import MessageId

EPOCH: Final = 0x9C3A_5F17_0B62_D4E1
NOW_MS: Final = 1_767_225_600_000
SESSION: Final = "5d1f0c6a9be84b7c83a4e2f6170d9c35"
KEY: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"
NOWHERE: Final = Position(0, 0)
END: Final = FLAG_END

DEFAULT_PERSON: Final[dict[str, Any]] = {
    "DBID": 100,
    "tenantDBID": 1,
    "lastName": "Müller",
    "firstName": "default",
    "employeeID": "0",
    "userName": "default",
    "state": 1,
}
AGENT: Final[dict[str, Any]] = {
    "DBID": 101,
    "tenantDBID": 1,
    "employeeID": "1001",
    "userName": "agent1001",
    "isAgent": 2,
    "agentInfo": {"skillLevels": [{"skillDBID": 101, "level": 7}]},
    "state": 1,
    "userProperties": {"desk": {"badge": b"\x00\xff", "city": "Zürich", "floor": 3}},
}
DELTA: Final[dict[str, Any]] = {"firstName": "Dieter"}
PERSON_ENTRY: Final = PersonEntry(
    100, "$scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaA", NOW_MS, LogInState(NOW_MS, "WDE", "192.0.2.7:50123", 1, NOW_MS, 1, 0)
)
HISTORY_UPDATE: Final[dict[str, Any]] = {
    "action": 75,
    "time_ms": NOW_MS,
    "uen": 4711,
    "epoch": EPOCH,
    "user": "default",
    "application": "default",
    "type": 3,
    "dbid": 100,
    "delta": DELTA,
    "former_values": {"firstName": "default"},
}
SESSION_OPENED: Final[dict[str, Any]] = {
    "action": 1,
    "time_ms": NOW_MS,
    "uen": 4711,
    "user": "agent1001",
    "application": "desktop",
    "host": "192.0.2.7:50211",
}


class Example(NamedTuple):
    """One frame: who sends it, what it says, and its header."""

    sender: str
    message: MessageId
    payload: msgspec.Struct | None
    request: int = 0
    position: Position = NOWHERE
    flags: int = 0

    @property
    def encoded_payload(self) -> bytes:
        """The payload's bytes; none for a message without fields."""
        return b"" if self.payload is None else codec.encode(self.payload)


def at(uen: int) -> Position:
    """A position of the examples' epoch."""
    return Position(EPOCH, uen)


def raw(value: object) -> Raw:
    """An object as it stands inside a payload."""
    return Raw(codec.encode(value))


def ask(message: MessageId, payload: msgspec.Struct | None = None, *, minimum: Position = NOWHERE) -> Example:
    """A client's request with id 7."""
    return Example("client", message, payload, 7, minimum)


def answer(message: MessageId, payload: msgspec.Struct | None = None, *, uen: int = 4711, end: bool = True) -> Example:
    """A server's answer to request 7."""
    return Example("server", message, payload, 7, at(uen), END if end else 0)


def unasked(message: MessageId, payload: msgspec.Struct | None = None, *, uen: int, flags: int = END) -> Example:
    """A server's message with request id 0."""
    return Example("server", message, payload, 0, at(uen), flags)


AUTHOR: Final = {"user": "default", "application": "default", "time_ms": NOW_MS}
CREATED: Final = ObjectCreated(type=3, object=raw(AGENT), folder=102, **AUTHOR)  # type: ignore[arg-type]
UPDATED: Final = ObjectUpdated(type=3, dbid=100, delta=DELTA, **AUTHOR)  # type: ignore[arg-type]
RELOADED: Final = ObjectUpdated(type=3, dbid=101, object=raw(AGENT), folder=103)
CORRECTED: Final = ObjectUpdated(type=3, dbid=101, object=raw(AGENT), correction=True)
DELETED: Final = ObjectDeleted(type=3, dbid=101, former=raw(AGENT), **AUTHOR)  # type: ignore[arg-type]
REGISTER: Final = registration.RegisterClient(
    type=19, name="default", user="default", password="secret", release="1.0.0"
)
REGISTERED: Final = registration.ClientRegistered(
    session=SESSION,
    protocol_version=1,
    server_dbid=99,
    schema_version="1",
    release="1.0.0",
    role="master",
    epochs=[(0x1B2C3D4E5F607182, 1), (EPOCH, 4000)],
)
OFFER: Final = registration.ProtocolVersion(client="example", versions=[1], release="1.0.0")
CHOSEN: Final = registration.ProtocolVersionRead(version=1, release="1.0.0", max_frame=64 * 1024 * 1024)
EXPIRED: Final = payload.Error(
    code=27,
    description="cannot continue from UEN 12: the history starts after UEN 2600; register anew and read everything",
)

MESSAGES: Final[dict[str, Example]] = {
    "Error": answer(
        MessageId.ERROR, payload.Error(code=10, object_type=3, property="dbid", description="no CfgPerson 4242")
    ),
    "Error, history expired": answer(MessageId.ERROR, EXPIRED),
    "Error, retry later": answer(
        MessageId.ERROR, payload.Error(code=8, description="the server is loading its data", retry_after_ms=850)
    ),
    "Error, outcome unknown": answer(
        MessageId.ERROR,
        payload.Error(code=22, description="the master may have carried it out", outcome_unknown=True),
    ),
    "ProtocolVersion": ask(MessageId.PROTOCOL_VERSION, OFFER),
    "ProtocolVersionRead": Example("server", MessageId.PROTOCOL_VERSION_READ, CHOSEN, 7, NOWHERE, END),
    "RegisterClient": ask(MessageId.REGISTER_CLIENT, REGISTER),
    "RegisterClient2": ask(
        MessageId.REGISTER_CLIENT_2,
        registration.RegisterClient(type=19, name="default", user="default", password="a", new_password="b"),
    ),
    "RestoreSession": ask(
        MessageId.RESTORE_SESSION,
        registration.RestoreSession(type=19, name="default", user="default", session=SESSION),
        minimum=at(4711),
    ),
    "ClientRegistered": answer(MessageId.CLIENT_REGISTERED, REGISTERED),
    "Disconnected": unasked(
        MessageId.DISCONNECTED,
        payload.Disconnected(code=28, description="the server stops", retry_after_ms=1500),
        uen=4711,
    ),
    "HistoryLog": ask(MessageId.HISTORY_LOG, subscriptions.HistoryLog(session=SESSION), minimum=at(4700)),
    "HistoryLogSent": answer(MessageId.HISTORY_LOG_SENT),
    "ResumeFrom": ask(
        MessageId.RESUME_FROM,
        subscriptions.ResumeFrom(
            subscriptions=[
                subscriptions.Subscription(object_type=3),
                subscriptions.Subscription(object_type=1, tenant_id=101),
            ]
        ),
        minimum=at(4700),
    ),
    "CreateObject": ask(
        MessageId.CREATE_OBJECT,
        writes.CreateObject(
            type=3, object={k: v for k, v in AGENT.items() if k != "DBID"} | {"password": "secret"}, folder=102, key=KEY
        ),
    ),
    "UpdateObject": ask(MessageId.UPDATE_OBJECT, writes.UpdateObject(type=3, dbid=100, delta=DELTA, key=KEY)),
    "UpdateObject, for a client of a proxy": ask(
        MessageId.UPDATE_OBJECT,
        writes.UpdateObject(
            type=3,
            dbid=100,
            delta=DELTA,
            key=KEY,
            on_behalf_of=payload.OnBehalfOf(application="desk", user="jane", person_dbid=101),
        ),
    ),
    "DeleteObject": ask(MessageId.DELETE_OBJECT, writes.DeleteObject(type=3, dbid=101)),
    "ApplyTransaction": ask(
        MessageId.APPLY_TRANSACTION,
        writes.ApplyTransaction(
            changes=[
                RequestedChange(message=7, type=13, object={"DBID": -1, "tenantDBID": 1, "name": "english"}),
                RequestedChange(
                    message=8,
                    type=3,
                    dbid=101,
                    delta={"agentInfo": {"skillLevels": {"added": [{"skillDBID": -1, "level": 5}]}}},
                ),
                RequestedChange(message=9, type=5, dbid=102),
            ],
            key=KEY,
        ),
    ),
    "WriteOutcome": ask(MessageId.WRITE_OUTCOME, writes.WriteOutcome(key=KEY)),
    "WriteOutcomeRead": answer(
        MessageId.WRITE_OUTCOME_READ,
        writes.WriteOutcomeRead(
            known=True, epoch=EPOCH, uen=4714, changes=[writes.AppliedChange(action=74, type=13, dbid=103)]
        ),
    ),
    "TransactionApplied": answer(
        MessageId.TRANSACTION_APPLIED,
        writes.TransactionApplied(
            changes=[
                writes.AppliedChange(action=74, type=13, dbid=103),
                writes.AppliedChange(action=75, type=3, dbid=101),
                writes.AppliedChange(action=16, type=5, dbid=102),
            ]
        ),
        uen=4714,
    ),
    "ObjectCreated, answer": answer(MessageId.OBJECT_CREATED, CREATED, uen=4712),
    "ObjectUpdated, answer": answer(MessageId.OBJECT_UPDATED, UPDATED, uen=4713),
    "ObjectDeleted, answer": answer(MessageId.OBJECT_DELETED, DELETED, uen=4714),
    "ObjectCreated, notification": unasked(MessageId.OBJECT_CREATED, CREATED, uen=4712),
    "ObjectUpdated, notification": unasked(MessageId.OBJECT_UPDATED, UPDATED, uen=4713),
    "ObjectUpdated, more of its transaction follows": unasked(MessageId.OBJECT_UPDATED, UPDATED, uen=4713, flags=0),
    "ObjectUpdated, from the history": unasked(
        MessageId.OBJECT_UPDATED, UPDATED, uen=4713, flags=FLAG_END | FLAG_HISTORY
    ),
    "ObjectUpdated, a correction": unasked(MessageId.OBJECT_UPDATED, CORRECTED, uen=4713),
    "ObjectUpdated, after a reload": unasked(MessageId.OBJECT_UPDATED, RELOADED, uen=4800, flags=0),
    "ObjectDeleted, notification": unasked(MessageId.OBJECT_DELETED, DELETED, uen=4714),
    "ReadObjects": ask(
        MessageId.READ_OBJECTS, reads.ReadObjects(type=3, filter={"tenant_dbid": 1, "user_name": "default"})
    ),
    "ReadObjects, not older than": ask(
        MessageId.READ_OBJECTS, reads.ReadObjects(type=3, filter={"dbid": 100}), minimum=at(4711)
    ),
    "ReadObjects, as new as the master": ask(
        MessageId.READ_OBJECTS, reads.ReadObjects(type=3, filter={"dbid": 100}, consistent=True)
    ),
    "ReadObjects, from a snapshot": ask(
        MessageId.READ_OBJECTS, reads.ReadObjects(type=3, filter={"read_folder_dbid": 1}, snapshot=5)
    ),
    "ObjectsRead": answer(
        MessageId.OBJECTS_READ, reads.ObjectsRead(type=3, total=1, objects=[raw(DEFAULT_PERSON)]), end=False
    ),
    "ObjectsRead, with folders and paths": answer(
        MessageId.OBJECTS_READ,
        reads.ObjectsRead(
            type=3,
            total=-1,
            folders=[101, 102],
            paths=[["Persons"], ["Persons", "Zürich"]],
            objects=[raw(DEFAULT_PERSON), raw(AGENT)],
        ),
        end=False,
    ),
    "ObjectsRead, nothing found": answer(MessageId.OBJECTS_READ, reads.ObjectsRead(type=3), end=False),
    "ObjectsSent": answer(MessageId.OBJECTS_SENT, reads.ObjectsSent(total=1)),
    "RegisterNotification": ask(
        MessageId.REGISTER_NOTIFICATION, subscriptions.RegisterNotification(object_type=3), minimum=at(4711)
    ),
    "RegisterNotification, everything": ask(MessageId.REGISTER_NOTIFICATION),
    "NotificationRegistered": answer(MessageId.NOTIFICATION_REGISTERED),
    "UnregisterNotification": ask(
        MessageId.UNREGISTER_NOTIFICATION,
        subscriptions.UnregisterNotification(object_type=12, tenant_id=1, object_dbid=120, exclude_bytecode=True),
    ),
    "NotificationUnregistered": answer(MessageId.NOTIFICATION_UNREGISTERED),
    "ProgressMark": unasked(MessageId.PROGRESS_MARK, uen=4790),
    "Authenticate": ask(
        MessageId.AUTHENTICATE, registration.Authenticate(user="agent1001", password="secret", ticket=b"\x60\x82")
    ),
    "Authenticated": answer(MessageId.AUTHENTICATED, registration.Authenticated(person_dbid=101)),
    "LoadBegin": ask(MessageId.LOAD_BEGIN),
    "LoadGranted": answer(
        MessageId.LOAD_GRANTED, replication.LoadGranted(snapshot=5, counts={3: 2, 7: 1, 9: 300}, epochs=[(EPOCH, 4000)])
    ),
    "LoadDeferred": answer(MessageId.LOAD_DEFERRED, replication.LoadDeferred(retry_after_ms=2500)),
    "LoadEnd": ask(MessageId.LOAD_END, reads.SnapshotHandle(snapshot=5)),
    "LoadEnded": answer(MessageId.LOAD_ENDED),
    "OpenSnapshot": ask(MessageId.OPEN_SNAPSHOT),
    "SnapshotOpened": answer(MessageId.SNAPSHOT_OPENED, reads.SnapshotHandle(snapshot=6)),
    "CloseSnapshot": ask(MessageId.CLOSE_SNAPSHOT, reads.SnapshotHandle(snapshot=6)),
    "SnapshotClosed": answer(MessageId.SNAPSHOT_CLOSED),
    "ReadDigest": ask(MessageId.READ_DIGEST, replication.ReadDigest(types=[3])),
    "Digest": answer(MessageId.DIGEST, replication.Digest(digests={3: "00112233445566778899aabbccddeeff"})),
    "Verify": ask(MessageId.VERIFY),
    "Verified": answer(
        MessageId.VERIFIED,
        verification.Verified(
            compared_with="the master 192.0.2.1:2020",
            types=[
                verification.VerifiedType(type=3, objects=1000),
                verification.VerifiedType(type=13, objects=50, state="healed"),
            ],
        ),
    ),
    "ReadStatus": ask(MessageId.READ_STATUS),
    "Status": answer(MessageId.STATUS, reads.Status(status={"role": "master", "uen": 4711, "clients": 3})),
    "SessionRecords": ask(
        MessageId.SESSION_RECORDS, history.SessionRecords(records=[Raw(codec.encode(SESSION_OPENED))])
    ),
    "SessionRecordsStored": answer(MessageId.SESSION_RECORDS_STORED),
    "PeerUpdate": ask(
        MessageId.PEER_UPDATE,
        pairs.PeerUpdate(role=Role.STANDBY, term=3, dbid=102, first=True),
    ),
    "PeerUpdateTaken": answer(MessageId.PEER_UPDATE_TAKEN),
    "PeerNews": Example(
        "server",
        MessageId.PEER_NEWS,
        pairs.PeerNews(
            role=Role.PRIMARY,
            term=3,
            is_configured_primary=True,
            dbid=101,
            sessions=[
                pairs.PeerSession(
                    id=SESSION,
                    application="default",
                    application_dbid=100,
                    type=19,
                    user="agent1001",
                    person_dbid=101,
                    subscriptions=[subscriptions.Subscription(object_type=3)],
                )
            ],
            dropped=["00000000000000000000000000000000"],
        ),
    ),
    "ReadCredentials": ask(MessageId.READ_CREDENTIALS, credentials.ReadCredentials(digests=bytes(4096))),
    "CredentialsRead": answer(
        MessageId.CREDENTIALS_READ,
        credentials.CredentialsRead(buckets={100: [PERSON_ENTRY], 101: []}, more=True),
    ),
    "CredentialsChanged": Example(
        "server",
        MessageId.CREDENTIALS_CHANGED,
        credentials.CredentialsChanged(entries=[PERSON_ENTRY], removed=[101]),
    ),
    "LogInRecords": ask(
        MessageId.LOG_IN_RECORDS,
        credentials.LogInRecords(
            log_ins=[LogIn(100, NOW_MS, False), LogIn(100, NOW_MS + 1, True, True, "WDE", "192.0.2.7:50123")],
            batch="c4ca4238a0b923820dcc509a6f75849b",
        ),
    ),
    "LogInRecordsStored": answer(MessageId.LOG_IN_RECORDS_STORED),
    "Ping": ask(MessageId.PING),
    "Pong": answer(MessageId.PONG),
    "SetKeepAlive": ask(
        MessageId.SET_KEEP_ALIVE, keepalive.SetKeepAlive(timeout_ms=30_000, patience_ms=15_000, trace=True)
    ),
    "KeepAliveSet": answer(MessageId.KEEP_ALIVE_SET),
    "Poll": Example("server", MessageId.POLL, None),
    "ReadHistory": ask(MessageId.READ_HISTORY, history.ReadHistory(since_uen=4710, limit=100)),
    "HistoryRecords": answer(
        MessageId.HISTORY_RECORDS,
        history.HistoryRecords(
            numbers=[17, 18],
            records=[Raw(codec.encode(HISTORY_UPDATE)), Raw(codec.encode(SESSION_OPENED))],
            more=True,
        ),
    ),
}
"""At least one example of every message that has a payload class."""


def _request(number: int, message: MessageId, payload: msgspec.Struct, minimum: Position = NOWHERE) -> Example:
    return Example("client", message, payload, number, minimum)


def _answer(number: int, message: MessageId, payload: msgspec.Struct | None, uen: int, flags: int = END) -> Example:
    return Example("server", message, payload, number, at(uen), flags)


SESSION_STEPS: Final[list[tuple[str, Example]]] = [
    ("offers its versions, right after the magic bytes", _request(1, MessageId.PROTOCOL_VERSION, OFFER)),
    ("chooses one", Example("server", MessageId.PROTOCOL_VERSION_READ, CHOSEN, 1, NOWHERE, END)),
    ("logs in", _request(2, MessageId.REGISTER_CLIENT, REGISTER)),
    ("accepts; the data stands at UEN 4711", _answer(2, MessageId.CLIENT_REGISTERED, REGISTERED, 4711)),
    (
        "reads persons by user name",
        _request(3, MessageId.READ_OBJECTS, reads.ReadObjects(type=3, filter={"user_name": "default"})),
    ),
    (
        "sends the only part",
        _answer(3, MessageId.OBJECTS_READ, reads.ObjectsRead(type=3, total=1, objects=[raw(DEFAULT_PERSON)]), 4711, 0),
    ),
    ("closes the answer", _answer(3, MessageId.OBJECTS_SENT, reads.ObjectsSent(total=1), 4711)),
    (
        "subscribes to persons from the position of the read",
        _request(4, MessageId.REGISTER_NOTIFICATION, subscriptions.RegisterNotification(object_type=3), at(4711)),
    ),
    ("accepts", _answer(4, MessageId.NOTIFICATION_REGISTERED, None, 4713)),
    (
        "replays what happened since the read",
        unasked(MessageId.OBJECT_UPDATED, UPDATED, uen=4713, flags=END | FLAG_HISTORY),
    ),
    ("ends the replay with a progress mark", unasked(MessageId.PROGRESS_MARK, uen=4713)),
    ("announces a creation as it happens", unasked(MessageId.OBJECT_CREATED, CREATED, uen=4715)),
    ("announces a deletion", unasked(MessageId.OBJECT_DELETED, DELETED, uen=4716)),
    ("marks progress: nothing else for this client up to here", unasked(MessageId.PROGRESS_MARK, uen=4790)),
    (
        "says that it ends the connection",
        unasked(MessageId.DISCONNECTED, payload.Disconnected(code=28, description="the server stops"), uen=4790),
    ),
]
"""A session from the first byte to the last: (what the sender does, the frame)."""
