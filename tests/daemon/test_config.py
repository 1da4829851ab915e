"""`csproxy config` against a running master: what it prints, its exit statuses, and what it leaves behind."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.servers import _ENVIRONMENT, PASSWORD, Site, answer, tool

T = "Environment"
KEYS = [
    "result",
    "created",
    "updated",
    "skipped",
    "objects",
    "missing_properties",
    "missing_dependencies",
    "unchangeable_properties",
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A master that the tests of this module share; each uses names of its own."""
    site = Site(tmp_path_factory.mktemp("config"), proxies=())
    with site.master():
        yield site.port


def write(folder: Path, document: Any) -> str:
    path = folder / "file.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return str(path)


def skills(*names: str, **properties: Any) -> dict[str, Any]:
    return {"skills": [{"name": name, "tenant": T, **properties} for name in names]}


def test_import_answers_with_the_documented_keys(port: int, tmp_path: Path) -> None:
    path = write(tmp_path, skills("first"))
    made = answer("config", "import", path, "--yes", port=port)
    assert list(made) == KEYS
    assert (made["result"], made["created"], made["updated"], made["skipped"]) == ("ok", 1, 0, 0)
    assert made["objects"] == [{"action": "create", "type": "skill", "reference": "Environment/first"}]
    again = answer("config", "import", path, "--yes", port=port)
    assert (again["created"], again["skipped"]) == (0, 1)
    assert again["objects"] == [{"action": "skip", "type": "skill", "reference": "Environment/first"}]


def test_what_stands_against_a_file_is_told_and_nothing_is_sent(port: int, tmp_path: Path) -> None:
    path = write(tmp_path, {**skills("never"), "switches": [{"name": "s", "tenant": T, "tServer": "nobody"}]})
    for command in (("validate", path), ("import", path, "--yes"), ("diff", path)):
        done = tool("config", *command, "--output", "json", port=port)
        assert done.returncode == 1
        document = json.loads(done.stdout)
        assert list(document) == KEYS
        assert document["result"] == "refused"
        assert document["missing_properties"] == {"switch [Environment/s]": ["physicalSwitch"]}
        assert document["missing_dependencies"] == {"switch [Environment/s]": ["application [nobody]"]}
        assert "switch [Environment/s] needs physicalSwitch" in done.stderr
    assert answer("read", "skill", "name=never", port=port) == []


def test_validate_and_diff_change_nothing(port: int, tmp_path: Path) -> None:
    path = write(tmp_path, skills("only looked at"))
    assert answer("config", "validate", path, port=port)["created"] == 1
    done = tool("config", "diff", path, port=port)
    assert done.returncode == 0
    assert "+ skill [Environment/only looked at]" in done.stdout
    assert answer("read", "skill", "name=only looked at", port=port) == []
    assert tool("config", "validate", path, port=port).stdout == "valid\n"


def test_diff_shows_attribute_by_attribute_what_changes(port: int, tmp_path: Path) -> None:
    options = {"log": {"verbose": "all", "old": "x"}}
    tool("config", "import", write(tmp_path, skills("shown", userProperties=options)), "--yes", port=port)
    person = {"tenant": T, "employeeId": "0", "password": "swordfish", "emailAddress": "a@b.c"}
    changed = skills("shown", userProperties={"log": {"verbose": "trace", "new": 1}}, state="Enabled")
    done = tool("config", "diff", write(tmp_path, {**changed, "persons": [person]}), port=port)
    assert done.stdout.splitlines() == [
        "~ skill [Environment/shown]",
        "    userProperties.log.new: 1",
        '    userProperties.log.verbose: "all" → "trace"',
        '    userProperties.log.old: "x" → removed',
        "~ person [Environment/0]",
        '    emailAddress: "a@b.c"',
        "    password: is set",
    ]
    assert "swordfish" not in done.stdout


def test_without_a_terminal_and_without_yes_nothing_is_imported(port: int, tmp_path: Path) -> None:
    done = tool("config", "import", write(tmp_path, skills("unasked")), port=port)
    assert done.returncode == 2
    assert "use --yes" in done.stderr


@pytest.mark.parametrize(("reply", "status"), [("y\n", 0), ("\n", 1)])
def test_on_a_terminal_it_shows_the_plan_and_asks(port: int, tmp_path: Path, reply: str, status: int) -> None:
    name = f"asked for {status}"
    path = write(tmp_path, skills(name))
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "csproxy.daemon.tool", "config", "import", path, "--port", str(port)],
        env=_ENVIRONMENT | {"CSPROXY_PASSWORD": PASSWORD},
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(slave)
        os.write(master, reply.encode())
        out, err = process.communicate(timeout=60)
        os.close(master)
    assert process.returncode == status
    assert f"+ skill [Environment/{name}]" in out
    assert "Carry out 1 operation? [y/N]" in err
    assert len(answer("read", "skill", f"name={name}", port=port)) == 1 - status


def test_a_file_comes_from_standard_input_too(port: int) -> None:
    made = answer("config", "import", "-", "--yes", port=port, stdin=json.dumps(skills("from a pipe")))
    assert made["created"] == 1


def test_atomic_is_one_transaction_or_a_refusal(port: int, tmp_path: Path) -> None:
    many = write(tmp_path, skills(*(f"m{n}" for n in range(1001))))
    done = tool("config", "import", many, "--yes", "--atomic", port=port)
    assert done.returncode == 1
    assert "1,001 changes" in done.stderr
    few = write(tmp_path, skills("together 1", "together 2"))
    assert answer("config", "import", few, "--yes", "--atomic", port=port)["created"] == 2
    bad = [{"tenant": T, "employeeId": n, "userName": "same"} for n in ("x1", "x2")]
    done = tool("config", "import", write(tmp_path, {"persons": bad}), "--yes", "--atomic", port=port)
    assert done.returncode == 1
    assert answer("read", "person", "user_name=same", port=port) == []


def test_default_folders_of_new_objects_are_changed_once_they_are_there(port: int, tmp_path: Path) -> None:
    owner = {"type": "switch", "name": "late", "tenant": T}
    document = {
        "physicalSwitches": [{"name": "late office", "type": "fujitsu"}],
        "switches": [{"name": "late", "tenant": T, "physicalSwitch": "late office"}],
        "folders": [
            {"name": "DNs", "type": "dn", "description": "ours", "folder": {"type": "dn", "owner": owner, "path": []}}
        ],
    }
    path = write(tmp_path, document)
    refused = tool("config", "import", path, "--yes", "--atomic", port=port)
    assert refused.returncode == 1
    assert "leave --atomic out" in refused.stderr
    made = answer("config", "import", path, "--yes", port=port)
    assert (made["created"], made["updated"]) == (2, 1)
    assert answer("config", "import", path, "--yes", port=port)["skipped"] == 3


def test_a_cycle_is_created_and_then_updated_in_one_transaction(port: int, tmp_path: Path) -> None:
    document = {
        "tenants": [{"name": "circle", "defaultCapacityRule": "rule"}],
        "scripts": [{"name": "rule", "tenant": "circle", "type": "capacityRule"}],
    }
    made = answer("config", "import", write(tmp_path, document), "--yes", "--atomic", port=port)
    assert [(each["action"], each["type"]) for each in made["objects"]] == [
        ("create", "tenant"),
        ("create", "script"),
        ("update", "tenant"),
    ]
    (tenant,) = answer("read", "tenant", "name=circle", port=port)
    (script,) = answer("read", "script", "name=rule", port=port)
    assert tenant["defaultCapacityRuleDBID"] == script["DBID"]


def test_a_broken_off_import_says_how_far_it_came_and_can_be_repeated(port: int, tmp_path: Path) -> None:
    names = [f"long {n:04}" for n in range(1100)]
    bad = [{"tenant": T, "employeeId": n, "userName": "twice"} for n in ("y1", "y2")]
    behind = [{"group": {"tenant": T, "name": f"behind {n:04}"}} for n in range(1000)]
    path = write(tmp_path, {**skills(*names), "persons": bad, "placeGroups": behind})
    done = tool("config", "import", path, "--yes", "--output", "json", port=port)
    assert done.returncode == 1
    answered = json.loads(done.stdout)
    assert answered["result"] == "failed"
    assert answered["error"]["name"] == "UNIQUENESS_VIOLATION"
    assert answered["created"] == 1000
    assert "1000 of 2102 operations were carried out" in done.stderr
    assert answer("read", "place-group", port=port) == []  # what was prepared behind it was not sent
    fixed = answer("config", "import", write(tmp_path, skills(*names)), "--yes", port=port)
    assert fixed["result"] == "ok"
    assert fixed["created"] + fixed["skipped"] == 1100
    assert fixed["skipped"] == answered["created"]


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not JSON"), ('{"hosts": [{"name": "${NOT_THERE}"}]}', "NOT_THERE"), ('{"hosts": [{}]}', "hosts[0]")],
)
def test_a_file_that_cannot_be_read_is_refused(port: int, tmp_path: Path, content: str, words: str) -> None:
    done = tool("config", "validate", write(tmp_path, content), port=port)
    assert done.returncode == 1
    assert words in done.stderr
    assert tool("config", "validate", str(tmp_path / "none"), port=port).returncode == 1


@pytest.mark.slow
def test_export_import_into_an_empty_master_and_export_again_is_byte_identical(tmp_path: Path) -> None:
    full, empty = Site(tmp_path / "full", agents=100, proxies=()), Site(tmp_path / "empty", proxies=())
    with full.master():
        first = tool("config", "export", port=full.port).stdout
    path = write(tmp_path, first)
    with empty.master():
        made = answer("config", "import", path, "--yes", port=empty.port)
        assert made["result"] == "ok"
        target = tmp_path / "again.json"
        done = tool("config", "export", str(target), port=empty.port)
        assert (done.returncode, done.stdout) == (0, "")
        assert target.read_text(encoding="utf-8") == first
        again = answer("config", "import", path, "--yes", port=empty.port)
        assert (again["created"], again["updated"]) == (0, 0)
