"""The wheel and the source distribution: the same bytes each time, and enough to install and run."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import csproxy

ROOT = Path(__file__).parents[2]
VERSION = csproxy.__version__
SMOKE = """
import csproxy, sys
from csproxy import ConfigClient, ConfigurationServer, Listener, NearCache
from csproxy.sync import ConfigClient as Blocking
assert "site-packages" in csproxy.__file__, csproxy.__file__
assert not {"sqlalchemy", "pydantic_settings"} & set(sys.modules)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*words: str | Path, cwd: Path | None = None) -> str:
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(folder: Path) -> dict[str, Path]:
    """Build both from the files of this checkout."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return built(tmp_path_factory.mktemp("first"))


def test_a_second_build_has_the_same_bytes(distributions: dict[str, Path], tmp_path: Path) -> None:
    again = built(tmp_path)
    assert sorted(again) == [f"csproxy-{VERSION}-py3-none-any.whl", f"csproxy-{VERSION}.tar.gz"]
    for name, path in distributions.items():
        digests = [hashlib.sha256(each.read_bytes()).hexdigest() for each in (path, again[name])]
        assert digests[0] == digests[1], name


def test_the_how_tos_name_the_wheel_as_it_is_built(distributions: dict[str, Path]) -> None:
    pages = (path.read_text("utf-8") for path in (ROOT / "docs").glob("howto/*.md"))
    named = {name for page in pages for name in re.findall(r"csproxy-[0-9].*?\.whl", page)}
    assert named == {name for name in distributions if name.endswith(".whl")}


def test_what_is_in_them(distributions: dict[str, Path]) -> None:
    wheel = zipfile.ZipFile(distributions[f"csproxy-{VERSION}-py3-none-any.whl"]).namelist()
    assert "csproxy/py.typed" in wheel
    pages = {"man1/csproxy.1", "man1/confserv.1", "man5/confserv.conf.5"}
    assert {f"csproxy-{VERSION}.data/data/share/man/{page}" for page in pages} <= set(wheel)
    assert not [name for name in wheel if not name.startswith(("csproxy/", f"csproxy-{VERSION}."))]
    with tarfile.open(distributions[f"csproxy-{VERSION}.tar.gz"]) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {
        "csproxy/__init__.py",
        "docs/tutorial.md",
        "examples/near_cache.py",
        "tests/conftest.py",
        "LICENSE",
    } <= names
    assert {"packaging/Dockerfile", "packaging/man/confserv.conf.5", "packaging/systemd/confserv.service"} <= names
    assert not [name for name in [*names, *wheel] if "__pycache__" in name or name.startswith((".venv", "docs/_build"))]


def test_the_wheel_runs_in_a_clean_environment(distributions: dict[str, Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    programs = tmp_path / "venv" / "bin"
    wheel = distributions[f"csproxy-{VERSION}-py3-none-any.whl"]
    run(programs / "pip", "install", "--quiet", f"{wheel}[daemon]")
    run(programs / "python", "-c", SMOKE, cwd=tmp_path)
    assert run(programs / "csproxy", "--version", cwd=tmp_path) == f"csproxy {VERSION}\n"
    assert run(programs / "confserv", "-V", cwd=tmp_path) == f"confserv (csproxy) {VERSION}\n"
    assert (tmp_path / "venv" / "share" / "man" / "man1" / "confserv.1").is_file()
    run(programs / "csproxy", "demo", cwd=tmp_path)


def test_the_source_distribution_makes_the_same_wheel(distributions: dict[str, Path], tmp_path: Path) -> None:
    run("tar", "-xzf", distributions[f"csproxy-{VERSION}.tar.gz"], "-C", tmp_path)
    made = tmp_path / "made"
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", made, tmp_path / f"csproxy-{VERSION}")
    (wheel,) = made.iterdir()
    assert wheel.read_bytes() == distributions[wheel.name].read_bytes()
