"""The upstream source: follows a master, for ever, and writes what it says to a replica's sink.

`UpstreamSource` owns one task: connect, register, check, resume or load, follow, and after a loss
the same again with a back-off. The sink's clients notice nothing of that. What is decided stands in
`csproxy.core.replication`, what is done on one connection in `csproxy.transport.upstream_link`.
"""

from __future__ import annotations

import logging
import math
import random as random_module
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final

import anyio
import anyio.abc
import msgspec

import csproxy
from csproxy.core.changes import Epoch, Position
from csproxy.core.connections import master_connection, master_keep_alive
from csproxy.core.failover import Backoff, Endpoint, EndpointPolicy
from csproxy.core.keepalive import KeepAlive
from csproxy.core.replica import ReplicaSink
from csproxy.core.replication import Event, Plan, Replication, State
from csproxy.errors import (
    ConfigurationError,
    ConnectionLostError,
    CsproxyError,
    ErrorCode,
    LocalProtocolError,
    ModelError,
    RemoteProtocolError,
    RetryableError,
    ServerError,
)
from csproxy.transport import turns
from csproxy.transport.channel import Connector
from csproxy.transport.connection import Connection
from csproxy.transport.keepalive import TRACE, ServerWatch
from csproxy.transport.leaving import leave_tasks
from csproxy.transport.upstream_checks import (
    check_redundancy,
    check_release,
    check_role,
    lasting_refusal,
    read_application,
    register,
)
from csproxy.transport.upstream_digests import DigestWatch
from csproxy.transport.upstream_link import MasterLink, UpstreamLimits
from csproxy.transport.upstream_statistics import Totals, UpstreamStatistics
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId

__all__ = ["PASSES_WITHIN_S", "UpstreamLimits", "UpstreamSource", "UpstreamStatistics"]

log = logging.getLogger("csproxy.upstream")

_NONE = Position(0, 0)
_AWAY_RETRY_S = 5.0
PASSES_WITHIN_S: Final = 60.0
"""How long a proxy without data comes back after a refusal that may pass by itself.

A proxy whose machine lost power finds its own session still connected. The master notices within 30 s
(`csproxy.transport.sockets.notice_dead_peers`); twice as long, and somebody else uses the name.
"""
_POSITION_TIMEOUT_S = 3.0
KEEP_ALIVE: Final = KeepAlive(timeout_s=30.0, remote_timeout_s=30.0)
"""How a proxy and its master watch over each other if no Connection says otherwise."""
_HAS_DATA = frozenset({State.LIVE, State.WAITING, State.LOADING})
"""With a copy at hand: it is current, or serves until the new data set is complete."""
_STANDBY_RETRY_S = 1.0
"""The longest wait between attempts while a backup master has answered that it is one."""


class UpstreamSource:
    """Follows the master at one of ``endpoints`` (primary first) as Application ``application``.

        async with UpstreamSource(sink, connect_tcp, [Endpoint("master", 2020)], "proxy1") as source:
            await source.wait_live()

    Where the other master of a pair is, tries on one server before the other, and the longest pause before
    a try come from the master's Application once there is data that has it (`csproxy.core.connections`).
    ``keep_alive`` holds until the own Application, if it has a Connection to the master with protocol addp, says
    otherwise. ``release`` is this side's, for the check against the master's. ``random`` gives floats in [0, 1),
    ``clock`` seconds. With data in the sink before the start, a refusal is logged and tried again;
    without, it ends the source and `wait_live` raises it, after `PASSES_WITHIN_S` if the master said
    when to come back. ``from_copy`` says that the data in the sink
    comes from a copy on disk: it does not count as a master's before the source has been live, and
    until `wait_data` lets it be served, a refusal that does not pass by itself ends the source.

    Leaving the context ends the task and closes the connection; the sink keeps its data.
    """

    def __init__(
        self,
        sink: ReplicaSink,
        connector: Connector,
        endpoints: Sequence[Endpoint],
        application: str,
        *,
        app_password: str = "",
        delay_reload_s: float = 0.0,
        limits: UpstreamLimits | None = None,
        keep_alive: KeepAlive = KEEP_ALIVE,
        release: str = csproxy.__version__,
        random: Callable[[], float] = random_module.random,
        clock: Callable[[], float] = turns.now,
        from_copy: bool = False,
    ) -> None:
        self._sink = sink
        self._connector = connector
        self._policy = EndpointPolicy(endpoints)
        self._backoff = Backoff(random)
        self._replication = Replication(delay_reload_s=delay_reload_s)
        self._application = application
        self._app_password = app_password
        self._limits = limits or UpstreamLimits()
        self._unconfigured = keep_alive
        self._watch = ServerWatch(keep_alive, clock=clock)
        self._release = release
        self._clock = clock
        self.digests = DigestWatch(sink, self._limits, clock=clock)
        """Compares the data with the master's."""
        self._link: MasterLink | None = None
        self._ended_links = Totals()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._changed = anyio.Event()
        self.on_state: list[Callable[[], None]] = []
        """Called after each change of `state`."""
        self._refusal: ConfigurationError | None = None
        self._live_since_s: float | None = None
        self._last_error = ""
        self._master_dbid = 0
        self._takeover_due = False
        self._attempt_failed = False
        self._refused_since_s: float | None = None
        self._is_served = not from_copy
        self.has_consistent_ports = False
        """Option consistent-port-selection; a change counts from the next reconnect on."""
        if from_copy:
            self._replication.handle(Event.COPY)
        self.application_object: dict[str, Any] | None = None
        """The own Application object in plain form, as last read at registration; None before."""

    def __repr__(self) -> str:
        where = f"{self._policy.current} at UEN {self._sink.position.uen}"
        return f"<UpstreamSource {self._application!r} {self.state.value} {where}>"

    async def __aenter__(self) -> UpstreamSource:
        """Start following in the background; returns before anything is connected."""
        if self._tasks is not None or self.state is State.STOPPED:
            raise LocalProtocolError("an UpstreamSource is entered once")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End the task and wait for it. An error of the body is raised as it is, not in a group."""
        assert self._tasks is not None
        return await leave_tasks(self._tasks, kind, error, traceback)

    # state

    @property
    def state(self) -> State:
        """Where the replica stands."""
        return self._replication.state

    @property
    def delay_reload_s(self) -> float:
        """Option delay-reload (or delay-reload-backup); a change counts from the next reconnect on."""
        return self._replication.delay_reload_s

    @delay_reload_s.setter
    def delay_reload_s(self, seconds: float) -> None:
        self._replication.delay_reload_s = seconds

    @property
    def keep_alive(self) -> KeepAlive:
        """How this side and the master watch over each other's silence now."""
        return self._watch.settings

    def apply_connection(self) -> None:
        """Take the keep-alive of the own Application's Connection to the master, as the data has it now, at once.

        Without one, or with another protocol than addp, this source's own settings hold. A wrong number is
        logged and changes nothing.
        """
        try:
            found = master_keep_alive(self._sink.cache, self._application)
        except ConfigurationError as e:
            log.warning("the Connection of %r to its master: %s", self._application, e, extra={"event": 31005})
        else:
            self._watch.settings = self._unconfigured if found is None else found

    async def wait_live(self) -> None:
        """Wait until the data is complete and current.

        Raises `ConfigurationError` when the master refused this proxy, or must not be followed, before
        there was any data; the source has then ended. Has no deadline of its own.
        """
        while self.state is not State.LIVE:
            if self._refusal is not None:
                raise self._refusal
            if self.state is State.STOPPED:
                raise LocalProtocolError("the UpstreamSource has been stopped")
            await self._changed.wait()

    @property
    def serves_copy(self) -> bool:
        """The data comes from a copy on disk and no master has confirmed it yet."""
        return self._replication.is_unconfirmed

    async def wait_data(self) -> None:
        """Wait until there is something to serve: current data, or a copy after the first attempt.

        The attempt has failed, found that everything must be read anew, or takes longer than
        ``limits.copy_wait_s``. Raises as `wait_live`.
        """
        if not self.serves_copy:
            await self.wait_live()
        with anyio.move_on_after(self._limits.copy_wait_s):
            while self.state not in _HAS_DATA and not self._attempt_failed:
                if self._refusal is not None:
                    raise self._refusal
                if self.state is State.STOPPED:
                    raise LocalProtocolError("the UpstreamSource has been stopped")
                await self._changed.wait()
        self._is_served = True

    def statistics(self) -> UpstreamStatistics:
        """A snapshot of the counters."""
        totals = self._ended_links
        link = self._link
        return UpstreamStatistics(
            state=self.state.value,
            endpoint=str(self._policy.current),
            position=self._sink.position,
            connects=totals.connects,
            losses=totals.losses,
            refusals=totals.refusals,
            resumes=totals.resumes,
            loads=totals.loads,
            deferrals=totals.deferrals,
            objects_loaded=totals.objects_loaded,
            transactions=totals.transactions + (link.transactions if link else 0),
            changes=totals.changes + (link.changes if link else 0),
            live_since_s=self._live_since_s,
            last_error=self._last_error,
            digests=self.digests.statistics,
        )

    async def request(
        self, message: MessageId, payload: msgspec.Struct | bytes = b"", *, timeout_s: float = 30.0
    ) -> Frame:
        """Ask the master something over the upstream connection; returns the last frame of the answer.

        Raises `RetryableError` (code 1) while there is no registered connection, otherwise what
        `Connection.request` raises.
        """
        return await self._connection().request(message, payload, timeout_s=timeout_s)

    def live_connection(self) -> Connection:
        """The connection to the master, for requests that this replica must be able to follow.

        Raises `RetryableError` (code 1) while the data is not current.
        """
        connection = self._connection()
        if self.state is not State.LIVE:
            raise RetryableError(
                ErrorCode.SERVER_NOT_FOUND,
                f"this proxy is back with its master ({self._policy.current}), but its data is not current yet: "
                f"{self.state.value}",
                retry_after_s=_AWAY_RETRY_S,
            )
        return connection

    def _connection(self) -> Connection:
        if self._link is None:
            raise RetryableError(
                ErrorCode.SERVER_NOT_FOUND,
                f"the master is away ({self._policy.current}): {self._last_error or 'not connected yet'}",
                retry_after_s=_AWAY_RETRY_S,
            )
        return self._link.connection

    async def master_position(self) -> Position:
        """Where the master stands now. Raises as `request`."""
        frame = await self.request(MessageId.PING, timeout_s=_POSITION_TIMEOUT_S)
        return Position(frame.epoch, frame.uen)

    # the task

    async def _run(self) -> None:
        if self._sink.position != _NONE:
            self._learn_connection()
        try:
            while self._refusal is None:
                wait_s = await self._attempt()
                if self._refusal is None:
                    await anyio.sleep(wait_s)
        finally:
            self._handle(Event.STOP)

    async def _attempt(self) -> float:
        """One connection from its beginning to its end; returns the seconds to wait before the next."""
        self._handle(Event.CONNECT)
        try:
            connection = await self._connect()
        except ConfigurationError as e:
            self._handle(Event.CONNECTED)
            return self._refused(e)
        except CsproxyError as e:
            return self._not_connected(e)
        self._handle(Event.CONNECTED)
        try:
            error = await self._use(connection)
        finally:
            connection.close()
            self._forget_link()
        if isinstance(error, ConfigurationError) and self.state is State.REGISTERING:
            return self._refused(error)
        if connection.server_role == "backup" and self.state is State.REGISTERING:
            return self._stands_by(error, connection.primary)
        return self._lost(error, hint_s=max(connection.retry_after_s, getattr(error, "retry_after_s", 0.0)))

    async def _connect(self) -> Connection:
        endpoint = self._policy.current
        log.log(TRACE, "connecting to %s", endpoint, extra={"event": 4500})
        channel = None
        with anyio.move_on_after(self._limits.connect_s):
            channel = await self._connector(endpoint.host, endpoint.port)
        if channel is None:
            raise ConnectionLostError(
                f"{endpoint} did not accept a connection within {self._limits.connect_s:g} s",
                code=ErrorCode.SERVER_NOT_FOUND,
            )
        try:
            return await Connection.open(channel, self._application, timeout_s=self._limits.answer_s, clock=self._clock)
        except ServerError as e:
            raise ConfigurationError(f"{endpoint} refused the protocol: {e.description} (error {int(e.code)})") from e
        except ConnectionLostError as e:
            raise (lasting_refusal(e) or e) from e

    async def _use(self, connection: Connection) -> CsproxyError:
        """Everything on one connection; returns why it ended. Only cancellation is raised."""
        outcome: CsproxyError
        async with anyio.create_task_group() as tasks:
            try:
                outcome = await self._follow(connection, tasks)
            except CsproxyError as e:
                # a request that waited was told only that the connection ended; the reason stands there
                outcome = (isinstance(e, ConnectionLostError) and connection.error) or e
            tasks.cancel_scope.cancel()
        return outcome

    async def _follow(self, connection: Connection, tasks: anyio.abc.TaskGroup) -> CsproxyError:
        link = MasterLink(connection, self._sink, self._limits)
        registered = await register(
            connection,
            self._application,
            app_password=self._app_password,
            release=self._release,
            timeout_s=self._limits.answer_s,
        )
        tasks.start_soon(self._watch.run, connection)
        link.is_partial = "partial" in registered.parameters
        self._refused_since_s = None
        self._master_dbid = registered.server_dbid
        check_role(registered.role, connection.peer)
        warning = check_release(registered.release or connection.server_release, self._release, connection.peer)
        if warning:
            log.warning("%s", warning, extra={"event": 31008})
        own = await read_application(connection, self._application, timeout_s=self._limits.answer_s)
        check_redundancy(own)
        self.application_object = own.object
        self._link = link
        self._ended_links.connects += 1
        log.info("connected to the master %s", connection.peer, extra={"event": 4503})
        resumes = self._ended_links.resumes
        await self._catch_up(link, [Epoch(*row) for row in registered.epochs])
        tasks.start_soon(partial(self.digests.run, link, at_once=self._ended_links.resumes > resumes))
        return await connection.wait_closed()

    async def _catch_up(self, link: MasterLink, epochs: Sequence[Epoch]) -> None:
        """From registered to live: resume, or wait as long as must be and load."""
        head = link.connection.position
        plan = self._replication.registered(self._sink.position, epochs, head=head, now=self._clock())
        if plan.event is Event.RESUME:
            self._handle(Event.RESUME)
            try:
                await link.resume(epochs)
            except ServerError as e:
                if e.retry_after_s > 0:
                    raise
                log.info("cannot resume from UEN %d, everything is read again: %s", self._sink.position.uen, e)
                plan = self._replication.resume_refused(self._clock())
            else:
                self._ended_links.resumes += 1
                self._become_live()
                return
        while True:
            self._handle(plan.event)
            if plan.event is Event.WAIT:
                log.info("waiting %.1f s before reading everything from %s", plan.wait_s, link.connection.peer)
                await link.pause(plan.wait_s)
                plan = Plan(Event.LOAD)
                continue
            deferred_s = await link.load()
            if deferred_s is None:
                break
            self._ended_links.deferrals += 1
            plan = Plan(Event.WAIT, deferred_s)
        self._ended_links.loads += 1
        self._ended_links.objects_loaded += link.objects_loaded
        self._become_live()

    def _become_live(self) -> None:
        now = self._clock()
        self._backoff.connected(now)
        self._policy.connected()
        self._live_since_s = now
        self._last_error = ""
        self._takeover_due = False
        self.apply_connection()
        self._handle(Event.COMPLETE)
        log.info("following %s from UEN %d on", self._policy.current, self._sink.position.uen)

    # ends of a connection

    def _not_connected(self, error: CsproxyError) -> float:
        advice = (
            ""
            if self._last_error
            else "; trying again until it answers: is the master started, and is that its address?"
        )
        log.warning("%s%s", error, advice, extra={"event": 4502})
        self._last_error = str(error)
        self._policy.failed()
        self._lose()
        return min(self._backoff.next_delay_s(), _STANDBY_RETRY_S if self._takeover_due else math.inf)

    def _refused(self, error: ConfigurationError) -> float:
        self._ended_links.refusals += 1
        self._last_error = str(error)
        hint_s = getattr(error.__cause__, "retry_after_s", 0.0)
        if self._sink.position == _NONE and hint_s:
            return self._refused_without_data(error, hint_s)
        if self._sink.position == _NONE or not (self._is_served or hint_s):
            return self._give_up(error)
        self._attempt_failed = True
        self._handle(Event.REFUSE)
        log.warning("cannot follow %s: %s", self._policy.current, error, extra={"event": 4502})
        self._policy.failed()
        return self._backoff.next_delay_s(at_least_s=hint_s or self._limits.refused_retry_s)

    def _refused_without_data(self, error: ConfigurationError, hint_s: float) -> float:
        """A refusal that may pass by itself is waited for, but not for ever: nobody is served meanwhile."""
        now_s = self._clock()
        if self._refused_since_s is None:
            self._refused_since_s = now_s
            log.warning("%s; trying again for %g s", error, PASSES_WITHIN_S, extra={"event": 4502})
        left_s = self._refused_since_s + PASSES_WITHIN_S - now_s
        if left_s <= 0:
            persistent = ConfigurationError(
                f"{error}, for {PASSES_WITHIN_S:g} s now: longer than a master takes to notice that a client is gone, "
                f"so another proxy seems to run as {self._application!r}"
            )
            persistent.__cause__ = error
            return self._give_up(persistent)
        self._handle(Event.REFUSE)
        self._policy.failed()
        return min(self._backoff.next_delay_s(at_least_s=hint_s), left_s)

    def _give_up(self, error: ConfigurationError) -> float:
        self._refusal = error
        self._last_error = str(error)
        self._handle(Event.REFUSE)
        return 0.0

    def _stands_by(self, error: CsproxyError, primary: Endpoint | None) -> float:
        """A backup master answered: the other one is there, or this one takes over within seconds."""
        self._policy.suggested(primary)
        log.info("%s", error)
        self._last_error = str(error)
        self._takeover_due = True
        self._policy.pass_over()
        self._lose()
        return self._backoff.jitter_s(_STANDBY_RETRY_S)

    def _lost(self, error: CsproxyError, *, hint_s: float) -> float:
        if isinstance(error, ModelError):
            log.warning(
                "what the master sent does not fit the data, which will be read again: %s",
                error,
                extra={"event": 31060},
            )
            self._replication.data_diverged()
        elif isinstance(error, RemoteProtocolError):
            self._replication.stream_broken(self._sink.position)
        log.warning("the connection to %s is lost: %s", self._policy.current, error, extra={"event": 4504})
        self._last_error = str(error)
        self._ended_links.losses += 1
        if self._live_since_s is None:
            self._policy.failed()
        else:
            self._learn_connection()
            self._policy.lost()
        self._live_since_s = None
        self._backoff.lost(self._clock())
        self._lose()
        return self._backoff.next_delay_s(at_least_s=hint_s)

    def _lose(self) -> None:
        self._attempt_failed = True
        self._handle(Event.LOSE)
        if self.serves_copy:
            self._handle(Event.COPY)

    def _learn_connection(self) -> None:
        """Where the other master is, and how to try both, from the newest objects that are here."""
        found = master_connection(
            self._sink.cache,
            self._application,
            master=self._master_dbid,
            port=self._policy.current.port,
            consistent=self.has_consistent_ports,
        )
        if found is not None:
            # the only master is asked where the operator says that it is
            others = found.endpoints if len(found.endpoints) > 1 else ()
            self._policy.learn(others, attempts=found.attempts)
            self._backoff.longest_s = found.timeout_s

    def _forget_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._ended_links.transactions += link.transactions
            self._ended_links.changes += link.changes

    def _handle(self, event: Event) -> None:
        self._replication.handle(event)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        for tell in self.on_state:
            tell()
