"""The tool: its parser, exit statuses and forms of output."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import csproxy
from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.daemon.output import change_document, error_document, time_text
from csproxy.daemon.read import parse_filter
from csproxy.daemon.tool import main, tool_parser
from csproxy.daemon.usage import UsageError
from csproxy.daemon.watch import position_of
from csproxy.errors import ErrorCode, ModelError, ServerError, TimedOutError
from tests.own_ports import free_ports

PERSON = SCHEMA.object_type("person")


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSPROXY_PASSWORD", "x")


# the parser


def test_flags_may_stand_between_the_arguments_of_a_command() -> None:
    found = tool_parser().parse_args(["--host", "h", "read", "person", "--port", "7", "a=b", "--output", "json", "c=d"])
    assert (found.host, found.port, found.type, found.filter) == ("h", 7, "person", ["a=b", "c=d"])
    found = tool_parser().parse_args(["update", "--port", "7", "person", "100", "--timeout", "1", "x=-1", "y=2"])
    assert (found.dbid, found.assignments, found.timeout) == (100, ["x=-1", "y=2"], 1.0)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["frobnicate"],
        ["read"],
        ["read", "person", "--output", "xml"],
        ["read", "person", "--prt", "1"],
        ["update", "person", "100"],
        ["update", "person", "0", "a=b"],
        ["delete", "person", "x"],
        ["watch", "person", "--count", "0"],
        ["watch", "person", "--from-uen", "-1"],
        ["status", "--wait", "soon"],
    ],
)
def test_a_line_that_cannot_be_read_is_wrong_usage(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["read", "persn"], "there is no object type 'persn': did you mean person?"),
        (["read", "999"], "there is no object type 999"),
        (["read", "person", "usr_name=x"], "CfgPerson has no filter key 'usr_name'; such as user_name"),
        (["read", "person", "user_name"], "not of the form key=value"),
        (["update", "person", "100", "userName"], "not of the form attribute=value"),
        (["watch", "persn"], "did you mean person?"),
    ],
)
def test_what_can_be_told_without_a_server_is_wrong_usage(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"csproxy {argv[0]}: ")
    assert sentence in captured.err
    assert captured.out == ""


def test_standard_input_that_is_not_json_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("{"))
    assert main(["create", "person"]) == 2
    assert "standard input is not JSON" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["read", "person"], ["status"], ["delete", "person", "1"]])
def test_no_server_is_a_sentence_and_with_json_a_document(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    assert main([*command, "--port", str(port)]) == 1
    captured = capsys.readouterr()
    assert f"cannot connect to 127.0.0.1:{port}" in captured.err
    assert captured.out == ""
    assert main([*command, "--port", str(port), "--output", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["name"] == "ConnectionLostError"
    assert f"127.0.0.1:{port}" in document["error"]["message"]


def test_waiting_for_a_server_ends_in_time() -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    assert main(["status", "--wait", "0.5", "--port", str(port)]) == 1
    assert 0.4 < time.monotonic() - began < 5.0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from csproxy.daemon.tool import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as e: status = e.code\n"
        "names = ('anyio', 'pydantic', 'rich', 'sqlalchemy', 'msgspec', 'prompt_toolkit')\n"
        "heavy = [m for m in names if m in sys.modules]\n"
        "assert (status, heavy) == (0, []), (status, heavy)"
    )
    root = str(Path(csproxy.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--password-stdin" in done.stdout


# filters


def test_filter_values_get_the_kind_that_their_key_wants() -> None:
    assert parse_filter(PERSON, ["user_name=123", "tenant_dbid=1", "state=CFGEnabled", "is_agent=true"]) == {
        "user_name": "123",
        "tenant_dbid": 1,
        "state": "CFGEnabled",
        "is_agent": True,
    }
    assert parse_filter(PERSON, ["state=1", "is_agent=2", "object_path=no", "last_name=a=b"]) == {
        "state": 1,
        "is_agent": 2,
        "object_path": False,
        "last_name": "a=b",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tenant_dbid=one", "tenant_dbid=one: a whole number is valid"),
        ("is_agent=maybe", "is_agent=maybe: true or false is valid"),
        ("=x", "not of the form"),
    ],
)
def test_a_filter_value_of_the_wrong_kind_is_wrong_usage(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_filter(PERSON, [text])
    with pytest.raises(UsageError, match="given twice"):
        parse_filter(PERSON, ["dbid=1", "dbid=2"])


# documents


def change(action: Action, **fields: Any) -> Change:
    return Change(action=action, type=3, dbid=7, position=Position(5, 9), frame=b"", **fields)


def test_a_change_has_the_documented_keys_in_order() -> None:
    stored = encode_object(PERSON, {"DBID": 7, "userName": "ada", "state": 1})
    document = change_document(
        change(Action.CREATED, object=stored, user="u", application="a", time_ms=1_746_360_000_123)
    )
    assert document == {
        "epoch": 5,
        "uen": 9,
        "last": True,
        "action": "created",
        "type": "CfgPerson",
        "dbid": 7,
        "object": {"DBID": 7, "userName": "ada", "state": "CFGEnabled"},
        "user": "u",
        "application": "a",
        "time": "2025-05-04T12:00:00.123Z",
        "from_history": False,
    }
    assert list(document)[:7] == ["epoch", "uen", "last", "action", "type", "dbid", "object"]


def test_updates_and_deletions_carry_delta_and_former() -> None:
    updated = change_document(change(Action.UPDATED, delta={"state": 2}, last=False), from_history=True)
    assert (updated["action"], updated["delta"], updated["last"], updated["from_history"]) == (
        "updated",
        {"state": "CFGDisabled"},
        False,
        True,
    )
    assert "object" not in updated
    former = encode_object(PERSON, {"DBID": 7, "state": 2})
    deleted = change_document(change(Action.DELETED, former=former))
    assert (deleted["action"], deleted["former"], deleted["time"]) == (
        "deleted",
        {"DBID": 7, "state": "CFGDisabled"},
        None,
    )


def test_a_time_is_utc_with_milliseconds() -> None:
    assert time_text(1_746_360_000_007) == "2025-05-04T12:00:00.007Z"
    assert time_text(0) is None


def test_an_error_document_has_what_the_error_has() -> None:
    refused = ServerError.from_code(12, "taken", object_type=3, property_name="userName", retry_after_s=1.5)
    assert error_document(refused) == {
        "error": {
            "code": 12,
            "name": "UNIQUENESS_VIOLATION",
            "message": "taken",
            "type": "CfgPerson",
            "property": "userName",
            "retry_after_s": 1.5,
        }
    }
    assert error_document(ModelError(ErrorCode.VALUE_OUT_OF_RANGE, "bad")) == {
        "error": {"code": 17, "name": "VALUE_OUT_OF_RANGE", "message": "bad"}
    }
    assert error_document(TimedOutError("late")) == {"error": {"name": "TimedOutError", "message": "late"}}


def test_a_uen_belongs_to_the_epoch_that_numbered_it() -> None:
    epochs = [Epoch(11, 1), Epoch(12, 10), Epoch(13, 20)]
    assert [position_of(uen, epochs).epoch for uen in (0, 9, 10, 19, 20, 99)] == [11, 11, 12, 12, 13, 13]
    assert position_of(3, []) == Position(0, 3)
