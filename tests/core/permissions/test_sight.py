"""Who may read what, what shifts when lists and containers change, and whose identities a transaction changes."""

from __future__ import annotations

from typing import Any

import pytest
from test_permissions import (
    ACCESS_GROUP,
    CACHE,
    DNS,
    ENVIRONMENT,
    FOLDER,
    GROUP,
    INNER,
    OUTER,
    PERSON,
    SKILL,
    SWITCH,
    acl,
    folder,
    group,
    world,
)

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changelog import ChangeLog, LogRecord
from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.criteria import Relations
from csproxy.core.filters import IMMEDIATE_LIMIT
from csproxy.core.identities import identities
from csproxy.core.identity_watch import NOBODY_ELSE, IdentityWatch, certain_from
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.permissions import mask_of
from csproxy.core.replica import Replica
from csproxy.core.security_records import ACCOUNT, Acl, encode_account, encode_acl
from csproxy.core.session_sight import SessionSight
from csproxy.core.sessions import Account, Session
from csproxy.core.shifts import Shift, objects_read_by
from csproxy.core.sight import ReaderIndex, TooManyCandidates, Viewer, VisibleRelations, account_key
from csproxy.core.subscriptions import EVERYTHING, Sighting, SubscriptionClass, SubscriptionIndex, sighting

JANE = account_key((PERSON, 101))
JOHN = account_key((PERSON, 102))
READ, ALONE = 1, 129
DN = 2


def for_jane(mask: int = READ) -> Acl:
    return acl((PERSON, 101, mask))


def change(
    action: Action, number: int, dbid: int, obj: Any = None, *, uen: int = 2, folder: int = 0, last: bool = True
) -> Change:
    stored = obj if isinstance(obj, bytes) or obj is None else encode_object(SCHEMA.types[number], obj)
    return Change(
        action=action,
        type=number,
        dbid=dbid,
        position=Position(1, uen),
        frame=b"f",
        object=stored,
        folder=folder,
        last=last,
    )


def set_acl(id: tuple[int, int], entries: Acl, *, uen: int = 2, was: bool = False) -> Change:
    action = Action.UPDATED if was else Action.CREATED
    return change(action, 1000 + id[0], id[1], encode_acl(id[1], entries), uen=uen)


def updated(number: int, dbid: int, delta: dict[str, Any], *, folder: int = 0) -> Change:
    return Change(
        action=Action.UPDATED, type=number, dbid=dbid, position=Position(1, 2), frame=b"f", delta=delta, folder=folder
    )


def moved(shifts: Any) -> dict[tuple[int, int], tuple[bool, bool]]:
    """Whether jane could read each shifted object, and whether she can."""
    return {
        (each.type, each.dbid): (JANE in shift.before, JANE in shift.after)
        for shift in shifts
        for each in shift.objects
    }


# readers


@pytest.mark.parametrize("view", [False, True])
def test_readers_are_those_of_the_nearest_list(view: bool) -> None:
    cache = world(acls={(FOLDER, OUTER): for_jane(), (SKILL, 102): (), (SWITCH, 101): for_jane(ALONE)})
    readers = cache.view().readers if view else cache.readers
    default = readers.within(0)
    assert JANE not in default
    assert account_key((ACCESS_GROUP, 98)) in default
    assert readers.of(SKILL, 101) == readers.of(FOLDER, INNER) == readers.within(INNER) == {JANE}
    assert readers.of(SKILL, 102) == frozenset()
    assert readers.of(SWITCH, 101) == {JANE}
    assert readers.of(DN, 101) == frozenset()
    assert readers.of(*ENVIRONMENT) == default
    assert readers.of(PERSON, 101, PERSON) == default


def test_nobody_reads_what_stands_in_a_folder_that_is_not_there() -> None:
    cache = world((SKILL, {"DBID": 103, "tenantDBID": 1, "name": "x"}, 777))
    assert cache.readers.of(SKILL, 103) == frozenset()


def test_the_lists_in_use_are_counted() -> None:
    cache = world(acls={(SKILL, 101): for_jane()})
    assert set(cache.readers.in_use()) == {cache.readers.within(0), frozenset({JANE})}
    cache.apply([set_acl((SKILL, 102), for_jane())])
    cache.apply([change(Action.DELETED, 1000 + SKILL, 101, uen=3)])
    assert frozenset({JANE}) in cache.readers.in_use()
    cache.apply([change(Action.DELETED, 1000 + SKILL, 102, uen=4)])
    assert set(cache.readers.in_use()) == {cache.readers.within(0)}


# what a viewer sees


def viewer(cache: Any, who: int = JANE) -> Viewer:
    return Viewer(cache.readers, frozenset({who}))


def shown(source: Any, seen: Viewer, number: int, **filter: Any) -> list[bytes]:
    return [stored for part in source.select(number, filter, seen).parts() for stored in part.objects]


def paths(source: Any, seen: Viewer, dbid: int) -> list[list[str]]:
    found = source.select(SKILL, {"dbid": dbid, "object_path": 1}, seen)
    return [list(path) for part in found.parts() for path in part.paths]


def test_folders_show_the_members_and_paths_that_may_be_read() -> None:
    lists = {(FOLDER, OUTER): for_jane(), (FOLDER, INNER): acl((PERSON, 102, READ)), (SKILL, 101): for_jane()}
    cache = world(acls=lists)
    seen, both = viewer(cache), Viewer(cache.readers, frozenset({JANE, JOHN}))
    assert seen.sees(FOLDER, OUTER)
    assert not seen.sees(FOLDER, INNER)
    for source in (cache, cache.view()):
        own, all_of_it = seen.on(source.readers), both.on(source.readers)
        assert paths(source, own, 101) == [[]]
        assert paths(source, all_of_it, 101) == [["f301", "f302"]]
        assert [b"objectIDs" in stored for stored in shown(source, own, FOLDER, dbid=OUTER)] == [False]
        assert [b"objectIDs" in stored for stored in shown(source, all_of_it, FOLDER, dbid=INNER)] == [True]
        assert len(shown(source, all_of_it, FOLDER)) == 2
        assert shown(source, own, FOLDER, dbid=INNER) == []
    assert seen.get(FOLDER, OUTER) is not None
    assert seen.get(FOLDER, INNER) is None
    assert (seen.folder_of(SKILL, 101), seen.folder_of(FOLDER, INNER)) == (INNER, 0)


def test_a_read_for_two_accounts_shows_what_both_see() -> None:
    cache = world(acls={(SKILL, 101): acl((PERSON, 101, 1), (PERSON, 102, 1)), (SKILL, 102): for_jane()})
    both = Viewer(cache.readers, frozenset({JANE}), frozenset({JOHN}))
    assert both.sees(SKILL, 101)
    assert not both.sees(SKILL, 102)
    assert list(both.places(1000 + SKILL, [1, 2], [0, 0])) == [0, 1]


def test_relations_are_as_if_only_what_is_seen_were_there() -> None:
    hosts = [
        (9, {"DBID": n, "name": f"a{n}", "type": 1, "serverInfo": {"hostDBID": 5, "port": "1"}}, 0)
        for n in (501, 502, 503)
    ]
    cache = world(*hosts, acls={(9, 501): for_jane(), (9, 502): for_jane(), (ACCESS_GROUP, 202): for_jane()})
    relations: Relations = VisibleRelations(cache._relations, viewer(cache))
    assert relations.has_index(9, "name")
    assert relations.get(9, 501) is not None
    assert relations.get(9, 503) is None
    assert relations.folder_of(9, 503) == 0
    assert relations.folder_of(ACCESS_GROUP, 202) == ACCESS_GROUP
    assert list(relations.having(9, "serverInfo.port", "1")) == [501, 502]
    assert list(relations.shared_at(9, "host and ports")) == [[501, 502]]
    values = relations.values_at(ACCESS_GROUP, "memberIDs(type,DBID)")
    assert account_key(GROUP) in values
    assert JANE not in values
    assert list(values) == [account_key(GROUP)]
    assert len(values) >= 1
    narrow = VisibleRelations(cache._relations, viewer(cache), limit=2)
    with pytest.raises(TooManyCandidates):
        narrow.having(9, "serverInfo.port", "1")
    many = [(SKILL, {"DBID": 1000 + n, "tenantDBID": 1, "name": f"n{n}"}, INNER) for n in range(IMMEDIATE_LIMIT + 5)]
    crowded = world(*many, acls={(FOLDER, OUTER): for_jane()})
    assert crowded.select(SKILL, {"folder_dbid": INNER}, viewer(crowded)).total == -1
    assert len(shown(crowded, viewer(crowded), SKILL, folder_dbid=INNER)) == IMMEDIATE_LIMIT + 6
    alone = VisibleRelations(cache._relations, Viewer(cache.readers, frozenset({JOHN})))
    assert list(alone.shared_at(9, "host and ports")) == []


def test_many_candidates_are_looked_at_in_a_view() -> None:
    many = [(SKILL, {"DBID": 1000 + n, "tenantDBID": 1, "name": f"n{n}"}, INNER) for n in range(IMMEDIATE_LIMIT + 5)]
    cache = world(*many, acls={(FOLDER, OUTER): for_jane(), (SKILL, 1003): ()})
    for filter in ({}, {"tenant_dbid": 1}, {"folder_dbid": INNER}):
        found = [dbid for part in cache.select(SKILL, filter, viewer(cache)).parts() for dbid in part.dbids]
        assert len(found) == IMMEDIATE_LIMIT + 5
        assert 1003 not in found
        assert 102 not in found
    view = cache.view()
    for dbid, there in ((101, 1), (1003, 0), (999, 0)):
        selection = view.select(SKILL, {"dbid": dbid}, viewer(view))
        assert sum(len(part.dbids) for part in selection.parts()) == there
    assert [part.dbids for part in cache.select(SKILL, {"dbid": 1003}, viewer(cache)).parts()] == [[]]


# shifts


def test_a_list_of_a_folder_shifts_what_inherits_it() -> None:
    cache = world(acls={(SKILL, 102): for_jane()})
    applied = cache.apply(
        [
            set_acl((FOLDER, OUTER), for_jane(ALONE)),
        ]
    )
    assert moved(applied.shifts) == {
        (FOLDER, OUTER): (False, True),
        (FOLDER, INNER): (False, False),
        (SKILL, 101): (False, False),
    }
    applied = cache.apply([set_acl((FOLDER, OUTER), for_jane(), was=True, uen=3)])
    assert moved(applied.shifts) == {(FOLDER, INNER): (False, True), (SKILL, 101): (False, True)}
    (shift,) = applied.shifts
    assert shift.change_for(frozenset({JANE}), frozenset({JANE})) is True
    assert shift.change_for(frozenset({JOHN}), frozenset({JOHN})) is None
    assert shift.change_for(None, frozenset({JOHN})) is False
    assert {each.folder for each in shift.objects} == {OUTER, INNER}


def test_a_list_of_a_single_object_shifts_that_object() -> None:
    cache = world()
    assert moved(cache.apply([set_acl((SKILL, 101), for_jane())]).shifts) == {(SKILL, 101): (False, True)}
    assert moved(cache.apply([set_acl((SKILL, 101), for_jane(5), was=True, uen=3)]).shifts) == {}
    assert moved(cache.apply([set_acl((SKILL, 999), for_jane(), uen=4)]).shifts) == {}
    assert moved(cache.apply([change(Action.CREATED, ACCOUNT, 99, encode_account(99, (3, 101)), uen=5)]).shifts) == {}


def test_a_list_of_environment_shifts_also_what_stands_in_no_folder() -> None:
    cache = world((9, {"DBID": 501, "name": "loose", "type": 1}, 0))
    found = moved(cache.apply([set_acl(ENVIRONMENT, for_jane())]).shifts)
    assert found[9, 501] == found[SKILL, 101] == found[ENVIRONMENT] == (False, True)


def test_moves_shift_what_is_moved() -> None:
    cache = world(acls={(FOLDER, OUTER): for_jane()})
    applied = cache.apply([updated(FOLDER, SKILL, {"objectIDs": {"added": [{"DBID": 101, "type": SKILL}]}})])
    assert moved(applied.shifts) == {(SKILL, 101): (True, False)}
    applied = cache.apply([updated(SKILL, 102, {"name": "u"}, folder=INNER)])
    assert applied.shifts == []
    assert [JANE in (readers or ()) for readers in applied.sightings[0]] == [False, True]
    applied = cache.apply([updated(FOLDER, INNER, {"parentID": {"DBID": SKILL}}, folder=SKILL)])
    assert moved(applied.shifts) == {(SKILL, 102): (True, False)}
    applied = cache.apply([updated(SWITCH, 101, {"name": "moved"}, folder=OUTER)])
    assert moved(applied.shifts)[DN, 101] == moved(applied.shifts)[FOLDER, DNS] == (False, True)
    applied = cache.apply([updated(FOLDER, DNS, {"ownerID": {"DBID": 1, "type": 7}})])
    assert moved(applied.shifts) == {(DN, 101): (True, False)}


def test_a_folder_that_comes_after_its_content_tells_who_reads_that() -> None:
    cache = world((SKILL, {"DBID": 103, "tenantDBID": 1, "name": "x"}, 777), acls={ENVIRONMENT: for_jane()})
    applied = cache.apply([change(Action.CREATED, FOLDER, 777, folder(777), folder=SKILL)])
    assert moved(applied.shifts) == {(SKILL, 103): (False, True)}
    assert cache.apply([change(Action.CREATED, FOLDER, 778, folder(778), folder=SKILL, uen=3)]).shifts == []


def test_what_shifted_is_told_as_it_was_then_whatever_has_changed_meanwhile() -> None:
    cache = world((SKILL, {"DBID": 103, "tenantDBID": 1, "name": "x"}, SKILL))
    (shift,) = cache.apply([set_acl(ENVIRONMENT, for_jane())]).shifts
    then = list(shift.objects)
    assert len(shift.objects) == len(then) == len(set(shift.objects.ids()))
    assert {(each.type, each.dbid) for each in then} == set(shift.objects.ids())
    assert all(each.stored == cache.get(each.type, each.dbid) for each in then)
    assert all(each.folder == cache.folder_of(each.type, each.dbid) for each in then)
    assert all(each.tenants == tuple(cache.tenants_of(each.type, each.dbid)) for each in then)
    assert then[0] in shift.objects
    assert then[0]._replace(folder=999) not in shift.objects
    assert repr(shift.objects) == f"<ShiftedObjects {len(then)}>"
    cache.apply([updated(SKILL, 103, {"name": "y"}, folder=INNER), change(Action.DELETED, DN, 101, None, uen=3)])
    cache.apply([change(Action.DELETED, SWITCH, 101, None, uen=4), change(Action.DELETED, FOLDER, INNER, None, uen=4)])
    assert list(shift.objects) == then


def test_more_objects_than_are_decoded_at_once_all_shift() -> None:
    many = [(SKILL, {"DBID": 1000 + n, "tenantDBID": 1, "name": f"s{n}"}, INNER) for n in range(200)]
    cache = world(*many)
    assert len(moved(cache.apply([set_acl((FOLDER, INNER), for_jane())]).shifts).keys() & {(SKILL, 1199)}) == 1
    (shift,) = cache.apply([set_acl((FOLDER, INNER), (), was=True, uen=3)]).shifts
    assert {dbid for kind, dbid in shift.objects.ids() if kind == SKILL} >= {1000 + n for n in range(200)}
    assert [each.dbid for each in shift.objects] == [dbid for _, dbid in shift.objects.ids()]


def test_objects_are_found_by_their_readers() -> None:
    cache = world(acls={(FOLDER, INNER): for_jane()})
    (shift,) = objects_read_by(cache, {frozenset({JANE}), frozenset({JOHN})}, {(FOLDER, INNER)})
    assert [(each.type, each.dbid) for each in shift.objects] == [(SKILL, 101)]
    assert shift.before is shift.after
    cache = world(acls={(SKILL, 102): for_jane(), (FOLDER, INNER): for_jane(), (SKILL, 999): for_jane()})
    (shift,) = objects_read_by(cache, {frozenset({JANE})}, ())
    assert [(each.type, each.dbid) for each in shift.objects] == [(FOLDER, INNER), (SKILL, 101), (SKILL, 102)]
    seen = viewer(cache)
    assert list(seen.places(DN, [101, 102], [DNS, DNS])) == list(seen.places(DN, [101], [DNS])) == []


# sightings


def record(before: Any, after: Any, *, appears: Any = None, number: int = SKILL) -> LogRecord:
    return LogRecord(Position(1, 1), number, 5, (1,), before, after, b"f", True, 0.0, False, appears)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({JANE}, {JANE}, Sighting.CHANGE),
        ({JOHN}, {JANE}, Sighting.APPEARANCE),
        ({JANE}, {JOHN}, Sighting.DISAPPEARANCE),
        ({JOHN}, {JOHN}, Sighting.NOTHING),
        (None, {JANE}, Sighting.CHANGE),
        (None, {JOHN}, Sighting.NOTHING),
        ({JANE}, None, Sighting.CHANGE),
        ({JOHN}, None, Sighting.NOTHING),
        (None, None, Sighting.NOTHING),
    ],
)
def test_a_change_is_for_an_account_what_its_readers_say(before: Any, after: Any, expected: Sighting) -> None:
    was = None if before is None else frozenset(before)
    now = None if after is None else frozenset(after)
    jane = frozenset({JANE})
    found = record(was, now, appears=(b"o", 1))
    assert sighting(found, jane, jane) is expected
    assert SubscriptionClass[str](frozenset({EVERYTHING}), jane).wants(found) is (expected is not Sighting.NOTHING)
    assert sighting(found, None, None) is Sighting.CHANGE
    assert SubscriptionClass[str](frozenset({EVERYTHING}), None).wants(found)


def test_only_the_first_change_of_an_object_makes_it_appear() -> None:
    jane = frozenset({JANE})
    assert sighting(record(frozenset({JOHN}), jane), jane, jane) is Sighting.NOTHING
    assert sighting(record(None, None, number=1013), jane, jane) is Sighting.CHANGE
    shifted = LogRecord(Position(1, 1), 0, 0, (), None, None, b"", False, 0.0, shifts=(Shift(jane, jane, ()),))
    assert not SubscriptionClass[str](frozenset({EVERYTHING}), None).wants(shifted)
    index: SubscriptionIndex[str] = SubscriptionIndex()
    index.join("a", frozenset({EVERYTHING}), None)
    assert index.match(shifted) == []


# identities


def told(cache: ConfigurationCache, *changes: Change) -> frozenset[int] | None:
    watch = IdentityWatch(cache, changes)
    cache.apply(changes)
    return watch.accounts(cache)


def test_a_member_that_comes_or_goes_has_other_identities() -> None:
    cache = world()
    added = updated(ACCESS_GROUP, 201, {"memberIDs": {"added": [{"DBID": 102, "type": PERSON}]}})
    assert told(cache, added) == {JOHN}
    nested = updated(ACCESS_GROUP, 203, {"memberIDs": {"added": [{"DBID": 202, "type": ACCESS_GROUP}]}})
    ours = {"DBID": 9, "groupInfo": {"DBID": 9, "name": "g", "tenantDBID": 1}, "agentDBIDs": [102]}
    cache.apply([change(Action.CREATED, 5, 9, ours)])  # another kind of group is none of access
    assert (5, 9) not in identities(cache, (PERSON, 102))
    assert told(cache, nested) == {account_key((ACCESS_GROUP, 202)), account_key(GROUP), JANE, JOHN}


def test_all_below_a_group_whose_state_changes_have_other_identities() -> None:
    cache = world()
    assert told(cache, updated(ACCESS_GROUP, 202, {"groupInfo": {"state": 2}})) == {account_key(GROUP), JANE}
    assert told(cache, updated(ACCESS_GROUP, 202, {"groupInfo": {"name": "x"}})) == NOBODY_ELSE
    assert told(cache, change(Action.DELETED, ACCESS_GROUP, 202)) == {account_key(GROUP), JANE}
    assert told(cache, change(Action.CREATED, ACCESS_GROUP, 209, group(209, (PERSON, 102)))) == {JOHN}


def test_accounts_of_applications_and_default_access_count() -> None:
    cache = world()
    assert told(cache, change(Action.CREATED, ACCOUNT, 99, encode_account(99, (PERSON, 102)))) == {account_key((9, 99))}
    assert told(cache, change(Action.DELETED, PERSON, 102)) == {account_key((9, 99))}
    assert told(cache, updated(9, 99, {"version": "9"})) == NOBODY_ELSE
    assert told(cache, updated(9, 99, {"options": {"added": {"security": {"no-default-access": "1"}}}})) is None


# the sight of sessions


def session(person: int = 0, application: int = 99) -> Session:
    return Session(
        "s", account=Account(person, ""), application="a", application_type=1, application_dbid=application, now_s=0.0
    )


class Data:
    """A replica and the sight over it."""

    def __init__(self, **acls: Any) -> None:
        self.replica = Replica(encode=lambda *_, **__: b"frame", clock=lambda: 0.0)
        self.load(world())
        self.sight = SessionSight(lambda: self.replica.cache)

    def load(self, cache: ConfigurationCache, uen: int = 1) -> Any:
        builder = CacheBuilder(self.replica.cache if self.replica.complete else None)
        for number in cache.counts(records=True):
            folders = cache.folders(number)
            for dbid, stored in cache.objects(number).items():
                builder.add(number, [stored], [folders[dbid]])
        return self.replica.replace(builder, Position(1, uen), [Epoch(1, 1)])

    def access(self, one: Session) -> Any:
        self.sight.admit(one)
        return one.access


def test_accounts_that_see_the_same_have_the_same_sight() -> None:
    data = Data()
    system, jane, john = session(), session(101), session(102)
    assert data.access(system) is None
    assert data.access(jane) == frozenset()
    assert data.access(john) == frozenset({account_key((ACCESS_GROUP, 94))}) or data.access(john) is None
    assert data.sight.follow(data.replica.publish([set_acl((SKILL, 101), for_jane())]))
    assert data.access(jane) == frozenset({JANE})
    assert data.access(system) == frozenset({account_key((ACCESS_GROUP, 98))})
    assert not data.sight.follow(data.replica.publish([change(Action.DELETED, SKILL, 102, uen=3)]))
    joined = updated(ACCESS_GROUP, 98, {"memberIDs": {"added": [{"DBID": 102, "type": PERSON}]}})
    assert data.sight.follow(data.replica.publish([joined]))
    assert account_key((ACCESS_GROUP, 98)) in (data.access(john) or ())
    option = updated(9, 99, {"options": {"added": {"security": {"no-default-access": "1"}}}})
    assert data.sight.follow(data.replica.publish([option]))
    data.sight.start_anew()
    assert data.access(jane) == frozenset({JANE})
    assert SessionSight.keys_of(jane) == {JANE}
    assert account_key((9, 99)) in SessionSight.keys_of(system)
    assert repr(data.sight).startswith("<SessionSight of ")


def test_what_an_account_may_do_is_what_the_permissions_say() -> None:
    sight = SessionSight(lambda: CACHE)
    for account in ((PERSON, 100), (PERSON, 101), (ACCESS_GROUP, 98)):
        for _ in range(2):  # worked out, then remembered
            assert sight.mask_of((SKILL, 101), account) == mask_of(CACHE, (SKILL, 101), account)


def test_what_is_remembered_of_accounts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csproxy.core.session_sight._MOST_KNOWN", 2)
    sight = SessionSight(lambda: CACHE)
    for dbid in (100, 101, 102):
        sight.identities_of((PERSON, dbid))
    assert repr(sight) == "<SessionSight of 1 accounts, 0 sights>"


# reloads and histories


def test_a_reload_shifts_what_it_gives_other_readers() -> None:
    data = Data()
    published, _ = data.load(world(acls={(FOLDER, OUTER): for_jane(), (SKILL, 102): for_jane()}), uen=9)
    assert moved(published.records[0].shifts) == {
        (FOLDER, OUTER): (False, True),
        (FOLDER, INNER): (False, True),
        (SKILL, 101): (False, True),
        (SKILL, 102): (False, True),
    }
    assert published.lists
    assert published.records[0].size > published.records[1].size
    published, _ = data.load(world((PERSON, {"DBID": 300, "userName": "z"}, PERSON)), uen=10)
    assert published.records[0].shifts
    data.load(world((FOLDER, folder(401), 0), acls={(FOLDER, OUTER): for_jane()}), uen=10)
    data.load(world(), uen=11)
    published, _ = data.load(world(), uen=11)
    assert published.records == []
    published, _ = data.load(world((ACCESS_GROUP, group(207), ACCESS_GROUP)), uen=12)
    assert published.accounts is None


def test_a_loaded_history_is_certain_back_to_the_last_change_of_sight() -> None:
    plain, moves = updated(SKILL, 101, {"name": "n"}), updated(SKILL, 101, {}, folder=SKILL)
    gone, joined = change(Action.DELETED, SKILL, 7), updated(ACCESS_GROUP, 201, {})
    assert certain_from([[plain]]) == (0, 0)
    assert certain_from([[plain], [moves], [plain]]) == (2, 0)
    assert certain_from([[joined], [gone], [plain]]) == (2, 1)
    assert certain_from([[set_acl((SKILL, 1), ())]]) == (1, 1)
    security = {"options": {"changed": {"security": {"no-default-access": "1"}}}}
    locale = {"options": {"added": {"csproxy": {"locale": "sv_SE"}}}}
    assert certain_from([[change(Action.CREATED, 9, 99, {"DBID": 99})]]) == (1, 1)
    assert certain_from([[updated(9, 99, security)], [updated(9, 99, locale)], [updated(9, 100, {})]]) == (1, 1)
    assert certain_from([[change(Action.CREATED, FOLDER, 9, folder(9))]]) == (1, 0)


@pytest.mark.parametrize("first", [set_acl((SKILL, 102), (), uen=1), change(Action.DELETED, PERSON, 700, uen=1)])
def test_the_log_knows_where_sight_turned(first: Change) -> None:
    data = Data()
    data.replica.extend_history([[first], [updated(SKILL, 101, {"name": "s"})]])
    log = data.replica.log
    assert not log.is_clear_after(0)
    assert log.is_clear_after(1)
    assert len(log.turns_after(0)) == (first.type > 1000)
    assert log.turns_after(1) == []
    (one, two) = log.records(0, 2)
    assert one.readers_after is None
    assert two.readers_after is not None


def test_turns_leave_the_log_with_what_they_are_about() -> None:
    log = ChangeLog()
    log.append([record(None, None)], now_s=0.0)
    log.turn(None)
    assert [turn.accounts for turn in log.turns_after(0)] == [None]
    log.begin(Position(1, 5))
    assert log.turns_after(0) == []
    assert isinstance(CACHE.readers, ReaderIndex)


def test_what_a_transaction_tells_of_by_itself_is_in_no_shift() -> None:
    applied = world().apply(
        [
            set_acl((FOLDER, INNER), for_jane()),
            updated(FOLDER, INNER, {"name": "n"}),
            updated(SKILL, 101, {"name": "m"}),
        ]
    )
    assert applied.shifts == []
    assert [sight.after and JANE in sight.after for sight in applied.sightings] == [None, True, True]
