"""What all TCP sockets of csproxy have in common."""

from __future__ import annotations

import socket
from typing import Any, Final

__all__ = ["UNSENT_BYTES", "bound_kernel_queue", "notice_dead_peers", "peer_name"]

UNSENT_BYTES: Final = 64 * 1024
"""Bytes that the kernel takes beyond those already on their way to the peer."""


def bound_kernel_queue(sock: Any) -> None:
    """Keep the kernel's share of a slow peer's backlog small, so that the channel notices it early.

    Without a bound the kernel grows its send buffer to 4 MB per connection before it refuses a
    byte. ``TCP_NOTSENT_LOWAT`` bounds only what is not yet sent, so a fast but distant peer keeps
    its full window; set on a listening socket, accepted ones inherit it. Where the option does not
    exist, the send buffer's size is fixed instead. ``sock`` is a socket or what a transport gives.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * UNSENT_BYTES)


def notice_dead_peers(sock: Any) -> None:
    """Let the kernel end a connection whose peer's host is gone: 30 s after it fell silent, or after unanswered data.

    A host that loses power sends nothing. Its session would stay connected, and a daemon that may be
    connected only once could not come back. Inherited by accepted sockets. Linux only; elsewhere
    the system's own keep-alive applies.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def peer_name(address: object) -> str:
    """Write a socket address for logs: ``127.0.0.1:2020``, ``[::1]:2020``, or ``unknown``."""
    if not isinstance(address, tuple) or len(address) < 2:
        return "unknown"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
