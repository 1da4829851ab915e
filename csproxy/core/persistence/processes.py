"""Which process has a database, so that nobody waits for one that has died on the same machine.

A process is named by the boot of its kernel, its namespace of process numbers, its number and the time
of its start: no other process ever has this name. Whoever is not of the same boot and namespace, or has
no ``/proc``, knows nothing about it and must wait for the lease to run out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["is_alive", "own_process"]

_PROC: Final = Path("/proc")
_STATE, _START = 0, 19  # fields of /proc/PID/stat behind the name in brackets


def own_process() -> str:
    """The name of this process; empty where the system does not tell."""
    found = _started(os.getpid())
    return f"{_world()} {os.getpid()} {found}" if found else ""


def is_alive(process: str) -> bool | None:
    """Whether the process of that name lives; None: cannot be known here."""
    world, number, started = ([*process.split(" "), "", ""])[:3]
    if not number.isdigit() or world != _world():
        return None
    return _started(int(number)) == started


def _world() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _started(number: int) -> str:
    """The time of a living process's start; empty for one that is gone or waits to be buried."""
    try:
        fields = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[_STATE] in "ZX" else fields[_START]
