"""What a serving process asks of the interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

COLLECTED = """
import gc, json
from csproxy.daemon.process import freeze_heap, quieten_collector

quieten_collector()
seen = []
gc.callbacks.append(lambda phase, info: seen.append(gc.get_objects()) if phase == "start" else None)
loaded = {number: [number, number + 1] for number in range(20_000)}
while_loading = len(seen)
{freeze}
del seen[:]
gc.collect()
print(json.dumps([while_loading, sum(each is loaded for each in seen[0]), sum(each is loaded[7] for each in seen[0])]))
"""


def looks(freeze: str) -> list[int]:
    """Collections while something is loaded, and whether a later one looks at it."""
    program = COLLECTED.replace("{freeze}", freeze)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found: list[int] = json.loads(done.stdout)
    return found


def test_the_collector_neither_interrupts_a_load_nor_looks_at_what_was_loaded() -> None:
    assert looks("freeze_heap()") == [0, 0, 0]


def test_without_that_it_would() -> None:
    assert looks("") == [0, 1, 1]
