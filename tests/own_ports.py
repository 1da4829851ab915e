"""Ports for servers that tests start: never given twice.

A port that the kernel chose is free again as soon as its server is killed. Another test's server would
take it, and proxies and clients that come back would follow a stranger. So each process that runs tests on this
machine has a range to itself, held by a locked file until it ends.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["free_ports"]

_FIRST: Final = 10_000
_PER_PROCESS: Final = 1_000
_PROCESSES: Final = 22
"""Below 32768, where the ports begin that the kernel gives to clients."""


@cache
def _numbers() -> Iterator[int]:
    for number in range(_PROCESSES):
        lock = Path(tempfile.gettempdir(), f"csproxy-tests-{os.getuid()}-ports-{number}.lock")
        held = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            continue
        first = _FIRST + number * _PER_PROCESS
        return itertools.cycle(range(first, first + _PER_PROCESS))
    raise RuntimeError(f"{_PROCESSES} processes run tests on this machine already: no range of ports is left")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses now, and that nobody else among these tests will."""
    found: list[int] = []
    while len(found) < count:
        port = next(_numbers())
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
