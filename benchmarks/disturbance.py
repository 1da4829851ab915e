"""What other clients notice while somebody means harm: the latency of their point reads, idle and disturbed.

    python benchmarks/disturbance.py [--seconds 15] [--json FILE]

A master of 500 agents whose port takes TLS and plain connections, and 20 clients that together read 400 objects a
second at fixed times. Beside them, one after the other, with the idle system measured again before each:

- slow-loris: 2,000 connections that send a byte every few seconds, and are made anew when they are closed;
- half-open: 5,000 connections that send the first bytes of a TLS handshake and nothing more, made anew likewise;
- wrong log-ins: 100 a second, each on a connection of its own, with a user that exists.

Everything comes from loopback, where limits per address do not apply. Reported, not asserted: the target is a p99
within 3 times of idle. On a machine that is busy otherwise, with the attacker's own process for example, that says
little: so a second master that nobody disturbs is measured at the same time, and the processor time of the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import trustme

from csproxy.core import codec
from csproxy.core.model import CfgPerson
from csproxy.daemon.process import raise_descriptor_limit
from csproxy.transport.client import ConfigClient
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient

PASSWORD = "benchmark"
CLIENTS, READS_PER_S = 20, 400
LORIS, HALF_OPEN, WRONG_PER_S = 2_000, 5_000, 100
DRIP_S = 3.0
CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303")

Disturbance = Callable[[int], Awaitable[None]]


@contextmanager
def master(folder: Path) -> Iterator[tuple[int, int]]:
    """A master in a process of its own; its port and process number."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["init", str(folder), "--site", "500", "--password", PASSWORD, "--master-port", str(port)]
    subprocess.run([sys.executable, "-m", "csproxy.daemon.tool", *words], check=True, stdout=subprocess.DEVNULL)
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    conf = folder / "confserv.conf"
    parameters = f"upgrade=1;certificate={folder}/server.pem;certificate-key={folder}/server.pem"
    conf.write_text(conf.read_text().replace(f"port = {port}", f"port = {port}\ntransport = {parameters}"))
    process = subprocess.Popen(
        [sys.executable, "-m", "csproxy.daemon.confserv", "-c", str(folder / "confserv.conf"), "-log-verbose", "alarm"],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        while b"ready on" not in process.stdout.readline():
            assert process.poll() is None, "the master has not started"
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


async def measure(clients: list[ConfigClient], seconds: float) -> list[float]:
    """Latencies in milliseconds, from when each read was due."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def reader(number: int) -> None:
        turn = 0
        while True:
            due = began + (turn * CLIENTS + number) / READS_PER_S
            if due - began > seconds:
                return
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await clients[number].get(CfgPerson, dbid=100)
            latencies.append((time.perf_counter() - due) * 1000)
            turn += 1

    await asyncio.gather(*(reader(number) for number in range(CLIENTS)))
    return latencies


async def slow_loris(port: int) -> None:
    """Connections that send their first request byte by byte."""

    async def drip() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                closed = asyncio.ensure_future(reader.read())
                for byte in ClientProtocol().connect("loris", "1"):
                    writer.write(bytes([byte]))
                    done, _ = await asyncio.wait([closed], timeout=DRIP_S)
                    if done:
                        break
                writer.close()
            except OSError:
                await asyncio.sleep(0.2)

    await asyncio.gather(*(drip() for _ in range(LORIS)))


async def half_open(port: int) -> None:
    """Connections that begin a TLS handshake and never go on."""

    async def one() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(CLIENT_HELLO)
                await reader.read()
                writer.close()
            except OSError:
                pass
            await asyncio.sleep(0.2)

    await asyncio.gather(*(one() for _ in range(HALF_OPEN)))


async def wrong_log_ins(port: int) -> None:
    """Log-ins with wrong passwords at a fixed rate, whether answered or not."""
    who = RegisterClient(type=19, name="default", user="default", password="wrong")
    first = ClientProtocol().connect("guess", "1")
    request = encode_frame(MessageId.REGISTER_CLIENT, codec.encode(who), request=2)

    async def one() -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first + request)
            answer = b""
            while b"wrong" not in answer and (data := await reader.read(4096)):
                answer += data
            writer.close()
        except OSError:
            pass

    tasks = set()
    due = time.perf_counter()
    while True:
        task = asyncio.ensure_future(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += 1 / WRONG_PER_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


DISTURBANCES: dict[str, Disturbance] = {
    "slow-loris": slow_loris,
    "half-open": half_open,
    "wrong-log-ins": wrong_log_ins,
}


@contextmanager
def disturbed(name: str, port: int) -> Iterator[None]:
    """A disturbance in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--only", name, "--port", str(port)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def readers(port: int) -> AsyncIterator[list[ConfigClient]]:
    """The clients that read."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ConfigClient("127.0.0.1", port, user="default", password=PASSWORD))
            for _ in range(CLIENTS)
        ]


def p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


def processor_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def both(readers_of: list[list[ConfigClient]], seconds: float) -> list[list[float]]:
    """Measure several servers at the same time."""
    return list(await asyncio.gather(*(measure(clients, seconds) for clients in readers_of)))


async def run(port: int, pid: int, other_port: int, seconds: float) -> list[dict[str, float | str]]:
    """Measure idle and disturbed in turn, beside it always the master that nobody disturbs."""
    found: list[dict[str, float | str]] = []
    async with readers(port) as clients, readers(other_port) as others:
        await both([clients, others], 2.0)
        for name in DISTURBANCES:
            idle, _ = await both([clients, others], seconds)
            with disturbed(name, port):
                await asyncio.sleep(5.0)  # until all connections are made
                before = processor_s(pid)
                under, beside = await both([clients, others], seconds)
                cpu = (processor_s(pid) - before) / seconds
            await asyncio.sleep(8.0)  # until they are gone
            found.append(
                {
                    "disturbance": name,
                    "idle_p50_ms": statistics.median(idle),
                    "idle_p99_ms": p99(idle),
                    "p50_ms": statistics.median(under),
                    "p99_ms": p99(under),
                    "beside_p50_ms": statistics.median(beside),
                    "beside_p99_ms": p99(beside),
                    "processors": cpu,
                    "ratio": p99(under) / p99(idle),
                    "ratio_beside": p99(under) / p99(beside),
                }
            )
    return found


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=sorted(DISTURBANCES), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    raise_descriptor_limit()
    if given.only:
        asyncio.run(DISTURBANCES[given.only](given.port))  # type: ignore[arg-type]
        return 0
    with (
        tempfile.TemporaryDirectory() as folder,
        master(Path(folder) / "d") as (port, pid),
        master(Path(folder) / "other") as (other_port, _),
    ):
        found = asyncio.run(run(port, pid, other_port, given.seconds))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; p50/p99 in ms")
    for row in found:
        print(
            f"{row['disturbance']:14} idle {row['idle_p50_ms']:.2f}/{row['idle_p99_ms']:.2f}, disturbed "
            f"{row['p50_ms']:.2f}/{row['p99_ms']:.2f}, the other master meanwhile "
            f"{row['beside_p50_ms']:.2f}/{row['beside_p99_ms']:.2f}: p99 {row['ratio']:.1f} x idle and "
            f"{row['ratio_beside']:.1f} x the other's; {row['processors']:.2f} processors"
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
