"""Carrying out the plan of an import: transaction after transaction, in the plan's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from csproxy.core.containers import FOLDER
from csproxy.core.files.batches import Creation, Numbering, Update, batches, known_before, size_of
from csproxy.core.files.keys import Directory, full_text
from csproxy.core.files.operations import CREATE, UPDATE, Operation, delta_of
from csproxy.core.files.planning import Plan, Workspace, changing
from csproxy.core.files.reading import FileObject
from csproxy.core.rules import MAX_CHANGES
from csproxy.daemon.config_session import needed_types, read_directory
from csproxy.errors import ConfigurationError, CsproxyError
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_writes import CreateWrite, UpdateWrite, Write

__all__ = ["apply_plan", "check_atomic"]


def check_atomic(plan: Plan) -> None:
    """Raise `ConfigurationError` if the plan cannot be one transaction."""
    size = sum(map(size_of, plan.operations))
    if size > MAX_CHANGES:
        raise ConfigurationError(
            f"this import makes {size:,} changes, default folders included; one transaction holds {MAX_CHANGES:,} at "
            "most: leave --atomic out and it is split"
        )
    if plan.late:
        raise ConfigurationError(
            "this import changes default folders of objects that it creates; these exist only afterwards, "
            "so that it cannot be one transaction: leave --atomic out"
        )
    created = {operation.key for operation in plan.operations if operation.action == CREATE}
    for operation in plan.operations:
        for key in created.intersection(known_before(operation)):
            raise ConfigurationError(
                f"{full_text(operation.key)} has the member {full_text(key)}, which must exist before it, "
                "so that this import cannot be one transaction: leave --atomic out"
            )


async def apply_plan(
    client: ConfigClient,
    plan: Plan,
    work: Workspace,
    *,
    atomic: bool,
    done: list[Operation],
    late: list[FileObject],
    report: Callable[[int, int], None],
    timeout_s: float,
) -> CsproxyError | None:
    """Send the plan; ``done`` and ``late`` grow as transactions are committed.

    Returns the error that ended it early, None if all is done.
    """
    numbering = Numbering(work)
    cut = [list(plan.operations)] if atomic else batches(plan.operations)
    try:
        for batch in cut:
            dbids = await client.apply(_writes(numbering.requests(batch)))
            numbering.done(batch, dbids)
            done += batch
            report(len(done), len(plan.operations))
        if plan.late:
            await _apply_late(client, plan.late, late, timeout_s=timeout_s)
    except CsproxyError as e:
        return e
    return None


async def _apply_late(
    client: ConfigClient, wanted: Sequence[FileObject], late: list[FileObject], *, timeout_s: float
) -> None:
    """Change default folders that came into being with their owners."""
    directory: Directory = await read_directory(client, needed_types(wanted), timeout_s=timeout_s)
    for each in wanted:
        dbid = directory.find(each.key)
        if not dbid:
            raise ConfigurationError(f"{each!r} did not come into being with its owner")
        operation = Operation(UPDATE, each, changing(each), dbid, directory.objects(FOLDER)[dbid])
        delta = delta_of(operation, directory.find)
        if delta:
            await client.apply([UpdateWrite(FOLDER, dbid, delta)])
        late.append(each)


def _writes(requests: Sequence[Creation | Update]) -> list[Write]:
    return [
        CreateWrite(each.type, each.object, each.folder)
        if isinstance(each, Creation)
        else UpdateWrite(each.type, each.dbid, each.delta)
        for each in requests
    ]
