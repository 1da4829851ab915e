"""The first objects of a configuration keep the rules that every later object is checked by."""

from __future__ import annotations

from desk import Desk

from csproxy.core.draft import Draft
from csproxy.core.folder_rules import default_folder_of
from csproxy.core.integrity import check_integrity
from csproxy.core.model import SCHEMA
from csproxy.core.model.values import check_object
from csproxy.core.ownership import owned_closure
from csproxy.core.rules import MAX_CHANGES
from csproxy.core.wellknown import FIRST_FREE_DBID, PERMANENT, first_counters, well_known_objects


def test_every_well_known_object_keeps_the_rules() -> None:
    desk = Desk()
    draft = Draft(desk.cache, desk.counters)
    for number, obj, _ in well_known_objects(proxies=[("east", 2030), ("west", 2031)]):
        kind = SCHEMA.types[number]
        check_object(kind, obj)
        check_integrity(draft, kind, None, obj)


def test_published_numbers_are_kept() -> None:
    objects = {(number, obj["DBID"]): obj for number, obj, _ in well_known_objects(2020, host="h", version="9")}
    assert objects[7, 1]["name"] == "Environment"
    assert (objects[3, 100]["userName"], objects[3, 100]["employeeID"]) == ("default", "0")
    assert objects[21, 97]["groupInfo"]["name"] == "EVERYONE"
    assert objects[21, 98]["groupInfo"]["name"] == "SYSTEM"
    assert (objects[9, 99]["name"], objects[9, 99]["type"], objects[9, 99]["appPrototypeDBID"]) == ("confserv", 21, 99)
    assert (objects[9, 100]["name"], objects[9, 100]["type"], objects[9, 100]["appPrototypeDBID"]) == (
        "default",
        19,
        100,
    )
    assert objects[9, 99]["portInfos"] == [{"id": "default", "port": "2020"}]
    assert {*PERMANENT} <= objects.keys()


def test_proxies_are_applications_connected_to_the_master() -> None:
    objects = {(number, obj["DBID"]): obj for number, obj, _ in well_known_objects(proxies=[("east", 2030)])}
    proxy = objects[9, FIRST_FREE_DBID]
    assert (proxy["name"], proxy["type"], proxy["serverInfo"]["port"]) == ("east", 21, "2030")
    assert proxy["appServerDBIDs"][0]["appServerDBID"] == 99


def test_counters_leave_room_for_the_well_known_numbers() -> None:
    objects = well_known_objects(proxies=[("east", 2030)])
    counters = first_counters(objects)
    assert counters.keys() == SCHEMA.types.keys()
    assert counters[9] == 101
    assert counters[3] == 100
    assert all(counters[number] >= obj["DBID"] for number, obj, _ in objects)


def test_each_object_is_in_the_default_folder_of_its_type() -> None:
    desk = Desk()
    draft = Draft(desk.cache, desk.counters)
    for number, _, folder in well_known_objects():
        if number != 22:
            assert folder == default_folder_of(draft, SCHEMA.types[number], (7, 1))


def test_everything_belongs_to_environment() -> None:
    desk = Desk()
    owned = owned_closure((7, 1), referrers=desk.cache.referrers, members=desk.cache.members_of, limit=MAX_CHANGES)
    assert len(owned) == sum(desk.cache.counts().values())
