"""Processes of a benchmark: started on one core, waited for, measured, stopped."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "CONFSERV",
    "FIRST_OF_GENERATORS",
    "GENERATOR_CORE",
    "LIKE_OTHERS",
    "SERVER_CORE",
    "TOOL",
    "Process",
    "allow_many_sockets",
    "alone",
    "free_port",
    "on_core",
    "running",
]

SERVER_CORE, GENERATOR_CORE = "0", "1"
CONFSERV = [sys.executable, "-m", "csproxy.daemon.confserv"]
TOOL = [sys.executable, "-m", "csproxy.daemon.tool"]
FIRST_OF_GENERATORS = 2
LIKE_OTHERS = "CSPROXY_BENCH_LIKE_OTHERS"
"""Variable of the environment: set, nothing goes before other processes of the machine."""
_START_S = 300


def on_core(core: str, command: Iterable[object], *, priority: int = 1) -> list[str]:
    """The command, bound to a core, and before others of the machine where that is allowed.

    All that is measured has the same priority. On the generator's core the master of a proxy goes first, and then who
    only looks what others notice: else they would wait for the generator and not for the server.
    """
    first = ["chrt", "--rr", str(priority)] if os.geteuid() == 0 and not os.environ.get(LIKE_OTHERS) else []
    return [*first, "taskset", "-c", core, *map(str, command)]


class Process:
    """A server that accepts connections on ``port``; ``ready_s`` is how long that took from the start."""

    def __init__(self, command: list[str], *, port: int, cwd: Path | None = None, core: str = SERVER_CORE) -> None:
        priority = 1 if core == SERVER_CORE else FIRST_OF_GENERATORS
        began_s = time.perf_counter()
        self.port = port
        self.process = subprocess.Popen(
            on_core(core, command, priority=priority), cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.perf_counter() - began_s > _START_S:
                    raise SystemExit(f"{command[0]} did not start") from None
                time.sleep(0.005)
        self.ready_s = time.perf_counter() - began_s

    def memory_bytes(self, field: str = "VmRSS") -> int:
        """Resident memory; ``VmHWM``: the most of it since `forget_peak`."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        raise SystemExit("the process has ended")

    def forget_peak(self) -> None:
        """Let the peak of the memory begin at what it is now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def processor_s(self) -> float:
        """Processor time so far, the kernel's for it included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it; idempotent."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(command: list[str], *, port: int, cwd: Path | None = None, core: str = SERVER_CORE) -> Iterator[Process]:
    """A process from when it is ready to the end of the block."""
    process = Process(command, port=port, cwd=cwd, core=core)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def alone(process: Process, others: Iterable[Process]) -> Iterator[None]:
    """Stop the other servers meanwhile, so that what they do when idle takes nothing away."""
    stopped = [other for other in others if other is not process]
    for other in stopped:
        other.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for other in stopped:
            other.process.send_signal(signal.SIGCONT)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def allow_many_sockets() -> None:
    """As many descriptors as the system allows, for this process and those it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
