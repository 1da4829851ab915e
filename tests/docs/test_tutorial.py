"""Pages with a site to try work as written and show what they say (on other ports)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.own_ports import free_ports

ROOT = Path(__file__).parents[2]
FIRST_FIVE = ROOT / "docs" / "first-five-minutes.md"
README = ROOT / "README.md"
PORTS = ("2020", "2021", "2022", "9091", "9092")
AS_A_PERSON_DOES = (
    # a person types more slowly than a subscription is made, and stops a program that goes on
    (
        r"^(csproxy watch .*\d) &$",
        r'\1 --count 1 > watched 2> told & watch=$!\nuntil grep -q "from UEN" told; do sleep 0.1; done',
    ),
    (r"^(csproxy update person .*)$", r"\1\nwait $watch; cat watched"),
    (
        r"^python3 agents.py$",
        "python3 agents.py > agents & agents=$!\nuntil grep . agents; do sleep 0.1; done; kill $agents",
    ),
)


class Block(NamedTuple):
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
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


def carried_out(script: str, folder: Path, environment: dict[str, str]) -> tuple[int, str, str]:
    """Exit status and output; one that takes too long is killed with all that it has started."""
    command = ["bash", "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as run:
        try:
            out, err = run.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            raise
        return run.returncode, out, err


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "page", ["tutorial.md", "first-five-minutes.md", "howto/pair-of-proxies.md", "howto/persistent-mode.md"]
)
def test_the_page_works_as_written(tmp_path: Path, page: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    modules = {"csproxy": "-m csproxy.daemon.tool", "confserv": "-m csproxy.daemon.confserv", "python3": "-u"}
    for name, words in modules.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))

    def here(text: str) -> str:
        for old, new in ports.items():
            text = re.sub(rf"\b{old}\b", new, text)
        return text

    script, expected = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"], []
    (folder / "agents.py").write_text(here(next(each.text for each in blocks(README) if each.language == "python")))
    for block in blocks(ROOT / "docs" / page):
        text = here(block.text)
        if block.language == "python":
            name = text.split("\n", 1)[0].removeprefix("# ")
            (folder / name).write_text(text)
        elif block.language == "text":
            expected[-1] += text
        elif block.language == "sh":
            text = text.replace("csproxy init ", f"csproxy init --master-port {ports['2020']} ", 1)
            for pattern, replacement in AS_A_PERSON_DOES:
                text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
            script.append(f"{text}\necho '=== end'")
            expected.append("")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CSPROXY_")}
    environment["CSPROXY_PORT"] = ports["2020"]
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    status, out, err = carried_out("\n".join(script), folder, environment)
    outputs = out.split("=== end\n")
    assert status == 0, f"{out}\n{err}"
    for wanted, output in zip(expected, outputs, strict=False):
        assert shown(wanted, output) == [], output


def test_the_commands_of_the_readme_are_those_of_the_page_that_is_executed() -> None:
    section = README.read_text("utf-8").split("## Your own site\n", 1)[1].split("\n## ", 1)[0]
    indented = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    commands = [re.sub(r"\s+# .*", "", line) for line in indented if not line.strip().startswith("export PATH")]
    run = "".join(block.text for block in blocks(FIRST_FIVE) if block.language == "sh").splitlines()
    assert commands == run[: len(commands)]


def test_what_does_not_come_is_told() -> None:
    assert shown("a\n…\nc…e\n", "a\nb\ncde\n") == []
    assert shown("a\nx\n", "a\nb\n") == ["x"]
    assert shown("b\na\n", "a\nb\n") == ["a"]
