"""`csproxy lb-config haproxy|f5`: the configuration of a load balancer, from that of its pool of proxies."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from csproxy.core import codec
from csproxy.core.model import SCHEMA
from csproxy.daemon.balancer_f5 import f5_config
from csproxy.daemon.balancer_haproxy import haproxy_config
from csproxy.daemon.balancers import Sizing
from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.pools import pool_of
from csproxy.daemon.session import open_session, read_raw, run
from csproxy.daemon.usage import DONE, UsageError
from csproxy.errors import ConfigurationError
from csproxy.transport.connection import Connection
from csproxy.transport.wire.reads import ObjectsRead

__all__ = ["run_lb_config"]

_APPLICATION = "application"
_HOST = "host"


def run_lb_config(arguments: argparse.Namespace) -> int:
    """Read the configuration, print the text; returns the exit status."""
    if arguments.proxy_protocol and arguments.balancer != "haproxy":
        raise UsageError("--proxy-protocol is for haproxy")
    try:
        sizing = Sizing(
            clients=arguments.clients,
            idle_timeout_s=arguments.idle_timeout,
            check_interval_s=arguments.check_interval,
            sources=tuple(arguments.source),
        )
    except ConfigurationError as e:
        raise UsageError(str(e)) from e
    flags = connection_flags(arguments)

    async def main() -> tuple[list[dict[str, Any]], dict[int, Mapping[str, Any]]]:
        async with open_session(flags) as (connection, _):
            applications = await _all(connection, flags, _APPLICATION)
            hosts = await _all(connection, flags, _HOST)
            return applications, {host["DBID"]: host for host in hosts}

    pool = pool_of(arguments.pool, *run(main))
    if arguments.balancer == "f5":
        print(f5_config(pool, sizing), end="")
    else:
        print(haproxy_config(pool, sizing, proxy_protocol=arguments.proxy_protocol), end="")
    return DONE


async def _all(connection: Connection, flags: ConnectionFlags, type_name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def part(read: ObjectsRead) -> None:
        found.extend(codec.decode_map(bytes(raw)) for raw in read.objects)

    await read_raw(connection, SCHEMA.object_type(type_name), {}, timeout_s=flags.timeout_s, on_part=part)
    return found
