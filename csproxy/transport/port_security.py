"""What a secure or auto-detect port demands of a new connection, before anybody serves it.

The first byte tells TLS (0x16) from the plain protocol; it is looked at and left in the socket, so that whoever
takes the connection finds all bytes. A plain client at a secure port is told so by error 38. A connection of a load
balancer may begin with a PROXY header, which is taken off first (`csproxy.transport.proxy_header`).

Who has not been let in yet counts for its address all the same, from the moment it is accepted; and there is a bound
on all of them together, beyond which the one that has waited longest goes.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import anyio

from csproxy.core.transport_parameters import ListeningMode
from csproxy.errors import ErrorCode, RemoteProtocolError, TlsError
from csproxy.transport.channel import Channel
from csproxy.transport.client_hello import wait_for_hello
from csproxy.transport.farewells import Farewells
from csproxy.transport.handshakes import MAX_HANDSHAKES, PATIENCE_S, WAITING_S, Handshakes
from csproxy.transport.proxy_header import begins_header, receive_header
from csproxy.transport.sockets import peer_name
from csproxy.transport.tls_channel import HANDSHAKE_TIMEOUT_S, secure
from csproxy.transport.tls_context import TlsContext
from csproxy.transport.tls_engine import TlsEngine
from csproxy.transport.turns import now
from csproxy.transport.wire.frames import MAGIC
from csproxy.transport.wire.server_protocol import ServerProtocol

__all__ = ["DOOR_LIMITS", "DoorLimits", "Doorkeeper", "PortSecurity", "Visit", "unlimited"]

_log = logging.getLogger("csproxy.listener")

_TLS_HANDSHAKE: Final = 0x16
_LINES: Final = 20
_LINES_PERIOD_S: Final = 10.0


@dataclass
class PortSecurity:
    """What a port takes, and the certificate that it shows; a change counts for connections that come afterwards.

    Only a port in mode UNSECURED can be without ``tls``.
    """

    mode: ListeningMode
    tls: TlsContext | None


class DoorLimits(NamedTuple):
    """Deadlines in seconds: for the first byte, for the ClientHello and for the rest of a handshake, for its turn.

    ``handshakes`` run at once; when more come, one that takes longer than ``patience_s`` gives up its place.
    ``visitors`` may be on their way in, ``unwelcome`` ones of them only to be told that their address has too many.
    """

    first_byte_s: float = 10.0
    handshake_s: float = HANDSHAKE_TIMEOUT_S
    waiting_s: float = WAITING_S
    handshakes: int = MAX_HANDSHAKES
    patience_s: float = PATIENCE_S
    visitors: int = 20_000
    unwelcome: int = 256


DOOR_LIMITS: Final = DoorLimits()

Visit = Callable[[str], Callable[[], None] | None]
"""Counts a connection from an address as `csproxy.transport.peers.Peers.visit` does."""


def unlimited(peer: str) -> Callable[[], None]:
    """The `Visit` of servers that count no addresses."""
    return lambda: None


class Doorkeeper:
    """Lets connections in: ``hand_over(channel, port_id)`` gets those that fulfil what their port demands.

    ``open_channel(sock, peer)`` makes the channel of an accepted socket and owns the socket from then on; ``peer`` is
    the client's address where a load balancer told it, else empty. ``visit`` counts a connection until it is handed
    over; one that is not to be counted gets in without TLS only, so that the server can tell it when to come again.
    """

    def __init__(
        self,
        open_channel: Callable[[socket.socket, str], Awaitable[Channel]],
        hand_over: Callable[[Channel, str], object],
        limits: DoorLimits = DOOR_LIMITS,
        visit: Visit = unlimited,
    ) -> None:
        self._open_channel = open_channel
        self._hand_over = hand_over
        self._limits = limits
        self._visit = visit
        self._visitors: dict[anyio.CancelScope, None] = {}
        self._unwelcome = 0
        self.handshakes = Handshakes(limit=limits.handshakes, patience_s=limits.patience_s, waiting_s=limits.waiting_s)
        self.refused = 0
        """Connections without TLS that a secure port refused, since the start."""
        self.turned_away = 0
        """Connections closed since the start because too many were on their way in, from their address or in all."""
        self._failures = _FailureLog()
        self._farewells = Farewells()

    def __repr__(self) -> str:
        return f"<Doorkeeper {self.handshakes!r}, {self.refused} refused>"

    async def receive(
        self, sock: socket.socket, port_id: str, security: PortSecurity, *, from_balancer: bool = False
    ) -> None:
        """See what the connection of ``sock`` begins with, and do the handshake if that is TLS; closes what fails.

        ``from_balancer``: it may begin with a PROXY header.
        """
        opened, peer = False, ""

        async def open_channel() -> Channel:
            nonlocal opened
            channel = await self._open_channel(sock, peer)
            opened = True
            return channel

        channel: Channel | None = None
        try:
            with self._on_the_way():
                if from_balancer:
                    told = await self._header(sock)
                    if told is None:
                        return  # it only looked whether somebody listens
                    peer = told
                with self._counted(peer or _address(sock)) as is_welcome:
                    channel = await self._let_in(sock, open_channel, port_id, security, is_welcome=is_welcome)
        except TlsError as e:
            self._failures.warning("port %s: %s", port_id, e)
        except RemoteProtocolError as e:
            self._failures.warning("port %s: %s: %s", port_id, _address(sock), e)
        except TimeoutError:
            self._failures.warning("port %s: %s did not finish its PROXY header", port_id, _address(sock))
        except OSError as e:
            _log.debug("port %s: a connection was lost before its first bytes: %s", port_id, e)
        finally:
            if not opened:
                sock.close()
        if channel is not None:
            self._hand_over(channel, port_id)

    @contextmanager
    def _on_the_way(self) -> Iterator[None]:
        """The body is one of the visitors, and is ended if it is the oldest when there are too many."""
        if len(self._visitors) >= self._limits.visitors:
            oldest = next(iter(self._visitors))
            del self._visitors[oldest]
            oldest.cancel()
            self.turned_away += 1
        with anyio.CancelScope() as scope:
            self._visitors[scope] = None
            try:
                yield
            finally:
                self._visitors.pop(scope, None)

    @contextmanager
    def _counted(self, peer: str) -> Iterator[bool]:
        """Count a connection while the body runs; says whether it may come in."""
        leave = self._visit(peer)
        if leave is not None:
            try:
                yield True
            finally:
                leave()
            return
        self.turned_away += 1
        self._failures.warning("%s has too many connections: it is not let in", peer)
        self._unwelcome += 1
        try:
            yield False
        finally:
            self._unwelcome -= 1

    async def _header(self, sock: socket.socket) -> str | None:
        """Take off a PROXY header if there is one; the client's address that it tells. None when nothing comes."""
        first = await self._first_byte(sock)
        if first is None:
            return None
        if not begins_header(first):
            return ""
        with anyio.fail_after(self._limits.first_byte_s):
            return await receive_header(sock) or ""

    async def _let_in(
        self,
        sock: socket.socket,
        open_channel: Callable[[], Awaitable[Channel]],
        port_id: str,
        security: PortSecurity,
        *,
        is_welcome: bool,
    ) -> Channel | None:
        if not is_welcome and (security.mode is ListeningMode.SECURE or self._unwelcome > self._limits.unwelcome):
            return None
        first = await self._first_byte(sock)
        if first == _TLS_HANDSHAKE and security.tls is not None:
            return await self._secure(sock, open_channel, security.tls) if is_welcome else None
        if first is None:
            return None
        channel = await open_channel()
        if security.mode is not ListeningMode.SECURE:
            return channel
        self._refuse(channel, port_id, first)
        return None

    async def _first_byte(self, sock: socket.socket) -> int | None:
        """The first byte, which stays in the socket; None when the peer says nothing in time, or goes."""
        with anyio.move_on_after(self._limits.first_byte_s):
            while True:
                await anyio.wait_readable(sock)
                try:
                    found = sock.recv(1, socket.MSG_PEEK)
                except BlockingIOError:
                    continue
                return found[0] if found else None
        self._failures.info("%s said nothing within %g s", _address(sock), self._limits.first_byte_s)
        return None

    async def _secure(
        self, sock: socket.socket, open_channel: Callable[[], Awaitable[Channel]], tls: TlsContext
    ) -> Channel:
        limit_s = self._limits.handshake_s

        async def hello() -> None:
            try:
                with anyio.fail_after(limit_s):
                    await wait_for_hello(sock)
            except TimeoutError as e:
                raise TlsError(f"{_address(sock)}: the TLS handshake had not begun within {limit_s:g} s") from e

        async def handshake() -> Channel:
            engine = TlsEngine(tls.context, server_side=True, own=tls.own)
            return await secure(await open_channel(), engine, timeout_s=limit_s)

        return await self.handshakes.run(handshake, ready=hello)

    def _refuse(self, channel: Channel, port_id: str, first: int) -> None:
        self.refused += 1
        self._failures.warning("port %s: %s wants no TLS on a secure port; it is refused", port_id, channel.peer)
        notice = b""
        if first == MAGIC[0]:
            why = "this port takes secure connections only: connect with TLS, or to another port"
            notice = ServerProtocol().disconnect(ErrorCode.UNSECURE_CONNECTION_DENIED, why)
        self._farewells.say(channel, notice)


def _address(sock: socket.socket) -> str:
    try:
        return peer_name(sock.getpeername())
    except OSError:  # it has gone
        return peer_name(None)


class _FailureLog:
    """Lets through so many lines a period, and says how many it kept back: a storm must not fill the disk."""

    def __init__(self) -> None:
        self._until_s = float("-inf")
        self._lines = 0

    def warning(self, text: str, *values: object) -> None:
        self._write(logging.WARNING, text, values)

    def info(self, text: str, *values: object) -> None:
        self._write(logging.INFO, text, values)

    def _write(self, level: int, text: str, values: tuple[object, ...]) -> None:
        if now() >= self._until_s:
            if self._lines > _LINES:
                _log.warning(
                    "%d more connections failed in the same way or otherwise",
                    self._lines - _LINES,
                    extra={"event": 31081},
                )
            self._until_s, self._lines = now() + _LINES_PERIOD_S, 0
        self._lines += 1
        if self._lines <= _LINES:
            _log.log(level, text, *values, extra={"event": 31081})
