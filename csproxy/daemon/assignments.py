"""``attr=value`` on the command line: a changed copy of an object.

A path is dotted: ``agentInfo.placeDBID=101``, ``options.log.verbose=all``. In options the first
part is the section and the rest is the option's name, dots included, and values are texts, as
everywhere in configuration options. Other values are JSON where that makes sense of the attribute
(numbers, lists, structures), enumeration names, or plain texts; ``null`` clears.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.daemon.plain import enumeration_value, value_from_json
from csproxy.daemon.usage import UsageError
from csproxy.errors import ErrorCode, ModelError

__all__ = ["apply_assignments", "parse_assignment"]


def parse_assignment(text: str) -> tuple[str, str]:
    """Split ``path=value``. Raises `UsageError` when there is no equals sign or no path."""
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise UsageError(f"{text!r} is not of the form attribute=value, such as state=CFGDisabled")
    return path, value


def apply_assignments(
    type_: ObjectType, stored: Mapping[str, Any], assignments: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The object with all assignments made, in order; ``stored`` is not touched.

    Raises `ModelError` that names the attribute for a path that does not exist or a value that does
    not fit it.
    """
    result = copy.deepcopy(dict(stored))
    for path, text in assignments:
        _assign(type_, result, path, text)
    return result


def _assign(type_: ObjectType, target: dict[str, Any], path: str, text: str) -> None:
    attributes: Mapping[str, Attribute] = type_.attributes
    rest = path
    while True:
        name, _, rest = rest.partition(".")
        attribute = attributes.get(name)
        if attribute is None:
            close = difflib.get_close_matches(name, list(attributes), n=1, cutoff=0.6)
            hint = f"; is {close[0]} meant?" if close else ""
            raise _refused(type_, path, f"{type_.name} has no attribute {path!r}{hint}")
        if attribute.kind is AttributeKind.KV and rest:
            _assign_option(type_, target, name, rest, text, path)
            return
        if not rest:
            _put(type_, target, attribute, path, text)
            return
        if attribute.kind is not AttributeKind.STRUCT or attribute.target is None:
            raise _refused(
                type_, path, f"{path!r}: {name} is no structure; give its whole value as JSON, as {name}=[…]"
            )
        inner = target.get(name)
        if not isinstance(inner, dict):
            inner = target[name] = {}
        target = inner
        attributes = SCHEMA.structures[attribute.target].attributes


def _put(type_: ObjectType, target: dict[str, Any], attribute: Attribute, path: str, text: str) -> None:
    value = _value(type_, attribute, path, text)
    if value is None:
        target.pop(attribute.name, None)
    else:
        target[attribute.name] = value


def _assign_option(type_: ObjectType, target: dict[str, Any], name: str, rest: str, text: str, path: str) -> None:
    section_name, separator, option = rest.partition(".")
    if not separator:
        raise _refused(type_, path, f"{path!r}: an option is given as {name}.section.option=value")
    sections = target.setdefault(name, {})
    if text == "null":
        section = sections.get(section_name, {})
        section.pop(option, None)
        if not section:
            sections.pop(section_name, None)
        return
    parsed = _json(text) if text.startswith('"') else None
    sections.setdefault(section_name, {})[option] = parsed if isinstance(parsed, str) else text


def _value(type_: ObjectType, attribute: Attribute, path: str, text: str) -> Any:
    if text == "null":
        return None
    kind = attribute.kind
    if kind is AttributeKind.TEXT:
        parsed = _json(text) if text.startswith('"') else None
        return parsed if isinstance(parsed, str) else text
    if kind is AttributeKind.ENUM and attribute.target is not None:
        parsed = _json(text)
        return enumeration_value(attribute.target, text if parsed is None else parsed, where=path)
    parsed = _json(text)
    if parsed is None:
        wanted = {
            AttributeKind.STRUCT: "a JSON object",
            AttributeKind.KV: 'a JSON object {"section": {"option": "value"}}',
            AttributeKind.STRUCT_LIST: "a JSON list of objects",
            AttributeKind.LINK_LIST: "a JSON list of DBIDs",
        }.get(kind, "a number")
        raise _refused(type_, path, f"{path}: {text!r} is not {wanted}")
    return value_from_json(type_, path, attribute, parsed)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _refused(type_: ObjectType, path: str, sentence: str) -> ModelError:
    return ModelError(ErrorCode.UNSUPPORTED_PROPERTY, sentence, object_type=type_.number, property_name=path)
