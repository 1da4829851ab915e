"""What several proxies on one host gain: one member and two pinned ones, directly and behind HAProxy.

    python benchmarks/one_host.py [--agents 20000] [--seconds 3] [--repeat 3] [--json FILE]

Two kinds of work: reads of one person each over 50 connections, of which a server does many, so that whoever asks and
who hands on have as much to do as the server; and searches without an index over 12 connections (a server lets 16
clients do such work at the same time), where the server does nearly everything.

| setting | members | load generator, HAProxy |
|---|---|---|
| one, direct | core 0 | core 1 |
| two, direct | core 0, core 1 | one generator for each member, where there is room |
| one, HAProxy | core 0 | core 1 |
| two, HAProxy | core 0, core 1 | where there is room |

On a machine of two cores nothing is left for the generator and HAProxy: they take from the members. So besides requests
per second the processor time of each part is shown, in microseconds for a request: with cores enough, a member answers
a million divided by its own figure. The median of the repetitions is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
from requests_csp import PASSWORD
from rich.console import Console
from rich.table import Table

from csproxy.core import codec
from csproxy.core.model import CfgAppType, CfgPerson
from csproxy.daemon.balancer_haproxy import haproxy_config
from csproxy.daemon.balancers import Sizing
from csproxy.daemon.pools import Pool, PoolServer
from csproxy.transport.client import ConfigClient
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import RegisterClient

BUILD = Path(__file__).resolve().parent / "build"
PERSON = 3
PLACEHOLDER = 0x23232323
"""As a msgpack uint32 it is written "####", which the generator replaces by a random number."""
MEMBERS = ("member1", "member2")
CONFSERV = [sys.executable, "-m", "csproxy.daemon.confserv"]
TOOL = [sys.executable, "-m", "csproxy.daemon.tool"]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Setting:
    """How many members, whether behind HAProxy, and where the rest runs (None: anywhere)."""

    name: str
    members: int
    is_balanced: bool
    core: str | None


SETTINGS = (
    Setting("one, direct", 1, False, "1"),
    Setting("two, direct", 2, False, None),
    Setting("one, HAProxy", 1, True, "1"),
    Setting("two, HAProxy", 2, True, None),
)


@dataclass(frozen=True)
class Work:
    """What is asked again and again: the load generator's arguments."""

    name: str
    connections: int
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One line: requests per second, and microseconds of processor time for a request in each part."""

    work: str
    setting: str
    per_s: float
    members_us: float
    haproxy_us: float
    generator_us: float


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pinned(core: str | None, command: Sequence[str]) -> list[str]:
    return ["taskset", "-c", core, *command] if core is not None else list(command)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], *, port: int, core: str | None = None, cwd: Path | None = None) -> Iterator[int]:
    """A process that listens at this port; its number."""
    process = subprocess.Popen(pinned(core, command), cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise SystemExit(f"{command[0]} did not start") from None
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def haproxy(ports: Sequence[int], core: str | None, folder: Path) -> Iterator[tuple[int, int]]:
    """Real HAProxy in front of members at these ports, as `csproxy lb-config` configures it; its port and process."""
    port = free_port()
    members = tuple(PoolServer(f"m{number}", "127.0.0.1", {"default": each}) for number, each in enumerate(ports))
    sizing = Sizing(clients=1000, idle_timeout_s=600, check_interval_s=1)
    path = folder / "haproxy.cfg"
    path.write_text(haproxy_config(Pool(PoolServer("pool", "127.0.0.1", {"default": port}), members), sizing))
    with running(["haproxy", "-db", "-f", str(path)], core=core, port=port) as pid:
        yield port, pid


def generate(ports: Sequence[int], work: Work, core: str | None, seconds: float) -> tuple[float, float]:
    """One generator for each port, all at once; requests per second and their processor time, all together."""
    command = [str(BUILD / "lg"), "rr", "--conns", str(work.connections // len(ports)), "--depth", "1"]
    # log-ins take their time: what comes before the last connection stands is thrown away
    command += ["--secs", str(seconds), "--ramp-us", "50000", "--proto", "csp", *work.arguments]
    started = [
        subprocess.Popen(pinned(core, [*command, "--port", str(port)]), stdout=subprocess.PIPE, text=True)
        for port in ports
    ]
    answers = [each.communicate(timeout=60)[0] for each in started]
    if any(each.returncode for each in started):
        raise SystemExit("the load generator has failed")
    found = [json.loads(answer) for answer in answers]
    return sum(each["per_s"] for each in found), sum(each["lg_cpu"] for each in found)


def measure(
    setting: Setting, work: Work, members: Sequence[tuple[int, int]], *, seconds: float, folder: Path
) -> Result:
    """One run; ``members`` are ports and process numbers."""
    used = members[: setting.members]
    with ExitStack() as stack:
        ports, balancer = [port for port, _ in used], None
        if setting.is_balanced:
            port, balancer = stack.enter_context(haproxy(ports, setting.core, folder))
            ports = [port]
        pids = [pid for _, pid in used]
        before = sum(map(cpu_s, pids)), cpu_s(balancer) if balancer else 0.0
        per_s, generator_s = generate(ports, work, setting.core, seconds)
        members_s = sum(map(cpu_s, pids)) - before[0]
        haproxy_s = cpu_s(balancer) - before[1] if balancer else 0.0
    us = 1e6 / (per_s * seconds)
    return Result(work.name, setting.name, per_s, members_s * us, haproxy_s * us, generator_s * us)


async def agents(port: int) -> list[int]:
    """The DBIDs of all agents, which have no gaps."""
    async with ConfigClient(port=port, user="default", password=PASSWORD) as client:
        return [person.DBID for person in await client.read(CfgPerson, is_agent=True)]


def template(name: str, data: bytes) -> str:
    """A file with bytes for the generator."""
    path = BUILD / name
    path.write_bytes(data)
    return str(path)


def build_generator() -> None:
    BUILD.mkdir(exist_ok=True)
    source = Path(__file__).with_name("load_generator.c")
    built = BUILD / "lg"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-o", built, source, "-lssl", "-lcrypto"], check=True)


def works(port: int) -> list[Work]:
    """Point reads and searches, as bytes for the generator."""
    dbids = anyio.run(agents, port)
    low, high = min(dbids), max(dbids)
    register = RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user="default", password=PASSWORD)
    start = ClientProtocol().connect("benchmark")
    start += encode_frame(MessageId.REGISTER_CLIENT, codec.encode(register), request=2)
    hello = template("one_host_hello.bin", start)
    read, search = (
        template(name, encode_frame(MessageId.READ_OBJECTS, codec.encode(wanted), request=7))
        for name, wanted in (
            ("one_host_read.bin", ReadObjects(type=PERSON, filter={"dbid": PLACEHOLDER})),
            ("one_host_search.bin", ReadObjects(type=PERSON, filter={"last_name": "Nobody has this name"})),
        )
    )
    keys = ("--key-u32", "--key-first", str(low), "--nkeys", str(high - low + 1))
    return [
        Work("point reads", 50, ("--hello", hello, "--req", read, *keys)),
        Work("searches", 12, ("--hello", hello, "--req", search)),
    ]


def measure_all(*, persons: int, seconds: float, repeat: int) -> list[Result]:
    """A master, two pinned members, and every setting with every work, in turn."""
    ports = dict(zip(("master", *MEMBERS), (free_port() for _ in range(3)), strict=True))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        words = ["init", "site", "--site", str(persons), "--password", PASSWORD, "--master-port", str(ports["master"])]
        for member in MEMBERS:
            words += ["--proxy", f"{member}={ports[member]}"]
        subprocess.run([*TOOL, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        stack.enter_context(running([*CONFSERV, "-c", "site/confserv.conf"], port=ports["master"], cwd=folder))
        members = []
        for core, member in enumerate(MEMBERS):
            command = [*CONFSERV, "-host", "127.0.0.1", "-port", str(ports["master"]), "-app", member]
            pid = stack.enter_context(running(command, port=ports[member], cwd=folder, core=str(core)))
            members.append((ports[member], pid))
        found = []
        for work in works(ports[MEMBERS[0]]):
            for setting in SETTINGS:
                runs = [measure(setting, work, members, seconds=seconds, folder=folder) for _ in range(repeat)]
                found.append(sorted(runs, key=lambda run: run.per_s)[repeat // 2])
        return found


def show(results: Sequence[Result]) -> None:
    table = Table(title="One member and two on one host; microseconds of processor time for each request")
    for column in ("work", "members", "requests/s", "gain", "members µs", "HAProxy µs", "generator µs"):
        table.add_column(column, justify="left" if column in ("work", "members") else "right")
    alone = {result.work: result.per_s for result in results if result.setting == SETTINGS[0].name}
    for each in results:
        gain = f"{each.per_s / alone[each.work]:.2f}"
        parts = (f"{us:,.1f}" for us in (each.members_us, each.haproxy_us, each.generator_us))
        table.add_row(each.work, each.setting, f"{each.per_s:,.0f}", gain, *parts)
    Console(width=100).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the results there, too")
    arguments = parser.parse_args()
    for program in ("haproxy", "taskset"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is needed")
    build_generator()
    results = measure_all(persons=arguments.agents, seconds=arguments.seconds, repeat=arguments.repeat)
    show(results)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
