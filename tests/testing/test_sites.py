from __future__ import annotations

import hashlib
import time
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.containers import container_type
from csproxy.core.draft import Draft
from csproxy.core.integrity import check_integrity
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.model.links import references
from csproxy.core.model.values import check_object, values
from csproxy.core.wellknown import InitialObject, well_known_objects
from csproxy.errors import ConfigurationError
from csproxy.testing import sites
from csproxy.testing.site_names import PEOPLE, SKILLS, latin
from csproxy.testing.sites import MAX_AGENTS, SiteObject, generate_site

FOLDER = 22
PERSON = 3
BASE = well_known_objects(proxies=[("proxy1", 2021)])


def site(agents: int = 100, *, seed: int = 1) -> list[SiteObject]:
    return list(generate_site(agents, seed=seed, base=BASE))


def fingerprint(objects: list[SiteObject]) -> str:
    digest = hashlib.sha256()
    for number, obj, folder in objects:
        digest.update(codec.encode((number, folder, encode_object(SCHEMA.types[number], obj))))
    return digest.hexdigest()


def everything(objects: list[SiteObject]) -> list[InitialObject | SiteObject]:
    return [*BASE, *objects]


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert fingerprint(site(seed=7)) == fingerprint(site(seed=7))


def test_another_seed_gives_another_site() -> None:
    assert fingerprint(site(seed=7)) != fingerprint(site(seed=8))


@pytest.mark.parametrize("agents", [1, 100, 4100])
def test_every_object_is_valid(agents: int) -> None:
    for number, obj, _ in site(agents):
        check_object(SCHEMA.types[number], obj)


def test_a_master_would_accept_every_object() -> None:
    builder = CacheBuilder(None)
    objects = everything(site(2100))
    for number, obj, folder in objects:
        builder.add(number, [encode_object(SCHEMA.types[number], obj)], [folder])
    draft = Draft(builder.finish(Position(1, 0)), {})
    for number, obj, _ in objects[len(BASE) :]:
        check_integrity(draft, SCHEMA.types[number], None, obj)


def test_no_object_holds_attributes_at_their_default() -> None:
    for number, obj, _ in site():
        assert len(encode_object(SCHEMA.types[number], obj)) == len(codec.encode(obj))


@pytest.mark.parametrize("agents", [1, 100, 4100])
def test_every_reference_leads_to_an_object_that_comes_before(agents: int) -> None:
    known = {(number, obj["DBID"]) for number, obj, _ in BASE}
    for number, obj, _ in site(agents):
        known.add((number, obj["DBID"]))
        for reference in references(SCHEMA.types[number], obj):
            assert (reference.target, reference.dbid) in known, (number, obj["DBID"], reference)


def test_no_dbid_is_given_twice_and_none_of_the_base_is_taken() -> None:
    counted = Counter((number, obj["DBID"]) for number, obj, _ in everything(site(2100)))
    assert counted.most_common(1)[0][1] == 1


@pytest.mark.parametrize("agents", [100, 10_100])
def test_unique_keys_are_unique(agents: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "CITIES", sites.CITIES[:2])  # so that cities come again
    seen: set[tuple[Any, ...]] = set()
    for number, obj, folder in everything(site(agents)):
        for key in SCHEMA.types[number].unique_keys:
            if number == FOLDER:
                found: tuple[Any, ...] = (
                    obj["ownerID"]["type"],
                    obj["ownerID"]["DBID"],
                    obj["type"],
                    folder,
                    obj["name"],
                )
            else:
                found = (key, *(tuple(values(obj, path)) for path in key))
            assert (number, *found) not in seen
            seen.add((number, *found))


def test_every_object_stands_in_a_folder_for_its_type() -> None:
    objects = everything(site(2100))
    folders = {obj["DBID"]: (obj, parent) for number, obj, parent in objects if number == FOLDER}
    for number, obj, folder in site(2100):
        if number == FOLDER:
            parent = obj.get("parentID", {}).get("DBID", 0)
            assert folder == parent
            assert parent == 0 or folders[parent][0]["ownerID"] == obj["ownerID"]
        else:
            holder = folders[folder][0]
            assert holder["type"] == number
            assert holder["ownerID"]["type"] == container_type(SCHEMA.types[number]).number


def test_every_container_has_its_default_folders() -> None:
    objects = site(2100)
    owners = Counter((o.object["ownerID"]["type"], o.object["ownerID"]["DBID"]) for o in objects if o.type == FOLDER)
    assert all(owners[1, o.object["DBID"]] >= 2 for o in objects if o.type == 1)
    assert all(owners[35, o.object["DBID"]] == 1 for o in objects if o.type == 35)


def test_a_site_has_its_agents_and_about_five_objects_for_each() -> None:
    objects = site(4000)
    counted = Counter(o.type for o in objects)
    assert counted[PERSON] == counted[4] == counted[15] == 4000
    assert counted[2] >= 2 * 4000
    assert counted[1] == counted[11] == 2
    assert 5 <= len(objects) / 4000 <= 5.5


@pytest.mark.parametrize(("agents", "skills"), [(1, 30), (30_000, 130), (100_000, 200)])
def test_the_number_of_skills_grows_with_the_site(agents: int, skills: int) -> None:
    objects = generate_site(agents, seed=1, base=BASE)
    first = islice(objects, 500)
    assert sum(o.type == 13 for o in first) == skills


def test_persons_are_of_realistic_size_and_write_in_many_scripts() -> None:
    persons = [o.object for o in site(2000) if o.type == PERSON]
    sizes = [len(codec.encode(person)) for person in persons]
    assert 450 <= sum(sizes) / len(sizes) <= 500
    text = "".join(person["firstName"] + person["lastName"] for person in persons)
    for letters in "üñłαиוحर藤김ễ":
        assert letters in text, letters
    assert all(person["userName"].isascii() for person in persons)


def test_agents_have_a_place_a_login_and_skills_of_their_own() -> None:
    persons = [o.object for o in site(300) if o.type == PERSON]
    infos = [person["agentInfo"] for person in persons]
    assert len({info["placeDBID"] for info in infos}) == 300
    assert len({info["agentLogins"][0]["agentLoginDBID"] for info in infos}) == 300
    assert {len(info["skillLevels"]) for info in infos} <= set(range(1, 8))
    assert all(1 <= level["level"] <= 10 for info in infos for level in info["skillLevels"])


def test_nobody_has_a_password() -> None:
    assert not any("password" in obj for _, obj, _ in site(300))


def test_teams_have_folders_groups_and_a_desktop() -> None:
    objects = site(100)
    assert [o.object["name"] for o in objects if o.type == FOLDER and o.object["type"] == PERSON] == [
        "Team 001",
        "Team 002",
        "Team 003",
        "Team 004",
    ]
    desktops = [o.object["name"] for o in objects if o.type == 9 and o.object["type"] == 18]
    assert desktops == [f"Desktop Team 00{n}" for n in range(1, 5)]


@pytest.mark.parametrize("agents", [0, -1, MAX_AGENTS + 1])
def test_an_impossible_size_is_refused_at_once(agents: int) -> None:
    with pytest.raises(ConfigurationError, match=f"a site of {agents} agents: valid is 1 to {MAX_AGENTS}"):
        generate_site(agents, seed=1, base=BASE)


def test_a_base_without_folders_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pass the well-known objects"):
        list(generate_site(10, seed=1, base=[]))


def test_twenty_thousand_agents_take_less_than_five_seconds() -> None:
    start = time.perf_counter()
    count = sum(1 for _ in generate_site(20_000, seed=1, base=BASE))
    assert count > 100_000
    assert time.perf_counter() - start < 5


def test_names_have_a_plain_form_for_user_names() -> None:
    names = [name for _, first, last in PEOPLE for name in (*first, *last)]
    assert all(name.plain.isascii() and name.plain.isalnum() for name in names)
    assert latin("Łódź O'Connor") == "lodzoconnor"
    assert len(set(SKILLS)) == len(SKILLS)
