"""The page on the fault proxy: its program works as written, and it names every fault."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from csproxy.testing import FaultProxy
from tests.daemon.servers import PASSWORD, Site

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "test-on-a-bad-network.md").read_text("utf-8")
NO_FAULTS = {"hear", "spoil"}
"""What the connections call."""


def test_the_program_works_as_written(tmp_path: Path) -> None:
    site = Site(tmp_path, proxies=())
    program = HOWTO.split("```python\n", 1)[1].split("```", 1)[0]
    program = program.replace("2021", str(site.port)).replace('"secret"', f'"{PASSWORD}"')
    with site.master():
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "default 1\n", done.stderr


def test_every_fault_is_there_with_the_names_of_its_parameters() -> None:
    told = {name: words.split(", ") if words else [] for name, words in re.findall(r"`(\w+)\((\w*)\)`", HOWTO)}
    public = {
        name: list(inspect.signature(method).parameters)[1:]
        for name, method in inspect.getmembers(FaultProxy, inspect.isfunction)
        if not name.startswith("_") and name not in NO_FAULTS
    }
    assert told == public
