"""A program that survives the loss of a site, and goes back when the site is there again.

    python examples/site_loss.py --preferred 127.0.0.1:2021 --backup 127.0.0.1:2022 --user default --password ...

Name several members of a pool by repeating the option. Stop the servers of the preferred pool and start them again:
what is known of the skills stays readable all the time, and every change comes once.
"""

from __future__ import annotations

import argparse

import anyio

from csproxy import ClientState, ConfigClient, CsproxyError, KeepAlive, NearCache, Pools
from csproxy.core.model import CfgSkill


def address(text: str) -> tuple[str, int]:
    """``host:port``."""
    host, _, port = text.rpartition(":")
    return host, int(port)


async def tell_states(client: ConfigClient, near: NearCache) -> None:
    """Say where the client is, and what can be read meanwhile."""
    async for event in client.events():
        if event.state is ClientState.CONNECTED:
            print(f"-- connected to {event.endpoint}", flush=True)
        elif event.state is ClientState.SUSPENDED:
            print(f"-- suspended: {event.reason}", flush=True)
            print(f"-- {near.count(CfgSkill)} skills stay readable, {near.age_s:.1f} s old", flush=True)
        else:
            print(f"-- {event.state.value}: {event.reason}", flush=True)


async def tell_changes(near: NearCache) -> None:
    """Print each change once local reads show it."""
    async for change in near.changes(CfgSkill):
        print(f"UEN {change.position.uen}: skill {change.dbid} {change.action.name.lower()}", flush=True)


async def main() -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(description="Follow the skills of a contact centre from two sites.")
    parser.add_argument("--preferred", type=address, action="append", required=True, metavar="HOST:PORT")
    parser.add_argument("--backup", type=address, action="append", required=True, metavar="HOST:PORT")
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    parser.add_argument("--return-after", type=float, default=60.0, metavar="SECONDS")
    arguments = parser.parse_args()
    pools = Pools(arguments.preferred, arguments.backup, return_after_s=arguments.return_after)
    keep_alive = KeepAlive(timeout_s=2.0, remote_timeout_s=10.0)
    try:
        async with (
            ConfigClient(
                pools=pools, user=arguments.user, password=arguments.password, keep_alive=keep_alive
            ) as client,
            NearCache(client, [CfgSkill]) as near,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(tell_states, client, near)
            tasks.start_soon(tell_changes, near)
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        print()
