"""`csproxy install --answers`: real masters, real files, and the proxies that the written scripts start."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from csproxy.core.model.enumerations import CfgHAType
from csproxy.daemon.install_transaction import Existing, Installation, NewFile, install_files, staging_folders
from tests.daemon.dying_files import DyingFiles, Killed, content
from tests.daemon.install_site import FILES, answers, application, change, install, release, unit_of
from tests.daemon.servers import Running, Site, answer, tool
from tests.daemon.tls_site import TlsSite

pytestmark = pytest.mark.slow

ODD = "Ünï $x 'q' \"d\" %n & ^"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A master with two proxies to install."""
    site = Site(tmp_path_factory.mktemp("site"), proxies=("CSProxy_1", ODD))
    with site.master():
        yield site


@pytest.fixture
def target(tmp_path: Path, site: Site) -> Path:
    """Where to install; the Applications' paths are left to the installer."""
    for name in ("CSProxy_1", ODD):
        release(site, name)
    return tmp_path / "new" / "a proxy"


def started(directory: Path, *words: str) -> Running:
    """The proxy that run.sh starts, ready."""
    running = Running("confserv", *words, cwd=Path("/"), program=("sh", str(directory / "run.sh")))
    try:
        running.line(containing="ready on")
    except BaseException:
        running.kill()
        raise
    return running


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_installation_is_complete_checked_and_starts_a_proxy(site: Site, target: Path, tmp_path: Path) -> None:
    done = install(answers(site, tmp_path / "a.toml", directory=str(target), licence="7260@host x"))
    assert (done.returncode, "accepts Application 'CSProxy_1'" in done.stdout) == (0, True), done.stderr
    assert sorted(content(target)) == sorted([*FILES, "csproxy-CSProxy_1.service"])
    assert [mode(target / name) for name in ("run.sh", "confserv.conf")] == [0o750, 0o640]
    now = application(site)
    assert now.workDirectory == str(target)
    assert now.commandLine.endswith("/confserv")
    assert now.commandLineArguments == (
        f"-host 127.0.0.1 -port {site.port} -app CSProxy_1 -c confserv.conf -l '7260@host x'"
    )
    assert "Working Directory: " in done.stdout
    assert f"sh '{target}/run.sh'" in done.stdout
    assert f"systemctl enable --now '{target}/csproxy-CSProxy_1.service'" in done.stdout
    port = site.proxy_ports["CSProxy_1"]
    assert f"csproxy status --port {port} --wait 60" in done.stdout
    with started(target, "-log-verbose", "all") as proxy:
        assert answer("status", port=port)["name"] == "CSProxy_1"
        assert any(" Trc " in line for line in proxy.seen), proxy.seen
        words = ["-host", "127.0.0.1", "-port", str(site.port), "-app", "CSProxy_1", "-c", "confserv.conf"]
        assert arguments_of(proxy)[-12:] == [*words, "-l", "7260@host x", "-log-verbose", "all"]


def arguments_of(running: Running) -> list[str]:
    raw = Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
    return raw.decode().split("\0")[:-1]


def test_names_and_folders_with_all_kinds_of_characters_stay_what_they_are(
    site: Site, target: Path, tmp_path: Path
) -> None:
    odd = target.with_name('it\'s $HOME % "q" & é')
    done = install(answers(site, tmp_path / "a.toml", application=ODD, directory=str(odd)))
    assert done.returncode == 0, done.stderr
    with started(odd) as proxy:
        words = arguments_of(proxy)
        assert words[words.index("-app") + 1] == ODD
        assert Path(f"/proc/{proxy.process.pid}/cwd").resolve() == odd
        assert answer("status", port=site.proxy_ports[ODD])["name"] == ODD
        again = install(
            answers(site, tmp_path / "a.toml", application=ODD, directory=str(odd), existing="overwrite", confirm="y")
        )
        assert again.returncode == 0, again.stderr
        assert "is connected already: a proxy runs as it now" in again.stdout
        assert "is as it was" in again.stdout
    verify(unit_of(odd), tmp_path)


def verify(unit: Path, folder: Path) -> None:
    """systemd finds nothing wrong, and no more open than the packaged units are."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    # root, and the temporary folder that this installation is in
    assert float(found[1]) <= 3.0


def test_systemd_understands_the_unit_and_reads_from_it_what_was_meant(
    site: Site, target: Path, tmp_path: Path
) -> None:
    assert install(answers(site, tmp_path / "a.toml", directory=str(target), run_as="bin")).returncode == 0
    unit = unit_of(target)
    verify(unit, tmp_path)
    assert f"WorkingDirectory={target}\n" in unit.read_text()
    assert "\nUser=bin\n" in unit.read_text()
    if os.geteuid() == 0:
        assert {path.stat().st_uid for path in [target, *target.iterdir()]} != {0}
    wrong = unit.with_name("wrong.service")
    wrong.write_text(unit.read_text().replace("ReadWritePaths=", "ReadWritePaths=relative "))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(wrong)], capture_output=True, text=True, timeout=60
    )
    assert "relative" in done.stderr


# what is there already


def fill(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "old.log").write_text("old")
    (directory / "run.sh").write_text("old")


def test_everything_is_backed_up(site: Site, target: Path, tmp_path: Path) -> None:
    fill(target)
    saved = tmp_path / "saved"
    path = answers(site, tmp_path / "a.toml", directory=str(target), existing="back-up", back_up_to=str(saved))
    done = install(path)
    assert done.returncode == 0, done.stderr
    assert content(saved) == {"old.log": b"old", "run.sh": b"old"}
    assert sorted(content(target)) == sorted([*FILES, "csproxy-CSProxy_1.service"])
    assert f"Moved what was in {target} to {saved}." in done.stdout
    again = install(path)
    assert (again.returncode, f"a path that is not there yet is valid; {saved} is there" in again.stderr) == (1, True)


def test_only_the_files_of_the_installation_are_overwritten(site: Site, target: Path, tmp_path: Path) -> None:
    fill(target)
    path = answers(site, tmp_path / "a.toml", directory=str(target), existing="overwrite", confirm="y")
    assert install(path).returncode == 0
    assert (target / "old.log").read_text() == "old"
    assert (target / "run.sh").read_text().startswith("#!/bin/sh\n")


def test_an_erased_folder_has_the_installation_and_nothing_else(site: Site, target: Path, tmp_path: Path) -> None:
    fill(target)
    path = answers(site, tmp_path / "a.toml", directory=str(target), existing="erase", confirm="y")
    assert install(path).returncode == 0
    assert sorted(content(target)) == sorted([*FILES, "csproxy-CSProxy_1.service"])
    assert [each.name for each in target.parent.iterdir()] == [target.name]


def test_an_empty_folder_is_no_question(site: Site, target: Path, tmp_path: Path) -> None:
    target.mkdir(parents=True)
    target.chmod(0o700)
    assert install(answers(site, tmp_path / "a.toml", directory=str(target))).returncode == 0
    assert mode(target) == 0o700


@pytest.mark.parametrize("way", ["back-up", "erase"])
def test_a_folder_that_a_proxy_runs_in_is_not_moved(site: Site, target: Path, tmp_path: Path, way: str) -> None:
    assert install(answers(site, tmp_path / "a.toml", directory=str(target))).returncode == 0
    with started(target):
        before = sorted(content(target))
        path = answers(
            site,
            tmp_path / "a.toml",
            directory=str(target),
            existing=way,
            **({"back_up_to": str(tmp_path / "s")} if way == "back-up" else {"confirm": "y"}),
        )
        done = install(path)
        assert done.returncode == 1
        assert f"a proxy is running in {target} (process " in done.stderr
        assert set(before) <= set(content(target))


def test_a_broken_off_installation_is_completed_or_removed_by_the_next_run(
    site: Site, target: Path, tmp_path: Path
) -> None:
    files = [NewFile("run.sh", b"half")]
    path = answers(site, tmp_path / "a.toml", directory=str(target), existing="erase", confirm="y")
    with pytest.raises(Killed):
        install_files(Installation(target, files, Existing.NONE), DyingFiles("killed", 3))
    done = install(path)
    assert (done.returncode, "that was broken off had left was removed" in done.stderr) == (0, True)
    with pytest.raises(Killed):
        install_files(Installation(target, files, Existing.ERASE), DyingFiles("killed", 9))
    done = install(path)
    assert (done.returncode, "that was broken off has been completed first" in done.stderr) == (0, True), done.stderr
    assert not any(folder.exists() for folder in staging_folders(target))


def test_a_broken_off_installation_is_not_completed_under_a_running_proxy(
    site: Site, target: Path, tmp_path: Path
) -> None:
    path = answers(site, tmp_path / "a.toml", directory=str(target), existing="overwrite", confirm="y")
    assert install(path).returncode == 0
    with pytest.raises(Killed):
        install_files(Installation(target, [NewFile("run.sh", b"new")], Existing.ERASE), DyingFiles("killed", 8))
    assert (staging_folders(target)[0] / "commit").exists()
    with started(target):
        done = install(path)
        assert (done.returncode, "a proxy is running in" in done.stderr) == (1, True)
        assert (target / "csproxy-install.json").exists()
    assert install(path).returncode == 0


# the master


def test_paths_that_are_filled_in_already_are_left_alone(site: Site, target: Path, tmp_path: Path) -> None:
    change(site, workDirectory="/mine", commandLineArguments="-mine")
    before = application(site)
    # the directory of the object is the default: this one is given
    assert install(answers(site, tmp_path / "a.toml", directory=str(target))).returncode == 0
    now = application(site)
    assert now.workDirectory == "/mine"
    assert now.commandLineArguments == "-mine"
    assert before.commandLine == "."
    assert now.commandLine.endswith("/confserv")


def test_all_is_filled_in_with_one_update(site: Site, target: Path, tmp_path: Path) -> None:
    uen = answer("status", port=site.port)["uen"]
    assert install(answers(site, tmp_path / "a.toml", directory=str(target))).returncode == 0
    assert answer("status", port=site.port)["uen"] == uen + 1


def test_a_user_who_may_not_change_the_application_installs_all_the_same(
    site: Site, target: Path, tmp_path: Path
) -> None:
    person = {"tenantDBID": 1, "userName": "reader", "employeeID": "reader", "password": "r"}
    assert tool("create", "person", port=site.port, stdin=json.dumps(person)).returncode == 0
    done = install(
        answers(site, tmp_path / "a.toml", directory=str(target), user="reader", password="r"), password=None
    )
    assert done.returncode == 0, done.stderr
    assert "warning: Application 'CSProxy_1' was not changed: " in done.stderr
    assert "The installation stands; a user who may change it can set Working Directory" in done.stderr
    assert application(site).workDirectory == "."
    assert (target / "run.sh").exists()


def test_a_proxy_that_the_master_would_refuse_is_installed_and_the_reason_said(
    site: Site, target: Path, tmp_path: Path
) -> None:
    change(site, redundancyType=CfgHAType.CFGHTHotStanby)
    done = install(answers(site, tmp_path / "a.toml", directory=str(target)))
    change(site, redundancyType=CfgHAType.CFGHTNoHAType)
    assert done.returncode == 1
    assert "The installation stands, but the proxy would not start now: " in done.stderr
    assert "but must be 'Not Specified'" in done.stderr
    assert (target / "run.sh").exists()


def test_the_password_of_the_application_is_checked_and_kept_where_only_the_proxy_reads_it(
    site: Site, target: Path, tmp_path: Path
) -> None:
    change(site, password="of the proxy")
    path = answers(site, tmp_path / "a.toml", directory=str(target), app_password="of the proxy")
    done = install(path)
    assert done.returncode == 0, done.stderr
    assert mode(target / "confserv.conf") == 0o600
    everywhere = [name for name, data in content(target).items() if b"of the proxy" in (data or b"")]
    assert everywhere == ["confserv.conf"]
    with started(target):
        pass
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o644)
    path = answers(
        site, tmp_path / "a.toml", directory=str(target), app_password_file="secret", existing="overwrite", confirm="y"
    )
    done = install(path)
    answer("update", "application", str(application(site).DBID), "password=null", port=site.port)
    assert done.returncode == 1
    assert "the Application's password is wrong" in done.stderr
    assert f"{secret} holds a secret and has mode 0644" in done.stderr


def test_a_master_that_speaks_tls_only(tmp_path: Path) -> None:
    site = TlsSite(tmp_path)
    target = tmp_path / "proxy"
    with site.master():
        done = install(answers(site, tmp_path / "a.toml", directory=str(target)))
        assert done.returncode == 1
        assert "this port takes secure connections only" in done.stderr
        assert not target.exists()
        where = {"master_host": "localhost", "directory": str(target)}
        done = install(answers(site, tmp_path / "a.toml", **where, tls_ca=site.authority.path))
        assert done.returncode == 0, done.stderr
        with started(target):
            pass
        flags = ["--yes", "--erase"]
        assert tool("uninstall", str(target), *flags).returncode == 0
        assert (target.exists(), application_over_tls(site)["workDirectory"]) == (False, ".")
        done = install(answers(site, tmp_path / "a.toml", **where), *site.tls_flags)
        assert done.returncode == 0, done.stderr
        assert f"-transport-trusted-ca {site.authority.path}" in (target / "run.sh").read_text()


def application_over_tls(site: TlsSite) -> dict[str, object]:
    done = tool("read", "application", "name=CSProxy_1", "--output", "json", *site.tls_flags, port=site.port)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    plain: dict[str, object] = found
    return plain


# refusals


@pytest.mark.parametrize(
    ("given", "status", "sentence"),
    [
        ({"aplication": "x"}, 2, "there is no question 'aplication': did you mean application?"),
        ({"zzz": "x"}, 2, "there is no question 'zzz': valid are this-host, master-host"),
        ({"master_port": 70000}, 2, "master-port is '70000': a port, 1 to 65535, is valid"),
        ({"master_port": True}, 2, "master-port is True; a text in quotes is valid"),
        ({"master_host": 7}, 2, "master-host is 7; a text in quotes is valid"),
        ({"password": 7}, 2, "password; a text in quotes is valid"),
        ({"password": "x", "password_file": "f"}, 2, "password and password-file are both there"),
        ({"password_file": "gone"}, 2, "password-file: {folder}/gone cannot be read: No such file or directory"),
        ({"directory": "relative"}, 2, "directory is 'relative': a full path is valid"),
        ({"run_as": "no such user"}, 2, "run-as is 'no such user': a user of this machine is valid"),
        ({"existing": "burn"}, 2, "existing is 'burn': back-up, overwrite or erase is valid"),
        ({"tls_ca": "/gone.pem"}, 2, "tls-ca is '/gone.pem': the full path of a file is valid"),
        ({"master_host": None}, 1, "master-host is missing: host of the master Configuration Server"),
        ({"application": None}, 1, "application is missing: valid are CSProxy_1, "),
        ({"application": "confserv"}, 1, "application is 'confserv'; valid are CSProxy_1, "),
        ({"this_host": "elsewhere"}, 1, "there is no Host 'elsewhere' in the configuration; it has localhost"),
        ({"password": "hush-Qz7"}, 1, "user name or password is wrong"),
        ({"directory": "{folder}/a.toml"}, 1, "{folder}/a.toml is none"),
        ({"directory": "{folder}"}, 1, "existing is missing: valid are back-up, overwrite, erase"),
        ({"directory": "{folder}", "existing": "erase"}, 1, "confirm is missing: are you sure (y/n)"),
        ({"directory": "{folder}", "existing": "erase", "confirm": "n"}, 1, "confirm is n: nothing was changed"),
        ({"directory": "{folder}", "existing": "back-up"}, 1, "back-up-to is missing"),
        (
            {"directory": "{folder}", "existing": "back-up", "back_up_to": "{folder}/in"},
            1,
            "a path outside {folder} is valid",
        ),
        (
            {"directory": "{folder}", "existing": "back-up", "back_up_to": "/gone/by"},
            1,
            "a path in a folder that is there is valid; /gone is none",
        ),
        ({"directory": "/etc", "existing": "erase", "confirm": "y"}, 1, "it is neither backed up nor erased"),
        ({"directory": "/", "existing": "back-up", "back_up_to": "/x"}, 2, "directory is '/': a full path is valid"),
        ({"directory": "/usr/.."}, 1, "the path of a folder, or of one to be made, is valid"),
    ],
)
def test_a_wrong_answer_names_file_key_and_what_is_valid_and_changes_nothing(
    site: Site, target: Path, tmp_path: Path, given: dict[str, object], status: int, sentence: str
) -> None:
    texts = {
        name: value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value
        for name, value in given.items()
    }
    path = answers(site, tmp_path / "a.toml", **{"directory": str(target), **texts})
    before = content(tmp_path)
    done = install(path)
    assert done.returncode == status, done.stderr
    assert sentence.replace("{folder}", str(tmp_path)) in done.stderr
    assert "hush-Qz7" not in done.stderr
    assert content(tmp_path) == before
    assert application(site).workDirectory == "."


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"a = ", "is not TOML"), (b"a = '\xff'", "is not UTF-8 at byte 5"), (None, "cannot be read: No such file")],
)
def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path, data: bytes | None, sentence: str) -> None:
    if data is not None:
        (tmp_path / "a.toml").write_bytes(data)
    done = install(tmp_path / "a.toml")
    assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr


def test_without_a_terminal_and_without_answers_there_is_advice() -> None:
    done = tool("install")
    assert done.returncode == 2
    assert "no terminal to ask on: give the answers in a file with --answers FILE" in done.stderr


def test_a_proxy_is_no_master(site: Site, target: Path, tmp_path: Path) -> None:
    with site.proxy():
        path = answers(site, tmp_path / "a.toml", directory=str(target), master_port=site.proxy_ports["CSProxy_1"])
        done = install(path)
    assert done.returncode == 1
    assert "a proxy cannot follow another proxy; connect it to the Configuration Server itself" in done.stderr


def test_flags_come_before_the_file_and_the_file_before_the_environment(
    site: Site, target: Path, tmp_path: Path
) -> None:
    path = answers(site, tmp_path / "a.toml", directory=str(target), master_port=1, user="nobody", password="x")
    done = install(path, "--port", str(site.port), "--user", "default", password="wrong")
    assert done.returncode == 0, done.stderr
    path.chmod(0o644)
    done = install(path, "--port", str(site.port), "--user", "default", password="wrong")
    assert "existing is missing" in done.stderr
    assert f"warning: {path} holds a secret and has mode 0644" in done.stderr


def test_a_host_without_applications_is_said(site: Site, target: Path, tmp_path: Path) -> None:
    host = {"name": "bare", "IPaddress": "192.0.2.1", "type": 1, "LCAPort": "4999", "OSinfo": {"OStype": 7}}
    done = tool("create", "host", port=site.port, stdin=json.dumps(host))
    assert done.returncode == 0, done.stderr
    done = install(answers(site, tmp_path / "a.toml", directory=str(target), this_host="bare"))
    assert done.returncode == 1
    assert "other than the master itself, is configured for Host 'bare'" in done.stderr
