"""Listening TCP ports: accepts connections and hands over their channels.

What a secure or auto-detect port demands before that is `csproxy.transport.port_security`'s business.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.lowlevel
from anyio.abc import SocketStream, TaskGroup

from csproxy.core.peer_limits import Network
from csproxy.core.transport_parameters import ListeningMode
from csproxy.errors import ConfigurationError
from csproxy.transport.channel import Channel
from csproxy.transport.handshakes import HandshakeStatistics
from csproxy.transport.port_security import DOOR_LIMITS, Doorkeeper, DoorLimits, PortSecurity, Visit, unlimited
from csproxy.transport.protocol_channel import CLOSE_TIMEOUT_S, EndOfTurn, ProtocolChannel
from csproxy.transport.sockets import bound_kernel_queue, notice_dead_peers
from csproxy.transport.stream_channel import RunTasks, StreamChannel
from csproxy.transport.turns import now

__all__ = ["BACKLOG", "ListenPort", "Listener", "ListenerStatistics"]

_log = logging.getLogger("csproxy.listener")

BACKLOG: Final = 4096
"""Connections that the kernel completes before they are accepted (bounded by net.core.somaxconn)."""
_ACCEPTS_PER_TURN: Final = 16
_SECURE_ACCEPTS_PER_TURN: Final = 4
"""Each costs a task and 70 µs that everybody waits."""
_PAUSE_S: Final = 0.1
"""Pause in accepting when the system is out of something other than this process's descriptors."""
_SHORTAGE_LOG_S: Final = 10.0
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_UNSECURED: Final = PortSecurity(ListeningMode.UNSECURED, None)
_ABSENT_FAMILY: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


@dataclass(frozen=True)
class ListenPort:
    """A port to listen on: ``host`` "" means every interface, ``port`` 0 a free one.

    ``security`` says who may come in without TLS; it may change while the port listens. None: everybody.
    """

    port_id: str
    host: str
    port: int
    security: PortSecurity | None = None


@dataclass(frozen=True)
class ListenerStatistics:
    """Counts since the start: connections handed over, and closed at once for want of descriptors.

    ``unsecured`` counts connections without TLS that a secure port refused, ``unwelcome`` those of which too many
    were on their way in, from their address or in all.
    """

    accepted: int
    turned_away: int
    unsecured: int
    unwelcome: int
    handshakes: HandshakeStatistics


class Listener:
    """Accepts connections on several ports while its context is entered.

    ``on_connection(channel, port_id)`` is called once per connection, in the event loop's thread,
    and must not wait; if it raises, that is logged and the connection closed. The channels belong to
    whoever receives them: leaving the context stops accepting and closes no connection.

    ``visit(peer)`` counts a connection until it is handed over (`Doorkeeper`); what is handed over at once is not.

    When the process is out of file descriptors, waiting connections are accepted with a spare
    descriptor and closed at once, so that those clients try their next server instead of hanging;
    existing connections are not affected.
    """

    def __init__(
        self,
        ports: Sequence[ListenPort],
        on_connection: Callable[[Channel, str], object],
        *,
        backlog: int = BACKLOG,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
        door_limits: DoorLimits = DOOR_LIMITS,
        balancers: Sequence[Network] = (),
        visit: Visit = unlimited,
    ) -> None:
        self.balancers: Sequence[Network] = balancers
        """Where load balancers are: their connections may begin with a PROXY header. May be changed at any time."""
        self._ports = ports
        self._on_connection = on_connection
        self._backlog = backlog
        self._close_timeout_s = close_timeout_s
        self._end_of_turn = EndOfTurn()
        self._sockets: list[tuple[ListenPort, socket.socket]] = []
        self._doorkeeper = Doorkeeper(self._open_channel, self._hand_over, door_limits, visit)
        self._spare: int | None = None
        self._accepted = 0
        self._turned_away = 0
        self._next_shortage_log = float("-inf")
        self._group: TaskGroup

    def __repr__(self) -> str:
        return f"<Listener {', '.join(f'{name}={host}:{port}' for name, (host, port) in self.addresses().items())}>"

    async def __aenter__(self) -> Self:
        """Bind every port, then accept.

        Raises `ConfigurationError` naming port id, host and port when one cannot be bound; nothing listens then.
        """
        try:
            for port in self._ports:
                await self._bind(port)
        except BaseException:
            self._close_sockets()
            raise
        self._spare = _open_spare()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        for port, sock in self._sockets:
            self._group.start_soon(self._accept_from, sock, port)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)  # the body's exception goes on as it is, in no group
        finally:
            self._close_sockets()

    def addresses(self) -> Mapping[str, tuple[str, int]]:
        """Where each port listens, with the real number where 0 was asked for; empty outside of the context."""
        found: dict[str, tuple[str, int]] = {}
        for port, sock in self._sockets:
            found.setdefault(port.port_id, sock.getsockname()[:2])
        return found

    def statistics(self) -> ListenerStatistics:
        """Count since the start."""
        return ListenerStatistics(
            accepted=self._accepted,
            turned_away=self._turned_away,
            unsecured=self._doorkeeper.refused,
            unwelcome=self._doorkeeper.turned_away,
            handshakes=self._doorkeeper.handshakes.statistics(),
        )

    # binding

    async def _bind(self, wanted: ListenPort) -> None:
        """Bind every address of the host; one port number for all of them."""
        number = wanted.port
        bound = 0
        failure: OSError | None = None
        for family, address in await _resolve(wanted):
            try:
                sock = _listen(family, (address[0], number, *address[2:]), self._backlog)
            except OSError as error:
                failure = error
                if error.errno in _ABSENT_FAMILY:
                    continue  # "localhost" has an IPv6 address where the system has no IPv6
                break
            self._sockets.append((wanted, sock))
            bound += 1
            number = sock.getsockname()[1]
        else:
            if bound:
                return
        raise _cannot_listen(wanted, failure or OSError("the host has no address")) from failure

    def _close_sockets(self) -> None:
        for _, sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    # accepting

    async def _accept_from(self, listening: socket.socket, port: ListenPort) -> None:
        while True:
            await anyio.lowlevel.checkpoint_if_cancelled()  # on uvloop, waiting for what is ready cannot be cancelled
            await anyio.wait_readable(listening)
            if not self._accept_some(listening, port):
                await anyio.sleep(_PAUSE_S)

    def _accept_some(self, listening: socket.socket, port: ListenPort) -> bool:
        """Accept what waits, a bounded number; False when the system has no resources for more."""
        accepted: list[socket.socket] = []
        from_balancers: list[socket.socket] = []
        security = port.security or _UNSECURED
        most = _ACCEPTS_PER_TURN if security.mode is ListeningMode.UNSECURED else _SECURE_ACCEPTS_PER_TURN
        has_resources = self._collect(listening, port.port_id, most, accepted, from_balancers)
        for sock in from_balancers:
            self._receive(sock, port.port_id, security, from_balancer=True)
        if security.mode is not ListeningMode.UNSECURED:
            for sock in accepted:
                self._receive(sock, port.port_id, security)
        elif accepted:
            self._group.start_soon(self._adopt_all, accepted, port.port_id)
        return has_resources

    def _receive(
        self, sock: socket.socket, port_id: str, security: PortSecurity, *, from_balancer: bool = False
    ) -> None:
        receive = partial(self._doorkeeper.receive, from_balancer=from_balancer)
        self._group.start_soon(receive, sock, port_id, security)

    def _is_balancer(self, address: Any) -> bool:
        if not self.balancers or not isinstance(address, tuple):
            return False
        host = ip_address(address[0].partition("%")[0])
        return any(host in network for network in self.balancers)

    def _collect(
        self,
        listening: socket.socket,
        port_id: str,
        most: int,
        accepted: list[socket.socket],
        from_balancers: list[socket.socket],
    ) -> bool:
        for _ in range(most):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    continue  # the peer has given up meanwhile (ECONNABORTED and network errors, accept(2))
                self._log_shortage(port_id, error)
                if error.errno != errno.EMFILE or not self._turn_away(listening):
                    return False
            else:
                sock.setblocking(False)
                (from_balancers if self._is_balancer(address) else accepted).append(sock)
        return True

    def _turn_away(self, listening: socket.socket) -> bool:
        """Accept one connection with the spare descriptor and close it."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
            try:
                listening.accept()[0].close()
            except OSError:
                pass  # nobody waits any more, or another thread was faster
            else:
                self._turned_away += 1
        self._spare = _open_spare()
        return self._spare is not None

    def _log_shortage(self, port_id: str, error: OSError) -> None:
        if now() >= self._next_shortage_log:
            self._next_shortage_log = now() + _SHORTAGE_LOG_S
            _log.error(
                "port %s cannot accept connections: %s; raise the limit of open files",
                port_id,
                error.strerror,
                extra={"event": 31080},
            )

    # handing over

    async def _adopt_all(self, accepted: list[socket.socket], port_id: str) -> None:
        """Make the channels of accepted sockets and hand them over; cancelled, close those that are left."""
        left = dict.fromkeys(accepted)
        try:
            if asyncio._get_running_loop() is not None:
                # a task of the group for each would cost a quarter of the rate: 17,000/s instead of 22,000
                await asyncio.gather(*(self._adopt(sock, port_id, left) for sock in accepted))
            else:
                for sock in accepted:
                    await self._adopt(sock, port_id, left)
        finally:
            for sock in left:
                sock.close()

    async def _adopt(self, sock: socket.socket, port_id: str, left: dict[socket.socket, None]) -> None:
        def hand_over(channel: Channel) -> None:
            del left[sock]
            self._hand_over(channel, port_id)

        try:
            if (loop := asyncio._get_running_loop()) is not None:
                await loop.connect_accepted_socket(
                    lambda: ProtocolChannel(
                        hand_over, close_timeout_s=self._close_timeout_s, end_of_turn=self._end_of_turn
                    ),
                    sock,
                )
            else:
                stream = await SocketStream.from_socket(sock)
                hand_over(StreamChannel(stream, RunTasks(), close_timeout_s=self._close_timeout_s))
        except OSError as error:
            _log.debug("port %s: a connection was lost while it was accepted: %s", port_id, error)

    async def _open_channel(self, sock: socket.socket, peer: str) -> Channel:
        """The channel of a socket that the doorkeeper has looked at."""
        if (loop := asyncio._get_running_loop()) is not None:
            factory = partial(
                ProtocolChannel, peer=peer, close_timeout_s=self._close_timeout_s, end_of_turn=self._end_of_turn
            )
            return (await loop.connect_accepted_socket(factory, sock))[1]
        stream = await SocketStream.from_socket(sock)
        return StreamChannel(stream, RunTasks(), peer=peer, close_timeout_s=self._close_timeout_s)

    def _hand_over(self, channel: Channel, port_id: str) -> None:
        self._accepted += 1
        try:
            self._on_connection(channel, port_id)
        except Exception:  # noqa: BLE001 - one connection must not end the listener
            _log.exception(
                "port %s: the connection from %s was not taken over", port_id, channel.peer, extra={"event": 31090}
            )
            channel.close(flush=False)


async def _resolve(wanted: ListenPort) -> list[tuple[int, Any]]:
    try:
        found = await anyio.getaddrinfo(
            wanted.host or None, wanted.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError, OverflowError) as error:
        raise _cannot_listen(wanted, error) from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _listen(family: int, address: Any, backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound_kernel_queue(sock)
        notice_dead_peers(sock)
        sock.bind(address)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _cannot_listen(wanted: ListenPort, error: Exception) -> ConfigurationError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ConfigurationError(
        f"port {wanted.port_id!r}: cannot listen on {wanted.host or '*'}:{wanted.port}: {reason};"
        " choose an address of this machine and a port that is free (ss -ltnp shows which program has one)"
    )


def _open_spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
