"""References in a file: how a link looks in JSON, and the key that it means.

An object that has a plain name in its tenant is a text; the tenant is that of the object that holds the
reference. Others are JSON objects of their key's parts, and a tenant that cannot be concluded stands there
as ``tenant``: ``{"name": "Reset", "tenant": "Environment"}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from csproxy.core.containers import FOLDER, TENANT
from csproxy.core.files.keys import Key, display_type, is_unnamed, key_text, tenant_key, tenant_of_key
from csproxy.core.files.kinds import KeyPart, key_parts
from csproxy.core.files.words import number_of, word_of
from csproxy.core.model import SCHEMA, AttributeKind, ObjectType
from csproxy.errors import ConfigurationError, ModelError

__all__ = ["read_folder", "read_reference", "read_type", "write_folder", "write_reference"]

_TENANT: Final = "tenant"
_DN: Final = 2


def read_reference(target: int, value: Any, *, tenant: Key | None, where: str) -> Key:
    """The key that a reference to an object of type ``target`` means. Raises `ConfigurationError`."""
    if target == FOLDER:
        return read_folder(value, tenant=tenant, where=where)
    if target == TENANT:
        return tenant_key(_text(value["name"] if isinstance(value, dict) and "name" in value else value, where))
    parts = key_parts(target)
    if isinstance(value, dict):
        if value.get(_TENANT) is not None:
            tenant = tenant_key(_text(value[_TENANT], f"{where}.tenant"))
        return Key(target, tuple(_read_part(part, value, tenant, where) for part in parts))
    leaves = [part for _, part in _leaves(target)]
    if len(leaves) != 1:
        names = ", ".join(_last(part) for part in leaves)
        raise ConfigurationError(f"{where}: a reference to a {display_type(target)} is an object of {names}")
    name = _text(value, where)
    return Key(target, tuple(_need(tenant, where) if part is not leaves[0] else name for part in parts))


def _read_part(part: KeyPart, value: Mapping[str, Any], tenant: Key | None, where: str) -> Any:
    name = _last(part)
    given = value.get(name)
    attribute = part.attribute
    if attribute.target == "CfgTenant":
        return _need(tenant, where)
    if given is None:
        if part.path == ("name",) and len(key_parts(_DN)) > 1 and "number" in value:
            return None  # the name of a DN may be left open
        if attribute.kind is AttributeKind.LINK and name == "switch" and "name" in value:
            return None  # a voice prompt need not belong to a switch
        raise ConfigurationError(f"{where} has no {name}")
    if attribute.kind is AttributeKind.LINK:
        kind = SCHEMA.object_type(str(attribute.target))
        return read_reference(kind.number, given, tenant=tenant, where=f"{where}.{name}")
    if attribute.kind is AttributeKind.ENUM:
        return number_of(str(attribute.target), given, where=f"{where}.{name}")
    return _text(given, f"{where}.{name}")


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


def read_folder(value: Any, *, tenant: Key | None, where: str) -> Key:
    """The key of a folder given as ``{type, owner, path}``. A path may be empty: then it is no folder, but the top."""
    if not isinstance(value, dict) or not isinstance(value.get("owner"), dict):
        raise ConfigurationError(f"{where}: a folder is an object of type, owner and path")
    held = read_type(value.get("type"), where=f"{where}.type")
    path = value.get("path") or []
    if not isinstance(path, list) or not all(isinstance(name, str) for name in path):
        raise ConfigurationError(f"{where}.path is not a list of names")
    owner = value["owner"]
    owner_type = read_type(owner.get("type"), where=f"{where}.owner.type")
    holder = read_reference(
        owner_type.number,
        owner if owner.get(_TENANT) is not None else owner.get("name"),
        tenant=tenant,
        where=f"{where}.owner",
    )
    return Key(FOLDER, (holder, held.number, tuple(path)))


def write_folder(key: Key, *, tenant: Key | None = None) -> dict[str, Any]:
    """A folder as ``{type, owner, path}``; the tenant of an owner that has one is always told."""
    holder, held, path = key.parts
    owner = {"type": display_type(holder.type), "name": str(holder.parts[-1])}
    mine = tenant_of_key(holder)
    if holder.type != TENANT and mine is not None:
        owner[_TENANT] = str(mine.parts[0])
    return {"type": display_type(held), "owner": owner, "path": [str(name) for name in path]}


def read_type(value: Any, *, where: str) -> ObjectType:
    """The object type that a word (``agentgroup``) means. Raises `ConfigurationError`."""
    try:
        return SCHEMA.object_type(value if isinstance(value, int) else str(value))
    except ModelError as e:
        raise ConfigurationError(f"{where}: {e}") from e


def _last(part: KeyPart) -> str:
    return part.name.rpartition(".")[2]


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ConfigurationError(f"{where}: {value!r} is not a name")
    return str(value)


def _need(tenant: Key | None, where: str) -> Key:
    if tenant is None:
        raise ConfigurationError(f"{where}: the object that holds this reference has no tenant: name the tenant in it")
    return tenant
