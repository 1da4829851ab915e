"""The options of logging: the sections [log] and [log-extended], and what the values of some of them mean.

Source of the rows: the vendor's common log options where ``origin`` is D; O is our own choice. How
the servers obey them: `csproxy.daemon.logs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from csproxy.core.log_events import event_number
from csproxy.core.option_values import Effect, Option, OptionValue, boolean, choice, integer

__all__ = [
    "LOG_EXTENDED",
    "LOG_OPTIONS",
    "LOG_OUTPUT_LEVELS",
    "REASSIGN",
    "VERBOSITIES",
    "Expiry",
    "SegmentLimit",
    "expiry",
    "reassigned_event",
    "segment_limit",
    "size_bytes",
]

VERBOSITIES: Final = ("all", "debug", "trace", "interaction", "standard", "alarm", "none")
LOG_OUTPUT_LEVELS: Final = ("all", "alarm", "standard", "interaction", "trace", "debug")
REASSIGN: Final = "level-reassign-"
"""What the names of the options begin with that give one event another level; the event's number follows."""

_AMOUNT: Final = re.compile(r"([1-9][0-9]{0,8})\s*([a-z]*)")
_KB: Final = {"": 1, "kb": 1, "mb": 1024}
_LEAST_KB: Final = 100
_MOST_KB: Final = 100_000 * 1024


class SegmentLimit(NamedTuple):
    """How large, or how old, a log file becomes before the next one begins; 0 for no limit."""

    bytes: int = 0
    seconds: int = 0


class Expiry(NamedTuple):
    """How many files of one log there may be, or how old they may become in days; 0 for no limit."""

    files: int = 0
    days: int = 0


def segment_limit(value: str) -> SegmentLimit:
    """What a value of ``segment`` says, as `Option.parse` returns it."""
    if value == "false":
        return SegmentLimit()
    if value.endswith("hr"):
        return SegmentLimit(seconds=int(value.split()[0]) * 3600)
    return SegmentLimit(bytes=size_bytes(value))


def size_bytes(value: str) -> int:
    """``100 KB``, ``2 MB`` in bytes."""
    number, unit = value.split()
    return int(number) * _KB[unit.lower()] * 1024


def expiry(value: str) -> Expiry:
    """What a value of ``expire`` says, as `Option.parse` returns it."""
    if value == "false":
        return Expiry()
    number, unit = value.split()
    return Expiry(days=int(number)) if unit == "day" else Expiry(files=int(number))


def reassigned_event(name: str) -> int | None:
    """The number of the event that an option ``level-reassign-EVENT`` is about; None for another option."""
    return event_number(name.removeprefix(REASSIGN)) if name.startswith(REASSIGN) else None


def _amount(text: str) -> tuple[int, str]:
    match = _AMOUNT.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(text)
    return int(match[1]), match[2]


def _size(text: str) -> OptionValue:
    number, unit = _amount(text)
    if unit not in _KB or not _LEAST_KB <= number * _KB[unit] <= _MOST_KB:
        raise ValueError(text)
    return f"{number} {unit.upper() or 'KB'}"


def _is_off(text: str) -> bool:
    return text.strip().lower() in ("false", "no", "off", "0")


def _segment(text: str) -> OptionValue:
    if _is_off(text):
        return "false"
    number, unit = _amount(text)
    if unit == "hr" and number <= 24 * 365:
        return f"{number} hr"
    return _size(text)


def _expire(text: str) -> OptionValue:
    if _is_off(text):
        return "false"
    number, unit = _amount(text)
    most = {"": 1000, "file": 1000, "day": 100}.get(unit, 0)
    if number > most:
        raise ValueError(text)
    return f"{number} {unit or 'file'}"


def _startup(text: str) -> OptionValue:
    if _is_off(text):
        return "false"
    return "true" if text.strip().lower() in ("true", "yes", "on") else _size(text)


def _outputs(text: str) -> OptionValue:
    """Log outputs, comma-separated."""
    targets = tuple(part.strip() for part in text.split(",") if part.strip())
    if not targets:
        raise ValueError(text)
    return targets


def _network_address(text: str) -> OptionValue:
    address = text.strip()
    host, separator, port = address.rpartition(":")
    if address and (not separator or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536):
        raise ValueError(text)
    return address


def _log(
    name: str,
    default: OptionValue,
    valid: str,
    parse: Callable[[str], OptionValue],
    origin: str,
    meaning: str,
    effect: Effect = Effect.IMMEDIATELY,
) -> Option:
    return Option(
        section="log",
        name=name,
        default=default,
        valid=valid,
        parse=parse,
        effect=effect,
        origin=origin,
        meaning=meaning,
    )


_OUTPUTS_VALID: Final = "stdout, stderr, network, memory, file paths, comma-separated"

LOG_OPTIONS: Final = (
    _log(
        "verbose",
        "standard",
        ", ".join(VERBOSITIES),
        choice(*VERBOSITIES),
        "D",
        "The lowest level of events that is logged.",
    ),
    *(
        _log(
            level,
            ("stdout",) if level == "all" else (),
            _OUTPUTS_VALID,
            _outputs,
            "D",
            "Where all events go." if level == "all" else f"Where {level} events go, and those of the levels above.",
        )
        for level in LOG_OUTPUT_LEVELS
    ),
    _log(
        "format",
        "text",
        "text, json",
        choice("text", "json"),
        "O",
        "Lines of text, or one JSON object per line, in every output.",
    ),
    _log(
        "message-format",
        "short",
        "short, full",
        choice("short", "full"),
        "D",
        "What a line of text begins with. short: time, level, number of the event. full: also host, application and "
        "the component of the event.",
    ),
    _log(
        "time-format",
        "time",
        "time, locale, ISO8601",
        choice("time", "locale", "iso8601"),
        "D",
        "The time of a line of text: HH:MM:SS.mmm, with the date in the form of the system's locale, or "
        "YYYY-MM-DDTHH:MM:SS.mmm. JSON always has the date and the difference to UTC.",
    ),
    _log("time-convert", "local", "local, utc", choice("local", "utc"), "D", "Local time, or UTC."),
    _log(
        "buffering",
        True,
        "true, false",
        boolean,
        "D",
        "Of stdout and stderr: whether lines that come at the same moment are written together. False: each by itself.",
    ),
    _log(
        "segment",
        "100 MB",
        "false (no limit), 100 KB to 100000 MB (a number alone is KB), 1 hr to 8760 hr",
        _segment,
        "D",
        "A log file that has become so large, or so old, is closed and gets a name with its time; the next one begins.",
    ),
    _log(
        "expire",
        "10 file",
        "false (never), 1 to 1000 file (a number alone means file), 1 to 100 day",
        _expire,
        "D",
        "How many files of one log are kept, the present one included, or for how many days. The oldest are deleted.",
    ),
    _log(
        "keep-startup-file",
        "false",
        "false, true (as large as a segment), 100 KB to 100000 MB",
        _startup,
        "D",
        "Whether the log of a start begins a file of its own, which does not expire before the next start. Needs "
        "segment.",
        Effect.RESTART,
    ),
    _log(
        "memory",
        "",
        "a file; empty for none",
        str.strip,
        "D",
        "The file to which the output memory writes what it holds: every 10 seconds, at an Alarm event and at the end.",
    ),
    _log(
        "memory-storage-size",
        "2 MB",
        "100 KB to 100000 MB (a number alone is KB)",
        _size,
        "D",
        "How much the output memory holds; the oldest lines leave it.",
    ),
    _log(
        "network-address",
        "",
        "host:port; empty for none",
        _network_address,
        "O",
        "Where the output network sends events: a collector that takes syslog (RFC 5424) over TCP, length before each "
        "message. Debug events are not sent.",
    ),
    _log(
        "check-point",
        1,
        "0 (never) to 24 hours",
        integer(0, 24),
        "D",
        "How often an event says date, time and how the server is, to divide the log.",
    ),
    _log(
        "x-stat-print-interval",
        0,
        "0 (never) to 86400 seconds",
        integer(0, 86400),
        "D",
        "How often statistics are written as one JSON object per line, to a file beside the log that has _stat in its "
        "name (without a log file: in the working directory).",
    ),
    _log(
        "enable-thread",
        True,
        "true, false",
        boolean,
        "D",
        "Accepted for the sake of existing configurations: each output has a thread of its own in any case.",
    ),
)

LOG_EXTENDED: Final = (
    Option(
        section="log-extended",
        name=f"{REASSIGN}EVENT",
        default="",
        valid="alarm, standard, interaction, trace, debug, none; empty for its own",
        parse=choice("alarm", "standard", "interaction", "trace", "debug", "none", ""),
        effect=Effect.IMMEDIATELY,
        origin="D",
        meaning="The level of the event with this number (level-reassign-4504, level-reassign-00-04504) instead of its "
        "own; none: it is not logged.",
    ),
    Option(
        section="log-extended",
        name="level-reassign-disable",
        default=False,
        valid="true, false",
        parse=boolean,
        effect=Effect.IMMEDIATELY,
        origin="D",
        meaning="True: all events have their own levels, whatever level-reassign options there are.",
    ),
)
