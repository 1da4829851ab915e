"""The registry answers what types, structures and keys there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from csproxy.core.model import SCHEMA, AttributeKind, CfgDN, CfgObject, CfgPerson, ObjectType
from csproxy.core.model.deltas import CfgDeltaPerson
from csproxy.errors import ErrorCode, ModelError

ALL = list(SCHEMA.types.values())


def resolve(object_type: ObjectType, path: str) -> AttributeKind:
    attributes = object_type.attributes
    *holders, last = path.split(".")
    for holder in holders:
        attributes = SCHEMA.structures[attributes[holder].target or ""].attributes
    return attributes[last].kind


def test_there_are_44_types_numbered_from_1() -> None:
    assert list(SCHEMA.types) == list(range(1, 45))
    assert all(number == object_type.number for number, object_type in SCHEMA.types.items())


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        (3, "CfgPerson"),
        ("CfgPerson", "CfgPerson"),
        ("person", "CfgPerson"),
        ("PERSONS", "CfgPerson"),
        ("agent-logins", "CfgAgentLogin"),
        ("agent_login", "CfgAgentLogin"),
        ("agentLogin", "CfgAgentLogin"),
        ("gvpIVRProfiles", "CfgGVPIVRProfile"),
        ("switches", "CfgSwitch"),
        ("dns", "CfgDN"),
        (CfgDN, "CfgDN"),
    ],
)
def test_a_type_is_found_by_number_word_and_class(ref: int | str | type[CfgObject], name: str) -> None:
    assert SCHEMA.object_type(ref).name == name


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        (45, "1 to 44"),
        ("persn", "did you mean person?"),
        ("zzzzzz", "person, persons or CfgPerson"),
        (CfgObject, "csproxy.core.model.objects"),
        (str, "csproxy.core.model.objects"),
    ],
)
def test_an_unknown_type_is_refused_with_what_comes_close(ref: object, says: str) -> None:
    with pytest.raises(ModelError, match=re.escape(says)) as caught:
        SCHEMA.object_type(ref)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.UNSUPPORTED_OBJECT
    assert caught.value.object_type == (ref if isinstance(ref, int) else 0)


def test_classes_lead_back_to_their_type() -> None:
    for object_type in ALL:
        assert object_type.cls.object_type() is object_type
        assert object_type.cls.type_number == object_type.number
        assert object_type.delta_cls.object_type() is object_type
        assert set(object_type.cls.__struct_fields__) == {"unknown", *object_type.attributes}
        assert set(object_type.delta_cls.__struct_fields__) == {"unknown", *object_type.attributes} - {"DBID"}
    assert SCHEMA.object_type(CfgPerson).delta_cls is CfgDeltaPerson


def test_paths_of_every_type_lead_to_attributes() -> None:
    for object_type in ALL:
        for key in object_type.unique_keys:
            for path in key:
                assert resolve(object_type, path) not in (AttributeKind.STRUCT, AttributeKind.STRUCT_LIST)
        assert resolve(object_type, object_type.name_path) in (AttributeKind.TEXT, AttributeKind.LINK)
        if object_type.tenant_path:
            assert resolve(object_type, object_type.tenant_path) in (AttributeKind.LINK, AttributeKind.LINK_LIST)
        if object_type.container:
            assert resolve(object_type, object_type.container) is AttributeKind.LINK


def test_targets_of_every_attribute_exist() -> None:
    known = {
        AttributeKind.ENUM: SCHEMA.enumerations.keys(),
        AttributeKind.STRUCT: SCHEMA.structures.keys(),
        AttributeKind.STRUCT_LIST: SCHEMA.structures.keys(),
        AttributeKind.LINK: {object_type.name for object_type in ALL},
        AttributeKind.LINK_LIST: {object_type.name for object_type in ALL},
    }
    for holder in (*ALL, *SCHEMA.structures.values()):
        for attribute in holder.attributes.values():
            assert (attribute.target is None) == (attribute.kind not in known)
            assert attribute.target is None or attribute.target in known[attribute.kind]


def test_flags_are_read() -> None:
    person = SCHEMA.object_type("person").attributes
    assert person["DBID"].read_only
    assert person["userName"].mandatory
    assert person["tenantDBID"].fixed
    assert person["address"].unused
    assert person["lastName"].max_length == 64
    assert person["userName"].max_length is None


def test_words_tell_types_apart() -> None:
    words = [word.lower() for t in ALL for word in {t.name, t.singular, t.plural}]
    assert len(words) == len(set(words))
    assert len({object_type.folder_name for object_type in ALL}) == len(ALL)


def test_every_structure_of_a_list_has_a_key_that_the_documentation_names() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "delta.md").read_text(encoding="utf-8")
    rows = {
        name: [part.strip(" `") for part in key.split(",")]
        for name, key in re.findall(r"^\| (Cfg\w+) \| ([^|]*) \|", page, re.M)
    }
    in_lists = {
        attribute.target or ""
        for object_type in ALL
        for holder in (
            object_type,
            *(
                SCHEMA.structures[a.target or ""]
                for a in object_type.attributes.values()
                if a.kind is AttributeKind.STRUCT
            ),
        )
        for attribute in holder.attributes.values()
        if attribute.kind is AttributeKind.STRUCT_LIST
    }
    assert rows.keys() == in_lists
    for name in in_lists:
        structure = SCHEMA.structures[name]
        assert structure.key
        assert set(structure.key) <= structure.attributes.keys()
        every = list(structure.attributes)
        assert rows[name] == (list(structure.key) if rows[name] != ["every attribute"] else ["every attribute"])
        assert rows[name] != ["every attribute"] or sorted(structure.key) == sorted(every)


def test_reprs_fit_on_a_line() -> None:
    assert repr(SCHEMA.object_type("person")) == "<ObjectType 3 CfgPerson>"
    assert repr(SCHEMA.structures["CfgGroup"]) == "<StructureType CfgGroup>"
