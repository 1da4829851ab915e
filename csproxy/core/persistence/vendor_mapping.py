"""The mapping of a vendor's configuration database: its form, the shipped default, a site's additions.

A mapping says which tables and columns become which attributes. It is data (TOML), described in
docs/reference/vendor-database.md; here it is read and checked against the object model, so that a
mistake in it is found before the database is opened.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Final

from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.errors import ConfigurationError, ModelError

__all__ = [
    "Column",
    "Condition",
    "JoinMapping",
    "ListMapping",
    "OptionsMapping",
    "TypeMapping",
    "VendorMapping",
    "load_mapping",
    "parse_mapping",
]

_FORMAT: Final = 1
_SCALARS: Final = frozenset(AttributeKind) - {
    AttributeKind.KV,
    AttributeKind.STRUCT,
    AttributeKind.STRUCT_LIST,
    AttributeKind.LINK_LIST,
}
KINDS: Final = ("text", "int", "hex")


@dataclass(frozen=True, slots=True)
class Column:
    """Where an attribute comes from; ``values`` translates what the column holds (as text), if given."""

    name: str
    attribute: Attribute
    values: Mapping[str, int | str] | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """Rows whose column has one of these values (compared as text)."""

    column: str
    equals: frozenset[str]


@dataclass(frozen=True, slots=True)
class JoinMapping:
    """A table with at most one row for an object: ``owner`` is its column with the object's DBID.

    A row says that ``structures``, the paths of the structures that it fills, are there.
    """

    table: str
    owner: str
    attributes: Mapping[str, Column]
    structures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListMapping:
    """A table with one row for each item of a list; ``items`` of a list of DBIDs has the one key ``""``."""

    table: str
    owner: str
    items: Mapping[str, Column]
    key: frozenset[str]


@dataclass(frozen=True, slots=True)
class TypeMapping:
    """One object type; attributes are named by dotted path. Without ``attributes`` it cannot be read."""

    kind: ObjectType
    table: str
    dbid: str
    folder: str | None
    where: tuple[Condition, ...]
    attributes: Mapping[str, Column]
    constants: Mapping[str, int | str]
    present: Mapping[str, Condition]
    joins: tuple[JoinMapping, ...]
    lists: Mapping[str, ListMapping]


@dataclass(frozen=True, slots=True)
class OptionsMapping:
    """A table of options of objects of any type.

    With ``section`` each row names its section; with ``dbid`` and ``parent`` rows are a hierarchy of
    sections and options. ``attributes`` are the paths that the options go to, the first that a type has.
    """

    table: str
    attributes: tuple[str, ...]
    object_dbid: str
    object_type: str
    option: str
    value: str
    part: str | None
    section: str | None
    dbid: str | None
    parent: str | None
    kind: str | None
    kinds: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VendorMapping:
    """A whole mapping; ``schema`` is the database schema of the tables, None for the default one."""

    types: Mapping[int, TypeMapping]
    options: tuple[OptionsMapping, ...]
    ignored_tables: Mapping[str, str] = field(default_factory=dict)
    ignored_columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    schema: str | None = None


def load_mapping(path: Path | None = None) -> VendorMapping:
    """The shipped default, completed by a site's file. Raises `ConfigurationError` naming file and key."""
    default = _toml(resources.files(__package__).joinpath("vendor_mapping.toml").read_text("utf-8"), "shipped mapping")
    if path is None:
        return parse_mapping(default, "shipped mapping")
    try:
        text = path.read_bytes().decode()
    except OSError as e:
        raise ConfigurationError(f"mapping file {path} cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigurationError(f"mapping file {path} is not UTF-8: byte {e.start} is invalid") from e
    name = f"mapping file {path}"
    site = _toml(text, name)
    return parse_mapping(site if site.get("inherit") is False else _merged(default, site), name)


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigurationError(f"{name} is not valid TOML: {e}") from e


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``: tables are merged, lists and values replaced, false takes away."""
    result = dict(base)
    for name, value in changes.items():
        if value is False:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = _merged(result[name], value)
        else:
            result[name] = value
    return result


def parse_mapping(data: Mapping[str, Any], name: str = "mapping") -> VendorMapping:
    """Check ``data`` (as TOML gives it) and make a mapping of it; errors as `load_mapping`."""
    top = _Table(data, name)
    if (number := top.take("format", int, _FORMAT)) != _FORMAT:
        raise top.error(f"format {number} is not known; this release reads format {_FORMAT}")
    top.take("inherit", bool, True)
    types = [_type(word, table) for word, table in top.tables("types").items()]
    mapping = VendorMapping(
        types={mapped.kind.number: mapped for mapped in types},
        options=tuple(_options(word, table) for word, table in top.tables("options").items()),
        ignored_tables=top.texts("ignored_tables"),
        ignored_columns={word: table.rest_as_texts() for word, table in top.tables("ignored_columns").items()},
        schema=top.take("schema", str, "") or None,
    )
    top.finish()
    return mapping


class _Table:
    """One table of the file; what is not taken from it is a mistake in it."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self._data = dict(data)
        self._where = where
        self._known: list[str] = []

    def error(self, message: str) -> ConfigurationError:
        return ConfigurationError(f"{self._where}: {message}")

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        self._known.append(key)
        value = self._data.pop(key, default)
        if value is None:
            raise self.error(f"{key} is missing")
        if not isinstance(value, kind):
            raise self.error(f"{key} must be {_SORTS[kind]}, not {value!r}")
        return value

    def has(self, key: str) -> bool:
        return key in self._data

    def tables(self, key: str) -> dict[str, _Table]:
        return {word: self._sub(f"{key}.{word}", item) for word, item in self.take(key, dict, {}).items()}

    def table_list(self, key: str) -> list[_Table]:
        return [self._sub(f"{key}[{place}]", item) for place, item in enumerate(self.take(key, list, []))]

    def _sub(self, key: str, item: Any) -> _Table:
        if not isinstance(item, dict):
            raise self.error(f"{key} must be a table, not {item!r}")
        return _Table(item, f"{self._where}, {key}")

    def texts(self, key: str) -> dict[str, str]:
        return _Table(self.take(key, dict, {}), f"{self._where}, {key}").rest_as_texts()

    def rest_as_texts(self) -> dict[str, str]:
        return {word: self.take(word, str) for word in list(self._data)}

    def finish(self) -> None:
        for key in self._data:
            hint = get_close_matches(key, self._known, n=1)
            raise self.error(f"{key} is not known" + (f": did you mean {hint[0]}?" if hint else ""))


_SORTS: Final = {int: "a whole number", bool: "true or false", str: "text", dict: "a table", list: "a list"}


def _type(word: str, table: _Table) -> TypeMapping:
    try:
        kind = SCHEMA.object_type(word)
    except ModelError as e:
        raise table.error(str(e)) from e
    columns = table.take("attributes", dict, {})
    constants = table.take("constants", dict, {})
    mapping = TypeMapping(
        kind=kind,
        table=table.take("table", str),
        dbid=table.take("dbid", str, "dbid"),
        folder=table.take("folder", str, "") or None,
        where=tuple(_condition(table, name, values) for name, values in table.take("where", dict, {}).items()),
        attributes=_columns(table, kind, columns),
        constants={path: _constant(table, _scalar(table, kind, path), value) for path, value in constants.items()},
        present={path: _present(table, kind, path, value) for path, value in table.tables("present").items()},
        joins=tuple(_join(join, kind) for join in table.table_list("joins")),
        lists={path: _list(item, kind, path) for path, item in table.tables("lists").items()},
    )
    table.finish()
    return mapping


def _join(table: _Table, kind: ObjectType) -> JoinMapping:
    name, owner = table.take("table", str), table.take("owner", str)
    attributes = _columns(table, kind, table.take("attributes", dict))
    table.finish()
    structures = dict.fromkeys(path.rpartition(".")[0] for path in attributes if "." in path)
    return JoinMapping(table=name, owner=owner, attributes=attributes, structures=tuple(structures))


def _list(table: _Table, kind: ObjectType, path: str) -> ListMapping:
    attribute = _resolve(table, kind, path)
    name, owner = table.take("table", str), table.take("owner", str)
    if attribute.kind is AttributeKind.LINK_LIST:
        items = {"": _column(table, attribute, table.take("item", str))}
        key = frozenset({""})
    elif attribute.kind is AttributeKind.STRUCT_LIST:
        structure = SCHEMA.structures[attribute.target or ""]
        items = {}
        for member, value in table.take("items", dict).items():
            if member not in structure.attributes:
                raise table.error(_no_attribute(structure.name, member, structure.attributes))
            items[member] = _column(table, structure.attributes[member], value)
        key = frozenset(structure.key) & items.keys()
    else:
        raise table.error(f"{path} of {kind.name} is no list")
    table.finish()
    return ListMapping(table=name, owner=owner, items=items, key=key)


def _options(word: str, table: _Table) -> OptionsMapping:
    is_tree = table.has("parent") or table.has("dbid")
    attributes = table.take("attributes", list)
    kinds = {str(number): kind for number, kind in table.take("kinds", dict, {}).items()}
    for kind in kinds.values():
        if kind not in KINDS:
            raise table.error(f"kinds may be {', '.join(KINDS)}, not {kind!r}")
    options = OptionsMapping(
        table=table.take("table", str, word),
        attributes=tuple(attributes),
        object_dbid=table.take("object_dbid", str),
        object_type=table.take("object_type", str),
        option=table.take("option", str),
        value=table.take("value", str),
        part=table.take("part", str, "") or None,
        section=None if is_tree else table.take("section", str),
        dbid=table.take("dbid", str) if is_tree else None,
        parent=table.take("parent", str) if is_tree else None,
        kind=table.take("kind", str, "") or None,
        kinds=kinds,
    )
    for path in attributes:
        if not any(find_attribute(kind, path) for kind in SCHEMA.types.values()):
            raise table.error(f"no object type has an attribute {path!r}")
    table.finish()
    return options


def _columns(table: _Table, kind: ObjectType, data: Mapping[str, Any]) -> dict[str, Column]:
    return {path: _column(table, _scalar(table, kind, path), value) for path, value in data.items()}


def _column(table: _Table, attribute: Attribute, value: Any) -> Column:
    if isinstance(value, str) and value:
        return Column(value, attribute)
    if isinstance(value, dict):
        spec = _Table(value, table.error(attribute.name).args[0])
        name, values = spec.take("column", str), spec.take("values", dict)
        spec.finish()
        translation = {word: _constant(table, attribute, item) for word, item in values.items()}
        return Column(name, attribute, translation)
    raise table.error(f"{attribute.name} must be the name of a column, or column and values, not {value!r}")


def _constant(table: _Table, attribute: Attribute, value: Any) -> int | str:
    if attribute.kind is AttributeKind.TEXT:
        if isinstance(value, str):
            return value
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    elif attribute.kind is AttributeKind.ENUM and isinstance(value, str):
        members = SCHEMA.enumerations[attribute.target or ""].__members__
        if value in members:
            return int(members[value])
        raise table.error(f"{attribute.name}: {value!r} is no member of {attribute.target}")
    raise table.error(f"{attribute.name} is a {attribute.kind.value}, {value!r} is none")


def _condition(table: _Table, column: str, values: Any) -> Condition:
    found = values if isinstance(values, list) else [values]
    if not found or not all(isinstance(value, int | str) and not isinstance(value, bool) for value in found):
        raise table.error(f"where.{column} must be a value or a list of values, not {values!r}")
    return Condition(column, frozenset(map(str, found)))


def _present(table: _Table, kind: ObjectType, path: str, spec: _Table) -> Condition:
    if _resolve(table, kind, path).kind is not AttributeKind.STRUCT:
        raise table.error(f"present.{path} is no structure")
    condition = _condition(table, spec.take("column", str), spec.take("equals", list))
    spec.finish()
    return condition


def _scalar(table: _Table, kind: ObjectType, path: str) -> Attribute:
    attribute = _resolve(table, kind, path)
    if attribute.kind not in _SCALARS:
        raise table.error(f"{path} of {kind.name} is a {attribute.kind.value} and does not come from one column")
    return attribute


def _resolve(table: _Table, kind: ObjectType, path: str) -> Attribute:
    attribute = find_attribute(kind, path)
    if attribute is None:
        raise table.error(_no_attribute(kind.name, path, kind.attributes))
    return attribute


def find_attribute(kind: ObjectType, path: str) -> Attribute | None:
    """The attribute at a dotted path that leads through structures, or None."""
    attributes: Mapping[str, Attribute] = kind.attributes
    found: Attribute | None = None
    for step in path.split("."):
        found = attributes.get(step)
        if found is None:
            return None
        attributes = SCHEMA.structures[found.target or ""].attributes if found.kind is AttributeKind.STRUCT else {}
    return found


def _no_attribute(owner: str, name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, known, n=3)
    return f"{owner} has no attribute {name!r}" + (f": did you mean {' or '.join(close)}?" if close else "")
