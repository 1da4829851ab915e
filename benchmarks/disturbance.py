"""What other clients notice while somebody means harm: the latency of their point reads, idle and disturbed.

    python benchmarks/disturbance.py [--seconds 10] [--repeat 3] [--json FILE]

A master of 500 agents whose port takes TLS and plain connections, and 20 clients that together read 400 objects a
second at fixed times, whether answered or not. Beside them, one after the other, with the idle system measured
right before each:

- slow-loris: 2,000 connections that send a byte every few seconds, and are made anew when they are closed;
- half-open: 5,000 connections that send the first bytes of a TLS handshake and nothing more, made anew likewise;
- half-open-hello: the same with a complete ClientHello, to which the server has to compute an answer;
- wrong log-ins: 100 a second, each on a connection of its own, with a user that exists.

The server runs on processor 0, everything else on processor 1; the readers are a process of their own that
comes before the attacker's (real-time, or nice 19 for the attacker if the system refuses that): what is measured is
the server, not the attacker's own use of the machine. Other programs of the machine come last, as far as the system
allows. Everything comes from loopback, where limits per address do not apply. Reported, not asserted: the target is a
p99 within 3 times of idle. What else the machine does can only make a figure worse: so the best idle run of all is
compared with the median and with the best of the disturbed ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import requests_csp
import trustme
from requests_csp import PASSWORD

from csproxy.core import codec
from csproxy.core.tls_settings import TlsSettings
from csproxy.daemon.process import raise_descriptor_limit
from csproxy.transport.tls_context import load_context
from csproxy.transport.tls_engine import TlsEngine
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import FLAG_END, FrameReader, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import RegisterClient

CLIENTS, READS_PER_S = 20, 400
LORIS, HALF_OPEN, WRONG_PER_S = 2_000, 5_000, 100
DRIP_S = 3.0
SETTLE_S, REST_S = 5.0, 8.0
"""Until all connections of a disturbance are made, and until they are gone."""
SPIN_S = 0.0002
"""How long before a read is due the readers stop sleeping, which is not exact to the microsecond."""
READ, REGISTER = 7, 2

Disturbance = Callable[[int], Awaitable[None]]
Row = dict[str, float]


def place(processor: int, *, nice: int = 0, is_real_time: bool = False) -> None:
    """Bind this process to a processor; give it a priority, as far as the system allows."""
    with suppress(OSError):
        os.sched_setaffinity(0, {processor % (os.cpu_count() or 1)})
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        Path("/proc/self/autogroup").write_text(str(nice))  # or it counts only against what is of the same session
        if is_real_time:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))


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
        start_new_session=True,
        preexec_fn=lambda: place(0, nice=-20),
    )
    try:
        assert process.stdout is not None
        while b"ready on" not in process.stdout.readline():
            assert process.poll() is None, "the master has not started"
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


# the readers


class Reader:
    """One client, and when its unanswered reads were due."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(requests_csp.hello())
        self.frames = FrameReader()
        self.due: deque[float] = deque()
        while not self.take(REGISTER):
            pass

    def fileno(self) -> int:
        return self.sock.fileno()

    def take(self, request: int) -> int:
        """Receive; how many answers to ``request`` have ended."""
        data = self.sock.recv(65536)
        assert data, "the server has closed the connection of a reader"
        frames = self.frames.receive_data(data)
        assert not any(frame.message == MessageId.ERROR for frame in frames), frames
        return sum(frame.request == request and bool(frame.flags & FLAG_END) for frame in frames)


def measure(readers: Sequence[Reader], request: bytes, seconds: float) -> list[float]:
    """Latencies in milliseconds, from when each read was due."""
    latencies: list[float] = []
    began = time.perf_counter() + 0.1
    turn, turns = 0, round(seconds * READS_PER_S)
    while len(latencies) < turns:
        due = began + turn / READS_PER_S if turn < turns else float("inf")
        left_s = min(due - time.perf_counter(), 10.0)
        ready = select.select(readers, (), (), left_s - SPIN_S if left_s > SPIN_S else 0.0)[0]
        at = time.perf_counter()
        for reader in ready:
            latencies.extend((at - reader.due.popleft()) * 1000 for _ in range(reader.take(READ)))
        if at >= due:
            reader = readers[turn % len(readers)]
            reader.due.append(due)
            reader.sock.sendall(request)
            turn += 1
    return latencies


def serve_readers(port: int) -> None:
    """Measure as often as a line with a number of seconds comes; a line of JSON for each."""
    readers = [Reader(port) for _ in range(CLIENTS)]
    request = encode_frame(
        MessageId.READ_OBJECTS, codec.encode(ReadObjects(type=requests_csp.PERSON, filter={"dbid": 100})), request=READ
    )
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(readers, request, float(line))), flush=True)


# the disturbances


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


def client_hello() -> bytes:
    """What a TLS client says first."""
    engine = TlsEngine(load_context(TlsSettings(), server_side=False).context, name="localhost")
    engine.receive_data(b"")
    return engine.data_to_send()


async def stop_after(first: bytes, port: int) -> None:
    """Connections that begin a TLS handshake and never go on."""

    async def one() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(first)
                await reader.read()
                writer.close()
            except OSError:
                pass
            await asyncio.sleep(0.2)

    await asyncio.gather(*(one() for _ in range(HALF_OPEN)))


async def half_open(port: int) -> None:
    await stop_after(client_hello()[:11], port)


async def half_open_hello(port: int) -> None:
    await stop_after(client_hello(), port)


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
    "half-open-hello": half_open_hello,
    "wrong-log-ins": wrong_log_ins,
}


@contextmanager
def disturbed(name: str, port: int) -> Iterator[None]:
    """A disturbance in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--attack", name, "--port", str(port)], start_new_session=True
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


# the measurement


class Readers:
    """The readers' process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout
        assert self._from.readline() == "ready\n"

    def measure(self, seconds: float) -> tuple[float, float]:
        """Median and p99 in milliseconds."""
        self._to.write(f"{seconds}\n")
        self._to.flush()
        latencies = json.loads(self._from.readline())
        return statistics.median(latencies), statistics.quantiles(latencies, n=100)[98]


@contextmanager
def reading(port: int) -> Iterator[Readers]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--read", "--port", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Readers(process)
    finally:
        process.kill()
        process.wait()


def processor_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(name: str, readers: Readers, port: int, pid: int, seconds: float) -> Row:
    """One run: idle, then disturbed."""
    idle_p50, idle_p99 = readers.measure(seconds)
    with disturbed(name, port):
        time.sleep(SETTLE_S)
        before = processor_s(pid)
        p50, p99 = readers.measure(seconds)
        used = (processor_s(pid) - before) / seconds
    time.sleep(REST_S)
    return {"idle_p50_ms": idle_p50, "idle_p99_ms": idle_p99, "p50_ms": p50, "p99_ms": p99, "processors": used}


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=sorted(DISTURBANCES), nargs="+", default=list(DISTURBANCES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--attack", choices=sorted(DISTURBANCES), help=argparse.SUPPRESS)
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    raise_descriptor_limit()
    if given.attack:
        place(1, nice=-20 if os.geteuid() == 0 else 19)  # real-time readers come first whatever its priority
        asyncio.run(DISTURBANCES[given.attack](given.port))  # type: ignore[arg-type]
        return 0
    if given.read:
        place(1, is_real_time=True)
        serve_readers(given.port)
        return 0
    place(1)
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder, master(Path(folder) / "d") as (port, pid), reading(port) as readers:
        readers.measure(2.0)
        for name in given.only:
            found[name] = [compare(name, readers, port, pid, given.seconds) for _ in range(given.repeat)]
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; p50/p99 in ms")
    idle = best(runs := [run for each in found.values() for run in each], "idle_p99_ms")
    print(f"idle            {idle['idle_p50_ms']:.2f}/{idle['idle_p99_ms']:.2f}, the best of {len(runs)} runs")
    for name, runs in found.items():
        report(name, runs, idle["idle_p99_ms"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def best(runs: Sequence[Row], key: str) -> Row:
    return min(runs, key=lambda run: run[key])


def report(name: str, runs: Sequence[Row], idle_p99_ms: float) -> None:
    middle = sorted(runs, key=lambda run: run["p99_ms"])[len(runs) // 2]
    least = best(runs, "p99_ms")
    print(
        f"{name:15} {middle['p50_ms']:.2f}/{middle['p99_ms']:.2f}, {middle['p99_ms'] / idle_p99_ms:.1f} x idle; "
        f"best run {least['p50_ms']:.2f}/{least['p99_ms']:.2f}, {least['p99_ms'] / idle_p99_ms:.1f} x idle; "
        f"{middle['processors']:.2f} processors"
    )


if __name__ == "__main__":
    sys.exit(main())
