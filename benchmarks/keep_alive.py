"""What keep-alive costs a server with 10,000 idle clients: its processor time with the watch and without.

    python benchmarks/keep_alive.py [CLIENTS] [SECONDS]

A proxy-less server on the standard event loop and CLIENTS sockets that do nothing but answer, in two processes.
Three runs: nobody watches; the server watches (remote time-out 10 s, so each client is polled every 10 s);
the clients watch (each sends a Ping every 10 s). Prints processor seconds per minute, and the share of one core.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import sys
import time
from multiprocessing.connection import Connection as Pipe

import anyio

from csproxy.core.changes import Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.sessions import Account
from csproxy.core.wellknown import well_known_objects
from csproxy.transport.channel import Channel, Receiver
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.keepalive import SetKeepAlive
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient

INTERVAL_S = 10.0
TURNS = 100
"""In so many parts the clients that watch send their pings, evenly over the interval."""


class AnyUser:
    """Lets everybody in."""

    async def authenticate(self, user: str, password: str) -> Account:
        return Account(100, user)


class IdleClient(Receiver):
    """Registers, asks to be watched if it is to, and answers polls."""

    def __init__(self, channel: Channel, remote_timeout_s: float) -> None:
        self.channel = channel
        self.registered = anyio.Event()
        self._remote_timeout_s = remote_timeout_s
        self._protocol = ClientProtocol()
        channel.start(self)
        channel.write(self._protocol.connect("idle"))

    def ask(self, message: MessageId, payload: object = b"") -> None:
        self.channel.write(self._protocol.request(message, payload)[1])  # type: ignore[arg-type]

    def receive(self, data: bytes) -> None:
        for frame in self._protocol.receive_data(data):
            if frame.message == MessageId.PROTOCOL_VERSION_READ:
                self.ask(MessageId.REGISTER_CLIENT, RegisterClient(type=19, name="default", user="default"))
            elif frame.message == MessageId.CLIENT_REGISTERED:
                self.registered.set()
                if self._remote_timeout_s:
                    self.ask(MessageId.SET_KEEP_ALIVE, SetKeepAlive(timeout_ms=round(self._remote_timeout_s * 1000)))
            elif frame.message == MessageId.POLL:
                self.ask(MessageId.PING)

    def writable(self) -> None: ...

    def closed(self, error: Exception | None) -> None:
        raise SystemExit(f"a client was cut off: {error}")


def allow_many_sockets() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def be_clients(port: int, count: int, remote_timeout_s: float, ping_every_s: float, pipe: Pipe) -> None:
    """The process of the clients; says on the pipe that all are registered."""
    allow_many_sockets()

    async def run() -> None:
        clients = []
        for _ in range(count):
            client = IdleClient(await connect_tcp("127.0.0.1", port), remote_timeout_s)
            await client.registered.wait()
            clients.append(client)
        pipe.send("ready")
        for turn in itertools.count():
            if ping_every_s:
                for client in clients[turn % TURNS :: TURNS]:
                    client.ask(MessageId.PING)
            await anyio.sleep((ping_every_s or INTERVAL_S) / TURNS)

    anyio.run(run)


async def measure(count: int, seconds: float, remote_timeout_s: float, ping_every_s: float) -> float:
    """Processor seconds that the server used in ``seconds``."""
    async with ConfigurationServer(
        role="master",
        name="confserv",
        authenticator=AnyUser(),
        writer=ReadOnlyWriter("a benchmark"),
        random=lambda: 0.5,
        random_bytes=os.urandom,
    ) as server:
        builder = CacheBuilder(None)
        for number, obj, folder in well_known_objects():
            builder.add(number, [encode_object(SCHEMA.types[number], obj)], [folder])
        server.replace(builder, Position(1, 1), [Epoch(1, 1)])
        async with Listener([ListenPort("default", "127.0.0.1", 0)], server.connect) as listener:
            _, port = listener.addresses()["default"]
            here, there = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(
                target=be_clients, args=(port, count, remote_timeout_s, ping_every_s, there), daemon=True
            )
            process.start()
            await anyio.to_thread.run_sync(here.recv)
            await anyio.sleep(2 * INTERVAL_S)
            began, used = time.monotonic(), time.process_time()
            await anyio.sleep(seconds)
            used = (time.process_time() - used) / (time.monotonic() - began) * seconds
            assert len(server.sessions) == count, "clients were lost"
            process.kill()
            return used


def main(count: int, seconds: float) -> None:
    """Run all three."""
    allow_many_sockets()
    for name, remote_timeout_s, ping_every_s in (
        ("nobody watches", 0.0, 0.0),
        ("the server watches", INTERVAL_S, 0.0),
        ("the clients watch", 0.0, INTERVAL_S),
    ):
        used = anyio.run(measure, count, seconds, remote_timeout_s, ping_every_s)
        share = used / seconds
        print(f"{count} idle clients, {name:<20} {share * 60:6.2f} s of processor a minute, {share:.1%}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, float(sys.argv[2]) if len(sys.argv) > 2 else 60.0)
