"""The replica: transactions, reloads and history move cache and log together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from csproxy.core import codec
from csproxy.core.changelog import LogRecord
from csproxy.core.changes import Action, Change, Epoch, ObjectCreated, ObjectDeleted, ObjectUpdated, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.replica import Replica
from csproxy.errors import ErrorCode, LocalProtocolError, ModelError

EPOCH = 7
EPOCHS = [Epoch(EPOCH, 1)]
SKILL, TENANT = 13, 7


def frame_of(action: Action, payload: bytes, *, position: Position, last: bool) -> bytes:
    """A readable frame: what the replica asked to be encoded."""
    return codec.encode([int(action), position.epoch, position.uen, last, payload])


def replica() -> Replica:
    return Replica(encode=frame_of, clock=lambda: 100.0)


def skill(dbid: int, *, tenant: int = 1, name: str = "") -> dict[str, Any]:
    return {"DBID": dbid, "tenantDBID": tenant, "name": name or f"skill {dbid}", "state": 1}


def stored(item: dict[str, Any]) -> bytes:
    return encode_object(SCHEMA.types[SKILL], item)


def created(uen: int, item: dict[str, Any], *, last: bool = True) -> Change:
    return Change(
        action=Action.CREATED,
        type=SKILL,
        dbid=item["DBID"],
        position=Position(EPOCH, uen),
        frame=b"created",
        last=last,
        object=stored(item),
    )


def deleted(uen: int, item: dict[str, Any]) -> Change:
    return Change(
        action=Action.DELETED,
        type=SKILL,
        dbid=item["DBID"],
        position=Position(EPOCH, uen),
        frame=b"deleted",
        former=stored(item),
    )


def loaded(
    target: Replica, items: Sequence[dict[str, Any]], position: Position, epochs: Sequence[Epoch] = EPOCHS
) -> Any:
    builder = CacheBuilder(target.cache)
    builder.add(SKILL, [stored(item) for item in items], [0] * len(items))
    published, continued = target.replace(builder, position, epochs)
    return published.records, continued


def differences(records: Sequence[LogRecord]) -> list[tuple[Action, msgspec.Struct]]:
    kinds = {Action.CREATED: ObjectCreated, Action.UPDATED: ObjectUpdated, Action.DELETED: ObjectDeleted}
    found = []
    for record in records:
        number, *_, payload = codec.decode(record.frame)
        found.append((Action(number), codec.decode(payload), kinds[Action(number)]))
    return [(action, payload) for action, payload, _ in found]


def test_the_first_data_set_starts_the_history() -> None:
    target = replica()
    assert not target.complete
    assert "empty" in repr(target)
    assert loaded(target, [skill(1)], Position(EPOCH, 5)) == ([], False)
    assert target.complete
    assert target.position == Position(EPOCH, 5)
    assert target.log.floor == Position(EPOCH, 5)
    assert "complete at UEN 5, 1 objects" in repr(target)


def test_changes_before_the_first_data_set_are_a_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="before the first complete data set"):
        replica().publish([created(1, skill(1))])


def test_a_transaction_is_applied_and_logged_with_its_tenants() -> None:
    target = replica()
    loaded(target, [], Position(EPOCH, 0))
    records = target.publish([created(1, skill(1, tenant=3), last=False), created(2, skill(2))]).records
    assert [(r.position.uen, r.dbid, r.tenants, r.last, r.time_s) for r in records] == [
        (1, 1, (3,), False, 100.0),
        (2, 2, (1,), True, 100.0),
    ]
    assert target.position == Position(EPOCH, 2)
    assert list(target.log.records(0, 2)) == records


def test_a_transaction_that_does_not_fit_changes_nothing() -> None:
    target = replica()
    loaded(target, [skill(1)], Position(EPOCH, 0))
    with pytest.raises(ModelError):
        target.publish([created(1, skill(2), last=False), created(2, skill(1))])
    assert target.cache.count(SKILL) == 1
    assert target.log.end == 0
    assert target.position == Position(EPOCH, 0)


def test_a_reload_reports_the_difference_at_its_position() -> None:
    target = replica()
    loaded(target, [skill(1), skill(2), skill(3)], Position(EPOCH, 5))
    records, continued = loaded(target, [skill(2, name="other"), skill(3), skill(4)], Position(EPOCH, 9))
    assert continued
    assert {record.position for record in records} == {Position(EPOCH, 9)}
    assert [record.last for record in records] == [False, False, True]
    found = dict(differences(records))
    assert found[Action.DELETED] == {"type": SKILL, "dbid": 1, "former": skill(1)}
    assert found[Action.CREATED] == {"type": SKILL, "object": skill(4)}
    assert found[Action.UPDATED] == {"type": SKILL, "dbid": 2, "object": skill(2, name="other")}
    assert target.log.locate(Position(EPOCH, 5), epochs=EPOCHS) == 0
    with pytest.raises(ModelError, match="were not followed"):
        target.log.locate(Position(EPOCH, 7), epochs=EPOCHS)


def test_a_reload_under_a_later_epoch_of_the_same_history_continues_it() -> None:
    target = replica()
    loaded(target, [skill(1)], Position(EPOCH, 5))
    epochs = [Epoch(EPOCH, 1), Epoch(8, 6)]
    _, continued = loaded(target, [skill(1), skill(2)], Position(8, 7), epochs)
    assert continued
    assert target.log.locate(Position(EPOCH, 5), epochs=epochs) == 0


@pytest.mark.parametrize(
    ("position", "epochs"),
    [
        (Position(9, 50), [Epoch(9, 1)]),
        (Position(EPOCH, 3), EPOCHS),
        (Position(8, 7), [Epoch(EPOCH, 1), Epoch(8, 4)]),
    ],
    ids=["another history", "a state from before", "an epoch that took over earlier"],
)
def test_a_reload_of_another_history_starts_it_anew(position: Position, epochs: list[Epoch]) -> None:
    target = replica()
    loaded(target, [skill(1)], Position(EPOCH, 5))
    records, continued = loaded(target, [skill(2)], position, epochs)
    assert not continued
    assert len(records) == 2
    assert target.log.floor == position
    with pytest.raises(ModelError) as caught:
        target.log.locate(Position(EPOCH, 2), epochs=target.epochs)
    assert caught.value.code is ErrorCode.HISTORY_LOG_EXPIRED


def test_a_dbid_that_went_to_an_object_of_another_tenant_is_deleted_for_one_and_created_for_the_other() -> None:
    target = replica()
    loaded(target, [skill(1, tenant=101), skill(2, tenant=101)], Position(EPOCH, 5))
    items = [skill(1, tenant=102), skill(2, tenant=101, name="other"), skill(3, tenant=102)]
    records, _ = loaded(target, items, Position(9, 3), [Epoch(9, 1)])
    told = [(action, record.tenants) for record, (action, _) in zip(records, differences(records), strict=True)]
    assert told == [
        (Action.DELETED, (101,)),
        (Action.CREATED, (102,)),
        (Action.CREATED, (102,)),
        (Action.UPDATED, (101,)),
    ]
    assert [record.dbid for record in records] == [1, 3, 1, 2]
    assert differences(records)[0][1] == {"type": SKILL, "dbid": 1, "former": skill(1, tenant=101)}
    assert differences(records)[2][1] == {"type": SKILL, "object": skill(1, tenant=102)}
    assert [(record.readers_before is None, record.readers_after is None) for record in records] == [
        (False, True),
        (True, False),
        (True, False),
        (False, False),
    ]


def test_an_application_that_tenants_share_differently_after_a_reload_is_updated_for_all_of_them() -> None:
    target = replica()
    application = SCHEMA.types[9]
    for tenants in [101], [101, 102]:
        builder = CacheBuilder(target.cache)
        builder.add(9, [encode_object(application, {"DBID": 1, "name": "a", "tenantDBIDs": tenants})], [0])
        published, _ = target.replace(builder, Position(EPOCH, tenants[-1]), EPOCHS)
    (record,) = published.records
    assert differences([record])[0][0] is Action.UPDATED
    assert record.tenants == (101, 102)


def test_history_from_before_the_data_set_can_be_resumed_from() -> None:
    target = replica()
    loaded(target, [skill(2, tenant=4)], Position(EPOCH, 3))
    target.extend_history(
        [[created(1, skill(1, tenant=9))], [created(2, skill(2, tenant=4))], [deleted(3, skill(1, tenant=9))]]
    )
    assert target.log.floor == Position(EPOCH, 0)
    records = list(target.log.records(target.log.locate(Position(EPOCH, 0), epochs=EPOCHS), target.log.end))
    assert [(record.position.uen, record.tenants) for record in records] == [(1, (9,)), (2, (4,)), (3, (9,))]
    assert target.log.locate(Position(EPOCH, 1), epochs=EPOCHS) == 1


def test_no_history_leaves_the_log_as_it_is() -> None:
    target = replica()
    loaded(target, [], Position(EPOCH, 3))
    target.extend_history([])
    assert target.log.floor == Position(EPOCH, 3)


def test_data_put_right_at_a_position_that_was_reached_is_a_correction() -> None:
    target = replica()
    loaded(target, [skill(1), skill(2), skill(3)], Position(EPOCH, 0))
    target.publish([created(1, skill(4))])
    builder = CacheBuilder(target.cache, types=[SKILL])
    items = [skill(2, name="right"), skill(3), skill(4), skill(5)]
    builder.add(SKILL, [stored(item) for item in items], [0] * 4)
    published, continued = target.replace(builder, target.position, target.epochs)
    records = published.records
    assert continued
    assert [(record.correction, record.position.uen, record.last) for record in records] == [
        (True, 1, False),
        (True, 1, False),
        (True, 1, True),
    ]
    found = dict(differences(records))
    assert found[Action.DELETED] == {"type": SKILL, "dbid": 1, "former": skill(1), "correction": True}
    assert found[Action.CREATED] == {"type": SKILL, "object": skill(5), "correction": True}
    assert found[Action.UPDATED] == {
        "type": SKILL,
        "dbid": 2,
        "object": skill(2, name="right"),
        "correction": True,
    }
    assert target.log.locate(Position(EPOCH, 1), epochs=EPOCHS) == 1
    assert target.log.locate(Position(EPOCH, 0), epochs=EPOCHS) == 0


def test_a_history_that_begins_with_a_correction_reaches_back_to_its_position_only() -> None:
    target = replica()
    loaded(target, [skill(1), skill(2)], Position(EPOCH, 4))
    correction = msgspec.structs.replace(created(3, skill(1)), correction=True)
    target.extend_history([[correction], [created(4, skill(2))]])
    assert target.log.locate(Position(EPOCH, 3), epochs=EPOCHS) == 0
    with pytest.raises(ModelError, match="starts after UEN 3"):
        target.log.locate(Position(EPOCH, 2), epochs=EPOCHS)
