"""docs/protocol.md says what the code does: its tables and its hex dumps are checked here."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from wire_vectors import ROOT, load

from csproxy.core.credentials import PersonEntry
from csproxy.core.log_in_state import LogIn
from csproxy.core.standby import Role
from csproxy.core.transactions import RequestedChange
from csproxy.errors import ErrorCode
from csproxy.transport.wire.administration import AccessEntry, LocaleSet
from csproxy.transport.wire.exchanges import ANSWERS, IMPLEMENTED_REQUESTS, PARTS, UNASKED, message_name
from csproxy.transport.wire.frames import MAGIC
from csproxy.transport.wire.messages import PAYLOADS, MessageId
from csproxy.transport.wire.pairs import PeerSession
from csproxy.transport.wire.payload import OnBehalfOf
from csproxy.transport.wire.subscriptions import Subscription
from csproxy.transport.wire.verification import VerifiedType
from csproxy.transport.wire.writes import AppliedChange

DOCUMENT = (ROOT / "docs" / "protocol.md").read_text("utf-8")

TYPES = {
    "int": int,
    "text": str,
    "bytes": bytes,
    "bool": bool,
    "list of int": list[int],
    "list of lists of text": list[list[str]],
    "list of maps": list[msgspec.Raw],
    "list of [int, int]": list[tuple[int, int]],
    "list of Subscription": list[Subscription],
    "list of RequestedChange": list[RequestedChange],
    "list of AppliedChange": list[AppliedChange],
    "list of AccessEntry": list[AccessEntry],
    "list of LocaleSet": list[LocaleSet],
    "list of VerifiedType": list[VerifiedType],
    "list of PeerSession": list[PeerSession],
    "Role": Role,
    "list of text": list[str],
    "list of PersonEntry": list[PersonEntry],
    "list of LogIn": list[LogIn],
    "map int → list of PersonEntry": dict[int, list[PersonEntry]],
    "OnBehalfOf": OnBehalfOf | None,
    "map text → text": dict[str, str],
    "map int → int": dict[int, int],
    "map int → text": dict[int, str],
}
DEFAULTS: dict[str, Any] = {'""': "", "0": 0, "[]": [], "{}": {}, "empty": b"", "false": False, '"UTF-8"': "UTF-8"}


def section(title: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    start = DOCUMENT.index(f"# {title}\n") + len(title) + 3
    return re.split(r"^#+ ", DOCUMENT[start:], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the table rows in a text, without heading and rule."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def payload_sections() -> list[Any]:
    """(message numbers, table rows) of each heading that names messages with fields."""
    titles = [title for title in re.findall(r"^### (.+)$", DOCUMENT, re.MULTILINE) if title[0].isdigit()]
    return [pytest.param(title, id=title) for title in titles]


def test_every_request_stands_in_the_table_with_its_answers_and_status() -> None:
    table = rows(section("Requests and answers"))
    assert [int(row[0]) for row in table] == sorted(ANSWERS)
    for number, name, answers, status in table:
        request = int(number)
        assert message_name(request) == f"{name} ({number})"
        for answer in ANSWERS[request]:
            assert message_name(answer).replace(" (", "|").rstrip(")").split("|")[0] in answers
            assert re.search(rf"\b{answer} ", answers)
        assert ("1..n" in answers) == bool(PARTS & ANSWERS[request])
        assert status == ("served" if request in IMPLEMENTED_REQUESTS else "error 3")


def test_every_unasked_message_is_named() -> None:
    text = section("Requests and answers")
    listed = text[text.index("**Unasked**") : text.index("**Order.**")]
    assert {int(number) for number in re.findall(r"\b(\d+) [A-Z]", listed)} == UNASKED


@pytest.mark.parametrize("title", payload_sections())
def test_a_payload_table_lists_the_fields_types_and_defaults(title: str) -> None:
    table = [row for row in rows(section(title)) if len(row) == 4]
    for number, name in re.findall(r"(\d+) ([A-Za-z0-9]+)", title):
        assert message_name(int(number)) == f"{name} ({number})"
        fields = list(msgspec.structs.fields(PAYLOADS[int(number)]))
        if "The fields of RegisterClient" in section(title):
            inherited = {field.name for field in msgspec.structs.fields(PAYLOADS[MessageId.REGISTER_CLIENT])}
            fields = [field for field in fields if field.name not in inherited]
        assert [row[0] for row in table] == [field.name for field in fields]
        for (_, kind, default, _), field in zip(table, fields, strict=True):
            if default == "absent":
                assert field.default is None
                assert kind == "map" or field.type in (TYPES[kind], TYPES[kind] | None)
            elif kind == "map":
                assert field.type in (dict[str, Any], msgspec.Raw)
            else:
                assert field.type == TYPES[kind]
            if default == "—":
                assert field.required
            elif default != "absent":
                value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
                assert value == DEFAULTS[default]


def test_every_message_with_fields_has_a_table() -> None:
    documented = {
        int(number) for param in payload_sections() for number in re.findall(r"(\d+) [A-Za-z0-9]+", param.values[0])
    }
    assert documented == {int(message) for message, cls in PAYLOADS.items() if msgspec.structs.fields(cls)}


def test_the_error_table_is_the_enumeration() -> None:
    table = rows(section("Errors"))
    assert [(int(code), name) for code, name, _ in table] == [(int(code), code.name) for code in ErrorCode]


def test_the_hex_dumps_are_the_first_frames_of_the_session() -> None:
    blocks = re.findall(r"```hexdump\n(.*?)```", DOCUMENT, re.DOTALL)
    dumped = [bytes.fromhex("".join(line[6:53] for line in block.splitlines())) for block in blocks]
    steps = [bytes.fromhex(step["hex"]) for step in load("session.json")["steps"]]
    assert dumped == [MAGIC + steps[0], *steps[1:7]]
