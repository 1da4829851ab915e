"""``confserv -dumpauditxml FILE [-last DAYS]``: write the history log to a file, and exit.

It reads the database of confserv.conf beside a running master, or without one. The file appears complete or not
at all, readable by its owner only.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from csproxy import __version__
from csproxy.core.history import DAY_MS, HistoryFloor, decode_record
from csproxy.core.history_xml import FOOTER, audit_header, record_xml
from csproxy.core.persistence.store import Store
from csproxy.daemon.arguments import Arguments
from csproxy.daemon.output import say
from csproxy.daemon.settings import load_settings
from csproxy.daemon.usage import DONE
from csproxy.errors import ConfigurationError

__all__ = ["export_audit", "run_audit"]


def run_audit(words: Sequence[str], arguments: Arguments) -> int:
    """Export as the command line says; returns the exit status. Raises `ConfigurationError` or `StoreError`."""
    settings = load_settings(words)
    assert arguments.audit_file is not None
    assert settings.database is not None
    target = Path(arguments.audit_file)
    now_ms = int(time.time() * 1000)
    since_ms = 0 if arguments.audit_days is None else now_ms - arguments.audit_days * DAY_MS
    with Store.open(settings.database.url, reading=True) as store:
        records = export_audit(store, target, since_ms=since_ms, now_ms=now_ms)
    say(f"{records} records of the history log written to {target}")
    return DONE


def export_audit(store: Store, target: Path, *, since_ms: int, now_ms: int) -> int:
    """Write the records since a time (0: all); returns how many. ``target`` is replaced in one step."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            try:
                count = _write(store, file, since_ms=since_ms, now_ms=now_ms)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as e:
        raise ConfigurationError(f"{target} cannot be written: {e.strerror}") from e
    return count


def _write(store: Store, file: IO[str], *, since_ms: int, now_ms: int) -> int:
    count = 0
    file.write(audit_header(release=__version__, database=store.guid, exported_ms=now_ms, since_ms=since_ms))
    for part in store.history_log.export(HistoryFloor(since_ms, since_ms)):
        for number, body in part:
            file.write(record_xml(number, decode_record(body)))
        count += len(part)
    file.write(FOOTER)
    return count
