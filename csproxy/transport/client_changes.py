"""Changes as a subscriber sees them: typed, one by one or as whole transactions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from csproxy.core.changes import Action, Change, Position
from csproxy.core.model import SCHEMA, CfgObject
from csproxy.core.model.base import CfgDelta
from csproxy.core.model.typed import decode_object, delta_from_plain

__all__ = ["ObjectChange", "RawTransaction"]


class ObjectChange(NamedTuple):
    """One change of one object as a subscriber sees it.

    ``type`` is the class of the object. ``object`` is there for a creation (and for an update after
    a reload, which knows no delta), ``delta`` for any other update, ``former`` for a deletion as far
    as the account may read it. ``folder`` is the folder's DBID where the change set it, else 0.
    ``user`` and ``application`` made the change (empty where a reload found it). ``last`` ends the
    transaction.
    """

    action: Action
    type: type[CfgObject]
    dbid: int
    position: Position
    last: bool
    from_history: bool
    object: CfgObject | None
    delta: CfgDelta | None
    former: CfgObject | None
    folder: int
    user: str
    application: str
    time: datetime

    @staticmethod
    def decode(change: Change, *, from_history: bool = False, last: bool = True) -> ObjectChange:
        """The typed form of a change. Raises `ModelError` for a type that this release does not know."""
        kind = SCHEMA.object_type(change.type)
        return ObjectChange(
            action=change.action,
            type=kind.cls,
            dbid=change.dbid,
            position=change.position,
            last=last,
            from_history=from_history,
            object=None if change.object is None else decode_object(kind, change.object),
            delta=None if change.delta is None else delta_from_plain(kind, change.delta),
            former=None if change.former is None else decode_object(kind, change.former),
            folder=change.folder,
            user=change.user,
            application=change.application,
            time=datetime.fromtimestamp(change.time_ms / 1000, tz=UTC),
        )


class RawTransaction(NamedTuple):
    """The changes of one transaction that match a subscription, and the position that it leads to.

    ``from_history`` tells which of the changes were replayed.
    """

    changes: tuple[Change, ...]
    from_history: tuple[bool, ...]
    end: Position

    @property
    def frame_bytes(self) -> int:
        """Bytes of its frames, what it counts for in a buffer."""
        return sum(len(change.frame) for change in self.changes)

    @property
    def is_correction(self) -> bool:
        """Whether a server put its data right with it, see `csproxy.core.changes.Change`."""
        return bool(self.changes) and all(change.correction for change in self.changes)

    def typed(self) -> tuple[ObjectChange, ...]:
        """All changes in their typed form; the last of them has ``last``."""
        final = len(self.changes) - 1
        return tuple(
            ObjectChange.decode(change, from_history=history, last=index == final)
            for index, (change, history) in enumerate(zip(self.changes, self.from_history, strict=True))
        )
