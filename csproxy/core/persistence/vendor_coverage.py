"""Comparing a mapping with the object model and with the tables that a database has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.persistence.vendor_mapping import (
    Column,
    Condition,
    JoinMapping,
    ListMapping,
    OptionsMapping,
    TypeMapping,
    VendorMapping,
    find_attribute,
)
from csproxy.core.persistence.vendor_report import VendorReport
from csproxy.core.persistence.vendor_source import VendorSource

__all__ = ["Coverage", "ReadableType"]


@dataclass(frozen=True, slots=True)
class ReadableType:
    """What of a type's mapping the database can give: only tables and columns that are there."""

    mapping: TypeMapping
    folder: str | None
    attributes: Mapping[str, Column]
    present: Mapping[str, Condition]
    joins: tuple[JoinMapping, ...]
    lists: tuple[tuple[str, ListMapping], ...]

    @property
    def kind(self) -> ObjectType:
        """The object type."""
        return self.mapping.kind


class Coverage:
    """Finds what can be read, and notes in the report what cannot."""

    def __init__(self, source: VendorSource, mapping: VendorMapping, report: VendorReport) -> None:
        self._source = source
        self._mapping = mapping
        self._report = report
        self._used: dict[str, set[str]] = {}

    def readable(self, number: int) -> ReadableType | None:
        """The part of a type's mapping that can be read, or None, reported."""
        kind = SCHEMA.types[number]
        mapping = self._mapping.types.get(number)
        if mapping is None:
            self._report.unmapped_types[kind.name] = "the mapping names no table"
            return None
        self._used.setdefault(mapping.table.lower(), set())
        if not mapping.attributes:
            self._report.unmapped_types[kind.name] = f"table {mapping.table}, of which the mapping names no columns"
            return None
        if not self._has_table(mapping.table, kind.name):
            self._report.unmapped_types[kind.name] = f"the database has no table {mapping.table}"
            return None
        needed = [mapping.dbid, *(condition.column for condition in mapping.where)]
        if lacking := self._lacking(mapping.table, needed, kind.name):
            self._report.unmapped_types[kind.name] = f"table {mapping.table} lacks {' and '.join(lacking)}"
            return None
        has_folder = mapping.folder and self._has_column(mapping.table, mapping.folder, f"{kind.name}: folder")
        return ReadableType(
            mapping=mapping,
            folder=mapping.folder if has_folder else None,
            attributes=self._columns(mapping.table, mapping.attributes, kind.name),
            present={
                path: condition
                for path, condition in mapping.present.items()
                if self._has_column(mapping.table, condition.column, f"{kind.name}.{path}")
            },
            joins=tuple(self._joins(mapping)),
            lists=tuple(self._lists(mapping)),
        )

    def options(self) -> Iterator[OptionsMapping]:
        """The tables of options that can be read; without part or kind if they have no such columns."""
        for mapping in self._mapping.options:
            what = " and ".join(mapping.attributes)
            if not self._has_table(mapping.table, what):
                continue
            needed = [mapping.object_dbid, mapping.object_type, mapping.option, mapping.value]
            needed += [name for name in (mapping.section, mapping.dbid, mapping.parent) if name]
            lacking = self._lacking(mapping.table, needed, what)
            part, kind = (
                name if name and self._has_column(mapping.table, name, what) else None
                for name in (mapping.part, mapping.kind)
            )
            if not lacking:
                yield replace(mapping, part=part, kind=kind)

    def finish(self, readable: list[ReadableType]) -> None:
        """Note what neither the mapping nor the database names of the other."""
        for table in self._source.tables:
            if reason := self._mapping.ignored_tables.get(table):
                self._report.ignored[table] = reason
            elif table not in self._used:
                self._report.unmapped_tables.append(table)
            else:
                self._unused_columns(table)
        for found in readable:
            self._attributes(found)
        # what no object can have need not be said of each
        for name in self._report.missing_required:
            self._report.missing_values.pop(name, None)

    def _unused_columns(self, table: str) -> None:
        ignored = self._mapping.ignored_columns.get(table, {})
        for column in self._source.columns(table):
            if column in self._used[table]:
                continue
            if reason := ignored.get(column):
                self._report.ignored[f"{table}.{column}"] = reason
            else:
                self._report.unmapped_columns.append(f"{table}.{column}")

    def _attributes(self, found: ReadableType) -> None:
        given = {"DBID", *found.attributes, *found.mapping.constants}
        given |= {path for join in found.joins for path in join.attributes}
        for path, items in found.lists:
            given |= {path, *(f"{path}.{name}" for name in items.items)}
        for options in self._mapping.options:
            place = next((path for path in options.attributes if find_attribute(found.kind, path)), None)
            if place is not None and self._source.columns(options.table):
                given.add(place)
        for path, attribute in _paths(found.kind.attributes, given):
            name = f"{found.kind.name}.{path}"
            self._report.unmapped_attributes.append(name)
            if attribute.mandatory:
                self._report.missing_required.append(name)

    def _joins(self, mapping: TypeMapping) -> Iterator[JoinMapping]:
        for join in mapping.joins:
            what = ", ".join(f"{mapping.kind.name}.{path}" for path in join.attributes)
            if self._has_table(join.table, what) and self._has_column(join.table, join.owner, what):
                yield replace(join, attributes=self._columns(join.table, join.attributes, mapping.kind.name))

    def _lists(self, mapping: TypeMapping) -> Iterator[tuple[str, ListMapping]]:
        for path, items in mapping.lists.items():
            what = f"{mapping.kind.name}.{path}"
            if not self._has_table(items.table, what) or not self._has_column(items.table, items.owner, what):
                continue
            columns = self._columns(items.table, items.items, what)
            if items.key & columns.keys():
                yield path, replace(items, items=columns, key=items.key & columns.keys())

    def _columns(self, table: str, columns: Mapping[str, Column], what: str) -> dict[str, Column]:
        return {
            path: column
            for path, column in columns.items()
            if self._has_column(table, column.name, f"{what}.{path}" if path else what)
        }

    def _has_table(self, table: str, what: str) -> bool:
        self._used.setdefault(table.lower(), set())
        if self._source.columns(table):
            return True
        self._report.missing_tables.setdefault(table, []).append(what)
        return False

    def _lacking(self, table: str, columns: list[str], what: str) -> list[str]:
        """Those of ``columns`` that are not there; each is noted."""
        return [name for name in columns if not self._has_column(table, name, what)]

    def _has_column(self, table: str, column: str, what: str) -> bool:
        self._used[table.lower()].add(column.lower())
        if column.lower() in self._source.columns(table):
            return True
        self._report.missing_columns.setdefault(f"{table}.{column}", []).append(what)
        return False


def _paths(attributes: Mapping[str, Attribute], given: set[str], prefix: str = "") -> Iterator[tuple[str, Attribute]]:
    """The attributes that nothing gives a value to; of structures and lists that something gives, the members."""
    for name, attribute in attributes.items():
        path = f"{prefix}{name}"
        if attribute.unused:
            continue
        is_nested = attribute.kind in {AttributeKind.STRUCT, AttributeKind.STRUCT_LIST}
        if is_nested and any(other.startswith(f"{path}.") for other in given):
            yield from _paths(SCHEMA.structures[attribute.target or ""].attributes, given, f"{path}.")
        elif path not in given:
            yield path, attribute
