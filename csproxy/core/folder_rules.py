"""Rules of folders: where a new object goes, what a folder may hold, how things are moved.

- An object without a folder goes to the default folder of its container (a tenant, a switch, ...).
- A folder holds objects of its own ``type``; a folder of type CFGFolder holds objects of any type.
- A folder belongs to an owner (``ownerID``: a tenant or a container) and holds what belongs to it.
- Objects are moved by an update of the target folder: delta ``{"objectIDs": {"added": [...]}}``.
  Nothing can be removed from a folder without going to another, so ``deleted`` is refused (20).
- Folders are moved by changing their ``parentID``. Default folders at the top stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from csproxy.core.containers import ENVIRONMENT, FOLDER, TENANT, container_type, is_in_tenants
from csproxy.core.draft import Draft
from csproxy.core.integrity import tenant_of
from csproxy.core.model.enumerations import CfgFolderClass, CfgObjectType
from csproxy.core.model.schema import SCHEMA, ObjectType
from csproxy.core.ownership import ObjectId
from csproxy.core.paths import name_of
from csproxy.errors import ErrorCode, ModelError

__all__ = ["default_folder_of", "folder_for", "is_top_default", "moved_objects", "place_folder", "reparent"]

_DEFAULT: Final = int(CfgFolderClass.CFGFCDefault)
_KEY: Final = ("ownerID.type", "ownerID.DBID", "type", "parentID.type", "parentID.DBID", "name")
_NOWHERE: Final = frozenset({int(CfgObjectType.CFGPersonLastLogin)})


def folder_for(draft: Draft, kind: ObjectType, obj: Mapping[str, Any], *, asked: int) -> int:
    """The folder of a new object that is no folder itself: the one ``asked`` for, or the default (``asked`` 0).

    Raises `ModelError` INCORRECT_REFERENCES when the folder does not exist or may not hold the object.
    """
    if kind.number in _NOWHERE:
        return 0
    if asked:
        check_fits(draft, kind, obj, folder=asked)
        return asked
    owner = _owner_of(kind, obj)
    found = default_folder_of(draft, kind, owner)
    if not found:
        raise _wrong(kind, "folder", f"{draft.name(owner)} has no default folder for {kind.plural}: name a folder")
    return found


def default_folder_of(draft: Draft, kind: ObjectType, owner: ObjectId) -> int:
    """DBID of the owner's default folder for a type, 0 if there is none.

    It is the folder at the top with the type's name; else the owner's first folder of the type
    whose parent belongs to somebody else.
    """
    top = draft.find(FOLDER, _KEY, (owner[0], owner[1], kind.number, 0, 0, kind.folder_name))
    if top is not None:
        return top
    for number, dbid, _ in sorted(draft.referrers(*owner)):
        folder = draft.folder(dbid) if number == FOLDER else None
        if folder is None or _pair(folder, "ownerID") != owner or folder.get("type") != kind.number:
            continue
        parent = draft.folder(_pair(folder, "parentID")[1]) or {}
        if _pair(parent, "ownerID") != owner:
            return dbid
    return 0


def check_fits(draft: Draft, kind: ObjectType, obj: Mapping[str, Any], *, folder: int) -> None:
    """Raise INCORRECT_REFERENCES unless the folder exists and may hold the object."""
    found = draft.folder(folder)
    if found is None or not draft.is_known((FOLDER, folder)):
        raise _wrong(kind, "folder", f"folder {folder} does not exist")
    held = found.get("type", FOLDER)
    if held not in (kind.number, FOLDER):
        raise _wrong(kind, "folder", f"{_named(found)} holds {_plural(held)}, not {kind.plural}")
    owner, tenant = _pair(found, "ownerID"), (TENANT, tenant_of(kind, obj))
    fitting = {_owner_of(kind, obj)} if held == kind.number else {_owner_of(kind, obj), tenant}
    if is_in_tenants(kind) and owner not in fitting:
        raise _wrong(kind, "folder", f"{_named(found)} belongs to {draft.name(owner)}, not to {draft.name(tenant)}")


def place_folder(draft: Draft, obj: dict[str, Any], *, asked: int) -> tuple[dict[str, Any], int]:
    """A new folder with parent, owner and type filled in, and the DBID of the folder it stands in.

    ``asked`` is the request's folder; ``parentID`` says the same. Without either the folder stands
    in the default folder of its owner and type, or at the top if its type is CFGFolder.
    """
    kind = SCHEMA.types[FOLDER]
    if obj.get("objectIDs"):
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            "a folder is created empty: move objects into it afterwards",
            object_type=FOLDER,
            property_name="objectIDs",
        )
    result = dict(obj)
    parent_type, parent = _pair(obj, "parentID")
    if parent_type == TENANT:
        result.setdefault("ownerID", result.pop("parentID"))
        parent = 0
    if parent and asked and parent != asked:
        raise _wrong(kind, "parentID", f"the request names folder {asked}, the object parent {parent}")
    parent = parent or asked
    result["folderClass"] = result.get("folderClass") or _DEFAULT
    if not parent:
        result["type"] = result.get("type") or FOLDER
        result["ownerID"] = result.get("ownerID") or {"DBID": ENVIRONMENT, "type": TENANT}
        if result["type"] == FOLDER:
            return result, 0
        owned = SCHEMA.object_type(result["type"])
        parent = default_folder_of(draft, owned, _pair(result, "ownerID"))
        if not parent:
            raise _wrong(kind, "ownerID", f"{draft.name(_pair(result, 'ownerID'))} holds no {owned.plural}")
    return _under(draft, result, parent), parent


def reparent(draft: Draft, before: Mapping[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """A folder whose update may move it: the object, and its new parent or None if it stays.

    Raises UNCHANGEABLE_INFO for a default folder at the top, INCORRECT_REFERENCES for a parent that
    does not fit or lies below the folder itself.
    """
    kind = SCHEMA.types[FOLDER]
    old, new = _pair(before, "parentID"), _pair(after, "parentID")
    if old == new:
        return after, None
    if is_top_default(before) or not new[1]:
        raise ModelError(
            ErrorCode.UNCHANGEABLE_INFO,
            f"{_named(before)} cannot be moved {'to the top' if not new[1] else 'away from it'}",
            object_type=FOLDER,
            property_name="parentID",
        )
    step = new[1]
    while step:
        if step == before["DBID"]:
            raise _wrong(kind, "parentID", f"{_named(before)} cannot be moved into itself")
        step = draft.folder_of(FOLDER, step)
    return _under(draft, after, new[1]), new[1]


def is_top_default(folder: Mapping[str, Any]) -> bool:
    """Whether this is the default folder of a container for a type."""
    return (
        not _pair(folder, "parentID")[1]
        and folder.get("folderClass") == _DEFAULT
        and folder.get("type", FOLDER) != FOLDER
        and folder.get("name") == SCHEMA.object_type(folder["type"]).folder_name
    )


def moved_objects(draft: Draft, folder: int, change: Any) -> tuple[ObjectId, ...]:
    """The objects that an update of ``objectIDs`` brings into ``folder``; those already there are left out."""
    if change.get("deleted") or change.get("changed"):
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            "objects leave a folder by being added to another one: objectIDs can only have added items",
            object_type=FOLDER,
            property_name="objectIDs",
        )
    moved: dict[ObjectId, None] = {}
    for item in change.get("added", ()):
        number, dbid = item.get("type", 0), item.get("DBID", 0)
        kind = SCHEMA.object_type(number)
        if number == FOLDER:
            raise ModelError(
                ErrorCode.WRONG_API_PARAMETERS,
                f"folder {dbid} is moved by changing its parentID, not the objectIDs of its parent",
                object_type=FOLDER,
                property_name="objectIDs",
            )
        obj = draft.get(number, dbid)
        if obj is None or not draft.is_known((number, dbid)):
            raise _wrong(SCHEMA.types[FOLDER], "objectIDs", f"{kind.singular} {dbid} does not exist")
        check_fits(draft, kind, obj, folder=folder)
        if draft.folder_of(number, dbid) != folder:
            moved[(number, dbid)] = None
    return tuple(moved)


def _under(draft: Draft, folder: dict[str, Any], parent: int) -> dict[str, Any]:
    kind = SCHEMA.types[FOLDER]
    above = draft.folder(parent)
    if above is None:
        raise _wrong(kind, "parentID", f"folder {parent} does not exist")
    result = {**folder, "parentID": {"DBID": parent, "type": FOLDER}}
    held = above.get("type", FOLDER)
    result["type"] = result.get("type") or held
    result["ownerID"] = result.get("ownerID") or above.get("ownerID")
    if held not in (result["type"], FOLDER):
        raise _wrong(kind, "type", f"{_named(above)} holds {_plural(held)}: a folder in it has the same type")
    if _pair(result, "ownerID") != _pair(above, "ownerID"):
        raise _wrong(kind, "ownerID", f"{_named(above)} belongs to {draft.name(_pair(above, 'ownerID'))}")
    return result


def _owner_of(kind: ObjectType, obj: Mapping[str, Any]) -> ObjectId:
    if kind.container is not None:
        return container_type(kind).number, obj.get(kind.container, 0)
    return TENANT, tenant_of(kind, obj)


def _pair(obj: Mapping[str, Any], name: str) -> ObjectId:
    value = obj.get(name) or {}
    return value.get("type", 0), value.get("DBID", 0)


def _named(folder: Mapping[str, Any]) -> str:
    return name_of(SCHEMA.types[FOLDER], folder)


def _plural(number: int) -> str:
    kind = SCHEMA.types.get(number)
    return kind.plural if kind is not None else f"objects of type {number}"


def _wrong(kind: ObjectType, attribute: str, message: str) -> ModelError:
    return ModelError(ErrorCode.INCORRECT_REFERENCES, message, object_type=kind.number, property_name=attribute)
