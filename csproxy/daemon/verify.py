"""`csproxy verify`: is the data of a server what it ought to be."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any, Final

import anyio

from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA
from csproxy.core.security_records import STORED_TYPES
from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.endpoints import host_and_port
from csproxy.daemon.output import pretty_json, print_rows, say
from csproxy.daemon.session import open_session, run
from csproxy.daemon.usage import DONE, FAILED
from csproxy.errors import ServerError, TimedOutError
from csproxy.transport.connection import Connection
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.replication import Digest, ReadDigest
from csproxy.transport.wire.verification import Verified, VerifiedType

__all__ = ["run_verify"]

_ATTEMPTS: Final = 20


def run_verify(arguments: argparse.Namespace) -> int:
    """Ask, print, and return 0 if everything was equal, else 1."""
    flags = connection_flags(arguments)
    master = None if arguments.master is None else _master_flags(flags, arguments.master)

    async def main() -> dict[str, Any]:
        return await _verify(flags) if master is None else await _compare(flags, master)

    document = run(main)
    rows = document["types"]
    wrong = [row for row in rows if row["state"] != "equal"]
    if arguments.output == "json":
        print(pretty_json(document))
    else:
        table = [[row["type"], str(row["objects"]), row["state"]] for row in rows]
        title = f"compared with {document['compared_with']} at UEN {document['uen']}"
        print_rows(title, ["type", "objects", "state"], table, numeric=frozenset({"objects"}))
    if not wrong:
        return DONE
    say(f"csproxy verify: {'; '.join(_sentences(wrong))}")
    return FAILED


async def _verify(flags: ConnectionFlags) -> dict[str, Any]:
    """The server itself compares with where its data comes from, and heals."""
    async with open_session(flags) as (connection, _):
        # a comparison may include reading a type anew
        frame = await connection.request(MessageId.VERIFY, timeout_s=max(flags.timeout_s, 600.0))
        verified = decode_payload(Verified, frame.payload)
    return _document(verified, Position(frame.epoch, frame.uen))


async def _compare(flags: ConnectionFlags, master_flags: ConnectionFlags) -> dict[str, Any]:
    """Two servers' digests at one position, compared here; nothing is healed. Raises `TimedOutError`."""
    async with open_session(flags) as (proxy, _), open_session(master_flags) as (master, _):
        for _ in range(_ATTEMPTS):
            theirs, position = await _digests(master, Position(0, 0), flags.timeout_s)
            ours, reached = await _digests(proxy, position, flags.timeout_s)
            if reached.uen == position.uen:
                types = [
                    VerifiedType(type=number, state="equal" if ours.get(number) == theirs.get(number) else "different")
                    for number in sorted(ours.keys() | theirs.keys())
                    if number in SCHEMA.types or ours.get(number) != theirs.get(number)  # records only if they differ
                ]
                return _document(Verified(compared_with=f"{master.peer}", types=types), position)
    raise TimedOutError(f"{_ATTEMPTS} times the data changed while it was compared: try again when less is written")


async def _digests(connection: Connection, minimum: Position, timeout_s: float) -> tuple[dict[int, str], Position]:
    """Digests not older than ``minimum``; a server that is behind is asked again until ``timeout_s`` have passed."""
    deadline = anyio.current_time() + timeout_s
    while True:
        try:
            frame = await connection.request(MessageId.READ_DIGEST, ReadDigest(), minimum=minimum, timeout_s=timeout_s)
        except ServerError as e:
            if not e.retry_after_s or anyio.current_time() + e.retry_after_s >= deadline:
                raise
            await anyio.sleep(e.retry_after_s)
        else:
            return decode_payload(Digest, frame.payload).digests, Position(frame.epoch, frame.uen)


def _document(verified: Verified, position: Position) -> dict[str, Any]:
    return {
        "compared_with": verified.compared_with,
        "epoch": position.epoch,
        "uen": position.uen,
        "equal": all(item.state == "equal" for item in verified.types),
        "types": [{"type": _name(item.type), "objects": item.objects, "state": item.state} for item in verified.types],
    }


def _sentences(wrong: list[dict[str, Any]]) -> list[str]:
    found = []
    for state, words in (("different", "different"), ("healed", "different before, and healed now")):
        names = [row["type"] for row in wrong if row["state"] == state]
        if names:
            found.append(f"{words}: {', '.join(names)}")
    return found


def _name(number: int) -> str:
    return STORED_TYPES[number].name if number in STORED_TYPES else str(number)


def _master_flags(flags: ConnectionFlags, text: str) -> ConnectionFlags:
    host, port = host_and_port("--master", text)
    return replace(flags, host=host, port=port)
