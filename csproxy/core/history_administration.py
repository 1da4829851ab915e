"""Records of the history log of what is stored beside the objects: permissions, accounts, the operational mode.

Each function gives what the log gets of one change, None when the log is not active. A change that leaves everything
as it was is none, and its caller does not ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from csproxy.core.changes import Position
from csproxy.core.history import AclState, HistoryAction, HistoryBatch, HistoryRecord, HistorySettings
from csproxy.core.model.enumerations import CfgObjectType

if TYPE_CHECKING:
    from csproxy.core.ownership import ObjectId
    from csproxy.core.security_records import Acl

__all__ = ["Moment", "account_changed", "mode_changed", "permissions_changed"]


class Moment(NamedTuple):
    """Who changes something, when (ms), and where the server stands in the change stream."""

    user: str
    application: str
    time_ms: int
    position: Position


def permissions_changed(
    settings: HistorySettings,
    moment: Moment,
    changed: Mapping[ObjectId, Acl | None],
    former: Mapping[ObjectId, Acl | None],
) -> HistoryBatch | None:
    """One record for each object whose own ACL becomes another; None stands for *inherits*, in both."""

    def make() -> list[HistoryRecord]:
        before = {id: _state(acl) for id, acl in former.items()} if settings.write_former_value else {}
        return [
            _record(moment, HistoryAction.PERMISSIONS, id, permissions=_state(acl), former_permissions=before.get(id))
            for id, acl in changed.items()
        ]

    return _batch(settings, make)


def account_changed(
    settings: HistorySettings, moment: Moment, application: int, account: ObjectId, former: ObjectId
) -> HistoryBatch | None:
    """The application with this DBID acts as another account from now on."""

    def make() -> list[HistoryRecord]:
        before = former if settings.write_former_value else None
        id = int(CfgObjectType.CFGApplication), application
        return [_record(moment, HistoryAction.ACCOUNT, id, account=account, former_account=before)]

    return _batch(settings, make)


def mode_changed(settings: HistorySettings, moment: Moment, mode: int, former: int) -> HistoryBatch | None:
    """The server works in another operational mode from now on."""

    def make() -> list[HistoryRecord]:
        before = former if settings.write_former_value else 0
        return [_record(moment, HistoryAction.MODE, (0, 0), mode=mode, former_mode=before)]

    return _batch(settings, make)


def _batch(settings: HistorySettings, make: Callable[[], list[HistoryRecord]]) -> HistoryBatch | None:
    return HistoryBatch(make, settings.audit_max_records) if settings.active else None


def _state(acl: Acl | None) -> AclState:
    if acl is None:
        return AclState(inherits=True)
    return AclState(entries=tuple((entry.type, entry.dbid, entry.mask) for entry in acl))


def _record(
    moment: Moment,
    action: HistoryAction,
    id: ObjectId,
    *,
    permissions: AclState | None = None,
    former_permissions: AclState | None = None,
    account: ObjectId | None = None,
    former_account: ObjectId | None = None,
    mode: int = 0,
    former_mode: int = 0,
) -> HistoryRecord:
    return HistoryRecord(
        action=action,
        time_ms=moment.time_ms,
        uen=moment.position.uen,
        epoch=moment.position.epoch,
        user=moment.user,
        application=moment.application,
        type=id[0],
        dbid=id[1],
        permissions=permissions,
        former_permissions=former_permissions,
        account=account,
        former_account=former_account,
        mode=mode,
        former_mode=former_mode,
    )
