"""Follow the persons of a configuration: read them all, then print every change.

    python examples/watch_persons.py --host 127.0.0.1 --port 2020 --user default --password ...

The connection is kept: stop the server, change something at another one, start it again, and the
changes made meanwhile are printed, each once.
"""

from __future__ import annotations

import argparse

import anyio

from csproxy import ClientState, ConfigClient, CsproxyError, ObjectChange
from csproxy.core.model import CfgPerson
from csproxy.errors import HistoryExpiredError


def describe(change: ObjectChange) -> str:
    """One line for one change."""
    what = change.delta or change.object or change.former
    who = f"{change.user or 'nobody known'} with {change.application or 'an unknown application'}"
    return f"UEN {change.position.uen}: {change.action.name.lower()} person {change.dbid} by {who}: {what}"


async def watch(client: ConfigClient) -> None:
    """Print persons and their changes; start anew when the server no longer has what was missed."""
    while True:
        try:
            async with client.read_and_subscribe(CfgPerson) as (persons, changes):
                agents = sum(person.agentInfo is not None for person in persons)
                print(f"{len(persons)} persons, {agents} of them agents, as of UEN {persons.position.uen}")
                async for change in changes:
                    print(describe(change), flush=True)
        except HistoryExpiredError as e:
            print(f"too much was missed, reading everything again: {e}")


def tell(state: ClientState) -> None:
    """Print how the client stands to its server."""
    print(f"-- {state.value}", flush=True)


async def main() -> None:
    """Connect and watch until interrupted."""
    parser = argparse.ArgumentParser(description="Print the persons of a configuration and every change of them.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2020)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    arguments = parser.parse_args()
    try:
        async with ConfigClient(
            arguments.host, arguments.port, user=arguments.user, password=arguments.password
        ) as client:
            client.observe(tell)
            await watch(client)
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        print()
