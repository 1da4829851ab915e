"""What the commands print: JSON documents, JSON lines, tables, and sentences for errors.

Standard output carries the answer and nothing else; sentences and progress go to standard error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from csproxy.core import codec
from csproxy.core.changes import Action, Change
from csproxy.core.model import SCHEMA
from csproxy.daemon.plain import delta_to_json, object_to_json
from csproxy.daemon.terminal import shown, speaks_utf8
from csproxy.errors import ConnectionLostError, CsproxyError, ModelError, ServerError

__all__ = [
    "change_document",
    "compact_json",
    "error_document",
    "pretty_json",
    "progress",
    "say",
    "time_text",
]


_SHOW_AFTER_S = 0.4
"""Work that takes less long shows no progress bar: a flash helps nobody."""

_WORDS = {Action.CREATED: "created", Action.UPDATED: "updated", Action.DELETED: "deleted"}


def say(sentence: str) -> None:
    """One sentence for a person, on standard error."""
    print(sentence, file=sys.stderr)


def compact_json(document: Any) -> str:
    """The document on one line; with escapes only where standard output is not UTF-8."""
    return json.dumps(document, ensure_ascii=not speaks_utf8(), separators=(",", ":"))


def pretty_json(document: Any) -> str:
    """The document with two spaces of indentation; escapes as for `compact_json`."""
    return json.dumps(document, ensure_ascii=not speaks_utf8(), indent=2)


def time_text(time_ms: int) -> str | None:
    """``2025-05-04T12:00:00.123Z``; None for 0, which is *not known*."""
    if time_ms <= 0:
        return None
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def change_document(change: Change, *, from_history: bool = False) -> dict[str, Any]:
    """A change as `csproxy watch` prints it.

    Keys: epoch, uen, last, action (created, updated, deleted), type, dbid, then object | delta |
    former (those that the change has), user, application, time, from_history.
    """
    known = SCHEMA.types.get(change.type)
    document: dict[str, Any] = {
        "epoch": change.position.epoch,
        "uen": change.position.uen,
        "last": change.last,
        "action": _WORDS[change.action],
        "type": change.type if known is None else known.name,
        "dbid": change.dbid,
    }
    for key, stored in (("object", change.object), ("former", change.former)):
        if stored is not None:
            plain = codec.decode_map(stored)
            document[key] = plain if known is None else object_to_json(known, plain)
    if change.delta is not None:
        document["delta"] = change.delta if known is None else delta_to_json(known, change.delta)
    document["user"] = change.user
    document["application"] = change.application
    document["time"] = time_text(change.time_ms)
    document["from_history"] = from_history
    return document


def error_document(error: CsproxyError) -> dict[str, Any]:
    """An error as JSON: ``{"error": {"code", "name", "message", "type", "property", "retry_after_s"}}``.

    Code, type and property stand there when the error has them.
    """
    content: dict[str, Any] = {}
    if isinstance(error, (ServerError, ModelError)):
        known = SCHEMA.types.get(error.object_type)
        content["code"] = int(error.code)
        content["name"] = error.code.name
        content["message"] = str(error)
        if known is not None:
            content["type"] = known.name
        if error.property_name:
            content["property"] = error.property_name
        if isinstance(error, ServerError) and error.retry_after_s > 0:
            content["retry_after_s"] = round(error.retry_after_s, 3)
    else:
        lost = isinstance(error, ConnectionLostError)  # of several kinds; scripts know one name
        content["name"] = ConnectionLostError.__name__ if lost else type(error).__name__
        content["message"] = str(error)
    return {"error": content}


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error if that is a terminal; call the result with (done, total).

    A total of -1 is *not known yet*. Nothing is shown for work that is done in a moment, or when
    standard error is no terminal.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(title, total=None)
    shown_from_s = time.monotonic() + _SHOW_AFTER_S

    def update(done: int, total: int) -> None:
        if time.monotonic() >= shown_from_s:
            bar.start()
            bar.update(task, completed=done, total=total if total >= 0 else None)

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


_MOST_FRAMED_ROWS = 1000
"""Framing costs half a millisecond a row; a longer table is plain on a terminal, too."""


def print_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: frozenset[str]) -> None:
    """A table on standard output: framed and fitted on a terminal, plain and uncut elsewhere or when it is long."""
    if sys.stdout.isatty() and len(rows) <= _MOST_FRAMED_ROWS:
        _print_framed(title, columns, rows, numeric=numeric)
    else:
        _print_plain(columns, rows, numeric=numeric)


def _print_framed(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: frozenset[str]
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.ROUNDED)
    for name in columns:
        table.add_column(
            name,
            justify="right" if name in numeric else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=5 if name == "DBID" else None,
        )
    for row in rows:
        # Text, not str: names may hold square brackets, which rich would read as markup
        table.add_row(*(Text(shown(cell)) for cell in row))
    Console().print(table)


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: frozenset[str]) -> None:
    from rich.cells import cell_len  # some characters are two columns wide

    lines = [columns, *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
    to_the_right = [name in numeric for name in columns]
    for line in lines:
        cells = []
        for cell, width, right in zip(line, widths, to_the_right, strict=True):
            space = " " * (width - cell_len(cell))
            cells.append(space + cell if right else cell + space)
        print("  ".join(cells).rstrip())


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Names and values below each other."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        print(f"{name:<{width}}  {value}")
