"""Loads and writes in turn, and tokens for long answers, in simulated time over a simulated network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import pytest

from csproxy.core.admission import AdmissionSettings
from csproxy.core.model import CfgApplication, CfgAppType, CfgSkill
from csproxy.errors import CsproxyError, ErrorCode, ServerError
from csproxy.testing import MemoryNetwork, Simulation, run_simulated
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_snapshot import Snapshot
from csproxy.transport.connection import Connection
from csproxy.transport.load_control import MAX_BULK_READERS, SerializedWriter
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ReadObjects, SnapshotHandle
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.replication import LoadGranted
from tests.transport.client.client_world import PlainWriter
from tests.transport.upstream.upstream_world import APPLICATION, MASTER, SKILL, Item, Master, Sink, base_objects, skill

PROXIES = 50
SERIAL = AdmissionSettings(serialize=True)


def site_objects() -> list[Item]:
    objects = base_objects()
    template = next(obj for number, obj, _ in objects if number == APPLICATION and obj["name"] == "proxy1")
    for n in range(PROXIES):
        objects.append((APPLICATION, {**template, "DBID": 1000 + n, "name": f"load{n}"}, APPLICATION))
    objects += [(SKILL, skill(n), SKILL) for n in range(2000)]
    return objects


class Site:
    """A master whose writes wait for their turn, and those who want something of it."""

    def __init__(self, simulation: Simulation, network: MemoryNetwork, master: Master) -> None:
        self.simulation = simulation
        self.network = network
        self.master = master
        self.control = master.server.load_control
        master.server.writer = SerializedWriter(PlainWriter(master), self.control)

    def client(self, **options: Any) -> ConfigClient:
        options = {"user": "default", "password": "secret", "connector": self.network.connector("desk"), **options}
        return ConfigClient("master", 2020, **options)

    async def connect(self, name: str) -> Connection:
        connection = await Connection.open(await self.network.connector(name)("master", 2020), name)
        await connection.register(RegisterClient(type=int(CfgAppType.CFGConfigServer), name=name))
        return connection

    async def connect_desk(self, host: str) -> Connection:
        connection = await Connection.open(await self.network.connector(host)("master", 2020), host)
        request = RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user="default", password="secret")
        await connection.register(request)
        return connection

    async def begin_load(self, connection: Connection) -> int:
        """The handle of a granted load, however often that has to be asked for."""
        while True:
            answer = await connection.request(MessageId.LOAD_BEGIN, Empty(), timeout_s=60.0)
            if answer.message == MessageId.LOAD_GRANTED:
                return decode_payload(LoadGranted, answer.payload).snapshot
            await anyio.sleep(0.1)

    async def end_load(self, connection: Connection, handle: int) -> None:
        await connection.request(MessageId.LOAD_END, SnapshotHandle(snapshot=handle))


def simulated(test: Callable[[Site], Coroutine[Any, Any, None]]) -> None:
    async def main(simulation: Simulation) -> None:
        master = Master()
        async with MemoryNetwork(rng=simulation.rng) as network, master.server:
            master.fill(site_objects())
            network.listen(MASTER.host, MASTER.port, master.server.connect)
            await test(Site(simulation, network, master))

    run_simulated(main, seed=1, time_limit_s=20_000)


@asynccontextmanager
async def refused(code: ErrorCode) -> AsyncIterator[None]:
    with pytest.raises(ServerError) as caught:
        yield
    assert caught.value.code is code


def test_fifty_proxies_at_once_load_in_order_and_others_are_answered_meanwhile() -> None:
    async def main(site: Site) -> None:
        site.control.settings = SERIAL._replace(load_max=3)
        usual = site.master.server.handlers[MessageId.LOAD_BEGIN]
        asked: list[str] = []
        running: list[int] = []

        def begun(connection: ServerConnection, frame: Frame) -> None:
            assert connection.session is not None
            if connection.session.application not in asked:
                asked.append(connection.session.application)
            usual(connection, frame)
            running.append(site.control.statistics()["loads"])

        site.master.override(MessageId.LOAD_BEGIN, begun)
        done: list[str] = []
        sinks = [Sink() for _ in range(PROXIES)]

        async def follow(n: int) -> None:
            connector = site.network.connector(f"load{n}")
            async with UpstreamSource(
                sinks[n], connector, [MASTER], f"load{n}", random=site.simulation.rng.random
            ) as source:
                await source.wait_live()
                done.append(f"load{n}")
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks, site.client() as client:
            for n in range(PROXIES):
                tasks.start_soon(follow, n)
            while len(done) < PROXIES:
                started = site.simulation.now()
                assert await client.get(CfgApplication, 1000)
                assert site.simulation.now() - started < 1.0
                await anyio.sleep(0.01)
            assert max(running) <= 3
            assert site.control.statistics() == {"loads": 0, "waiting_loads": 0}
            places = [asked.index(name) for name in done]
            assert all(abs(place - asked_place) < 3 for asked_place, place in enumerate(places)), places
            tasks.cancel_scope.cancel()

    simulated(main)


def test_a_write_waits_while_a_proxy_loads_and_the_next_load_waits_for_the_write() -> None:
    async def main(site: Site) -> None:
        site.control.settings = SERIAL
        one, two = await site.connect("load1"), await site.connect("load2")
        handle = await site.begin_load(one)
        order: list[str] = []

        async def write() -> None:
            async with site.client() as client:
                await client.create(CfgSkill(tenantDBID=1, name="new"))
                order.append("written")

        async def load() -> None:
            other = await site.begin_load(two)
            order.append("loading")
            await site.end_load(two, other)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await anyio.sleep(1.0)
            tasks.start_soon(load)
            await anyio.sleep(20.0)
            assert order == []
            await site.end_load(one, handle)
        assert order == ["written", "loading"]

    simulated(main)


def test_writes_keep_the_throttle_interval() -> None:
    async def main(site: Site) -> None:
        site.control.settings = SERIAL._replace(throttle_s=5.0)
        async with site.client() as client:
            times: list[float] = []

            async def write(n: int) -> None:
                await client.create(CfgSkill(tenantDBID=1, name=f"n{n}"))
                times.append(site.simulation.now())

            async with anyio.create_task_group() as tasks:
                for n in range(4):
                    tasks.start_soon(write, n)
            assert all(5.0 <= later - earlier < 5.5 for earlier, later in pairwise(times)), times

    simulated(main)


def test_whoever_waits_too_long_is_refused_with_error_19() -> None:
    async def main(site: Site) -> None:
        site.control.settings = SERIAL._replace(load_max=1, deferral_s=12.0)
        holder, other = await site.connect("load1"), await site.connect("load2")
        handle = await site.begin_load(holder)
        async with site.client() as client:
            started = site.simulation.now()
            async with refused(ErrorCode.DB_RESPONSE_TIMED_OUT):
                await client.create(CfgSkill(tenantDBID=1, name="late"))
            assert 12.0 <= site.simulation.now() - started < 13.0
        async with refused(ErrorCode.DB_RESPONSE_TIMED_OUT):
            await site.begin_load(other)
        await site.end_load(holder, handle)
        assert await site.begin_load(other)

    simulated(main)


def test_a_slot_that_is_not_given_back_goes_to_the_next_and_its_load_may_go_on() -> None:
    async def main(site: Site) -> None:
        site.control.settings = SERIAL._replace(load_max=1, load_timeout_s=30.0)
        slow, next_ = await site.connect("load1"), await site.connect("load2")
        handle = await site.begin_load(slow)
        started = site.simulation.now()
        await site.begin_load(next_)
        assert 30.0 <= site.simulation.now() - started < 35.0
        await slow.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL, snapshot=handle))
        await site.end_load(slow, handle)

    simulated(main)


def test_a_proxy_that_goes_gives_its_slot_and_its_place_to_others() -> None:
    async def main(site: Site) -> None:
        site.control.settings = SERIAL._replace(load_max=1)
        holder, waiting, last = [await site.connect(f"load{n}") for n in range(3)]
        await site.begin_load(holder)
        async with anyio.create_task_group() as tasks:

            async def wait_in_vain() -> None:
                with pytest.raises(CsproxyError):
                    await site.begin_load(waiting)

            tasks.start_soon(wait_in_vain)
            await anyio.sleep(1.0)
            waiting.close()
            await anyio.sleep(1.0)
            holder.close()
            assert await site.begin_load(last)

    simulated(main)


def test_options_count_for_those_who_wait_already() -> None:
    async def main(site: Site) -> None:
        site.control.settings = SERIAL._replace(load_max=1)
        one, two = await site.connect("load1"), await site.connect("load2")
        handle = await site.begin_load(one)
        async with refused(ErrorCode.WRONG_API_PARAMETERS):
            await one.request(MessageId.LOAD_BEGIN, Empty())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.begin_load, two)
            await anyio.sleep(1.0)
            assert site.control.statistics() == {"loads": 1, "waiting_loads": 1}
            site.control.settings = AdmissionSettings()
        assert site.control.statistics()["loads"] == 2
        await site.end_load(one, handle)
        assert "LoadControl" in repr(site.control)
        assert "SerializedWriter" in repr(site.master.server.writer)

    simulated(main)


def test_a_load_that_finds_too_many_snapshots_open_takes_no_slot() -> None:
    async def main(site: Site) -> None:
        site.control.settings = SERIAL._replace(load_max=1)
        one = await site.connect("load1")
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(Snapshot(one, timeout_s=5.0))
            async with refused(ErrorCode.WRONG_API_PARAMETERS):
                await site.begin_load(one)
        assert site.control.statistics() == {"loads": 0, "waiting_loads": 0}

    simulated(main)


# tokens for long answers


def test_many_clients_read_everything_at_once_and_all_get_it() -> None:
    """More than have tokens: they are told when to come again, and the client library does."""

    async def main(site: Site) -> None:
        site.network.read_slowly("desk", bytes_per_s=100_000, window_bytes=16_384)
        refusals = 0
        usual = ServerConnection.refuse

        async def read(n: int) -> None:
            async with site.client() as client:
                if n % 3 == 0:
                    found = [obj async for part in client.iterate(CfgSkill) for obj in part]
                elif n % 3 == 1:
                    found = list(await client.read(CfgSkill))
                else:
                    found = []
                    async with Snapshot(await client.connection(), timeout_s=20.0) as snapshot:
                        await snapshot.read(SKILL, {}, on_part=lambda frame: found.append(frame), timeout_s=20.0)
                    assert len(found) > 1
                    return
                assert len(found) == 2000

        def counted(connection: ServerConnection, frame: Frame, error: Exception) -> None:
            nonlocal refusals
            assert isinstance(error, ServerError)
            assert 0.5 <= error.retry_after_s <= 2.0
            refusals += 1
            usual(connection, frame, error)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ServerConnection, "refuse", counted)
            async with anyio.create_task_group() as tasks:
                for n in range(3 * MAX_BULK_READERS):
                    tasks.start_soon(read, n)
        assert refusals > 0
        assert repr(site.master.server.bulk_readers) == "<BulkReaders 0>"

    simulated(main)


def test_clients_that_take_nothing_keep_no_token() -> None:
    async def main(site: Site) -> None:
        stalled = [await site.connect_desk("stalled") for _ in range(MAX_BULK_READERS)]
        site.network.read_slowly("stalled", bytes_per_s=1, window_bytes=1024)
        for connection in stalled:
            for _ in range(4):
                connection.begin(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
        await anyio.sleep(5.0)
        assert site.master.server.statistics().congested == MAX_BULK_READERS
        async with site.client(request_timeout_s=1.0) as client:
            assert len(await client.read(CfgSkill)) == 2000

    simulated(main)
