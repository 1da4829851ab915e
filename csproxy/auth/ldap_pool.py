"""Connections to directories: opened in worker threads, watched by the event loop, kept while they are used.

Each step (connect, search, bind) has the server's connect-timeout. When it passes, or when nobody waits for the
step any more, the connection is cut from outside, which ends the thread's wait: a directory that hangs, or sends a
byte now and then, holds neither a log-in nor a thread for longer.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel

from csproxy.auth.ldap_codes import SUCCESS
from csproxy.auth.ldap_connection import LdapConnection, LdapResult
from csproxy.auth.ldap_settings import LdapServer
from csproxy.errors import ConfigurationError, ConnectionLostError, ErrorCode, TimedOutError
from csproxy.transport.blocking import run_blocking

__all__ = ["LdapPool", "Role"]

log = logging.getLogger("csproxy.auth.ldap")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Role = Literal["search", "bind"]
"""Connections that search stay bound as app-user; those that try users' passwords are bound anew each time."""
_CLOSE_S: Final = 2.0


class _Idle(NamedTuple):
    connection: LdapConnection
    since_s: float


class LdapPool:
    """Idle connections by server and role. ``clock`` gives monotonic seconds, ``threads`` run at once."""

    def __init__(self, clock: Callable[[], float], *, threads: int) -> None:
        self._clock = clock
        self._limiter = anyio.CapacityLimiter(threads)
        self._idle: dict[tuple[LdapServer, Role], list[_Idle]] = {}

    def __repr__(self) -> str:
        return f"<LdapPool {self.idle} idle connections>"

    @property
    def idle(self) -> int:
        """Connections that are kept and not in use."""
        return sum(len(idle) for idle in self._idle.values())

    async def use(
        self, server: LdapServer, role: Role, step: Callable[[LdapConnection, *Ts], T], *args: *Ts
    ) -> T | LdapResult:
        """Carry out a step over a connection; returns its result, or the refusal of app-user's bind.

        A kept connection that turns out to be dead is replaced once. Raises `ConnectionLostError`,
        `TimedOutError` and, for settings that cannot work, `ConfigurationError`.
        """
        kept = self._idle.get((server, role))
        if kept:
            try:
                return await self._step(server, role, kept.pop().connection, step, *args)
            except ConnectionLostError:
                log.debug("a kept connection to %s was closed meanwhile", server)
        await self._close(self._idle.pop((server, role), ()))
        opened = await self._open(server, role)
        if isinstance(opened, LdapResult):
            return opened
        return await self._step(server, role, opened, step, *args)

    async def sweep(self, *, everything: bool = False) -> None:
        """Close connections that were idle for longer than their servers' idle-timeout."""
        now_s = self._clock()
        for key, idle in list(self._idle.items()):
            limit_s = key[0].idle_timeout_s
            old = [entry for entry in idle if everything or now_s - entry.since_s >= limit_s]
            idle[:] = [entry for entry in idle if entry not in old]
            if not idle:
                del self._idle[key]
            await self._close(old)

    async def _open(self, server: LdapServer, role: Role) -> LdapConnection | LdapResult:
        error: ConnectionLostError | TimedOutError | None = None
        for address in await self._resolve(server):
            connection = LdapConnection(server, address)
            try:
                await self._run(server, connection, LdapConnection.open)
                if role == "search" and server.app_user:
                    result = await self._run(server, connection, LdapConnection.bind, server.app_user, server.password)
                    if result.code != SUCCESS:
                        connection.close()
                        return result
            except (ConnectionLostError, TimedOutError) as e:
                error = e
            else:
                return connection
        raise error or ConnectionLostError(f"LDAP server {server}: the name has no address")

    async def _resolve(self, server: LdapServer) -> list[str]:
        # not left to the connection's thread: nothing can end its wait for a name server
        try:
            with anyio.fail_after(server.connect_timeout_s):
                found = await anyio.getaddrinfo(server.url.host, server.url.port, type=socket.SOCK_STREAM)
        except TimeoutError as e:
            raise TimedOutError(f"LDAP server {server}: no answer from the name service") from e
        except (OSError, UnicodeError) as e:
            raise ConnectionLostError(f"LDAP server {server}: {e}", code=ErrorCode.SERVER_NOT_FOUND) from e
        return list(dict.fromkeys(entry[4][0] for entry in found))

    async def _step(
        self,
        server: LdapServer,
        role: Role,
        connection: LdapConnection,
        step: Callable[[LdapConnection, *Ts], T],
        *args: *Ts,
    ) -> T:
        result = await self._run(server, connection, step, *args)
        self._idle.setdefault((server, role), []).append(_Idle(connection, self._clock()))
        return result

    async def _run(
        self, server: LdapServer, connection: LdapConnection, step: Callable[[LdapConnection, *Ts], T], *args: *Ts
    ) -> T:
        """One step in a thread; the connection is closed when it fails or is cancelled."""
        watch = _Watch(connection, server.connect_timeout_s)
        results: list[T] = []
        succeeded = False
        error: ConnectionLostError | ConfigurationError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.run)
                try:
                    results.append(await run_blocking(step, connection, *args, limiter=self._limiter))
                except (ConnectionLostError, ConfigurationError) as e:
                    error = e
                watch.finished = True
                tasks.cancel_scope.cancel()
            succeeded = bool(results)  # not reached if this task is cancelled after the thread's last moment
        finally:
            if not succeeded:
                connection.close()  # cut or broken: nothing is waited for
        if succeeded:
            return results[0]
        # the error may be that of a connection which was cut because this task is cancelled
        await anyio.lowlevel.checkpoint_if_cancelled()
        if watch.timed_out:
            raise TimedOutError(f"LDAP server {server}: no answer within {server.connect_timeout_s} s") from error
        assert error is not None
        raise error

    async def _close(self, idle: list[_Idle] | tuple[()]) -> None:
        for entry in idle:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_S):
                await run_blocking(entry.connection.close, limiter=self._limiter)


class _Watch:
    """Cuts a connection when its step takes too long, or is not waited for any more."""

    def __init__(self, connection: LdapConnection, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self.finished = False
        self.timed_out = False

    async def run(self) -> None:
        """Wait for the end of the step or of its time."""
        try:
            await anyio.sleep(self._limit_s)
            self.timed_out = True
        finally:
            if not self.finished:
                self._connection.abort()
