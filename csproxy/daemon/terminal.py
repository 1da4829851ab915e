"""Standard streams of the programs: input is UTF-8, and output shows every text whatever the terminal's encoding.

Programs and files speak UTF-8, whatever LANG says. A terminal that does not gets what it cannot show as ``\\u4e2d``
and is never a reason to fail. Kept apart because both programs begin with it, before anything heavy is imported.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Final

__all__ = ["prepare_streams", "shown", "speaks_utf8"]


_STREAMS: Final = {"stdin": os.O_RDONLY, "stdout": os.O_WRONLY, "stderr": os.O_WRONLY}


def prepare_streams() -> None:
    """Called once, before anything is read or written or opened."""
    _open_closed_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")


def _open_closed_descriptors() -> None:
    """Descriptors 0 to 2 that the caller has closed: the next file or socket would get their numbers, and our lines."""
    for number, (name, mode) in enumerate(_STREAMS.items()):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, mode)  # it gets the lowest number that is free: this one
            setattr(sys, name, open(descriptor, "r" if mode == os.O_RDONLY else "w", encoding="utf-8"))  # noqa: SIM115


def speaks_utf8() -> bool:
    """Whether standard output takes every character."""
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "").replace("_", "") == "utf8"


def shown(text: str) -> str:
    """The text as standard output will show it: what a table must measure."""
    if speaks_utf8() or text.isascii():
        return text
    return text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)
