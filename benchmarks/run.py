"""Measure csproxy and Redis with the same work, the same generator and the same machine, in one run.

The measured server (the proxy, Redis) runs on core 0; the load generator (C, one thread) and the
master behind the proxy on core 1. Absolute figures move from
machine to machine: a result is the ratio. Prints a table and writes results/latest.json.

    python benchmarks/run.py [--agents 20000] [--quick]
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests_csp
import requests_redis
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
SERVER_CORE, GENERATOR_CORE = "0", "1"
BURST, SUBSCRIBERS = 100, 1000
console = Console()


@dataclass
class Result:
    """One line of the table: ours, theirs, and ours divided by theirs (None without a peer)."""

    work: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None


def compare(work: str, value: float, unit: str, peer: str = "", peer_value: float | None = None) -> Result:
    return Result(work, value, unit, peer, peer_value, value / peer_value if peer_value else None)


class Process:
    """A pinned server process."""

    def __init__(self, command: list[str], *, port: int, cwd: Path | None = None, core: str = SERVER_CORE) -> None:
        began_s = time.perf_counter()
        self.process = subprocess.Popen(
            ["taskset", "-c", core, *command], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.perf_counter() - began_s > 120:
                    raise SystemExit(f"{command[0]} did not start") from None
                time.sleep(0.01)
        self.ready_s = time.perf_counter() - began_s

    def memory_bytes(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise SystemExit("the process has ended")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def running(command: list[str], *, port: int, cwd: Path | None = None, core: str = SERVER_CORE) -> Iterator[Process]:
    process = Process(command, port=port, cwd=cwd, core=core)
    try:
        yield process
    finally:
        process.stop()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def generator(mode: str, port: int, *arguments: object) -> list[str]:
    return ["taskset", "-c", GENERATOR_CORE, str(BUILD / "lg"), mode, "--port", str(port), *map(str, arguments)]


def generate(mode: str, port: int, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(generator(mode, port, *arguments), capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"load generator {mode} {arguments}: {done.stderr.strip()[-300:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def median(runs: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return sorted(runs, key=lambda run: run[key])[len(runs) // 2]


def template(name: str, data: bytes) -> Path:
    path = BUILD / name
    path.write_bytes(data)
    return path


def point_reads(port: int, request: Path, *extra: object, seconds: float, repeat: int) -> dict[str, dict[str, Any]]:
    """Reads per second with 1, 50 and 1,000 connections, and with 50 connections and 16 in flight."""
    found = {}
    for work, connections, depth in (
        ("point-1", 1, 1),
        ("point-50", 50, 1),
        ("point-1000", 1000, 1),
        ("point-pipelined", 50, 16),
    ):
        runs = [
            generate(
                "rr", port, "--conns", connections, "--depth", depth, "--secs", seconds, "--req", request, *extra,
                "--warm-ms", 300 if connections < 1000 else 1500,
            )
            for _ in range(repeat)
        ]  # fmt: skip
        found[work] = median(runs, "per_s")
    return found


def burst(
    port: int, publish_port: int, hello: Path, publish: Path, publish_hello: Path | None, proto: str, *, repeat: int
) -> dict[str, Any]:
    """Deliveries per second of BURST changes, sent as fast as answers come, to SUBSCRIBERS clients."""
    runs = []
    for _ in range(repeat):
        arguments = ("--conns", SUBSCRIBERS, "--hello", hello, "--expect", BURST * SUBSCRIBERS, "--idle-secs", 8)
        with subprocess.Popen(
            generator("sub", port, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as subscribers:
            assert subscribers.stderr is not None
            subscribers.stderr.readline()
            time.sleep(1.5)
            more = ("--hello", publish_hello) if publish_hello else ()
            generate(
                "rr", publish_port, "--conns", 1, "--depth", BURST + 1, "--count", BURST, "--interval-us", 1,
                "--secs", 90, "--req", publish, "--proto", proto, *more,
            )  # fmt: skip
            out, err = subscribers.communicate(timeout=120)
            if not out:
                raise SystemExit(f"subscribers: {err[-300:]}")
            runs.append(json.loads(out))
    return median(runs, "deliv_per_s")


def measure_redis(*, objects: int, seconds: float, repeat: int) -> dict[str, dict[str, Any]]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--maxclients", "15000"]
        with running([*command, "--tcp-backlog", "4096", "--dir", folder], port=port) as redis:
            requests_redis.fill(port, objects)
            request = template("redis_get.bin", requests_redis.GET)
            found = point_reads(
                port, request, "--nkeys", objects, "--proto", f"fixed:{requests_redis.ANSWER_BYTES}",
                seconds=seconds, repeat=repeat,
            )  # fmt: skip
            hello = template("redis_subscribe.bin", requests_redis.SUBSCRIBE)
            publish = template("redis_publish.bin", requests_redis.PUBLISH)
            found["fanout-burst-1000"] = burst(port, port, hello, publish, None, "line", repeat=repeat)
            found["memory"] = {"bytes": redis.memory_bytes()}
    return found


def measure_csproxy(*, agents: int, seconds: float, repeat: int) -> dict[str, dict[str, Any]]:
    master_port, proxy_port = free_port(), free_port()
    confserv = [sys.executable, "-m", "csproxy.daemon.confserv"]
    tool = [sys.executable, "-m", "csproxy.daemon.tool"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [*tool, "init", "site", "--site", str(agents), "--password", "x", "--master-port", str(master_port),
             "--proxy", f"CSProxy_1={proxy_port}"],
            cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with running(
            [*confserv, "-c", "site/confserv.conf"], port=master_port, cwd=folder, core=GENERATOR_CORE
        ) as master:
            proxy_command = [*confserv, "-host", "127.0.0.1", "-port", str(master_port), "-app", "CSProxy_1"]
            with running(proxy_command, port=proxy_port, cwd=folder) as proxy:
                status = requests_csp.status(proxy_port)
                found: dict[str, dict[str, Any]] = {
                    "load": {"seconds": proxy.ready_s, "objects": status["objects"], "bytes": proxy.memory_bytes()},
                    "master-load": {"seconds": master.ready_s, "bytes": master.memory_bytes()},
                }
                low, high = requests_csp.person_dbids(proxy_port)
                hello = template("csp_hello.bin", requests_csp.hello())
                request = template("csp_read.bin", requests_csp.read_person())
                found |= point_reads(
                    proxy_port, request, "--hello", hello, "--key-u32", "--key-first", low, "--nkeys", high - low + 1,
                    "--proto", "csp", seconds=seconds, repeat=repeat,
                )  # fmt: skip
                subscribe = template("csp_subscribe.bin", requests_csp.hello(subscribe=True))
                publish = template("csp_update.bin", requests_csp.update_person(low))
                found["fanout-burst-1000"] = burst(
                    proxy_port, master_port, subscribe, publish, hello, "csp", repeat=repeat
                )
    return found


def build_generator() -> None:
    BUILD.mkdir(exist_ok=True)
    source = HERE / "load_generator.c"
    if not (BUILD / "lg").exists() or (BUILD / "lg").stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-o", BUILD / "lg", source, "-lssl", "-lcrypto"], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="one short run of each work")
    arguments = parser.parse_args()
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is needed: make bench installs it")
    build_generator()
    seconds, repeat = (1.0, 1) if arguments.quick else (3.0, 3)
    ours = measure_csproxy(agents=arguments.agents, seconds=seconds, repeat=repeat)
    load = ours["load"]
    theirs = measure_redis(objects=100_000, seconds=seconds, repeat=repeat)
    results = [
        compare(work, ours[work]["per_s"], "reads/s", "redis", theirs[work]["per_s"])
        for work in ("point-1", "point-50", "point-1000", "point-pipelined")
    ]
    results += [
        compare(
            "fanout-burst-1000",
            ours["fanout-burst-1000"]["deliv_per_s"],
            "deliveries/s",
            "redis",
            theirs["fanout-burst-1000"]["deliv_per_s"],
        ),
        compare("load-cold", load["objects"] / load["seconds"], "objects/s, process start included"),
        compare("load-cold-seconds", load["seconds"], "s"),
        compare("memory-process", load["bytes"] / 1e6, "MB"),
        compare("memory-object", load["bytes"] / load["objects"], "bytes, interpreter included"),
    ]
    show(results, load["objects"])
    write(results)
    return 0


def show(results: list[Result], objects: int) -> None:
    table = Table(title=f"csproxy with {objects:,} objects, and Redis, same run")
    for column, justify in (
        ("work", "left"),
        ("csproxy", "right"),
        ("unit", "left"),
        ("redis", "right"),
        ("ratio", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for result in results:
        table.add_row(
            result.work,
            f"{result.value:,.2f}" if result.value < 100 else f"{result.value:,.0f}",
            result.unit,
            "" if result.peer_value is None else f"{result.peer_value:,.0f}",
            "" if result.ratio is None else f"{result.ratio:.2f}",
        )
    console.print(table)


def write(results: list[Result]) -> None:
    path = HERE / "results" / "latest.json"
    path.parent.mkdir(exist_ok=True)
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout.split()[2]
    document = {
        "machine": {"cpu": cpu_name(), "cores": len(cpu_lines()), "system": platform.platform()},
        "versions": {"python": platform.python_version(), "redis": redis},
        "results": [asdict(result) for result in results],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def cpu_lines() -> list[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]


def cpu_name() -> str:
    return (cpu_lines() or ["unknown"])[0]


if __name__ == "__main__":
    sys.exit(main())
