"""`csproxy history [--since UEN]`: who changed what and when, and who was connected."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from csproxy.core import codec
from csproxy.core.history import ACTION_WORDS, HistoryAction, HistoryRecord, decode_record
from csproxy.core.model import SCHEMA
from csproxy.core.model.other_enumerations import CfgOperationalMode
from csproxy.daemon.connection_flags import ConnectionFlags, connection_flags
from csproxy.daemon.output import compact_json, print_rows, progress, time_text
from csproxy.daemon.plain import delta_to_json, object_to_json
from csproxy.daemon.session import open_session, run
from csproxy.daemon.usage import DONE
from csproxy.transport.wire.history import HistoryRecords, ReadHistory
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.texts import check_texts

__all__ = ["history_document", "run_history"]

_COLUMNS = ("Time", "UEN", "Action", "Object", "What", "User", "Application")
_SHOWN = 60
"""Characters of a change that the table shows; JSON has all of it."""

_MODES = CfgOperationalMode._value2member_map_

Found = tuple[int, HistoryRecord]


def run_history(arguments: argparse.Namespace) -> int:
    """Read and print; returns the exit status."""
    flags = connection_flags(arguments)

    async def main() -> list[Found]:
        return await _read(flags, since_uen=arguments.since or 0)

    found = run(main)
    if arguments.output == "table":
        rows = [_row(record) for _, record in found]
        print_rows(f"{len(rows):,} records", _COLUMNS, rows, numeric=frozenset({"UEN"}))
        return DONE
    documents = (compact_json(history_document(number, record)) for number, record in found)
    if arguments.output == "jsonl":
        sys.stdout.writelines(f"{document}\n" for document in documents)
    else:
        sys.stdout.write("[" + ",".join(f"\n{document}" for document in documents) + ("\n]\n" if found else "]\n"))
    return DONE


async def _read(flags: ConnectionFlags, *, since_uen: int) -> list[Found]:
    found: list[Found] = []
    async with open_session(flags) as (connection, _):
        with progress("reading the history log") as report:
            more = True
            while more:
                after = found[-1][0] if found else 0
                request = ReadHistory(since_uen=since_uen, after=after)
                frame = await connection.request(MessageId.READ_HISTORY, request, timeout_s=flags.timeout_s)
                check_texts(frame)
                page = decode_payload(HistoryRecords, frame.payload)
                found.extend(zip(page.numbers, map(decode_record, page.records), strict=True))
                more = page.more and bool(page.numbers)
                report(len(found), -1)
    return found


def history_document(number: int, record: HistoryRecord) -> dict[str, Any]:
    """A record as JSON; the keys are documented in docs/topics/history-log.md."""
    document: dict[str, Any] = {
        "number": number,
        "time": time_text(record.time_ms),
        "action": ACTION_WORDS.get(record.action, str(record.action)),
        "user": record.user,
        "application": record.application,
        "uen": record.uen,
    }
    if record.is_session:
        return document | {"host": record.host, "server": record.server}
    kind = SCHEMA.types.get(record.type)
    document["epoch"] = record.epoch
    if record.action != HistoryAction.MODE:
        document |= {"type": _type_name(record.type), "dbid": record.dbid}
    for key, raw in (("object", record.object), ("former", record.former)):
        if bytes(raw):
            stored = codec.decode_map(bytes(raw))
            document[key] = stored if kind is None else object_to_json(kind, stored)
    for key, delta in (("delta", record.delta), ("former_values", record.former_values)):
        if delta is not None:
            document[key] = delta if kind is None else delta_to_json(kind, delta)
    for key, folder in (("folder", record.folder), ("former_folder", record.former_folder)):
        if folder:
            document[key] = folder
    if record.moved_from:
        document["moved_from"] = [
            {"type": _type_name(number), "dbid": dbid, "folder": folder} for number, dbid, folder in record.moved_from
        ]
    if record.password:
        document["password_changed"] = True
    return document | _administration(record)


def _administration(record: HistoryRecord) -> dict[str, Any]:
    """What a record has of permissions, an account or the mode."""
    document: dict[str, Any] = {}
    for key, acl in (("permissions", record.permissions), ("former_permissions", record.former_permissions)):
        if acl is not None:
            entries = [{"type": _type_name(type), "dbid": dbid, "mask": mask} for type, dbid, mask in acl.entries]
            document[key] = {"inherits": acl.inherits, "entries": entries}
    for key, account in (("account", record.account), ("former_account", record.former_account)):
        if account is not None:
            document[key] = {"type": _type_name(account[0]), "dbid": account[1]}
    for key, mode in (("mode", record.mode), ("former_mode", record.former_mode)):
        if mode:
            document[key] = CfgOperationalMode(mode).name if mode in _MODES else mode
    return document


def _type_name(number: int) -> str | int:
    return SCHEMA.types[number].name if number in SCHEMA.types else number


def _row(record: HistoryRecord) -> list[str]:
    document = history_document(0, record)
    if record.is_session:
        thing, what = "session", f"{record.host} at {record.server}"
    else:
        thing = f"{document['type']} {record.dbid}" if "type" in document else "the system"
        what = ", ".join(_what(record, document))
    if len(what) > _SHOWN:
        what = what[: _SHOWN - 1] + "…"
    return [
        str(document["time"]),
        str(record.uen),
        str(document["action"]),
        thing,
        what,
        record.user,
        record.application,
    ]


def _what(record: HistoryRecord, document: Mapping[str, Any]) -> Iterator[str]:
    """What changed, attribute by attribute: ``firstName: Ada → Eve``; the name of what came or went."""
    for key in ("permissions", "account", "mode"):
        if key in document:
            former = document.get(f"former_{key}")
            yield (f"{_in_words(former)} → " if former is not None else "") + _in_words(document[key])
    if record.password:
        yield "password"
    former = document.get("former_values", {})
    for name, value in document.get("delta", {}).items():
        if isinstance(value, dict) or isinstance(former.get(name), dict):
            yield name
        elif name in former:
            yield f"{name}: {former[name]} → {value}"
        else:
            yield f"{name}: {value}"
    if "folder" in document and "delta" in document:
        yield f"folder: {document.get('former_folder', '?')} → {document['folder']}"
    kind = SCHEMA.types.get(record.type)
    stored = document.get("object") or document.get("former")
    if kind is not None and stored is not None:
        value = stored
        for step in kind.name_path.split("."):
            value = value.get(step, "") if isinstance(value, dict) else ""
        yield str(value)


def _in_words(value: Any) -> str:
    """Permissions, an account or a mode of a document, for the table."""
    if not isinstance(value, Mapping):
        return str(value)
    if "entries" not in value:
        return f"{value['type']} {value['dbid']}"
    if value["inherits"]:
        return "inherits"
    return "; ".join(f"{entry['type']} {entry['dbid']}: {entry['mask']}" for entry in value["entries"]) or "nobody"
