"""What the README tells a newcomer to type works as written (other ports, so that tests can run side by side)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from csproxy.core import standby
from csproxy.core.replication import diagram
from csproxy.transport import client_states
from tests.own_ports import free_ports

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text("utf-8")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """PATH with the programs of the running interpreter, whether they are installed or not."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("csproxy", "tool"), ("confserv", "confserv")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m csproxy.daemon.{module} "$@"\n')
        script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CSPROXY_")}
    return kept | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(README.parent)}


def test_the_program_works_as_written(text: str, tmp_path: Path, environment: dict[str, str]) -> None:
    (master,) = free_ports(1)
    program = text.split("```python\n", 1)[1].split("```", 1)[0].replace("2021", str(master))
    (tmp_path / "program.py").write_text(
        program.replace("print(", "print(flush=True, *(")
        .replace("change.delta)", "change.delta))")
        .replace("agents.position.uen)", "agents.position.uen))")
    )
    init = ["csproxy", "init", "site", "--site", "100", "--password", "secret", "--master-port", str(master)]
    subprocess.run(init, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    with (
        subprocess.Popen(["confserv", "-c", "site/confserv.conf"], cwd=tmp_path, env=environment) as server,
    ):
        try:
            flags = ["--port", str(master)]
            more = environment | {"CSPROXY_PASSWORD": "secret"}
            subprocess.run(["csproxy", "status", "--wait", "30", *flags], env=more, check=True, timeout=60)
            with subprocess.Popen(
                [sys.executable, "program.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
            ) as running:
                assert running.stdout is not None
                assert running.stdout.readline() == "100 agents as of UEN 0\n"
                update = ["csproxy", "update", "person", "100", "firstName=Ada", *flags]
                subprocess.run(update, env=more, check=True, capture_output=True, timeout=60)
                assert running.stdout.readline().startswith("UPDATED 100 by default CfgDeltaPerson(")
                running.kill()
        finally:
            server.kill()


def test_links_lead_somewhere(text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (README.parent / target).exists(), target


def test_the_picture_of_a_proxys_states_is_that_of_the_table() -> None:
    architecture = (README.parent / "docs" / "architecture.md").read_text("utf-8")
    assert f"```mermaid\n{diagram()}```" in architecture
    pair = (README.parent / "docs" / "topics" / "proxy-pair.md").read_text("utf-8")
    assert f"```mermaid\n{standby.diagram()}```" in pair


def test_the_picture_of_a_clients_states_is_that_of_the_table() -> None:
    topic = (README.parent / "docs" / "topics" / "client-failover.md").read_text("utf-8")
    assert f"```mermaid\n{client_states.diagram()}```" in topic
