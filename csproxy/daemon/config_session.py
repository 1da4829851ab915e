"""What `csproxy config` reads from a server: the objects that a file can touch, as of one moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from csproxy.core import codec
from csproxy.core.containers import FOLDER, TENANT
from csproxy.core.files.keys import Directory, Key
from csproxy.core.files.kinds import KINDS, key_parts
from csproxy.core.files.reading import FileObject
from csproxy.core.model import SCHEMA, AttributeKind
from csproxy.daemon.connection_flags import ConnectionFlags
from csproxy.daemon.output import progress
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_snapshot import Snapshot
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import decode_payload
from csproxy.transport.wire.reads import ObjectsRead

__all__ = ["needed_types", "open_client", "read_directory"]


def open_client(flags: ConnectionFlags) -> ConfigClient:
    """The client of a command, not connected yet."""
    return ConfigClient(
        flags.host,
        flags.port,
        application=flags.application,
        user=flags.user,
        password=flags.password,
        tls=flags.tls,
        tickets=flags.tickets,
        request_timeout_s=flags.timeout_s,
    )


def needed_types(objects: Iterable[FileObject]) -> frozenset[int]:
    """The types that an import has to know: those of the file, of what it refers to, and of what names these."""
    found = {TENANT, FOLDER}
    for each in objects:
        found.add(each.key.type)
        for key in (each.key, *each.keys, each.folder or each.key):
            if key.type != FOLDER:
                found.add(key.type)  # those of its parts follow from it
            elif isinstance(key.parts[0], Key):
                found.add(key.parts[0].type)
    waiting = list(found)
    while waiting:
        number = waiting.pop()
        for target in _naming(number):
            if target not in found:
                found.add(target)
                waiting.append(target)
    return frozenset(found)


def _naming(number: int) -> Iterable[int]:
    """The types of objects that stand in the key of a type."""
    if number == FOLDER:
        return ()
    return [
        SCHEMA.object_type(str(part.attribute.target)).number
        for part in key_parts(number)
        if part.attribute.kind is AttributeKind.LINK
    ]


async def read_directory(client: ConfigClient, types: Iterable[int] | None, *, timeout_s: float) -> Directory:
    """Read all objects of ``types`` (None: of every kind) in one snapshot.

    Raises as `ConfigClient.read`.
    """
    numbers = sorted(types) if types is not None else [kind.type.number for kind in KINDS]
    directory = Directory()
    async with Snapshot(await client.connection(), timeout_s=timeout_s) as snapshot:
        with progress("reading objects") as report:
            for number in numbers:
                objects: list[dict[str, Any]] = []
                folders: list[int] = []

                def part(frame: Frame, objects: list[dict[str, Any]] = objects, folders: list[int] = folders) -> None:
                    read = decode_payload(ObjectsRead, frame.payload)
                    objects += [codec.decode_map(raw) for raw in read.objects]
                    folders += read.folders
                    report(len(objects), read.total)

                await snapshot.read(number, {"read_folder_dbid": 1}, on_part=part, timeout_s=timeout_s)
                for each in objects:
                    each.pop("objectIDs", None)
                directory.add(number, objects, folders)
    return directory
