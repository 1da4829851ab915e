"""What an adapted database holds that did not become part of an object, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Examples", "VendorReport"]

MAX_PROBLEMS: Final = 500
"""Different problems that are named; more are only counted."""
MAX_EXAMPLES: Final = 5


@dataclass(slots=True)
class Examples:
    """How often something was found, and the DBIDs of the first objects concerned."""

    count: int = 0
    dbids: list[int] = field(default_factory=list)

    def add(self, dbid: int) -> None:
        """Count one more."""
        self.count += 1
        if len(self.dbids) < MAX_EXAMPLES and dbid not in self.dbids:
            self.dbids.append(dbid)

    def __str__(self) -> str:
        named = [dbid for dbid in self.dbids if dbid]
        return f"{self.count} times" + (f" (DBID {', '.join(map(str, named))})" if named else "")


@dataclass(slots=True)
class VendorReport:
    """Everything that the mapping does not cover, and everything that the rows did not fit.

    Names of columns are ``table.column``, of attributes ``CfgPerson.agentInfo.placeDBID``.
    """

    objects: dict[str, int] = field(default_factory=dict)
    """Number of objects by type."""
    unmapped_types: dict[str, str] = field(default_factory=dict)
    """Types of which nothing was read, and why."""
    unmapped_attributes: list[str] = field(default_factory=list)
    """Attributes of the types that were read, for which the mapping names no column."""
    missing_required: list[str] = field(default_factory=list)
    """Those of `unmapped_attributes`, and of the mapped ones without their column, that are mandatory."""
    missing_tables: dict[str, list[str]] = field(default_factory=dict)
    """Tables of the mapping that the database does not have, and what they would give."""
    missing_columns: dict[str, list[str]] = field(default_factory=dict)
    """Columns of the mapping that the database does not have, and what they would give."""
    unmapped_tables: list[str] = field(default_factory=list)
    """Tables of the database that the mapping does not name."""
    unmapped_columns: list[str] = field(default_factory=list)
    """Columns of mapped tables that the mapping does not name."""
    ignored: dict[str, str] = field(default_factory=dict)
    """Tables and columns that the mapping leaves out on purpose, and why."""
    missing_values: dict[str, Examples] = field(default_factory=dict)
    """Mandatory attributes that some objects have no value for."""
    problems: dict[str, Examples] = field(default_factory=dict)
    """Rows and values that were left out because they mean nothing in the object model, and objects that do not fit."""
    more_problems: int = 0
    """Problems beyond those named."""

    def problem(self, sentence: str, dbid: int = 0) -> None:
        """Note something about the object ``dbid``; sentences that are equal are counted together."""
        found = self.problems.get(sentence)
        if found is None:
            if len(self.problems) >= MAX_PROBLEMS:
                self.more_problems += 1
                return
            found = self.problems[sentence] = Examples()
        found.add(dbid)

    def missing_value(self, attribute: str, dbid: int) -> None:
        """Note that an object lacks a mandatory attribute."""
        self.missing_values.setdefault(attribute, Examples()).add(dbid)

    @property
    def is_clean(self) -> bool:
        """Whether every object that was read can be imported as it is, and nothing of mapped tables was lost."""
        found = (self.missing_required, self.missing_values, self.problems, self.missing_tables, self.missing_columns)
        return not any(found)

    def lines(self) -> Iterator[str]:
        """The report as sentences, the most important first."""
        for name, count in self.objects.items():
            yield f"read: {name}: {count} objects"
        for name in self.missing_required:
            yield f"mandatory, and not in the database as mapped: {name}"
        for name, examples in self.missing_values.items():
            yield f"mandatory, and empty: {name}: {examples}"
        for name, examples in self.problems.items():
            yield f"problem: {name}: {examples}"
        if self.more_problems:
            yield f"problem: {self.more_problems} more"
        for name, lost in self.missing_tables.items():
            yield f"table of the mapping not in the database: {name} (for {', '.join(lost)})"
        for name, lost in self.missing_columns.items():
            yield f"column of the mapping not in the database: {name} (for {', '.join(lost)})"
        yield from _prefixed("table not in the mapping", self.unmapped_tables)
        yield from _prefixed("column not in the mapping", self.unmapped_columns)
        yield from _explained("left out on purpose", self.ignored)
        yield from _explained("type not read", self.unmapped_types)
        yield from _prefixed("attribute without a column", self.unmapped_attributes)


def _prefixed(what: str, names: list[str]) -> Iterator[str]:
    for name in names:
        yield f"{what}: {name}"


def _explained(what: str, reasons: Mapping[str, str]) -> Iterator[str]:
    for name, reason in reasons.items():
        yield f"{what}: {name} ({reason})"
