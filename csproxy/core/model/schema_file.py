"""The object model as a file: what a client in any language needs to know of types, as JSON.

The file is made from `SCHEMA`, with its keys in a fixed order: equal schemas have equal bytes, and
clients may keep the file under its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from csproxy.core.model.schema import SCHEMA, Attribute

__all__ = ["schema_digest", "schema_file"]


@cache
def schema_file() -> bytes:
    """JSON in UTF-8: ``objects``, ``structures`` and ``enumerations`` by name.

    An object type has number, singular, plural, tenant, name and container (paths of attributes, left
    out where there is none), unique_keys, filters and attributes; a structure has key and
    attributes. An attribute has kind (of `AttributeKind`, in small letters), target, and the flags that hold.
    """
    return msgspec.json.encode(
        {
            "objects": {kind.name: _object_type(kind) for kind in SCHEMA.types.values()},
            "structures": {
                name: {"key": structure.key, "attributes": _attributes(structure.attributes)}
                for name, structure in sorted(SCHEMA.structures.items())
            },
            "enumerations": {
                name: {member.name: int(member) for member in members}
                for name, members in sorted(SCHEMA.enumerations.items())
            },
        }
    )


@cache
def schema_digest() -> str:
    """Hexadecimal SHA-256 of `schema_file`."""
    return hashlib.sha256(schema_file()).hexdigest()


def _object_type(kind: Any) -> dict[str, Any]:
    facts = {
        "number": kind.number,
        "singular": kind.singular,
        "plural": kind.plural,
        "tenant": kind.tenant_path,
        "name": kind.name_path,
        "container": kind.container,
        "unique_keys": kind.unique_keys,
        "filters": sorted(kind.filter_names),
        "attributes": _attributes(kind.attributes),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _attributes(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    return {name: _attribute(attribute) for name, attribute in attributes.items()}


def _attribute(attribute: Attribute) -> dict[str, Any]:
    facts = {
        "kind": attribute.kind.name.lower(),
        "target": attribute.target,
        "max_length": attribute.max_length,
        "mandatory": attribute.mandatory,
        "fixed": attribute.fixed,
        "read_only": attribute.read_only,
        "unused": attribute.unused,
    }
    return {name: fact for name, fact in facts.items() if fact}
