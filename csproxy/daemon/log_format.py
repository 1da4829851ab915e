"""One line per event: the field's two forms of text, and JSON.

Text: ``HH:MM:SS.mmm Std 04504 text`` (short), ``HH:MM:SS.mmm Standard HOST APPLICATION GCTI-00-04504 text`` (full).
A line break inside a text is escaped: a client could forge log lines through a name of its own.
"""

from __future__ import annotations

import json
import locale
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from csproxy.core.log_events import LEVELS, event_number, find_event

__all__ = [
    "EventFormatter",
    "JsonFormatter",
    "LineFormatter",
    "StatisticsFormatter",
    "event_id",
    "level_name",
    "line_time",
]

_SHORT: Final = {"alarm": "Alr", "standard": "Std", "interaction": "Int", "trace": "Trc", "debug": "Dbg"}
_DESCENDING: Final = tuple(sorted(LEVELS.items(), key=lambda each: -each[1]))
_PATTERNS: Final = {"time": "%H:%M:%S", "locale": "%x %X", "iso8601": "%Y-%m-%dT%H:%M:%S"}
_SEVERITIES: Final = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "event"}
"""What every record has: anything else was given as ``extra``."""


def level_name(level: int) -> str:
    """The field's name of a level: that of the highest one that it reaches."""
    return next((name for name, least in _DESCENDING if level >= least), "debug")


def event_id(value: object) -> str | None:
    """``00-04504`` for what a record carries as its event; None if that is no number."""
    number = event_number(value)
    if number is None:
        return None
    known = find_event(number)
    return known.id if known is not None else f"{str(value).rpartition('-')[0] or '00'}-{number:05d}"


def line_time(style: str = "time", *, utc: bool = False) -> Callable[[float], str]:
    """A function from seconds since the epoch to the text of a time with milliseconds.

    ``style`` is ``time``, ``locale`` or ``iso8601``. The text of a second is kept for the events of the same second.
    """
    pattern = _PATTERNS[style]
    if style == "locale":
        locale.setlocale(locale.LC_TIME, "")
    parts = time.gmtime if utc else time.localtime
    second, text = -1, ""

    def shown(at_s: float) -> str:
        nonlocal second, text
        ms = int(at_s * 1000)
        if ms // 1000 != second:
            second = ms // 1000
            text = time.strftime(pattern, parts(second))
        return f"{text}.{ms % 1000:03d}"

    return shown


class LineFormatter(logging.Formatter):
    """Formats a record as one line, without its end."""


class EventFormatter(LineFormatter):
    """A line of text; an exception's traceback follows on lines of its own."""

    def __init__(self, at: Callable[[float], str] | None = None, *, full: tuple[str, str] | None = None) -> None:
        """``at`` shows the time (HH:MM:SS.mmm); ``full`` are host and application, for the full form."""
        super().__init__()
        self._at = at or line_time()
        self._full = full

    def format(self, record: logging.LogRecord) -> str:
        """Build the line; a record without an event number shows ``-----`` in its place."""
        level = level_name(record.levelno)
        id = event_id(getattr(record, "event", None))
        if self._full is None:
            head = f"{_SHORT[level]} {'-----' if id is None else id[-5:]}"
        else:
            head = f"{level.capitalize()} {' '.join(self._full)} {'-----' if id is None else f'GCTI-{id}'}"
        text = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{self._at(record.created)} {head} {text}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(LineFormatter):
    """One JSON object: time, level, severity, event, logger, host, application, text, and fields and exception if any.

    ``severity`` is that of Python's `logging`, which tells warnings and errors from other Standard events; ``event``
    is null for an event without a number.
    """

    def __init__(self, *, host: str, application: str, utc: bool = False) -> None:
        super().__init__()
        self._host, self._application = host, application
        self._utc = utc

    def format(self, record: logging.LogRecord) -> str:
        """Build the line."""
        document: dict[str, Any] = {
            "time": _iso(record.created, utc=self._utc),
            "level": level_name(record.levelno),
            "severity": next((name for least, name in _SEVERITIES if record.levelno >= least), "debug"),
            "event": event_id(getattr(record, "event", None)),
            "logger": record.name,
            "host": self._host,
            "application": self._application,
            "text": record.getMessage(),
        }
        fields = {name: value for name, value in vars(record).items() if name not in _OWN}
        if fields:
            document["fields"] = fields
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False, default=str, separators=(",", ":"))


class StatisticsFormatter(LineFormatter):
    """One JSON object: time, and what the record has as ``statistics``; its text if it has none."""

    def __init__(self, *, utc: bool = False) -> None:
        super().__init__()
        self._utc = utc

    def format(self, record: logging.LogRecord) -> str:
        """Build the line."""
        found = getattr(record, "statistics", None) or {"text": record.getMessage()}
        document = {"time": _iso(record.created, utc=self._utc), **found}
        return json.dumps(document, ensure_ascii=False, default=str, separators=(",", ":"))


def _iso(at_s: float, *, utc: bool) -> str:
    moment = datetime.fromtimestamp(at_s, UTC)
    return (moment if utc else moment.astimezone()).isoformat(timespec="milliseconds")
