"""Numbers below 0 become DBIDs; everything else passes as it is, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.model import SCHEMA
from csproxy.core.placeholders import Placeholders
from csproxy.errors import ErrorCode, ModelError

PERSON, FOLDER, TENANT = (SCHEMA.types[number] for number in (3, 22, 7))


@pytest.fixture
def names() -> Placeholders:
    found = Placeholders()
    found.define(TENANT, -1, 101)
    found.define(PERSON, -2, 102)
    return found


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ({"tenantDBID": -1}, {"tenantDBID": 101}),
        ({"ownerID": {"type": 3, "DBID": -2}}, {"ownerID": {"type": 3, "DBID": 102}}),
        ({"tenantDBID": 5}, {"tenantDBID": 5}),
        ({"tenantDBID": "nobody"}, {"tenantDBID": "nobody"}),
        ({"ownerID": {"type": 3, "DBID": 5}}, {"ownerID": {"type": 3, "DBID": 5}}),
        ({"ownerID": {"type": 3, "DBID": "x"}}, {"ownerID": {"type": 3, "DBID": "x"}}),
        ({"ownerID": 7}, {"ownerID": 7}),
        ({"objectIDs": 7}, {"objectIDs": 7}),
    ],
)
def test_what_is_no_number_below_0_stays_as_it_is(
    names: Placeholders, given: dict[str, Any], resolved: dict[str, Any]
) -> None:
    kind = PERSON if "tenantDBID" in given else FOLDER
    assert names.resolve(kind, given) == resolved


def test_a_number_that_stands_for_nothing_is_refused(names: Placeholders) -> None:
    with pytest.raises(ModelError, match="tenant -2") as refused:
        names.resolve(PERSON, {"tenantDBID": -2})
    assert refused.value.code is ErrorCode.INCORRECT_REFERENCES
