"""Connections that a server makes itself: where they come from, and whether they are secure."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from csproxy.core.cache import ConfigurationCache
from csproxy.core.failover import Endpoint
from csproxy.core.transport_parameters import ListeningMode
from csproxy.daemon.connectors import ObjectConnector, master_connector, pair_connector
from csproxy.errors import ConfigurationError, ConnectionLostError, TlsError
from csproxy.transport.channel import Channel
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.port_security import PortSecurity
from csproxy.transport.tls_context import load_context
from tests.own_ports import free_ports
from tests.tls_files import Authority

pytestmark = pytest.mark.anyio

PLAIN = PortSecurity(ListeningMode.UNSECURED, None)


class Silent:
    """A receiver."""

    def receive(self, data: bytes) -> None:
        pass

    def writable(self) -> None:
        pass

    def closed(self, error: Exception | None) -> None:
        pass


@asynccontextmanager
async def server(security: PortSecurity = PLAIN) -> AsyncIterator[tuple[int, list[Channel]]]:
    """A port, and the channels of those who have come."""
    channels: list[Channel] = []

    def accept(channel: Channel, _: str) -> None:
        channel.start(Silent())
        channels.append(channel)

    async with Listener([ListenPort("default", "127.0.0.1", 0, security)], accept) as listener:
        yield listener.addresses()["default"][1], channels
        for channel in channels:
            channel.close(flush=False)
        await anyio.wait_all_tasks_blocked()


async def arrived(channels: list[Channel]) -> Channel:
    with anyio.fail_after(10):
        while not channels:
            await anyio.lowlevel.checkpoint()
    return channels[-1]


def given(**parameters: str) -> ObjectConnector:
    return ObjectConnector("the connection", lambda host, port: parameters)


async def test_without_parameters_the_system_chooses() -> None:
    async with server() as (port, channels):
        channel = await given()("127.0.0.1", port)
        assert not (await arrived(channels)).is_secure
        channel.close(flush=False)


async def test_the_local_address_and_port_are_chosen_and_can_be_taken_again() -> None:
    (local,) = free_ports(1)
    async with server() as (port, channels):
        for _ in range(2):
            channel = await given(address="127.0.0.1", port=str(local))("127.0.0.1", port)
            assert (await arrived(channels)).peer == f"127.0.0.1:{local}"
            # the server ends it: this side keeps no memory of the connection
            channels.pop().close(flush=False)
            await anyio.wait_all_tasks_blocked()
            channel.close(flush=False)
            await anyio.wait_all_tasks_blocked()


async def test_an_address_alone_leaves_the_port_to_the_system() -> None:
    async with server() as (port, channels):
        channel = await given(address="127.0.0.3")("127.0.0.1", port)
        assert (await arrived(channels)).peer.startswith("127.0.0.3:")
        channel.close(flush=False)


async def test_a_local_port_that_another_has_is_told() -> None:
    async with server() as (port, _):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            local = taken.getsockname()[1]
            with pytest.raises(ConnectionLostError, match="in use"):
                await given(address="127.0.0.1", port=str(local))("127.0.0.1", port)


@pytest.mark.parametrize("text", ["0", "70000", "many", "-1"])
async def test_a_local_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the connection: the local port is .* 1 to 65535"):
        await given(port=text)("127.0.0.1", 1)


async def test_tls_is_done_as_the_parameters_say_and_a_change_counts_from_the_next_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "root")
    tls = load_context(authority.issue("127.0.0.1").settings(), server_side=True)
    parameters: dict[str, str] = {"tls": "1", "trusted-ca": authority.path}
    connect = ObjectConnector("the connection", lambda host, port: parameters)
    async with server(PortSecurity(ListeningMode.AUTO_DETECT, tls)) as (port, _):
        for wanted in ("1", "0", "yes"):
            parameters["tls"] = wanted
            channel = await connect("127.0.0.1", port)
            assert channel.is_secure is (wanted != "0")
            channel.close(flush=False)
        parameters["trusted-ca"] = Authority(tmp_path, "other").path
        with pytest.raises(TlsError, match="its authority is not among the trusted ones"):
            await connect("127.0.0.1", port)
        parameters["sec-protocol"] = "TLSv1"
        with pytest.raises(ConfigurationError, match="the connection: sec-protocol 'TLSv1' is broken"):
            await connect("127.0.0.1", port)


async def test_a_connection_to_the_backup_comes_from_the_backup_port() -> None:
    first, second = free_ports(2)
    parameters: Mapping[str, str] = {"address": "127.0.0.1", "port": str(first), "backup-port": str(second)}
    async with server() as (port, channels), server() as (other, others):
        connect = master_connector(parameters, ConfigurationCache, "proxy", Endpoint("127.0.0.1", port))
        at_primary = await connect("127.0.0.1", port)
        assert (await arrived(channels)).peer == f"127.0.0.1:{first}"
        at_backup = await connect("127.0.0.1", other)
        assert (await arrived(others)).peer == f"127.0.0.1:{second}"
        at_primary.close(flush=False)
        at_backup.close(flush=False)


async def test_the_other_of_a_pair_is_reached_without_any_object() -> None:
    async with server() as (port, channels):
        channel = await pair_connector(ConfigurationCache, "proxy")("127.0.0.1", port)
        await arrived(channels)
        channel.close(flush=False)
