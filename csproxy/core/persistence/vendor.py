"""Reading the configuration database of a vendor's Configuration Server, through a mapping.

The vendor's data model is not public. What public material shows is in the shipped mapping, the rest
a site adds; what neither covers is reported by name and never guessed. Nothing is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind
from csproxy.core.model.values import check_object
from csproxy.core.persistence.vendor_coverage import Coverage, ReadableType
from csproxy.core.persistence.vendor_mapping import Column, JoinMapping, ListMapping, VendorMapping, find_attribute
from csproxy.core.persistence.vendor_options import OptionRow, OptionTable
from csproxy.core.persistence.vendor_report import VendorReport
from csproxy.core.persistence.vendor_source import VendorSource, open_source
from csproxy.core.persistence.vendor_values import attribute_value, comparable, dbid_of, has, put
from csproxy.core.rules import ZERO_IS_A_VALUE
from csproxy.errors import ModelError

__all__ = ["AdaptedConfiguration", "AdaptedObject", "adapt"]


class AdaptedObject(NamedTuple):
    """One object: type number, plain form with its DBID, and the DBID of its folder (0: not known)."""

    type: int
    object: dict[str, Any]
    folder: int


@dataclass(frozen=True)
class AdaptedConfiguration:
    """What a database gave: objects by type and DBID, ascending, and what it did not give."""

    objects: list[AdaptedObject]
    report: VendorReport

    def __repr__(self) -> str:
        return f"<AdaptedConfiguration {len(self.objects)} objects, {len(self.report.problems)} problems>"


def adapt(url: str, mapping: VendorMapping) -> AdaptedConfiguration:
    """Read the database at ``url`` as ``mapping`` says.

    SQLite and PostgreSQL are read as of one moment, in a transaction that cannot write. Rows come at
    most 500 at a time; the objects are held in memory. An object that does not fit the model is among the objects
    as it is in the database, and named in the report.

    Raises `ConfigurationError` for a URL that cannot be used, `StoreError` when the database cannot be reached
    or fails.
    """
    report = VendorReport()
    with open_source(url, mapping.schema) as source:
        objects = _Adapter(source, mapping, report).read()
    return AdaptedConfiguration(objects, report)


Row = tuple[Any, ...]


class _Adapter:
    """The reading of one database."""

    def __init__(self, source: VendorSource, mapping: VendorMapping, report: VendorReport) -> None:
        self._source = source
        self._report = report
        self._coverage = Coverage(source, mapping, report)
        self._options: list[OptionTable] = []
        self._left: dict[str, list[set[int]]] = defaultdict(list)

    def read(self) -> list[AdaptedObject]:
        """All objects; the report is complete afterwards."""
        readable = [found for number in SCHEMA.types if (found := self._coverage.readable(number)) is not None]
        for options in self._coverage.options():
            table = OptionTable(options, self._report)
            names = [
                options.object_type, options.object_dbid, options.section, options.dbid, options.parent,
                options.option, options.part, options.value, options.kind,
            ]  # fmt: skip
            table.add(self._option_rows(options.table, names))
            self._options.append(table)
        objects: list[AdaptedObject] = []
        for found in readable:
            objects += self._objects(found)
        self._orphans()
        self._unselected(readable)
        self._untaken({found.kind.number for found in readable})
        self._coverage.finish(readable)
        return objects

    def _option_rows(self, table: str, names: list[str | None]) -> Iterator[OptionRow]:
        asked = [name for name in names if name]
        for row in self._source.rows(table, asked):
            values = iter(row)
            yield OptionRow(*(next(values) if name else None for name in names))

    def _objects(self, found: ReadableType) -> list[AdaptedObject]:
        kind, table = found.kind, found.mapping.table
        joined = [(join, self._children(join.table, join.owner, join.attributes)) for join in found.joins]
        lists = [(path, items, self._children(items.table, items.owner, items.items)) for path, items in found.lists]
        conditions = [*found.mapping.where, *found.present.values()]
        names = [found.mapping.dbid, *([found.folder] if found.folder else [])]
        start = len(names)
        names += [condition.column for condition in conditions]
        middle = len(names)
        names += [column.name for column in found.attributes.values()]
        result: dict[int, AdaptedObject] = {}
        for row in self._source.rows(table, names, order_by=found.mapping.dbid):
            holds = [comparable(value) in c.equals for c, value in zip(conditions, row[start:middle], strict=True)]
            selecting = len(found.mapping.where)
            if not all(holds[:selecting]):
                continue
            dbid = dbid_of(row[0])
            if not dbid or dbid in result:
                what = "the DBID is there twice" if dbid else "a row without DBID"
                self._report.problem(f"{table}: {what}; left out", dbid)
                continue
            obj: dict[str, Any] = {"DBID": dbid}
            for path, is_present in zip(found.present, holds[selecting:], strict=True):
                if is_present:
                    put(obj, path, {})
            self._fill(obj, table, dict(zip(found.attributes, row[middle:], strict=True)), found.attributes, dbid)
            for join, rows in joined:
                self._join(obj, join, rows.pop(dbid, []), dbid)
            for path, items, rows in lists:
                self._list(obj, path, items, rows.pop(dbid, []), dbid)
            self._complete(obj, found, dbid)
            result[dbid] = AdaptedObject(kind.number, obj, dbid_of(row[1]) if found.folder else 0)
        for child, rows in _pairs(joined, lists):
            self._left[child].append(set(rows))
        self._report.objects[kind.name] = len(result)
        return list(result.values())

    def _orphans(self) -> None:
        """Rows of joins and lists whose object was not read. Types can share a table: what one took is none."""
        for table, lefts in self._left.items():
            for dbid in sorted(set.intersection(*lefts)):
                self._report.problem(f"{table}: rows of an object that was not read; left out", dbid)

    def _children(self, table: str, owner: str, columns: Mapping[str, Column]) -> dict[int, list[Row]]:
        """The rows of another table by the object that they belong to."""
        result: dict[int, list[Row]] = defaultdict(list)
        for row in self._source.rows(table, [owner, *(column.name for column in columns.values())]):
            result[dbid_of(row[0])].append(row[1:])
        return result

    def _fill(
        self, obj: dict[str, Any], table: str, values: Mapping[str, Any], columns: Mapping[str, Column], dbid: int
    ) -> None:
        for path, value in values.items():
            found = self._value(table, columns[path], value, dbid)
            if found:
                put(obj, path, found)

    def _value(self, table: str, column: Column, value: Any, dbid: int) -> int | str | None:
        try:
            return attribute_value(column, value)
        except ValueError as e:
            self._report.problem(f"{table}.{column.name}: {e}; left out", dbid)
            return None

    def _join(self, obj: dict[str, Any], join: JoinMapping, rows: list[Row], dbid: int) -> None:
        if not rows:
            return
        if len(rows) > 1:
            self._report.problem(f"{join.table}: several rows for one object; the first was taken", dbid)
        for path in join.structures:
            if not has(obj, path):
                put(obj, path, {})
        values = dict(zip(join.attributes, rows[0], strict=True))
        self._fill(obj, join.table, values, join.attributes, dbid)

    def _list(self, obj: dict[str, Any], path: str, mapping: ListMapping, rows: list[Row], dbid: int) -> None:
        items: list[Any] = []
        for row in rows:
            item = {
                name: value
                for (name, column), cell in zip(mapping.items.items(), row, strict=True)
                if (value := self._value(mapping.table, column, cell, dbid))
            }
            if not any(name in item for name in mapping.key):
                what = f"an item of {path} without {' or '.join(filter(None, mapping.key)) or 'value'}"
                self._report.problem(f"{mapping.table}: {what}; left out", dbid)
                continue
            items.append(item[""] if "" in mapping.items else item)
        if items:
            put(obj, path, items)

    def _complete(self, obj: dict[str, Any], found: ReadableType, dbid: int) -> None:
        """Options and constants, then the checks."""
        kind = found.kind
        for path, constant in found.mapping.constants.items():
            if not has(obj, path):
                put(obj, path, constant)
        for table in self._options:
            place = next((path for path in table.mapping.attributes if find_attribute(kind, path)), None)
            if place is not None and (options := table.take(kind.number, dbid)):
                put(obj, place, options)
        try:
            check_object(kind, obj)
        except ModelError as e:
            self._report.problem(f"{e}; the object is given as it is", dbid)
        for path in _missing(kind.attributes, obj):
            self._report.missing_value(f"{kind.name}.{path}", dbid)

    def _unselected(self, readable: list[ReadableType]) -> None:
        """Rows of a table shared by several types that no type selects."""
        by_table: dict[str, list[ReadableType]] = defaultdict(list)
        for found in readable:
            by_table[found.mapping.table.lower()].append(found)
        for table, sharing in by_table.items():
            if not all(found.mapping.where for found in sharing):
                continue
            names = [condition.column for found in sharing for condition in found.mapping.where]
            for row in self._source.rows(table, [sharing[0].mapping.dbid, *names]):
                cells = dict(zip(names, row[1:], strict=True))
                if not any(_selects(found, cells) for found in sharing):
                    shown = ", ".join(f"{name} {value!r}" for name, value in cells.items())
                    self._report.problem(f"{table}: rows with {shown} belong to no type; left out", dbid_of(row[0]))

    def _untaken(self, read: set[int]) -> None:
        for table in self._options:
            for number, dbid, count in table.remaining():
                kind = SCHEMA.types.get(number)
                if kind is None:
                    what = f"object type {number} does not exist"
                elif number not in read:
                    what = f"{kind.name} was not read"
                elif not any(find_attribute(kind, path) for path in table.mapping.attributes):
                    what = f"{kind.name} has no {' or '.join(table.mapping.attributes)}"
                else:
                    what = f"there is no such {kind.name}"
                for _ in range(count):
                    self._report.problem(f"{table.mapping.table}: {what}; left out", dbid)


_Children = dict[int, list[Row]]


def _pairs(
    joined: list[tuple[JoinMapping, _Children]], lists: list[tuple[str, ListMapping, _Children]]
) -> Iterator[tuple[str, _Children]]:
    yield from ((join.table.lower(), rows) for join, rows in joined)
    yield from ((items.table.lower(), rows) for _, items, rows in lists)


def _selects(found: ReadableType, cells: Mapping[str, Any]) -> bool:
    return all(comparable(cells[condition.column]) in condition.equals for condition in found.mapping.where)


def _missing(attributes: Mapping[str, Attribute], obj: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The mandatory attributes that an object or structure has no value for."""
    for name, attribute in attributes.items():
        value = obj.get(name)
        if attribute.kind is AttributeKind.STRUCT and value is not None:
            yield from _missing(SCHEMA.structures[attribute.target or ""].attributes, value, f"{prefix}{name}.")
        elif attribute.mandatory and not value and not _zero_counts(attribute):
            yield f"{prefix}{name}"


def _zero_counts(attribute: Attribute) -> bool:
    """A whole number may be 0, and so may an enumeration whose 0 means something."""
    return attribute.kind in {AttributeKind.INT, AttributeKind.TIME} or attribute.target in ZERO_IS_A_VALUE
