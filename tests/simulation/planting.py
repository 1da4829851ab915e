"""Making a proxy's data wrong behind everybody's back."""

from __future__ import annotations

import random

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object

SURPLUS = 999_999
FOLDERS = 22


def plant(cache: ConfigurationCache, rng: random.Random) -> int:
    """Change, remove, add or move one object each of one to three types; returns the number of types."""
    types = rng.sample(sorted(cache.counts()), rng.randint(1, 3))
    for number in types:
        dbid = rng.choice(list(cache.dbids(number)))
        cache.apply([_wrong(cache, number, dbid, rng)])
    return len(types)


def _wrong(cache: ConfigurationCache, number: int, dbid: int, rng: random.Random) -> Change:
    obj = cache.stored(number, dbid) or {}
    kind = rng.choice(["changed", "missing", "surplus", "moved"])
    action, folder = Action.UPDATED, 0
    if kind == "changed":
        obj["state"] = 3 - obj.get("state", 1)
    elif kind == "missing":
        action = Action.DELETED
    elif kind == "surplus":
        action, dbid = Action.CREATED, SURPLUS
        obj = {**obj, "DBID": dbid}
    else:
        folder = rng.choice([other for other in cache.dbids(FOLDERS) if other != cache.folder_of(number, dbid)])
    return Change(
        action=action,
        type=number,
        dbid=dbid,
        position=cache.position,
        frame=b"",
        object=None if action is Action.DELETED else encode_object(SCHEMA.types[number], obj),
        folder=folder,
        correction=True,
    )
