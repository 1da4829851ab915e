"""The client for scripts without an event loop: `csproxy.ConfigClient`, whose calls block.

    from csproxy.sync import ConfigClient

    with ConfigClient("127.0.0.1", 2020, user="default", password="secret") as client:
        for agent in client.read(CfgPerson, is_agent=True):
            print(agent.userName)
        with client.subscribe(CfgPerson) as changes:
            for change in changes:
                print(change.action.name, change.dbid)

Each client has an event loop in a thread of its own, where the connection is kept and changes are received while the
script does something else. Calls take what the asynchronous client's take, give the same and raise the same; they may
be made from several threads. One that is interrupted (Ctrl-C) is cancelled, and the client stays usable. What is here
only makes the calls wait: what they mean stands in `csproxy.transport.client`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager, suppress
from functools import wraps
from threading import Event
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from csproxy.core.changes import Position
from csproxy.core.model import CfgObject
from csproxy.errors import LocalProtocolError
from csproxy.transport import client as asynchronous
from csproxy.transport.client_administration import ClientAdministration
from csproxy.transport.client_changes import ObjectChange
from csproxy.transport.client_parts import PartReader
from csproxy.transport.client_states import ClientState
from csproxy.transport.client_subscriptions import ChangeStream

__all__ = ["Administration", "Changes", "ConfigClient"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T", bound=CfgObject)

_LOOK_S: Final = 1.0
"""A signal that comes just before a thread begins to wait does not wake it; so long it may go unheeded."""


class _Loop:
    """The thread with the event loop of one client, while the client is open."""

    def __init__(self) -> None:
        self.portal: BlockingPortal | None = None

    def call(self, function: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a coroutine there and wait for it; if the wait is interrupted, cancel it and wait until it has ended."""
        ended = Event()

        async def run() -> R:
            try:
                return await function(*args, **kwargs)
            finally:
                ended.set()

        future: Future[R] = self._opened.start_task_soon(run)
        try:
            while not wait([future], timeout=_LOOK_S).done:
                pass
            return future.result()
        except BaseException:
            if future.cancel():
                ended.wait()
            raise

    def entered(self, context: AbstractAsyncContextManager[R]) -> AbstractContextManager[R]:
        """An asynchronous context, entered and left there."""
        return self._opened.wrap_async_context_manager(context)

    @property
    def _opened(self) -> BlockingPortal:
        if self.portal is None:
            raise LocalProtocolError("the client is not open: use it inside `with ConfigClient(...) as client`")
        return self.portal

    def end(self, close: Callable[[], None]) -> None:
        """Close something there; at the end of the client everything is closed already."""
        with suppress(RuntimeError):  # the thread has ended, or a generator is being collected in it
            if self.portal is not None:
                self.portal.call(close)


class _Blocking(Generic[S]):
    """Something asynchronous whose calls block."""

    def __init__(self, target: S, loop: _Loop) -> None:
        self._target = target
        self._loop = loop

    def __repr__(self) -> str:
        return f"<csproxy.sync {self._target!r}>"


def _blocking(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[_Blocking[S], P], R]:
    """The same call, which waits for its result."""

    @wraps(method)
    def call(self: _Blocking[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._loop.call(method, self._target, *args, **kwargs)

    return call


def _with_parameters_of(
    _: Callable[Concatenate[Any, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    return lambda function: function


class Changes(_Blocking[ChangeStream]):
    """The changes of a subscription: a context manager and an iterator that waits for the next one.

    What a slow script means is described in `csproxy.transport.client_subscriptions`: nothing is lost as
    long as the server's history holds it, else the iteration ends with `HistoryExpiredError`.
    """

    def __init__(self, target: ChangeStream, loop: _Loop) -> None:
        super().__init__(target, loop)
        self._next: ObjectChange | None = None

    def __enter__(self) -> Self:
        """Subscribe. Raises as `ChangeStream`."""
        self._loop.call(self._target.__aenter__)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ObjectChange:
        change = self.next_change()
        if change is None:
            raise StopIteration
        return change

    def next_change(self, timeout_s: float | None = None) -> ObjectChange | None:
        """The next change; None if none came within ``timeout_s``, or the stream was closed."""
        self._loop.call(self._receive, timeout_s)
        change, self._next = self._next, None
        return change

    async def _receive(self, timeout_s: float | None) -> None:
        """Have the next change in ``_next``, where an interrupted call leaves it for the one after."""
        with anyio.move_on_after(timeout_s):
            self._next = self._next or await anext(self._target, None)

    @property
    def position(self) -> Position:
        """Everything that matches, up to here, has been taken: where to go on later (``since``)."""
        return self._target.position

    def close(self) -> None:
        """Unsubscribe; a waiting iteration ends. Idempotent."""
        self._loop.end(self._target.close)


class Administration(_Blocking[ClientAdministration]):
    """`csproxy.transport.client_administration.ClientAdministration`, blocking."""

    permissions = _blocking(ClientAdministration.permissions)
    update_permissions = _blocking(ClientAdministration.update_permissions)
    effective_mask = _blocking(ClientAdministration.effective_mask)
    account = _blocking(ClientAdministration.account)
    set_account = _blocking(ClientAdministration.set_account)
    operational_mode = _blocking(ClientAdministration.operational_mode)
    set_operational_mode = _blocking(ClientAdministration.set_operational_mode)
    brief = _blocking(ClientAdministration.brief)
    change_password = _blocking(ClientAdministration.change_password)


class ConfigClient(_Blocking[asynchronous.ConfigClient]):
    """`csproxy.ConfigClient`, blocking: a context manager for programs without an event loop.

    Takes the same parameters. Entering connects and raises as there; leaving closes the connection and ends the thread.
    """

    @_with_parameters_of(asynchronous.ConfigClient.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(asynchronous.ConfigClient(*args, **kwargs), _Loop())
        self._open = ExitStack()
        self.administration = Administration(self._target.administration, self._loop)
        """Permissions, accounts of applications, the operational mode, brief info and passwords."""

    def __enter__(self) -> Self:
        """Start the thread, connect and register. Raises as `csproxy.ConfigClient`."""
        with ExitStack() as opening:
            portal = opening.enter_context(start_blocking_portal())
            opening.enter_context(portal.wrap_async_context_manager(self._target))
            self._loop.portal = portal
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._open.__exit__(kind, error, traceback)
        finally:
            self._loop.portal = None

    read = _blocking(asynchronous.ConfigClient.read)
    get = _blocking(asynchronous.ConfigClient.get)
    count = _blocking(asynchronous.ConfigClient.count)
    status = _blocking(asynchronous.ConfigClient.status)
    authenticate = _blocking(asynchronous.ConfigClient.authenticate)
    create = _blocking(asynchronous.ConfigClient.create)
    update = _blocking(asynchronous.ConfigClient.update)
    delete = _blocking(asynchronous.ConfigClient.delete)
    apply = _blocking(asynchronous.ConfigClient.apply)
    outcome = _blocking(asynchronous.ConfigClient.outcome)
    wait_for = _blocking(asynchronous.ConfigClient.wait_for)

    def iterate(self, object_type: type[T], /, **filter: Any) -> Iterator[asynchronous.ReadResult[T]]:
        """The same as `read`, part by part as they come: for answers that are large."""
        parts = self._target.iterate(object_type, **filter)
        try:
            while (part := self._loop.call(_next_part, parts)) is not None:
                yield part
        finally:
            self._loop.end(parts.close)

    def subscribe(
        self,
        object_type: asynchronous.TypeRef | None = None,
        *,
        tenant_dbid: int = 0,
        dbid: int = 0,
        since: Position | None = None,
        exclude_bytecode: bool = False,
    ) -> Changes:
        """The changes of a type (None: of all), of a tenant, of one object: ``with ... as changes``.

        ``since`` starts after that position, such as that of a `ReadResult`: nothing is missed in between.
        """
        stream = self._target.subscribe(
            object_type, tenant_dbid=tenant_dbid, dbid=dbid, since=since, exclude_bytecode=exclude_bytecode
        )
        return Changes(stream, self._loop)

    @contextmanager
    def read_and_subscribe(
        self, object_type: type[T], *, tenant_dbid: int = 0, dbid: int = 0
    ) -> Iterator[tuple[asynchronous.ReadResult[T], Changes]]:
        """The objects, and every change after what they show: ``with ... as (objects, changes)``."""
        both = self._target.read_and_subscribe(object_type, tenant_dbid=tenant_dbid, dbid=dbid)
        with self._loop.entered(both) as (objects, stream):
            yield objects, Changes(stream, self._loop)

    @property
    def state(self) -> ClientState:
        """How the client stands to its servers now."""
        return self._target.state

    @property
    def position(self) -> Position:
        """The latest position that a server has shown to this client; (0, 0) before the first connection."""
        return self._target.position

    def statistics(self) -> asynchronous.ClientStatistics:
        """A snapshot for monitoring."""
        return self._loop.call(_statistics, self._target)


async def _next_part(parts: PartReader[T]) -> asynchronous.ReadResult[T] | None:
    return await anext(parts, None)


async def _statistics(client: asynchronous.ConfigClient) -> asynchronous.ClientStatistics:
    return client.statistics()
