"""How cost grows: with objects, with subscribers of the changed type, and with clients that nothing concerns.

    python benchmarks/growth.py [--objects 10000,100000,1000000] [--clients 100,1000,10000] [--results FOLDER]

For each number of persons a proxy is loaded: how fast, what memory each object takes, and how fast it answers point
reads and reads by an indexed attribute. For each number of clients, changes of one person each are published: what a
change costs the proxy's processor, and when the last client had it; subscribed to persons, and subscribed to another
type. The server on core 0, the generator and the master on core 1, as in run.py. Prints tables, writes growth.json and,
if matplotlib is there (extra ``bench``), a plot into docs/images; ``--no-plot`` does without.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests_csp
from comparing import closed_loop
from generator import build_generator, template, waiting
from peers import Server, csproxy_server
from processes import GENERATOR_CORE, LIKE_OTHERS, allow_many_sockets, free_port, running
from results import FOLDER, machine
from rich.console import Console
from rich.table import Table
from site_data import Site, SiteSize, make_site
from work_fanout import all_there, publish
from work_loading import empty_start, objects_of

CONNECTIONS = 50
PACE_US = 250_000
"""Between two changes: longer than 10,000 clients take, or a change would wait for the one before."""

Row = dict[str, Any]


def measure_objects(folder: Path, persons: Sequence[int], seconds: float) -> list[Row]:
    """A row for each number of persons."""
    empty_s, empty_bytes = empty_start(_site(folder / "empty", 0, 1))
    rows = []
    for number in persons:
        site = _site(folder / f"{number}", number, max(1, number // 200))
        objects = objects_of(site)
        with (
            running(site.master, port=site.master_port, cwd=site.folder, core=GENERATOR_CORE),
            running(site.proxy, port=site.proxy_port, cwd=site.folder) as proxy,
        ):
            grown = proxy.memory_bytes() - empty_bytes
            server = csproxy_server(proxy, site, publish_port=site.master_port)
            row = {
                "objects": objects,
                "load_per_s": round(objects / max(proxy.ready_s - empty_s, 1e-6)),
                "bytes_per_object": round(grown / objects),
            }
            for name in ("point", "indexed"):
                run = closed_loop(server, name, connections=CONNECTIONS, seconds=seconds)
                row |= {f"{name}_per_s": run["per_s"], f"{name}_p99_us": run["p99_us"]}
        rows.append(row)
        Console(stderr=True).print(row)
    return rows


def measure_clients(folder: Path, persons: int, clients: Sequence[int], changes: int) -> list[Row]:
    """Two rows for each number of clients: they want the changes, or none of them."""
    site = _site(folder / "clients", persons, 10)
    rows = []
    with (
        running(site.master, port=site.master_port, cwd=site.folder, core=GENERATOR_CORE),
        running(site.proxy, port=site.proxy_port, cwd=site.folder) as proxy,
    ):
        wanting = csproxy_server(proxy, site, publish_port=site.master_port)
        others = template("csp_subscribe_other", requests_csp.hello(subscribe=requests_csp.APPLICATION))
        for server, wanted in ((wanting, True), (replace(wanting, subscribe=others), False)):
            for number in (0, *clients):
                row = {"clients": number, "subscribed": wanted, **_change(server, number, changes, wanted=wanted)}
                rows.append(row)
                Console(stderr=True).print(row)
    return rows


def _change(server: Server, clients: int, changes: int, *, wanted: bool) -> Row:
    """Processor time of the server for each change, and when the last client had it."""
    if not clients:
        return {"processor_ms_per_change": _published(server, changes)}
    assert server.subscribe is not None
    words = ["--proto", server.proto, "--hello", server.subscribe, "--conns", clients]
    ends = ["--expect", changes * clients, "--idle-secs", 8] if wanted else ["--secs", 600]
    with waiting("sub" if wanted else "idle", server.port, *words, *ends, until=all_there(server, clients)) as crowd:
        time.sleep(0.5)
        spent = _published(server, changes)
        found = {"processor_ms_per_change": spent}
        if wanted:
            run = crowd.result()
            found |= {"last_ms": round(run["all_max_us"] / 1000, 1), "p50_ms": round(run["p50_us"] / 1000, 2)}
    time.sleep(1 + clients / 10_000)  # until the server has noticed that they are gone
    return found


def _published(server: Server, changes: int) -> float:
    before_s = server.process.processor_s()
    publish(server, changes=changes, pace_us=PACE_US)
    time.sleep(1.0)
    return round((server.process.processor_s() - before_s) * 1000 / changes, 3)


def _site(folder: Path, persons: int, sites: int) -> Site:
    return make_site(folder, SiteSize(persons, sites), master_port=free_port(), proxy_port=free_port())


def show(rows: Sequence[Row], title: str) -> None:
    """Print one table."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(title=title)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{row[column]:,}" if column in row else "" for column in columns))
    Console(width=140).print(table)


def main() -> int:
    """Measure, print, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", default="10000,100000,1000000", help="numbers of persons")
    parser.add_argument("--clients", default="100,1000,10000", help="numbers of clients")
    parser.add_argument("--changes", type=int, default=100, help="for each number of clients")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each closed loop")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder for growth.json")
    parser.add_argument("--no-plot", action="store_true")
    parser.add_argument("--like-others", action="store_true", help="do not go before other processes of the machine")
    given = parser.parse_args()
    if given.like_others:
        os.environ[LIKE_OTHERS] = "1"
    build_generator()
    allow_many_sockets()
    persons, clients = ([int(each) for each in words.split(",")] for words in (given.objects, given.clients))
    with tempfile.TemporaryDirectory() as name:
        found = {
            "machine": machine(),
            "objects": measure_objects(Path(name), persons, given.seconds),
            "clients": measure_clients(Path(name), min(persons), clients, given.changes),
        }
    show(found["objects"], "a proxy, by the number of objects")
    show(found["clients"], "one change, by the number of clients")
    given.results.mkdir(exist_ok=True)
    (given.results / "growth.json").write_text(json.dumps(found, indent=2) + "\n")
    if not given.no_plot:
        from plot import plot_growth  # needs matplotlib

        for path in plot_growth(given.results / "growth.json"):
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
