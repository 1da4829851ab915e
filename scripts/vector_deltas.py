"""The delta examples of `generate_vectors.py`: objects before and after, and deltas that do not fit."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

PERSON: Final[dict[str, Any]] = {
    "DBID": 101,
    "tenantDBID": 1,
    "lastName": "Meier",
    "employeeID": "1001",
    "userName": "agent1001",
    "appRanks": [{"appType": 19, "appRank": 2}, {"appType": 20, "appRank": 1}],
    "isAgent": 2,
    "agentInfo": {"placeDBID": 103, "skillLevels": [{"skillDBID": 101, "level": 7}, {"skillDBID": 102, "level": 1}]},
    "state": 1,
    "userProperties": {"desk": {"city": "Zürich", "floor": 3}, "old": {"x": 1}},
}
GROUP: Final[dict[str, Any]] = {
    "DBID": 104,
    "groupInfo": {"tenantDBID": 1, "name": "Support", "state": 1},
    "agentDBIDs": [101, 102],
}
PLACE: Final[dict[str, Any]] = {"DBID": 103, "tenantDBID": 1, "name": "P1", "state": 1}
CLERK: Final[dict[str, Any]] = {"DBID": 105, "tenantDBID": 1, "employeeID": "7", "userName": "clerk", "state": 1}


class DeltaExample(NamedTuple):
    """An object of a type before and after a change; ``after`` is how attributes differ (None: gone)."""

    type: int
    before: dict[str, Any]
    differs: dict[str, Any]

    @property
    def after(self) -> dict[str, Any]:
        """The object after the change."""
        merged = {**self.before, **self.differs}
        return {name: value for name, value in merged.items() if value is not None}


class RefusedDelta(NamedTuple):
    """A delta that cannot be applied to the object, and the error's number."""

    type: int
    before: dict[str, Any]
    delta: dict[str, Any]
    code: int


DELTAS: Final[dict[str, DeltaExample]] = {
    "nothing differs": DeltaExample(3, PERSON, {}),
    "a text is set": DeltaExample(3, PERSON, {"firstName": "Anna"}),
    "a text is cleared": DeltaExample(3, PERSON, {"lastName": None}),
    "an enumeration is set": DeltaExample(3, PERSON, {"state": 2}),
    "a number is set to 0": DeltaExample(3, PERSON, {"isAgent": None}),
    "links are added and removed": DeltaExample(5, GROUP, {"agentDBIDs": [102, 108]}),
    "the last links go": DeltaExample(5, GROUP, {"agentDBIDs": None}),
    "inside a structure": DeltaExample(5, GROUP, {"groupInfo": {**GROUP["groupInfo"], "name": "Help"}}),
    "items of a list are added, changed and deleted": DeltaExample(
        3, PERSON, {"appRanks": [{"appType": 18, "appRank": 3}, {"appType": 19, "appRank": 1}]}
    ),
    "a list inside a structure": DeltaExample(
        3, PERSON, {"agentInfo": {"skillLevels": [{"skillDBID": 101, "level": 9}, {"skillDBID": 102, "level": 1}]}}
    ),
    "a structure goes": DeltaExample(3, PERSON, {"agentInfo": None}),
    "an empty structure comes": DeltaExample(3, CLERK, {"agentInfo": {}}),
    "options are added, changed and deleted": DeltaExample(
        3, PERSON, {"userProperties": {"desk": {"badge": b"\x00\xff", "floor": 4}, "new": {"y": "1"}}}
    ),
    "an empty section comes": DeltaExample(4, PLACE, {"userProperties": {"empty": {}}}),
    "an unknown attribute is set": DeltaExample(4, PLACE, {"colour": "blue"}),
    "an unknown attribute goes": DeltaExample(4, {**PLACE, "colour": "blue"}, {"colour": None}),
}

REFUSED_DELTAS: Final[dict[str, RefusedDelta]] = {
    "a link is added that is there": RefusedDelta(5, GROUP, {"agentDBIDs": {"added": [101]}}, 12),
    "a link is deleted that is not there": RefusedDelta(5, GROUP, {"agentDBIDs": {"deleted": [999]}}, 11),
    "an item is changed that is not there": RefusedDelta(
        3, PERSON, {"appRanks": {"changed": [{"appType": 1, "appRank": 1}]}}, 11
    ),
    "a section is deleted that is not there": RefusedDelta(3, PERSON, {"userProperties": {"deleted": {"no": []}}}, 11),
    "a part that does not exist": RefusedDelta(5, GROUP, {"agentDBIDs": {"removed": [101]}}, 18),
    "links have no changed part": RefusedDelta(5, GROUP, {"agentDBIDs": {"changed": [101]}}, 18),
    "a list in place of its parts": RefusedDelta(5, GROUP, {"agentDBIDs": [101]}, 20),
    "a number in place of a text": RefusedDelta(3, PERSON, {"lastName": 5}, 20),
}
