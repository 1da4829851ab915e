"""The blocking client, as a script uses it, on a real master."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from csproxy import sync
from csproxy.core.changes import Action
from csproxy.core.model import CfgPerson, CfgSkill
from csproxy.errors import ConnectionLostError, LocalProtocolError, ObjectNotFoundError, ServerError
from csproxy.sync import ConfigClient
from csproxy.transport import client as asynchronous
from csproxy.transport.client_administration import ClientAdministration
from tests.daemon.servers import PASSWORD, Site
from tests.own_ports import free_ports


@dataclass
class Master:
    port: int

    def client(self, **more: Any) -> ConfigClient:
        return ConfigClient("127.0.0.1", self.port, **{"user": "default", "password": PASSWORD, **more})


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    site = Site(tmp_path_factory.mktemp("sync"), agents=300, proxies=())
    with site.master():
        yield Master(site.port)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    gc.collect()  # a socket that was left open is told by the test that left it


def test_a_script_reads_and_writes(master: Master) -> None:
    with master.client() as client:
        agents = client.read(CfgPerson, is_agent=True)
        assert client.count(CfgPerson, is_agent=True) == len(agents) == 300
        made = client.create(CfgSkill(name="Klingon", tenantDBID=1))
        assert client.get(CfgSkill, name="Klingon") == made
        client.delete(made)
        with pytest.raises(ObjectNotFoundError):
            client.get(CfgSkill, made.DBID)
        assert client.state.value == "connected"
        assert client.position == client.statistics().position
        assert "connected to" in repr(client)


def test_a_large_answer_comes_in_parts_and_may_be_left(master: Master) -> None:
    with master.client() as client:
        parts = list(client.iterate(CfgPerson))
        assert sum(map(len, parts)) == client.count(CfgPerson)
        assert len(parts) > 1
        for part in client.iterate(CfgPerson):
            assert part
            break
        assert client.count(CfgPerson) > 300
        left = client.iterate(CfgPerson)
        next(left)
    left.close()  # after its client


def test_changes_are_received_while_the_script_does_something_else(master: Master) -> None:
    with master.client() as client, client.subscribe(CfgSkill) as changes:
        assert changes.next_change(timeout_s=0) is None
        made = client.create(CfgSkill(name="Sindarin", tenantDBID=1))
        client.delete(made)
        change = changes.next_change()
        assert change is not None
        assert (change.action, change.object) == (Action.CREATED, made)
        assert next(changes).action is Action.DELETED
        assert changes.position == client.position
        changes.close()
        assert list(changes) == []


def test_changes_follow_what_was_read(master: Master) -> None:
    with master.client() as client, client.read_and_subscribe(CfgSkill) as (skills, changes):
        made = client.create(CfgSkill(name="Quenya", tenantDBID=1))
        assert made.DBID not in [skill.DBID for skill in skills]
        assert next(changes).object == made


def test_administration_waits_too(master: Master) -> None:
    with master.client() as client:
        assert client.administration.effective_mask(CfgPerson, 100) > 0
        assert client.administration.brief(CfgPerson)
        assert "ClientAdministration" in repr(client.administration)


def test_refusals_are_raised_where_the_script_waits(master: Master) -> None:
    with pytest.raises(ServerError, match="password"), master.client(password="wrong"):
        pass
    (nobody,) = free_ports(1)
    with pytest.raises(ConnectionLostError), ConfigClient("127.0.0.1", nobody):
        pass


def test_a_client_that_is_not_open_says_so(master: Master) -> None:
    client = master.client()
    with pytest.raises(LocalProtocolError, match="inside `with"):
        client.read(CfgSkill)
    with client:
        assert client.read(CfgSkill)
    with pytest.raises(LocalProtocolError, match="inside `with"):
        client.read(CfgSkill)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, whatever event loops of other tests in this process have left."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_call_is_cancelled_and_the_client_goes_on(master: Master) -> None:
    with master.client() as client, client.subscribe(CfgSkill) as changes:

        async def interrupt() -> None:
            while changes._target._news is None:  # until the call waits
                await anyio.lowlevel.checkpoint()
            while changes._target._news is not None:  # what Python calls between two lines may swallow an interrupt
                os.kill(os.getpid(), signal.SIGINT)
                await anyio.sleep(5)

        client._loop._opened.start_task_soon(interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(changes)
        made = client.create(CfgSkill(name="Dothraki", tenantDBID=1))
        assert next(changes).object == made


def test_several_threads_use_one_client(master: Master) -> None:
    with master.client() as client, ThreadPoolExecutor(8) as pool:
        counts = set(pool.map(lambda _: client.count(CfgPerson), range(64)))
        assert counts == {client.count(CfgPerson)}


@pytest.mark.parametrize(
    ("blocking", "original"),
    [(sync.ConfigClient, asynchronous.ConfigClient), (sync.Administration, ClientAdministration)],
)
def test_every_call_is_there_with_the_same_parameters(blocking: type, original: type) -> None:
    calls = {
        name: function
        for name, function in vars(original).items()
        if not name.startswith("_") and inspect.iscoroutinefunction(function)
    }
    calls.pop("connection", None)  # for requests that have no call: of the event loop
    assert calls
    for name, function in calls.items():
        assert inspect.signature(getattr(blocking, name)) == inspect.signature(function)
        assert getattr(blocking, name).__doc__ == function.__doc__
