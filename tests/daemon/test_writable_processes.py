"""Real processes: writable proxies as an operator sets them up, and changes under way when a process is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import count, cycle, islice
from pathlib import Path

import anyio
import pytest

from csproxy.core.model import CfgPerson, CfgSkill
from csproxy.errors import AccessDeniedError, ConnectionLostError, OutcomeUnknownError, RetryableError, TimedOutError
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_writes import CreateWrite
from tests.daemon.master_pair import PROXY, MasterPair
from tests.daemon.servers import PASSWORD, Running, Site, answer, tool
from tests.daemon.tls_site import TlsSite

WRITERS = 8
BEFORE_THE_KILL = 40
KILL_ROUNDS = 3
PROXIES = ("CSProxy_1", "CSProxy_2")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, proxies=PROXIES)


@pytest.fixture
def running(site: Site) -> Iterator[tuple[Site, Running, Running]]:
    """A site with its master and the first proxy."""
    with site.master() as master, site.proxy() as proxy:
        yield site, master, proxy


def set_option(port: int, application: str, assignment: str) -> None:
    (found,) = answer("read", "application", f"name={application}", port=port)
    answer("update", "application", str(found["DBID"]), assignment, port=port)


def make_writable(site: Site, proxy: str = "CSProxy_1", *, rate: int = 0) -> None:
    set_option(site.port, proxy, "options.csproxy.proxy-writable=true")
    set_option(site.port, proxy, f"options.csproxy.proxy-write-rate={rate}")


def create_skill(port: int, name: str, *words: str) -> int:
    new = json.dumps({"tenantDBID": 1, "name": name})
    return int(answer("create", "skill", *words, port=port, stdin=new)["dbid"])


def test_a_proxy_becomes_writable_and_read_only_again_while_it_runs(running: tuple[Site, Running, Running]) -> None:
    site, _, proxy = running
    port = site.proxy_ports["CSProxy_1"]
    assert answer("status", port=port)["writable"] is False
    set_option(site.port, "CSProxy_1", "options.log.verbose=trace")
    make_writable(site)
    assert "Trc 04110" in proxy.line(containing="option proxy-writable of [csproxy] is now true")
    dbid = create_skill(port, "english")
    (found,) = answer("read", "skill", "name=english", port=port)
    assert found["DBID"] == dbid
    status = answer("status", port=port)
    assert (status["writable"], status["writes"]) == (True, {"forwarded": 1, "unknown": 0, "under_way": 0})
    record = next(each for each in answer("history", port=site.port) if each.get("type") == "CfgSkill")
    assert (record["user"], record["application"]) == ("default", "default")
    set_option(site.port, "CSProxy_1", "options.csproxy.proxy-writable=false")
    proxy.line(containing="option proxy-writable of [csproxy] is now false")
    done = tool("delete", "skill", str(dbid), port=port)
    assert done.returncode == 1
    assert "is read-only: write to the master" in done.stderr


def test_the_permissions_of_the_user_count_and_bulk_is_refused(running: tuple[Site, Running, Running]) -> None:
    site, _, _ = running
    port = site.proxy_ports["CSProxy_1"]
    make_writable(site, rate=1)
    ann = {"tenantDBID": 1, "userName": "ann", "employeeID": "ann", "isAgent": "CFGFalse", "state": 1}
    new = json.dumps({**ann, "password": PASSWORD})
    answer("create", "person", port=port, stdin=new)
    done = tool("create", "skill", "--user", "ann", port=port, stdin=json.dumps({"tenantDBID": 1, "name": "x"}))
    assert done.returncode == 1
    assert "no permission to create objects" in done.stderr
    with pytest.raises(AccessDeniedError, match="11 changes in one transaction are too many"):
        anyio.run(apply_changes, port, 11)


def test_a_proxy_shows_who_it_is_by_the_password_of_its_application(site: Site) -> None:
    port = site.proxy_ports["CSProxy_1"]
    conf = site.folder / "proxy.conf"
    with site.master() as master:
        make_writable(site)
        set_option(site.port, "confserv", "options.system.proxy-trust-loopback=false")
        with site.proxy():
            done = tool("create", "skill", port=port, stdin=json.dumps({"tenantDBID": 1, "name": "x"}))
            assert done.returncode == 1
            assert "may not make requests for others" in done.stderr
        set_option(site.port, "CSProxy_1", "password=its own")
        conf.write_text("[csproxy]\napp-password = not its own\n")
        with site.proxy("CSProxy_1", "-c", str(conf), wait=False) as proxy:
            assert "the Application's password is wrong" in proxy.line(containing="confserv:")
            assert proxy.process.wait(10) == 1
        conf.write_text("[csproxy]\napp-password = its own\n")
        with site.proxy("CSProxy_1", "-c", str(conf)) as proxy:
            create_skill(port, "x")
            assert proxy.stop() == 0
        assert master.stop() == 0
    shown = "\n".join([*master.seen, *proxy.seen])
    assert "its own" not in shown


def test_mutual_tls_shows_who_a_proxy_is(tmp_path: Path) -> None:
    site = TlsSite(tmp_path, mutual=True)
    site.client = site.authority.issue("proxy.example", file="own", common_name="CSProxy_1")
    with site.master() as master:
        for dbid, assignment in (("99", "system.proxy-trust-loopback=false"), ("101", "csproxy.proxy-writable=true")):
            answer("update", "application", dbid, f"options.{assignment}", *site.mutual_flags, port=site.port)
        with site.proxy("CSProxy_1", *site.to_master(mutual=True)):
            assert "trusted by mutual TLS" in master.line(containing="'CSProxy_1', type CFGConfigServer")
            create_skill(site.proxy_ports["CSProxy_1"], "english")


async def apply_changes(port: int, number: int) -> None:
    async with ConfigClient(port=port, user="default", password=PASSWORD) as client:
        await client.apply([CreateWrite(CfgSkill, {"tenantDBID": 1, "name": f"s{n}"}) for n in range(number)])


class Writers:
    """Clients that write as fast as they are answered; what they were told, by the name of what they created."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.done: dict[str, int] = {}
        self.unknown: dict[str, str] = {}
        self.numbers = count()

    async def write_until_killed(self, victim: Running) -> None:
        done_before = len(self.done)

        async def kill() -> None:
            while len(self.done) < done_before + BEFORE_THE_KILL:  # noqa: ASYNC110 - nothing announces it
                await anyio.sleep(0.001)
            victim.process.kill()

        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    ConfigClient(port=port, user="default", password=PASSWORD, request_timeout_s=5.0)
                )
                for port in islice(cycle(self.ports), WRITERS)
            ]
            with anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    for client in clients:
                        tasks.start_soon(self._write, client)
                    tasks.start_soon(kill)

    async def _write(self, client: ConfigClient) -> None:
        while True:
            name = key = f"s{next(self.numbers)}"
            try:
                stored = await client.create(CfgSkill(tenantDBID=1, name=name), key=key)
            except (OutcomeUnknownError, ConnectionLostError, TimedOutError):
                self.unknown[name] = key
                return
            except RetryableError:
                return
            self.done[name] = stored.DBID
            try:
                (shown,) = await client.read(CfgSkill, name=name)
            except (RetryableError, ConnectionLostError, TimedOutError):
                return
            assert shown.DBID == stored.DBID

    async def check(self, port: int) -> None:
        """Everything that was answered is there, and of the rest exactly what the keys say; nothing is there twice."""
        async with ConfigClient(port=port, user="default", password=PASSWORD, connect_wait_s=20.0) as client:
            with anyio.fail_after(30):
                while (await client.status()).get("upstream", {}).get("state", "live") != "live":  # noqa: ASYNC110
                    await anyio.sleep(0.1)
            stored = {each.name: each.DBID for each in await client.read(CfgSkill, consistent=True)}
            told = dict(self.done)
            for name, key in self.unknown.items():
                outcome = await client.outcome(key)
                if outcome is not None:
                    (told[name],) = outcome
            assert stored == told
            assert await client.count(CfgPerson) == 1


@pytest.mark.parametrize("victim", ["master", "proxy"])
def test_changes_under_way_when_a_process_is_killed_happen_once_or_not_at_all(site: Site, victim: str) -> None:
    with site.master():
        for proxy in PROXIES:
            make_writable(site, proxy)
    writers = Writers([site.proxy_ports["CSProxy_1"]] if victim == "proxy" else list(site.proxy_ports.values()))
    with site.proxy("CSProxy_2", wait=False) as second:
        for _ in range(KILL_ROUNDS):
            with site.master() as master, site.proxy() as first:
                if "ready on" not in "\n".join(second.seen):
                    second.line(containing="ready on")
                anyio.run(writers.write_until_killed, first if victim == "proxy" else master)
        with site.master():
            anyio.run(writers.check, site.proxy_ports["CSProxy_2"])
            anyio.run(writers.check, site.port)
    assert len(writers.done) >= KILL_ROUNDS * BEFORE_THE_KILL
    assert writers.unknown


def test_changes_under_way_when_the_primary_of_a_pair_dies_are_settled_by_the_other_master(tmp_path: Path) -> None:
    pair = MasterPair(tmp_path)
    writers = Writers([pair.ports[PROXY]])
    with pair.master("confserv") as primary, pair.master("confserv_backup", ready=False) as backup, pair.proxy():
        set_option(pair.ports["confserv"], PROXY, "options.csproxy.proxy-writable=true")
        set_option(pair.ports["confserv"], PROXY, "options.csproxy.proxy-write-rate=0")
        anyio.run(writers.write_until_killed, primary)
        backup.line(containing="took the database over")
        anyio.run(writers.check, pair.ports[PROXY])
        create_skill(pair.ports[PROXY], "afterwards")
    assert writers.unknown
