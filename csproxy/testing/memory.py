"""A network in memory: hosts, listeners and connections with latency and faults, without sockets.

    async with MemoryNetwork(sim.rng, latency_s=(0.0005, 0.02)) as network:
        network.listen("master", 2020, server.connect)
        channel = await network.connector("client")("master", 2020)
        network.partition("client", "master")

With a random source, and on `csproxy.testing.simulation.SimulatedLoop`, a run is repeatable: pieces
and latencies come from the seed. It works on any asyncio or trio loop, too, and without a random
source adds neither latency nor cuts, which is what tests of embedding programs want.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.lowlevel

from csproxy.errors import ConfigurationError, ConnectionLostError, ErrorCode, NothingListensError
from csproxy.testing.memory_channel import MemoryChannel
from csproxy.testing.programs import is_frozen
from csproxy.transport.channel import Channel, Connector
from csproxy.transport.turns import Timers, call_soon

__all__ = ["WINDOW_BYTES", "MemoryListener", "MemoryNetwork"]

_log = logging.getLogger("csproxy.testing.memory")

WINDOW_BYTES: Final = 256 * 1024
"""Bytes on their way or not yet read that the simulated kernels take for one direction of a connection."""
_FIRST_EPHEMERAL_PORT: Final = 49152


class MemoryListener:
    """A listening port of a simulated host."""

    def __init__(
        self, network: MemoryNetwork, host: str, port: int, on_connection: Callable[[Channel], object]
    ) -> None:
        self.host = host
        self.port = port
        self._on_connection = on_connection
        self._context = copy_context()
        self._network = network

    def __repr__(self) -> str:
        return f"<MemoryListener {self.host}:{self.port}>"

    def close(self) -> None:
        """Stop listening; connections stay. Idempotent."""
        self._network.stop_listening(self)

    def accept(self, channel: MemoryChannel) -> None:
        """Hand a new connection to the program that listens, when it runs."""
        if is_frozen(self._context):
            self._context.run(self._network.call_later, 0, lambda: self._hand_over(channel))
        else:
            self._context.copy().run(self._hand_over, channel)

    def _hand_over(self, channel: MemoryChannel) -> None:
        if not self._network.has_listener(self):
            channel.close(flush=False)
            return
        try:
            self._on_connection(channel)
        except Exception:  # noqa: BLE001 - where a listener would log
            _log.exception("%r: on_connection failed; the connection is closed", self, extra={"event": 31090})
            channel.close(flush=False)


class MemoryNetwork:
    """Simulated hosts; an async context manager that on exit closes every connection.

    ``rng`` draws latencies from ``latency_s`` (least, most; one way) and the sizes of pieces; without
    it latency is the least one and pieces are as large as the window allows. ``window_bytes`` is
    what the kernels hold for one direction. A connection attempt without an answer fails after
    ``connect_timeout_s``. Hosts need no declaration. Where a method takes ``other=None``, every
    other host is meant.
    """

    def __init__(
        self,
        rng: random.Random | None = None,
        *,
        latency_s: tuple[float, float] = (0.0, 0.0),
        window_bytes: int = WINDOW_BYTES,
        connect_timeout_s: float = 10.0,
    ) -> None:
        self._rng = rng
        self._latency_s = latency_s
        self._window_bytes = window_bytes
        self._connect_timeout_s = connect_timeout_s
        self._timers = Timers()
        self._listeners: dict[tuple[str, int], MemoryListener] = {}
        self._balanced: dict[tuple[str, int], deque[tuple[str, int]]] = {}
        self._next_port = _FIRST_EPHEMERAL_PORT
        # a dict, for its order: faults must meet connections in the same order in every run
        self._ends: dict[MemoryChannel, MemoryChannel] = {}
        self._partitions: set[tuple[str, str]] = set()
        self._refused: set[tuple[str, int]] = set()
        self._delays_s: dict[tuple[str, str], float] = {}
        self._windows: dict[str, int] = {}
        self._rates: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<MemoryNetwork {len(self._listeners)} listeners, {len(self._ends) // 2} connections>"

    async def __aenter__(self) -> Self:
        await self._timers.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listeners.clear()
        for end in list(self._ends):
            end.shut()
        await self._timers.__aexit__(exc_type, exc, traceback)

    # what programs use

    def listen(self, host: str, port: int, on_connection: Callable[[Channel], object]) -> MemoryListener:
        """Accept connections to ``host``; ``on_connection(channel)`` is called for each. Port 0 takes a free one.

        Raises ConfigurationError when the port is in use.
        """
        port = port or self._free_port()
        if (host, port) in self._listeners:
            raise ConfigurationError(f"cannot listen on {host}:{port}: the address is in use; choose another port")
        listener = self._listeners[host, port] = MemoryListener(self, host, port, on_connection)
        return listener

    def stop_listening(self, listener: MemoryListener) -> None:
        """Refuse further connections to this port."""
        if self.has_listener(listener):
            del self._listeners[listener.host, listener.port]

    def has_listener(self, listener: MemoryListener) -> bool:
        """Whether it still listens."""
        return self._listeners.get((listener.host, listener.port)) is listener

    def balance(self, host: str, port: int, members: Sequence[tuple[str, int]]) -> None:
        """Lead each new connection to ``host`` to the next of ``members``, as a load balancer does.

        Members where nothing listens are passed over; that one does not answer the balancer does not know. The
        ``peer`` of the channel is the member's address.
        """
        self._balanced[host, port] = deque(members)

    def connector(self, from_host: str) -> Connector:
        """Make the connector that programs on ``from_host`` use."""

        async def connect(host: str, port: int) -> Channel:
            return await self._connect(from_host, host, port)

        return connect

    # faults

    def cut(self, host: str, other: str | None = None) -> int:
        """Reset the connections between two hosts: both ends are told. Returns how many there were."""
        ends = list(self._ends_between(host, other))
        for end in ends:
            end.lose(ConnectionResetError("the connection was cut"))
        return (len(ends) + 1) // 2

    def partition(self, host: str, other: str | None = None) -> None:
        """Silence: nothing arrives any more, nobody is told, connection attempts get no answer."""
        self._partitions.update(self._links(host, other))

    def heal(self, host: str | None = None, other: str | None = None) -> None:
        """End the partition of two hosts, all those of ``host``, or all there are; what was under way arrives."""
        if host is None:
            self._partitions.clear()
        elif other is None:
            self._partitions = {link for link in self._partitions if host not in link}
        else:
            self._partitions.difference_update(self._links(host, other))
        for end in list(self._ends):
            end.wake()

    def half_open(self, host: str, other: str | None = None) -> int:
        """Let the ends on ``host`` of existing connections die without a word; returns how many there were.

        The ends at the other side hear nothing and what they write is never read, for ever; new
        connections work. A dead end is told of its end only when its own side closes it.
        """
        ends = [end for end in self._ends_between(host, other) if end.host == host]
        for end in ends:
            end.die()
        return len(ends)

    def delay(self, host: str, other: str | None = None, *, extra_s: float) -> None:
        """Add to the latency of the links of ``host``, both ways; 0 ends it. Order within a connection stays."""
        for link in self._links(host, other):
            self._delays_s[link] = extra_s

    def read_slowly(self, host: str, *, bytes_per_s: float | None, window_bytes: int | None = None) -> None:
        """Let ``host`` read at a limited rate (None: at full speed), and perhaps with a window of its own."""
        self._rates.pop(host, None)
        if bytes_per_s is not None:
            self._rates[host] = bytes_per_s
        if window_bytes is not None:
            self._windows[host] = window_bytes

    def refuse(self, host: str, port: int, *, on: bool = True) -> None:
        """Refuse connections to a port although something listens there; ``on=False`` accepts again."""
        if on:
            self._refused.add((host, port))
        else:
            self._refused.discard((host, port))

    # what channels and pipes ask

    def call_later(self, delay_s: float, fn: Callable[[], object]) -> Callable[[], None] | None:
        """Run ``fn`` in the next turn or later; returns what cancels it, None for the next turn."""
        if delay_s > 0:
            return self._timers.call_later(delay_s, fn)
        call_soon(fn)
        return None

    def piece_size(self, most: int) -> int:
        """Of ``most`` bytes, how many travel in one piece: any number, as TCP may cut anywhere."""
        return most if self._rng is None else self._rng.randint(1, most)

    def latency_s(self, source: MemoryChannel, target: MemoryChannel) -> float:
        """Latency of the next piece."""
        return self._latency_between(source.host, target.host)

    def is_silent(self, source: MemoryChannel, target: MemoryChannel) -> bool:
        """Whether nothing gets from ``source`` to ``target``."""
        return source.is_dead or target.is_dead or self._is_parted(source.host, target.host)

    def window_bytes_of(self, host: str) -> int:
        """How much one direction of a connection holds that ``host`` reads from."""
        return self._windows.get(host, self._window_bytes)

    def reading_rate_of(self, host: str) -> float | None:
        """Bytes per second that ``host`` reads, None without a limit."""
        return self._rates.get(host)

    def forget(self, end: MemoryChannel) -> None:
        """An end is closed."""
        self._ends.pop(end, None)

    # connecting

    async def _connect(self, from_host: str, host: str, port: int) -> Channel:
        host, port = self._next_member(host, port)
        await self._pass_time(self._latency_between(from_host, host))
        if self._is_parted(from_host, host):
            await anyio.sleep(self._connect_timeout_s)
            raise self._not_found(host, port, f"no answer within {self._connect_timeout_s:g} s")
        listener = self._listeners.get((host, port))
        if listener is None or (host, port) in self._refused:
            await self._pass_time(self._latency_between(from_host, host))
            raise NothingListensError(
                f"cannot connect to {host}:{port}: connection refused", code=ErrorCode.SERVER_NOT_FOUND
            )
        client = MemoryChannel(self, from_host, f"{host}:{port}")
        server = MemoryChannel(self, host, f"{from_host}:{self._free_port()}")
        MemoryChannel.pair(self, client=client, server=server)
        self._ends[client] = server
        self._ends[server] = client
        try:
            listener.accept(server)
            await self._pass_time(self._latency_between(from_host, host))
        except BaseException:
            client.close(flush=False)
            raise
        return client

    def _next_member(self, host: str, port: int) -> tuple[str, int]:
        """Where a connection to this address leads."""
        members = self._balanced.get((host, port))
        if members is None:
            return host, port
        for _ in range(len(members)):
            members.rotate(-1)
            if self._accepts(*members[-1]):
                break
        return members[-1]

    def _accepts(self, host: str, port: int) -> bool:
        return (host, port) in self._listeners and (host, port) not in self._refused

    async def _pass_time(self, delay_s: float) -> None:
        if delay_s > 0:
            await anyio.sleep(delay_s)
        else:
            await anyio.lowlevel.checkpoint()

    def _not_found(self, host: str, port: int, reason: str) -> ConnectionLostError:
        return ConnectionLostError(f"cannot connect to {host}:{port}: {reason}", code=ErrorCode.SERVER_NOT_FOUND)

    # links

    def _ends_between(self, host: str, other: str | None) -> Iterator[MemoryChannel]:
        for end, far in self._ends.items():
            hosts = {end.host, far.host}
            if host in hosts if other is None else hosts == {host, other}:
                yield end

    def _links(self, host: str, other: str | None) -> list[tuple[str, str]]:
        return [(host, other or "*"), (other or "*", host)]

    def _is_parted(self, a: str, b: str) -> bool:
        if not self._partitions:
            return False
        return (a, b) in self._partitions or (a != b and ((a, "*") in self._partitions or ("*", b) in self._partitions))

    def _latency_between(self, a: str, b: str) -> float:
        least, most = self._latency_s
        latency = least if self._rng is None else self._rng.uniform(least, most)
        if self._delays_s:
            latency += sum(self._delays_s.get(link, 0.0) for link in ((a, b), (a, "*"), ("*", b)))
        return latency

    def _free_port(self) -> int:
        self._next_port += 1
        return self._next_port - 1
