"""Every reference of an object is found with its place and the type that it leads to."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.model import SCHEMA, AttributeKind, ObjectType
from csproxy.core.model.links import Reference, references


def found(word: str, obj: dict[str, Any]) -> list[Reference]:
    return list(references(SCHEMA.object_type(word), obj))


@pytest.mark.parametrize(
    ("word", "obj", "expected"),
    [
        (
            "person",
            {
                "DBID": 9,
                "tenantDBID": 1,
                "agentInfo": {
                    "placeDBID": 0,
                    "skillLevels": [{"skillDBID": 5, "level": 2}, {"skillDBID": 6}],
                    "siteDBID": 8,
                },
            },
            [
                ("tenantDBID", 7, 1),
                ("agentInfo.skillLevels.skillDBID", 13, 5),
                ("agentInfo.skillLevels.skillDBID", 13, 6),
                ("agentInfo.siteDBID", 22, 8),
            ],
        ),
        (
            "agentGroup",
            {"groupInfo": {"DBID": 4, "tenantDBID": 1, "managerDBIDs": [2, 3]}, "agentDBIDs": [5]},
            [
                ("groupInfo.tenantDBID", 7, 1),
                ("groupInfo.managerDBIDs", 3, 2),
                ("groupInfo.managerDBIDs", 3, 3),
                ("agentDBIDs", 3, 5),
            ],
        ),
        (
            "folder",
            {"DBID": 4, "type": 3, "ownerID": {"DBID": 1, "type": 7}, "parentID": {"DBID": 2, "type": 22}},
            [("ownerID.DBID", 7, 1), ("parentID.DBID", 22, 2)],
        ),
        (
            "accessGroup",
            {"memberIDs": [{"DBID": 5, "type": 3}, {"DBID": 6}]},
            [("memberIDs.DBID", 3, 5), ("memberIDs.DBID", 0, 6)],
        ),
        (
            "campaignGroup",
            {"groupDBID": 5, "groupType": 6, "campaignDBID": 2},
            [("campaignDBID", 27, 2), ("groupDBID", 6, 5)],
        ),
        ("campaign", {"campaignGroups": [{"groupDBID": 5, "groupType": 5}]}, [("campaignGroups.groupDBID", 5, 5)]),
        (
            "application",
            {
                "resources": [
                    {"resourceType": 16, "objectDBID": 3},
                    {"resourceType": 3, "objectDBID": 4},
                    {"resourceType": 16},
                    {"objectDBID": 4},
                ]
            },
            [("resources.objectDBID", 10, 3)],
        ),
        ("host", {"OSinfo": {"OStype": 1}}, []),
        ("person", {}, []),
        ("role", {"members": [{"objectDBID": 5}]}, []),
    ],
)
def test_references(word: str, obj: dict[str, Any], expected: list[tuple[str, int, int]]) -> None:
    assert found(word, obj) == [Reference(*reference) for reference in expected]


@pytest.mark.parametrize("object_type", SCHEMA.types.values(), ids=lambda t: t.name)
def test_every_attribute_that_is_a_link_is_followed(object_type: ObjectType) -> None:
    for name, attribute in object_type.attributes.items():
        if attribute.kind in (AttributeKind.LINK, AttributeKind.LINK_LIST):
            value = 5 if attribute.kind is AttributeKind.LINK else [5]
            target = SCHEMA.object_type(attribute.target or "").number
            assert list(references(object_type, {name: value})) == [Reference(name, target, 5)]
