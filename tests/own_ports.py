"""Ports for servers that tests start: never given twice.

A port that the kernel chose is free again as soon as its server is killed. Another test's server would
take it, and proxies and clients that come back would follow a stranger.
"""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

__all__ = ["free_ports"]

_FIRST: Final = 10_000
_PER_PROCESS: Final = 2_000
_PROCESSES: Final = 11
"""Below 32768, where the ports begin that the kernel gives to clients."""

_numbers = itertools.cycle(range(_PER_PROCESS))


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses now, and that nobody else among these tests will."""
    found: list[int] = []
    start = _FIRST + os.getpid() % _PROCESSES * _PER_PROCESS
    while len(found) < count:
        port = start + next(_numbers)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
