"""Typical mistakes of somebody who is new: each message names what, where, and what to do next."""

from __future__ import annotations

import http.server
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from csproxy.daemon.tool import main
from tests.daemon.servers import PASSWORD, Running, Site, tool
from tests.daemon.typing_terminal import Terminal
from tests.own_ports import free_ports

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A master that runs, and a proxy's Application that nobody uses."""
    site = Site(tmp_path_factory.mktemp("site"), proxies=("CSProxy_1",))
    with site.master():
        yield site


def proxy(site: Site, name: str, port: int | None = None) -> Running:
    return Running("confserv", "-host", "127.0.0.1", "-port", str(port or site.port), "-app", name, cwd=site.folder)


def test_a_wrong_password_names_user_server_and_where_it_came_from(site: Site, tmp_path: Path) -> None:
    by_environment = tool("status", port=site.port, password="wrong").stderr
    assert "user name or password is wrong; user 'default' (--user) with the password in CSPROXY_PASSWORD" in (
        by_environment
    )
    assert (
        f"was tried at 127.0.0.1:{site.port}; csproxy init has a generated password in DIR/password" in by_environment
    )
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    secret.chmod(0o600)
    assert f"with the password in {secret}" in tool("status", "--password-file", str(secret), port=site.port).stderr
    typed = tool("status", "--password-stdin", port=site.port, stdin="wrong\n").stderr
    assert "with the password on standard input" in typed


def test_advice_is_no_part_of_a_document(site: Site) -> None:
    done = tool("status", "--output", "json", port=site.port, password="wrong")
    assert '"user name or password is wrong"' in done.stdout
    assert "was tried at" not in done.stdout


def test_a_master_that_does_not_run_or_a_wrong_port() -> None:
    (port,) = free_ports(1)
    assert tool("status", port=port).stderr == (
        f"csproxy status: cannot connect to 127.0.0.1:{port}: Connection refused; is the server started (confserv), "
        "and are --host and --port, or CSPROXY_HOST and _PORT, right?\n"
    )


def test_the_port_of_something_else() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def handle(self) -> None:
            self.connection.recv(1)

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.handle_request)
        thread.start()
        said = tool("status", port=web.server_port).stderr
        thread.join()
    assert f"127.0.0.1:{web.server_port}" in said
    assert said.endswith("; is that the port of a Configuration Server (--port, CSPROXY_PORT)?\n")


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        said = tool("status", "--timeout", "0.2", port=port).stderr
    assert f"127.0.0.1:{port} did not answer" in said
    assert said.endswith("; is that the port of a Configuration Server (--port, CSPROXY_PORT)?\n")


def test_an_application_of_the_tool_that_is_not_there(site: Site) -> None:
    said = tool("status", "--app", "Nobody", port=site.port).stderr
    assert "no Application object named 'Nobody'; --app (CSPROXY_APP) takes an Application of type CFGSCE" in said


def test_the_how_to_that_is_named_makes_the_application(site: Site) -> None:
    text = (ROOT / "docs" / "howto" / "first-proxy.md").read_text("utf-8")
    (port,) = free_ports(1)
    object_ = text.split("<<'END'\n", 1)[1].split("END\n", 1)[0].replace("2021", str(port))
    assert "created CfgApplication" in tool("create", "application", port=site.port, stdin=object_).stdout
    with proxy(site, "Berlin") as started:
        assert f":{port} as proxy Berlin" in started.line(containing="ready on")


@pytest.mark.parametrize("name", ["NAME", "default", "confserv"])
def test_a_proxy_without_its_application_says_how_to_get_one(site: Site, name: str) -> None:
    with proxy(site, name) as refused:
        said = refused.line(containing=f"refused Application '{name}'")
        assert refused.process.wait(30) == 1
    command = "csproxy read application app_type=CFGConfigServer --host 127.0.0.1 --port"
    assert f"(error 7); {command} {site.port} shows which names -app can have" in said
    assert "docs/howto/first-proxy.md has the command that makes another one" in said
    words = shlex.split(command)[1:-1]
    assert "CSProxy_1" in tool(*words, port=site.port).stdout


def test_a_proxy_says_what_it_waits_for_and_advises_once(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    words = ("-host", "127.0.0.1", "-port", str(port), "-app", "CSProxy_1")
    with Running("confserv", *words, cwd=tmp_path) as waiting:
        waiting.line(containing=f"connecting to the master 127.0.0.1:{port} as Application 'CSProxy_1'")
        first = waiting.line(containing="04502")
        assert f"cannot connect to 127.0.0.1:{port}: Connection refused; trying again until it answers: is the" in first
        assert "trying again" not in waiting.line(containing="04502")


def test_a_port_in_use_says_how_to_find_who_has_it(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.proxy_ports["CSProxy_1"])), proxy(site, "CSProxy_1") as refused:
        said = refused.line(containing="cannot listen on")
        assert f"127.0.0.1:{site.proxy_ports['CSProxy_1']}: Address already in use" in said
        assert "ss -ltnp shows which program has one" in said
        assert refused.process.wait(30) == 1


def test_confserv_in_the_wrong_folder(tmp_path: Path) -> None:
    with Running("confserv", cwd=tmp_path) as refused:
        said = refused.line(containing="there is no confserv.conf in")
    assert f"in {tmp_path}; start confserv in its folder, name it with -c" in said


def test_init_without_proxy_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "d", "--password", PASSWORD]) == 0
    assert "csproxy init --proxy NAME=PORT makes one" in capsys.readouterr().out
    assert main(["init", "d", "--proxy", "A=2021"]) == 1
    assert "choose another folder, or remove this one" in capsys.readouterr().err
    assert main(["init", "e", "--proxy", "A=2021", "--password", PASSWORD]) == 0
    printed = capsys.readouterr().out
    assert "makes one" not in printed
    assert "in a folder of its own, where it keeps its local copy" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["read", "persn"], "there is no object type 'persn': did you mean person?"),
        (["read", "person", "is_agnt=true"], "no filter key 'is_agnt'; such as is_agent is valid"),
        (["read", "person", "Ada"], "'Ada' is not of the form key=value, such as "),
        (["update", "person", "100", "Ada"], "is not of the form attribute=value, such as state=CFGDisabled"),
        (["verify", "--master", "here"], "--master 'here' is not of the form HOST:PORT, such as 127.0.0.1:2020"),
        (
            ["create", "skill"],
            "standard input is not JSON: Expecting value: line 1 column 1 (char 0); csproxy read skill",
        ),
        (["reed"], "csproxy --help lists the commands"),
        ([], "required: COMMAND; csproxy --help lists the commands"),
        (["read", "person", "--limit", "2"], "arguments: --limit 2; csproxy COMMAND --help shows what a command takes"),
        (["read"], "required: TYPE; csproxy read --help shows what is valid"),
        (["init", "d", "--proxy", "A"], "'A' is not of the form NAME=PORT, such as CSProxy_1=2021"),
    ],
)
def test_a_wrong_word_gets_the_right_one(words: list[str], said: str) -> None:
    done = tool(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_command_that_reads_from_a_terminal_says_so(site: Site) -> None:
    with Terminal("create", "skill", "--port", str(site.port)) as terminal:
        terminal.shows("Password of default@127.0.0.1")
        terminal.types(f"{PASSWORD}\r")
        terminal.shows("type the CfgSkill as JSON, and end it with Ctrl-D")
    with Terminal("status", "--port", str(site.port), "--password-stdin") as terminal:
        terminal.shows("Password of default@127.0.0.1")
        terminal.types("geheim\r")
        terminal.shows("with the password that was typed")
        assert "geheim" not in terminal.text


def test_a_wait_is_told_at_a_terminal(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    words = ("status", "--port", str(port), "--wait", "60", "--password-file", str(secret))
    with Terminal(*words) as terminal:
        terminal.shows(f"waiting up to 60 s: cannot connect to 127.0.0.1:{port}: Connection refused")


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("version", ["Python 3.10.13", ""])
def test_an_old_python_or_none_says_how_to_name_another(tmp_path: Path, version: str) -> None:
    if version:
        stand_in(tmp_path, "python3.10", f'[ "$1" = --version ] && echo "{version}" || exit 1')
    done = subprocess.run(
        ["scripts/make_venv.sh", "python3.10", str(tmp_path / "venv")],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"csproxy needs Python 3.11 or later, and python3.10 is {version or 'not there'}.\n"
        "Name another one, such as: make demo PYTHON=python3.12\n"
    )
    assert not (tmp_path / "venv").exists()


def test_without_sudo_the_command_for_root_is_shown(tmp_path: Path) -> None:
    stand_in(tmp_path, "id", "echo 1000")
    stand_in(tmp_path, "dpkg-query", "exit 1")
    for name in ("bash", "dirname", "grep"):
        os.symlink(f"/usr/bin/{name}", tmp_path / name)
    done = subprocess.run(
        ["/bin/bash", "scripts/install_system_packages.sh", "python3-venv"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "there is no sudo here. Please run as root:\n    apt-get install python3-venv\n" in done.stderr
