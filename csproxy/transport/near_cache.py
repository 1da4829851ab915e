"""A near cache: the objects that a program needs, in its own memory, always up to date.

    async with ConfigClient(...) as client, NearCache(client, [CfgPerson, CfgSkill]) as near:
        person = near.get(CfgPerson, 101)
        skilled = near.select(CfgPerson, skill_dbid=7)

Reads are local and synchronous. The cache is loaded from one snapshot of the server and then follows
its changes; while the server is away it stays readable, and `NearCache.age_s` says how old it may be.
"""

from __future__ import annotations

import logging
import random as _random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar, cast

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changelog import ChangeLog, LogRecord, WindowLimits
from csproxy.core.changes import Change, Epoch, Position
from csproxy.core.failover import Backoff
from csproxy.core.filter_keys import FILTER_KEYS
from csproxy.core.filter_rules import Collected, InFolder, SameHostAndPort, Through, Unreferenced
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgObject, ObjectType
from csproxy.core.model.typed import decode_object
from csproxy.core.replica import Replica
from csproxy.errors import (
    ConfigurationError,
    ConnectionLostError,
    CsproxyError,
    ErrorCode,
    HistoryExpiredError,
    LocalProtocolError,
    ModelError,
    RemoteProtocolError,
    ServerError,
    TimedOutError,
)
from csproxy.transport.client import ClientState, ConfigClient, TypeRef
from csproxy.transport.client_changes import ObjectChange, RawTransaction
from csproxy.transport.client_filters import filter_map
from csproxy.transport.client_snapshot import Snapshot
from csproxy.transport.client_subscriptions import ChangeStream
from csproxy.transport.leaving import leave_tasks
from csproxy.transport.turns import now
from csproxy.transport.wire.frames import FLAG_END, Frame, FrameReader, with_flags
from csproxy.transport.wire.messages import decode_payload
from csproxy.transport.wire.notifications import decode_change, encode_notification
from csproxy.transport.wire.reads import ObjectsRead

__all__ = ["NearCache", "NearCacheStatistics"]

log = logging.getLogger("csproxy.near_cache")

T = TypeVar("T", bound=CfgObject)

_FOLDER: Final = 22
_APPLICATION: Final = 9
_DEFAULT_HISTORY: Final = WindowLimits(min_changes=2048, min_age_s=75.0, max_bytes=8 * 1024 * 1024)


class NearCacheStatistics(NamedTuple):
    """What a near cache holds and did; a snapshot. ``age_s`` as `NearCache.age_s`."""

    objects: int
    position: Position
    following: bool
    age_s: float
    loads: int
    transactions: int
    history_changes: int


class NearCache:
    """Objects of ``types`` (none given: all that the account may read), fed by ``client``.

    Async context manager: entering loads and begins to follow (errors of the client are raised),
    leaving ends following; what was loaded stays readable. With one type only its changes are
    received, else all changes are, so that transactions over several types arrive whole. ``history``
    bounds the local change log that `changes` reads from. It implements
    `csproxy.core.replica.ReplicaSink`.
    """

    def __init__(
        self,
        client: ConfigClient,
        types: Iterable[TypeRef] = (),
        *,
        part_timeout_s: float = 30.0,
        history: WindowLimits = _DEFAULT_HISTORY,
        random: Callable[[], float] = _random.random,
        clock: Callable[[], float] = now,
    ) -> None:
        self._client = client
        self._types = {kind.number: kind for kind in map(SCHEMA.object_type, types)} or dict(SCHEMA.types)
        self._subscribed = next(iter(self._types)) if len(self._types) == 1 else None
        self._part_timeout_s = part_timeout_s
        self._clock = clock
        self._backoff = Backoff(random)
        self._replica = Replica(encode=encode_notification, clock=clock, limits=history)
        self._stream: ChangeStream | None = None
        self._as_of_s = 0.0
        self._news = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._started: TaskStatus[None] | None = None
        self._has_ended = False
        self._loads = 0
        self._transactions = 0

    def __repr__(self) -> str:
        state = "following" if self.is_following else f"{self.age_s:.0f} s old" if self._replica.complete else "empty"
        objects = sum(self.cache.counts().values())
        return f"<NearCache {len(self._types)} types, {objects} objects, {state}, UEN {self.position.uen}>"

    # life

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise LocalProtocolError("a near cache is entered once: make another")
        await self._load()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        try:
            await self._tasks.start(self._run)
        except BaseException as e:
            await self.__aexit__(type(e), e, e.__traceback__)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        self._end()
        return await leave_tasks(self._tasks, exc_type, exc, traceback)

    # local reads

    @property
    def types(self) -> Sequence[type[CfgObject]]:
        """The classes of the objects that are kept."""
        return [kind.cls for kind in self._types.values()]

    @property
    def is_following(self) -> bool:
        """Whether changes arrive at present."""
        return self._stream is not None and self._client.state is ClientState.CONNECTED

    @property
    def age_s(self) -> float:
        """How old the data may be: seconds since the server was last heard of while changes were followed.

        On a healthy connection it stays below the time-out of the client's ``keep_alive``. 0 before the first load.
        """
        if not self._replica.complete:
            return 0.0
        if self.is_following:
            self._as_of_s = self._client.last_received_s
        return max(self._clock() - self._as_of_s, 0.0)

    def get(self, object_type: type[T], /, dbid: int | None = None, **key: Any) -> T:
        """One object, by DBID or a unique key: ``get(CfgPerson, 101)``, ``get(CfgPerson, userName="x")``.

        Raises `ObjectNotFoundError`; `ModelError` for names that are no unique key, and
        `ConfigurationError` for a type that is not kept.
        """
        kind = self._kind(object_type)
        number = kind.number
        if dbid is None:
            dbid = self.cache.find(number, **key)
        stored = None if dbid is None else self.cache.get(number, dbid)
        if stored is None:
            wanted = ", ".join(f"{name}={value!r}" for name, value in key.items()) or f"DBID {dbid}"
            raise ServerError.from_code(
                ErrorCode.OBJECT_NOT_FOUND, f"no {kind.singular} with {wanted}", object_type=number
            )
        return cast(T, decode_object(kind, self.cache.compose(number, stored)))

    def select(self, object_type: type[T], /, **filter: Any) -> list[T]:
        """The objects that fit a filter, with the keys of `ConfigClient.read`; without a filter, all.

        Raises `ModelError` for a wrong key or value, `ConfigurationError` when the type, or one that
        the filter key needs to look at, is not kept.
        """
        kind = self._kind(object_type)
        values = filter_map(filter)
        self._check_kept(kind, values)
        parts = self.cache.select(kind.number, values).parts()
        return [cast(T, decode_object(kind, stored)) for part in parts for stored in part.objects]

    def count(self, object_type: TypeRef, /) -> int:
        """The number of objects of a type."""
        return self.cache.count(self._kind(object_type).number)

    def changes(self, object_type: TypeRef | None = None) -> AsyncIterator[ObjectChange]:
        """Changes from now on, of a type or of all kept; each when local reads show it already.

        After a reload the differences come, as complete objects and deletions. Raises
        `HistoryExpiredError` when the consumer falls so far behind that the local log has moved on.
        Ends when following ends.
        """
        return _Changes(self, None if object_type is None else self._kind(object_type).number)

    async def wait_changed(self) -> bool:
        """Wait for the next transaction or load; False when there will be none any more."""
        if not self._has_ended:
            await self._news.wait()
        return not self._has_ended

    def statistics(self) -> NearCacheStatistics:
        """A snapshot for monitoring."""
        return NearCacheStatistics(
            objects=sum(self.cache.counts().values()),
            position=self.position,
            following=self.is_following,
            age_s=self.age_s,
            loads=self._loads,
            transactions=self._transactions,
            history_changes=self._replica.log.statistics().changes,
        )

    # ReplicaSink

    @property
    def position(self) -> Position:
        """Everything up to here, of the types kept, is in the cache."""
        return self._replica.position if self._stream is None else self._stream.position

    @property
    def cache(self) -> ConfigurationCache:
        """The current data set."""
        return self._replica.cache

    @property
    def log(self) -> ChangeLog:
        """The window of recent changes."""
        return self._replica.log

    @property
    def epochs(self) -> Sequence[Epoch]:
        """The epoch table of the last load, oldest first."""
        return self._replica.epochs

    def publish(self, transaction: Sequence[Change]) -> None:
        """Apply one transaction. Raises `ModelError` if it does not fit; then nothing changed."""
        self._replica.publish(transaction)
        self._transactions += 1
        self._tell()

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        """Put a new data set in place; its differences go to `changes`."""
        self._replica.replace(builder, position, epochs)
        self._loads += 1
        self._tell()

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        """The same history goes on under this epoch table."""
        self._replica.epochs = list(epochs)

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        """Log changes that the data set contains already."""
        self._replica.extend_history(transactions)

    # following

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        """Follow, and load again where following is no longer possible, until the client ends."""
        self._started = task_status
        stop_observing = self._client.observe(self._client_changed)
        try:
            is_current = True
            while self._client.state not in (ClientState.LOST, ClientState.CLOSED):
                try:
                    if not is_current:
                        await self._load()
                        is_current = True
                    await self._follow()
                except (HistoryExpiredError, ModelError) as e:
                    log.warning("the near cache loads anew: %s", e, extra={"event": 31100})
                    is_current = False
                    await anyio.sleep(self._backoff.next_delay_s())
                except (ConnectionLostError, TimedOutError, RemoteProtocolError, ServerError) as e:
                    log.info("the near cache cannot follow: %s", e)
                    hint_s = e.retry_after_s if isinstance(e, ServerError) else 0.0
                    await anyio.sleep(self._backoff.next_delay_s(at_least_s=hint_s))
        except CsproxyError as e:
            log.error("the near cache has stopped following: %s", e, extra={"event": 31101})
        finally:
            stop_observing()
            self._end()
            self._tell_started()

    def _tell_started(self) -> None:
        if self._started is not None:
            started, self._started = self._started, None
            started.started()

    async def _follow(self) -> None:
        async with self._client.subscribe(self._subscribed, since=self._replica.position) as stream:
            self._stream = stream
            self._backoff.connected(self._clock())
            self._tell_started()
            try:
                while (transaction := await stream.next_transaction()) is not None:
                    self._take(transaction)
            finally:
                self._client_changed(self._client.state)
                self._stream = None
                self._backoff.lost(self._clock())

    def _take(self, transaction: RawTransaction) -> None:
        """Apply what the transaction says of the types kept."""
        kept = [change for change in transaction.changes if change.type in self._types]
        if kept:
            if not kept[-1].last:
                final = kept[-1]
                frame = with_flags(final.frame, final.frame[6] | FLAG_END)
                kept[-1] = msgspec.structs.replace(final, frame=frame, last=True)
            self.publish(kept)

    async def _load(self) -> None:
        """Read all types from one snapshot of the server, and put them in place together."""
        connection = await self._client.connection()
        began_s = self._clock()
        builder = CacheBuilder(self.cache if self._replica.complete else None)

        def add(frame: Frame) -> None:
            part = decode_payload(ObjectsRead, frame.payload)
            builder.add(part.type, [bytes(raw) for raw in part.objects], part.folders)

        async with Snapshot(connection, timeout_s=self._part_timeout_s) as snapshot:
            for number in self._types:
                await snapshot.read(number, {"read_folder_dbid": 1}, on_part=add, timeout_s=self._part_timeout_s)
        self.replace(builder, snapshot.position, self._client.epochs)
        self._as_of_s = began_s
        log.info("near cache of %d objects at UEN %d", sum(self.cache.counts().values()), snapshot.position.uen)

    def _client_changed(self, state: ClientState) -> None:
        """Note, while it is known, up to when the data was current."""
        if self._stream is not None:
            self._as_of_s = max(self._as_of_s, self._client.last_received_s)

    def _end(self) -> None:
        self._has_ended = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    def _kind(self, object_type: TypeRef) -> ObjectType:
        kind = SCHEMA.object_type(object_type)
        if kind.number not in self._types:
            kept = ", ".join(each.name for each in self._types.values())
            raise ConfigurationError(f"this near cache does not keep {kind.name}; it keeps {kept}")
        return kind

    def _check_kept(self, kind: ObjectType, filter: Mapping[str, Any]) -> None:
        """A filter that looks at objects which are not kept would find nothing, and that would be wrong."""
        for name in filter:
            key = FILTER_KEYS[kind.number].get(name)
            missing = [] if key is None else [each for each in _types_of(key.rule) if each not in self._types]
            if missing:
                raise ConfigurationError(
                    f"filter key {name} of {kind.name} needs {SCHEMA.types[missing[0]].name}, "
                    "which this near cache does not keep"
                )


class _Changes:
    """The async iterator of `NearCache.changes`: a cursor into the local change log."""

    def __init__(self, near: NearCache, wanted: int | None) -> None:
        self._near = near
        self._wanted = wanted
        self._cursor = near.log.end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ObjectChange:
        change_log = self._near.log
        while True:
            while self._cursor < change_log.end:
                try:
                    (record,) = change_log.records(self._cursor, self._cursor + 1)
                except IndexError as e:
                    raise HistoryExpiredError(
                        ErrorCode.HISTORY_LOG_EXPIRED, "changes() was read too slowly: the local history has moved on"
                    ) from e
                self._cursor += 1
                if self._wanted in (None, record.type):
                    return _typed(record)
            if not await self._near.wait_changed():
                raise StopAsyncIteration


def _types_of(rule: object) -> list[int]:
    """The numbers of the types that a filter rule looks at beside the one it selects from."""
    match rule:
        case Collected(sources):
            return [SCHEMA.object_type(source.type_name).number for source in sources]
        case Through(_, type_name, _) | Unreferenced(type_name, _):
            return [SCHEMA.object_type(type_name).number]
        case InFolder():
            return [_FOLDER]
        case SameHostAndPort():
            return [_APPLICATION]
        case _:
            return []


def _typed(record: LogRecord) -> ObjectChange:
    (frame,) = FrameReader().receive_data(record.frame)
    return ObjectChange.decode(decode_change(frame), last=record.last)
