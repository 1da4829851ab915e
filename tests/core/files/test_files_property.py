"""Random valid objects of every type survive export and import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

HERE = Path(__file__).parents[1]
sys.path[:0] = [str(HERE / "writes"), str(HERE / "model")]

from valid import World, valid_objects  # noqa: E402

from csproxy.core.files.kinds import KINDS, Kind  # noqa: E402
from csproxy.core.model import SCHEMA  # noqa: E402
from tests.core.files.bench import Bench  # noqa: E402


def add_some(world: World, kind: Kind) -> None:
    @settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(valid_objects(world, kind.type))
    def add(obj: dict[str, Any]) -> None:
        world.desk.create(kind.type.name, obj if kind.type.unique_keys else {**obj, "name": world.unique()})

    add()


@pytest.mark.slow
def test_random_valid_objects_survive_export_and_import() -> None:
    world = World()
    for number in (24, 28):  # two formats or treatments may have one name, and a file cannot tell these apart
        for dbid in list(world.desk.cache.dbids(number)):
            world.desk.update(SCHEMA.types[number].name, dbid, {"name": world.unique()})
    bench = Bench()
    bench.cache, bench.counters = world.desk.cache, world.desk.counters
    for kind in KINDS:
        add_some(world, kind)
    text = bench.export()
    other = Bench()
    other.bring(text)
    assert other.export() == text
    assert not other.bring(text).operations
