"""A person at a terminal: a program on a pseudo terminal, what it shows, and what is typed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.daemon.servers import DEADLINE_S, tool_environment

_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|[()][A-Z0-9]|[=>]|\][^\x07]*\x07)")


class Terminal:
    """`csproxy` with these words on a terminal of its own; killed at the end whatever happened."""

    def __init__(self, *words: str, cwd: Path | None = None) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self._master = master
        self.process = subprocess.Popen(
            [sys.executable, "-m", "csproxy.daemon.tool", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            # a real terminal answers where its cursor is
            env=tool_environment() | {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self._poll = select.poll()
        self._poll.register(master, select.POLLIN)
        self._raw = b""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        os.close(self._master)

    @property
    def text(self) -> str:
        """Everything shown so far, without colours and movements of the cursor."""
        return _ESCAPE.sub("", self._raw.decode(errors="replace"))

    def shows(self, text: str) -> None:
        """Wait until the text is shown, after what was waited for before. Spaces at its end are but a moved cursor."""
        text = text.rstrip()
        until = time.monotonic() + DEADLINE_S
        while (found := self.text.find(text, self._seen)) < 0:
            assert self._read(until), (
                f"{text!r} was not shown after\n{self.text[: self._seen]}\n---\n{self.text[self._seen :]}"
            )
        self._seen = found + len(text)

    def answers(self, question: str, reply: str) -> None:
        """Wait for a question, type the reply and press Enter."""
        self.shows(question)
        self.types(f"{reply}\r")

    def types(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def ends(self) -> int:
        """Wait for the end; the exit status."""
        until = time.monotonic() + DEADLINE_S
        while self._read(until):
            pass
        return self.process.wait(DEADLINE_S)

    def _read(self, until: float) -> bool:
        if not self._poll.poll(max(until - time.monotonic(), 0) * 1000):
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self._raw += data
        return bool(data)
