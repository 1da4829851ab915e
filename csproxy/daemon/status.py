"""`csproxy status`: what a server says of itself, at its client port."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import msgspec

from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.output import compact_json, pretty_json, print_pairs, say
from csproxy.daemon.session import open_session, run
from csproxy.daemon.usage import DONE, FAILED
from csproxy.errors import ConnectionLostError, CsproxyError, ServerError, TimedOutError
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import Status

__all__ = ["run_status"]

_RETRY_S = 0.2
_decode = msgspec.msgpack.Decoder(Status).decode


def run_status(arguments: argparse.Namespace) -> int:
    """Ask, with ``--wait`` until the server is ready; returns the exit status."""
    flags = connection_flags(arguments)

    async def main() -> dict[str, Any]:
        return await _status(flags, wait_s=arguments.wait)

    status = run(main)
    if arguments.output == "table":
        print_pairs(_pairs(status))
    else:
        print(pretty_json(status) if arguments.output == "json" else compact_json(status))
    if not status.get("ready"):
        say(f"csproxy status: {status.get('name', 'the server')} is not ready")
        return FAILED
    return DONE


async def _status(flags: ConnectionFlags, *, wait_s: float | None) -> dict[str, Any]:
    """The Status answer. Raises what the last attempt raised when the server cannot be asked in time."""
    deadline = time.monotonic() + (wait_s or 0.0)
    while True:
        left_s = deadline - time.monotonic()
        try:
            bounded = flags if wait_s is None else replace(flags, timeout_s=min(flags.timeout_s, max(left_s, 1.0)))
            status = await _ask(bounded)
            if wait_s is None or status.get("ready") or left_s <= 0:
                return status
        except CsproxyError as e:
            if wait_s is None or left_s <= 0 or not _may_pass(e):
                raise
        await anyio.sleep(_RETRY_S)


async def _ask(flags: ConnectionFlags) -> dict[str, Any]:
    async with open_session(flags) as (connection, registered):
        frame = await connection.request(MessageId.READ_STATUS, timeout_s=flags.timeout_s)
        status = _decode(frame.payload).status
        status.setdefault("schema_version", registered.schema_version)
        return status


def _may_pass(error: CsproxyError) -> bool:
    """Whether waiting may help: nobody listens yet, or the server says that it may."""
    if isinstance(error, ServerError):
        return error.retry_after_s > 0
    return isinstance(error, (ConnectionLostError, TimedOutError))


def _pairs(status: Mapping[str, Any]) -> dict[str, str]:
    """The document as lines: nested keys joined by a space, underscores as spaces, units as they are."""
    pairs: dict[str, str] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                add(f"{prefix} {key}".strip(), item)
        elif isinstance(value, list):
            pairs[prefix.replace("_", " ")] = ", ".join(str(item) for item in value)
        elif isinstance(value, bool):
            pairs[prefix.replace("_", " ")] = "yes" if value else "no"
        else:
            pairs[prefix.replace("_", " ")] = str(value)

    add("", status)
    return pairs
