"""Indexes hold the values of objects, whether loaded in bulk or changed one by one."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core.criteria import FOLDER
from csproxy.core.filter_keys import FILTER_KEYS
from csproxy.core.filter_rules import Collected, Through, Unreferenced
from csproxy.core.indexes import HOST_AND_PORTS, Index, LinkIndex, TypeIndexes, indexed_paths, link_paths
from csproxy.core.model import SCHEMA, AttributeKind
from csproxy.core.model.delta import encode_object
from csproxy.core.model.links import references
from csproxy.core.records import pair_key, pair_of, reader
from csproxy.errors import ErrorCode, ModelError
from tests.core.cache.world import APPLICATION, NUMBER_OF, PERSON, random_object


def check(index: Index, model: dict[int, set[int]]) -> None:
    held: dict[int, list[int]] = defaultdict(list)
    for dbid in sorted(model):
        for value in model[dbid]:
            held[value].append(dbid)
    values = index.values()
    assert {value: list(index.find(value)) for value in values} == held
    assert len(index) == len(values) == len(held)
    assert all(value in values for value in held)
    assert [value for value in (10**9, "1", None) if value in values] == []
    assert sorted(map(list, index.shared())) == sorted(dbids for dbids in held.values() if len(dbids) > 1)
    assert list(index.find(10**9)) == []


@pytest.mark.parametrize("kind", [Index, LinkIndex])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.sampled_from([0, 3, 30, 600]), spread=st.sampled_from([1, 3, 200, 5000]))
def test_an_index_maps_values_to_dbids(kind: type[Index], seed: int, count: int, spread: int) -> None:
    rng = random.Random(seed)
    index = kind()
    model = {dbid: {rng.randrange(1, spread + 1)} for dbid in rng.sample(range(1, 10_000), count)}
    index.extend([0 if dbid % 5 == 0 else next(iter(model[dbid])) for dbid in model], model)
    for dbid in model:
        if dbid % 5 == 0:
            model[dbid] = set()
    index.settle()
    check(index, model)
    for _ in range(count):
        dbid = rng.randrange(1, 10_000)
        wanted = {rng.randrange(1, spread + 1)} if rng.random() < 0.6 else set()
        for value in model.get(dbid, set()) - wanted:
            index.discard(value, dbid)
        for value in wanted - model.get(dbid, set()):
            index.add(value, dbid)
        model[dbid] = wanted
    check(index, model)


@pytest.mark.parametrize("kind", [Index, LinkIndex])
@settings(max_examples=40, deadline=None)
@given(lists=st.lists(st.lists(st.integers(0, 5) | st.integers(0, 20), max_size=6), max_size=30))
def test_values_in_lists_are_indexed_once_per_object(kind: type[Index], lists: list[list[int]]) -> None:
    index = kind()
    dbids = [1000 + number for number in range(len(lists))]
    index.extend_lists(lists, dbids)
    index.settle()
    check(index, {dbid: set(values) - {0} for dbid, values in zip(dbids, lists, strict=True)})


def test_links_to_neighbours_take_little_memory_and_single_ones_no_page() -> None:
    dense, sparse = LinkIndex(), LinkIndex()
    dense.extend(range(1000, 2000), range(1, 1001))
    sparse.extend(range(1000, 1_001_000, 1000), range(1, 1001))
    for index in (dense, sparse):
        index.settle()
    assert (len(dense._pages), len(dense._postings)) == (5, 0)
    assert (len(sparse._pages), len(sparse._postings)) == (0, 1000)
    assert list(sparse.find(3000)) == [3]


@pytest.mark.parametrize("number", SCHEMA.types)
def test_every_link_is_indexed_and_found_by_reference(number: int) -> None:
    object_type = SCHEMA.types[number]
    rng = random.Random(number)
    for _ in range(20):
        obj = random_object(rng, object_type, 7)
        stored = encode_object(object_type, obj)
        indexes = TypeIndexes(object_type)
        indexes.change(7, None, indexes.decode(stored))
        expected = {
            (reference.target, reference.dbid)
            for reference in references(object_type, codec.decode_map(stored))
            if reference.target in SCHEMA.types or "." in reference.path or "group" in reference.path
        }
        found = set()
        for path, target in link_paths(object_type):
            for value in indexes.indexes[path].values():
                assert isinstance(value, int)
                found.add((NUMBER_OF[target], value) if target else pair_of(value))
        assert found == expected


def test_unique_texts_are_indexed() -> None:
    for object_type in SCHEMA.types.values():
        texts = {
            path
            for key in object_type.unique_keys
            for path in key
            if path.rpartition(".")[2] in ("name", "number", "userName", "employeeID", "loginCode")
        }
        assert texts <= set(indexed_paths(object_type))


def test_every_relation_of_a_filter_rule_is_indexed() -> None:
    for keys in FILTER_KEYS.values():
        for key in keys.values():
            match key.rule:
                case Collected(sources):
                    needed = [(source.type_name, source.where) for source in sources if source.where != "DBID"]
                case Through(_, type_name, where):
                    needed = [(type_name, where)]
                case Unreferenced(type_name, path):
                    needed = [(type_name, path)]
                case _:
                    needed = []
            for type_name, path in needed:
                assert path in indexed_paths(SCHEMA.types[NUMBER_OF[type_name]]), key


def test_made_up_paths_are_no_attributes() -> None:
    for object_type in SCHEMA.types.values():
        assert not {HOST_AND_PORTS, FOLDER} & set(object_type.attributes)
    assert HOST_AND_PORTS in TypeIndexes(SCHEMA.types[APPLICATION]).indexes


def test_no_structure_holds_lists_of_structures_in_lists() -> None:
    def lists_below(attributes: Any) -> bool:
        return any(
            attribute.kind is AttributeKind.STRUCT_LIST
            or attribute.kind is AttributeKind.LINK_LIST
            or (attribute.kind is AttributeKind.STRUCT and lists_below(SCHEMA.structures[attribute.target].attributes))
            for attribute in attributes.values()
        )

    for object_type in SCHEMA.types.values():
        for attribute in object_type.attributes.values():
            if attribute.kind is AttributeKind.STRUCT_LIST:
                assert not lists_below(SCHEMA.structures[str(attribute.target)].attributes)


@pytest.mark.parametrize(
    "stored", [b"", b"\xc1", b"\x01", codec.encode({"userName": 5}), codec.encode({"DBID": 1})[:-1]]
)
def test_bytes_that_are_no_object_are_refused_by_name(stored: bytes) -> None:
    persons = reader(PERSON, ("userName",))
    for decode in (lambda: persons.decode(stored), lambda: persons.decode_many([stored])):
        with pytest.raises(ModelError, match="CfgPerson cannot be decoded") as refused:
            decode()
        assert refused.value.code is ErrorCode.OBJECT_PACKING_ERROR
        assert refused.value.object_type == PERSON


def test_a_pair_is_one_number_and_no_object_is_none() -> None:
    assert pair_key(3, 5) != pair_key(5, 3)
    assert pair_key(3, 0) == 0
