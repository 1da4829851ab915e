"""Each program in examples/ runs against a real master."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.daemon.servers import PASSWORD, Running, Site, answer, tool
from tests.own_ports import free_ports

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("examples"), agents=100)
    with made.master():
        yield made


class Example:
    """A running example and what it prints."""

    def __init__(self, name: str, port: int = 0, *, words: Sequence[str] = (), password: str = PASSWORD) -> None:
        words = words or ("--port", str(port))
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(EXAMPLES / name), *words, *(("--password", password) if password else ())],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(EXAMPLES.parent)},
        )
        self.output = ""

    def __enter__(self) -> Example:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.communicate()

    def until(self, words: str) -> str:
        """Wait for a line with ``words``; returns it and all before it, and leaves what has come after it."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + DEADLINE_S
        while (at := self.output.find(words)) < 0 or (end := self.output.find("\n", at + len(words) - 1)) < 0:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert data, f"{words!r} did not come; there was:\n{self.output}"
            self.output += data.decode()
        seen, self.output = self.output[: end + 1], self.output[end + 1 :]
        return seen


class Fetched(NamedTuple):
    status: int
    etag: str
    body: Any


def fetch(port: int, path: str, *, etag: str = "") -> Fetched:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", path, headers={"if-none-match": etag} if etag else {})
        answer = connection.getresponse()
        return Fetched(answer.status, answer.headers.get("etag", ""), json.loads(answer.read() or b"null"))


def change(port: int, dbid: int, **values: str) -> None:
    assignments = [f"{name}={value}" for name, value in values.items()]
    done = tool("update", "person", str(dbid), *assignments, port=port)
    assert done.returncode == 0, done.stderr


def test_watch_persons_prints_every_change(site: Site) -> None:
    with Example("watch_persons.py", site.port) as example:
        example.until("100 of them agents")
        change(site.port, 101, firstName="Zoe")
        line = example.until("Zoe")
        assert "updated person 101 by default with default" in line


def test_near_cache_answers_from_memory_and_follows(site: Site) -> None:
    with Example("near_cache.py", site.port) as example:
        example.until("skills counted")
        change(site.port, 102, firstName="Yan")
        example.until("skills counted")


def test_a_client_lives_through_a_faulty_network(site: Site) -> None:
    with Example("faulty_network.py", site.port) as example:
        seen = example.until("times\n")
        assert [line.split(":")[0] for line in seen.splitlines() if ": read 'default'" in line] == [
            "cut",
            "slow",
            "deaf",
        ]
        assert "-- suspended" in seen


def test_a_program_survives_the_loss_of_a_site_and_returns(tmp_path: Path) -> None:
    site = Site(tmp_path, proxies=("CSProxy_1", "CSProxy_2"))
    here, there = (f"127.0.0.1:{port}" for port in site.proxy_ports.values())

    def create(name: str) -> str:
        done = tool("create", "skill", port=site.port, stdin=json.dumps({"tenantDBID": 1, "name": name, "state": 1}))
        assert done.returncode == 0, done.stderr
        return "skill "

    words = ("--preferred", here, "--backup", there, "--return-after", "1")
    with site.master(), site.proxy("CSProxy_2"), site.proxy("CSProxy_1") as preferred:
        example = Example("site_loss.py", words=words)
        with example:
            example.until(f"connected to {here}")
            example.until(create("first"))
            preferred.kill()
            assert "1 skills stay readable" in example.until(f"connected to {there}")
            example.until(create("second"))
            with site.proxy("CSProxy_1"):
                assert "suspended" not in example.until(f"connected to {here}")
                example.until(create("third"))


def test_a_migration_tells_first_what_it_would_do(site: Site) -> None:
    skills = answer("read", "skill", port=site.port)
    old = next(skill for skill in skills if answer("read", "person", f"skill_dbid={skill['DBID']}", port=site.port))
    new = next(skill for skill in skills if skill["tenantDBID"] == old["tenantDBID"] and skill != old)
    words = (old["name"], new["name"], "--port", str(site.port))
    before = answer("read", "person", f"skill_dbid={old['DBID']}", port=site.port)
    with Example("replace_skill.py", words=(*words, "--dry-run")) as example:
        assert example.until("would be changed").count("(dry run)") == len(before)
    assert answer("read", "person", f"skill_dbid={old['DBID']}", port=site.port) == before
    for count in (len(before), 0):
        with Example("replace_skill.py", words=words) as example:
            example.until(f"{count} agents changed")
    after = answer("read", "person", f"skill_dbid={new['DBID']}", port=site.port)
    assert {person["DBID"] for person in before} <= {person["DBID"] for person in after}
    for person in after:
        found = [level["skillDBID"] for level in person["agentInfo"]["skillLevels"]]
        assert found.count(new["DBID"]) == 1


def test_a_csv_file_follows_a_group(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "agents.csv"
    members = {"agentDBIDs": [103, 104], "groupInfo": {"tenantDBID": 1, "name": "Sales", "state": 1}}
    answer("create", "agent_group", port=site.port, stdin=json.dumps(members))
    (group,) = answer("read", "agent_group", "name=Sales", port=site.port)
    with Example("agents_csv.py", words=("Sales", str(file), "--port", str(site.port))) as example:
        example.until("2 agents in")
        change(site.port, 103, firstName="Xenia")
        example.until("2 agents in")
        assert file.read_text("utf-8").count("Xenia") == 1
        assert len(file.read_text("utf-8").splitlines()) == 3
        done = tool("delete", "agent_group", str(group["DBID"]), port=site.port)
        assert done.returncode == 0, done.stderr
        example.until("the group is gone")
    with Example("agents_csv.py", words=("Sales", str(file), "--port", str(site.port))) as example:
        example.until("there is no agent group 'Sales'")


def test_a_rest_bridge_answers_from_memory(site: Site) -> None:
    (port,) = free_ports(1)
    environment = os.environ | {"CSPROXY_PORT": str(site.port), "CSPROXY_PASSWORD": PASSWORD}
    words = ["hypercorn", "rest_bridge:app", "--bind", f"127.0.0.1:{port}"]
    environment["PYTHONPATH"] = f"{EXAMPLES.parent}:{EXAMPLES}"
    with subprocess.Popen([sys.executable, "-m", *words], env=environment, stderr=subprocess.PIPE, text=True) as bridge:
        try:
            assert bridge.stderr is not None
            assert any("Running on" in line for line in bridge.stderr)
            assert len(fetch(port, "/person?is_agent=true").body) == 100
            before = fetch(port, "/person/105")
            assert before.body["DBID"] == 105
            assert fetch(port, "/person/105", etag=before.etag).status == 304
            assert fetch(port, "/health").body["following"] is True
            change(site.port, 105, firstName="Wim")
            while fetch(port, "/person/105").body["firstName"] != "Wim":
                pass
            assert fetch(port, "/person/105", etag=before.etag).status == 200
            for path, status, text in (
                ("/person/999999", 404, "DBID 999999"),
                ("/person?nose=big", 400, "nose"),
                ("/nonsense", 400, "nonsense"),
                ("/switch", 503, "CfgSwitch"),
            ):
                wrong = fetch(port, path)
                assert wrong.status == status
                assert text in wrong.body["error"]
        finally:
            bridge.terminate()


def test_an_embedded_proxy_serves_and_knows_what_it_serves(tmp_path: Path) -> None:
    site = Site(tmp_path, agents=10)
    (name, port), *_ = site.proxy_ports.items()
    words = (name, "--master-port", str(site.port), "--port", str(port))
    with site.master(), Example("embedded_proxy.py", words=words, password="") as example:
        example.until(f"at port {port}")
        example.until("10 agents as of UEN")
        assert len(answer("read", "person", "is_agent=true", port=port)) == 10
        deleted = tool("delete", "person", "101", port=site.port)
        assert deleted.returncode == 0, deleted.stderr
        example.until("9 agents as of UEN")
        refused = tool("update", "person", "100", "firstName=Ada", port=port)
        assert "this proxy is read-only" in refused.stderr


def test_a_log_in_of_ones_own_takes_keys_and_leaves_the_rest_to_the_master(tmp_path: Path) -> None:
    site = Site(tmp_path, agents=10)
    (name, port), *_ = site.proxy_ports.items()
    keys = tmp_path / "keys.json"
    keys.write_text("{}")

    def refusal(password: str) -> str:
        refused = tool("read", "person", port=port, password=password)
        assert refused.returncode == 1
        return refused.stderr

    words = (name, str(keys), "--master-port", str(site.port), "--port", str(port))
    with site.master(), Example("own_authenticator.py", words=words, password="") as example:
        example.until(f"at port {port}")
        assert len(answer("read", "person", port=port)) > 10  # with the password, which the master checks
        assert "user name or password is wrong" in refusal("shared")
        keys.write_text(json.dumps({"default": hashlib.sha256(b"shared").hexdigest()}))
        done = tool("read", "person", "user_name=default", "--output", "json", port=port, password="shared")
        assert json.loads(done.stdout)[0]["DBID"] == 100, done.stderr
        assert "the key is wrong" in refusal(PASSWORD)
        keys.write_text("{")
        assert "the keys cannot be read" in refusal("shared")


def test_a_source_of_ones_own_feeds_a_server(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    file = tmp_path / "skills.txt"
    file.write_text("Spanish\nItalian\n")
    with Example("own_source.py", words=(str(file), "--port", str(port))):
        status = tool("status", "--wait", "20", port=port)
        assert status.returncode == 0, status.stderr
        assert {skill["name"] for skill in answer("read", "skill", port=port)} == {"Spanish", "Italian"}
        with Running("tool", "watch", "skill", "--count", "2", "--from-uen", "1", "--port", str(port)) as watch:
            file.write_text("Spanish\nFrench\n")
            changes = [json.loads(watch.line()) for _ in range(2)]
        assert {(each["action"], each["uen"]) for each in changes} == {("created", 2), ("deleted", 2)}
        assert {skill["name"] for skill in answer("read", "skill", port=port)} == {"Spanish", "French"}


def test_examples_are_short() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) < 80, path.name
