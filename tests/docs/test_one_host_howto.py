"""Several processes on one host: what the page says of pinning works as written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.servers import _ENVIRONMENT, PASSWORD, Site, answer
from tests.packaging.test_systemd import analyze, installed

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "several-processes-on-one-host.md").read_text("utf-8")
UNIT = "csproxy-proxy@.service"


def found(pattern: str) -> str:
    """The only place of the page that matches."""
    (place,) = re.findall(pattern, HOWTO)
    return str(place)


def test_systemd_understands_the_drop_in(tmp_path: Path) -> None:
    unit = installed(tmp_path, UNIT)
    folder = Path(found(r"in `/etc/systemd/system/(\S+)`"))
    assert folder.parent.name == f"{unit.name}.d"
    drop_in = tmp_path / folder
    drop_in.parent.mkdir()
    text = found(r"```ini\n((?:   .*\n)+)   ```").replace("   ", "")
    drop_in.write_text(text)
    done = analyze("verify", "--man=no", str(unit))
    assert done.returncode == 0
    assert drop_in.name not in done.stderr
    drop_in.write_text(text.replace("=0", "=first"))
    assert f"{drop_in.name}:2: Failed to parse CPU affinity" in analyze("verify", "--man=no", str(unit)).stderr


@pytest.mark.slow
def test_a_member_is_pinned_by_the_command(tmp_path: Path) -> None:
    line = found(r"(taskset .*)")
    site = Site(tmp_path)
    words = shlex.split(line.replace("confserv.example.com", "127.0.0.1").replace("2020", str(site.port)))
    words[words.index("confserv")] = str(Path(sys.executable).with_name("confserv"))
    with (
        site.master(),
        subprocess.Popen(
            words, cwd=tmp_path, env=_ENVIRONMENT | {"CSPROXY_PASSWORD": PASSWORD}, stdout=subprocess.PIPE, text=True
        ) as member,
    ):
        try:
            assert member.stdout is not None
            assert any("ready on" in said for said in member.stdout)
            assert answer("status", port=site.proxy_ports["CSProxy_1"])["role"] == "proxy"
            threads = os.listdir(f"/proc/{member.pid}/task")
            assert [os.sched_getaffinity(int(thread)) for thread in threads] == [{0}] * len(threads)
        finally:
            member.kill()
