"""What a run changes around the product: thresholds, and where its log goes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from csproxy.testing import memory_channel
from csproxy.transport import channel, connection, fanout, server_connection


@contextmanager
def full_at(high_water_bytes: int) -> Iterator[None]:
    """Let channels count as full earlier than they do: in a short run little else is parked."""
    with ExitStack() as stack:
        for module in (channel, connection, fanout, memory_channel, server_connection):
            stack.enter_context(mock.patch.object(module, "HIGH_WATER_BYTES", high_water_bytes))
        stack.enter_context(mock.patch.object(memory_channel, "LOW_WATER_BYTES", high_water_bytes // 4))
        yield


_MAY_HAPPEN = "the history log could not be written"
"""An error that a disk in trouble causes: a change goes before its record in the history log."""


class LoggedErrors(logging.Handler):
    """Collects what csproxy logs as an error: in a simulation nothing may go wrong inside."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith(_MAY_HAPPEN):
            return
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self.texts.append(text)

    def __enter__(self) -> LoggedErrors:
        self._logger = logging.getLogger("csproxy")
        self._before = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._before
