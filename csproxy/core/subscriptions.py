"""Who wants which change: subscriptions, interned into classes.

Clients are never scanned. Clients that hold the same set of subscriptions and may read the same
objects form one *class*; a change is looked up once and finds classes, whose members all receive
the same bytes. A class knows nothing of connections: a member is any hashable object.

Field value 0 stands for *all* objects; security records are no objects and have a subscription of their own
(`EVERY_RECORD`). ``object_dbid`` needs ``object_type``, since DBIDs are unique only
within a type.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from enum import Enum
from typing import Generic, NamedTuple, Protocol, TypeVar

from csproxy.core.changelog import LogRecord
from csproxy.core.changes import Position
from csproxy.core.security_records import RECORDS, is_record
from csproxy.core.sight import Access, may_read
from csproxy.errors import ErrorCode, ModelError

__all__ = [
    "EVERYTHING",
    "EVERY_RECORD",
    "READ_ALL",
    "Access",
    "Interest",
    "Sighting",
    "SubscriptionClass",
    "SubscriptionIndex",
    "sighting",
]

READ_ALL: Access = None


class Located(Protocol):
    """An object, and the tenants it belongs to."""

    @property
    def type(self) -> int: ...

    @property
    def dbid(self) -> int: ...

    @property
    def tenants(self) -> tuple[int, ...]: ...


class Interest(NamedTuple):
    """One subscription: object type, tenant and object, each 0 for all.

    ``exclude_bytecode`` asks for scripts without their compiled form.
    """

    object_type: int = 0
    tenant_id: int = 0
    object_dbid: int = 0
    exclude_bytecode: bool = False

    def check(self) -> None:
        """Raise `ModelError` (WRONG_API_PARAMETERS) when the fields make no subscription."""
        if self.object_dbid and not self.object_type:
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"a subscription to object {self.object_dbid} needs object_type: a DBID is unique only within a type",
                property_name="object_type",
            )

    def matches(self, record: LogRecord) -> bool:
        """Whether the change concerns this subscription (permissions aside)."""
        if record.shifts:
            return False
        if is_record(record.type):
            return self.object_type == RECORDS
        return self.covers(record)

    def covers(self, object: Located) -> bool:
        """Whether an object concerns this subscription."""
        return (
            self.object_type in (0, object.type)
            and self.object_dbid in (0, object.dbid)
            and (self.tenant_id == 0 or self.tenant_id in object.tenants)
        )


EVERYTHING = Interest()
EVERY_RECORD = Interest(RECORDS)
"""All security records: for proxies."""

M = TypeVar("M", bound=Hashable)


class Sighting(Enum):
    """What a change is for an account."""

    NOTHING = "nothing"
    CHANGE = "change"
    APPEARANCE = "appearance"
    DISAPPEARANCE = "disappearance"


def sighting(record: LogRecord, before: Access, after: Access) -> Sighting:
    """What a change is for an account that saw with ``before`` until its transaction, and sees with ``after``.

    Of several changes of an object that appears or disappears with their transaction, only the first one counts.
    """
    was, now = record.readers_before, record.readers_after
    if was is None or now is None:
        if was is None and now is None and not is_record(record.type):  # made and gone in one transaction, or unknown
            return Sighting.CHANGE if before is None and after is None else Sighting.NOTHING
        shown = may_read(before, was) if was is not None else now is None or may_read(after, now)
        return Sighting.CHANGE if shown else Sighting.NOTHING
    saw, sees = may_read(before, was), may_read(after, now)
    if saw == sees:
        return Sighting.CHANGE if sees else Sighting.NOTHING
    if record.appears is None:
        return Sighting.NOTHING
    return Sighting.APPEARANCE if sees else Sighting.DISAPPEARANCE


class SubscriptionClass(Generic[M]):
    """All members with the same subscriptions and the same sight.

    `SubscriptionIndex.join` makes those that have members; one made directly only answers `wants`,
    for the replay of a single subscription.

    The rest belongs to the fan-out: ``pending`` and ``ordinals`` are frames that wait to be sent and
    the ordinal of each, ``jobs`` counts what is being sent, ``marked`` is the last position that the
    members heard of.
    """

    __slots__ = ("access", "interests", "jobs", "marked", "members", "ordinals", "pending")

    def __init__(self, interests: frozenset[Interest], access: Access) -> None:
        self.interests = interests
        self.access = access
        self.members: dict[M, None] = {}
        self.pending: list[bytes] = []
        self.ordinals: list[int] = []
        self.jobs = 0
        self.marked = Position(0, 0)

    def __repr__(self) -> str:
        return f"<SubscriptionClass {len(self.interests)} subscriptions, {len(self.members)} members>"

    def sees(self, record: LogRecord) -> bool:
        """Whether the account may be told something of the change."""
        access, readers = self.access, record.readers_after
        if access is None:
            return True
        if readers is record.readers_before and readers is not None:
            return not access.isdisjoint(readers)
        return sighting(record, access, access) is not Sighting.NOTHING

    def wants(self, record: LogRecord) -> bool:
        """Whether the change goes to the members: the same answer as `SubscriptionIndex.match` gives."""
        return self.is_about(record) and self.sees(record)

    def is_about(self, record: LogRecord) -> bool:
        """Whether a subscription of the members matches, permissions aside."""
        return any(interest.matches(record) for interest in self.interests)

    def excludes_bytecode(self, record: LogRecord) -> bool:
        """Whether every subscription that matches the change asks for scripts without bytecode."""
        return all(interest.exclude_bytecode for interest in self.interests if interest.matches(record))


class SubscriptionIndex(Generic[M]):
    """From a change to the classes that want it, with a handful of dictionary look-ups."""

    def __init__(self) -> None:
        self._classes: dict[tuple[frozenset[Interest], Access], SubscriptionClass[M]] = {}
        self._by_key: dict[tuple[int, int, int], list[SubscriptionClass[M]]] = {}

    def __repr__(self) -> str:
        return f"<SubscriptionIndex {len(self._classes)} classes, {self.member_count} members>"

    @property
    def classes(self) -> Iterable[SubscriptionClass[M]]:
        """Every class that has a member."""
        return self._classes.values()

    @property
    def member_count(self) -> int:
        """Members of all classes together."""
        return sum(len(cls.members) for cls in self._classes.values())

    @property
    def subscription_count(self) -> int:
        """Subscriptions of all members together."""
        return sum(len(cls.members) * len(cls.interests) for cls in self._classes.values())

    def join(self, member: M, interests: frozenset[Interest], access: Access) -> SubscriptionClass[M]:
        """Put ``member`` into the class of this combination, creating the class if it is the first."""
        key = (interests, access)
        cls = self._classes.get(key)
        if cls is None:
            cls = self._classes[key] = SubscriptionClass(interests, access)
            for interest in interests:
                self._by_key.setdefault(interest[:3], []).append(cls)
        cls.members[member] = None
        return cls

    def leave(self, member: M, cls: SubscriptionClass[M]) -> None:
        """Take ``member`` out; a class without members is forgotten."""
        del cls.members[member]
        if cls.members:
            return
        del self._classes[cls.interests, cls.access]
        for interest in cls.interests:
            holders = self._by_key[interest[:3]]
            holders.remove(cls)
            if not holders:
                del self._by_key[interest[:3]]

    def match(self, record: LogRecord) -> list[SubscriptionClass[M]]:
        """The classes whose members receive this change, each once."""
        if record.shifts:
            return []  # it is no change of one object: see csproxy.transport.server
        by_key = self._by_key
        kind, dbid = record.type, record.dbid
        if is_record(kind):
            keys = [EVERY_RECORD[:3]]
        else:
            keys = [(0, 0, 0), (kind, 0, 0), (kind, 0, dbid)]
            for tenant in record.tenants:
                keys += ((0, tenant, 0), (kind, tenant, 0), (kind, tenant, dbid))
        found: dict[int, SubscriptionClass[M]] = {}
        for key in keys:
            for cls in by_key.get(key, ()):
                if cls.sees(record):
                    found[id(cls)] = cls
        return list(found.values())
