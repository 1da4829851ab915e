"""What the conditions of a filter come to, given the data.

Each condition of a `Query` becomes a `Criterion`: the ascending list of the only DBIDs that fit
(from an index, or from another object), a test on decoded records, or a set of DBIDs that do not
fit. What the rules mean is said in `csproxy.core.filter_rules`; how they are answered is here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import eq
from typing import Any, Final, NamedTuple, Protocol

from csproxy.core.filter_rules import (
    Absent,
    Account,
    Collected,
    Containing,
    Equal,
    InFolder,
    NotEnvironment,
    PairEqual,
    SameHostAndPort,
    Section,
    Source,
    TenantList,
    Through,
    TopFolder,
    Unreferenced,
)
from csproxy.core.filter_values import Query
from csproxy.core.folders import FOLDER_TYPE
from csproxy.core.indexes import HOST_AND_PORTS
from csproxy.core.records import TYPE_NUMBERS, Column, pair_key, reader

__all__ = ["FOLDER", "Criterion", "Relations", "criteria", "relations_needed"]

FOLDER: Final = "folder"
"""The path that stands for the folder beside an object (no attribute has this name)."""

_APPLICATION_TYPE: Final = 9
_ENVIRONMENT: Final = 1

Test = Callable[[Any], bool]


class Relations(Protocol):
    """What conditions ask of other objects, and of indexes, at one moment."""

    def get(self, type_number: int, dbid: int) -> bytes | None:
        """The stored bytes of an object."""

    def folder_of(self, type_number: int, dbid: int) -> int:
        """The folder of an object, 0 for none."""

    def has_index(self, type_number: int, path: str) -> bool:
        """Whether `having` answers for this path; it must for those of `relations_needed`."""

    def having(self, type_number: int, path: str, value: Any) -> Sequence[int]:
        """The DBIDs of the objects that have a value (not 0, not "") at a path, ascending."""

    def values_at(self, type_number: int, path: str) -> Collection[Any]:
        """All values at a path, of any object."""

    def shared_at(self, type_number: int, path: str) -> Iterator[Sequence[int]]:
        """For each value at a path that several objects have: their DBIDs."""


class Criterion(NamedTuple):
    """One condition, resolved; one field at least is set.

    ``dbids``: only these fit, ascending. ``bind``: makes the test on records from the columns of
    ``paths``; with ``dbids`` it is another way to the same answer, and all of these are there.
    ``excluded``: these do not fit.
    """

    dbids: Sequence[int] | None = None
    paths: tuple[str, ...] = ()
    bind: Callable[[Sequence[Column]], Test] | None = None
    excluded: Collection[int] = ()


def criteria(query: Query, relations: Relations) -> list[Criterion]:
    """Resolve the conditions of a query; a rule that says two things gives two criteria."""
    found: list[Criterion] = []
    for condition in query.conditions:
        rule = condition.key.rule
        found.extend(_RESOLVE[type(rule)](rule, condition.value, query, relations))
    return found


def relations_needed(query: Query) -> list[tuple[int, str]]:
    """The (type number, path) of each relation without which `criteria` cannot be asked."""
    needed: list[tuple[int, str]] = []
    for condition in query.conditions:
        match condition.key.rule:
            case Collected(sources):
                needed.extend(
                    (TYPE_NUMBERS[source.type_name], source.where) for source in sources if source.where != "DBID"
                )
            case Through(_, type_name, where):
                needed.append((TYPE_NUMBERS[type_name], where))
            case Unreferenced(type_name, path):
                needed.append((TYPE_NUMBERS[type_name], path))
            case InFolder():
                needed.append((query.object_type.number, FOLDER))
            case SameHostAndPort():
                needed.append((_APPLICATION_TYPE, HOST_AND_PORTS))
            case _:
                pass
    return needed


# --- tests on records ---------------------------------------------------------------------------


def _any_value(check: Callable[[Any], bool]) -> Callable[[Sequence[Column]], Test]:
    """A value in one of the columns passes ``check``."""

    def bind(columns: Sequence[Column]) -> Test:
        tests = [_column_test(column, check) for column in columns]
        return tests[0] if len(tests) == 1 else lambda record: any(test(record) for test in tests)

    return bind


def _column_test(column: Column, check: Callable[[Any], bool]) -> Test:
    read = column.read
    if column.many:
        return lambda record: any(map(check, read(record)))
    return lambda record: check(read(record))


def _no_value(columns: Sequence[Column]) -> Test:
    """All columns are empty."""
    tests = [_column_test(column, bool) for column in columns]
    return lambda record: not any(test(record) for test in tests)


def _has_tenant(tenant: int) -> Callable[[Sequence[Column]], Test]:
    def bind(columns: Sequence[Column]) -> Test:
        def test(record: Any) -> bool:
            tenants = columns[0].values(record)
            return tenant in tenants or (tenant == _ENVIRONMENT and not tenants)

        return test

    return bind


# --- the rules ----------------------------------------------------------------------------------

Resolved = Iterable[Criterion]


def _equal(rule: Equal, value: Any, query: Query, relations: Relations) -> Resolved:
    if isinstance(value, frozenset):
        return (Criterion(None, rule.paths, _any_value(value.__contains__)),)
    if not value:
        return (Criterion(None, rule.paths, _no_value),)
    if query.ignore_case and isinstance(value, str):
        folded = value.casefold()
        return (Criterion(None, rule.paths, _any_value(lambda text: text.casefold() == folded)),)
    number = query.object_type.number
    dbids: Sequence[int] | None = None
    if all(relations.has_index(number, path) for path in rule.paths):
        postings = [relations.having(number, path, value) for path in rule.paths]
        dbids = postings[0] if len(postings) == 1 else _union(postings)
    return (Criterion(dbids, rule.paths, _any_value(partial(eq, value))),)


def _pair_equal(rule: PairEqual, value: int, query: Query, relations: Relations) -> Resolved:
    key = pair_key(TYPE_NUMBERS[rule.target], value)
    if not key:
        return (Criterion(()),)
    number = query.object_type.number
    dbids = relations.having(number, rule.path, key) if relations.has_index(number, rule.path) else None
    return (Criterion(dbids, (rule.path,), _any_value(partial(eq, key))),)


def _tenant_list(rule: TenantList, value: int, query: Query, relations: Relations) -> Resolved:
    number = query.object_type.number
    dbids: Sequence[int] | None = None
    if value not in (0, _ENVIRONMENT) and relations.has_index(number, rule.path):
        dbids = relations.having(number, rule.path, value)
    return (Criterion(dbids, (rule.path,), _has_tenant(value)),)


def _absent(rule: Absent, _value: Any, _query: Query, _relations: Relations) -> Resolved:
    return (Criterion(None, (rule.path,), _no_value),)


def _collected(rule: Collected, value: int, _query: Query, relations: Relations) -> Resolved:
    return (Criterion(_union([_taken(source, value, relations) for source in rule.sources])),)


def _taken(source: Source, value: int, relations: Relations) -> set[int]:
    number = TYPE_NUMBERS[source.type_name]
    owners = (value,) if source.where == "DBID" else relations.having(number, source.where, value)
    take = reader(number, (source.take,))
    found: set[int] = set()
    for owner in owners:
        stored = relations.get(number, owner)
        if stored is not None:
            found.update(take.columns[0].values(take.decode(stored)))  # type: ignore[arg-type]
    return found


def _through(rule: Through, value: int, query: Query, relations: Relations) -> Resolved:
    targets = relations.having(TYPE_NUMBERS[rule.type_name], rule.where, value)
    number = query.object_type.number
    dbids: Sequence[int] | None = None
    if relations.has_index(number, rule.path):
        dbids = _union([relations.having(number, rule.path, target) for target in targets])
    return (Criterion(dbids, (rule.path,), _any_value(frozenset(targets).__contains__)),)


def _unreferenced(rule: Unreferenced, _value: Any, _query: Query, relations: Relations) -> Resolved:
    yield Criterion(excluded=relations.values_at(TYPE_NUMBERS[rule.type_name], rule.path))
    if rule.only:
        yield Criterion(None, (rule.only_path,), _any_value(frozenset(rule.only).__contains__))


def _in_folder(_rule: InFolder, value: int, query: Query, relations: Relations) -> Resolved:
    return (Criterion(relations.having(query.object_type.number, FOLDER, value)),)


def _containing(_rule: Containing, value: tuple[int, int], _query: Query, relations: Relations) -> Resolved:
    folder = relations.folder_of(*value)
    return (Criterion((folder,) if folder else ()),)


def _same_host_and_port(_rule: SameHostAndPort, _value: Any, _query: Query, relations: Relations) -> Resolved:
    return (Criterion(_union(list(relations.shared_at(_APPLICATION_TYPE, HOST_AND_PORTS)))),)


def _top_folder(_rule: TopFolder, _value: Any, _query: Query, _relations: Relations) -> Resolved:
    return (Criterion(None, ("parentID.type",), _any_value(lambda number: number != FOLDER_TYPE)),)


def _not_environment(_rule: NotEnvironment, _value: Any, _query: Query, _relations: Relations) -> Resolved:
    return (Criterion(excluded=frozenset({_ENVIRONMENT})),)


def _account(rule: Account, value: int, _query: Query, _relations: Relations) -> Resolved:
    return () if value == rule.present else (Criterion(()),)


def _section(rule: Section, value: str, query: Query, _relations: Relations) -> Resolved:
    if query.ignore_case:
        folded = value.casefold()
        return (Criterion(None, (rule.path,), _any_value(lambda kv: any(name.casefold() == folded for name in kv))),)
    return (Criterion(None, (rule.path,), _any_value(lambda sections: value in sections)),)


def _union(postings: Sequence[Iterable[int]]) -> list[int]:
    return sorted(set().union(*postings))


_RESOLVE: Final[Mapping[type, Callable[[Any, Any, Query, Relations], Resolved]]] = {
    Equal: _equal,
    PairEqual: _pair_equal,
    TenantList: _tenant_list,
    Absent: _absent,
    Collected: _collected,
    Through: _through,
    Unreferenced: _unreferenced,
    InFolder: _in_folder,
    Containing: _containing,
    SameHostAndPort: _same_host_and_port,
    TopFolder: _top_folder,
    NotEnvironment: _not_environment,
    Account: _account,
    Section: _section,
}
