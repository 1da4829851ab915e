"""Random valid objects of every type survive export and import, in each form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

ROLE = 43
HERE = Path(__file__).parents[1]
sys.path[:0] = [str(HERE / "writes"), str(HERE / "model")]

from valid import World, valid_objects  # noqa: E402

from csproxy.core.files.any_form import FORMS  # noqa: E402
from csproxy.core.files.keyed import Keyer  # noqa: E402
from csproxy.core.files.keys import Key, full_text  # noqa: E402
from csproxy.core.files.kinds import KINDS, Kind  # noqa: E402
from csproxy.core.files.operations import materialise  # noqa: E402
from csproxy.core.model import SCHEMA  # noqa: E402
from csproxy.core.model.canonical import canonical  # noqa: E402
from tests.core.files.bench import Bench  # noqa: E402


def add_some(world: World, kind: Kind) -> None:
    @settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(valid_objects(world, kind.type))
    def add(obj: dict[str, Any]) -> None:
        world.desk.create(kind.type.name, obj if kind.type.unique_keys else {**obj, "name": world.unique()})

    add()


@pytest.fixture(scope="module")
def bench() -> Bench:
    """A master with random valid objects of every type that has a kind."""
    world = World()
    for number in (24, 28):  # two formats or treatments may have one name, and a file cannot tell these apart
        for dbid in list(world.desk.cache.dbids(number)):
            world.desk.update(SCHEMA.types[number].name, dbid, {"name": world.unique()})
    bench = Bench()
    bench.cache, bench.counters = world.desk.cache, world.desk.counters
    for kind in KINDS:
        add_some(world, kind)
    return bench


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_random_valid_objects_survive_export_and_import(bench: Bench, form: str) -> None:
    text = bench.export(form)
    other = Bench()
    other.bring(text)
    assert other.export() == bench.export()
    assert not other.bring(text).operations
    if form != "json":
        assert attributes(other) == attributes(bench), "nothing is lost that the JSON form has no property for"


def attributes(bench: Bench) -> dict[Key, Any]:
    """What a server holds, with keys for DBIDs."""
    directory = bench.directory()
    keyer = Keyer(directory)
    return {
        directory.key(number, dbid): canonical(SCHEMA.types[number], settled(keyer.keyed(SCHEMA.types[number], obj)))
        for number in directory.types
        for dbid, obj in directory.objects(number).items()
        if number != ROLE  # members of these are nobody
    }


def settled(value: Any) -> Any:
    """The value with texts for keys, lists in one order."""
    value = materialise(value, full_text)
    if isinstance(value, dict):
        return {name: settled(item) for name, item in value.items()}
    return sorted(map(settled, value), key=repr) if isinstance(value, list) else value
