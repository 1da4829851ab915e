"""Records of the history log as XML: the document of ``confserv -dumpauditxml``.

The form is described in docs/topics/history-log.md. Attributes of objects become ``value`` elements that carry
their name; structures, option sections and lists nest. What XML 1.0 cannot hold (control characters, bytes) stands as
base64 and says so.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from csproxy.core import codec
from csproxy.core.history import ACTION_WORDS, AclState, HistoryAction, HistoryRecord
from csproxy.core.model.other_enumerations import CfgOperationalMode
from csproxy.core.model.schema import SCHEMA, Attribute, AttributeKind

__all__ = ["FOOTER", "audit_header", "record_xml", "time_text"]

FOOTER: Final = "</history-log>\n"

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MODES: Final = CfgOperationalMode._value2member_map_
_LINE_ENDS: Final = {"\r": "&#13;"}

_Attributes = Mapping[str, Attribute]


def time_text(time_ms: int) -> str:
    """``2025-05-04T12:00:00.123Z``."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def audit_header(*, release: str, database: str, exported_ms: int, since_ms: int, encoding: str = "UTF-8") -> str:
    """How the document begins; ``database`` is the database's identity, ``encoding`` that of its bytes."""
    names = _named(version="1", release=release, database=database, exported=time_text(exported_ms))
    since = _named(since=time_text(since_ms)) if since_ms > 0 else ""
    return f'<?xml version="1.0" encoding="{encoding.upper()}"?>\n<history-log{names}{since}>\n'


def record_xml(number: int, record: HistoryRecord) -> str:
    """One record as an element ``change`` or ``session``."""
    common = {
        "number": str(number),
        "time": time_text(record.time_ms),
        "action": ACTION_WORDS.get(record.action, str(record.action)),
        "uen": str(record.uen),
    }
    if record.is_session:
        names = _named(
            **common, user=record.user, application=record.application, host=record.host, server=record.server
        )
        return f"  <session{names}/>\n"
    return "".join(_change(record, common))


def _change(record: HistoryRecord, common: Mapping[str, str]) -> Iterator[str]:
    kind = SCHEMA.types.get(record.type)
    names = _named(**common, epoch=str(record.epoch))
    if record.action != HistoryAction.MODE:
        names += _named(type=_type_name(record.type), dbid=str(record.dbid))
    names += _named(user=record.user, application=record.application)
    for name, folder in (("folder", record.folder), ("former-folder", record.former_folder)):
        if folder:
            names += f' {name}="{folder}"'
    for name, mode in (("mode", record.mode), ("former-mode", record.former_mode)):
        if mode:
            names += f' {name}="{CfgOperationalMode(mode).name if mode in _MODES else mode}"'
    if record.password:
        names += ' password="changed"'
    yield f"  <change{names}>\n"
    attributes: _Attributes = {} if kind is None else kind.attributes
    for name, raw in (("object", record.object), ("former", record.former)):
        if bytes(raw):
            yield from _element(name, attributes, codec.decode_map(bytes(raw)))
    for name, delta in (("delta", record.delta), ("former-values", record.former_values)):
        if delta is not None:
            yield from _element(name, attributes, delta)
    for number, dbid, folder in record.moved_from:
        yield f'    <moved{_named(type=_type_name(number), dbid=str(dbid))} former-folder="{folder}"/>\n'
    for name, account in (("account", record.account), ("former-account", record.former_account)):
        if account is not None:
            yield f"    <{name}{_named(type=_type_name(account[0]), dbid=str(account[1]))}/>\n"
    for name, acl in (("permissions", record.permissions), ("former-permissions", record.former_permissions)):
        if acl is not None:
            yield from _permissions(name, acl)
    yield "  </change>\n"


def _permissions(name: str, acl: AclState) -> Iterator[str]:
    yield f'    <{name} inherits="{"true" if acl.inherits else "false"}">\n'
    for type, dbid, mask in acl.entries:
        yield f"      <entry{_named(type=_type_name(type), dbid=str(dbid), mask=str(mask))}/>\n"
    yield f"    </{name}>\n"


def _type_name(number: int) -> str:
    kind = SCHEMA.types.get(number)
    return str(number) if kind is None else kind.name


def _element(name: str, attributes: _Attributes, value: Mapping[str, Any]) -> Iterator[str]:
    yield f"    <{name}>\n"
    for key, item in value.items():
        yield from _value(key, attributes.get(key), item, "      ")
    yield f"    </{name}>\n"


def _value(name: str | None, attribute: Attribute | None, value: Any, indent: str) -> Iterator[str]:
    """A value under its name, or as an item of a list (name None)."""
    tag = "item" if name is None else "value"
    opening = tag if name is None else tag + _name(name)
    if isinstance(value, (Mapping, list)):
        if not value:
            yield f'{indent}<{opening} form="{"map" if isinstance(value, Mapping) else "list"}"/>\n'
            return
        yield f"{indent}<{opening}>\n"
        for key, inner, item in _inside(attribute, value):
            yield from _value(key, inner, item, indent + "  ")
        yield f"{indent}</{tag}>\n"
    elif value is None:
        yield f'{indent}<{opening} form="none"/>\n'
    else:
        yield f"{indent}<{opening}{_scalar(attribute, value)}</{tag}>\n"


def _inside(attribute: Attribute | None, value: Any) -> Iterator[tuple[str | None, Attribute | None, Any]]:
    """What a map or list has inside, each with the attribute that tells about enumerations.

    In a delta a list is a map of the parts added, changed and deleted; the same attribute holds inside them.
    """
    if isinstance(value, list):
        for item in value:
            yield None, attribute, item
        return
    inner: _Attributes = {}
    is_list = False
    if attribute is not None and attribute.target is not None:
        is_list = attribute.kind is AttributeKind.STRUCT_LIST
        if attribute.kind in (AttributeKind.STRUCT, AttributeKind.STRUCT_LIST):
            inner = SCHEMA.structures[attribute.target].attributes
    for key, item in value.items():
        is_part = is_list and isinstance(item, list) and key in ("added", "changed", "deleted")
        yield str(key), attribute if is_part else inner.get(key), item


def _scalar(attribute: Attribute | None, value: Any) -> str:
    """The rest of the opening tag, and the text."""
    if isinstance(value, bytes):
        return f' form="bytes">{base64.b64encode(value).decode("ascii")}'
    if isinstance(value, int):
        if attribute is not None and attribute.kind is AttributeKind.ENUM and attribute.target is not None:
            member = SCHEMA.enumerations[attribute.target]._value2member_map_.get(value)
            if member is not None:
                return f' number="{int(value)}">{member.name}'
        return f' form="number">{int(value)}'
    text = str(value)
    if _NOT_XML.search(text):
        return f' form="base64">{base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")}'
    return f">{escape(text, _LINE_ENDS)}"


def _named(**values: str) -> str:
    """XML attributes; texts that XML cannot hold come as ``name64``."""
    return "".join(_named_one(name, value) for name, value in values.items())


def _name(name: str) -> str:
    return _named_one("name", name)


def _named_one(name: str, value: str) -> str:
    if _NOT_XML.search(value):
        return f' {name}64="{base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii")}"'
    return f" {name}={quoteattr(value)}"
