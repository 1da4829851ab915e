"""Log lines in the field's form: ``HH:MM:SS.mmm Std 04504 text``.

The library logs through `logging`; a record that has a published event number carries it as
``extra={"event": "04504"}`` (or ``"00-04504"``: the first part names the component and is not
printed in this form). The five levels of the field are numbers of `logging`, so that embedders
who configure nothing see sensible names.

Source of levels and line form: the vendor's [log] options and event list.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from csproxy.daemon.log_writer import BackgroundWriter, DescriptorHandler
from csproxy.errors import ConfigurationError

__all__ = ["ALARM", "DEBUG", "INTERACTION", "STANDARD", "TRACE", "EventFormatter", "LogOutputs", "verbosity_level"]

ALARM: Final = logging.CRITICAL
STANDARD: Final = logging.INFO
INTERACTION: Final = 17
TRACE: Final = 15
DEBUG: Final = logging.DEBUG

_LEVELS: Final = {
    "all": 1,
    "debug": DEBUG,
    "trace": TRACE,
    "interaction": INTERACTION,
    "standard": STANDARD,
    "alarm": ALARM,
    "none": ALARM + 1,
}
_DESCRIPTORS: Final = {"stdout": 1, "stderr": 2}
_NAMES: Final = ((ALARM, "Alr"), (STANDARD, "Std"), (INTERACTION, "Int"), (TRACE, "Trc"))


def verbosity_level(name: str) -> int:
    """The least `logging` level that option ``verbose`` = ``name`` lets through."""
    return _LEVELS[name]


class EventFormatter(logging.Formatter):
    """One line per event; an exception's traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Build the line; a record without an event number shows ``-----`` in its place."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        event = str(getattr(record, "event", "-----")).rpartition("-")[2] or "-----"
        # A line break inside a text would let a client forge log lines through a name of its own.
        text = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{clock}.{int(record.msecs):03d} {_short_name(record.levelno)} {event:0>5} {text}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _short_name(level: int) -> str:
    for least, name in _NAMES:
        if level >= least:
            return name
    return "Dbg"


class LogOutputs:
    """The outputs of the root logger, changed as a whole when the [log] options change.

    An output named for a level takes the events of that level and of those above it. Events are
    written by a thread (`csproxy.daemon.log_writer`): logging never waits.
    """

    def __init__(self) -> None:
        self._writer: BackgroundWriter | None = None

    def apply(self, verbose: str, outputs: Mapping[str, Sequence[str]]) -> None:
        """Put ``outputs`` (level name → stdout, stderr or file paths) in the place of the present ones.

        Raises `ConfigurationError` when a file cannot be opened; the present outputs then stay.
        """
        least: dict[str, int] = {}
        for level, targets in outputs.items():
            for target in targets:
                least[target] = min(least.get(target, ALARM), _LEVELS[level])
        opened: list[logging.Handler] = []
        try:
            for target, level_number in least.items():
                handler = _open(target)
                handler.setLevel(level_number)
                handler.setFormatter(EventFormatter())
                opened.append(handler)
        except OSError as e:
            for handler in opened:
                handler.close()
            raise ConfigurationError(f"log output {e.filename} cannot be opened: {e.strerror}") from e
        self.close()
        root = logging.getLogger()
        self._writer = BackgroundWriter(opened)
        root.addHandler(self._writer)
        root.setLevel(verbosity_level(verbose))

    def close(self) -> None:
        """Write what waits, for two seconds at most, and take away all outputs."""
        writer, self._writer = self._writer, None
        if writer is not None:
            logging.getLogger().removeHandler(writer)
            writer.end()


def _open(target: str) -> logging.Handler:
    if target in _DESCRIPTORS:
        return DescriptorHandler(_DESCRIPTORS[target])
    return logging.FileHandler(Path(target), encoding="utf-8", errors="backslashreplace")
