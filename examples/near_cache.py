"""Keep persons and skills in this program's own memory and answer questions without asking a server.

    python examples/near_cache.py --host 127.0.0.1 --port 2020 --user default --password ...

Local reads take microseconds, follow every change, and go on while the server is away.
"""

from __future__ import annotations

import argparse
import time

import anyio

from csproxy import ConfigClient, CsproxyError, NearCache
from csproxy.core.model import CfgPerson, CfgSkill


def show(near: NearCache) -> None:
    """Which skills there are and how many persons have each, all from memory."""
    began = time.perf_counter()
    rows = [(skill.name, len(near.select(CfgPerson, skill_dbid=skill.DBID))) for skill in near.select(CfgSkill)]
    elapsed_ms = (time.perf_counter() - began) * 1000
    print(f"\n{near!r}; {len(rows)} skills counted in {elapsed_ms:.1f} ms")
    for name, count in sorted(rows, key=lambda row: -row[1])[:10]:
        print(f"  {name:<30} {count:>6} persons")


async def follow(near: NearCache) -> None:
    """Show the numbers again after each change that touched a person or a skill."""
    async for change in near.changes():
        if change.last:
            show(near)


async def tell_age(near: NearCache, every_s: float) -> None:
    """Say how old the data may be, which grows while the server is away."""
    while True:
        await anyio.sleep(every_s)
        print(f"-- {'following' if near.is_following else 'not following'}, at most {near.age_s:.1f} s old", flush=True)


async def main() -> None:
    """Connect, load and answer until interrupted."""
    parser = argparse.ArgumentParser(description="Count the persons with each skill, from a local cache.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2020)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    arguments = parser.parse_args()
    try:
        async with (
            ConfigClient(arguments.host, arguments.port, user=arguments.user, password=arguments.password) as client,
            NearCache(client, [CfgPerson, CfgSkill]) as near,
            anyio.create_task_group() as tasks,
        ):
            show(near)
            tasks.start_soon(follow, near)
            tasks.start_soon(tell_age, near, 10.0)
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        print()
