"""The history log's records: who did what when, what was there before, and who was connected.

A record is a change of one object, a change of what is stored beside the objects (permissions, accounts, the
operational mode; made in `csproxy.core.history_administration`), or the begin or end of a client's session. Records of
changes are made from the plan of a transaction (`history_batch`) and stored with it; how and why is told in
`csproxy.core.persistence.history`. Nothing here holds a password: plans, deltas and former objects have none,
and of secret options (`csproxy.core.secret_options`) only the mask is recorded.

Former values of an update are kept as the delta that takes the new object back to the former one: the form is
documented and tested already (docs/reference/delta.md), and it names exactly what changed.

Source of the options: the vendor's [history-log] section; ``client-expiration``, ``active`` and
``write-former-value`` have semantics of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from csproxy.core import codec
from csproxy.core.changes import Change
from csproxy.core.model.delta import compute_delta
from csproxy.core.model.schema import SCHEMA
from csproxy.core.secret_options import masked, masked_object
from csproxy.core.security_records import is_record
from csproxy.errors import ErrorCode, ModelError

if TYPE_CHECKING:
    from csproxy.core.ownership import ObjectId
    from csproxy.core.writes import PlannedChange

__all__ = [
    "ACTION_WORDS",
    "AclState",
    "DAY_MS",
    "HISTORY_PAIRS",
    "HistoryAction",
    "HistoryBatch",
    "HistoryFloor",
    "HistoryKind",
    "HistoryPage",
    "HistoryRecord",
    "HistorySettings",
    "SessionRecord",
    "StoredObjects",
    "decode_record",
    "encode_record",
    "history_batch",
    "history_settings",
    "session_entry",
]

DAY_MS: Final = 24 * 3600 * 1000
HISTORY_PAIRS: Final = (("expiration", "audit-expiration"), ("max-records", "audit-max-records"))
"""Options of which the second must exceed the first."""
_ABSENT: Final = msgspec.Raw()


class HistoryKind(IntEnum):
    """What is counted together; of each kind the oldest records give way, so that none pushes another out."""

    CHANGE = 1
    SESSION = 2
    ADMINISTRATION = 3


class HistoryAction(IntEnum):
    """What a record tells; those of changes are the numbers of their notifications or answers."""

    SESSION_OPENED = 1
    SESSION_CLOSED = 2
    DELETED = 16
    PERMISSIONS = 27
    ACCOUNT = 33
    MODE = 37
    CREATED = 74
    UPDATED = 75


ACTION_WORDS: Final[Mapping[int, str]] = {
    HistoryAction.CREATED: "created",
    HistoryAction.UPDATED: "updated",
    HistoryAction.DELETED: "deleted",
    HistoryAction.PERMISSIONS: "permissions",
    HistoryAction.ACCOUNT: "account",
    HistoryAction.MODE: "mode",
    HistoryAction.SESSION_OPENED: "opened",
    HistoryAction.SESSION_CLOSED: "closed",
}
"""How people read the actions; a number that is not here stays a number."""


_SESSION_ACTIONS: Final = frozenset({HistoryAction.SESSION_OPENED, HistoryAction.SESSION_CLOSED})
_KINDS: Final[Mapping[int, HistoryKind]] = {
    **dict.fromkeys(_SESSION_ACTIONS, HistoryKind.SESSION),
    HistoryAction.PERMISSIONS: HistoryKind.ADMINISTRATION,
    HistoryAction.ACCOUNT: HistoryKind.ADMINISTRATION,
    HistoryAction.MODE: HistoryKind.ADMINISTRATION,
}


class AclState(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """The access control list of an object: its own entries (type, DBID, mask), or that it inherits."""

    inherits: bool = False
    entries: tuple[tuple[int, int, int], ...] = ()


class HistoryRecord(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """One record, as stored and as sent.

    ``uen`` is that of the change; for a session or an administrative change that of the server at that moment.
    Of a creation there is ``object``, of an update ``delta`` and ``former_values`` (the delta back), of a deletion
    ``former``. ``folder`` is above 0 when the object came into this folder, ``former_folder`` where it was before.
    ``moved_from`` of an update of a folder lists what was moved into it: type, DBID and the folder before.
    ``password`` is true when the change set the object's password. Of permissions there is the list now and before,
    of an application's account its type and DBID, of the mode its number. Of a session there is ``host``, the
    client's address, and ``server``, to which it was connected.
    """

    action: int
    time_ms: int
    uen: int = 0
    epoch: int = 0
    user: str = ""
    application: str = ""
    type: int = 0
    dbid: int = 0
    folder: int = 0
    former_folder: int = 0
    object: msgspec.Raw = _ABSENT
    delta: dict[str, Any] | None = None
    former: msgspec.Raw = _ABSENT
    former_values: dict[str, Any] | None = None
    moved_from: list[tuple[int, int, int]] = msgspec.field(default_factory=list)
    password: bool = False
    permissions: AclState | None = None
    former_permissions: AclState | None = None
    account: tuple[int, int] | None = None
    former_account: tuple[int, int] | None = None
    mode: int = 0
    former_mode: int = 0
    host: str = ""
    server: str = ""

    @property
    def kind(self) -> HistoryKind:
        """What it is counted with; an action of a newer release counts as a change."""
        return _KINDS.get(self.action, HistoryKind.CHANGE)

    @property
    def is_session(self) -> bool:
        """Whether it is of a client's session and not of a change."""
        return self.kind is HistoryKind.SESSION


class SessionRecord(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A client came or went, as a proxy tells it to its master."""

    action: int
    time_ms: int
    uen: int = 0
    user: str = ""
    application: str = ""
    host: str = ""


class HistoryPage(NamedTuple):
    """Some records, oldest first, encoded; ``more``: others follow after the last number."""

    numbers: Sequence[int]
    records: Sequence[bytes]
    more: bool


class HistoryFloor(NamedTuple):
    """Times (ms) before which records of changes (administrative ones, too) and of sessions have expired."""

    changes_ms: int
    sessions_ms: int


class HistorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of [history-log]: times in days, the others count records."""

    active: bool = True
    write_former_value: bool = True
    expiration: int = 30
    max_records: int = 1000
    audit_expiration: int = 365
    audit_max_records: int = 50_000
    client_expiration: int = 1

    def readable(self, now_ms: int) -> HistoryFloor:
        """What clients may read."""
        return HistoryFloor(now_ms - self.expiration * DAY_MS, now_ms - self.client_expiration * DAY_MS)

    def kept(self, now_ms: int) -> HistoryFloor:
        """What is kept for an audit."""
        return HistoryFloor(now_ms - self.audit_expiration * DAY_MS, now_ms - self.client_expiration * DAY_MS)


def history_settings(
    get: Callable[[str], Any], present: HistorySettings | None = None
) -> tuple[HistorySettings, list[str]]:
    """The settings that the options give (``get`` takes an option's name), and a sentence for each that cannot be.

    audit-expiration must exceed expiration, and audit-max-records max-records; a pair that does not keeps its
    ``present`` values.
    """
    present = present or HistorySettings()
    values = {name: get(name.replace("_", "-")) for name in HistorySettings.__struct_fields__}
    complaints = []
    for names in HISTORY_PAIRS:
        less, more = (name.replace("-", "_") for name in names)
        low, high = values[less], values[more]
        if high <= low:
            values[less], values[more] = getattr(present, less), getattr(present, more)
            complaints.append(
                f"{names[1]}={high} of [history-log] must exceed {names[0]}={low}: "
                f"the values {values[more]} and {values[less]} stay"
            )
    return HistorySettings(**values), complaints


encode_record: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(HistoryRecord).decode


def decode_record(body: bytes | msgspec.Raw) -> HistoryRecord:
    """An encoded record. Raises `ModelError` when it is none."""
    try:
        return _decode(body)
    except msgspec.MsgspecError as e:
        raise ModelError(ErrorCode.OBJECT_PACKING_ERROR, f"a history record cannot be read: {e}") from e


def session_entry(record: SessionRecord, *, server: str, now_ms: int) -> HistoryRecord:
    """The stored form of a session record from ``server``; a clock that is ahead must not keep it for ever.

    Raises `ModelError` for an action that is none of sessions.
    """
    if record.action not in _SESSION_ACTIONS:
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            f"action {record.action} is none of a session: {int(HistoryAction.SESSION_OPENED)} (opened) and "
            f"{int(HistoryAction.SESSION_CLOSED)} (closed) are valid",
            property_name="action",
        )
    return HistoryRecord(
        action=record.action,
        time_ms=min(record.time_ms, now_ms),
        uen=record.uen,
        user=record.user,
        application=record.application,
        host=record.host,
        server=server,
    )


class HistoryBatch(NamedTuple):
    """What the history log gets of one transaction, all of one kind; ``make`` is called in the thread that writes."""

    make: Callable[[], list[HistoryRecord]]
    max_records: int


class _Entry(NamedTuple):
    change: Change
    before: bytes | None
    after: bytes | None
    former_folder: int
    moved_from: list[tuple[int, int, int]]
    password: bool


class StoredObjects(Protocol):
    """Objects of one state, as a cache has them."""

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object, or None."""

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The DBID of the object's folder; 0 for none."""


def history_batch(
    settings: HistorySettings,
    cache: StoredObjects,
    planned: Sequence[PlannedChange],
    changes: Sequence[Change],
    *,
    passwords: Collection[ObjectId] = (),
) -> HistoryBatch | None:
    """The records of a planned transaction, None when the log is not active.

    ``cache`` is the state before it; ``planned`` and ``changes`` are the same changes, in order. ``passwords`` names
    the objects whose password it sets; the last change of such an object tells it. Only references
    are taken here: computing former values is for the writing thread.
    """
    if not settings.active:
        return None
    entries = []
    stored: dict[ObjectId, bytes | None] = {}
    folders: dict[ObjectId, int] = {}

    last = {(plan.type, plan.dbid): place for place, plan in enumerate(planned)}

    def folder_of(id: ObjectId) -> int:
        return folders[id] if id in folders else cache.folder_of(*id)

    for place, (plan, change) in enumerate(zip(planned, changes, strict=True)):
        id = plan.type, plan.dbid
        if is_record(plan.type):  # a list that goes with its object is no change of permissions
            continue
        before = stored[id] if id in stored else cache.get(*id)
        moved_from = [(*moved, folder_of(moved)) for moved in plan.moved]
        former_folder = folder_of(id) if before is not None else 0
        sets_password = id in passwords and last[id] == place
        entries.append(_Entry(change, before, plan.stored, former_folder, moved_from, sets_password))
        stored[id], folders[id] = plan.stored, plan.folder
        folders.update(dict.fromkeys(plan.moved, plan.dbid))
    make = partial(_records, entries, write_former_value=settings.write_former_value)
    return HistoryBatch(make, settings.audit_max_records)


def _records(entries: Sequence[_Entry], *, write_former_value: bool) -> list[HistoryRecord]:
    return [_record(entry, write_former_value=write_former_value) for entry in entries]


def _record(entry: _Entry, *, write_former_value: bool) -> HistoryRecord:
    change = entry.change
    former_values, former, former_folder = None, _ABSENT, 0
    moved_from = entry.moved_from if write_former_value else []
    if write_former_value and entry.before is not None:
        if entry.after is None:
            former, former_folder = msgspec.Raw(masked_object(entry.before)), entry.former_folder
        else:
            former_values = masked(_back(change.type, entry.before, entry.after))
            former_folder = entry.former_folder if change.folder else 0
    return HistoryRecord(
        action=change.action,
        time_ms=change.time_ms,
        uen=change.position.uen,
        epoch=change.position.epoch,
        user=change.user,
        application=change.application,
        type=change.type,
        dbid=change.dbid,
        folder=change.folder,
        former_folder=former_folder,
        object=_ABSENT if change.object is None else msgspec.Raw(masked_object(change.object)),
        delta=masked(change.delta),
        former=former,
        former_values=former_values,
        moved_from=moved_from,
        password=entry.password,
    )


def _back(type_number: int, before: bytes, after: bytes) -> dict[str, Any]:
    return compute_delta(SCHEMA.types[type_number], codec.decode_map(after), codec.decode_map(before))
