"""The history log of a running server: sessions recorded, records read, old ones cleaned up.

A master writes to its database; a proxy forwards what it records to its master, in batches, and reads through it.
Both are async context managers around one task; a server without either (an embedder's, a test's) has `NoHistory`.

Sessions are recorded a moment later and never delay or refuse a client: what waits is bounded, and if the master is
away for so long that the bound is reached, the oldest records are given up and event 21-22138 says how many. A
batch whose answer was lost is sent again as it was, under the same identity, so that the master stores it once.
"""

from __future__ import annotations

import logging
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from csproxy.core import codec
from csproxy.core.history import HistoryAction, HistorySettings, SessionRecord, session_entry
from csproxy.core.sessions import Session
from csproxy.errors import ConnectionLostError, ErrorCode, RetryableError, ServerError, StoreError, TimedOutError
from csproxy.transport.batches import Batch, Batches
from csproxy.transport.wire.history import HistoryRecords, ReadHistory, SessionRecords
from csproxy.transport.wire.messages import MessageId, decode_payload

if TYPE_CHECKING:
    from csproxy.core.persistence.store import Store
    from csproxy.transport.database import DatabaseMaster
    from csproxy.transport.upstream import UpstreamSource

__all__ = ["HistoryLog", "MasterHistory", "NoHistory", "ProxyHistory"]

log = logging.getLogger("csproxy.history")

FLUSH_S: Final = 1.0
"""How long a session's record waits for others to be written with."""
CLEAN_UP_S: Final = 1800.0
"""The vendor's documents: clean-up every 30 minutes, and at the start."""
_LAST_FLUSH_S: Final = 2.0
_LONGEST_ID: Final = 64


def _random_id() -> str:
    return secrets.token_hex(16)


class HistoryLog(Protocol):
    """What a server needs of its history log."""

    def session_opened(self, session: Session, *, peer: str, uen: int) -> None:
        """A client at address ``peer`` has registered, or restored its session, while the server was at ``uen``."""

    def session_closed(self, session: Session, *, peer: str, uen: int) -> None:
        """The connection of a registered client is gone."""

    async def read(self, request: ReadHistory) -> HistoryRecords:
        """Some records. Raises `ServerError` or `StoreError`."""

    async def take_sessions(self, request: SessionRecords, *, server: str) -> None:
        """Store what the proxy ``server`` has recorded. Raises `ServerError`, `ModelError` or `StoreError`."""


class NoHistory:
    """Records nothing and refuses to be read."""

    def session_opened(self, session: Session, *, peer: str, uen: int) -> None:
        """Do nothing."""

    def session_closed(self, session: Session, *, peer: str, uen: int) -> None:
        """Do nothing."""

    async def read(self, request: ReadHistory) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def take_sessions(self, request: SessionRecords, *, server: str) -> NoReturn:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ServerError.from_code(ErrorCode.UNKNOWN_MESSAGE, "this server keeps no history log")


class _SessionRecorder(ABC):
    """Collects records of sessions and hands them on in batches, one after the other; owns the task that does it."""

    def __init__(self, *, wall_clock: Callable[[], float], batch_id: Callable[[], str]) -> None:
        self._wall_clock = wall_clock
        self._records: Batches[SessionRecord] = Batches(batch_id)
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._flush_for_ever)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        with anyio.move_on_after(_LAST_FLUSH_S, shield=True):
            await self._records.flush(self._hand_on)
        self._records.give_up()
        self._tell_lost()

    def session_opened(self, session: Session, *, peer: str, uen: int) -> None:
        """Note it."""
        self._note(HistoryAction.SESSION_OPENED, session, peer, uen)

    def session_closed(self, session: Session, *, peer: str, uen: int) -> None:
        """Note it."""
        self._note(HistoryAction.SESSION_CLOSED, session, peer, uen)

    def _note(self, action: HistoryAction, session: Session, peer: str, uen: int) -> None:
        if not self._is_active():
            return
        self._records.add(
            SessionRecord(
                action=action,
                time_ms=self._now_ms(),
                uen=uen,
                user=session.account.user,
                application=session.application,
                host=peer,
            )
        )

    async def _flush_for_ever(self) -> None:
        while True:
            await anyio.sleep(FLUSH_S)
            await self._records.flush(self._hand_on)
            self._tell_lost()

    def _tell_lost(self) -> None:
        if self._records.lost:
            log.error(
                "the history log lacks %d records of client sessions: they could not be handed on in time",
                self._records.lost,
                extra={"event": 22138},
            )
            self._records.lost = 0

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)

    @abstractmethod
    def _is_active(self) -> bool: ...

    @abstractmethod
    async def _hand_on(self, batch: Batch[SessionRecord]) -> bool:
        """Write or send; False to try again later."""


class MasterHistory(_SessionRecorder):
    """The history log of a master: in its database.

    ``name`` is that of the server's Application object; ``settings`` may be set at any time. ``batch_id`` gives a
    text of at most 64 characters that is never given twice.
    """

    def __init__(
        self,
        database: DatabaseMaster,
        name: str,
        *,
        wall_clock: Callable[[], float] = time.time,
        batch_id: Callable[[], str] = _random_id,
    ) -> None:
        super().__init__(wall_clock=wall_clock, batch_id=batch_id)
        self._database = database
        self._name = name

    def __repr__(self) -> str:
        return f"<MasterHistory {self.settings}, {len(self._records)} sessions waiting>"

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        assert self._tasks is not None
        self._tasks.start_soon(self._clean_up_for_ever)
        return self

    @property
    def settings(self) -> HistorySettings:
        """The options of [history-log] in force."""
        return self._database.history_settings

    @settings.setter
    def settings(self, settings: HistorySettings) -> None:
        self._database.history_settings = settings

    async def read(self, request: ReadHistory) -> HistoryRecords:
        """Records that have not expired for clients, at most max-records and about a megabyte at a time.

        Raises `ServerError` for a negative number and `StoreError`.
        """
        if min(request.since_uen, request.after, request.limit) < 0:
            raise ServerError.from_code(
                ErrorCode.WRONG_API_PARAMETERS, "since_uen, after and limit are numbers of 0 or above"
            )
        settings = self.settings
        limit = min(request.limit or settings.max_records, settings.max_records)
        floor = settings.readable(self._now_ms())
        page = await self._database.use_store(
            lambda store: store.history_log.read(floor, after=request.after, since_uen=request.since_uen, limit=limit)
        )
        return HistoryRecords(
            numbers=list(page.numbers), records=[msgspec.Raw(body) for body in page.records], more=page.more
        )

    async def take_sessions(self, request: SessionRecords, *, server: str) -> None:
        """Store what a proxy has recorded, unless the log is not active, or this batch of the proxy has been stored."""
        if len(request.batch) > _LONGEST_ID:
            raise ServerError.from_code(
                ErrorCode.WRONG_API_PARAMETERS,
                f"the identity of a batch has at most {_LONGEST_ID} characters, not {len(request.batch)}",
                property_name="batch",
            )
        records = [_session_record(raw) for raw in request.records]
        if self.settings.active and records and not await self._store(Batch(request.batch, records), server):
            log.info("a batch of %d session records of %r was sent again; it is stored already", len(records), server)

    async def clean_up(self) -> int:
        """Delete what has expired, in steps between which others get their turn; returns how many records went."""
        total = 0
        while True:
            settings = self.settings
            step = partial(_clean_up, settings=settings, now_ms=self._now_ms())
            deleted = await self._database.use_store(step)
            if not deleted:
                return total
            total += deleted

    def _is_active(self) -> bool:
        return self.settings.active

    async def _hand_on(self, batch: Batch[SessionRecord]) -> bool:
        try:
            await self._store(batch, self._name)
        except StoreError as e:
            _report(e, lost=len(batch.records))
        return True

    async def _store(self, batch: Batch[SessionRecord], server: str) -> bool:
        now_ms, max_records = self._now_ms(), self.settings.audit_max_records
        records = [session_entry(record, server=server, now_ms=now_ms) for record in batch.records]
        return await self._database.use_store(
            lambda store: store.history_log.add_sessions(
                records, max_records=max_records, server=server, batch=batch.id
            )
        )

    async def _clean_up_for_ever(self) -> None:
        while True:
            try:
                deleted = await self.clean_up() if self._database.is_primary else 0
            except StoreError as e:
                log.error("the history log could not be cleaned up: %s", e, extra={"event": 22138})
            else:
                log.debug("history log cleaned up: %d records deleted", deleted)
            await anyio.sleep(CLEAN_UP_S)


class ProxyHistory(_SessionRecorder):
    """The history log of a proxy: it stands at the master, and ``source`` is the link to it."""

    def __init__(
        self,
        source: UpstreamSource,
        *,
        wall_clock: Callable[[], float] = time.time,
        batch_id: Callable[[], str] = _random_id,
        timeout_s: float = 30.0,
    ) -> None:
        super().__init__(wall_clock=wall_clock, batch_id=batch_id)
        self._source = source
        self._timeout_s = timeout_s
        self.settings = HistorySettings()

    def __repr__(self) -> str:
        return f"<ProxyHistory {len(self._records)} sessions waiting>"

    async def read(self, request: ReadHistory) -> HistoryRecords:
        """What the master answers. Raises its refusals, and `RetryableError` when it is away."""
        try:
            frame = await self._source.request(MessageId.READ_HISTORY, request, timeout_s=self._timeout_s)
        except (ConnectionLostError, TimedOutError) as e:
            raise RetryableError(
                ErrorCode.SERVER_NOT_FOUND,
                f"the master, which has the history log, cannot be asked now: {e}; try again later",
                retry_after_s=1.0,
            ) from e
        return decode_payload(HistoryRecords, frame.payload)

    async def take_sessions(self, request: SessionRecords, *, server: str) -> NoReturn:
        """Refuse: a proxy has no proxies."""
        raise ServerError.from_code(
            ErrorCode.ACCESS_DENIED, "a proxy takes no session records: send them to the master"
        )

    def _is_active(self) -> bool:
        return self.settings.active

    async def _hand_on(self, batch: Batch[SessionRecord]) -> bool:
        records = [msgspec.Raw(codec.encode(record)) for record in batch.records]
        request = SessionRecords(records=records, batch=batch.id)
        try:
            await self._source.request(MessageId.SESSION_RECORDS, request, timeout_s=self._timeout_s)
        except (ConnectionLostError, TimedOutError, RetryableError) as e:
            log.debug("%d session records wait for the master: %s", len(records), e)
            return False
        except ServerError as e:
            _report(e, lost=len(records))
        return True


def _report(error: Exception, *, lost: int) -> None:
    log.error("%d records of client sessions are missing in the history log: %s", lost, error, extra={"event": 22138})


def _clean_up(store: Store, *, settings: HistorySettings, now_ms: int) -> int:
    return store.history_log.clean_up(settings.kept(now_ms), max_records=settings.audit_max_records)


def _session_record(raw: msgspec.Raw) -> SessionRecord:
    return msgspec.msgpack.decode(raw, type=SessionRecord)
