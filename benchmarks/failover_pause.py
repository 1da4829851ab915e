"""What a client that reads through a proxy notices while masters come and go: its errors, and its longest pause.

    python benchmarks/failover_pause.py [AGENTS]

A pair of masters on SQLite, a proxy, and one client that reads a person every few milliseconds, all on this
machine. At the end the proxy starts again while no master is there. Budgets: no error, and no read above one
second in any of the steps; the start from the local copy takes at most one second for 100,000 objects (20,000
agents). Exit status 1 if one is missed.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread

from csproxy import ConfigClient, CsproxyError
from csproxy.core.model import CfgPerson

LONGEST_PAUSE_S = 1.0
LONGEST_START_S = 1.0
BETWEEN_READS_S = 0.003
FIRST_PORT = 9720
PRIMARY, BACKUP, PROXY = "confserv", "confserv_backup", "CSProxy_1"
PORTS = {PRIMARY: FIRST_PORT, BACKUP: FIRST_PORT + 1, PROXY: FIRST_PORT + 2}
LEASE_S = 3


class Site:
    """A folder made by ``csproxy init``, and its servers as processes."""

    def __init__(self, folder: Path, agents: int) -> None:
        self.folder = folder / "site"
        self.running: dict[str, subprocess.Popen[str]] = {}
        words = ["--backup-master", str(PORTS[BACKUP]), "--proxy", f"{PROXY}={PORTS[PROXY]}", "--password", "secret"]
        command = ["init", str(self.folder), "--master-port", str(PORTS[PRIMARY]), "--site", str(agents), *words]
        subprocess.run([sys.executable, "-m", "csproxy.daemon.tool", *command], check=True, stdout=subprocess.DEVNULL)
        for conf in (self._conf(PRIMARY), self._conf(BACKUP)):
            conf.write_text(conf.read_text().replace("server = ", f"lease-time = {LEASE_S}\nserver = ", 1))

    def _conf(self, name: str) -> Path:
        return self.folder / ("backup" if name == BACKUP else "") / "confserv.conf"

    def start(self, name: str, until: str = "ready on") -> str:
        """Start a server and wait until it says that it is ready; returns how it says that."""
        if name == PROXY:
            words = ["-host", "127.0.0.1", "-port", str(PORTS[PRIMARY]), "-app", name]
        else:
            words = ["-c", str(self._conf(name)), "-app", name]
        self.running[name] = subprocess.Popen(
            [sys.executable, "-m", "csproxy.daemon.confserv", *words, "-log-all", str(self.folder / f"{name}.log")],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self.wait(name, until)

    def wait(self, name: str, until: str) -> str:
        """Read what a server says until it says ``until``; returns that line."""
        output = self.running[name].stdout
        assert output is not None
        for line in output:
            if until in line:
                return line
        raise SystemExit(f"{name} ended before it was {until!r}: see its log in {self.folder}")

    def end(self, name: str, number: signal.Signals) -> None:
        """End a server by a signal, and wait for that."""
        self.running[name].send_signal(number)
        self.running[name].wait()


class Reader:
    """Reads one person through the proxy, again and again."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.errors: list[str] = []

    async def run(self, client: ConfigClient) -> None:
        """Read until cancelled."""
        while True:
            began = time.perf_counter()
            try:
                await client.get(CfgPerson, 100)
            except CsproxyError as e:
                self.errors.append(str(e))
            self.times.append(time.perf_counter() - began)
            await anyio.sleep(BETWEEN_READS_S)

    def take(self, step: str) -> bool:
        """Print what happened since the last time; returns whether it is within the budget."""
        times, errors = sorted(self.times), self.errors
        self.times, self.errors = [], []
        p99 = times[math.ceil(len(times) * 0.99) - 1]
        print(
            f"{step:45} {len(times):6,} reads, {len(errors)} errors, "
            f"99 % within {p99 * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms",
            flush=True,
        )
        return not errors and times[-1] <= LONGEST_PAUSE_S


async def main(agents: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        site = Site(Path(name), agents)
        try:
            return await measure(site)
        finally:
            for process in site.running.values():
                process.kill()
                process.wait()


async def measure(site: Site) -> int:
    """All steps; returns the exit status."""

    async def start(name: str, until: str = "ready on") -> None:
        await anyio.to_thread.run_sync(site.start, name, until)

    async def wait(name: str, until: str) -> None:
        await anyio.to_thread.run_sync(site.wait, name, until)

    async def killed() -> None:
        site.end(PRIMARY, signal.SIGKILL)
        await wait(BACKUP, "ready on")
        await follows(BACKUP)

    async def returned() -> None:
        await start(PRIMARY, "standing by on")
        site.end(BACKUP, signal.SIGTERM)
        await wait(PRIMARY, "ready on")
        await follows(PRIMARY)

    async def stopped() -> None:
        await start(BACKUP, "standing by on")
        site.running[PRIMARY].send_signal(signal.SIGSTOP)
        await wait(BACKUP, "ready on")
        site.running[PRIMARY].send_signal(signal.SIGCONT)
        await wait(PRIMARY, "standing by on")
        await follows(BACKUP)

    async def all_away() -> None:
        site.end(PRIMARY, signal.SIGKILL)
        site.end(BACKUP, signal.SIGKILL)
        await anyio.sleep(5)
        await start(PRIMARY)
        await follows(PRIMARY)

    steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        ("nothing happens", lambda: anyio.sleep(3)),
        ("the primary is killed, the backup takes over", killed),
        ("the first one is primary again", returned),
        ("the primary is stopped for its lease, goes on", stopped),
        ("both are killed, one returns after 5 s", all_away),
    ]
    await start(PRIMARY)
    await start(BACKUP, "standing by on")
    await start(PROXY)
    client = ConfigClient("127.0.0.1", PORTS[PROXY], user="default", password="secret")
    observer = ConfigClient("127.0.0.1", PORTS[PROXY], user="default", password="secret")

    async def follows(name: str) -> None:
        """Wait until the proxy follows that master."""
        while True:
            upstream = (await observer.status())["upstream"]
            if upstream["state"] == "live" and upstream["endpoint"].endswith(f":{PORTS[name]}"):
                return
            await anyio.sleep(0.1)

    reader = Reader()
    good = True
    async with client, observer, anyio.create_task_group() as tasks:
        tasks.start_soon(reader.run, client)
        for step, do in steps:
            await do()
            good = reader.take(step) and good
        tasks.cancel_scope.cancel()
    return 0 if starts_from_copy(site) and good else 1


def starts_from_copy(site: Site) -> bool:
    """The proxy alone: how long it takes from the start of its process until it serves."""
    for name in (PROXY, PRIMARY):
        site.end(name, signal.SIGTERM)
    began = time.perf_counter()
    said = site.start(PROXY)
    took_s = time.perf_counter() - began
    ticks = Path(f"/proc/{site.running[PROXY].pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    cpu_s = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    (objects,) = re.findall(r"(\d+) objects", said)
    print(
        f"the proxy starts without a master: serves {objects} objects after {took_s:.2f} s, {cpu_s:.2f} s of processor"
    )
    return took_s <= LONGEST_START_S


if __name__ == "__main__":
    sys.exit(anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
