"""The outputs of the log, put in place as the options of [log] and [log-extended] say, and changed while they are used.

The library logs through `logging`; a record that has a published event number carries it as ``extra={"event": 4504}``.
The five levels of the field are numbers of `logging`, so that embedders who configure nothing see sensible names.
Each output has a thread of its own (`csproxy.daemon.log_writer`): logging never waits.

Source of levels and options: the vendor's common log options.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from csproxy.core.log_events import LEVELS
from csproxy.daemon.log_files import FilePolicy, SegmentedFile
from csproxy.daemon.log_format import EventFormatter, JsonFormatter, LineFormatter, StatisticsFormatter, line_time
from csproxy.daemon.log_memory import MemoryOutput
from csproxy.daemon.log_network import NetworkOutput
from csproxy.daemon.log_writer import DescriptorOutput, EventHandler, Output, OutputThread
from csproxy.errors import ConfigurationError

__all__ = [
    "ALARM",
    "DEBUG",
    "INTERACTION",
    "STANDARD",
    "TRACE",
    "LogOutputs",
    "LogSettings",
    "statistics_path",
    "verbosity_level",
]

ALARM: Final = LEVELS["alarm"]
STANDARD: Final = LEVELS["standard"]
INTERACTION: Final = LEVELS["interaction"]
TRACE: Final = LEVELS["trace"]
DEBUG: Final = LEVELS["debug"]

_VERBOSITY: Final = {"all": 1, **LEVELS, "none": ALARM + 1}
_DESCRIPTORS: Final = {"stdout": 1, "stderr": 2}
_CLOSE_S: Final = 2.0
_log = logging.getLogger("csproxy.daemon.log")


def verbosity_level(name: str) -> int:
    """The least `logging` level that option ``verbose`` = ``name`` lets through."""
    return _VERBOSITY[name]


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What [log] and [log-extended] say. ``outputs``: level name → stdout, stderr, network, memory or file paths.

    ``reassigned`` has other levels for events by number (None: not logged). ``memory``: file and size in bytes.
    ``network``: host and port of the collector.
    """

    verbose: str = "standard"
    outputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    application: str = "confserv"
    is_json: bool = False
    is_full: bool = False
    time_format: str = "time"
    utc: bool = False
    buffering: bool = True
    files: FilePolicy = field(default_factory=FilePolicy)
    memory: tuple[str, int] = ("", 2 * 1024 * 1024)
    network: tuple[str, int] | None = None
    reassigned: Mapping[int, int | None] = field(default_factory=dict)

    def formatter(self) -> LineFormatter:
        """What makes lines of events."""
        host = socket.gethostname()
        if self.is_json:
            return JsonFormatter(host=host, application=self.application, utc=self.utc)
        full = (host, self.application) if self.is_full else None
        return EventFormatter(line_time(self.time_format, utc=self.utc), full=full)


class LogOutputs:
    """The outputs of the root logger, changed as a whole when the options change.

    An output named for a level takes the events of that level and of those above it.
    """

    def __init__(self) -> None:
        self._threads: dict[str, OutputThread] = {}
        self._ending: list[OutputThread] = []
        self._statistics: OutputThread | None = None
        self._standard_output: OutputThread | None = None
        self._settings = LogSettings()
        self._handler = EventHandler((), least=ALARM + 1, reassigned={})

    def __repr__(self) -> str:
        return f"<LogOutputs {', '.join(self._threads) or 'none'}>"

    def apply(self, settings: LogSettings) -> None:
        """Put these outputs in the place of the present ones; those that stay go on with the new settings.

        Raises `ConfigurationError` when one cannot be opened; nothing has changed then.
        """
        levels: dict[str, int] = {}
        for level, targets in settings.outputs.items():
            for target in targets:
                levels[target] = min(levels.get(target, ALARM), verbosity_level(level))
        if "network" in levels:  # as the vendor's
            levels["network"] = max(levels["network"], TRACE)
        opened = self._open_new(levels, settings)
        gone = [self._threads.pop(target) for target in list(self._threads) if target not in levels]
        for target, output in opened.items():
            if target in self._threads:
                gone.append(self._threads.pop(target))
            output.formatter = settings.formatter()
            output.level = levels[target]
            self._threads[target] = OutputThread(output, self._tell_problem)
        for target, thread in self._threads.items():
            if target not in opened:
                thread.change(levels[target], _changed(thread.output, levels[target], settings))
        self._settings = settings
        root = logging.getLogger()
        self._handler.reassigned = settings.reassigned
        self._handler.least = verbosity_level(settings.verbose)
        self._handler.threads = tuple(self._threads.values())
        if self._handler not in root.handlers:
            root.addHandler(self._handler)
        # an event that another level lifts must get as far as the handler
        lifted = any(level is not None and level >= self._handler.least for level in settings.reassigned.values())
        root.setLevel(1 if lifted else self._handler.least)
        for thread in gone:
            thread.end()
        self._ending = [thread for thread in (*self._ending, *gone) if thread.is_running]
        for target in opened:
            _log.log(TRACE, "log output %s is open, from level %s up", target, _name(levels[target]), extra=_OPENED)

    def print(self, line: str) -> None:
        """Write a line to standard output, after the events that wait for it where it is an output; never waits."""
        thread = self._threads.get("stdout") or self._standard_output
        if thread is None:
            thread = self._standard_output = OutputThread(_open("stdout", self._settings), self._tell_problem)
        thread.print(line)

    def write_statistics(self, values: Mapping[str, Any]) -> None:
        """Write a line to the statistics file, which is beside the log file that takes most; never waits."""
        path = statistics_path(self._settings)
        thread = self._statistics
        if thread is None or thread.output.name != str(path):
            self._end_statistics()
            try:
                output = SegmentedFile(path, replace(self._settings.files, startup_bytes=None))
            except OSError as e:
                _log.warning("statistics file %s cannot be opened: %s", path, e.strerror, extra={"event": 31010})
                return
            output.formatter = StatisticsFormatter(utc=self._settings.utc)
            thread = self._statistics = OutputThread(output, self._tell_problem)
        thread.put(logging.makeLogRecord({"name": _log.name, "levelno": STANDARD, "statistics": values}))

    def _end_statistics(self) -> None:
        thread, self._statistics = self._statistics, None
        if thread is not None:
            thread.end()
            self._ending.append(thread)

    def close(self) -> None:
        """Write what waits, for two seconds at most, and take away all outputs."""
        logging.getLogger().removeHandler(self._handler)
        threads, self._threads = list(self._threads.values()), {}
        self._handler.threads = ()
        for thread in threads:
            thread.end()
        self._end_statistics()
        if self._standard_output is not None:
            self._standard_output.end()
            threads.append(self._standard_output)
        threads += self._ending
        until_s = time.monotonic() + _CLOSE_S
        for thread in threads:
            thread.join(max(until_s - time.monotonic(), 0.0))

    def _open_new(self, levels: Mapping[str, int], settings: LogSettings) -> dict[str, Output]:
        opened: dict[str, Output] = {}
        try:
            for target in levels:
                thread = self._threads.get(target)
                if thread is None or _is_other(thread.output, settings):
                    opened[target] = _open(target, settings)
        except OSError as e:
            for output in opened.values():
                output.close()
            raise ConfigurationError(f"log output {e.filename or target} cannot be opened: {e.strerror or e}") from e
        return opened

    def _tell_problem(self, output: Output) -> None:
        """Called by the thread of an output that cannot be written any more."""
        _log.warning("log output %s cannot be written: %s", output.name, output.problem, extra={"event": 31010})


_OPENED: Final = {"event": 4112}


def statistics_path(settings: LogSettings) -> Path:
    """``all.log`` → ``all_stat.log``; without a log file in the working directory, named after the application."""
    for level in ("all", "debug", "trace", "interaction", "standard", "alarm"):
        for target in settings.outputs.get(level, ()):
            if target not in (*_DESCRIPTORS, "memory", "network"):
                path = Path(target)
                return path.with_name(f"{path.stem}_stat{path.suffix}")
    return Path(f"{settings.application.replace('/', '_')}_stat.log")


def _name(level: int) -> str:
    return next(name for name, number in _VERBOSITY.items() if number == level)


def _is_other(output: Output, settings: LogSettings) -> bool:
    """Whether an output has to be made anew for these settings."""
    if isinstance(output, NetworkOutput):
        return settings.network != output.address
    if isinstance(output, MemoryOutput):
        return (_memory_path(settings), settings.memory[1]) != (output.path, output.size_bytes)
    return False


def _changed(output: Output, level: int, settings: LogSettings) -> Callable[[], None]:
    """What the thread of an output does to go on with other settings."""

    def change() -> None:
        output.level = level
        output.formatter = settings.formatter()
        if isinstance(output, SegmentedFile):
            output.policy = settings.files
        if isinstance(output, DescriptorOutput):
            output.batches = settings.buffering

    return change


def _open(target: str, settings: LogSettings) -> Output:
    if target in _DESCRIPTORS:
        output: Output = DescriptorOutput(target, _DESCRIPTORS[target], encoding=getattr(sys, target).encoding)
        output.batches = settings.buffering
        return output
    if target == "memory":
        return MemoryOutput(_memory_path(settings), settings.memory[1])
    if target == "network":
        if settings.network is None:
            raise OSError(0, "it needs the option network-address of [log]", "network")
        return NetworkOutput(*settings.network, names=(socket.gethostname(), settings.application))
    return SegmentedFile(Path(target), settings.files)


def _memory_path(settings: LogSettings) -> Path:
    return Path(settings.memory[0] or f"{settings.application.replace('/', '_')}.memory.log")
