"""`csproxy read TYPE [key=value]...`."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from csproxy.core import codec
from csproxy.core.collation import CODE_POINTS, Collation, collation
from csproxy.core.filter_keys import FILTER_KEYS
from csproxy.core.filter_rules import ValueKind
from csproxy.core.model import SCHEMA, ObjectType
from csproxy.core.paths import scalar_at
from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.output import compact_json, print_rows, progress, say
from csproxy.daemon.plain import object_to_json
from csproxy.daemon.session import object_type, open_session, read_raw, run
from csproxy.daemon.tables import NUMERIC_COLUMNS, object_columns, object_row, tenant_names
from csproxy.daemon.usage import DONE, UsageError
from csproxy.transport.wire.reads import ObjectsRead

__all__ = ["parse_filter", "run_read"]


@dataclass
class _Found:
    """What a read has brought: encoded objects, folder paths where they were asked for, the server's locale."""

    objects: list[bytes] = field(default_factory=list)
    paths: list[list[str]] = field(default_factory=list)
    tenants: dict[int, str] = field(default_factory=dict)
    locale: str = CODE_POINTS.name


def run_read(arguments: argparse.Namespace) -> int:
    """Read and print; returns the exit status."""
    type_ = object_type(arguments.type)
    filter_ = parse_filter(type_, arguments.filter)
    flags = connection_flags(arguments)
    as_table = arguments.output == "table"

    async def main() -> _Found:
        return await _read(flags, type_, filter_, as_table=as_table, consistent=arguments.consistent)

    found = run(main)
    if as_table:
        _print_table(type_, found)
    else:
        _print_json(type_, found.objects, lines=arguments.output == "jsonl")
    return DONE


def parse_filter(type_: ObjectType, texts: Sequence[str]) -> dict[str, object]:
    """``key=value`` texts as a filter, each value of the kind that its key wants.

    Raises `UsageError` for an unknown key, a key given twice, or a number that is none.
    """
    keys = FILTER_KEYS[type_.number]
    result: dict[str, object] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"{text!r} is not of the form key=value, such as {min(keys)}=…")
        key = keys.get(name)
        if key is None:
            close = difflib.get_close_matches(name, list(keys), n=3, cutoff=0.5) or sorted(keys)
            raise UsageError(f"{type_.name} has no filter key {name!r}; such as {', '.join(close)} is valid")
        if name in result:
            raise UsageError(f"the filter key {name} is given twice")
        result[name] = _filter_value(name, key.kind, value)
    return result


def _filter_value(name: str, kind: ValueKind, text: str) -> object:
    is_number = text.removeprefix("-").isdigit() and text.isascii()
    if kind is ValueKind.TEXT:
        return text
    if is_number:
        return int(text)
    if kind is ValueKind.INT:
        raise UsageError(f"{name}={text}: {kind.value} is valid")
    if kind in (ValueKind.FLAG, ValueKind.SWITCH):
        words = {"true": True, "yes": True, "false": False, "no": False, "cfgtrue": True, "cfgfalse": False}
        if text.lower() not in words:
            raise UsageError(f"{name}={text}: true or false is valid")
        return words[text.lower()]
    return text


async def _read(
    flags: ConnectionFlags, type_: ObjectType, filter_: dict[str, object], *, as_table: bool, consistent: bool
) -> _Found:
    found = _Found()
    if as_table:
        filter_ = {**filter_, "object_path": True}

    async with open_session(flags) as (connection, registered):
        found.locale = str(registered.parameters.get("locale", found.locale))
        with progress(f"reading {type_.plural}") as report:

            def part(read: ObjectsRead) -> None:
                found.objects.extend(bytes(raw) for raw in read.objects)
                found.paths.extend(read.paths)
                report(len(found.objects), read.total)

            await read_raw(connection, type_, filter_, consistent=consistent, timeout_s=flags.timeout_s, on_part=part)
        if as_table and type_.tenant_path is not None:
            tenants: list[dict[str, Any]] = []

            def tenant_part(read: ObjectsRead) -> None:
                tenants.extend(codec.decode_map(raw) for raw in read.objects)

            tenant = SCHEMA.object_type("CfgTenant")
            await read_raw(connection, tenant, {}, timeout_s=flags.timeout_s, on_part=tenant_part)
            found.tenants = tenant_names(tenants)
    return found


def _print_json(type_: ObjectType, objects: Iterable[bytes], *, lines: bool) -> None:
    """JSON lines, or one list with an object on each line."""
    write = sys.stdout.write
    separator = "" if lines else "[\n"
    for stored in objects:
        write(separator + compact_json(object_to_json(type_, codec.decode_map(stored))))
        separator = "\n" if lines else ",\n"
    if lines:
        write(separator)
    else:
        write("[]\n" if separator == "[\n" else "\n]\n")


def _print_table(type_: ObjectType, found: _Found) -> None:
    paths: list[list[str]] = found.paths or [[] for _ in found.objects]
    order = _order(found.locale)
    objects = [(codec.decode_map(stored), path) for stored, path in zip(found.objects, paths, strict=True)]
    objects.sort(key=lambda each: _sort_key(scalar_at(each[0], type_.name_path, ""), order))
    rows = [object_row(type_, plain, tenants=found.tenants, path=path) for plain, path in objects]
    print_rows(f"{len(rows):,} {type_.folder_name}", object_columns(type_), rows, numeric=NUMERIC_COLUMNS)


def _sort_key(name: str | int, order: Collation) -> tuple[int, Any]:
    """By name, where the name is a number by number; objects of the same name stay in the order of DBIDs."""
    return (0, name) if isinstance(name, int) else (1, order.key(name))


def _order(locale: str) -> Collation:
    """The server's order of names, as far as it is to be had on this machine."""
    try:
        return collation(locale)
    except ValueError as e:
        say(f"csproxy read: the rows stand in the order of code points and not of the server's locale {locale}: {e}")
        return CODE_POINTS
