"""TLS over any channel: `TlsChannel` is a channel to its owner and the receiver of the channel beneath.

It works on asyncio, uvloop and trio alike, and over simulated networks, because it knows only the interface. All the
TLS is in `csproxy.transport.tls_engine`.
"""

from __future__ import annotations

import errno
import logging
from typing import Final

import anyio

from csproxy.errors import TlsError
from csproxy.transport.blocking import run_in_background
from csproxy.transport.channel import Channel, PeerCertificate, Receiver
from csproxy.transport.tls_engine import TlsEngine, TlsState
from csproxy.transport.turns import call_soon

__all__ = ["HANDSHAKE_TIMEOUT_S", "TlsChannel", "secure"]

HANDSHAKE_TIMEOUT_S: Final = 10.0
"""Seconds that a handshake may take."""

_log = logging.getLogger("csproxy.channel")


async def secure(channel: Channel, engine: TlsEngine, *, timeout_s: float = HANDSHAKE_TIMEOUT_S) -> TlsChannel:
    """Do the handshake on a channel that is not started, and return the secure channel, not started either.

    Raises `TlsError` that names the peer and says what is wrong. Then, or if cancelled, ``channel`` is closed; a
    peer whose handshake was refused has been told by an alert.
    """
    tls = TlsChannel(channel, engine)
    try:
        with anyio.fail_after(timeout_s):
            await tls.shake_hands()
    except TimeoutError as e:
        channel.close(flush=False)
        raise TlsError(f"{channel.peer}: the TLS handshake was not finished within {timeout_s:g} s") from e
    except TlsError:
        channel.close()
        raise
    except BaseException:
        channel.close(flush=False)
        raise
    return tls


class TlsChannel(Channel):
    """A secure channel over ``inner``, which it owns; made by `secure`.

    The peer's close_notify is to its owner what the end of a plain connection is. A connection that ends without one
    was cut, by the peer or by somebody between, and `Receiver.closed` gets an error.
    """

    __slots__ = (
        "_arrived",
        "_engine",
        "_failure",
        "_held",
        "_inner",
        "_is_closing",
        "_is_lost",
        "_is_paused",
        "_receiver",
    )

    def __init__(self, inner: Channel, engine: TlsEngine) -> None:
        self._inner = inner
        self._engine = engine
        self._receiver: Receiver | None = None
        self._arrived: anyio.Event | None = None
        """During the handshake: set when the peer has said something, or has gone."""
        self._held = b""
        """Plain bytes for which there is no receiver yet; during the handshake encrypted ones."""
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        state = "closed" if self._is_lost else "closing" if self._is_closing else "open"
        return f"<TlsChannel {self.peer} {self._engine.version} {state}>"

    async def shake_hands(self) -> None:
        """Start ``inner`` and wait until the handshake is finished. Raises `TlsError`.

        What has to be computed for the peer's messages is computed in the background: it takes some tenths of a
        millisecond, in which the event loop serves others.
        """
        self._arrived = anyio.Event()
        self._inner.start(self)
        plain = self._take(b"")
        while self._engine.state is TlsState.HANDSHAKE and (self._held or not self._is_lost):
            if not self._held:
                self._arrived = anyio.Event()
                self._inner.resume()
                await self._arrived.wait()
            encrypted, self._held = self._held, b""
            plain = await self._take_in_background(encrypted)
        self._arrived = None
        encrypted, self._held = self._held, plain
        if self._engine.state in (TlsState.HANDSHAKE, TlsState.FAILED):
            why = self._failure or "the connection ended during the TLS handshake"
            code = self._failure.verify_code if isinstance(self._failure, TlsError) else 0
            raise TlsError(f"{self.peer}: {why}", verify_code=code) from self._failure
        self.receive(encrypted)

    # called by the owner

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver to ``receiver``; what arrived before, the connection's end included, is not lost."""
        self._receiver = receiver
        self._release()

    def write(self, data: bytes) -> None:
        """Encrypt and queue ``data``; dropped silently once the channel is closed."""
        if not self._is_closing and data:
            self._inner.write(self._engine.encrypt(data))

    def write_soon(self, data: bytes) -> None:
        """As `write`, at the end of the turn if the inner channel does that."""
        if not self._is_closing and data:
            self._inner.write_soon(self._engine.encrypt(data))

    @property
    def pending_bytes(self) -> int:
        """Encrypted bytes queued in user space."""
        return self._inner.pending_bytes

    def pause(self) -> None:
        """Stop reading from the peer; idempotent."""
        self._is_paused = True
        self._inner.pause()

    def resume(self) -> None:
        """Read again; idempotent."""
        self._is_paused = False
        self._release()

    def close(self, *, flush: bool = True) -> None:
        """Close after the queued bytes and a close_notify are sent, or at once without ``flush``; idempotent."""
        self._held = b""
        if flush and not self._is_closing:
            self._engine.close()
            if self._engine.has_data_to_send:
                self._inner.write(self._engine.data_to_send())
        self._is_closing = True
        self._inner.close(flush=flush)

    @property
    def peer(self) -> str:
        """The peer's address for logs."""
        return self._inner.peer

    @property
    def is_secure(self) -> bool:
        """True."""
        return True

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """The verified certificate of the peer, if it has shown one."""
        return self._engine.peer_certificate()

    # called by the inner channel

    def receive(self, data: bytes) -> None:
        """Encrypted bytes arrived."""
        if self._arrived is not None:
            self._held += data
            self._inner.pause()  # until they are taken; at the end of the handshake, until there is a receiver
            self._arrived.set()
            return
        plain = self._take(data)
        if plain:
            if self._receiver is None or self._held or self._is_paused:
                self._held += plain
            else:
                self._receiver.receive(plain)
        if self._engine.state is TlsState.ENDED and not self._held:
            self.close()

    def writable(self) -> None:
        """The inner channel has room again."""
        if self._receiver is not None and not self._is_closing:
            self._receiver.writable()

    def closed(self, error: Exception | None) -> None:
        """The inner channel has ended."""
        self._is_lost = True
        if self._failure is None:
            self._failure = error
        if self._failure is None and not self._is_closing and self._engine.state is TlsState.OPEN:
            self._failure = ConnectionAbortedError(
                errno.ECONNABORTED, "the connection was cut: the peer had not said that it ends (no close_notify)"
            )
        self._is_closing = True
        if self._arrived is not None:
            self._arrived.set()
        # held bytes go first, unless nobody wants them: a paused receiver must hear of the end, too
        if self._receiver is not None and (self._is_paused or not self._held):
            self._tell_closed(self._receiver)

    # inside

    def _take(self, data: bytes) -> bytes:
        """Let the engine have ``data`` and send what it has to say; a failure closes the channel."""
        try:
            return self._engine.receive_data(data)
        except TlsError as e:
            self._failure = e
            return b""
        finally:
            self._say()

    async def _take_in_background(self, data: bytes) -> bytes:
        """As `_take`."""
        try:
            return await run_in_background(self._engine.receive_data, data)
        except TlsError as e:
            self._failure = e
            return b""
        finally:
            self._say()

    def _say(self) -> None:
        if self._engine.has_data_to_send:
            self._inner.write(self._engine.data_to_send())
        if self._engine.state is TlsState.FAILED:
            self._is_closing = True
            self._inner.close()

    def _release(self) -> None:
        if self._receiver is None or self._is_paused:
            return
        if self._held or self._is_lost:
            call_soon(self._deliver_held)
        else:
            self._inner.resume()

    def _deliver_held(self) -> None:
        receiver = self._receiver
        if receiver is None or self._is_paused:
            return
        if self._held:
            data, self._held = self._held, b""
            try:
                receiver.receive(data)
            except Exception as error:  # noqa: BLE001 - the connection's boundary
                _log.exception("%r: the receiver failed; the connection is closed", self, extra={"event": 31090})
                self._failure = self._failure or error
                self.close(flush=False)
        if self._is_lost:
            self._tell_closed(receiver)
        elif self._engine.state is TlsState.ENDED:
            self.close()
        elif not self._is_paused:
            self._inner.resume()

    def _tell_closed(self, receiver: Receiver) -> None:
        self._receiver = None  # closed() comes once, and the reference cycle ends here
        try:
            receiver.closed(self._failure)
        except Exception:  # noqa: BLE001 - the connection's boundary
            _log.exception("%r: the receiver failed when it was told of the end", self, extra={"event": 31090})
