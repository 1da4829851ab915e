"""Keep a CSV file of the agents of one group, always as the configuration has it.

    python examples/agents_csv.py "Sales" agents.csv --host 127.0.0.1 --port 2020 --user default --password ...

The file is written anew, in one step, whenever the group or one of its agents has changed.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import anyio

from csproxy import ConfigClient, CsproxyError, NearCache
from csproxy.core.model import CfgAgentGroup, CfgPerson
from csproxy.errors import ObjectNotFoundError

HEADER = ["user", "first name", "last name", "employee", "e-mail"]


def rows(near: NearCache, group_dbid: int) -> list[list[str]]:
    """The group's agents, by user name."""
    group = near.get(CfgAgentGroup, group_dbid)
    agents = [near.get(CfgPerson, dbid) for dbid in group.agentDBIDs]
    return sorted([a.userName, a.firstName, a.lastName, a.employeeID, a.emailAddress] for a in agents)


def write(path: Path, table: list[list[str]]) -> None:
    """Put a complete new file in the place of the old one: whoever reads it never sees half of it."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *table])
    os.replace(new, path)
    print(f"{len(table)} agents in {path}", flush=True)


async def follow(near: NearCache, group_dbid: int, path: Path) -> None:
    """Write the file, and again after each transaction that changed what stands in it."""
    changes = near.changes()  # from here on, so that nothing is missed while the file is written
    table = rows(near, group_dbid)
    write(path, table)
    async for change in changes:
        if change.last and (after := rows(near, group_dbid)) != table:
            table = after
            write(path, table)


async def main() -> None:
    """Connect and follow until interrupted, or until the group is deleted."""
    parser = argparse.ArgumentParser(description="Keep a CSV file of the agents of a group.")
    parser.add_argument("group")
    parser.add_argument("file", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2020)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    given = parser.parse_args()
    try:
        async with (
            ConfigClient(given.host, given.port, user=given.user, password=given.password) as client,
            NearCache(client, [CfgAgentGroup, CfgPerson]) as near,
        ):
            groups = near.select(CfgAgentGroup, name=given.group)
            if not groups:
                raise SystemExit(f"there is no agent group {given.group!r}")
            await follow(near, groups[0].DBID, given.file)
    except ObjectNotFoundError as e:
        raise SystemExit(f"the group is gone: {e}") from e
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e


if __name__ == "__main__":
    anyio.run(main)
