"""Folders: where objects go, what fits, how things are moved."""

from __future__ import annotations

from typing import Any

import pytest
from desk import Desk

from csproxy.errors import ErrorCode, ModelError


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refused(desk: Desk, word: str, obj: dict[str, Any], *, folder: int = 0) -> ModelError:
    with pytest.raises(ModelError) as caught:
        desk.create(word, obj, folder=folder)
    return caught.value


def refused_update(desk: Desk, dbid: int, delta: dict[str, Any]) -> ModelError:
    with pytest.raises(ModelError) as caught:
        desk.update("folder", dbid, delta)
    return caught.value


JOE = {"userName": "joe", "employeeID": "joe"}


def test_an_object_goes_into_the_folder_that_is_asked_for(desk: Desk) -> None:
    folder = desk.create("folder", {"name": "Team"}, folder=3)
    assert desk.folder_of("person", desk.create("person", JOE, folder=folder)) == folder


@pytest.mark.parametrize(("folder", "words"), [(999, "folder 999 does not exist"), (13, "holds skills, not persons")])
def test_a_folder_that_does_not_fit_is_refused(desk: Desk, folder: int, words: str) -> None:
    error = refused(desk, "person", JOE, folder=folder)
    assert error.code is ErrorCode.INCORRECT_REFERENCES
    assert words in str(error)


def test_a_folder_of_another_owner_is_refused(desk: Desk) -> None:
    tenant = desk.create("tenant", {"name": "North"})
    error = refused(desk, "person", {**JOE, "tenantDBID": tenant}, folder=3)
    assert "belongs to tenant 1 'Environment'" in str(error)


def test_a_folder_for_everything_holds_any_type_of_its_tenant(desk: Desk) -> None:
    site = desk.create("folder", {"name": "Site", "folderClass": 2, "type": 22})
    assert desk.folder_of("folder", site) == 0
    desk.create("person", JOE, folder=site)
    switch = desk.switch()
    dn = desk.create("dn", {"switchDBID": switch, "number": "1", "type": 1}, folder=site)
    assert desk.folder_of("dn", dn) == site
    tenant = desk.create("tenant", {"name": "North"})
    assert (
        refused(desk, "skill", {"name": "s", "tenantDBID": tenant}, folder=site).code is ErrorCode.INCORRECT_REFERENCES
    )


def test_types_without_tenant_go_into_any_folder_of_their_type(desk: Desk) -> None:
    tenant = desk.create("tenant", {"name": "North"})
    site = desk.create("folder", {"name": "Hosts of North", "type": 22, "ownerID": {"DBID": tenant, "type": 7}})
    hosts = desk.create("folder", {"name": "Racks", "type": 10}, folder=site)
    host = {"name": "h", "type": 1, "LCAPort": "4999", "OSinfo": {"OStype": 16}}
    assert desk.folder_of("host", desk.create("host", host, folder=hosts)) == hosts


def test_without_a_default_folder_the_request_must_name_one(desk: Desk) -> None:
    desk.plant("tenant", {"DBID": 150, "name": "Bare", "state": 1})
    error = refused(desk, "skill", {"name": "s", "tenantDBID": 150})
    assert error.code is ErrorCode.INCORRECT_REFERENCES
    assert "has no default folder for skills" in str(error)


def test_a_default_folder_may_stand_in_a_folder_of_the_containers_tenant(desk: Desk) -> None:
    """Sites exist whose folders of a switch stand in the folder Switches."""
    desk.plant("switch", {"DBID": 150, "name": "old", "tenantDBID": 1, "physSwitchDBID": 1, "state": 1}, folder=1)
    owner, parent = {"DBID": 150, "type": 1}, {"DBID": 1, "type": 22}
    desk.plant(
        "folder", {"DBID": 150, "name": "Lines", "type": 2, "ownerID": owner, "parentID": parent, "state": 1}, folder=1
    )
    below = {"DBID": 150, "type": 22}
    desk.plant(
        "folder", {"DBID": 149, "name": "VIP", "type": 2, "ownerID": owner, "parentID": below, "state": 1}, folder=150
    )
    assert desk.folder_of("dn", desk.dn(150, "1")) == 150


# --- new folders ---------------------------------------------------------------------------------


def test_a_folder_takes_type_owner_and_class_from_its_parent(desk: Desk) -> None:
    folder = desk.create("folder", {"name": "Team"}, folder=3)
    assert desk.get("folder", folder) == {
        "DBID": 101,
        "name": "Team",
        "type": 3,
        "ownerID": {"DBID": 1, "type": 7},
        "state": 1,
        "parentID": {"DBID": 3, "type": 22},
        "folderClass": 1,
    }
    assert desk.folder_of("folder", folder) == 3
    assert desk.cache.path_of(22, folder) == ["Persons"]


def test_the_parent_can_be_given_in_the_object(desk: Desk) -> None:
    assert desk.folder_of("folder", desk.create("folder", {"name": "T", "parentID": {"DBID": 3, "type": 22}})) == 3


def test_a_folder_with_type_and_owner_only_stands_in_the_default_folder(desk: Desk) -> None:
    assert desk.folder_of("folder", desk.create("folder", {"name": "T", "type": 13})) == 13


def test_a_parent_that_is_a_tenant_means_the_top(desk: Desk) -> None:
    folder = desk.create("folder", {"name": "Site", "parentID": {"DBID": 1, "type": 7}})
    assert desk.folder_of("folder", folder) == 0
    assert "parentID" not in desk.get("folder", folder)


@pytest.mark.parametrize(
    ("obj", "folder", "code"),
    [
        ({"name": "T", "objectIDs": [{"DBID": 100, "type": 3}]}, 3, ErrorCode.WRONG_API_PARAMETERS),
        ({"name": "T", "parentID": {"DBID": 4, "type": 22}}, 3, ErrorCode.INCORRECT_REFERENCES),
        ({"name": "T"}, 999, ErrorCode.INCORRECT_REFERENCES),
        ({"name": "T", "type": 13}, 3, ErrorCode.INCORRECT_REFERENCES),
        ({"name": "T", "ownerID": {"DBID": 5, "type": 7}}, 3, ErrorCode.INCORRECT_REFERENCES),
        ({"name": "T", "type": 2}, 0, ErrorCode.INCORRECT_REFERENCES),
        ({"name": "T", "ownerID": {"DBID": 100, "type": 3}, "type": 22}, 0, ErrorCode.INCORRECT_REFERENCES),
        ({"name": "", "type": 13}, 0, ErrorCode.INCOMPLETE_OBJECT_DATA),
        ({"name": "Persons"}, 3, None),
    ],
)
def test_new_folders_are_checked(desk: Desk, obj: dict[str, Any], folder: int, code: ErrorCode | None) -> None:
    if code is None:
        desk.create("folder", obj, folder=folder)
        code = ErrorCode.UNIQUENESS_VIOLATION
    assert refused(desk, "folder", obj, folder=folder).code is code


# --- moving --------------------------------------------------------------------------------------


def test_objects_are_moved_by_adding_them_to_another_folder(desk: Desk) -> None:
    team, person = desk.create("folder", {"name": "Team"}, folder=3), desk.person("joe")
    added = [{"DBID": person, "type": 3}]
    (change,) = desk.update("folder", team, {"objectIDs": {"added": added}, "description": "x"}).changes
    assert change.delta == {"objectIDs": {"added": added}, "description": "x"}
    assert change.moved == ((3, person),)
    assert desk.folder_of("person", person) == team
    (again,) = desk.update("folder", team, {"objectIDs": {"added": added}}).changes
    assert again.delta == {"objectIDs": {"added": []}}
    assert again.moved == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"deleted": [{"DBID": 100, "type": 3}]}, ErrorCode.WRONG_API_PARAMETERS),
        ({"changed": [{"DBID": 100, "type": 3}]}, ErrorCode.WRONG_API_PARAMETERS),
        ({"added": [{"DBID": 102, "type": 22}]}, ErrorCode.WRONG_API_PARAMETERS),
        ({"added": [{"DBID": 999, "type": 3}]}, ErrorCode.INCORRECT_REFERENCES),
        ({"added": [{"DBID": 1, "type": 10}]}, ErrorCode.INCORRECT_REFERENCES),
        ({"added": [{"DBID": 1}]}, ErrorCode.UNSUPPORTED_OBJECT),
    ],
)
def test_bad_moves_are_refused(desk: Desk, change: dict[str, Any], code: ErrorCode) -> None:
    team = desk.create("folder", {"name": "Team"}, folder=3)
    assert refused_update(desk, team, {"objectIDs": change}).code is code


def test_a_folder_is_moved_by_its_parent(desk: Desk) -> None:
    one, two = (desk.create("folder", {"name": name}, folder=3) for name in ("One", "Two"))
    (change,) = desk.update("folder", two, {"parentID": {"DBID": one}}).changes
    assert (change.folder, change.new_folder) == (one, one)
    assert desk.folder_of("folder", two) == one
    assert desk.cache.path_of(22, two) == ["Persons", "One"]


def test_a_folder_does_not_go_into_itself_nor_where_it_does_not_fit(desk: Desk) -> None:
    one = desk.create("folder", {"name": "One"}, folder=3)
    two = desk.create("folder", {"name": "Two"}, folder=one)
    assert "into itself" in str(refused_update(desk, one, {"parentID": {"DBID": two}}))
    assert refused_update(desk, one, {"parentID": {"DBID": 13}}).code is ErrorCode.INCORRECT_REFERENCES
    assert refused_update(desk, one, {"parentID": {"DBID": 998}}).code is ErrorCode.INCORRECT_REFERENCES
    assert refused_update(desk, one, {"parentID": None}).code is ErrorCode.UNCHANGEABLE_INFO


def test_default_folders_keep_their_place_and_name(desk: Desk) -> None:
    assert refused_update(desk, 13, {"parentID": {"DBID": 3, "type": 22}}).code is ErrorCode.UNCHANGEABLE_INFO
    assert refused_update(desk, 13, {"name": "Talents"}).code is ErrorCode.UNCHANGEABLE_INFO
    desk.update("folder", 13, {"description": "what agents can do"})


def test_a_folder_stays_with_its_owner_and_type(desk: Desk) -> None:
    folder = desk.create("folder", {"name": "Team"}, folder=3)
    assert refused_update(desk, folder, {"type": 13}).code is ErrorCode.UNCHANGEABLE_INFO
    assert refused_update(desk, folder, {"ownerID": {"DBID": 2}}).code is ErrorCode.UNCHANGEABLE_INFO


def test_a_renamed_folder_must_be_unique_in_its_place(desk: Desk) -> None:
    one, two = (desk.create("folder", {"name": name}, folder=3) for name in ("One", "Two"))
    assert refused_update(desk, two, {"name": "One"}).code is ErrorCode.UNIQUENESS_VIOLATION
    desk.update("folder", one, {"name": "Uno"})
    desk.update("folder", two, {"name": "One"})
