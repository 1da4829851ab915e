"""Write docs/reference/log-events.md from the registry in csproxy/core/log_events.py.

    python scripts/generate_events_reference.py [FILE]

A test runs this and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from csproxy.core.log_events import EVENTS, LogEvent

TARGET: Final = Path(__file__).parent.parent / "docs" / "reference" / "log-events.md"

HEAD: Final = """# Log events

The events that have a number; every warning and error of csproxy has one. It stays the same whatever the text says, so
alarms and filters should go by it. A line without a number (`-----`) is a detail whose text may change in any release,
or comes from a library. This page is made from the registry in `csproxy/core/log_events.py`.

Warnings and errors are Standard events, as the vendor's are; the JSON form tells them apart (`severity`). Another
level for an event: [`level-reassign-EVENT`](options.md#log-extended). Lines, files, JSON: [logs](../topics/logs.md).

D: a number that the vendor has published. O: our own.

| event | level | meaning | what to do | |
|---|---|---|---|---|
"""


def reference() -> str:
    """The page."""
    return HEAD + "".join(map(_line, EVENTS))


def _line(event: LogEvent) -> str:
    return f"| {event.id} | {event.level} | {event.meaning} | {event.advice} | {event.origin} |\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET).write_text(reference(), encoding="utf-8")
