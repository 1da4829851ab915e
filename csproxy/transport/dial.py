"""Connecting to a server: the connector that programs use when they name none."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Final

import anyio
from anyio.abc import SocketAttribute, SocketStream

from csproxy.errors import ConnectionLostError, ErrorCode, NothingListensError
from csproxy.transport.channel import Channel
from csproxy.transport.protocol_channel import ProtocolChannel
from csproxy.transport.sockets import bound_kernel_queue, notice_dead_peers
from csproxy.transport.stream_channel import RunTasks, StreamChannel

__all__ = ["CONNECT_TIMEOUT_S", "connect_tcp"]

CONNECT_TIMEOUT_S: Final = 10.0
"""Seconds that name look-up and connecting may take together."""


async def connect_tcp(
    host: str, port: int, *, local: tuple[str, int] | None = None, timeout_s: float = CONNECT_TIMEOUT_S
) -> Channel:
    """Connect to ``host`` and ``port``; ``local`` is the address (port 0 for any) to connect from.

    The channel is not yet started; whoever receives it closes it. Raises `ConnectionLostError` with
    code SERVER_NOT_FOUND, naming host and port, when the name is unknown, nothing listens there (`NothingListensError`
    if the machine says so) or ``timeout_s`` passes. Cancellation leaves nothing behind.
    """
    try:
        with anyio.fail_after(timeout_s):
            if asyncio._get_running_loop() is not None:
                return await _connect_protocol(host, port, local)
            return await _connect_stream(host, port, local)
    except TimeoutError as error:
        # the kernel's own time-out (ETIMEDOUT) is a TimeoutError, too
        raise _not_found(host, port, f"no answer within {timeout_s:g} s") from error
    except (OSError, UnicodeError, OverflowError) as error:
        kind = NothingListensError if isinstance(error, ConnectionRefusedError) else ConnectionLostError
        raise _not_found(host, port, _reason(error), kind) from error


def _not_found(
    host: str, port: int, reason: str, kind: type[ConnectionLostError] = ConnectionLostError
) -> ConnectionLostError:
    return kind(f"cannot connect to {host}:{port}: {reason}", code=ErrorCode.SERVER_NOT_FOUND)


def _reason(error: OSError | UnicodeError | OverflowError) -> str:
    """In words, without numbers of the system and of asyncio's own making."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno and text.startswith("Connect call failed"):
        return os.strerror(error.errno)
    return text


async def _connect_protocol(host: str, port: int, local: tuple[str, int] | None) -> Channel:
    loop = asyncio.get_running_loop()
    if local is not None and local[1]:
        made = await loop.create_connection(ProtocolChannel, sock=await _connect_from(host, port, local))
    else:
        made = await loop.create_connection(ProtocolChannel, host, port, local_addr=local)
    transport, channel = made
    bound_kernel_queue(transport.get_extra_info("socket"))
    notice_dead_peers(transport.get_extra_info("socket"))
    return channel


async def _connect_stream(host: str, port: int, local: tuple[str, int] | None) -> Channel:
    if local is not None and local[1]:
        stream = await SocketStream.from_socket(await _connect_from(host, port, local))
    else:
        stream = await anyio.connect_tcp(host, port, local_host=None if local is None else local[0])
    bound_kernel_queue(stream.extra(SocketAttribute.raw_socket))
    notice_dead_peers(stream.extra(SocketAttribute.raw_socket))
    return StreamChannel(stream, RunTasks())


async def _connect_from(host: str, port: int, local: tuple[str, int]) -> socket.socket:
    """Connect from a fixed port, which the connection before may still hold: asyncio and anyio cannot reuse it."""
    failure = OSError("the name has no address")
    for family, _, _, _, address in await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(local)
            error = sock.connect_ex(address)
            if error == errno.EINPROGRESS:
                await anyio.wait_writable(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, f"from {local[0]}:{local[1]}: {os.strerror(error)}")
        except OSError as e:
            sock.close()
            failure = e
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure
