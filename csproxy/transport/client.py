"""The client: typed reads, writes and subscriptions over a connection that is kept for you.

    async with ConfigClient("127.0.0.1", 2020, user="default", password="...") as client:
        agents = await client.read(CfgPerson, is_agent=True)
        async with client.subscribe(CfgPerson, since=agents.position) as changes:
            async for change in changes:
                ...

What lives here is the meaning of requests; the connection is kept by `csproxy.transport.client_link`
and changes are delivered by `csproxy.transport.client_subscriptions`.
"""

from __future__ import annotations

import os
import random as _random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

import csproxy
from csproxy.core.changes import Epoch, Position
from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model import SCHEMA, CfgAppType, CfgObject, ObjectType
from csproxy.core.model.delta import compute_delta
from csproxy.core.model.typed import decode_object, to_plain
from csproxy.core.routes import Pools, PoolsRoute, ServersRoute
from csproxy.core.tls_settings import TlsSettings
from csproxy.errors import (
    ConfigurationError,
    ErrorCode,
    HistoryExpiredError,
    ModelError,
    ServerError,
)
from csproxy.transport.channel import Connector
from csproxy.transport.client_administration import ClientAdministration
from csproxy.transport.client_filters import filter_map, key_filter
from csproxy.transport.client_link import ClientLink
from csproxy.transport.client_parts import PartReader, ReadResult
from csproxy.transport.client_states import ClientEvents, ClientState, ClientStatistics
from csproxy.transport.client_subscriptions import BUFFER_BYTES, ChangeStream
from csproxy.transport.client_writes import Write, requested_change
from csproxy.transport.connection import Connection
from csproxy.transport.dial import connect_tcp
from csproxy.transport.tickets import TicketSource
from csproxy.transport.tls_dial import TlsConnector
from csproxy.transport.turns import now
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.notifications import decode_change
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ObjectsSent, ReadObjects, Status
from csproxy.transport.wire.registration import Authenticate, Authenticated, RegisterClient
from csproxy.transport.wire.subscriptions import Subscription
from csproxy.transport.wire.writes import (
    ApplyTransaction,
    CreateObject,
    DeleteObject,
    TransactionApplied,
    UpdateObject,
    WriteOutcome,
    WriteOutcomeRead,
)

__all__ = ["ClientState", "ClientStatistics", "ConfigClient", "ReadResult", "TypeRef"]

T = TypeVar("T", bound=CfgObject)
TypeRef = type[CfgObject] | str | int
"""An object type: its class, its name (``"CfgPerson"``, ``"person"``) or its number."""

KEEP_ALIVE: Final = KeepAlive(timeout_s=15.0, remote_timeout_s=30.0)
"""What a client has unless it says otherwise: a dead server is found within 30 s, a dead client within 60 s."""

_NONE: Final = Position(0, 0)


class ConfigClient:
    """A client of a Configuration Server or proxy; async context manager, for one event loop.

    ``host`` and ``port``, or ``endpoints`` (primary first): servers to connect to, in turn, ``attempts`` tries on
    one before the next. Or ``pools``: those of two sites (see `csproxy.core.routes`). The
    client registers as Application ``application`` of type ``application_type`` and as ``user``. Entering
    makes the first connection; each endpoint is tried once, and on until ``connect_wait_s`` have passed.
    Then the connection is kept: after a loss the session is restored or, if it is gone, made anew and
    the change streams are resumed. With ``tls`` every connection is secure; ``connector`` makes those beneath.

    ``tickets`` (`csproxy.auth.kerberos_client`) take the place of user and password.

    ``request_timeout_s`` limits every call, waiting for a lost connection included;
    ``attempt_timeout_s`` each step of a connection attempt: more than the 3 s for which a server waits before it
    says that a position belongs to another history. ``keep_alive``: how both sides notice that
    the other one has fallen silent. ``monotonic``: no read shows an older
    state than was seen before, on whatever server; one that is behind catches up or refuses. ``random``
    (a float in [0, 1)) spreads reconnects, ``random_bytes`` makes the keys of writes.

    Every call may raise `ServerError` (refused), `ConnectionLostError` (no connection in time, or the
    client gave up: see `state`) and `TimedOutError`. Reads are repeated after a lost connection,
    writes never. Cancelling a call leaves the client usable.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 2020,
        *,
        endpoints: Sequence[tuple[str, int]] = (),
        attempts: int = 1,
        pools: Pools | None = None,
        application: str = "default",
        application_type: int = CfgAppType.CFGSCE,
        user: str = "",
        password: str = "",
        new_password: str = "",
        app_password: str = "",
        tls: TlsSettings | None = None,
        tickets: TicketSource | None = None,
        connector: Connector = connect_tcp,
        connect_wait_s: float = 0.0,
        attempt_timeout_s: float = 10.0,
        request_timeout_s: float = 30.0,
        keep_alive: KeepAlive = KEEP_ALIVE,
        monotonic: bool = True,
        random: Callable[[], float] = _random.random,
        random_bytes: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = now,
    ) -> None:
        if attempt_timeout_s <= 0 or request_timeout_s <= 0:
            raise ConfigurationError(
                f"time limits of {attempt_timeout_s} s and {request_timeout_s} s: both must be above 0"
            )
        servers = [Endpoint(*each) for each in endpoints] or [Endpoint(host, port)]
        self._monotonic = monotonic
        self._random_bytes = random_bytes
        self._clock = clock
        self._link = ClientLink(
            RegisterClient(
                type=int(application_type),
                name=application,
                user=user,
                password=password,
                new_password=new_password,
                app_password=app_password,
                release=csproxy.__version__,
            ),
            connector=connector if tls is None else TlsConnector(tls, connector),
            route=PoolsRoute(pools, random) if pools else ServersRoute(servers, random, attempts=attempts),
            wait_s=connect_wait_s,
            attempt_timeout_s=attempt_timeout_s,
            request_timeout_s=request_timeout_s,
            keep_alive=keep_alive,
            clock=clock,
            tickets=tickets,
        )

        self.administration = ClientAdministration(self._link)
        """Permissions, accounts of applications, the operational mode, brief info and passwords."""

    def __repr__(self) -> str:
        request, link = self._link.session.request, self._link
        where = f" to {link.connected_endpoint}" if link.state is ClientState.CONNECTED else ""
        who = f"{request.name!r} user {request.user!r}"
        return f"<ConfigClient {who} {link.state.value}{where}, UEN {self.position.uen}>"

    async def __aenter__(self) -> Self:
        """Connect and register. Raises `ServerError`, `ConnectionLostError`, `TimedOutError` or `ProtocolError`."""
        await self._link.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._link.__aexit__(exc_type, exc, traceback)

    # the connection

    @property
    def state(self) -> ClientState:
        """How the client stands to its servers now."""
        return self._link.state

    def observe(self, callback: Callable[[ClientState], object]) -> Callable[[], None]:
        """Call ``callback(state)`` at each change of `state`, without waiting; returns a function that ends it."""
        return self._link.states.observe(callback)

    def events(self) -> ClientEvents:
        """The present state and every change of it from now on, with server, age of the data and reason.

        ``async for event in client.events()``; it ends after LOST or CLOSED. See `csproxy.transport.client_states`.
        """
        return self._link.states.events()

    async def wait_for(self, *states: ClientState) -> ClientState:
        """Wait until `state` is one of ``states``."""
        while self._link.state not in states:
            await self._link.states.wait_changed()
        return self._link.state

    @property
    def position(self) -> Position:
        """The latest position that a server has shown to this client; (0, 0) before the first connection."""
        return self._link.position

    def forget_position(self) -> None:
        """Accept an older state from now on, such as that of a database restored from a backup (see ``monotonic``)."""
        self._link.forget_position()

    @property
    def session_id(self) -> str:
        """The id of the session, empty if there is none."""
        registered = self._link.session.registered
        return "" if registered is None else registered.session

    @property
    def epochs(self) -> Sequence[Epoch]:
        """The server's epoch table, oldest first, as of the last (re)connection."""
        return self._link.session.epochs

    @property
    def keep_alive(self) -> KeepAlive:
        """How both sides watch over each other's silence; setting it counts at once, on the present connection, too."""
        return self._link.keep_alive.settings

    @keep_alive.setter
    def keep_alive(self, settings: KeepAlive) -> None:
        self._link.keep_alive.settings = settings

    @property
    def last_received_s(self) -> float:
        """When a server last said something, in seconds of ``clock``; 0 if none ever did."""
        return self._link.last_received_s

    def statistics(self) -> ClientStatistics:
        """A snapshot for monitoring."""
        link = self._link
        return ClientStatistics(
            state=link.state.value,
            endpoint=link.connected_endpoint,
            position=self.position,
            subscriptions=len(link.hub),
            reconnects=link.reconnects,
            registrations=link.session.registrations,
            restores=link.session.restores,
            switches=link.switches,
            quiet_s=link.age_s,
        )

    # reads

    async def read(self, object_type: type[T], /, *, consistent: bool = False, **filter: Any) -> ReadResult[T]:
        """All readable objects of a type that fit the filter; without a filter, all of them.

        Filter keys are the published ones (``user_name="x"``, ``is_agent=True``,
        ``state=CfgObjectState.CFGEnabled``); one with the value None is left out. Raises
        `WrongParametersError` for a key or value that cannot be, naming what can. `iterate` suits
        answers that are large. ``consistent``: a proxy first catches up with where its master stands now.
        """
        kind = SCHEMA.object_type(object_type)
        result: ReadResult[T] = ReadResult()
        await self._read(
            kind,
            filter_map(filter),
            consistent=consistent,
            on_part=lambda frame: result.add(frame, kind),
            restart=result.reset,
        )
        return result

    def iterate(self, object_type: type[T], /, **filter: Any) -> PartReader[T]:
        """The answer of `read` in parts of about 64 KiB, all as of one position: ``async for part in ...``.

        While the consumer is slow, the server waits: reading pauses, and with it this client's change
        streams, but not its other requests. A connection lost in between raises `ConnectionLostError`;
        start again then. To leave early, use it as an async context manager, too.
        """
        kind = SCHEMA.object_type(object_type)
        return PartReader(self._link, kind, filter_map(filter), minimum=self._minimum())

    async def get(self, object_type: type[T], /, dbid: int | None = None, **key: Any) -> T:
        """One object, by DBID or by a unique key: ``get(CfgPerson, 101)``, ``get(CfgPerson, userName="x")``.

        A key is named by attributes or filter keys. Raises `ObjectNotFoundError`, or `ModelError` when
        the key fits several objects.
        """
        kind = SCHEMA.object_type(object_type)
        wanted = {"dbid": dbid} if dbid is not None else key_filter(kind, key)
        found: ReadResult[T] = ReadResult()
        await self._read(kind, filter_map(wanted), on_part=lambda frame: found.add(frame, kind), restart=found.reset)
        if not found:
            raise ServerError.from_code(
                ErrorCode.OBJECT_NOT_FOUND, f"no {kind.singular} with {_words(wanted)}", object_type=kind.number
            )
        if len(found) > 1:
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"{len(found)} {kind.plural} have {_words(wanted)}: name a unique key, or use read()",
                object_type=kind.number,
            )
        return found[0]

    async def count(self, object_type: TypeRef, /, **filter: Any) -> int:
        """How many objects `read` would return. The server sends them all the same; they are not decoded."""
        kind = SCHEMA.object_type(object_type)
        frame = await self._read(kind, filter_map(filter))
        return decode_payload(ObjectsSent, frame.payload).total

    async def status(self) -> dict[str, Any]:
        """What the server says of itself: role, name, release, position, objects, clients and more."""
        frame = await self._link.repeatable(MessageId.READ_STATUS, Empty())
        return decode_payload(Status, frame.payload).status

    async def authenticate(self, user: str, password: str) -> int:
        """Check a log-in without using it; returns the DBID of the user's Person. Raises `LoginIncorrectError`."""
        frame = await self._link.repeatable(MessageId.AUTHENTICATE, Authenticate(user=user, password=password))
        return decode_payload(Authenticated, frame.payload).person_dbid

    # writes

    async def create(self, new: T, *, folder: int = 0, key: str = "") -> T:
        """Create an object; returns it as stored, with its DBID and what the server set.

        ``folder`` 0 is the type's default folder. ``key`` is an idempotency key: a server never carries
        out two writes with the same key. Without one a random key is used. Raises `ConnectionLostError`
        or `TimedOutError` saying that the outcome is unknown, if the answer did not arrive, and
        `OutcomeUnknownError` if the server itself does not know.
        """
        kind = SCHEMA.object_type(type(new))
        plain = to_plain(new)
        plain.pop("DBID", None)
        key = key or self._new_key()
        request = CreateObject(type=kind.number, object=plain, folder=folder, key=key)
        frame = await self._write(MessageId.CREATE_OBJECT, request, key, f"creating a {kind.singular}")
        stored = decode_change(frame).object
        assert stored is not None
        return decode_object(kind, stored)  # type: ignore[return-value]

    async def update(self, before: T, after: T, *, key: str = "") -> Position:
        """Send the difference between two copies of one object; returns the change's position.

        ``before`` is the object as it was read, ``after`` a changed copy (`copy.deepcopy` or
        `msgspec.structs.replace`). Equal copies send nothing. Errors as for `create`.
        """
        kind = SCHEMA.object_type(type(before))
        old, new = to_plain(before), to_plain(after)
        if type(after) is not type(before) or old.get("DBID", 0) != new.get("DBID", 0) or not old.get("DBID"):
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"update() takes two copies of one stored object, not {kind.name} {old.get('DBID', 0)} and "
                f"{type(after).__name__} {new.get('DBID', 0)}",
                object_type=kind.number,
            )
        delta = compute_delta(kind, old, new)
        if not delta:
            return self.position
        key = key or self._new_key()
        request = UpdateObject(type=kind.number, dbid=old["DBID"], delta=delta, key=key)
        frame = await self._write(MessageId.UPDATE_OBJECT, request, key, f"updating {kind.singular} {old['DBID']}")
        return Position(frame.epoch, frame.uen)

    async def delete(self, target: CfgObject | TypeRef, /, dbid: int = 0, *, key: str = "") -> Position:
        """Delete an object, given itself or by type and DBID; returns the change's position. Errors as for `create`."""
        if isinstance(target, CfgObject):
            kind = SCHEMA.object_type(type(target))
            dbid = to_plain(target).get("DBID", 0)
        else:
            kind = SCHEMA.object_type(target)
        if not dbid:
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"delete() needs the DBID of the {kind.singular}",
                object_type=kind.number,
            )
        key = key or self._new_key()
        request = DeleteObject(type=kind.number, dbid=dbid, key=key)
        frame = await self._write(MessageId.DELETE_OBJECT, request, key, f"deleting {kind.singular} {dbid}")
        return Position(frame.epoch, frame.uen)

    async def apply(self, changes: Sequence[Write], *, key: str = "") -> list[int]:
        """Carry out several writes as one transaction, all or nothing; returns the DBID of each, in order.

        A new object may carry a negative DBID, by which later writes refer to it in place of a DBID
        (see `csproxy.transport.client_writes`). At most 1,000 changes, with everything that follows
        from them. The description of a refusal begins with ``change N:``, counted from 0. Other errors
        as for `create`.
        """
        key = key or self._new_key()
        request = ApplyTransaction(changes=[requested_change(change) for change in changes], key=key)
        frame = await self._write(
            MessageId.APPLY_TRANSACTION, request, key, f"applying a transaction of {len(changes)} changes"
        )
        return [change.dbid for change in decode_payload(TransactionApplied, frame.payload).changes]

    async def outcome(self, key: str) -> list[int] | None:
        """The DBIDs of the changes that this account's write with ``key`` made, None if it was not carried out.

        It answers what a `ConnectionLostError` of a write leaves open; a master knows keys for a day.
        """
        frame = await self._link.repeatable(MessageId.WRITE_OUTCOME, WriteOutcome(key=key))
        answer = decode_payload(WriteOutcomeRead, frame.payload)
        return [change.dbid for change in answer.changes] if answer.known else None

    # subscriptions

    def subscribe(
        self,
        object_type: TypeRef | None = None,
        *,
        tenant_dbid: int = 0,
        dbid: int = 0,
        since: Position | None = None,
        exclude_bytecode: bool = False,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> ChangeStream:
        """The changes of a type (None: of all), of a tenant, of one object: ``async with ... as changes``.

        ``since`` starts after that position, such as that of a `ReadResult`: nothing is missed in
        between. Without it, changes start when the server has accepted the subscription and is not behind
        what this client has seen, perhaps at another server. Subscriptions of one client to the same
        objects must not differ in ``tenant_dbid`` (`ConfigurationError`).
        What a slow consumer means is described in `csproxy.transport.client_subscriptions`.
        """
        number = 0 if object_type is None else SCHEMA.object_type(object_type).number
        if dbid and not number:
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS, "subscribe(dbid=...) needs the object type, in which DBIDs are unique"
            )
        wanted = Subscription(
            object_type=number, tenant_id=tenant_dbid, object_dbid=dbid, exclude_bytecode=exclude_bytecode
        )
        return ChangeStream(self._link.hub, wanted, since=since, buffer_bytes=buffer_bytes)

    @asynccontextmanager
    async def read_and_subscribe(
        self, object_type: type[T], *, tenant_dbid: int = 0, dbid: int = 0
    ) -> AsyncIterator[tuple[ReadResult[T], ChangeStream]]:
        """The objects, and every change after what they show: ``async with ... as (objects, changes)``.

        Reads again if the server's history has moved on before the subscription stood.
        """
        filter: dict[str, Any] = {key: value for key, value in (("tenant_dbid", tenant_dbid), ("dbid", dbid)) if value}
        while True:
            objects = await self.read(object_type, **filter)
            stream = self.subscribe(object_type, tenant_dbid=tenant_dbid, dbid=dbid, since=objects.position)
            try:
                await stream.__aenter__()
            except HistoryExpiredError:
                continue
            try:
                yield objects, stream
            finally:
                stream.close()
            return

    # inside

    async def connection(self) -> Connection:
        """The present connection, waiting for it; for requests that this class does not offer.

        Handles of the server (snapshots) live as long as the connection.
        """
        return await self._link.ready()

    def _minimum(self) -> Position:
        return self.position if self._monotonic else _NONE

    async def _read(
        self,
        kind: ObjectType,
        filter: dict[str, Any],
        *,
        consistent: bool = False,
        on_part: Callable[[Frame], object] | None = None,
        restart: Callable[[], object] = lambda: None,
    ) -> Frame:
        return await self._link.repeatable(
            MessageId.READ_OBJECTS,
            ReadObjects(type=kind.number, filter=filter, consistent=consistent),
            minimum=self._minimum,
            on_part=on_part,
            restart=restart,
        )

    async def _write(self, message: MessageId, request: msgspec.Struct, key: str, doing: str) -> Frame:
        unknown = (
            f"the outcome of {doing} is unknown, it may have been done: read before doing it again, "
            f"or repeat it with the same key ({key})"
        )
        return await self._link.once(message, request, unknown=unknown)

    def _new_key(self) -> str:
        return self._random_bytes(16).hex()


def _words(filter: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in filter.items()) or "any key"
