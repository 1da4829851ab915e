"""An installation that is broken off at any step leaves nothing half done; real files, injected faults, kill -9."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from csproxy.daemon.install_transaction import (
    Existing,
    Installation,
    NewFile,
    Recovery,
    install_files,
    recover,
    staging_folders,
)
from csproxy.errors import ConfigurationError
from tests.daemon.dying_files import DyingFiles, Killed, content

FILES = [NewFile("manifest", b'{"a": 1}'), NewFile("run.sh", b"#!/bin/sh\n" * 20, 0o750)]
NEW = {file.name: file.data for file in FILES}
OLD = {"keep.log": b"log", "run.sh": b"old", "sub": None, "sub/deep": b"deep"}
pytestmark = pytest.mark.slow

KINDS = ["none", "empty", "overwrite", "erase", "back-up", "back-up far"]


@pytest.fixture
def near() -> Iterator[Path]:
    """A folder in memory, where fsync takes no time."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """A folder of another file system."""
    return tmp_path


class World:
    """A folder with an old installation in it, and what is to be done with it."""

    def __init__(self, folder: Path, far: Path, kind: str) -> None:
        self.folder = folder
        self.far = far
        self.directory = folder / "a b" / "proxy"
        self.back_up_to = {"back-up": folder / "saved", "back-up far": far / "saved"}.get(kind)
        existing = {"empty": "overwrite", "back-up far": "back-up"}.get(kind, kind)
        if kind != "none":
            self.directory.mkdir(parents=True)
        if kind not in ("none", "empty"):
            (self.directory / "sub").mkdir()
            for name, data in OLD.items():
                if data is not None:
                    (self.directory / name).write_bytes(data)
        self.installation = Installation(self.directory, FILES, Existing(existing), self.back_up_to)
        self.before = self.content()

    def content(self) -> dict[str, bytes | None]:
        return {
            f"{place.name}/{name}": data for place in (self.folder, self.far) for name, data in content(place).items()
        }

    def expected(self) -> dict[str, bytes | None]:
        """Everything that is there after the installation."""
        found = dict(self.before)
        own = f"{self.folder.name}/a b/proxy"
        if self.installation.existing in (Existing.ERASE, Existing.BACK_UP):
            found = {name: data for name, data in found.items() if not name.startswith(f"{own}/")}
        if self.back_up_to is not None:
            saved = f"{self.back_up_to.parent.name}/saved"
            found |= {saved: None} | {f"{saved}/{name}": data for name, data in OLD.items()}
        found |= {f"{self.folder.name}/a b": None, own: None}
        return found | {f"{own}/{name}": data for name, data in NEW.items()}


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, near: Path, far: Path) -> World:
    return World(near, far, request.param)


def steps(kind: str) -> int:
    """How many operations an installation of this kind has."""
    counting = DyingFiles()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as near, tempfile.TemporaryDirectory() as far:
        install_files(World(Path(near), Path(far), kind).installation, counting)
    return counting.count


def each_step(kind: str, near: Path, far: Path) -> Iterator[tuple[int, World]]:
    """A fresh world for each operation."""
    for at in range(steps(kind)):
        yield at, fresh(kind, near, far)


def fresh(kind: str, near: Path, far: Path) -> World:
    for place in (near / "a b", near / "saved", far / "saved"):
        shutil.rmtree(place, ignore_errors=True)
    assert content(near) == content(far) == {}
    return World(near, far, kind)


def test_an_installation_writes_its_files_and_nothing_else(world: World) -> None:
    install_files(world.installation, DyingFiles())
    assert world.content() == world.expected()
    assert (world.directory / "run.sh").stat().st_mode & 0o777 == 0o750
    assert recover(world.directory, DyingFiles()) == Recovery()


@pytest.mark.parametrize("fault", ["killed", "half-written"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_is_killed_leaves_what_the_next_run_completes_or_removes(
    near: Path, far: Path, kind: str, fault: str
) -> None:
    for at, world in each_step(kind, near, far):
        with pytest.raises(Killed):
            install_files(world.installation, DyingFiles(fault, at))
        is_committed = any((folder / "commit").exists() for folder in staging_folders(world.directory))
        is_done = set(NEW.items()) <= set(content(world.directory).items())
        if not is_committed and not is_done:
            # nothing that is in use was touched
            assert world.before.items() <= world.content().items(), at
        found = recover(world.directory, DyingFiles())
        assert recover(world.directory, DyingFiles()) == Recovery()
        if is_committed or is_done:
            assert world.content() == world.expected(), at
            assert found.completed in (world.installation.existing, None), at
        else:
            assert without_parent(world.content()) == without_parent(world.before), at
            assert found.completed is None


def without_parent(found: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """A new parent folder may stay behind when the process is killed."""
    return {name: data for name, data in found.items() if not name.endswith("/a b")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_recovery_that_is_killed_is_taken_up_by_the_next_one(near: Path, far: Path, kind: str) -> None:
    last = steps(kind) - 1
    for first in range(last):
        for second in range(last):
            world = fresh(kind, near, far)
            with pytest.raises(Killed):
                install_files(world.installation, DyingFiles("killed", first))
            try:
                recover(world.directory, DyingFiles("killed", second))
            except Killed:
                recover(world.directory, DyingFiles())
                after = world.content()
                assert after == world.expected() or without_parent(after) == without_parent(world.before)
            else:
                break


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_everything_as_it_was_or_says_that_the_next_run_completes_it(
    near: Path, far: Path, kind: str
) -> None:
    for at, world in each_step(kind, near, far):
        with pytest.raises(ConfigurationError) as caught:
            install_files(world.installation, DyingFiles("full", at))
        assert "No space left on device" in str(caught.value)
        if "nothing was changed" in str(caught.value):
            assert world.content() == world.before, at
        else:
            assert "csproxy install completes it when it is called again" in str(caught.value)
            recover(world.directory, DyingFiles())
            assert world.content() == world.expected(), at


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_leaves_everything_as_it_was_or_waits_for_the_end(near: Path, far: Path, kind: str) -> None:
    for at, world in each_step(kind, near, far):
        with pytest.raises(KeyboardInterrupt):
            install_files(world.installation, DyingFiles("interrupted", at))
        assert world.content() in (world.before, world.expected()), at
        assert not any(folder.exists() for folder in staging_folders(world.directory)), at


@pytest.mark.parametrize("fault", ["impatient", "full, then killed"])
@pytest.mark.parametrize("kind", KINDS)
def test_taking_back_and_finishing_may_be_broken_off_too(near: Path, far: Path, kind: str, fault: str) -> None:
    for at, world in each_step(kind, near, far):
        with pytest.raises((KeyboardInterrupt, Killed, ConfigurationError)):
            install_files(world.installation, DyingFiles(fault, at))
        recover(world.directory, DyingFiles())
        after = world.content()
        assert after == world.expected() or without_parent(after) == without_parent(world.before), at


@pytest.mark.parametrize("kind", ["none", "overwrite", "back-up"])
def test_a_real_kill_at_every_third_step(near: Path, far: Path, kind: str) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from csproxy.daemon.install_transaction import install_files\n"
        "from tests.daemon.dying_files import DyingFiles\n"
        "from tests.daemon.test_install_transaction import World\n"
        "near, far, kind, at = sys.argv[1:]\n"
        "install_files(World(Path(near), Path(far), kind).installation, DyingFiles('sigkill', int(at)))\n"
    )
    for at in range(0, steps(kind), 3):
        place = near / str(at)
        place.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", code, str(place), str(far), kind, str(at)], cwd=Path(__file__).parents[2], timeout=60
        )
        assert done.returncode == -signal.SIGKILL
        twin = near / f"twin{at}"
        twin.mkdir()
        World(twin, far, kind)
        recover(place / "a b" / "proxy", DyingFiles())
        found = content(place)
        if found.get("a b/proxy/manifest") is None:
            found.pop("a b", None)
            assert found.items() == {name: data for name, data in content(twin).items() if name != "a b"}.items()
        else:
            assert found["a b/proxy/run.sh"] == NEW["run.sh"]
            assert (found.get("saved/keep.log") == b"log") is (kind == "back-up")
        assert not any("csproxy-" in name for name in found)


def test_a_folder_that_another_run_works_in_is_left_alone(tmp_path: Path) -> None:
    import fcntl
    import os

    beside, _ = staging_folders(tmp_path / "p")
    beside.mkdir()
    with pytest.raises(ConfigurationError, match="another installation into"):
        install_files(Installation(tmp_path / "p", FILES, Existing.NONE), DyingFiles())
    lock = os.open(beside, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(ConfigurationError, match="is under way"):
        recover(tmp_path / "p", DyingFiles())
    os.close(lock)
    assert recover(tmp_path / "p", DyingFiles()) == Recovery(removed=True)


def test_a_folder_where_a_file_must_go_and_a_mount_point_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "p" / "run.sh").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"run\.sh is a folder"):
        install_files(Installation(tmp_path / "p", FILES, Existing.OVERWRITE), DyingFiles())
    with pytest.raises(ConfigurationError, match="/dev/shm is a mount point"):
        install_files(Installation(Path("/dev/shm"), FILES, Existing.ERASE), DyingFiles())
    assert content(tmp_path) == {"p": None, "p/run.sh": None}


def test_a_folder_that_cannot_be_moved_away_stays_as_it_is(tmp_path: Path) -> None:
    """Renaming into a folder of its own is refused by the kernel whoever asks."""
    world = World(tmp_path, tmp_path, "erase")
    inner = world.directory / "saved"
    with pytest.raises(ConfigurationError, match="cannot be replaced: Invalid argument; nothing was changed"):
        install_files(world.installation._replace(existing=Existing.BACK_UP, back_up_to=inner), DyingFiles())
    assert world.content() == world.before
