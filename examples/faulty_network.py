"""How a program behaves on a bad network: a client behind a proxy that cuts, delays and goes deaf on demand.

    python examples/faulty_network.py --host 127.0.0.1 --port 2020 --user default --password ...

Put `csproxy.testing.FaultProxy` between your own program and its server in the same way; within one
process, and in simulated time, `csproxy.testing.MemoryNetwork` does the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import anyio

from csproxy import ClientState, ConfigClient, CsproxyError, KeepAlive
from csproxy.core.model import CfgPerson
from csproxy.testing import FaultProxy


async def read_through(client: ConfigClient, fault: Callable[[], object], *, lasts_s: float, proxy: FaultProxy) -> str:
    """Make a fault, read while it lasts and after it; says how long the read took."""
    fault()
    began = time.monotonic()
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await anyio.sleep(lasts_s)
            proxy.restore()

        tasks.start_soon(end)
        person = await client.get(CfgPerson, 100)
        took_s = time.monotonic() - began
    return f"read {person.userName!r} after {took_s:.2f} s"


def tell(state: ClientState) -> None:
    """Print how the client stands to its server."""
    print(f"-- {state.value}", flush=True)


async def main() -> None:
    """Three faults, one after the other, and one client that lives through all of them."""
    parser = argparse.ArgumentParser(description="Read through a network that fails on demand.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2020)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    arguments = parser.parse_args()
    try:
        async with (
            FaultProxy(arguments.host, arguments.port) as proxy,
            ConfigClient(
                proxy.host,
                proxy.port,
                user=arguments.user,
                password=arguments.password,
                attempt_timeout_s=1.0,
                keep_alive=KeepAlive(timeout_s=0.5),
            ) as client,
        ):
            client.observe(tell)
            print("cut:", await read_through(client, proxy.cut, lasts_s=0.0, proxy=proxy), flush=True)
            print("slow:", await read_through(client, lambda: proxy.delay(0.2), lasts_s=1.0, proxy=proxy), flush=True)
            print("deaf:", await read_through(client, proxy.deafen, lasts_s=1.5, proxy=proxy), flush=True)
            print(f"reconnected {client.statistics().reconnects} times", flush=True)
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e


if __name__ == "__main__":
    anyio.run(main)
