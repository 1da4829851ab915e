"""Carrying out the plan of an import: transaction after transaction, in the plan's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import anyio
import anyio.lowlevel

from csproxy.core.containers import FOLDER
from csproxy.core.files.batches import Numbering, Requests, batches, known_before, size_of
from csproxy.core.files.keys import Directory, full_text
from csproxy.core.files.operations import CREATE, UPDATE, Operation, delta_of
from csproxy.core.files.planning import Plan, Workspace, changing
from csproxy.core.files.reading import FileObject
from csproxy.core.rules import MAX_CHANGES
from csproxy.daemon.config_session import needed_types, read_directory
from csproxy.errors import ConfigurationError, CsproxyError
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_writes import UpdateWrite

__all__ = ["apply_plan", "check_atomic"]

_PREPARED_AT_ONCE: Final = 50


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
    cut = iter([plan.operations] if atomic else batches(plan.operations))
    try:
        coming = _next_requests(numbering, cut)
        while coming is not None:
            now, coming = coming, _next_requests(numbering, cut)
            dbids = await _send(client, now, beside=coming)
            numbering.done(now.operations, dbids)
            done += now.operations
            report(len(done), len(plan.operations))
        if plan.late:
            await _apply_late(client, plan.late, late, timeout_s=timeout_s)
    except CsproxyError as e:
        return e
    return None


def _next_requests(numbering: Numbering, cut: Iterator[Sequence[Operation]]) -> Requests | None:
    operations = next(cut, None)
    return None if operations is None else numbering.requests(operations)


async def _send(client: ConfigClient, requests: Requests, *, beside: Requests | None) -> list[int]:
    """Carry out one transaction, and prepare the one ``beside`` it while the master works. Raises as `apply`.

    Only one transaction is ever on its way: where one is refused, nothing of a later one has been carried out.
    """
    changes = requests.complete()
    refusal: CsproxyError | None = None
    dbids: list[int] = []
    async with anyio.create_task_group() as tasks:
        if beside is not None:
            tasks.start_soon(_prepare, beside)
        try:
            dbids = await client.apply(changes)
        except CsproxyError as e:
            refusal = e  # not raised here: the group would wrap it
        tasks.cancel_scope.cancel()  # what is not prepared yet is made when its turn comes
    if refusal is not None:
        raise refusal
    return dbids


async def _prepare(requests: Requests) -> None:
    """Make requests in steps of about 0.3 ms, so that sending and receiving go on."""
    while requests.prepare(_PREPARED_AT_ONCE):
        await anyio.lowlevel.checkpoint()


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
