"""The object model as a file for other languages."""

from __future__ import annotations

import hashlib
import json

from csproxy.core.model import SCHEMA
from csproxy.core.model.schema_file import schema_digest, schema_file


def test_the_file_holds_every_type_structure_and_enumeration() -> None:
    model = json.loads(schema_file())
    assert {kind["number"]: name for name, kind in model["objects"].items()} == {
        number: kind.name for number, kind in SCHEMA.types.items()
    }
    for name, kind in model["objects"].items():
        assert set(kind["attributes"]) == set(SCHEMA.object_type(name).attributes)
    assert set(model["structures"]) == set(SCHEMA.structures)
    assert set(model["enumerations"]) == set(SCHEMA.enumerations)
    person = model["objects"]["CfgPerson"]
    assert person["attributes"]["userName"]["kind"] == "text"
    assert person["attributes"]["agentInfo"] == {"kind": "struct", "target": "CfgAgentInfo", "fixed": True}
    assert model["enumerations"]["CfgFlag"]["CFGTrue"] == 2


def test_its_digest_is_that_of_its_bytes() -> None:
    assert schema_digest() == hashlib.sha256(schema_file()).hexdigest()
