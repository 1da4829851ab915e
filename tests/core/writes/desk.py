"""A writing desk for tests: a planner over a small configuration, whose plans are applied at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Position
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.security_records import Acl, encode_acl
from csproxy.core.wellknown import first_counters, well_known_objects
from csproxy.core.writes import Plan, PlannedChange, WritePlanner, planned_record
from csproxy.errors import ErrorCode, ModelError

NOW_MS = 1_700_000_000_000


class Desk:
    """The objects of `well_known_objects` in a cache, and the counters of their database."""

    def __init__(self, **more: Any) -> None:
        objects = well_known_objects(**more)
        self.counters: dict[int, int] = first_counters(objects)
        self.cache = ConfigurationCache()
        self.cache.apply(
            [
                Change(
                    action=Action.CREATED,
                    type=number,
                    dbid=obj["DBID"],
                    position=Position(1, n),
                    frame=b"",
                    object=encode_object(SCHEMA.types[number], obj),
                    folder=folder,
                )
                for n, (number, obj, folder) in enumerate(objects, 1)
            ]
        )

    @property
    def planner(self) -> WritePlanner:
        return WritePlanner(self.cache, counters=self.counters, user="jane", application="sce", time_ms=NOW_MS)

    def apply(self, plan: Plan) -> Plan:
        """Do what a master does with a plan, without the database."""
        first = self.cache.position.uen + 1
        self.cache.apply([change_of(planned, Position(1, first + n)) for n, planned in enumerate(plan.changes)])
        for planned in plan.changes:  # what was planned as the result is what the announced change leads to
            assert self.cache.get(planned.type, planned.dbid) == planned.stored
            assert self.cache.folder_of(planned.type, planned.dbid) == planned.folder
        self.counters.update(plan.counters)
        return plan

    def create(self, word: str, obj: Mapping[str, Any], *, folder: int = 0) -> int:
        plan = self.apply(self.planner.create(SCHEMA.object_type(word).number, obj, folder=folder))
        return plan.changes[0].dbid

    def update(self, word: str, dbid: int, delta: Mapping[str, Any]) -> Plan:
        return self.apply(self.planner.update(SCHEMA.object_type(word).number, dbid, delta))

    def delete(self, word: str, dbid: int) -> Plan:
        return self.apply(self.planner.delete(SCHEMA.object_type(word).number, dbid))

    def get(self, word: str, dbid: int) -> dict[str, Any]:
        stored = self.cache.stored(SCHEMA.object_type(word).number, dbid)
        assert stored is not None
        return stored

    def has(self, word: str, dbid: int) -> bool:
        return self.cache.get(SCHEMA.object_type(word).number, dbid) is not None

    def folder_of(self, word: str, dbid: int) -> int:
        return self.cache.folder_of(SCHEMA.object_type(word).number, dbid)

    def plant(self, word: str, obj: Mapping[str, Any], *, folder: int = 0) -> None:
        """Put an object in as it is, past all rules."""
        self.plant_many(word, [obj], folder=folder)

    def plant_many(self, word: str, objects: Sequence[Mapping[str, Any]], *, folder: int = 0) -> None:
        kind, first = SCHEMA.object_type(word), self.cache.position.uen + 1
        changes = []
        for n, obj in enumerate(objects):
            dbid = obj.get("DBID") or self.counters[kind.number] + 1
            self.counters[kind.number] = max(self.counters[kind.number], dbid)
            stored = encode_object(kind, {**obj, "DBID": dbid})
            changes.append(
                Change(
                    action=Action.CREATED,
                    type=kind.number,
                    dbid=dbid,
                    position=Position(1, first + n),
                    frame=b"",
                    object=stored,
                    folder=folder,
                )
            )
        self.cache.apply(changes)

    def give(self, id: tuple[int, int], acl: Acl) -> None:
        """Set an object's own access control list."""
        before = self.cache.get(1000 + id[0], id[1])
        self.apply(Plan((planned_record((1000 + id[0], id[1]), before, encode_acl(id[1], acl)),), {}, {}, (0,)))

    # a few objects that many tests need

    def person(self, name: str, **attributes: Any) -> int:
        return self.create("person", {"userName": name, "employeeID": name, "tenantDBID": 1, **attributes})

    def skill(self, name: str = "english", *, tenant: int = 1) -> int:
        return self.create("skill", {"name": name, "tenantDBID": tenant})

    def switch(self, name: str = "east", *, tenant: int = 1) -> int:
        office = self.create("physicalSwitch", {"name": f"office of {name}", "type": 3})
        return self.create("switch", {"name": name, "tenantDBID": tenant, "physSwitchDBID": office})

    def dn(self, switch: int, number: str, **attributes: Any) -> int:
        return self.create("dn", {"switchDBID": switch, "number": number, "type": 1, **attributes})

    def group(self, name: str, *persons: int) -> int:
        return self.create("agentGroup", {"groupInfo": {"name": name, "tenantDBID": 1}, "agentDBIDs": list(persons)})


def change_of(planned: PlannedChange, position: Position) -> Change:
    return Change(
        action=planned.action,
        type=planned.type,
        dbid=planned.dbid,
        position=position,
        frame=b"",
        object=planned.stored if planned.delta is None else None,
        delta=None if planned.delta is None else dict(planned.delta),
        former=planned.former,
        folder=planned.new_folder,
    )


def code_of(error: Any) -> ErrorCode:
    """The published code of a refusal caught by ``pytest.raises(ModelError)``."""
    assert isinstance(error.value, ModelError)
    return error.value.code
