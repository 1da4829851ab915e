"""`csproxy install` at a terminal: a person types, makes mistakes, and changes their mind."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.dying_files import content
from tests.daemon.install_site import FILES, application, install, release, unit_of
from tests.daemon.servers import Site, tool
from tests.daemon.typing_terminal import Terminal

pytestmark = pytest.mark.slow

MINE = sorted([*FILES, "csproxy-CSProxy_2.service"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), proxies=("CSProxy_1", "CSProxy_2"))
    with site.master():
        yield site


@pytest.fixture
def target(site: Site, tmp_path: Path) -> Path:
    for name in ("CSProxy_1", "CSProxy_2"):
        release(site, name)
    return tmp_path / "a proxy"


def reach_master(terminal: Terminal, site: Site) -> None:
    """The first questions, answered rightly."""
    terminal.answers("Host object of this machine [", "localhost")
    terminal.answers("Host of the master Configuration Server: ", "127.0.0.1")
    terminal.answers("Its port [2020]: ", str(site.port))
    terminal.answers("User name [default]: ", "")
    terminal.answers("Password: ", "x")


def choose(terminal: Terminal, target: Path) -> None:
    """The second proxy, and where it goes."""
    terminal.shows("  1  CSProxy_1")
    terminal.shows("  2  CSProxy_2")
    terminal.answers("Number: ", "2")
    terminal.answers("Password of that Application", "")
    terminal.answers("Destination directory [", str(target))


def finish(terminal: Terminal) -> None:
    """The last questions, with Enter."""
    terminal.answers("Licence file or server", "")
    terminal.answers("User that the service runs as [", "")
    assert terminal.ends() == 0, terminal.text


def test_a_person_installs_with_mistakes_on_the_way(site: Site, target: Path, tmp_path: Path) -> None:
    kept = tmp_path / "answers.toml"
    with Terminal("install", "--write-answers", str(kept)) as terminal:
        terminal.answers("Host object of this machine [", "elsewhere")
        terminal.answers("Host of the master Configuration Server: ", "127.0.0.1")
        terminal.shows("Its port [2020]: ")
        terminal.types("x")
        terminal.shows("a port, 1 to 65535, is valid")  # while typing
        terminal.types(f"\x7f{site.port}\r")
        terminal.answers("User name [default]: ", "")
        terminal.answers("Password: ", "hush-Qz7")
        terminal.shows("user name or password is wrong")
        terminal.answers("Host of the master Configuration Server [127.0.0.1]: ", "")
        terminal.answers(f"Its port [{site.port}]: ", "")
        terminal.answers("User name [default]: ", "")
        terminal.answers("Password: ", "x")
        terminal.shows("there is no Host 'elsewhere' in the configuration; it has localhost")
        terminal.answers("Number", "1")
        choose(terminal, target)
        finish(terminal)
        assert "hush-Qz7" not in terminal.text
        assert f"systemctl enable --now '{unit_of(target)}'" in terminal.text
    assert sorted(content(target)) == MINE
    assert application(site, "CSProxy_2").workDirectory == str(target)
    assert application(site, "CSProxy_1").workDirectory == "."
    found = tomllib.loads(kept.read_text())
    assert found["application"] == "CSProxy_2"
    assert found["master-port"] == site.port
    assert not found.keys() & {"password", "app-password", "licence"}
    # for the next machine, or the same one once more
    assert tool("uninstall", str(target), "--yes").returncode == 0
    done = install(kept)
    assert done.returncode == 0, done.stderr
    assert sorted(content(target)) == MINE


def test_a_person_may_say_no_and_choose_again(site: Site, target: Path, tmp_path: Path) -> None:
    target.mkdir()
    (target / "old").write_text("old")
    kept = tmp_path / "answers.toml"
    with Terminal("install", "--write-answers", str(kept)) as terminal:
        reach_master(terminal, site)
        choose(terminal, target)
        terminal.shows("  1  back-up")
        terminal.shows("  2  overwrite")
        terminal.shows("  3  erase")
        terminal.answers("Number: ", "3")
        terminal.answers("Are you sure (y/n): ", "n")
        terminal.shows("nothing was changed")
        terminal.answers("Number: ", "2")
        terminal.answers("Are you sure (y/n): ", "n")
        terminal.answers("Number: ", "1")
        terminal.shows("Path to which all of them are moved: ")
        terminal.types(str(target / "x"))
        terminal.shows(f"a path outside {target} is valid")
        terminal.types("\x15" + str(tmp_path / "saved") + "\r")
        finish(terminal)
    assert content(tmp_path / "saved") == {"old": b"old"}
    assert not tomllib.loads(kept.read_text()).keys() & {"existing", "back-up-to", "confirm"}
    assert sorted(content(target)) == MINE


@pytest.mark.parametrize(("number", "stays"), [("2", True), ("3", False)])
def test_a_person_overwrites_or_erases(site: Site, target: Path, number: str, stays: bool) -> None:
    target.mkdir()
    (target / "old").write_text("old")
    with Terminal("install") as terminal:
        reach_master(terminal, site)
        choose(terminal, target)
        terminal.answers("Number: ", number)
        terminal.answers("Are you sure (y/n): ", "y")
        finish(terminal)
    assert sorted(content(target)) == sorted([*MINE, *(["old"] if stays else [])])


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_ctrl_c_and_the_end_of_input_end_it_before_anything_is_changed(site: Site, target: Path, key: str) -> None:
    with Terminal("install") as terminal:
        reach_master(terminal, site)
        choose(terminal, target)
        terminal.shows("Licence file or server")
        terminal.types(key)
        assert terminal.ends() == 130
    assert not target.exists()
    assert application(site, "CSProxy_2").workDirectory == "."


def test_what_flags_say_is_not_asked_until_it_does_not_work(site: Site, target: Path) -> None:
    with Terminal("install", "--host", "127.0.0.1", "--port", "1", "--user", "default") as terminal:
        terminal.answers("Host object of this machine [", "localhost")
        terminal.answers("Password: ", "x")
        terminal.shows("cannot connect to 127.0.0.1:1")
        terminal.answers("Host of the master Configuration Server: ", "127.0.0.1")
        terminal.answers("Its port [2020]: ", str(site.port))
        terminal.answers("User name [default]: ", "")
        terminal.answers("Password: ", "x")
        choose(terminal, target)
        finish(terminal)


def test_uninstall_asks(site: Site, target: Path) -> None:
    with Terminal("install") as terminal:
        reach_master(terminal, site)
        choose(terminal, target)
        finish(terminal)
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o750
    for reply, status in (("n", 1), ("y", 0)):
        with Terminal("uninstall", str(target)) as terminal:
            terminal.answers(f"Password of default@127.0.0.1:{site.port}: ", "x")
            terminal.shows("  run.sh")
            terminal.answers("Uninstall it (y/n): ", reply)
            assert terminal.ends() == status, terminal.text
        assert target.exists() is (reply == "n")
