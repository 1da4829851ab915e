"""`csproxy status`: what a server says of itself, at its client port or its management port."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import anyio
import msgspec

from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.output import compact_json, pretty_json, print_pairs, say
from csproxy.daemon.session import open_session, run
from csproxy.daemon.usage import DONE, FAILED
from csproxy.errors import ConnectionLostError, CsproxyError, ServerError, TimedOutError
from csproxy.transport.blocking import run_blocking
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import Status

__all__ = ["run_status"]

Asker = Callable[[float | None], Awaitable[dict[str, Any]]]
"""Asks once; called with the seconds that are left, None for no limit of its own."""

_RETRY_S = 0.2
_decode = msgspec.msgpack.Decoder(Status).decode


def run_status(arguments: argparse.Namespace) -> int:
    """Ask, with ``--wait`` until the server is ready; returns the exit status."""
    ask = _asker(arguments)

    async def main() -> dict[str, Any]:
        return await _status(ask, wait_s=arguments.wait)

    status = run(main)
    if arguments.output == "table":
        print_pairs(_pairs(status))
    else:
        print(pretty_json(status) if arguments.output == "json" else compact_json(status))
    if not status.get("ready"):
        reason = f": {status['reason']}" if status.get("reason") else ""
        say(f"csproxy status: {status.get('name', 'the server')} is not ready{reason}")
        return FAILED
    return DONE


def _asker(arguments: argparse.Namespace) -> Asker:
    if arguments.management is not None:
        from csproxy.daemon.management_client import management_client

        client = management_client(arguments)
        return lambda _at_most_s: run_blocking(client.status)
    flags = connection_flags(arguments)

    def ask(at_most_s: float | None) -> Awaitable[dict[str, Any]]:
        if at_most_s is None:
            return _ask(flags)
        return _ask(replace(flags, timeout_s=min(flags.timeout_s, max(at_most_s, 1.0))))

    return ask


async def _status(ask: Asker, *, wait_s: float | None) -> dict[str, Any]:
    """The Status answer. Raises what the last attempt raised when the server cannot be asked in time."""
    deadline = time.monotonic() + (wait_s or 0.0)
    is_told = not sys.stderr.isatty()
    while True:
        left_s = deadline - time.monotonic()
        try:
            status = await ask(None if wait_s is None else left_s)
            if wait_s is None or status.get("ready") or left_s <= 0:
                return status
            reason = str(status.get("reason") or "it is not ready")
        except CsproxyError as e:
            if wait_s is None or left_s <= 0 or not _may_pass(e):
                raise
            reason = str(e)
        if not is_told:
            is_told = True
            say(f"csproxy status: waiting up to {wait_s:g} s: {reason}")
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
            pairs[prefix.replace("_", " ")] = "; ".join(_shown(item) for item in value)
        else:
            pairs[prefix.replace("_", " ")] = _shown(value)

    add("", status)
    return pairs


def _shown(value: Any) -> str:
    """A value in a line; one with parts, such as a port, as ``id=default port=2020``."""
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ",".join(_shown(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
