"""Changes to many: bursts, paced ones, what readers notice meanwhile, and subscribers that do not take theirs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import requests_csp
from comparing import Bench, compared, side_by_side
from generator import Run, generate, waiting
from peers import Server
from processes import alone
from results import Result

__all__ = ["all_there", "attentive", "deaf", "deliver", "measure_fanout"]

_PACE_US = 100_000
_FILLING = 3_000
"""Changes, of 500 bytes each, that fill what the kernel keeps for a client that takes nothing."""


def measure_fanout(bench: Bench, servers: Sequence[Server]) -> Iterator[Result]:
    """fanout-burst-1000, fanout-burst-10000, fanout-paced-1000, and what belongs to them."""
    scale = bench.scale
    for work, subscribers, changes, pace_us, unit, key in (
        ("fanout-burst-1000", scale.subscribers, scale.burst, 1, "deliveries/s", "deliv_per_s"),
        ("fanout-burst-10000", scale.crowd, scale.burst, 1, "deliveries/s", "deliv_per_s"),
        ("fanout-paced-1000", scale.subscribers, scale.paced, _PACE_US, "ms, p99", "p99_ms"),
    ):
        if not bench.wants(work):
            continue
        able = servers if subscribers == scale.subscribers else [each for each in servers if each.name != "etcd"]
        found = side_by_side(
            able,
            lambda server, subscribers=subscribers, changes=changes, pace_us=pace_us: deliver(  # type: ignore[misc]
                server, subscribers=subscribers, changes=changes, pace_us=pace_us
            ),
            key,
            repeat=scale.repeat,
            count="delivered",
        )
        yield from compared(bench, work, unit, found, key)
    if bench.wants("fanout-paced-1000"):
        with alone(servers[0].process, [server.process for server in servers]):
            yield from _beside_stalled(bench, servers[0])
    if bench.wants("fanout-burst-10000"):
        with alone(servers[0].process, [server.process for server in servers]):
            yield from _one_change(bench, servers[0])


def deliver(server: Server, *, subscribers: int, changes: int, pace_us: int) -> Run:
    """Publish changes to subscribers, at a fixed pace; as fast as possible if that is 1 µs."""
    expected = ["--expect", changes * subscribers, "--idle-secs", 8]
    assert server.subscribe is not None
    words = ["--conns", subscribers, "--proto", server.proto, *server.words, "--hello", server.subscribe, *expected]
    with waiting("sub", server.port, *words, until=all_there(server, subscribers)) as subs:
        time.sleep(0.5)
        publish(server, changes=changes, pace_us=pace_us)
        run = subs.result()
    if run["delivered"] < changes * subscribers:
        raise SystemExit(f"{server.name}: {run['delivered']} of {changes * subscribers} deliveries came")
    return run | {"p99_ms": run["p99_us"] / 1000}


def publish(server: Server, *, changes: int, pace_us: int) -> Run:
    """Send changes without waiting for answers, on one connection."""
    plain = [word for word in server.words if word != "--tls"]
    hello = ["--hello", server.hello] if server.hello else []
    return generate(
        "rr", server.publish_port, "--conns", 1, "--depth", changes + 1, "--count", changes,
        "--interval-us", pace_us, "--secs", 90, *plain, *hello, "--proto", server.proto,
        *server.requests["publish"].words,
    )  # fmt: skip


def all_there(server: Server, clients: int) -> Callable[[], bool]:
    """Asks csproxy whether all are subscribed; Redis and etcd are given the time that they need at most."""
    if server.proto == "csp":
        return lambda: requests_csp.status(server.port)["subscriptions"] >= clients
    until_s = time.monotonic() + (1.5 if server.proto == "resp" else 3) + clients / 10_000
    return lambda: time.monotonic() > until_s


def _beside_stalled(bench: Bench, server: Server) -> Iterator[Result]:
    """Paced changes while a tenth of the subscribers take nothing any more, beside the same when all take theirs."""
    scale = bench.scale
    stalled = max(1, scale.subscribers // 10)

    def paced() -> Run:
        return deliver(server, subscribers=scale.subscribers - stalled, changes=scale.paced, pace_us=_PACE_US)

    with attentive(server, stalled):
        usual = paced()
    with deaf(server, stalled):
        publish(server, changes=_FILLING, pace_us=1)
        found = paced()
    bench.details["fanout-stalled"] = {"nobody": usual, "a tenth": found}
    ours, theirs = found["p99_ms"], usual["p99_ms"]
    yield Result("fanout-stalled", ours, "ms, p99 of the others", "nobody stalled", theirs, round(ours / theirs, 3))


@contextmanager
def attentive(server: Server, clients: int) -> Iterator[None]:
    """Subscribers that take everything."""
    assert server.subscribe is not None
    words = ["--proto", server.proto, *server.words, "--hello", server.subscribe, "--secs", 60]
    with waiting("idle", server.port, "--conns", clients, *words, until=all_there(server, clients)):
        yield


@contextmanager
def deaf(server: Server, clients: int) -> Iterator[None]:
    """Subscribers that read nothing: what they are sent fills the buffers of both sides."""
    assert server.subscribe is not None
    hello = server.subscribe.read_bytes()
    with ExitStack() as stack:
        for _ in range(clients):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", server.port))
            sock.sendall(hello)
        arrived = all_there(server, clients)
        while not arrived():
            time.sleep(0.05)
        yield


def _one_change(bench: Bench, server: Server) -> Iterator[Result]:
    """One change to the crowd, while somebody reads an object every 2 ms."""
    crowd = bench.scale.crowd
    words = [*server.connect_words, *server.requests["point"].words]
    paced = ["--conns", 1, "--depth", 64, "--interval-us", 2000, "--secs", bench.scale.beside_s, "--warm-ms", 100]
    assert server.subscribe is not None
    subscribe = ["--conns", crowd, "--proto", server.proto, *server.words, "--hello", server.subscribe]
    changes = 5 if bench.scale.beside_s > 3 else 1
    # one more than comes: they must not all leave while the reader is there
    expected = ["--expect", changes * crowd + 1, "--idle-secs", bench.scale.beside_s]
    with waiting("sub", server.port, *subscribe, *expected, until=all_there(server, crowd)) as subscribers:
        with waiting("rr", server.port, *paced, *words) as reader:
            time.sleep(0.6)
            publish(server, changes=changes, pace_us=600_000)
            noticed = reader.result()
        run = subscribers.result()
    bench.details["fanout-last-10000"] = {"subscribers": run, "reader": noticed}
    yield Result("fanout-last-10000", run["all_max_us"] / 1000, "ms until the last has it")
    yield Result("fanout-reader-p99", noticed["p99_us"] / 1000, "ms, a reader meanwhile")
    yield Result("fanout-reader-worst", noticed["max_us"] / 1000, "ms, a reader meanwhile")
