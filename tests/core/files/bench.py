"""A server without network for tests of files: documents are imported into it and exported from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from csproxy.core.changes import Position
from csproxy.core.files.batches import Creation, Numbering, batches
from csproxy.core.files.checks import Findings, check
from csproxy.core.files.keys import Directory
from csproxy.core.files.kinds import KINDS
from csproxy.core.files.operations import Operation
from csproxy.core.files.planning import Plan, Workspace, make_plan
from csproxy.core.files.reading import read_file
from csproxy.core.files.writing import write_file
from csproxy.core.transactions import RequestedChange, Verb
from tests.core.writes.desk import Desk, change_of

TENANT = {"tenant": "Environment"}


class Bench(Desk):
    """A desk that takes and gives files."""

    def directory(self) -> Directory:
        directory = Directory()
        for kind in KINDS:
            number = kind.type.number
            dbids = list(self.cache.dbids(number))
            objects = [self.cache.stored(number, dbid) or {} for dbid in dbids]
            directory.add(number, objects, [self.cache.folder_of(number, dbid) for dbid in dbids])
        return directory

    def work(self, document: Mapping[str, Any] | str, environment: Mapping[str, str] | None = None) -> Workspace:
        text = document if isinstance(document, str) else json.dumps(document)
        objects, _ = read_file(text.encode(), environment or {})
        return Workspace(objects, self.directory())

    def findings(self, document: Mapping[str, Any]) -> Findings:
        return check(self.work(document))

    def plan(self, document: Mapping[str, Any]) -> Plan:
        return make_plan(self.work(document))

    def bring(self, document: Mapping[str, Any] | str) -> Plan:
        """Import the document, which must have nothing against it."""
        work = self.work(document)
        assert not check(work)
        plan = make_plan(work)
        numbering = Numbering(work)
        for batch in batches(plan.operations):
            numbering.done(batch, self._send(numbering.requests(batch)))
        return plan

    def export(self) -> str:
        return "".join(write_file(self.directory()))

    def _send(self, requests: list[Any]) -> list[int]:
        changes = []
        for each in requests:
            if isinstance(each, Creation):
                changes.append(
                    RequestedChange(message=Verb.CREATE, type=each.type, object=each.object, folder=each.folder)
                )
            else:
                changes.append(RequestedChange(message=Verb.UPDATE, type=each.type, dbid=each.dbid, delta=each.delta))
        planner = self.planner
        plan = planner.transaction(changes)
        first = self.cache.position.uen + 1
        self.cache.apply([change_of(planned, Position(1, first + n)) for n, planned in enumerate(plan.changes)])
        self.counters.update(plan.counters)
        return [plan.changes[index].dbid for index in plan.answers]


def words(operations: tuple[Operation, ...]) -> list[str]:
    """``create switch`` for each operation, in order."""
    return [f"{each.action} {each.object.kind.display} {each.key.parts[-1]}" for each in operations]
