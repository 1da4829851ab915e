"""A Configuration Server: clients are served from a replica, whatever fills it.

Master, proxy and embedder's server differ in what is composed: the source that writes to the
server as a `ReplicaSink`, the `Writer` that takes changes, and the `Authenticator` that checks
log-ins. The server owns its tasks; it opens no ports (see listener.py) and reads no settings.
"""

from __future__ import annotations

import logging
import math
import os
import random as _random
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from csproxy import __version__
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changelog import ChangeLog, ChangeLogStatistics, WindowLimits
from csproxy.core.changes import Change, Epoch, Position
from csproxy.core.collation import CODE_POINTS
from csproxy.core.lease import Holder
from csproxy.core.loading import CacheBuilder
from csproxy.core.replica import Replica, continues
from csproxy.core.sessions import Account, SessionRegistry
from csproxy.core.subscriptions import SubscriptionIndex
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.administration import Administration, NoAdministration
from csproxy.transport.channel import Channel
from csproxy.transport.consistent_reads import SharedQuestion
from csproxy.transport.credential_source import CredentialSource, NoCredentials
from csproxy.transport.fanout import FanOut, FanOutStatistics, Member
from csproxy.transport.history import HistoryLog, NoHistory
from csproxy.transport.keepalive import TRACE, ClientWatch
from csproxy.transport.leaving import leave_tasks
from csproxy.transport.load_control import BulkReaders, LoadControl
from csproxy.transport.log_ins import LogInKeeper, NoLogIns
from csproxy.transport.peer_link import PairPeer
from csproxy.transport.peers import Peers
from csproxy.transport.permission_news import announce_lists, hearers_of_lists
from csproxy.transport.replay import progress_mark
from csproxy.transport.requests import HANDLERS
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.sight_changes import SightKeeper
from csproxy.transport.starting import Starting
from csproxy.transport.tickets import NoTickets, TicketAuthenticator
from csproxy.transport.trust import NoTrust, ProxyTrust
from csproxy.transport.turns import call_soon, now, start_soon
from csproxy.transport.verification import NoVerifier, Verifier
from csproxy.transport.wire.notifications import encode_notification
from csproxy.transport.writers import Forwarder, ReadOnlyWriter, Writer

__all__ = [
    "Authenticator",
    "ConfigurationServer",
    "ReadOnlyWriter",
    "ServerSettings",
    "ServerStatistics",
    "Writer",
]

log = logging.getLogger("csproxy.server")

SCHEMA_VERSION: Final = "8.5.1"
"""Release of the published object model that this server speaks."""

_STARTING: Final = Starting()


class Authenticator(Protocol):
    """Checks log-ins."""

    async def authenticate(self, user: str, password: str) -> Account:
        """The account of a right log-in. Raises `ServerError` (LOGIN_INCORRECT, or retryable)."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedder may set; times in seconds, sizes in bytes.

    ``packet_bytes``: target size of one ObjectsRead. ``max_client_output_bytes``: unsent answers
    above which a client's further requests are deferred, ``max_output_bytes``: those of all clients together
    above which long answers are refused for a moment (0 = no limit). ``client_response_timeout_s``:
    a client that takes nothing for so long is disconnected. ``mark_interval_s``: progress marks for
    clients that received nothing. ``reach_timeout_s``: longest wait for a position in the future.
    """

    packet_bytes: int = 64 * 1024
    max_client_output_bytes: int = 1024 * 1024
    max_output_bytes: int = 0
    max_request_frame: int = 64 * 1024 * 1024
    client_response_timeout_s: float = 600.0
    registration_timeout_s: float = 30.0
    mark_interval_s: float = 15.0
    session_keep_s: float = 600.0
    max_detached_sessions: int = 20_000
    reach_timeout_s: float = 3.0
    history: WindowLimits = WindowLimits()


class ServerStatistics(NamedTuple):
    """What the server does now; a snapshot."""

    clients: int
    unregistered: int
    detached_sessions: int
    subscriptions: int
    subscription_classes: int
    congested: int
    objects: int
    position: Position
    log: ChangeLogStatistics
    fan_out: FanOutStatistics


class ConfigurationServer:
    """Serves clients from a replica; async context manager around one task group.

    ``role`` is ``"master"`` or ``"proxy"``, ``name`` that of the server's own Application object. ``authenticator``
    and ``writer`` may be set later, as attributes, if they need the server; until then log-ins and changes are refused.
    ``clock`` gives monotonic seconds, ``random`` a float in [0, 1), ``random_bytes`` bytes that
    nobody can guess. ``call_soon(fn)`` runs ``fn`` in the next turn of the event loop. ``more_status``
    adds keys to the Status answer.

    It implements `csproxy.core.replica.ReplicaSink`: a source of data publishes into it.
    """

    def __init__(
        self,
        *,
        role: str,
        name: str,
        authenticator: Authenticator = _STARTING,
        writer: Writer = _STARTING,
        random: Callable[[], float] = _random.random,
        random_bytes: Callable[[int], bytes] = os.urandom,
        settings: ServerSettings | None = None,
        clock: Callable[[], float] = now,
        call_soon: Callable[[Callable[[], None]], object] = call_soon,
        release: str = __version__,
        more_status: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self._role = role
        self.name = name
        self.standby: Callable[[], str | None] = lambda: None
        """Why this server serves no clients now although it listens, as the backup of a pair; None: it does."""
        self.primary: Callable[[], Holder | None] = lambda: None
        """The master that serves then, as far as it is known."""
        self.is_for_users: Callable[[str], bool] = lambda port_id: False
        """Whether only applications with a user interface may register at a port."""
        self.release = release
        self.schema_version = SCHEMA_VERSION
        self.settings = settings or ServerSettings()
        self.authenticator = authenticator
        self.writer = writer
        self.forwarder: Forwarder | None = None
        """Takes changes to the master, and the writer is not asked; whoever composes a proxy sets it."""
        self.tickets: TicketAuthenticator = NoTickets()
        self.pair: PairPeer | None = None
        """The other of a warm-standby pair; None: this server is none of a pair."""
        self.credentials: CredentialSource = NoCredentials()
        """What the proxies of a master are given to check passwords; whoever composes a master sets it."""
        self.log_ins: LogInKeeper = NoLogIns()
        """Notes log-ins; whoever composes the server sets it."""
        self.trust: ProxyTrust = NoTrust()
        """Which proxies may speak for their clients; whoever composes a master sets it."""
        self.administration: Administration = NoAdministration()
        """Keeps permissions, accounts and the operational mode; whoever composes the server sets it."""
        self.collation = CODE_POINTS
        """The order of names in brief information; whoever composes the server sets it."""
        self.history: HistoryLog = NoHistory()
        self.on_advance: list[Callable[[], None]] = []
        """Called when the data set has moved on."""
        self.is_current: Callable[[], bool] = lambda: self.role == "master"
        """Whether the epoch table is the master's own: at a proxy, while it follows one."""
        self.upstream_position: SharedQuestion | None = None
        """Where the master stands, for consistent reads at a proxy; None at a master, which knows."""
        self.verifier: Verifier = NoVerifier()
        """Compares the data with where it comes from; whoever composes the server sets it."""
        self.keep_alive = ClientWatch(clock)
        self.load_control = LoadControl(clock)
        self.bulk_readers = BulkReaders(clock)
        self.clock = clock
        self.call_soon = call_soon
        self.handlers = HANDLERS
        self.requests: dict[int, int] = defaultdict(int)
        """How many of each message clients have sent."""
        self.refusals: dict[int, int] = defaultdict(int)
        """How many of them were answered with an Error, by its code."""
        self.replica = Replica(encode=encode_notification, clock=clock, limits=self.settings.history)
        self.subscriptions: SubscriptionIndex[Member] = SubscriptionIndex()
        self.fan_out = FanOut(log=self.replica.log, index=self.subscriptions, call_soon=call_soon)
        self.sessions = SessionRegistry(
            random_bytes=random_bytes,
            keep_s=self.settings.session_keep_s,
            max_detached=self.settings.max_detached_sessions,
        )
        self.sight = SightKeeper(self)
        """What each session may read."""
        self._random = random
        self._more_status = more_status
        self.peers = Peers(clock, self.retry_after_s)
        self._connections: dict[ServerConnection, None] = {}
        self._congested: dict[ServerConnection, None] = {}
        self._advanced: anyio.Event | None = None
        self._all_closed: anyio.Event | None = None
        self._tasks: TaskGroup | None = None
        self._last_snapshot = 0
        self._started_s = 0.0
        self._is_stopping = False

    def __repr__(self) -> str:
        return (
            f"<ConfigurationServer {self.role} {self.name!r} at UEN {self.position.uen}, {len(self.sessions)} clients>"
        )

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._started_s = self.clock()
        self._tasks.start_soon(self._send_marks)
        self._tasks.start_soon(self._sweep)
        self._tasks.start_soon(self.keep_alive.run)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        self._is_stopping = True
        for connection in list(self._connections):
            connection.disconnect(ErrorCode.FORCED_DISCONNECT, "the server has stopped")
            connection.channel.close(flush=False)
        with anyio.CancelScope(shield=True):
            await self._wait_until_empty(1.0)
        return await leave_tasks(self._tasks, exc_type, exc, traceback)

    @property
    def role(self) -> str:
        """``master``, ``proxy``, or ``backup`` while it stands by."""
        return self._role if self.standby() is None else "backup"

    def dismiss(
        self,
        reason: str,
        *,
        retry_after_s: float | None = None,
        keeps: Callable[[ServerConnection], bool] = lambda connection: False,
    ) -> None:
        """Tell every client where its change stream ends and disconnect it; it may try the other server of the pair.

        It is told to come again after ``retry_after_s``, None for a time that differs from client to client.
        Connections for which ``keeps`` holds stay.
        """
        for connection in list(self._connections):
            if keeps(connection):
                continue
            connection.bring_up_to_date()
            if connection.live:
                connection.channel.write(progress_mark(self.position))
            wait_s = self.retry_after_s() if retry_after_s is None else retry_after_s
            connection.disconnect(ErrorCode.FORCED_DISCONNECT, reason, retry_after_s=wait_s)

    async def stop(self, *, grace_s: float = 5.0) -> None:
        """Tell every client where its change stream ends and that the server stops, then wait until they are gone.

        After ``grace_s`` seconds connections that are still open are cut. New clients are refused.
        """
        self._is_stopping = True
        self.dismiss(f"{self.role} {self.name!r} stops")
        await self._wait_until_empty(grace_s)
        for connection in list(self._connections):
            connection.channel.close(flush=False)
        await self._wait_until_empty(1.0)

    async def _wait_until_empty(self, timeout_s: float) -> None:
        if self._connections:
            self._all_closed = anyio.Event()
            with anyio.move_on_after(timeout_s):
                await self._all_closed.wait()

    # ReplicaSink

    @property
    def position(self) -> Position:
        """Where the data set stands."""
        return self.replica.cache.position

    @property
    def cache(self) -> ConfigurationCache:
        """The current data set."""
        return self.replica.cache

    @property
    def log(self) -> ChangeLog:
        """The window of recent changes."""
        return self.replica.log

    @property
    def epochs(self) -> Sequence[Epoch]:
        """The epoch table, oldest first."""
        return self.replica.epochs

    def publish(self, transaction: Sequence[Change]) -> None:
        """Apply one transaction and bring it to all who subscribed."""
        before = hearers_of_lists(self, transaction)
        published = self.replica.publish(transaction)
        self.sight.follow(published, self.position)
        self.fan_out.publish(published.records, self.position)
        announce_lists(self, transaction, before)
        self._tell_waiters()

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        """Put a complete new data set in place; subscribers get the difference as one transaction."""
        is_reload, ended = self.replica.complete, self.position
        if is_reload and not continues(ended, position, epochs):
            # whose table of epochs does not list the one that ends could not tell which of two positions is later
            self.dismiss("the data is of another history now", keeps=lambda client: client.knows(ended.epoch))
        published, continued = self.replica.replace(builder, position, epochs)
        records = published.records
        log.info(
            "%d objects in place at UEN %d, %s",
            sum(self.cache.counts().values()),
            position.uen,
            f"{len(records)} differences{'' if continued else ', a new history'}"
            if is_reload
            else "the first data set",
        )
        self.sight.follow(published, position, is_new_history=not continued)
        if records:
            self.fan_out.publish(records, position)
            announce_lists(self, records, {})
        self._tell_waiters()

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        """The same history goes on under this epoch table."""
        self.replica.epochs = list(epochs)
        self._tell_waiters()

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        """Log changes that the data set contains already."""
        self.replica.extend_history(transactions)

    # clients

    def connect(self, channel: Channel, port_id: str = "default") -> None:
        """Serve a new connection; the listener calls this."""
        peer = self.peers.admit(channel)
        if peer is None:
            return
        connection = ServerConnection(self, channel, port_id, peer)
        self._connections[connection] = None
        log.log(TRACE, "client connected: %s at port %s", channel.peer, port_id, extra={"event": 4520})
        self.peers.opened(connection)
        channel.start(connection)
        if self._is_stopping:
            connection.disconnect(ErrorCode.FORCED_DISCONNECT, f"{self.role} {self.name!r} stops")

    def registered(self, connection: ServerConnection) -> None:
        """The connection's client has logged in."""
        self.peers.registered(connection)
        if connection.session is not None:
            self.history.session_opened(connection.session, peer=connection.channel.peer, uen=self.position.uen)

    def connection_closed(self, connection: ServerConnection, error: Exception | None) -> None:
        """The connection is gone; its session stays for a while."""
        self._connections.pop(connection, None)
        self.peers.closed(connection)
        self._congested.pop(connection, None)
        self.load_control.leave(connection)
        self.bulk_readers.leave(connection)
        if self.pair is not None:
            self.pair.connection_closed(connection)
        session = connection.session
        if session is not None:
            self.history.session_closed(session, peer=connection.channel.peer, uen=self.position.uen)
        if session is not None and session.connection is connection:
            self.sessions.detach(session, now_s=self.clock())
            log.info(
                "client disconnected: %r, %s%s",
                session.application,
                connection.channel.peer,
                f": {error}" if error else "",
                extra={"event": 24301, "client": session.application, "address": connection.channel.peer},
            )
        if self._all_closed is not None and not self._connections:
            self._all_closed.set()

    def congested(self, connection: ServerConnection) -> None:
        """The client does not take what is sent; it is watched until its channel is writable again."""
        if connection.congested_since_s is None:
            connection.congested_since_s = self.clock()
        self._congested[connection] = None

    def has_room(self) -> bool:
        """Whether what waits for clients that do not take it leaves room for a long answer (``max_output_bytes``)."""
        limit = self.settings.max_output_bytes
        return not limit or sum(each.channel.pending_bytes for each in self._congested) <= limit

    def spawn(self, task: Callable[..., Any], *args: object, name: str) -> None:
        """Run a coroutine function as a task of this server; an exception of it is logged under ``name``."""
        assert self._tasks is not None, "the server is not entered: use 'async with'"
        start_soon(self._tasks, _guarded, name, task, args)

    def next_snapshot(self) -> int:
        """A handle for a snapshot, unique in this server."""
        self._last_snapshot += 1
        return self._last_snapshot

    def retry_after_s(self) -> float:
        """A hint for a refused client, with jitter so that they do not all come back at once."""
        return 0.5 + 1.5 * self._random()

    def has_reached(self, position: Position) -> bool:
        """Whether the data set contains everything up to ``position``, which may lie in the future.

        An epoch that is not known may be one that has just begun: a proxy hears of it later than others. The
        master itself knows all. Raises `ServerError` HISTORY_LOG_EXPIRED for a position of another history:
        a successor of its epoch began before it, or the epoch is none of this master's.
        """
        epochs = self.epochs
        for index, epoch in enumerate(epochs):
            if epoch.epoch == position.epoch:
                if index + 1 < len(epochs) and position.uen >= epochs[index + 1].first_uen:
                    following = epochs[index + 1]
                    raise _other_history(position, f"epoch {following.epoch} took over at UEN {following.first_uen}")
                return position.uen <= self.position.uen
        if self.role == "master" and self.replica.complete:
            raise _other_history(position, "its epoch is not known to this master")
        return False

    async def wait_until_reached(self, position: Position) -> None:
        """Wait at most ``reach_timeout_s`` for `has_reached`, which may raise.

        After that raises a retryable `ServerError` that names both positions, or HISTORY_LOG_EXPIRED if the epoch is
        still unknown to a proxy that follows its master: the client would come back with it for ever.
        """
        with anyio.move_on_after(self.settings.reach_timeout_s):
            while not self.has_reached(position):
                if self._advanced is None:
                    self._advanced = anyio.Event()
                await self._advanced.wait()
            return
        if self.is_current() and all(epoch.epoch != position.epoch for epoch in self.epochs):
            raise _other_history(position, "its epoch is not known to the master of this proxy")
        raise ServerError.from_code(
            ErrorCode.UNDEFINED_ERROR,
            f"this server is at UEN {self.position.uen} of epoch {self.position.epoch} and has not reached "
            f"UEN {position.uen} of epoch {position.epoch}",
            retry_after_s=self.retry_after_s(),
        )

    def statistics(self) -> ServerStatistics:
        """A snapshot of what the server does."""
        return ServerStatistics(
            clients=len(self.sessions),
            unregistered=len(self.peers),
            detached_sessions=self.sessions.detached_count,
            subscriptions=self.subscriptions.subscription_count,
            subscription_classes=len(list(self.subscriptions.classes)),
            congested=len(self._congested),
            objects=sum(self.cache.counts().values()),
            position=self.position,
            log=self.log.statistics(),
            fan_out=self.fan_out.statistics(),
        )

    def status(self) -> dict[str, Any]:
        """The Status answer (message 1015); the keys are documented in docs/protocol.md."""
        now = self.statistics()
        return {
            "role": self.role,
            "name": self.name,
            "release": self.release,
            "ready": self.replica.complete and not self._is_stopping and self.role != "backup",
            "epoch": now.position.epoch,
            "uen": now.position.uen,
            "objects": now.objects,
            "clients": now.clients,
            "detached_sessions": now.detached_sessions,
            "subscriptions": now.subscriptions,
            "history": {
                "changes": now.log.changes,
                "bytes": now.log.frame_bytes,
                "oldest_uen": now.log.oldest_uen,
            },
            **self.load_control.statistics(),
            "uptime_s": round(self.clock() - self._started_s, 3),
            **(self._more_status() if self._more_status else {}),
        }

    def _tell_waiters(self) -> None:
        if self._advanced is not None:
            self._advanced.set()
            self._advanced = None
        for tell in self.on_advance:
            tell()

    async def _send_marks(self) -> None:
        """Tell quiet subscribers how far they have come, so that their place does not leave the window."""
        while True:
            await anyio.sleep(self.settings.mark_interval_s)
            self.fan_out.mark(self.position)

    async def _sweep(self) -> None:
        """End what takes too long: log-ins, clients that take nothing, detached sessions."""
        while True:
            await anyio.sleep(1.0)
            now_s = self.clock()
            for connection in self.peers.older_than(now_s - self.settings.registration_timeout_s):
                connection.disconnect(
                    ErrorCode.FORCED_DISCONNECT,
                    f"the client did not register within {self.settings.registration_timeout_s:g} s",
                )
            self.keep_alive.show_signs()
            for connection in list(self._congested):
                self._check_congested(connection, now_s)
            for connection in self.load_control.take_back():
                log.warning(
                    "the load slot of %r is taken back: it had it for too long", connection, extra={"event": 31084}
                )
            self.sessions.expire(now_s)

    def _check_congested(self, connection: ServerConnection, now_s: float) -> None:
        since_s = connection.congested_since_s
        if connection.is_closed or since_s is None:
            del self._congested[connection]
        elif now_s - since_s > self.settings.client_response_timeout_s:
            connection.disconnect(
                ErrorCode.FORCED_DISCONNECT,
                f"the client took nothing for {math.floor(now_s - since_s)} s",
            )
        elif connection.has_left_window(self.log.start):
            connection.catch_up()


def _other_history(position: Position, why: str) -> ServerError:
    return ServerError.from_code(
        ErrorCode.HISTORY_LOG_EXPIRED,
        f"UEN {position.uen} of epoch {position.epoch} belongs to another history: {why}; read everything anew",
    )


async def _guarded(name: str, task: Callable[..., Any], args: tuple[object, ...]) -> None:
    """The boundary of a server's task: a mistake in one request must not stop the server."""
    try:
        await task(*args)
    except Exception:
        log.exception("a task of the server failed: %s", name, extra={"event": 31090})
