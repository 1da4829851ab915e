"""References in a file: how a link looks in JSON, and the key that it means.

An object that has a plain name in its tenant is a text; the tenant is that of the object that holds the
reference. Others are JSON objects of their key's parts, and a tenant that cannot be concluded stands there
as ``tenant``: ``{"name": "Reset", "tenant": "Environment"}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from csproxy.core.containers import FOLDER, TENANT
from csproxy.core.files.context import ReadContext
from csproxy.core.files.keys import Key, display_type, is_unnamed, key_text, tenant_of_key
from csproxy.core.files.kinds import KeyPart, key_parts
from csproxy.core.files.words import number_of, numbers_of, word_of
from csproxy.core.model import SCHEMA, AttributeKind, ObjectType
from csproxy.errors import ConfigurationError, ModelError

__all__ = ["read_folder", "read_reference", "read_type", "read_word", "write_folder", "write_reference"]

_TENANT: Final = "tenant"


def read_reference(target: int, value: Any, context: ReadContext, name: str) -> Key:
    """The key that a reference to an object of type ``target`` means: ``name`` of what ``context`` is about.

    Raises `ConfigurationError`.
    """
    if type(value) is not str:
        return _described(target, value, context.inside(name))
    found = context.texts.get((target, value))
    if found is None:
        found = context.texts[target, value] = _described(target, value, context.inside(name))
    return found


def _described(target: int, value: Any, context: ReadContext) -> Key:
    if target == FOLDER:
        return _folder(value, context)
    if target == TENANT:
        named = isinstance(value, dict) and "name" in value
        return context.progress.tenant(_text(value["name"] if named else value, context))
    parts = key_parts(target)
    if isinstance(value, dict):
        if value.get(_TENANT) is not None:
            name = _text(value[_TENANT], context.inside(_TENANT))
            context = context.of_tenant(context.progress.tenant(name))
        return Key(target, tuple([read(value, context) for read in _part_readers(target)]))
    leaves = [part for _, part in _leaves(target)]
    if len(leaves) != 1:
        names = ", ".join(_last(part) for part in leaves)
        raise ConfigurationError(f"{context.where}: a reference to a {display_type(target)} is an object of {names}")
    name = _text(value, context)
    return Key(target, tuple(_need(context) if part is not leaves[0] else name for part in parts))


@cache
def _part_readers(target: int) -> tuple[Callable[[Mapping[str, Any], ReadContext], Any], ...]:
    """What reads the parts of a type's key from a reference that is an object."""
    return tuple(map(_part_reader, key_parts(target)))


def _part_reader(part: KeyPart) -> Callable[[Mapping[str, Any], ReadContext], Any]:
    attribute, name = part.attribute, _last(part)
    target = str(attribute.target)
    if target == "CfgTenant":
        return lambda value, context: _need(context)
    if attribute.kind is AttributeKind.LINK:
        linked = SCHEMA.object_type(target).number

        def read_link(value: Mapping[str, Any], context: ReadContext) -> Key | None:
            given = value.get(name)
            if given is None and name == "switch" and "name" in value:
                return None  # a voice prompt need not belong to a switch
            return read_reference(linked, _there(given, context, name), context, name)

        return read_link
    if attribute.kind is AttributeKind.ENUM:
        return lambda value, context: read_word(target, _there(value.get(name), context, name), context, name)

    def read_text(value: Mapping[str, Any], context: ReadContext) -> str | None:
        given = value.get(name)
        if type(given) is str:
            return given
        if given is None and part.path == ("name",) and "number" in value:
            return None  # the name of a DN may be left open
        return _text(_there(given, context, name), context.inside(name))

    return read_text


def _there(value: Any, context: ReadContext, name: str) -> Any:
    if value is None:
        raise ConfigurationError(f"{context.where} has no {name}")
    return value


def read_word(enumeration: str, value: Any, context: ReadContext, name: str) -> int:
    """The number of an enumeration's member. Raises `ConfigurationError`."""
    found = numbers_of(enumeration).get(value) if type(value) is str else None
    return number_of(enumeration, value, where=context.inside(name).where) if found is None else found


def write_reference(key: Key, *, tenant: Key | None, explicit: bool = False) -> Any:
    """A reference to ``key`` in an object of ``tenant``; ``explicit`` writes the tenant in any case.

    What has no name is written by its number, which no import takes for anything.
    """
    if key.type == FOLDER:
        return write_folder(key, tenant=tenant)
    if is_unnamed(key):
        return key_text(key)
    leaves = [(part, key.parts[index]) for index, part in _leaves(key.type)]
    mine = tenant_of_key(key)
    foreign = key.type != TENANT and mine is not None and (explicit or mine != tenant)
    if len(leaves) == 1 and not foreign:
        return leaves[0][1]
    result: dict[str, Any] = {}
    for part, value in leaves:
        if value in (None, ""):
            continue
        if isinstance(value, Key):
            result[_last(part)] = write_reference(value, tenant=mine)
        elif part.attribute.kind is AttributeKind.ENUM:
            result[_last(part)] = word_of(str(part.attribute.target), value)
        else:
            result[_last(part)] = value
    if foreign and mine is not None:
        result[_TENANT] = str(mine.parts[0])
    return result


@cache
def _leaves(target: int) -> tuple[tuple[int, KeyPart], ...]:
    """The parts of a type's key that stand in a reference, with their places in the key: not the tenant."""
    return tuple((index, part) for index, part in enumerate(key_parts(target)) if part.attribute.target != "CfgTenant")


def read_folder(value: Any, context: ReadContext, name: str) -> Key:
    """The key of a folder given as ``{type, owner, path}``. A path may be empty: then it is no folder, but the top."""
    return _folder(value, context.inside(name))


def _folder(value: Any, context: ReadContext) -> Key:
    if not isinstance(value, dict) or not isinstance(value.get("owner"), dict):
        raise ConfigurationError(f"{context.where}: a folder is an object of type, owner and path")
    held = read_type(value.get("type"), context, "type")
    path = value.get("path") or []
    if not isinstance(path, list) or not all(isinstance(name, str) for name in path):
        raise ConfigurationError(f"{context.where}.path is not a list of names")
    owner = value["owner"]
    owner_type = read_type(owner.get("type"), context, "owner.type")
    described = owner if owner.get(_TENANT) is not None else owner.get("name")
    return Key(FOLDER, (read_reference(owner_type.number, described, context, "owner"), held.number, tuple(path)))


def write_folder(key: Key, *, tenant: Key | None = None) -> dict[str, Any]:
    """A folder as ``{type, owner, path}``; the tenant of an owner that has one is always told."""
    holder, held, path = key.parts
    owner = {"type": display_type(holder.type), "name": str(holder.parts[-1])}
    mine = tenant_of_key(holder)
    if holder.type != TENANT and mine is not None:
        owner[_TENANT] = str(mine.parts[0])
    return {"type": display_type(held), "owner": owner, "path": [str(name) for name in path]}


def read_type(value: Any, context: ReadContext, name: str) -> ObjectType:
    """The object type that a word (``agentgroup``) means. Raises `ConfigurationError`."""
    try:
        return SCHEMA.object_type(value if isinstance(value, int) else str(value))
    except ModelError as e:
        raise ConfigurationError(f"{context.inside(name).where}: {e}") from e


def _last(part: KeyPart) -> str:
    return part.name.rpartition(".")[2]


def _text(value: Any, context: ReadContext) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ConfigurationError(f"{context.where}: {value!r} is not a name")
    return str(value)


def _need(context: ReadContext) -> Key:
    if context.tenant is None:
        raise ConfigurationError(
            f"{context.where}: the object that holds this reference has no tenant: name the tenant in it"
        )
    return context.tenant
