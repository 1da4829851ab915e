"""`csproxy uninstall`: what it takes away, what it keeps, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.dying_files import content
from tests.daemon.install_site import answers, application, change, install, release
from tests.daemon.servers import Running, Site, tool

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    with site.master():
        yield site


@pytest.fixture
def installed(site: Site, tmp_path: Path) -> Path:
    """A new installation."""
    release(site)
    directory = tmp_path / "proxy"
    done = install(answers(site, tmp_path / "a.toml", directory=str(directory)))
    assert done.returncode == 0, done.stderr
    return directory


def test_an_unchanged_installation_is_taken_away_and_the_application_set_back(site: Site, installed: Path) -> None:
    done = tool("uninstall", str(installed), "--yes")
    assert done.returncode == 0, done.stderr
    assert not installed.exists()
    now = application(site)
    assert (now.workDirectory, now.commandLine, now.commandLineArguments) == (".", ".", "")
    assert (
        "Set back at Application 'CSProxy_1': Working Directory, Command Line, Command Line Arguments." in done.stdout
    )


def test_changed_and_foreign_files_stay_unless_everything_is_erased(site: Site, installed: Path) -> None:
    with (installed / "confserv.conf").open("a") as file:
        file.write("# mine\n")
    (installed / "logs").mkdir()
    (installed / "logs" / "a.log").write_text("log")
    done = tool("uninstall", str(installed), "--yes")
    assert done.returncode == 0, done.stderr
    assert sorted(content(installed)) == ["confserv.conf", "logs", "logs/a.log"]
    assert "kept: confserv.conf (changed since the installation)" in done.stdout
    assert "kept: logs (not of the installation)" in done.stdout
    again = tool("uninstall", str(installed), "--yes")
    assert (again.returncode, "holds no installation" in again.stderr) == (1, True)


def test_everything_is_erased_on_request(site: Site, installed: Path) -> None:
    (installed / "logs").mkdir()
    (installed / "logs" / "a.log").write_text("log")
    assert tool("uninstall", str(installed), "--yes", "--erase").returncode == 0
    assert not installed.exists()


def test_paths_that_somebody_has_changed_since_stay(site: Site, installed: Path) -> None:
    change(site, commandLine="/mine")
    assert tool("uninstall", str(installed), "--yes").returncode == 0
    now = application(site)
    assert (now.workDirectory, now.commandLine) == (".", "/mine")


def test_the_master_is_left_alone_on_request_and_needs_no_password_then(site: Site, installed: Path) -> None:
    done = tool("uninstall", str(installed), "--yes", password=None)
    assert (done.returncode, "--no-master leaves the Application object as it is" in done.stderr) == (2, True)
    done = tool("uninstall", str(installed), "--yes", "--no-master", password=None)
    assert done.returncode == 0, done.stderr
    assert application(site).workDirectory == str(installed)


def test_a_wrong_password_removes_nothing(site: Site, installed: Path) -> None:
    before = content(installed)
    done = tool("uninstall", str(installed), "--yes", password="wrong")
    assert (done.returncode, "nothing was removed" in done.stderr) == (1, True)
    assert content(installed) == before


def test_a_running_proxy_is_not_uninstalled(site: Site, installed: Path) -> None:
    with Running("confserv", cwd=installed, program=("sh", "run.sh")) as proxy:
        proxy.line(containing="ready on")
        done = tool("uninstall", str(installed), "--yes")
    assert (done.returncode, f"a proxy is running in {installed}" in done.stderr) == (1, True)
    assert (installed / "run.sh").exists()


def test_without_a_terminal_it_wants_to_be_told_that_it_may(installed: Path) -> None:
    done = tool("uninstall", str(installed))
    assert (done.returncode, "--yes uninstalls without asking" in done.stderr) == (2, True)
    assert (installed / "run.sh").exists()


def test_a_folder_without_an_installation_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = tool("uninstall", str(tmp_path), "--yes", "--erase")
    assert (done.returncode, "holds no installation" in done.stderr) == (1, True)
    assert (tmp_path / "mine").exists()


def test_the_root_is_no_installation() -> None:
    done = tool("uninstall", "/", "--yes")
    assert (done.returncode, "/ is no directory of an installation" in done.stderr) == (2, True)


def test_a_master_that_is_away_is_said_and_the_files_go(tmp_path: Path) -> None:
    site = Site(tmp_path)
    directory = tmp_path / "proxy"
    with site.master():
        assert install(answers(site, tmp_path / "a.toml", directory=str(directory))).returncode == 0
    done = tool("uninstall", str(directory), "--yes")
    assert done.returncode == 0, done.stderr
    assert "warning: Application 'CSProxy_1' was not changed: cannot connect to" in done.stderr
    assert not directory.exists()
