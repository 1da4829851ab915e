"""Everybody at once: thousands connect, register and read, or come back to their sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comparing import Bench, compared, side_by_side
from generator import Run, generate
from peers import Server
from results import Result

__all__ = ["measure_storms", "restore_all"]


def measure_storms(bench: Bench, servers: Sequence[Server]) -> Iterator[Result]:
    """storm-register, storm-restore."""
    clients = bench.scale.storm
    if bench.wants("storm-register"):
        able = [server for server in servers if "own application" in server.requests]
        found = side_by_side(able, lambda server: _register(server, clients), "per_s", repeat=bench.scale.repeat)
        yield from compared(bench, "storm-register", "clients/s", found, "per_s")
    if bench.wants("storm-restore"):
        found = side_by_side(
            servers[:1], lambda server: restore_all(server, clients), "per_s", repeat=bench.scale.repeat
        )
        yield from compared(bench, "storm-restore", "sessions/s", found, "per_s")


def _register(server: Server, clients: int) -> Run:
    return _complete(
        server,
        clients,
        generate(
            "herd", server.port, "--conns", clients, *server.connect_words,
            *server.requests["own application"].words,
        ),
    )  # fmt: skip


def restore_all(server: Server, clients: int) -> Run:
    """Clients register and subscribe, all connections are cut, and all come back at once."""
    assert server.subscribe is not None
    words = ["--proto", server.proto, *server.words, "--hello", server.subscribe]
    found = generate("restore", server.port, "--conns", clients, *words, *server.requests["restore"].words)
    return _complete(server, clients, found)


def _complete(server: Server, clients: int, run: Run) -> Run:
    if run["ok"] < clients:
        raise SystemExit(f"{server.name}: {run['fail']} of {clients} clients failed, {run['ok']} were served")
    return run
