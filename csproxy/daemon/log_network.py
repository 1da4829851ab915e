"""The output network: events as syslog messages (RFC 5424) over TCP, with a length before each (RFC 6587).

The vendor's Message Server has a protocol that is not public; collectors of syslog are everywhere. A message that was
being sent when the connection broke is sent again: it may arrive twice.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from logging import LogRecord
from typing import Final

from csproxy.daemon.log_format import JsonFormatter, event_id, level_name
from csproxy.daemon.log_writer import Output

__all__ = ["NetworkOutput"]

_LOCAL0: Final = 16 * 8
_SEVERITIES: Final = ((50, 1), (40, 3), (30, 4), (20, 5), (15, 6))
"""Alarm: alert; then error, warning, notice (Standard), informational; below it debug."""
_TIMEOUT_S: Final = 3.0
_RETRY_S: Final = 5.0
_NOT_PRINTED: Final = re.compile(r"[^!-~]")


class NetworkOutput(Output):
    """Sends to ``host``:``port``; connects when there is something to send, and again after a loss."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        names: tuple[str, str],
        connect: Callable[..., socket.socket] = socket.create_connection,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``names`` are the names of this machine and of the application."""
        super().__init__("network")
        self.address = host, port
        self._names = " ".join(_NOT_PRINTED.sub("_", name) or "-" for name in names)
        self._connect = connect
        self._clock = clock
        self._socket: socket.socket | None = None
        self._retry_at_s = clock()
        self._reason = OSError("not connected yet")

    def frame(self, record: LogRecord, line: str) -> bytes:
        """As `Output.frame`: a syslog message with the event's number as its id and in its structured data."""
        severity = next((number for least, number in _SEVERITIES if record.levelno >= least), 7)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = event_id(getattr(record, "event", None)) or "-"
        data = f'[csproxy@32473 level="{level_name(record.levelno)}" logger="{_quoted(record.name)}"]'
        text = line if isinstance(self.formatter, JsonFormatter) else record.getMessage().replace("\n", "\\n")
        head = f"<{_LOCAL0 + severity}>1 {moment} {self._names} {os.getpid()} {event} {data} "
        message = (head + text).encode("utf-8", "backslashreplace")
        return b"%d %s" % (len(message), message)

    def write(self, data: bytes) -> int:
        """As `Output.write`."""
        if self._socket is None:
            self._reach()
        assert self._socket is not None
        try:
            if self._is_closed():
                raise ConnectionResetError("the collector has closed the connection")
            self._socket.sendall(data)
        except OSError as e:
            self._drop(e)
            raise
        return len(data)

    def close(self) -> None:
        """As `Output.close`."""
        super().close()
        if self._socket is not None:
            self._socket.close()

    def _reach(self) -> None:
        if self._clock() < self._retry_at_s:
            raise self._reason
        try:
            self._socket = self._connect(self.address, _TIMEOUT_S)
            self._socket.settimeout(_TIMEOUT_S)
        except OSError as e:
            self._drop(e)
            raise

    def _drop(self, reason: OSError) -> None:
        with suppress(OSError):
            if self._socket is not None:
                self._socket.close()
        self._socket = None
        self._reason = reason
        self._retry_at_s = self._clock() + _RETRY_S

    def _is_closed(self) -> bool:
        """Whether the collector has gone: it never says anything, so only an end can be read."""
        assert self._socket is not None
        self._socket.setblocking(False)
        try:
            return self._socket.recv(4096) == b""
        except BlockingIOError:
            return False
        finally:
            self._socket.settimeout(_TIMEOUT_S)


def _quoted(text: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", text)
