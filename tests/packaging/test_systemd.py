"""The systemd units: systemd itself finds nothing wrong, and they are as shut off as they can be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
PROGRAM = "/opt/csproxy/bin/confserv"
WORST = 1.5
"""Of systemd's exposure, from 0 (shut off) to 10."""


def installed(folder: Path, name: str) -> Path:
    """The unit with a program that exists, under the name of an instance."""
    text = (UNITS / name).read_text(encoding="utf-8")
    assert PROGRAM in text
    path = folder / name.replace("@.", "@CSProxy_1.")
    path.write_text(text.replace(PROGRAM, sys.executable), encoding="utf-8")
    return path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["confserv.service", "csproxy-proxy@.service"])
def test_systemd_understands_every_line_of_a_unit(tmp_path: Path, name: str) -> None:
    path = installed(tmp_path, name)
    done = analyze("verify", "--man=no", str(path))
    assert path.name not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    path.write_text(path.read_text().replace("ProtectHome=yes", "ProtectHome=perhaps\nProtectNothing=yes"))
    wrong = analyze("verify", "--man=no", str(path)).stderr
    assert "protect home" in wrong
    assert "ProtectNothing" in wrong


@pytest.mark.parametrize("name", ["confserv.service", "csproxy-proxy@.service"])
def test_a_unit_is_shut_off_as_far_as_a_network_server_can_be(tmp_path: Path, name: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", str(installed(tmp_path, name)))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= WORST


def test_both_units_have_the_same_sandbox() -> None:
    def sandbox(name: str) -> str:
        text = (UNITS / name).read_text(encoding="utf-8")
        return text[text.index("User=") :]

    assert sandbox("confserv.service") == sandbox("csproxy-proxy@.service")
