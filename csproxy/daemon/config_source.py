"""Where `csproxy config` gets the objects of an import from: a file in any form, or a vendor's database."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from csproxy.core.files.any_form import form_of, read_form
from csproxy.core.files.numbered import read_numbered
from csproxy.core.files.reading import FileObject
from csproxy.daemon.output import say
from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError

if TYPE_CHECKING:
    from csproxy.core.persistence.vendor_report import VendorReport

__all__ = ["Source", "check_usage", "is_stream", "read_source"]


class Source(NamedTuple):
    """What is to be imported; ``report`` is the document of what a database did not give, None for a file."""

    objects: list[FileObject]
    report: dict[str, Any] | None = None


def is_stream(arguments: argparse.Namespace) -> bool:
    """Whether the objects come from standard input."""
    return arguments.db is None and arguments.file in (None, "-")


def check_usage(arguments: argparse.Namespace) -> None:
    """Raise `UsageError` for flags that do not go together."""
    given = [name for name in ("db", "mapping", "report") if getattr(arguments, name) is not None]
    if arguments.action == "export" and given:
        raise UsageError(f"config export writes a file: it has no --{given[0]}")
    if given and arguments.db is None:
        raise UsageError(f"--{given[0]} is for a vendor's database: name it with --db URL")
    if arguments.db is not None:
        for name in ("file", "format", "encoding"):
            if getattr(arguments, name) is not None:
                what = "a FILE" if name == "file" else f"--{name}"
                raise UsageError(f"the objects come from the database: give --db, or {what}, not both")
    form = arguments.format or ("json" if arguments.action == "export" else "xml")
    if arguments.encoding is not None and form != "xml":
        raise UsageError(f"--encoding is for XML: a file of the form {form} is UTF-8")


def read_source(arguments: argparse.Namespace) -> Source:
    """Read everything; warnings, and the report of a database, go to standard error.

    Raises `UsageError`, `ConfigurationError`, `ModelError`, and `StoreError` for a database.
    """
    return _from_file(arguments) if arguments.db is None else _from_database(arguments)


def _from_file(arguments: argparse.Namespace) -> Source:
    data = _content(arguments.file)
    form = arguments.format or form_of(data)
    if arguments.encoding is not None and form != "xml":
        raise UsageError(f"--encoding is for XML: this is a file of the form {form}, which is UTF-8")
    objects, warnings = read_form(data, os.environ, form=form, encoding=arguments.encoding or "utf-8")
    _warn(warnings)
    return Source(objects)


def _content(file: str | None) -> bytes:
    if file is None or file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as e:
        raise ConfigurationError(f"{file} cannot be read: {e.strerror}") from e


def _from_database(arguments: argparse.Namespace) -> Source:
    # imported only here: other commands need no database
    from csproxy.core.persistence.vendor import adapt
    from csproxy.core.persistence.vendor_mapping import load_mapping

    mapping = load_mapping(None if arguments.mapping is None else Path(arguments.mapping))
    adapted = adapt(arguments.db, mapping)
    _tell(adapted.report, arguments.report)
    objects, warnings = read_numbered(adapted.objects)
    _warn(warnings)
    return Source(objects, asdict(adapted.report))


def _tell(report: VendorReport, file: str | None) -> None:
    lines = list(report.lines())
    if file is None:
        for line in lines:
            say(line)
        return
    try:
        Path(file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as e:
        raise ConfigurationError(f"the report cannot be written to {file}: {e.strerror}") from e
    verdict = "everything mapped was read" if report.is_clean else "not everything mapped could be read"
    say(f"{verdict}: the report with {len(lines)} lines is in {file}")


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        say(f"warning: {warning}")
