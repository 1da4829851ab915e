"""A server without network for tests of files: documents are imported into it and exported from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from csproxy.core.changes import Position
from csproxy.core.files.any_form import read_form, write_form
from csproxy.core.files.batches import Numbering, batches
from csproxy.core.files.checks import Findings, check
from csproxy.core.files.keys import Directory
from csproxy.core.files.kinds import KINDS
from csproxy.core.files.operations import Operation
from csproxy.core.files.planning import Plan, Workspace, make_plan
from csproxy.core.files.reading import FileObject
from csproxy.core.transactions import RequestedChange
from tests.core.writes.desk import Desk, change_of

Document = Mapping[str, Any] | str | bytes

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

    def work(
        self, document: Mapping[str, Any] | str | bytes, environment: Mapping[str, str] | None = None
    ) -> Workspace:
        """A document of the JSON form, or a file in any form."""
        if isinstance(document, Mapping):
            document = json.dumps(document)
        objects, _ = read_form(document.encode() if isinstance(document, str) else document, environment or {})
        return Workspace(objects, self.directory())

    def findings(self, document: Mapping[str, Any]) -> Findings:
        return check(self.work(document))

    def plan(self, document: Mapping[str, Any]) -> Plan:
        return make_plan(self.work(document))

    def bring(self, document: Document) -> Plan:
        """Import the document, which must have nothing against it."""
        return self.carry_out(self.work(document))

    def bring_objects(self, objects: list[FileObject]) -> Plan:
        """Import objects, which must have nothing against them."""
        return self.carry_out(Workspace(objects, self.directory()))

    def carry_out(self, work: Workspace) -> Plan:
        findings = check(work)
        assert not findings, findings.sentences()
        plan = make_plan(work)
        numbering = Numbering(work)
        for batch in batches(plan.operations):
            numbering.done(batch, self._send(numbering.requests(batch).complete()))
        return plan

    def export(self, form: str = "json") -> str:
        return b"".join(write_form(self.directory(), form)).decode()

    def _send(self, changes: list[RequestedChange]) -> list[int]:
        planner = self.planner
        plan = planner.transaction(changes)
        first = self.cache.position.uen + 1
        self.cache.apply([change_of(planned, Position(1, first + n)) for n, planned in enumerate(plan.changes)])
        self.counters.update(plan.counters)
        return [plan.changes[index].dbid for index in plan.answers]


def words(operations: tuple[Operation, ...]) -> list[str]:
    """``create switch`` for each operation, in order."""
    return [f"{each.action} {each.object.kind.display} {each.key.parts[-1]}" for each in operations]
