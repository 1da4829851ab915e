"""Memory and time of the configuration cache: 100,000 persons of 450 to 500 bytes, all indexes included.

    python benchmarks/cache_memory.py [PERSONS]

Budgets: at most 1,100 bytes per object, at least 200,000 objects loaded per second, a point read in
150 ns, a read by unique key in 3 µs. Bytes are what the process grew by (resident memory), so
allocator overhead counts too. Exit status 1 if a budget is missed.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import timeit
from collections.abc import Iterator

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Position
from csproxy.core.loading import CacheBuilder

PERSON = 3
PART = 500
FIRST_DBID = 101


def person(dbid: int) -> bytes:
    """An agent with three skills, one login, one place and some options."""
    return codec.encode(
        {
            "DBID": dbid,
            "tenantDBID": 1,
            "lastName": f"Lastname{dbid % 20011}",
            "firstName": f"Firstname{dbid % 977}",
            "employeeID": f"E{dbid:07d}",
            "userName": f"agent{dbid:07d}",
            "isAgent": 2,
            "agentInfo": {
                "placeDBID": dbid + 500_000,
                "skillLevels": [{"skillDBID": 101 + (dbid * 7 + number * 13) % 50, "level": 5} for number in range(3)],
                "agentLogins": [{"agentLoginDBID": dbid + 900_000}],
            },
            "state": 1,
            "userProperties": {
                "desktop": {"queue": f"Queue{dbid % 400}", "layout": "compact", "language": "en-GB", "timeout": 300},
                "signature": {"text": "Kind regards, your service team. " * 3},
            },
            "emailAddress": f"agent{dbid:07d}@example.com",
        }
    )


def parts(count: int) -> Iterator[list[bytes]]:
    for start in range(FIRST_DBID, FIRST_DBID + count, PART):
        # A copy has its exact size, like what comes out of a frame or a database row.
        yield [bytes(memoryview(person(dbid))) for dbid in range(start, min(start + PART, FIRST_DBID + count))]


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def load(count: int) -> tuple[ConfigurationCache, float]:
    """The cache, and the seconds spent in it (making the objects not counted)."""
    spent = 0.0
    builder = CacheBuilder()
    for objects in parts(count):
        folders = [200 + number % 40 for number in range(len(objects))]
        started = time.perf_counter()
        builder.add(PERSON, objects, folders)
        spent += time.perf_counter() - started
    started = time.perf_counter()
    cache = builder.finish(Position(1, 1))
    return cache, spent + time.perf_counter() - started


def best_ns(statement: object, number: int) -> float:
    return min(timeit.repeat(statement, number=number, repeat=5)) / number * 1e9  # type: ignore[arg-type]


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    load(1000)
    gc.collect()
    before = resident_bytes()
    cache, seconds = load(count)
    gc.collect()
    grown = (resident_bytes() - before) / count
    size = sum(len(stored) for stored in cache.objects(PERSON).values()) / count
    rate = count / seconds
    dbid = FIRST_DBID + count // 2
    user = f"agent{dbid:07d}"
    get_ns = best_ns(lambda: cache.get(PERSON, dbid), 100_000)
    select_ns = best_ns(lambda: cache.select(PERSON, {"user_name": user}), 20_000)
    changes = [
        Change(
            action=Action.UPDATED,
            type=PERSON,
            dbid=FIRST_DBID + number,
            position=Position(1, 2),
            frame=b"",
            delta={"lastName": "Changed"},
        )
        for number in range(min(1000, count))
    ]
    started = time.perf_counter()
    cache.apply(changes)
    apply_us = (time.perf_counter() - started) / len(changes) * 1e6
    started = time.perf_counter()
    cache.digest(PERSON)
    digest_us = (time.perf_counter() - started) / count * 1e6
    print(f"{count} persons of {size:.0f} bytes")
    print(f"memory, all indexes   {grown:8.0f} bytes per object   (at most 1100)")
    print(f"load                  {rate:8.0f} objects/s          (at least 200000)")
    print(f"get                   {get_ns:8.0f} ns                 (at most 150)")
    print(f"select by unique key  {select_ns / 1000:8.2f} µs                 (at most 3)")
    print(f"apply an update       {apply_us:8.1f} µs")
    print(f"first digest          {digest_us:8.2f} µs per object")
    return int(grown > 1100 or rate < 200_000 or get_ns > 150 or select_ns > 3000)


if __name__ == "__main__":
    sys.exit(main())
