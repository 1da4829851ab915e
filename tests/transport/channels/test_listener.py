"""Listening: addresses, refusals, and a shortage of file descriptors."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest
from channel_pairs import Recorder, settle

from csproxy.errors import ConfigurationError, ConnectionLostError, ErrorCode
from csproxy.transport.channel import Channel
from csproxy.transport.dial import connect_tcp
from csproxy.transport.listener import Listener, ListenPort

LOCAL = ListenPort("default", "127.0.0.1", 0)


def ignore(channel: Channel, port_id: str) -> None:
    channel.close(flush=False)


@pytest.mark.anyio
async def test_each_port_hands_over_its_connections_with_its_id() -> None:
    seen: list[tuple[str, bytes]] = []
    all_seen = anyio.Event()

    def accept(channel: Channel, port_id: str) -> None:
        def note(data: bytes) -> None:
            seen.append((port_id, data))
            if len(seen) == 2:
                all_seen.set()

        channel.start(Recorder(note))

    async with Listener([LOCAL, ListenPort("tls", "127.0.0.1", 0)], accept) as listener:
        for port_id, (host, port) in listener.addresses().items():
            channel = await connect_tcp(host, port)
            channel.start(Recorder())
            channel.write(port_id.encode())
            channel.close()
        with anyio.fail_after(10):
            await all_seen.wait()
        assert sorted(seen) == [("default", b"default"), ("tls", b"tls")]
        assert listener.statistics().accepted == 2
        assert "default=127.0.0.1:" in repr(listener)


@pytest.mark.anyio
async def test_a_name_with_several_addresses_listens_on_one_port_number() -> None:
    async with Listener([ListenPort("default", "localhost", 0)], ignore) as listener:
        host, port = listener.addresses()["default"]
        assert host in ("127.0.0.1", "::1")
        channel = await connect_tcp("localhost", port)
        assert str(port) in channel.peer
        channel.close(flush=False)
        await settle()


@pytest.mark.anyio
async def test_an_empty_host_means_every_interface() -> None:
    async with Listener([ListenPort("default", "", 0)], ignore) as listener:
        channel = await connect_tcp("127.0.0.1", listener.addresses()["default"][1])
        channel.close(flush=False)
        await settle()


@pytest.mark.anyio
async def test_an_address_in_use_is_refused_and_named_and_nothing_stays_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        free = ListenPort("first", "127.0.0.1", 0)
        listener = Listener([free, ListenPort("second", "127.0.0.1", port)], ignore)
        with pytest.raises(ConfigurationError, match=f"'second'.*127.0.0.1:{port}.*in use"):
            await listener.__aenter__()
        assert listener.addresses() == {}


@pytest.mark.anyio
@pytest.mark.parametrize(("host", "reason"), [("no.such.host.invalid", "known|resolution"), ("192.0.2.1", "assign")])
async def test_an_address_that_is_not_of_this_machine_is_refused_and_named(host: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'default'.*{host}:0.*({reason})"):
        await Listener([ListenPort("default", host, 0)], ignore).__aenter__()


@pytest.mark.anyio
async def test_leaving_the_context_stops_accepting_but_keeps_connections() -> None:
    accepted = Recorder()
    held: list[Channel] = []

    def accept(channel: Channel, _: str) -> None:
        held.append(channel)
        channel.start(accepted)

    async with Listener([LOCAL], accept) as listener:
        host, port = listener.addresses()["default"]
        channel = await connect_tcp(host, port)
        channel.start(Recorder())
        channel.write(b"a")
        await accepted.reached(1)
    channel.write(b"b")
    await accepted.reached(2)
    with pytest.raises(ConnectionLostError, match=f"127.0.0.1:{port}") as caught:
        await connect_tcp(host, port)
    assert caught.value.code is ErrorCode.SERVER_NOT_FOUND
    channel.close(flush=False)
    await accepted.ended()


@pytest.mark.anyio
async def test_an_exception_of_the_body_leaves_the_context_as_it_is() -> None:
    with pytest.raises(ValueError, match="of the body"):
        async with Listener([LOCAL], ignore):
            raise ValueError("of the body")


@pytest.mark.anyio
async def test_a_connection_that_is_not_taken_over_is_closed_and_others_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder()
    held: list[Channel] = []

    def accept(channel: Channel, _: str) -> None:
        if not held:
            held.append(channel)
            raise ValueError("a mistake in the server")
        channel.start(recorder)

    async with Listener([LOCAL], accept) as listener:
        refused, served = Recorder(), Recorder()
        for at_client in (refused, served):
            channel = await connect_tcp(*listener.addresses()["default"])
            channel.start(at_client)
            if at_client is refused:
                await refused.ended()
        channel.write(b"x")
        await recorder.reached(1)
        channel.close()
        await recorder.ended()
        await served.ended()
    assert "not taken over" in caplog.text


@contextmanager
def crowded(backend: str, crowd: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    program = Path(__file__).with_name("crowded_server.py")
    with subprocess.Popen(
        [sys.executable, program, backend, crowd], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answers(connection: socket.socket) -> bool:
    """Whether the server echoes; False if it has closed the connection."""
    try:
        connection.sendall(b"?")
        return connection.recv(1) == b"?"
    except ConnectionError:
        return False


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_clients_beyond_the_descriptor_limit_are_turned_away_and_the_others_not_affected(backend: str) -> None:
    with crowded(backend, "limit") as (process, port), ExitStack() as stack:
        first = stack.enter_context(connect(port))
        assert answers(first)
        crowd = [stack.enter_context(connect(port)) for _ in range(60)]
        served = [connection for connection in crowd if answers(connection)]
        assert 0 < len(served) < len(crowd)
        assert answers(first)
        for connection in served:
            connection.close()
        deadline = time.monotonic() + 10
        while not answers(stack.enter_context(connect(port))):
            assert time.monotonic() < deadline
        assert answers(first)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        accepted, turned_away = map(int, process.stdout.read().split())
        assert accepted >= len(served) + 2
        assert turned_away >= len(crowd) - len(served)


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_without_even_a_spare_descriptor_clients_wait_until_one_is_free(backend: str) -> None:
    with crowded(backend, "full") as (process, port), connect(port) as waiting:
        assert process.stdin is not None
        process.stdin.write(b"!")
        process.stdin.flush()
        assert answers(waiting)
