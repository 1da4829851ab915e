"""References to objects that the same transaction creates.

A new object of a transaction has no DBID yet. Its request gives it a negative one of its own
choice, unique among the transaction's objects of the type, and later requests refer to it by that
number wherever a DBID may stand: in links, in pairs of DBID and type, as folder, and as the object
to update or delete. Here the numbers are replaced by the DBIDs given out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from csproxy.core.model.links import PAIRS, RESOURCE_TARGETS
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType, StructureType
from csproxy.core.ownership import ObjectId
from csproxy.errors import ErrorCode, ModelError

__all__ = ["Placeholders"]

_TYPE_BESIDE: Final = {**dict(PAIRS), "objectDBID": "resourceType"}
_NOTHING: Final[Mapping[str, Any]] = {}


class Placeholders:
    """The negative numbers of one transaction and what they stand for."""

    def __init__(self) -> None:
        self._dbids: dict[ObjectId, int] = {}

    def define(self, kind: ObjectType, number: int, dbid: int) -> None:
        """Object ``dbid`` is called ``number`` (below 0) in what follows. Raises WRONG_API_PARAMETERS for a second."""
        if self._dbids.setdefault((kind.number, number), dbid) != dbid:
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"two new {kind.plural} of the transaction have the number {number}",
                object_type=kind.number,
                property_name="DBID",
            )

    def dbid(self, kind: ObjectType, number: int, *, of: ObjectType, path: str) -> int:
        """The DBID that ``number`` stands for; one that is not negative stands for itself.

        ``of`` and ``path`` say where it is written, for the error: INCORRECT_REFERENCES.
        """
        if number >= 0:
            return number
        found = self._dbids.get((kind.number, number))
        if found is None:
            raise _unknown(of, path, f"{kind.singular} {number}")
        return found

    def resolve(
        self, kind: ObjectType, given: Mapping[str, Any], before: Mapping[str, Any] = _NOTHING
    ) -> dict[str, Any]:
        """An object or a delta (of the object ``before``) with DBIDs in place of the numbers.

        What does not fit the schema is passed on as it is, to be refused by those who check it.
        """
        return self._map(kind, kind, given, before, "")

    def _map(
        self,
        kind: ObjectType,
        holder: ObjectType | StructureType,
        given: Mapping[str, Any],
        before: Mapping[str, Any],
        prefix: str,
    ) -> dict[str, Any]:
        result = dict(given)
        for name, attribute in _referring(holder):
            value = given.get(name)
            if not value:
                continue
            path = prefix + name
            if attribute.kind is AttributeKind.INT:
                beside = _TYPE_BESIDE[name]
                number = given.get(beside) or before.get(beside, 0)
                result[name] = self._pair(kind, beside, number, value, path) if _is_placeholder(value) else value
            else:
                result[name] = self._value(kind, attribute, value, before.get(name), path)
        return result

    def _value(self, kind: ObjectType, attribute: Attribute, value: Any, before: Any, path: str) -> Any:
        target = attribute.target or ""
        match attribute.kind:
            case AttributeKind.LINK if _is_placeholder(value):
                return self.dbid(SCHEMA.object_type(target), value, of=kind, path=path)
            case AttributeKind.STRUCT if isinstance(value, Mapping):
                return self._map(kind, SCHEMA.structures[target], value, before or _NOTHING, path + ".")
            case AttributeKind.LINK | AttributeKind.STRUCT:
                return value
            case _:
                return self._list(kind, attribute, value, path)

    def _pair(self, kind: ObjectType, beside: str, number: Any, value: int, path: str) -> int:
        target = None
        if isinstance(number, int):
            word = RESOURCE_TARGETS.get(number)
            if beside != "resourceType":
                target = SCHEMA.types.get(number)
            elif word is not None:
                target = SCHEMA.object_type(word)
        if target is None:
            raise _unknown(kind, path, f"object {value} of type {number}")
        return self.dbid(target, value, of=kind, path=path)

    def _list(self, kind: ObjectType, attribute: Attribute, value: Any, path: str) -> Any:
        if isinstance(value, Mapping):  # the parts of a delta
            return {part: self._list(kind, attribute, items, path) for part, items in value.items()}
        if not isinstance(value, list):
            return value
        if attribute.kind is AttributeKind.LINK_LIST:
            target = SCHEMA.object_type(attribute.target or "")
            return [self.dbid(target, item, of=kind, path=path) if _is_placeholder(item) else item for item in value]
        inner, prefix = SCHEMA.structures[attribute.target or ""], path + "."
        return [self._map(kind, inner, item, _NOTHING, prefix) if isinstance(item, Mapping) else item for item in value]


def _is_placeholder(value: Any) -> bool:
    return isinstance(value, int) and value < 0


@cache
def _referring(holder: ObjectType | StructureType) -> tuple[tuple[str, Attribute], ...]:
    """The attributes in which a number may stand for an object; of most objects they are few."""
    found = []
    for name, attribute in holder.attributes.items():
        match attribute.kind:
            case AttributeKind.LINK | AttributeKind.LINK_LIST:
                refers = True
            case AttributeKind.INT:
                own = name == "DBID" and isinstance(holder, ObjectType)
                refers = not own and _TYPE_BESIDE.get(name) in holder.attributes
            case AttributeKind.STRUCT | AttributeKind.STRUCT_LIST:
                refers = bool(_referring(SCHEMA.structures[attribute.target or ""]))
            case _:
                refers = False
        if refers:
            found.append((name, attribute))
    return tuple(found)


def _unknown(kind: ObjectType, path: str, what: str) -> ModelError:
    return ModelError(
        ErrorCode.INCORRECT_REFERENCES,
        f"{path} refers to {what}, which no earlier change of the transaction creates",
        object_type=kind.number,
        property_name=path,
    )
