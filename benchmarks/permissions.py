"""What permissions cost: 100,000 persons in 500 folders, each with a list for one of 500 access groups.

    python benchmarks/permissions.py [PERSONS] [GROUPS]

Prints, as JSON: point reads of an account that reads everything and of one that reads a folder; the whole type read by
each (objects found, milliseconds, and the longest step, which another client may have to wait); memory per object with
and without the lists; the time to change a list that everything inherits, and a membership; what a change of one person
costs with a class of subscribers for each group. Times are of the processor, so that
others on the machine count little. No part of it asserts a time.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any

from cache_memory import person

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changelog import LogRecord
from csproxy.core.changes import Action, Change, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.security_records import RECORDS, AclEntry, encode_acl
from csproxy.core.shifts import objects_read_by
from csproxy.core.sight import Viewer, account_key
from csproxy.core.subscriptions import Interest, SubscriptionIndex

PERSON, ACCESS_GROUP, FOLDER = 3, 21, 22
FIRST = 1001


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def build(persons: int, groups: int, *, lists: bool) -> ConfigurationCache:
    builder = CacheBuilder()
    for n in range(groups):
        dbid = FIRST + n
        folder = {"DBID": dbid, "name": f"site {n}", "type": PERSON, "ownerID": {"DBID": 1, "type": 7}, "state": 1}
        group = {"DBID": dbid, "groupInfo": {"DBID": dbid, "tenantDBID": 1, "name": f"g{n}", "state": 1}, "type": 1}
        builder.add(FOLDER, [codec.encode(folder)], [0])
        builder.add(ACCESS_GROUP, [codec.encode(group)], [0])
        if lists:
            acl = (AclEntry(ACCESS_GROUP, 98, 127), AclEntry(ACCESS_GROUP, dbid, 9))
            builder.add(RECORDS + FOLDER, [encode_acl(dbid, acl)], [0])
    for start in range(0, persons, 500):
        numbers = range(start, min(start + 500, persons))
        builder.add(
            PERSON, [bytes(memoryview(person(101 + n))) for n in numbers], [FIRST + n % groups for n in numbers]
        )
    return builder.finish(Position(1, 1))


def bytes_per_object(persons: int, groups: int, lists: bool) -> float:
    """What a process of its own grew by."""
    gc.collect()
    before = resident_bytes()
    cache = build(persons, groups, lists=lists)
    gc.collect()
    return (resident_bytes() - before) / max(1, cache.count(PERSON))


def read_all(cache: ConfigurationCache, who: frozenset[int] | None) -> dict[str, Any]:
    viewer = None if who is None else Viewer(cache.readers, who)
    began = time.process_time()
    found, longest, last = 0, 0.0, began
    for part in cache.select(PERSON, {}, viewer).parts():
        found += len(part.objects)
        now = time.process_time()
        longest, last = max(longest, now - last), now
    return {"objects": found, "ms": ms(began), "longest_step_ms": round(longest * 1e3, 2)}


def ms(began: float) -> float:
    return round((time.process_time() - began) * 1e3, 2)


def nanoseconds(call: Callable[[], object]) -> float:
    return round(min(timeit.repeat(call, number=20_000, repeat=5)) / 20_000 * 1e9)


def main() -> None:
    persons = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    groups = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        without, with_lists = pool.starmap(
            bytes_per_object, [(persons, groups, False), (persons, groups, True)], chunksize=1
        )
    cache = build(persons, groups, lists=True)
    one = frozenset({account_key((ACCESS_GROUP, FIRST))})
    dbid = 101
    readers = cache.readers
    results: dict[str, Any] = {
        "persons": persons,
        "groups": groups,
        "bytes_per_object": {"without lists": round(without), "with lists": round(with_lists)},
        "point_read_ns": {
            "everything": nanoseconds(lambda: cache.get(PERSON, dbid)),
            "one group": nanoseconds(lambda: cache.get(PERSON, dbid) and not one.isdisjoint(readers.of(PERSON, dbid))),
        },
        "bulk_read": {"everything": read_all(cache, None), "one group": read_all(cache, one)},
    }
    index: SubscriptionIndex[int] = SubscriptionIndex()
    for n in range(groups):
        index.join(n, frozenset({Interest(PERSON)}), frozenset({account_key((ACCESS_GROUP, FIRST + n))}))
    of = readers.of(PERSON, dbid)
    record = LogRecord(Position(1, 2), PERSON, dbid, (1,), of, of, b"frame", True, 0.0)
    assert len(index.match(record)) == 1
    results["change_among_classes_us"] = round(nanoseconds(lambda: index.match(record)) / 1e3, 1)
    began = time.process_time()
    objects_read_by(cache, {of}, ())
    results["membership_change_ms"] = ms(began)
    acl = encode_acl(FIRST, (AclEntry(ACCESS_GROUP, 98, 127),))
    change = Change(
        action=Action.UPDATED, type=RECORDS + FOLDER, dbid=FIRST, position=Position(1, 2), frame=b"", object=acl
    )
    began = time.process_time()
    shifted = sum(len(shift.objects) for shift in cache.apply([change]).shifts)
    results["list_of_one_folder"] = {"objects": shifted, "ms": ms(began)}
    root = encode_acl(1, (AclEntry(ACCESS_GROUP, 98, 127), AclEntry(ACCESS_GROUP, FIRST, 1)))
    bare = build(persons, groups, lists=False)
    change = Change(action=Action.CREATED, type=RECORDS + 7, dbid=1, position=Position(1, 2), frame=b"", object=root)
    began = time.process_time()
    shifted = sum(len(shift.objects) for shift in bare.apply([change]).shifts)
    results["list_of_everything"] = {"objects": shifted, "ms": ms(began)}
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
