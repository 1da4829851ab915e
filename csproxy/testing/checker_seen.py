"""What an account may read of the master's log at each UEN, by the rules of `csproxy.testing.permission_model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA
from csproxy.core.security_records import RECORDS
from csproxy.core.subscriptions import Interest
from csproxy.testing.checker_model import FOLDER, LoggedChange, MasterLog, composed
from csproxy.testing.histories import ObjectKey
from csproxy.testing.permission_model import Id, Model

__all__ = ["SeenLog"]

_APPLICATION: Final = 9
_CONFSERV: Final = 99


class _Moment:
    """The data at one UEN, in the form that the model asks for."""

    def __init__(self, log: MasterLog, uen: int) -> None:
        self._log = log
        self._uen = uen

    def get(self, type_number: int, dbid: int) -> bytes | None:
        return self._log.at((type_number, dbid), self._uen)

    def stored(self, type_number: int, dbid: int) -> dict[str, Any] | None:
        stored = self.get(type_number, dbid)
        return None if stored is None else codec.decode_map(stored)

    def dbids(self, type_number: int) -> list[int]:
        return [dbid for dbid in self._log.dbids(type_number) if self.get(type_number, dbid) is not None]

    def folder_of(self, type_number: int, dbid: int) -> int:
        return self._log.folder_at((type_number, dbid), self._uen)

    def model(self) -> Model:
        """Lists and default access as they are now."""
        model = Model()
        for kind in SCHEMA.types:
            for dbid in self.dbids(RECORDS + kind):
                entries = (self.stored(RECORDS + kind, dbid) or {}).get("entries", ())
                model.lists[kind, dbid] = {(who, number): mask for who, number, mask in entries}
        options = (self.stored(_APPLICATION, _CONFSERV) or {}).get("options", {})
        model.default_access = options.get("security", {}).get("no-default-access") != "1"
        return model


class SeenLog:
    """One of the master's histories as an account may read it."""

    def __init__(self, log: MasterLog, account: Id) -> None:
        self.log = log
        self.account = account
        self._visible: dict[int, Mapping[ObjectKey, bytes]] = {}
        self._identities: dict[int, frozenset[Id]] = {}

    def __repr__(self) -> str:
        return f"<SeenLog of {self.account} over {self.log!r}>"

    def visible(self, uen: int) -> Mapping[ObjectKey, bytes]:
        """All objects that may be read at ``uen``, as stored."""
        if uen not in self._visible:
            moment = _Moment(self.log, uen)
            self._visible[uen] = moment.model().visible(moment, self.account, SCHEMA.types)
        return self._visible[uen]

    def identities(self, uen: int) -> frozenset[Id]:
        """Who the account is at ``uen``."""
        if uen not in self._identities:
            moment = _Moment(self.log, uen)
            self._identities[uen] = frozenset(moment.model().identities(moment, self.account))
        return self._identities[uen]

    def state(self, uen: int, interest: Interest) -> dict[ObjectKey, bytes]:
        """What a subscriber has."""
        visible = self.visible(uen)
        return {key: stored for key, stored in self.log.state(uen, interest).objects.items() if key in visible}

    def shows(self, change: LoggedChange) -> bool:
        """Whether a change comes as it was made: its object may be read before and after its transaction."""
        first, last = self.log.transaction_of(change.position.uen)
        was, now = (self.log.at(change.key, uen) is not None for uen in (first - 1, last))
        return (
            (was or now)
            and (not was or change.key in self.visible(first - 1))
            and (not now or change.key in self.visible(last))
        )

    # as a `Truth`

    def of_type(self, kind: int, uen: int) -> dict[int, bytes]:
        """The objects of a type that may be read, folders with the members that may be."""
        visible = self.visible(uen)
        found = {dbid: visible[kind, dbid] for dbid in self.log.dbids(kind) if (kind, dbid) in visible}
        if kind != FOLDER:
            return found
        members = self.log.members(uen)
        return {
            dbid: composed(stored, [key for key in members.get(dbid, ()) if key in visible])
            for dbid, stored in found.items()
        }

    def at(self, key: ObjectKey, uen: int) -> bytes | None:
        """An object that may be read."""
        return self.visible(uen).get(key)

    def folder_at(self, key: ObjectKey, uen: int) -> int:
        """The folder of an object: numbers are shown as they are."""
        return self.log.folder_at(key, uen)

    def is_end(self, uen: int) -> bool:
        """Whether a transaction ends there, or everything begins."""
        return self.log.is_end(uen)

    def is_valid(self, position: Position) -> bool:
        """Whether the position is one of this history."""
        return self.log.is_valid(position)
