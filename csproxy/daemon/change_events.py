"""An event for each change of an object: who did it at a master, what came from it at a proxy."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change
from csproxy.core.log_events import LEVELS
from csproxy.core.model import SCHEMA

__all__ = ["tell_changes"]

log = logging.getLogger("csproxy.changes")

_TRACE: Final = LEVELS["trace"]
_WORDS: Final = {Action.CREATED: "created", Action.UPDATED: "changed", Action.DELETED: "deleted"}
_HERE: Final = {Action.CREATED: 24200, Action.UPDATED: 24201, Action.DELETED: 24202}
_THERE: Final = {Action.CREATED: 24205, Action.UPDATED: 24206, Action.DELETED: 24207}
_NAMES: Final = ("name", "userName", "number", "loginCode")


def tell_changes(transaction: Sequence[Change], cache: ConfigurationCache, *, here: bool) -> None:
    """Write an event for each change of a transaction that is in ``cache`` now; ``here``: this server made it."""
    if not log.isEnabledFor(logging.INFO if here else _TRACE):
        return
    for change in transaction:
        known = SCHEMA.types.get(change.type)
        if known is None:
            continue  # a record that clients do not see
        stored = change.object or change.former or cache.get(change.type, change.dbid)
        what = f"{known.name} {change.dbid}{_named(codec.decode_map(stored)) if stored else ''}"
        word, author, uen = _WORDS[change.action], (change.user, change.application), change.position.uen
        if here:
            extra = {"event": _HERE[change.action], **_fields(change, known.name)}
            log.info("%s %s by user %r with %r, UEN %d", what, word, *author, uen, extra=extra)
        else:
            text = "%s %s at the master by user %r with %r, UEN %d"
            extra = {"event": _THERE[change.action], **_fields(change, known.name)}
            log.log(_TRACE, text, what, word, *author, uen, extra=extra)


def _fields(change: Change, kind: str) -> dict[str, Any]:
    """What the JSON form of the event has besides its text."""
    return {
        "object_type": kind,
        "object_dbid": change.dbid,
        "user": change.user,
        "by_application": change.application,
        "epoch": change.position.epoch,
        "uen": change.position.uen,
    }


def _named(plain: Mapping[str, Any]) -> str:
    """The name of an object, quoted; empty for one without a name."""
    group = plain.get("groupInfo")
    places = (plain, group) if isinstance(group, Mapping) else (plain,)
    found = next((place[name] for place in places for name in _NAMES if place.get(name)), None)
    return "" if found is None else f" {str(found)!r}"
