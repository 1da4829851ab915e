"""Options of objects from rows: sections, options, and long values that are split over several rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from csproxy.core.persistence.vendor_mapping import OptionsMapping
from csproxy.core.persistence.vendor_report import VendorReport
from csproxy.core.persistence.vendor_values import dbid_of, text_of, whole_number

__all__ = ["OptionRow", "OptionTable"]


class OptionRow(NamedTuple):
    """One row, in the order of `OptionTable.columns`; columns that the table lacks are None."""

    object_type: Any
    object_dbid: Any
    section: Any
    dbid: Any
    parent: Any
    option: Any
    part: Any
    value: Any
    kind: Any


class _Option:
    """The pieces of one option."""

    __slots__ = ("is_broken", "kind", "parts")

    def __init__(self) -> None:
        self.is_broken = False
        self.kind: Any = None
        self.parts: list[tuple[int, str]] = []


Section = dict[str, _Option]


class OptionTable:
    """The rows of one table of options, by object; `take` gives what belongs to one object."""

    def __init__(self, mapping: OptionsMapping, report: VendorReport) -> None:
        self.mapping = mapping
        self._report = report
        self._rows: dict[tuple[int, int], list[OptionRow]] = defaultdict(list)

    def add(self, rows: Iterable[OptionRow]) -> None:
        """Keep rows until their object is read."""
        for row in rows:
            self._rows[dbid_of(row.object_type), dbid_of(row.object_dbid)].append(row)

    def remaining(self) -> Iterator[tuple[int, int, int]]:
        """(type number, DBID, number of rows) of what nobody took."""
        for (type_number, dbid), rows in sorted(self._rows.items()):
            yield type_number, dbid, len(rows)

    def take(self, type_number: int, dbid: int) -> dict[str, dict[str, Any]]:
        """The options of an object as a KV; {} if it has none."""
        rows = self._rows.pop((type_number, dbid), None)
        if rows is None:
            return {}
        sections = self._tree(rows, dbid) if self.mapping.dbid else self._flat(rows, dbid)
        return {name: dict(self._values(name, section, dbid)) for name, section in sections.items()}

    def _values(self, name: str, section: Section, dbid: int) -> Iterator[tuple[str, str | int | bytes]]:
        for option, pieces in section.items():
            value = self._value(name, option, pieces, dbid)
            if value is not None:
                yield option, value

    def _flat(self, rows: list[OptionRow], dbid: int) -> dict[str, Section]:
        sections: dict[str, Section] = {}
        for row in rows:
            if not row.section:
                self._problem("a row without a section", dbid)
                continue
            section = sections.setdefault(str(row.section), {})
            if row.option:  # without one the row only says that there is the section
                self._add(section.setdefault(str(row.option), _Option()), row, dbid)
        return sections

    def _tree(self, rows: list[OptionRow], dbid: int) -> dict[str, Section]:
        by_parent: dict[int, list[OptionRow]] = defaultdict(list)
        for row in rows:
            by_parent[dbid_of(row.parent)].append(row)
        sections: dict[str, Section] = {}
        section_of: dict[int, str] = {}
        for row in by_parent.pop(0, []):
            if not row.option:
                self._problem("a section without a name", dbid)
                continue
            number = dbid_of(row.dbid)
            if number not in by_parent and row.value:
                self._problem(f"{row.option!r} has a value and is in no section", dbid)
                continue
            sections.setdefault(str(row.option), {})
            section_of[number] = str(row.option)
        for number, name in section_of.items():
            for row in by_parent.pop(number, []):
                self._leaf(sections[name], row, dbid, name=name, is_branch=dbid_of(row.dbid) in by_parent)
        for left in by_parent.values():
            for row in left:
                self._problem(f"{row.option!r} is in no section, or deeper than sections and options", dbid)
        return sections

    def _leaf(self, section: Section, row: OptionRow, dbid: int, *, name: str, is_branch: bool) -> None:
        if not row.option:
            self._problem(f"an option without a name in section {name!r}", dbid)
        elif is_branch:
            self._problem(f"{name!r}, {row.option!r}: a section in a section", dbid)
        else:
            self._add(section.setdefault(str(row.option), _Option()), row, dbid)

    def _add(self, option: _Option, row: OptionRow, dbid: int) -> None:
        option.kind = row.kind
        try:
            part = 0 if row.part is None else whole_number(row.part)
            option.parts.append((part, "" if row.value is None else text_of(row.value)))
        except ValueError as e:
            option.is_broken = True
            self._problem(f"{str(row.option)!r}: {e}", dbid)

    def _value(self, section: str, option: str, pieces: _Option, dbid: int) -> str | int | bytes | None:
        """The pieces joined in order, or None, reported, if they do not follow each other."""
        if pieces.is_broken:
            return None
        pieces.parts.sort(key=lambda piece: piece[0])
        numbers = [number for number, _ in pieces.parts]
        first = numbers[0]
        if first not in {0, 1} or numbers != list(range(first, first + len(numbers))):
            shown = ", ".join(map(str, numbers[:10]))
            self._problem(f"{section!r}, {option!r}: the parts {shown} are not one value", dbid)
            return None
        text = "".join(piece for _, piece in pieces.parts)
        wanted = self.mapping.kinds.get(str(pieces.kind), "text")
        try:
            if wanted == "int":
                return whole_number(text)
            return bytes.fromhex(text) if wanted == "hex" else text
        except ValueError as e:
            self._problem(f"{section!r}, {option!r}: no {wanted} ({e})", dbid)
            return None

    def _problem(self, what: str, dbid: int) -> None:
        self._report.problem(f"{self.mapping.table}: {what}; left out", dbid)
