"""`csproxy create`, `update` and `delete`: one object, one request."""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from csproxy.core import codec
from csproxy.core.changes import Change
from csproxy.core.model import ObjectType
from csproxy.core.model.delta import compute_delta
from csproxy.daemon.assignments import apply_assignments, parse_assignment
from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.output import change_document, compact_json, pretty_json, say
from csproxy.daemon.plain import object_from_json
from csproxy.daemon.session import object_type, open_session, read_raw, run
from csproxy.daemon.usage import DONE, UsageError
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.connection import Connection
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import decode_change
from csproxy.transport.wire.payload import Payload
from csproxy.transport.wire.reads import ObjectsRead
from csproxy.transport.wire.writes import CreateObject, DeleteObject, UpdateObject

__all__ = ["read_one", "run_create", "run_delete", "run_update", "send_write"]

_Work = Callable[[Connection], Awaitable[Change | None]]


def run_create(arguments: argparse.Namespace) -> int:
    """Create the object that standard input holds as JSON."""
    type_ = object_type(arguments.type)
    flags = connection_flags(arguments)  # a password on standard input stands before the object
    if sys.stdin.isatty():
        say(f"csproxy create: type the {type_.name} as JSON, and end it with Ctrl-D on a line of its own")
    try:
        value = json.loads(sys.stdin.read())
    except UnicodeDecodeError as e:
        raise UsageError(f"standard input is not UTF-8: byte 0x{e.object[e.start]:02x} at offset {e.start}") from e
    except ValueError as e:
        raise UsageError(
            f"standard input is not JSON: {e}; csproxy read {arguments.type} --output json shows the form"
        ) from e
    request = CreateObject(
        type=type_.number, object=object_from_json(type_, value), folder=arguments.folder, key=uuid.uuid4().hex
    )

    async def work(connection: Connection) -> Change:
        return await send_write(connection, MessageId.CREATE_OBJECT, request, flags.timeout_s)

    return _carry_out(arguments, type_, flags, work)


def run_update(arguments: argparse.Namespace) -> int:
    """Read the object, make the assignments, and send the difference if there is one."""
    type_ = object_type(arguments.type)
    assignments = [parse_assignment(text) for text in arguments.assignments]
    flags = connection_flags(arguments)

    async def work(connection: Connection) -> Change | None:
        before = await read_one(connection, type_, arguments.dbid, flags.timeout_s)
        delta = compute_delta(type_, before, apply_assignments(type_, before, assignments))
        if not delta:
            return None
        request = UpdateObject(type=type_.number, dbid=arguments.dbid, delta=delta, key=uuid.uuid4().hex)
        return await send_write(connection, MessageId.UPDATE_OBJECT, request, flags.timeout_s)

    return _carry_out(arguments, type_, flags, work)


def run_delete(arguments: argparse.Namespace) -> int:
    """Delete the object, and what belongs to it."""
    type_ = object_type(arguments.type)
    flags = connection_flags(arguments)
    request = DeleteObject(type=type_.number, dbid=arguments.dbid, key=uuid.uuid4().hex)

    async def work(connection: Connection) -> Change:
        return await send_write(connection, MessageId.DELETE_OBJECT, request, flags.timeout_s)

    return _carry_out(arguments, type_, flags, work)


def _carry_out(arguments: argparse.Namespace, type_: ObjectType, flags: ConnectionFlags, work: _Work) -> int:
    async def main() -> Change | None:
        async with open_session(flags) as (connection, _):
            return await work(connection)

    change = run(main)
    document = _document(change, type_, getattr(arguments, "dbid", 0))
    if arguments.output == "json":
        print(pretty_json(document))
    elif arguments.output == "jsonl":
        print(compact_json(document))
    else:
        at = f" at UEN {document['uen']}" if "uen" in document else ""
        print(f"{document['action']} {document['type']} {document['dbid']}{at}")
    return DONE


def _document(change: Change | None, type_: ObjectType, dbid: int) -> dict[str, Any]:
    """The change as `csproxy watch` shows it; for an update without a difference: action, type and dbid."""
    if change is None:
        return {"action": "unchanged", "type": type_.name, "dbid": dbid}
    return change_document(change)


async def send_write(connection: Connection, message: MessageId, request: Payload, timeout_s: float) -> Change:
    """Send one write; the change that it made. Raises as `Connection.request`."""
    frame = await connection.request(message, request, timeout_s=timeout_s)
    return decode_change(frame)


async def read_one(connection: Connection, type_: ObjectType, dbid: int, timeout_s: float) -> dict[str, Any]:
    """An object in plain form. Raises `ServerError` (OBJECT_NOT_FOUND) without one."""
    found: list[dict[str, Any]] = []

    def part(read: ObjectsRead) -> None:
        found.extend(codec.decode_map(raw) for raw in read.objects)

    await read_raw(connection, type_, {"dbid": dbid}, timeout_s=timeout_s, on_part=part)
    if not found:
        raise ServerError.from_code(
            ErrorCode.OBJECT_NOT_FOUND, f"there is no {type_.name} with DBID {dbid}", object_type=type_.number
        )
    return found[0]
