"""``confserv -dumpauditxml FILE [-last DAYS]``: write the history log to a file, and exit.

It reads the database of confserv.conf beside a running master, or without one. The file appears complete or not
at all, readable by its owner only.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from csproxy import __version__
from csproxy.core import codec
from csproxy.core.files.xml_format import text_encoding
from csproxy.core.files.xml_write import XmlEncoder
from csproxy.core.history import DAY_MS, HistoryFloor, decode_record
from csproxy.core.history_xml import FOOTER, audit_header, record_xml
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.persistence.store import Store
from csproxy.daemon.arguments import Arguments
from csproxy.daemon.output import say
from csproxy.daemon.runtime_options import RuntimeOptions
from csproxy.daemon.settings import DaemonSettings, load_settings
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
        encoding = _encoding(settings, store)
        records = export_audit(store, target, since_ms=since_ms, now_ms=now_ms, encoding=encoding)
    say(f"{records} records of the history log written to {target}")
    return DONE


def _encoding(settings: DaemonSettings, store: Store) -> str:
    """Option ``encoding`` of [csproxy], as a master on this database would have it."""
    options = RuntimeOptions(settings.options)
    number = int(CfgObjectType.CFGApplication)
    for _, stored in store.objects_of(number):
        application = codec.decode_map(stored)
        if application.get("name") == settings.application:
            options.apply_application(application.get("options", {}))
    return str(options.get("csproxy", "encoding"))


def export_audit(store: Store, target: Path, *, since_ms: int, now_ms: int, encoding: str = "UTF-8") -> int:
    """Write the records since a time (0: all); returns how many. ``target`` is replaced in one step.

    Characters that ``encoding`` does not have become character references.
    """
    try:
        with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                count = 0
                encoder = XmlEncoder(text_encoding(encoding))
                for text, records in _document(store, since_ms=since_ms, now_ms=now_ms, encoding=encoding):
                    file.write(encoder.encode(text))
                    count += records
                file.write(encoder.encode("", True))
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as e:
        raise ConfigurationError(f"{target} cannot be written: {e.strerror}") from e
    return count


def _document(store: Store, *, since_ms: int, now_ms: int, encoding: str) -> Iterator[tuple[str, int]]:
    """The document in pieces, each with the number of records in it."""
    yield (
        audit_header(
            release=__version__, database=store.guid, exported_ms=now_ms, since_ms=since_ms, encoding=encoding
        ),
        0,
    )
    for part in store.history_log.export(HistoryFloor(since_ms, since_ms)):
        yield "".join(record_xml(number, decode_record(body)) for number, body in part), len(part)
    yield FOOTER, 0
