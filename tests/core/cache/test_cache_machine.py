"""The cache against plain dicts: any transactions, views, selections, digests and reloads in any order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache, View
from csproxy.core.changes import Action, Change, Position
from csproxy.core.containers import is_in_tenants
from csproxy.core.digests import object_hash
from csproxy.core.filters import Part
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import apply_delta, canonical, compute_delta
from csproxy.errors import ModelError
from tests.core.cache.world import (
    AGENT_GROUP,
    AGENT_LOGIN,
    APPLICATION,
    DN,
    FOLDER,
    PERSON,
    PLACE,
    SWITCH,
    TENANT,
    World,
    change,
    collect,
    created,
    deleted,
    random_filter,
    random_object,
    updated,
)

TYPES = (SWITCH, DN, PERSON, PLACE, AGENT_GROUP, TENANT, APPLICATION, AGENT_LOGIN, FOLDER)
DBIDS = range(1, 7)
SEEDS = st.integers(0, 2**32)


class UnderWay:
    """A selection of which some parts have been taken, and what it must come to."""

    def __init__(self, cache: ConfigurationCache, world: World, number: int, asked: dict[str, Any]) -> None:
        self.expected = [(dbid, world.composed(number, dbid)) for dbid in world.select(number, asked)]
        self.parts: Iterator[Part] = cache.select(number, asked).parts()
        self.taken: list[tuple[int, Any]] = []

    def step(self) -> bool:
        part = next(self.parts, None)
        if part is None:
            return False
        self.taken += [(dbid, codec.decode(stored)) for dbid, stored in zip(part.dbids, part.objects, strict=True)]
        return True

    def finish(self) -> None:
        while self.step():
            pass
        assert self.taken == self.expected


def _owner_type(world: World, folder: int) -> int:
    obj, _ = world.objects[FOLDER][folder]
    return int(obj.get("ownerID", {}).get("type", 0))


class CacheMachine(RuleBasedStateMachine):
    """``world`` is what the cache must hold; views and selections remember the world of their moment."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.cache = ConfigurationCache()
        self.uen = 0
        self.views: list[tuple[View, World]] = []
        self.under_way: list[UnderWay] = []
        self.digested: set[int] = set()

    @initialize(seed=SEEDS)
    def load(self, seed: int) -> None:
        rng = random.Random(seed)
        for number in TYPES:
            for dbid in rng.sample(DBIDS, rng.randrange(4)):
                self.world.put(number, random_object(rng, SCHEMA.types[number], dbid), rng.randrange(5))
        self.cache = self.world.cache()
        self.uen = 1

    # --- changes --------------------------------------------------------------------------------

    @rule(seed=SEEDS, count=st.integers(1, 6), spoiled=st.integers(0, 3))
    def transaction(self, seed: int, count: int, spoiled: int) -> None:
        """A transaction of changes that fit; every fourth is spoiled by one that does not."""
        rng = random.Random(seed)
        after = self.world.copy()
        changes = [found for _ in range(count) if (found := self._change(rng, after))]
        if spoiled == 0:
            number = rng.choice(TYPES)
            changes.insert(rng.randrange(len(changes) + 1), deleted(number, 999))
            with pytest.raises(ModelError):
                self.cache.apply(changes)
            return
        footprints = self.cache.apply(changes).footprints
        assert len(footprints) == len(changes)
        assert all(footprint.tenants for footprint in footprints)
        self.world = after
        if changes:
            self.uen += 1
            assert self.cache.position == Position(1, self.uen)

    def _change(self, rng: random.Random, world: World) -> Change | None:
        number, dbid = rng.choice(TYPES), rng.choice(DBIDS)
        object_type, uen = SCHEMA.types[number], self.uen + 1
        present = world.get(number, dbid)
        obj, folder = random_object(rng, object_type, dbid), rng.randrange(5)
        if present is None:
            world.put(number, obj, folder)
            return created(number, obj, folder=folder, uen=uen)
        match rng.choice(("delta", "complete", "delete", "move")):
            case "delta":
                delta = compute_delta(object_type, present, canonical(object_type, obj))
                world.put(number, apply_delta(object_type, present, delta), folder or world.folder(number, dbid))
                return updated(number, dbid, delta, folder=folder, uen=uen)
            case "complete":
                world.put(number, obj, folder or world.folder(number, dbid))
                return change(Action.UPDATED, number, dbid, uen, object=world.stored(number, dbid), folder=folder)
            case "delete":
                del world.objects[number][dbid]
                return deleted(number, dbid, uen=uen)
            case _ if number == FOLDER:
                members = [(rng.choice(TYPES), rng.choice(DBIDS)) for _ in range(3)]
                for member in set(members) - {(FOLDER, dbid)}:
                    if (moved := world.get(*member)) is not None:
                        world.put(member[0], moved, dbid)
                added = [{"DBID": member, "type": kind} for kind, member in dict.fromkeys(members)]
                return updated(FOLDER, dbid, {"objectIDs": {"added": added}}, uen=uen)
            case _:
                return None

    @rule(seed=SEEDS)
    def reload(self, seed: int) -> None:
        """A new data set takes the place of the old one; the difference says exactly what changed."""
        rng = random.Random(seed)
        new = self.world.copy()
        for _ in range(4):
            self._change(rng, new)
        builder = new.builder(self.cache)
        self.uen += 1
        cache = builder.finish(Position(1, self.uen))
        changed = {
            (number, dbid)
            for number in TYPES
            for dbid in self.world.objects[number].keys() | new.objects[number].keys()
            if self.world.objects[number].get(dbid) != new.objects[number].get(dbid)
        }
        found = builder.difference()
        others = {
            (number, dbid)
            for number in TYPES
            for dbid in self.world.objects[number].keys() & new.objects[number].keys()
            if (number == FOLDER or is_in_tenants(SCHEMA.types[number]))
            and self.cache.tenants_of(number, dbid) != cache.tenants_of(number, dbid)
            and (
                (number, dbid) in changed or number != FOLDER or _owner_type(new, dbid) == SWITCH
            )  # no owner but these
        }
        assert {(difference.type, difference.dbid) for difference in found} == changed | others
        updates = {(difference.type, difference.dbid) for difference in found if difference.action is Action.UPDATED}
        assert not updates & others
        self.world, self.cache = new, cache
        self.digested.clear()

    # --- reads ----------------------------------------------------------------------------------

    @rule()
    def take_view(self) -> None:
        self.views.append((self.cache.view(), self.world.copy()))

    @rule(seed=SEEDS, keys=st.integers(0, 3), in_steps=st.booleans())
    def begin_selection(self, seed: int, keys: int, in_steps: bool) -> None:
        rng = random.Random(seed)
        number = rng.choice(TYPES)
        asked = random_filter(rng, number, keys=keys)
        for name in ("exclude_bytecode", "exclude_longstrings"):
            asked.pop(name, None)
        with pytest.MonkeyPatch.context() as patch:
            if in_steps:
                patch.setattr("csproxy.core.cache.IMMEDIATE_LIMIT", -1)
            self.under_way.append(UnderWay(self.cache, self.world, number, asked))

    @rule(seed=SEEDS)
    def step_selection(self, seed: int) -> None:
        if self.under_way:
            random.Random(seed).choice(self.under_way).step()

    @rule(seed=SEEDS)
    def finish_selection(self, seed: int) -> None:
        if self.under_way:
            self.under_way.pop(random.Random(seed).randrange(len(self.under_way))).finish()

    @rule(number=st.sampled_from(TYPES))
    def ask_digest(self, number: int) -> None:
        self.digested.add(number)
        assert self.cache.digest(number) == self._digest(number)

    @rule(seed=SEEDS)
    def read_view(self, seed: int) -> None:
        if self.views:
            rng = random.Random(seed)
            view, world = rng.choice(self.views)
            number = rng.choice(TYPES)
            asked = {k: v for k, v in random_filter(rng, number, keys=2).items() if not k.startswith("exclude")}
            found = collect(view.select(number, asked))
            assert found.dbids == world.select(number, asked)
            assert [codec.decode(stored) for stored in found.objects] == [
                world.composed(number, d) for d in found.dbids
            ]

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def objects_and_folders_agree(self) -> None:
        for number in TYPES:
            assert list(self.cache.dbids(number)) == sorted(self.world.objects[number])
            for dbid in self.world.objects[number]:
                assert self.cache.get(number, dbid) == self.world.stored(number, dbid)
                assert self.cache.folder_of(number, dbid) == self.world.folder(number, dbid)
        for folder in range(1, 7):
            assert self.cache.members_of(folder) == self.world.members(folder)

    @invariant()
    def digests_agree(self) -> None:
        for number in self.digested:
            assert self.cache.digest(number) == self._digest(number)

    def _digest(self, number: int) -> str:
        hashes = (
            object_hash(dbid, folder, self.world.stored(number, dbid))
            for dbid, (_, folder) in self.world.objects[number].items()
        )
        return f"{sum(hashes) % 2**128:032x}"

    def teardown(self) -> None:
        for selection in self.under_way:
            selection.finish()
        for view, world in self.views:
            for number in TYPES:
                found = collect(view.select(number, {}))
                assert found.dbids == sorted(world.objects[number])
                assert [codec.decode(stored) for stored in found.objects] == [
                    world.composed(number, dbid) for dbid in found.dbids
                ]


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
