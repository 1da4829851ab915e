"""The tutorial works as it is written, and shows what it says (other ports, so that tests can run side by side)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.own_ports import free_ports

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"


class Block(NamedTuple):
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", TUTORIAL.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        yield Block(found[1], found[2])


def shown(expected: str, output: str) -> list[str]:
    """The expected lines that do not come, in their order. … stands for any text, on a line of its own for lines."""
    lines = iter(output.splitlines())
    missing = []
    for line in expected.splitlines():
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        if line != "…" and not any(pattern.fullmatch(each) for each in lines):
            missing.append(line)
    return missing


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    modules = {"csproxy": "-m csproxy.daemon.tool", "confserv": "-m csproxy.daemon.confserv", "python3": ""}
    for name, words in modules.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    ports = dict(zip(("2020", "2021"), map(str, free_ports(2)), strict=True))

    def here(text: str) -> str:
        for old, new in ports.items():
            text = re.sub(rf"\b{old}\b", new, text)
        return text

    script, expected = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"], []
    for block in blocks():
        text = here(block.text)
        if block.language == "python":
            name = text.split("\n", 1)[0].removeprefix("# ")
            (folder / name).write_text(text)
        elif block.language == "text":
            expected[-1] += text
        else:
            text = text.replace("csproxy init ", f"csproxy init --master-port {ports['2020']} ", 1)
            text = re.sub(r"csproxy status --wait", rf"csproxy status --port {ports['2020']} --wait", text)
            script.append(f"{text}\necho '=== end'")
            expected.append("")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CSPROXY_")}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=150
    )
    outputs = done.stdout.split("=== end\n")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for wanted, output in zip(expected, outputs, strict=False):
        assert shown(wanted, output) == [], output


def test_what_does_not_come_is_told() -> None:
    assert shown("a\n…\nc…e\n", "a\nb\ncde\n") == []
    assert shown("a\nx\n", "a\nb\n") == ["x"]
    assert shown("b\na\n", "a\nb\n") == ["a"]
