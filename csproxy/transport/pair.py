"""One proxy of a warm-standby pair: its link to the other, its role, and what follows from it for clients.

`PairMember` owns the tasks. What role it has is decided in `csproxy.core.standby`, what goes over the link stands in
`csproxy.transport.peer_link`, and what is told of sessions in `csproxy.transport.session_mirror`.

The configured backup connects to the configured primary, never the other way round, so that there is one link. Who has
no link and waits for the other looks whether anybody listens at its address.
"""

from __future__ import annotations

import logging
import random as random_module
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.abc
import msgspec

from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model.enumerations import CfgAppType
from csproxy.core.sessions import Session
from csproxy.core.standby import Decision, Role, Standby, Statement
from csproxy.errors import CsproxyError, ErrorCode, NothingListensError, ServerError
from csproxy.transport.channel import Connector
from csproxy.transport.connection import Connection
from csproxy.transport.keepalive import ServerWatch
from csproxy.transport.leaving import leave_tasks
from csproxy.transport.peer_link import AcceptedLink, InitiatedLink, PeerLink
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.session_mirror import SessionMirror, session_of
from csproxy.transport.turns import now
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.pairs import PeerUpdate
from csproxy.transport.wire.registration import RegisterClient

__all__ = ["KEEP_ALIVE", "PATIENCE_S", "PairMember", "PairStatistics"]

log = logging.getLogger("csproxy.pair")

PATIENCE_S: Final = 5.0
"""How long a member whose link was lost waits for the other to come back, when somebody listens at its address."""
KEEP_ALIVE: Final = KeepAlive(timeout_s=5.0, remote_timeout_s=5.0)
"""That of the link, unless told otherwise."""
_LOOK_S: Final = 0.5
"""Time between two attempts to reach the other member, with as much jitter."""
_FIRST_LOOK_S: Final = 0.01
"""The same after a link that lasted; it doubles from there. Who dies takes a moment until nothing listens any more."""
_DECIDED_S: Final = 1.0
"""Who serves is decided within this time after the link was lost, if nobody listens at the other's address."""
_WAIT_S: Final = 5.0
"""How long a client is kept waiting at most until it is decided who serves."""
_ANSWER_S: Final = 10.0
"""How long the other member may take to accept a connection, and for each answer."""
_HAND_OVER_S: Final = 2.0
"""How long a primary that leaves waits for the other to say that it serves."""

_decode = msgspec.msgpack.Decoder(PeerUpdate).decode


@dataclass(frozen=True)
class PairStatistics:
    """The pair as this member sees it; ``other_role`` is empty without a link."""

    role: str
    term: int
    other: str
    other_role: str
    stored_sessions: int
    untold_sessions: int
    takeovers: int


class PairMember:
    """Async context manager over ``server``, which has data; entering begins to look for the other member.

    ``application`` and ``dbid`` are this member's Application, ``other`` the name of the other one's. ``endpoints()``
    gives the addresses of the other, in the order in which they are tried. ``keep_alive`` is that of the link.
    ``patience_s``: how long to wait for the other to come back after the link was lost. ``on_role(role)`` is called
    after each change.

    The server refuses clients, as the backup that it then is, until this member serves.
    """

    def __init__(
        self,
        server: ConfigurationServer,
        connector: Connector,
        endpoints: Callable[[], Sequence[Endpoint]],
        *,
        application: str,
        dbid: int,
        other: str,
        is_configured_primary: bool,
        app_password: str = "",
        keep_alive: KeepAlive = KEEP_ALIVE,
        patience_s: float = PATIENCE_S,
        random: Callable[[], float] = random_module.random,
        clock: Callable[[], float] = now,
        on_role: Callable[[Role], object] = lambda role: None,
    ) -> None:
        self.other = other
        self._server = server
        self._connector = connector
        self._endpoints = endpoints
        self._application = application
        self._app_password = app_password
        self._random = random
        self._clock = clock
        self._on_role = on_role
        self._connects = not is_configured_primary
        self._standby = Standby(dbid, is_configured_primary=is_configured_primary, patience_s=patience_s, now=clock())
        self._mirror = SessionMirror(server.sessions, is_wanted=self._is_told, on_news=self._wake)
        self._link: PeerLink | None = None
        self._watch_over_other = ServerWatch(keep_alive, clock=clock)
        self._told: Statement | None = None
        self._begins = False
        self._tells_all = False
        self._leaves = False
        self._has_left = False
        self._dismissal = ""
        self._takeovers = 0
        self._news = anyio.Event()
        self._changed = anyio.Event()
        self._lost = anyio.Event()
        self._lost_s = -inf
        self._tasks: anyio.abc.TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<PairMember {self._application!r} of {self.other!r}, {self._standby!r}>"

    async def __aenter__(self) -> Self:
        self._server.standby = self.refusal
        self._server.pair = self
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._watch)
        self._tasks.start_soon(self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        self._standby.stop()
        self._drop_link()
        return await leave_tasks(self._tasks, kind, error, traceback)

    # what others ask

    @property
    def role(self) -> Role:
        """What this member is now."""
        return self._standby.role

    @property
    def keep_alive(self) -> KeepAlive:
        """That of the link, as the member that connects has it; setting it counts at once."""
        return self._watch_over_other.settings

    @keep_alive.setter
    def keep_alive(self, settings: KeepAlive) -> None:
        self._watch_over_other.settings = settings

    def refusal(self) -> str | None:
        """Why this member serves no clients now; None: it does."""
        if self.role is Role.PRIMARY:
            return None
        name, other = self._application, self.other
        if self.role is Role.STANDBY:
            return f"{name!r} is the backup of a pair and serves no clients: connect to {other!r}"
        return f"{name!r} is one of a pair and waits for {other!r}: try again"

    @property
    def is_undecided(self) -> bool:
        """Whether the link was lost just now, or the other has not answered a poll yet: who serves is known soon."""
        now, link = self._clock(), self._link
        if self.role is Role.SEEKING:
            return now < self._lost_s + _DECIDED_S
        return self.role is Role.STANDBY and link is not None and self._is_silent(link, now)

    async def decided(self) -> None:
        """Wait while `is_undecided`, for five seconds at most."""
        with anyio.move_on_after(_WAIT_S):
            while self.is_undecided:
                with anyio.move_on_after(_DECIDED_S):
                    await self._changed.wait()

    def statistics(self) -> PairStatistics:
        """A snapshot."""
        standby = self._standby
        return PairStatistics(
            role=standby.role.value,
            term=standby.term,
            other=self.other,
            other_role="" if standby.other is None else standby.other.role.value,
            stored_sessions=self._server.sessions.stored_count,
            untold_sessions=self._mirror.waiting,
            takeovers=self._takeovers,
        )

    async def hand_over(self) -> None:
        """Let the other member serve, and become its standby.

        Returns when the other has said that it serves, or after two seconds. Raises `LocalProtocolError` when this one
        does not serve, or the other is not there.
        """
        self._do(self._standby.hand_over())
        await self._wait_for_other()

    def promote(self) -> None:
        """Serve, although the other member cannot be asked: an operator knows that it does not, or shall not.

        Raises `LocalProtocolError` when the other is there: then that one has to hand over.
        """
        self._do(self._standby.serve())

    async def leave(self) -> None:
        """Before the process stops: let the other member take over first, if it is there and this one serves."""
        if self.role is Role.PRIMARY and self._standby.other is not None:
            await self.hand_over()

    async def _wait_for_other(self) -> None:
        with anyio.move_on_after(_HAND_OVER_S):
            while self._standby.other is not None and self._standby.other.role is not Role.PRIMARY:
                await self._changed.wait()

    # the roles

    def _do(self, decision: Decision) -> None:
        """Carry out what `csproxy.core.standby` has decided, and tell the other what has changed."""
        if decision is Decision.NOTHING:
            return
        if decision is Decision.SERVE:
            self._takeovers += 1
            # it had handed over, perhaps: whom it would have sent to the other may stay
            self._dismissal, self._leaves, self._has_left = "", False, False
            taken = self._server.sessions.take_over(now_s=self._clock())
            log.warning(
                "%r serves from UEN %d on, term %d; %d sessions can be restored",
                self._application,
                self._server.position.uen,
                self._standby.term,
                taken,
                extra={"event": 4560},
            )
            if self._link is not None:
                self._tell_sessions()
            self._on_role(self.role)
        else:
            log.warning("%r hands over to %r", self._application, self.other, extra={"event": 4561})
            if not self._tells_all:
                self._tell_sessions(detached=False)
            self._leaves, self._has_left = True, False
            self._dismissal = f"{self._application!r} is the backup of a pair now: connect to {self.other!r}"
            self._on_role(self.role)
        self._wake()

    def _tell_sessions(self, *, detached: bool = True) -> None:
        self._tells_all = self._begins = True
        self._mirror.begin(detached=detached)

    def _dismiss_if_replaced(self) -> None:
        """The clients can go when the other has been told everything, and serves."""
        other = self._standby.other
        if self._has_left and other is not None and other.role is Role.PRIMARY:
            self._dismiss()

    def _dismiss(self) -> None:
        """Send the clients to the other member, if this one has handed over."""
        reason, self._dismissal = self._dismissal, ""
        if reason:
            self._mirror.end()
            self._tells_all = False
            # the other one is there for them: nobody need wait
            self._server.dismiss(reason, retry_after_s=0.0, keeps=self._is_peer)

    def _is_told(self, session: Session) -> bool:
        return not session.is_proxy

    def _is_peer(self, connection: ServerConnection) -> bool:
        return isinstance(self._link, AcceptedLink) and self._link.connection is connection

    def _wake(self) -> None:
        self._news.set()
        self._changed.set()
        self._changed = anyio.Event()

    async def _watch(self) -> None:
        """Notice that time has passed: the other has had its chance."""
        while True:
            changed, due_s = self._changed, self._standby.due_s()
            with anyio.move_on_after(None if due_s is None else max(due_s - self._clock(), 0.001)):
                await changed.wait()
            self._do(self._standby.tick(self._clock()))

    # the link

    async def _look(self) -> None:
        """The configured backup connects; the configured primary only looks whether anybody listens there."""
        pause_s = _LOOK_S
        while True:
            lost, began_s = self._lost, self._clock()
            if self._link is None and (self._connects or self.role in (Role.STARTING, Role.SEEKING)):
                await self._try_endpoints(self._connect_and_talk if self._connects else self._look_once)
            if self._clock() - began_s < _LOOK_S:
                lost = self._lost  # a link that ends as soon as it is there is no reason to hurry
            with anyio.move_on_after(pause_s * (1 + self._random())):
                await lost.wait()
            pause_s = _FIRST_LOOK_S if lost.is_set() else min(2 * pause_s, _LOOK_S)

    async def _try_endpoints(self, use: Callable[[Endpoint], Awaitable[None]]) -> None:
        nobody = 0
        endpoints = list(self._endpoints())
        for endpoint in endpoints:
            try:
                await use(endpoint)
            except NothingListensError:
                nobody += 1
            except CsproxyError as e:
                log.debug("%r at %s: %s", self.other, endpoint, e)
            else:
                return
        if nobody and nobody == len(endpoints):
            self._do(self._standby.nothing_listens(self._clock()))

    async def _look_once(self, endpoint: Endpoint) -> None:
        channel = await self._connector(endpoint.host, endpoint.port)
        channel.close(flush=False)

    async def _connect_and_talk(self, endpoint: Endpoint) -> None:
        """Connect, register, and use the link until it ends. Raises `CsproxyError` when there was none."""
        channel = await self._connector(endpoint.host, endpoint.port)
        connection = await Connection.open(channel, self._application, timeout_s=_ANSWER_S, clock=self._clock)
        try:
            request = RegisterClient(
                type=int(CfgAppType.CFGConfigServer),
                name=self._application,
                app_password=self._app_password,
                release=self._server.release,
            )
            await connection.register(request, timeout_s=_ANSWER_S)
            async with anyio.create_task_group() as tasks:
                link = InitiatedLink(connection, lambda update: self._take(link, update))
                self._open_link(link)
                tasks.start_soon(self._talk, link)
                tasks.start_soon(self._watch_over_other.run, connection)
                reason = await connection.wait_closed()
                self._lose_link(link, str(reason))
                tasks.cancel_scope.cancel()
        finally:
            connection.close()

    def accept(self, connection: ServerConnection, frame: Frame) -> None:
        """Answer request 1020: the other member's end of the link says something.

        Raises `ServerError` ACCESS_DENIED for anybody else.
        """
        session = connection.session
        if session is None or not self.is_other(session.application) or not session.trusted or self._connects:
            raise ServerError.from_code(
                ErrorCode.ACCESS_DENIED,
                f"this is for {self.other!r}, the other proxy of the pair, which has shown who it is by "
                "mutual TLS, or by being on this machine",
            )
        link = self._link
        if not (isinstance(link, AcceptedLink) and link.connection is connection):
            link = AcceptedLink(connection, lambda update: self._take(accepted, update))
            accepted = link
            self._open_link(link)
            self._server.spawn(self._talk, link, name=f"link of the pair from {link.peer}")
        connection.answer(frame, MessageId.PEER_UPDATE_TAKEN)
        link.receive(_decode(frame.payload))

    def is_other(self, application: str) -> bool:
        """Whether this is the name of the other member's Application."""
        return application == self.other

    def connection_closed(self, connection: ServerConnection) -> None:
        """A connection of the server has ended; it may have been the link."""
        link = self._link
        if isinstance(link, AcceptedLink) and link.connection is connection:
            self._lose_link(link, "the connection has ended")

    def _open_link(self, link: PeerLink) -> None:
        if self._link is not None:
            self._lose_link(self._link, "the other member has made a new one")
        self._link = link
        self._told = None
        self._begins = True
        self._wake()

    def _lose_link(self, link: PeerLink, why: str) -> None:
        if self._link is not link:
            return
        self._drop_link()
        self._lost_s = self._clock()
        self._lost.set()
        self._lost = anyio.Event()
        log.warning("the link to %r at %s is lost: %s", self.other, link.peer, why, extra={"event": 4562})
        self._do(self._standby.link_lost(self._lost_s, was_silent=self._is_silent(link, self._lost_s)))
        self._dismiss()
        self._wake()

    def _is_silent(self, link: PeerLink, now: float) -> bool:
        """Whether the other has been polled by now, at least."""
        return 0 < self.keep_alive.timeout_s <= now - link.heard_s

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        self._mirror.end()
        self._tells_all = False
        self._leaves = self._has_left = False
        if link is not None:
            link.close()

    async def _talk(self, link: PeerLink) -> None:
        """Say what there is to say, until the link ends."""
        while self._link is link:
            self._news = anyio.Event()
            update = self._next_update()
            if update is None:
                await self._news.wait()
                continue
            try:
                await link.send(update)
            except CsproxyError as e:
                self._lose_link(link, str(e))
                return
            if update.leaves:
                self._has_left = True
                self._dismiss_if_replaced()

    def _next_update(self) -> PeerUpdate | None:
        statement = self._standby.statement
        changed = statement != self._told
        sessions, dropped = self._mirror.take()
        leaves = self._leaves and not self._mirror.waiting
        if not (self._begins or changed or sessions or dropped or leaves):
            return None
        update = PeerUpdate(first=self._begins, sessions=sessions, dropped=dropped, leaves=leaves)
        self._begins = False
        if changed:
            self._told = statement
            update.role, update.term, update.dbid = statement.role, statement.term, statement.dbid
            update.is_configured_primary = statement.is_configured_primary
        self._leaves = self._leaves and not leaves
        return update

    def _take(self, link: PeerLink, update: PeerUpdate) -> None:
        """The other member has said something."""
        if self._link is not link:
            return
        sessions = self._server.sessions
        if update.first:
            sessions.drop_all_stored()
        for told in update.sessions:
            sessions.store(session_of(told, now_s=self._clock()))
        for id in update.dropped:
            sessions.drop_stored(id)
        if update.role is not None:
            self._heard(Statement(update.role, update.term, update.is_configured_primary, update.dbid))
        if update.leaves:
            if self.role is Role.PRIMARY:
                sessions.take_over(now_s=self._clock())
            self._do(self._standby.other_leaves())

    def _heard(self, other: Statement) -> None:
        before = self.role
        decision = self._standby.heard(other)
        if decision is Decision.NOTHING and self.role is not before:
            log.info("%r is the standby of %r, term %d", self._application, self.other, self._standby.term)
            self._on_role(self.role)
        if self.role is Role.PRIMARY and decision is Decision.NOTHING and not self._tells_all:
            self._tell_sessions()
        self._dismiss_if_replaced()
        self._do(decision)
        self._wake()
