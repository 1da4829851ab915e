"""What TLS costs: point reads, bulk, handshakes, memory per idle client, and what a storm does to the others.

    python benchmarks/tls.py [--persons 25000] [--quick]

One master whose port detects TLS by itself, on core 0; the generator on core 1. Both kinds of clients use the same
port in the same run, so that the figures are ratios. TLS 1.3 with an ECDSA certificate. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests_csp
from generator import BUILD, build_generator, generate, generator, median, template
from processes import Process, allow_many_sockets, free_port, running
from site_data import FIRST, SiteSize, make_site

from csproxy.core.tls_settings import TlsSettings
from csproxy.transport.tls_context import load_context
from csproxy.transport.tls_engine import TlsEngine

STORM = 5000


def both(server: Process, measure: Any, unit: str, count: str, *, repeat: int) -> dict[str, Any]:
    """Medians without and with TLS, taken in turn, and their ratio.

    ``unit`` names the generator's figure; ``count`` of it for each processor second of the server is the figure that
    does not depend on what else the machine does.
    """
    runs: dict[str, list[dict[str, Any]]] = {"plain": [], "tls": []}
    for _ in range(repeat):
        for kind, words in (("plain", ()), ("tls", ("--tls",))):
            before_s = server.processor_s()
            run = measure(*words)
            runs[kind].append(run | {"per_cpu_s": round(run[count] / (server.processor_s() - before_s), 1)})
    found: dict[str, Any] = {}
    for key in (unit, "per_cpu_s"):
        plain, tls = (float(median(runs[kind], key)[key]) for kind in ("plain", "tls"))
        found[key] = {"plain": plain, "tls": tls, "ratio": round(tls / plain, 3)}
    return found


def idle_bytes(server: Process, port: int, hello: Path, *words: str, clients: int) -> float:
    """Memory of the server for each idle registered client, without what the kernel holds."""
    before = server.memory_bytes()
    command = generator("idle", port, "--conns", clients, "--hello", hello, "--secs", 8, "--proto", "csp", *words)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as idle:
        assert idle.stderr is not None
        idle.stderr.readline()
        time.sleep(4)
        grown = server.memory_bytes() - before
        idle.wait()
    time.sleep(2)
    return grown / clients


def latency(port: int, *words: object, seconds: float) -> dict[str, Any]:
    """Reads of ten clients, one at a time each: their latency is the server's, not that of a queue."""
    return generate("rr", port, "--conns", 10, "--depth", 1, "--secs", seconds, "--warm-ms", 1000, *words)


def during_storm(port: int, reads: tuple[object, ...], *, seconds: float) -> dict[str, Any]:
    """Ten readers while many thousand handshakes run, 50 at a time from one client process."""
    command = generator("herd", port, "--tls", "--conns", STORM, "--depth", 50, "--req", BUILD / "tls_read.bin",
                        "--hello", BUILD / "tls_hello.bin", "--proto", "csp")  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as storm:
        found = latency(port, *reads, seconds=seconds)
        out, _ = storm.communicate(timeout=120)
    return {"readers": found, "storm": json.loads(out) if out.startswith("{") else out}


def half_open(port: int, folder: Path, reads: tuple[object, ...], *, seconds: float) -> dict[str, Any]:
    """Ten readers while STORM peers send a ClientHello each and stop."""
    engine = TlsEngine(
        load_context(TlsSettings(trusted_ca=(str(folder / "ca.pem"),)), server_side=False).context, name="127.0.0.1"
    )
    engine.receive_data(b"")
    first = engine.data_to_send()
    sockets = []
    for _ in range(STORM):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(first)
        sockets.append(sock)
    found = latency(port, *reads, seconds=seconds)
    for sock in sockets:
        sock.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--persons", type=int, default=25_000)
    parser.add_argument("--quick", action="store_true", help="one short run of each work")
    arguments = parser.parse_args()
    build_generator()
    allow_many_sockets()
    seconds, repeat = (1.0, 1) if arguments.quick else (3.0, 3)
    port = free_port()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "site"
        site = make_site(folder, SiteSize(arguments.persons, 1), master_port=port, proxy_port=free_port())
        with running(site.master, port=port, cwd=folder) as server:
            hello = template("tls_hello", requests_csp.hello())
            request = template("tls_read", requests_csp.read_person())
            bulk = template("tls_bulk", requests_csp.read(requests_csp.PERSON))
            reads = ("--req", request, "--hello", hello, "--key-u32", "--key-first", FIRST,
                     "--nkeys", arguments.persons, "--proto", "csp")  # fmt: skip
            found["idle_bytes"] = {
                kind: idle_bytes(server, port, hello, *words, clients=1000)
                for kind, words in (("plain", ()), ("tls", ("--tls",)))
            }
            fifty = ("rr", port, "--conns", 50, "--secs", seconds, "--warm-ms", 500, *reads)
            found["point reads, 50 connections"] = both(
                server, lambda *tls: generate(*fifty, *tls), "per_s", "done", repeat=repeat
            )
            large = ("rr", port, "--conns", 4, "--secs", seconds, "--warm-ms", 500, "--req", bulk, "--hello", hello,
                     "--proto", "csp")  # fmt: skip
            found["all persons at once, 4 connections"] = both(
                server, lambda *tls: generate(*large, *tls), "MBps", "done", repeat=repeat
            )
            found["connections, one after the other"] = both(
                server, lambda *tls: generate("conn", port, "--conns", 1000, *tls), "per_s", "conns", repeat=repeat
            )
            storm = during_storm(port, reads, seconds=seconds)
            found["readers"] = {
                "alone": latency(port, *reads, seconds=seconds),
                "beside half-open handshakes": half_open(port, folder, reads, seconds=seconds),
                "beside a storm": storm["readers"],
            }
            found["storm"] = storm["storm"]
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
