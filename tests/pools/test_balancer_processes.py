"""What a load balancer does to members beside leading clients to them: checks, source addresses, PROXY headers."""

from __future__ import annotations

import json
import os
import socket
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from csproxy.transport.client import ConfigClient
from csproxy.transport.dial import connect_tcp
from csproxy.transport.wire.client_protocol import ClientProtocol
from tests.daemon.servers import PASSWORD, Running, tool
from tests.pools.balanced import Pool, running_pool
from tests.tls_files import Authority

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

CHECKS = 200
CLIENTS = 40
SOURCES = ("127.0.0.2", "127.0.0.3")
CLIENT = "127.0.0.9"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def said(running: Running) -> list[str]:
    """What a server has said since it was ready, as far as it is there now."""
    assert running.process.stdout is not None
    os.set_blocking(running.process.stdout.fileno(), False)
    return (running.process.stdout.read() or b"").decode().splitlines()


def check(port: int, hello: bytes) -> None:
    """As a balancer does: connect, say the first bytes of a client and wait for the answer, or say nothing; drop."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        if hello:
            sock.sendall(hello)
            assert sock.recv(1024)


def secure(pool: Pool, parameters: str) -> None:
    """Give the port of member1 these transport parameters before it starts."""
    port = {"id": "default", "port": str(pool.site.proxy_ports["member1"]), "transportParams": parameters}
    done = tool("update", "application", "101", f"portInfos={json.dumps([port])}", port=pool.site.port)
    assert done.returncode == 0, done.stderr


def connected_from(port: int) -> set[str]:
    """The addresses of those who are connected to this port, as the kernel knows them."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if (int(local.partition(":")[2], 16), state) == (port, "01"):
            found.add(socket.inet_ntoa(int(remote.partition(":")[0], 16).to_bytes(4, "little")))
    return found


async def test_checks_are_silent_and_leave_nothing(tmp_path: Path) -> None:
    async with running_pool(tmp_path, clients=100, started=["member1"]) as pool:
        member = pool.members["member1"]
        said(member)
        for hello in [b"", ClientProtocol().connect("balancer")] * CHECKS:
            await anyio.to_thread.run_sync(check, pool.site.proxy_ports["member1"], hello)
        # whoever comes after them is answered after them
        await pool.until_balanced(["member1"])
        status = pool.status("member1")
        assert (status["clients"], status["queues"]["unregistered"]) == (0, 0)
        assert status["last_errors"] == []
        assert {line.split()[2] for line in said(member)} <= {"04522", "24301"}  # the client of the line above


async def test_a_balancer_uses_all_its_source_addresses_and_tells_that_of_the_client(tmp_path: Path) -> None:
    async with (
        running_pool(tmp_path, clients=100, started=["member1"], sources=SOURCES) as pool,
        AsyncExitStack() as stack,
    ):
        await pool.until_balanced(["member1"])
        member = pool.members["member1"]
        said(member)
        for _ in range(CLIENTS):
            client = ConfigClient(
                port=pool.port, user="default", password=PASSWORD, connector=partial(connect_tcp, local=(CLIENT, 0))
            )
            await stack.enter_async_context(client)
        assert connected_from(pool.site.proxy_ports["member1"]) == set(SOURCES)
        authorised = [line for line in said(member) if " 04522 " in line]
        assert len(authorised) == CLIENTS
        assert all(f" {CLIENT}:" in line for line in authorised)


@pytest.mark.parametrize(
    ("more", "check"), [("", "L7OK"), (";tls-mutual=1;trusted-ca={authority}", "L4OK")], ids=["secure", "mutual"]
)
async def test_tls_goes_through_the_balancer_to_a_member_that_takes_nothing_else(
    tmp_path: Path, more: str, check: str
) -> None:
    authority = Authority(tmp_path / "tls", "root")
    server = authority.issue("localhost", "127.0.0.1", file="server")
    parameters = f"tls=1;certificate={server.path};certificate-key={server.key}"
    parameters += more.format(authority=authority.path)
    async with running_pool(
        tmp_path, clients=100, started=["member1"], prepare=lambda pool: secure(pool, parameters)
    ) as pool:
        assert await pool.balancer.checked("member1") == ("UP", check)
        member = pool.members["member1"]
        tls = authority.issue("client", file="client").settings(authority)
        client = ConfigClient(port=pool.port, user="default", password=PASSWORD, tls=tls, connect_wait_s=30.0)
        async with client:
            assert (await client.status())["name"] == "member1"
        assert {line.split()[2] for line in said(member)} <= {"04522", "24301", "31001"}
