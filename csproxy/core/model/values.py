"""Values of attributes: reading them by path, checking that they fit the schema.

Objects that come from outside (clients, imports) are checked here before they are written; what
comes from a server is not, because a newer one may send what this release does not know.
Mandatory, fixed and unique attributes and references are rules of writing, not of values, and are
not looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from csproxy.core.model.canonical import canonical
from csproxy.core.model.delta_apply import LINK_PARTS, LIST_PARTS
from csproxy.core.model.fitting import RANGES, surely_fits
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.errors import ErrorCode, ModelError

__all__ = ["check_closely", "check_delta", "check_object", "values"]


def values(obj: Mapping[str, Any], path: str) -> list[Any]:
    """The values at a dotted path, lists flattened; [] where nothing is.

    ``values(person, "agentInfo.skillLevels.skillDBID")`` are the DBIDs of the person's skills. A
    default that is left out of the object is left out here.
    """
    found: list[Any] = [obj]
    for name in path.split("."):
        deeper: list[Any] = []
        for holder in found:
            value = holder.get(name) if isinstance(holder, Mapping) else None
            if isinstance(value, list):
                deeper += value
            elif value is not None:
                deeper.append(value)
        found = deeper
    return found


def check_object(object_type: ObjectType, obj: Mapping[str, Any]) -> None:
    """Check that ``obj``, in plain form, fits the schema.

    Raises `ModelError` with the dotted path as property name: UNSUPPORTED_PROPERTY for an attribute
    that does not exist, VALUE_OUT_OF_RANGE for a value of the wrong kind, a number that is no member
    of the enumeration, a text that is too long, an integer of more than 32 bits;
    UNIQUENESS_VIOLATION for two items of a list with the same key.
    """
    if not surely_fits(object_type, obj):
        check_closely(object_type, obj)


def check_closely(object_type: ObjectType, obj: Mapping[str, Any]) -> None:
    """`check_object` the long way, which finds out what is wrong."""
    _check_map(_Where(object_type, ""), object_type.attributes, obj, _check_value)
    canonical(object_type, obj)


def check_delta(object_type: ObjectType, delta: Mapping[str, Any]) -> None:
    """Check that ``delta`` fits the schema, whatever object it is applied to. Errors as `check_object`.

    Also UNSPECIFIED_MODIFICATION for a part other than added, changed and deleted.
    """
    _check_map(_Where(object_type, ""), object_type.attributes, delta, _check_change)


class _Where(NamedTuple):
    object_type: ObjectType
    path: str

    def child(self, name: str) -> _Where:
        return _Where(self.object_type, f"{self.path}.{name}" if self.path else name)

    def error(self, message: str, code: ErrorCode = ErrorCode.VALUE_OUT_OF_RANGE) -> ModelError:
        where = f"{self.object_type.name}.{self.path}" if self.path else self.object_type.name
        return ModelError(code, f"{where} {message}", object_type=self.object_type.number, property_name=self.path)

    def wrong_kind(self, wanted: str, value: object) -> ModelError:
        return self.error(f"must be {wanted}, not {type(value).__name__}")


_Check = Callable[[_Where, Attribute, Any], None]


def _check_map(where: _Where, attributes: Mapping[str, Attribute], value: Any, check: _Check) -> None:
    if not isinstance(value, Mapping):
        raise where.wrong_kind("a map of attributes", value)
    for name, item in value.items():
        attribute = attributes.get(name)
        if attribute is None:
            close = get_close_matches(str(name), attributes, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(attributes) or 'none'}"
            raise where.child(str(name)).error(f"is not an attribute: {hint}", ErrorCode.UNSUPPORTED_PROPERTY)
        check(where.child(name), attribute, item)


def _check_value(where: _Where, attribute: Attribute, value: Any) -> None:
    match attribute.kind:
        case AttributeKind.TEXT:
            _check_text(where, attribute, value)
        case AttributeKind.ENUM:
            _check_member(where, attribute, value)
        case AttributeKind.KV:
            _check_options(where, value)
        case AttributeKind.STRUCT:
            if value is not None:
                _check_map(where, _members(attribute), value, _check_value)
        case AttributeKind.STRUCT_LIST:
            for item in _list(where, value):
                _check_map(where, _members(attribute), item, _check_value)
        case AttributeKind.LINK_LIST:
            for dbid in _list(where, value):
                _check_integer(where, dbid, *RANGES[attribute.kind])
        case _:
            _check_integer(where, value, *RANGES[attribute.kind])


def _check_change(where: _Where, attribute: Attribute, change: Any) -> None:
    match attribute.kind:
        case AttributeKind.STRUCT:
            if change is not None:
                _check_map(where, _members(attribute), change, _check_change)
        case AttributeKind.LINK_LIST:
            for part in _parts(where, change, LINK_PARTS).values():
                _check_value(where, attribute, part)
        case AttributeKind.STRUCT_LIST:
            for part in _parts(where, change, LIST_PARTS).values():
                _check_value(where, attribute, part)
        case AttributeKind.KV:
            for name, part in _parts(where, change, LIST_PARTS).items():
                if name == "deleted":
                    _check_option_names(where, part)
                else:
                    _check_options(where, part)
        case _:
            _check_value(where, attribute, change)


def _parts(where: _Where, change: Any, valid: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(change, Mapping):
        raise where.wrong_kind(f"a map of {', '.join(valid)}", change)
    for part in change:
        if part not in valid:
            raise where.error(
                f"has no part {part!r}; its parts are {', '.join(valid)}", ErrorCode.UNSPECIFIED_MODIFICATION
            )
    return change


def _members(attribute: Attribute) -> Mapping[str, Attribute]:
    return SCHEMA.structures[attribute.target or ""].attributes


def _list(where: _Where, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise where.wrong_kind("a list", value)
    return value


def _check_integer(where: _Where, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise where.wrong_kind("a whole number", value)
    if not least <= value <= most:
        raise where.error(f"must be from {least} to {most}, not {value}")


def _check_member(where: _Where, attribute: Attribute, value: Any) -> None:
    members = SCHEMA.enumerations[attribute.target or ""]
    if not isinstance(value, int) or isinstance(value, bool):
        raise where.wrong_kind(f"the number of a member of {attribute.target}", value)
    if value not in members._value2member_map_:
        raise where.error(f"must be the number of a member of {attribute.target}; {value} is none")


def _check_text(where: _Where, attribute: Attribute, value: Any) -> None:
    _check_unicode(where, value)
    if attribute.max_length is not None and len(value) > attribute.max_length:
        raise where.error(f"may have {attribute.max_length} characters, not {len(value)}")


def _check_unicode(where: _Where, value: Any) -> None:
    if not isinstance(value, str):
        raise where.wrong_kind("text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise where.error(f"is not valid Unicode at character {error.start}") from error


def _check_options(where: _Where, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise where.wrong_kind("a map {section: {option: value}}", value)
    for section, options in value.items():
        _check_name(where, section)
        if not isinstance(options, Mapping):
            raise where.wrong_kind("a map {section: {option: value}}", options)
        for option, content in options.items():
            _check_name(where, option)
            if isinstance(content, int):
                _check_integer(where.child(f"{section}/{option}"), content, *RANGES[AttributeKind.INT])
            elif not isinstance(content, bytes):
                _check_unicode(where.child(f"{section}/{option}"), content)


def _check_option_names(where: _Where, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise where.wrong_kind("a map {section: [option, …]}", value)
    for section, options in value.items():
        _check_name(where, section)
        for option in _list(where, options):
            _check_name(where, option)


def _check_name(where: _Where, name: Any) -> None:
    """A section or option has a name; an empty one could not be told from none in a deletion."""
    _check_unicode(where, name)
    if not name:
        raise where.error("has a section or option without a name")
