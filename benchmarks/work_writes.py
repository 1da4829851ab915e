"""Changes through a writable proxy, beside durable writes of the peers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from copy import deepcopy

import anyio
import requests_csp
from comparing import Bench, closed_loop, compared, side_by_side
from peers import Server
from requests_csp import PASSWORD
from results import Result
from site_data import PROXY, Site

from csproxy.core.model import CfgApplication
from csproxy.transport.client import ConfigClient

__all__ = ["make_writable", "measure_writes"]


def measure_writes(bench: Bench, servers: Sequence[Server]) -> Iterator[Result]:
    """write-forward: ``servers`` are a writable proxy, and peers that sync each write to the disk."""
    if bench.wants("write-forward"):
        scale = bench.scale
        found = side_by_side(
            servers,
            lambda server: closed_loop(server, "write", connections=scale.few, seconds=scale.seconds),
            "per_s",
            repeat=scale.repeat,
            count="done",
        )
        yield from compared(bench, "write-forward", "writes/s", found, "per_s")


def make_writable(site: Site) -> None:
    """Let the site's proxy take changes, without a limit for each client, and wait until it does."""

    async def change() -> None:
        async with ConfigClient(port=site.master_port, user="default", password=PASSWORD) as client:
            before = await client.get(CfgApplication, name=PROXY)
            after = deepcopy(before)
            after.options = {"csproxy": {"proxy-writable": "true", "proxy-write-rate": "0"}}
            await client.update(before, after)

    anyio.run(change)
    while not requests_csp.status(site.proxy_port)["writable"]:
        time.sleep(0.05)
