"""A running master for tests of `csproxy install`, answers files, and what an installation has left."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from csproxy.core.model import CfgApplication
from csproxy.sync import ConfigClient
from tests.daemon.servers import PASSWORD, Site, tool

FILES = ["confserv.conf", "csproxy-install.json", "run.sh", "startServer.bat"]


def answers(site: Site, path: Path, /, **given: object) -> Path:
    """An answers file for CSProxy_1; ``_`` in names stands for ``-``, None leaves a key out."""
    found: dict[str, object] = {"master_host": "127.0.0.1", "master_port": site.port, "application": "CSProxy_1"}
    found |= given
    lines = [
        f"{name.replace('_', '-')} = {json.dumps(value, ensure_ascii=False)}"
        for name, value in found.items()
        if value is not None
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def install(path: Path, *words: str, password: str | None = "x") -> subprocess.CompletedProcess[str]:
    """Run `csproxy install --answers` to its end."""
    return tool("install", "--answers", str(path), *words, password=password)


def application(site: Site, name: str = "CSProxy_1") -> CfgApplication:
    """The Application object at the master."""
    with _client(site) as client:
        return client.get(CfgApplication, name=name)


def change(site: Site, name: str = "CSProxy_1", **attributes: Any) -> None:
    """Change attributes of the Application object."""
    with _client(site) as client:
        before = client.get(CfgApplication, name=name)
        client.update(before, msgspec.structs.replace(before, **attributes))


def release(site: Site, name: str = "CSProxy_1") -> None:
    """Leave the Application's paths to the installer again."""
    change(site, name, workDirectory=".", commandLine=".", commandLineArguments="")


def _client(site: Site) -> ConfigClient:
    return ConfigClient("127.0.0.1", site.port, user="default", password=PASSWORD)


def unit_of(directory: Path) -> Path:
    """The one unit of an installation."""
    (found,) = directory.glob("*.service")
    return found
