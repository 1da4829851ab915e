"""Keep-alive on the wire: the watch of a client over its server, and that of a server over all its clients.

A client polls with Ping and is answered with Pong. A server polls with Poll, which asks for a Ping: so it is always
the client who requests. The server watches only those who have asked for it (SetKeepAlive), so that an older peer
sees nothing of all this. When somebody is polled or lost is decided in `csproxy.core.keepalive`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from csproxy.core.keepalive import LONGEST_TIMEOUT_S, TICK_S, Deadlines, KeepAlive, Silence, Verdict
from csproxy.errors import ErrorCode, ServerError, SilentPeerError
from csproxy.transport.wire.frames import Frame, encode_frame
from csproxy.transport.wire.keepalive import SetKeepAlive
from csproxy.transport.wire.messages import MessageId

if TYPE_CHECKING:
    from csproxy.transport.connection import Connection
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["KEEP_ALIVE_HANDLERS", "TRACE", "ClientWatch", "ServerWatch"]

TRACE: Final = 15
"""The level of trace lines, between DEBUG and INFO."""
_POLL: Final = encode_frame(MessageId.POLL, b"")
_LEAST_SLEEP_S: Final = 0.001
"""A difference of two times may be too small to move the clock."""

log = logging.getLogger("csproxy.keepalive")


class ServerWatch:
    """A client's keep-alive: one for all connections that follow each other; `run` is a task of its owner.

    ``clock`` gives seconds.
    """

    def __init__(self, settings: KeepAlive, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._connection: Connection | None = None
        self._spoke_s = 0.0
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        settings = self._settings
        return f"<ServerWatch {settings.timeout_s:g} s, remote {settings.remote_timeout_s:g} s>"

    @property
    def settings(self) -> KeepAlive:
        """What is in force; setting it counts at once, on the present connection, too."""
        return self._settings

    @settings.setter
    def settings(self, settings: KeepAlive) -> None:
        if settings != self._settings:
            self._settings = settings
            self._announce()
            self._changed.set()

    def begin(self, connection: Connection) -> None:
        """Tell the server of a connection that has just registered what is wanted; `run` follows.

        That comes before any request on which the server may work for long.
        """
        self._connection = connection
        if self._settings != KeepAlive():
            self._announce()

    async def run(self, connection: Connection) -> None:
        """Watch over a connection until it ends; one that is lost is aborted with `SilentPeerError`."""
        if self._connection is not connection:
            self.begin(connection)
        self._changed = anyio.Event()
        self._spoke_s = self._clock()
        silence = Silence(connection, timeout_s=0.0, now=self._spoke_s)
        try:
            while connection.error is None:
                with anyio.move_on_after(self._look(connection, silence)):
                    await self._changed.wait()
                    self._changed = anyio.Event()
        finally:
            if self._connection is connection:
                self._connection = None

    def _look(self, connection: Connection, silence: Silence[Connection]) -> float:
        """Do what is due; returns the seconds until the next look."""
        now = self._clock()
        silence.timeout_s = self._settings.timeout_s
        silence.heard_s = connection.last_received_s
        connection.is_traced = self._settings.traces_here
        if connection.is_held:
            return self._hold_out(connection, silence)
        verdict = silence.check(now)
        if verdict is Verdict.POLL:
            self._trace("polling %s, silent for %.1f s", connection.peer, now - silence.heard_s)
            connection.post(MessageId.PING, background=True)
        elif verdict is Verdict.LOST:
            self._trace("%s is lost, silent for %.1f s", connection.peer, now - silence.heard_s)
            connection.abort(
                SilentPeerError(
                    f"the connection to {connection.peer} is dead: nothing came for {now - silence.heard_s:.1f} s, "
                    f"and no answer to a poll within {silence.timeout_s:g} s"
                )
            )
            return 0.0
        self._show_sign(connection, now)
        return max(min(silence.due_s - now, self._sign_interval_s), _LEAST_SLEEP_S)

    def _show_sign(self, connection: Connection, now: float) -> None:
        """Be heard while only the server talks: its poll may wait for long behind what it has sent before."""
        if connection.has_asked:
            self._spoke_s = now
        elif now - self._spoke_s >= self._sign_interval_s and connection.last_received_s > self._spoke_s:
            connection.post(MessageId.PING, background=True)
            self._spoke_s = now
        connection.has_asked = False

    def _hold_out(self, connection: Connection, silence: Silence[Connection]) -> float:
        """This side does not read, so it can neither hear nor answer; but it can show that it is there."""
        silence.polled_s = None
        if self._settings.remote_timeout_s:
            connection.post(MessageId.PING, background=True)
        return min(self._settings.timeout_s or math.inf, self._sign_interval_s)

    @property
    def _sign_interval_s(self) -> float:
        """How often a look must be taken, in case that reading stops: a sign of life comes before the peer gives up."""
        return self._settings.remote_timeout_s / 2 or math.inf

    def _announce(self) -> None:
        if self._connection is not None and self._connection.error is None:
            wanted = SetKeepAlive(
                timeout_ms=round(self._settings.remote_timeout_s * 1000),
                patience_ms=round(self._settings.timeout_s * 1000),
                trace=self._settings.traces_there,
            )
            self._connection.post(MessageId.SET_KEEP_ALIVE, wanted, background=True)

    def _trace(self, text: str, *values: object) -> None:
        if self._settings.traces_here:
            log.log(TRACE, "addp: " + text, *values)


class WatchedClient(Silence["ServerConnection"]):
    """What a server keeps for a client that asked for keep-alive."""

    __slots__ = ("is_traced", "patience_s", "signed_s")

    is_traced: bool
    patience_s: float
    """After how long a silence the client polls; 0 = never."""
    signed_s: float
    """When the server stopped reading, or showed last since then that it is there."""


class ClientWatch:
    """A server's keep-alive over all clients that asked for it: one task, no timer for each of them.

    ``now_s`` is the time of the last step, at most `TICK_S` ago: when a client was heard is noted by it, because
    to ask the clock for every request costs a sixth of a point read.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._deadlines: Deadlines[ServerConnection] = Deadlines()
        self._unread: dict[ServerConnection, WatchedClient] = {}
        self._begun = anyio.Event()
        self.now_s = 0.0
        self.lost = 0
        """Clients given up so far."""

    def __repr__(self) -> str:
        return f"<ClientWatch {self._deadlines!r}, {self.lost} lost>"

    def set(self, connection: ServerConnection, request: SetKeepAlive) -> None:
        """Watch over a client as it wants from now on. Raises `ServerError` for a time-out out of range."""
        timeout_s = _seconds("timeout_ms", request.timeout_ms)
        patience_s = _seconds("patience_ms", request.patience_ms)
        now = self.now_s = self._clock()
        silence = connection.silence
        if silence is None:
            silence = connection.silence = WatchedClient(connection, timeout_s=timeout_s, now=now)
        silence.timeout_s = timeout_s
        silence.patience_s = patience_s
        silence.is_traced = request.trace
        silence.excuse(now)
        self._trace(silence, "%r is polled after %g s of silence", connection, timeout_s)
        self._deadlines.add(silence)
        self._begun.set()

    def pinged(self, connection: ServerConnection) -> None:
        """A client polls, or answers a poll."""
        if connection.silence is not None:
            self._trace(connection.silence, "%r is there", connection)

    def stopped_reading(self, connection: ServerConnection) -> None:
        """The server works on a request of this client and leaves further ones, Pings too, unread."""
        watched = connection.silence
        if watched is not None and watched.patience_s:
            watched.signed_s = self._clock()
            self._unread[connection] = watched

    def reads_again(self, connection: ServerConnection) -> None:
        """It reads again, or the connection has ended."""
        self._unread.pop(connection, None)

    def show_signs(self) -> None:
        """Let clients whose Pings are unread know in time that the server is there; called every second."""
        now = self._clock()
        for connection, watched in self._unread.items():
            if now - watched.signed_s >= watched.patience_s / 2:
                watched.signed_s = now
                connection.channel.write(_POLL)

    async def run(self) -> None:
        """Poll the silent and cut off the lost; a task of the server."""
        while True:
            if self._deadlines:
                now = self._clock()
                await anyio.sleep(max((now // TICK_S + 1) * TICK_S - now, _LEAST_SLEEP_S))
                self.sweep()
            else:
                self._begun = anyio.Event()
                await self._begun.wait()

    def sweep(self) -> None:
        """Look at those who are due."""
        now = self.now_s = self._clock()
        for silence in self._deadlines.due(now):
            connection = silence.owner
            assert connection is not None
            watched = connection.silence
            assert watched is not None
            if connection.is_blocked:
                silence.excuse(now)  # its requests wait unread, which is this side's doing
            verdict = silence.check(now)
            if verdict is Verdict.LOST:
                self._cut(connection, now - silence.heard_s)
                continue
            if verdict is Verdict.POLL:
                self._trace(watched, "polling %r, silent for %.1f s", connection, now - silence.heard_s)
                connection.channel.write(_POLL)
            self._deadlines.add(silence)

    def _cut(self, connection: ServerConnection, quiet_s: float) -> None:
        """No notice: nobody takes it, and the client's place is free at once."""
        self.lost += 1
        log.info("client %r is lost: silent for %.1f s, and no answer to a poll", connection, quiet_s)
        connection.channel.close(flush=False)

    def _trace(self, silence: WatchedClient, text: str, *values: object) -> None:
        if silence.is_traced:
            log.log(TRACE, "addp: " + text, *values)


def _seconds(name: str, value_ms: int) -> float:
    if not 0 <= value_ms <= LONGEST_TIMEOUT_S * 1000:
        raise ServerError.from_code(
            ErrorCode.VALUE_OUT_OF_RANGE,
            f"{name} {value_ms}: 0 (off) to {LONGEST_TIMEOUT_S * 1000:.0f} are possible",
            property_name=name,
        )
    return value_ms / 1000


_decode = msgspec.msgpack.Decoder(SetKeepAlive).decode


def set_keep_alive(connection: ServerConnection, frame: Frame) -> None:
    """1037: how this client is to be watched."""
    connection.server.keep_alive.set(connection, _decode(frame.payload or b"\x80"))
    connection.answer(frame, MessageId.KEEP_ALIVE_SET)


def ping(connection: ServerConnection, frame: Frame) -> None:
    """1028: answered at once, with the server's position."""
    connection.server.keep_alive.pinged(connection)
    connection.answer(frame, MessageId.PONG)


KEEP_ALIVE_HANDLERS: Final[dict[int, Callable[[ServerConnection, Frame], None]]] = {
    MessageId.PING: ping,
    MessageId.SET_KEEP_ALIVE: set_keep_alive,
}
