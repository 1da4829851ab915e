"""Objects with keys in the place of DBIDs, whatever the sort of link.

Links are what the schema calls so, and the pairs of a DBID and a type that `csproxy.core.model.links` knows.
Members of a role are numbers without a type: persons or access groups, whichever there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from csproxy.core.files.keys import Directory, Key, full_text
from csproxy.core.files.words import number_of
from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.model.links import PAIRS, RESOURCE_TARGETS
from csproxy.errors import ConfigurationError

__all__ = ["LAST_LOGIN", "Keyer"]

LAST_LOGIN: Final = 44
"""CfgPersonLastLogin: no configuration, so that no file holds it and nothing refers to it."""

_NOT_BROUGHT: Final = frozenset({"DBID", "objectIDs", "password"})
"""Attributes that an object does not bring along. What a folder holds is said by the objects in it."""
_MEMBERS: Final = (3, 21)
_ROLE_MEMBER: Final = "CfgRoleMember"
_MEMBER_TYPE: Final = "objectType"
"""The vendor's role members have it, the published object model does not: there it is one of `_MEMBERS`."""


class Keyer:
    """Replaces DBIDs by the keys that a directory knows, and notes what could not be taken over."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._left_out: Counter[str] = Counter()
        self._as_they_are: Counter[str] = Counter()
        self._sentences: list[str] = []

    def keyed(self, kind: ObjectType, obj: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of an object in plain form, links as keys; without its DBID, password and contents.

        Raises `ConfigurationError` for a link to a type that does not exist.
        """
        where = f"{kind.name} {obj.get('DBID', '')}".rstrip()
        brought = {name: item for name, item in obj.items() if name not in _NOT_BROUGHT}
        return self._holder(kind.attributes, brought, kind.name, where)

    def warnings(self) -> Iterator[str]:
        """What was left out, and what was kept because nothing says what it means."""
        yield from self._sentences
        for name, count in self._left_out.items():
            yield f"{name} is not known to this release: it is left out ({_objects(count)})"
        for name, count in self._as_they_are.items():
            yield f"nothing says what {name} refers to: the number is taken over as it is ({_objects(count)})"

    def _holder(
        self, attributes: Mapping[str, Attribute], value: Mapping[str, Any], path: str, where: str
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, item in value.items():
            attribute = attributes.get(name)
            if attribute is None:
                self._left_out[f"{path}.{name}"] += 1
            else:
                result[name] = self._value(attribute, item, f"{path}.{name}", where)
        for dbid, type_ in PAIRS:
            if result.get(dbid) and type_ in attributes:
                result[dbid] = self._typed(result.get(type_, 0), result[dbid], f"{path}.{dbid}", where)
        if result.get("objectDBID") and "resourceType" in attributes:
            self._resource(result, path)
        return result

    def _value(self, attribute: Attribute, value: Any, path: str, where: str) -> Any:
        target = str(attribute.target)
        match attribute.kind:
            case AttributeKind.LINK if value:
                return self._directory.key(SCHEMA.object_type(target).number, value)
            case AttributeKind.LINK_LIST:
                number = SCHEMA.object_type(target).number
                return [self._directory.key(number, dbid) for dbid in value or () if dbid]
            case AttributeKind.STRUCT if value is not None:
                return self._inner(target, value, path, where)
            case AttributeKind.STRUCT_LIST if target == _ROLE_MEMBER:
                return list(self._members(value or (), path, where))
            case AttributeKind.STRUCT_LIST:
                return [self._inner(target, item, path, where) for item in value or ()]
        return value

    def _inner(self, structure: str, value: Mapping[str, Any], path: str, where: str) -> dict[str, Any]:
        attributes = SCHEMA.structures[structure].attributes
        own = {name for name, attribute in attributes.items() if attribute.read_only}  # the DBID of the group again
        return self._holder(attributes, {name: value[name] for name in value if name not in own}, path, where)

    def _typed(self, number: int, dbid: int, path: str, where: str) -> Key:
        if number not in SCHEMA.types or number == LAST_LOGIN:
            place = f"{where}, {_inside(path)}"
            raise ConfigurationError(f"{place}: object {dbid} has the type {number}, which cannot be linked to")
        return self._directory.key(number, dbid)

    def _resource(self, resource: dict[str, Any], path: str) -> None:
        sort = resource.get("resourceType", 0)
        target = RESOURCE_TARGETS.get(sort)
        if target is None:
            self._as_they_are[f"{path}.objectDBID with resourceType {sort}"] += 1
        else:
            resource["objectDBID"] = self._directory.key(SCHEMA.object_type(target).number, resource["objectDBID"])

    def _members(self, items: Any, path: str, where: str) -> Iterator[dict[str, Any]]:
        """Members of a role; those of whom it is not clear who they are get no rights by a guess."""
        place = f"{where}, {_inside(path)}"
        for item in items:
            dbid, given = item.get("objectDBID", 0), item.get(_MEMBER_TYPE)
            sorts = _MEMBERS if given is None else [_number(given, f"{place}.{_MEMBER_TYPE}")]
            found = [self._directory.key(number, dbid) for number in sorts if dbid in self._directory.objects(number)]
            if len(found) == 1:
                rest = {name: value for name, value in item.items() if name != _MEMBER_TYPE}
                known = self._holder(SCHEMA.structures[_ROLE_MEMBER].attributes, rest, path, where)
                yield {**known, "objectDBID": found[0]}
            elif dbid:
                meaning = " or ".join(map(full_text, found)) or "nobody who is known"
                self._sentences.append(f"{place}: {dbid} means {meaning}: it is left out")


def _number(value: Any, where: str) -> int:
    is_number = isinstance(value, str) and value.isascii() and value.isdigit()
    return number_of("CfgObjectType", int(value) if is_number else value, where=where)


def _inside(path: str) -> str:
    """A path without the type that it begins with."""
    return path.partition(".")[2]


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"
