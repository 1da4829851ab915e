from __future__ import annotations

import pytest

from csproxy.errors import ConfigurationError
from csproxy.transport.upstream_checks import OwnApplication, check_redundancy, check_release, check_role


@pytest.mark.parametrize("role", ["proxy", "", "backup"])
def test_only_a_master_may_be_followed(role: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot follow another proxy"):
        check_role(role, "host:2020")


def test_a_master_may_be_followed() -> None:
    check_role("master", "host:2020")


@pytest.mark.parametrize(
    ("theirs", "ours"), [("1.2.0", "1.2.0"), ("1.2", "1.2.0"), ("1.2.0rc1", "1.2"), ("1.2", "dev")]
)
def test_the_same_release_is_accepted(theirs: str, ours: str) -> None:
    assert check_release(theirs, ours, "host:2020") == ""


@pytest.mark.parametrize("theirs", ["1.2.1", "1.10", "2"])
def test_a_newer_master_is_accepted_with_a_warning(theirs: str) -> None:
    assert f"of release {theirs}, newer than this proxy (1.2.0)" in check_release(theirs, "1.2.0", "host:2020")


@pytest.mark.parametrize("theirs", ["1.1.9", "0.9", "1"])
def test_an_older_master_is_refused(theirs: str) -> None:
    with pytest.raises(ConfigurationError, match=r"older than this proxy \(1.2.0\): update the master first"):
        check_release(theirs, "1.2.0", "host:2020")


@pytest.mark.parametrize("theirs", ["", "unknown", "v1"])
def test_an_unknown_release_is_refused(theirs: str) -> None:
    with pytest.raises(ConfigurationError, match="no release that can be read"):
        check_release(theirs, "1.2.0", "host:2020")


@pytest.mark.parametrize(("found", "paired"), [(0, False), (2, True)])
def test_the_redundancy_type_fits(found: int, paired: bool) -> None:
    check_redundancy(OwnApplication({"DBID": 101, "name": "proxy1", "redundancyType": found}, paired))


@pytest.mark.parametrize(
    ("found", "paired", "sentence"),
    [
        (2, False, "redundancyType is 'Warm Standby', but must be 'Not Specified' .* for a single proxy"),
        (3, False, "redundancyType is 'Hot Standby', but must be 'Not Specified' .* for a single proxy"),
        (0, True, "redundancyType is 'Not Specified', but must be 'Warm Standby' .* for one of a pair of proxies"),
        (1, True, "redundancyType is 'Cold Standby', but must be 'Warm Standby'"),
        (9, True, "redundancyType is 9, but"),
    ],
)
def test_a_wrong_redundancy_type_names_object_and_field(found: int, paired: bool, sentence: str) -> None:
    own = OwnApplication({"DBID": 101, "name": "proxy1", "redundancyType": found}, paired)
    with pytest.raises(ConfigurationError, match=rf"Application 'proxy1' \(DBID 101\): {sentence}"):
        check_redundancy(own)
