"""`csproxy watch TYPE|all`: changes as they happen, one JSON document per line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from csproxy.core.changes import Epoch, Position
from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.output import change_document, compact_json, say
from csproxy.daemon.session import object_type, run
from csproxy.daemon.usage import DONE
from csproxy.errors import ConfigurationError
from csproxy.transport.client import ClientState, ConfigClient

__all__ = ["position_of", "run_watch"]


def run_watch(arguments: argparse.Namespace) -> int:
    """Print changes until interrupted, or until ``--count`` of them are printed; returns the exit status.

    A lost connection is made again and the changes go on where they stopped. Raises
    `HistoryExpiredError` when the server no longer has the changes in between.
    """
    number = None if arguments.type.lower() == "all" else object_type(arguments.type).number
    flags = connection_flags(arguments)

    async def main() -> int:
        return await _watch(flags, number, from_uen=arguments.from_uen, count=arguments.count)

    return run(main)


def position_of(uen: int, epochs: Sequence[Epoch]) -> Position:
    """The position with this UEN in a history whose epochs begin as the table says, oldest first."""
    found = epochs[0].epoch if epochs else 0
    for epoch in epochs:
        if epoch.first_uen <= uen:
            found = epoch.epoch
    return Position(found, uen)


async def _watch(flags: ConnectionFlags, number: int | None, *, from_uen: int | None, count: int | None) -> int:
    async with ConfigClient(
        flags.host,
        flags.port,
        application=flags.application,
        user=flags.user,
        password=flags.password,
        tls=flags.tls,
        tickets=flags.tickets,
        request_timeout_s=flags.timeout_s,
    ) as client:
        client.observe(_tell)
        since = None if from_uen is None else position_of(from_uen, client.epochs)
        if since is not None and since.uen > client.position.uen:
            raise ConfigurationError(f"UEN {since.uen} is in the future: the server is at UEN {client.position.uen}")
        left = count
        async with client.subscribe(number, since=since) as stream:
            say(f"csproxy watch: from UEN {stream.position.uen}, {client.statistics().endpoint}")
            while (transaction := await stream.next_transaction()) is not None:
                final = len(transaction.changes) - 1
                for index, (change, history) in enumerate(
                    zip(transaction.changes, transaction.from_history, strict=True)
                ):
                    document = change_document(change, from_history=history)
                    document["last"] = index == final
                    sys.stdout.write(compact_json(document) + "\n")
                    if left is not None:
                        left -= 1
                        if left == 0:
                            sys.stdout.flush()
                            return DONE
                sys.stdout.flush()
    return DONE


def _tell(state: ClientState) -> None:
    if state is ClientState.SUSPENDED:
        say("csproxy watch: the connection is lost, trying again")
    elif state is ClientState.CONNECTED:
        say("csproxy watch: connected again")
