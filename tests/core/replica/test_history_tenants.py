"""A history that is loaded concerns the same tenants as the changes did when they were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import compute_delta, encode_object
from csproxy.core.replica import Replica
from csproxy.core.subscriptions import Interest, SubscriptionClass

EPOCH: Final = 7
EPOCHS: Final = [Epoch(EPOCH, 1)]
APPLICATION, SERVICE, SKILL = 9, 8, 13
Item = dict[str, Any]


def application(*tenants: int, dbid: int = 101) -> Item:
    return {"DBID": dbid, "name": f"application {dbid}", "tenantDBIDs": list(tenants)}


def service(tenant: int) -> Item:
    return {"DBID": 101, "name": "service", "assignedTenantDBID": tenant}


def stored(number: int, item: Item) -> bytes:
    return encode_object(SCHEMA.types[number], item)


class Master:
    """A replica that is written to, and what was written."""

    def __init__(self) -> None:
        self.objects: dict[tuple[int, int], Item] = {}
        self.replica = empty()
        self.replica.replace(CacheBuilder(), Position(EPOCH, 0), EPOCHS)
        self.transactions: list[list[Change]] = []
        self._open: list[Change] = []

    def create(self, number: int, item: Item) -> None:
        self._change(Action.CREATED, number, item["DBID"], object=stored(number, item))
        self.objects[number, item["DBID"]] = item

    def update(self, number: int, item: Item, *, complete: bool = False) -> None:
        before = self.objects[number, item["DBID"]]
        if complete:
            self._change(Action.UPDATED, number, item["DBID"], object=stored(number, item))
        else:
            delta = compute_delta(SCHEMA.types[number], before, item) or {"state": 2}
            self._change(Action.UPDATED, number, item["DBID"], delta=delta)
        self.objects[number, item["DBID"]] = item

    def delete(self, number: int, dbid: int) -> None:
        self._change(Action.DELETED, number, dbid, former=stored(number, self.objects.pop((number, dbid))))

    def commit(self) -> None:
        changes = [*self._open[:-1], msgspec.structs.replace(self._open[-1], last=True)]
        self.replica.publish(changes)
        self.transactions.append(changes)
        self._open = []

    def restarted(self, *, since: int = 0) -> Replica:
        """What a server holds that starts from the present objects and the transactions from number ``since`` on."""
        replica = empty()
        builder = CacheBuilder()
        for number in {number for number, _ in self.objects}:
            items = [item for (other, _), item in self.objects.items() if other == number]
            builder.add(number, [stored(number, item) for item in items], [0] * len(items))
        replica.replace(builder, self.replica.position, EPOCHS)
        replica.extend_history(self.transactions[since:])
        return replica

    def _change(self, action: Action, number: int, dbid: int, **more: Any) -> None:
        uen = sum(map(len, self.transactions)) + len(self._open) + 1
        position = Position(EPOCH, uen)
        self._open.append(
            Change(action=action, type=number, dbid=dbid, position=position, frame=b"", last=False, **more)
        )


def empty() -> Replica:
    return Replica(encode=lambda *args, **more: b"", clock=lambda: 0.0)


def logged(replica: Replica, *, after: int = 0) -> list[tuple[int, tuple[int, ...]]]:
    log = replica.log
    return [(each.position.uen, each.tenants) for each in log.records(log.start, log.end) if each.position.uen > after]


def heard(replica: Replica, tenant: int, *, after: int) -> Sequence[int]:
    """UENs of what a subscriber of a tenant's objects gets that resumes after a UEN."""
    cls = SubscriptionClass[Any](frozenset({Interest(tenant_id=tenant)}), None)
    log = replica.log
    start = log.locate(Position(EPOCH, after), epochs=EPOCHS)
    return [record.position.uen for record in log.records(start, log.end) if cls.wants(record)]


@pytest.fixture
def master() -> Master:
    master = Master()
    master.create(APPLICATION, application(101, 102))
    master.commit()
    return master


def test_a_tenant_that_loses_an_application_hears_of_it_from_the_loaded_history_too(master: Master) -> None:
    master.update(APPLICATION, application(101))
    master.commit()
    master.update(APPLICATION, application(101) | {"version": "2"})
    master.commit()
    for replica in (master.replica, master.restarted(), master.restarted(since=1)):
        assert heard(replica, 102, after=1) == [2]
        assert heard(replica, 101, after=1) == [2, 3]


def test_an_application_without_tenants_is_environments(master: Master) -> None:
    master.update(APPLICATION, application())
    master.commit()
    master.update(APPLICATION, application(103))
    master.commit()
    assert logged(master.restarted()) == [(1, (101, 102)), (2, (1, 101, 102)), (3, (1, 103))]


def test_what_is_gone_concerned_the_tenants_it_had_then(master: Master) -> None:
    master.update(APPLICATION, application(102, 103))
    master.commit()
    master.delete(APPLICATION, 101)
    master.commit()
    assert logged(master.restarted()) == [(1, (101, 102)), (2, (101, 102, 103)), (3, (102, 103))]


def test_the_history_begins_where_every_former_tenant_is_known(master: Master) -> None:
    master.create(SERVICE, service(101))
    master.commit()
    master.update(SERVICE, service(102))  # the delta does not tell that it was 101
    master.commit()
    master.update(SERVICE, service(102) | {"version": "2"})
    master.commit()
    replica = master.restarted()
    assert replica.log.floor == Position(EPOCH, 3)
    assert logged(replica) == [(4, (102,))]


def test_a_complete_object_does_not_tell_what_was_before(master: Master) -> None:
    master.update(APPLICATION, application(101), complete=True)
    master.commit()
    replica = master.restarted()
    assert (replica.log.floor, logged(replica)) == (Position(EPOCH, 2), [])


tenants = st.lists(st.integers(101, 104), unique=True, max_size=3)
steps = st.lists(
    st.tuples(st.sampled_from(["create", "update", "update", "delete"]), st.integers(1, 3), tenants, st.booleans()),
    max_size=25,
)


@settings(max_examples=50, deadline=None)
@given(steps, st.integers(0, 10))
def test_a_restarted_master_knows_the_same_tenants(steps: list[tuple[str, int, list[int], bool]], since: int) -> None:
    master, numbers = Master(), set[int]()
    for verb, dbid, lists, ends in steps:
        exists = (APPLICATION, dbid) in master.objects
        if verb == "create" and dbid not in numbers:  # a DBID is never given out again
            numbers.add(dbid)
            master.create(APPLICATION, application(*lists, dbid=dbid))
        elif verb == "update" and exists:
            master.update(APPLICATION, application(*lists, dbid=dbid))
        elif verb == "delete" and exists:
            master.delete(APPLICATION, dbid)
        else:
            continue
        if ends:
            master.commit()
    if master._open:
        master.commit()
    since = min(since, len(master.transactions))
    after = master.transactions[since - 1][-1].position.uen if since else 0
    assert logged(master.restarted(since=since), after=after) == logged(master.replica, after=after)
