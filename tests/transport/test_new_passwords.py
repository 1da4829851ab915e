"""New passwords at a master: the rules of the annexes, and what is kept of former ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from test_database import JANE, NOW, Sink, make

from csproxy.core.persistence.credentials import read_former
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.security_options import RULES
from csproxy.core.transactions import RequestedChange
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ErrorCode, ModelError
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.wire.writes import ApplyTransaction, CreateObject, UpdateObject

pytestmark = pytest.mark.anyio

DEFAULT = (3, 100)


@pytest.fixture
def url(database_url: str) -> str:
    create_configuration(
        database_url, well_known_objects(), release="1", password_hashes={DEFAULT: "hash of first"}, time_ms=5
    )
    return database_url


@asynccontextmanager
async def master_with(url: str, **rules: object) -> AsyncIterator[DatabaseMaster]:
    section = {name.replace("_", "-"): str(value) for name, value in rules.items()}
    async with make(url, Sink(), verify_password=lambda password, stored: stored == f"hash of {password}") as master:
        await master.write(UpdateObject(type=7, dbid=1, delta={"userProperties": {"added": {RULES: section}}}), JANE)
        yield master


def setting(password: str, **more: Any) -> UpdateObject:
    return UpdateObject(type=3, dbid=100, delta={"password": password}, **more)


async def refusal(master: DatabaseMaster, request: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await (master.apply if isinstance(request, ApplyTransaction) else master.write)(request, JANE)
    assert (caught.value.code, caught.value.property_name) == (ErrorCode.VALUE_OUT_OF_RANGE, "password")
    return caught.value


async def former(master: DatabaseMaster) -> list[str]:
    return (await master.read_beside(lambda connection: read_former(connection, [DEFAULT])))[DEFAULT]


async def test_a_password_that_breaks_the_rules_is_refused_with_their_names(url: str) -> None:
    async with master_with(url, password_min_length=6, password_req_numeric="true") as master:
        error = await refusal(master, setting("short"))
        assert str(error) == (
            "the new password is refused, it needs at least 6 characters (password-min-length), "
            "a digit (password-req-numeric)"
        )
        person = {"userName": "joe", "employeeID": "joe", "tenantDBID": 1, "password": "nodigit"}
        assert "a digit" in str(await refusal(master, CreateObject(type=3, object=person)))
        change = RequestedChange(message=8, type=3, dbid=100, delta={"password": "x"})
        assert str(await refusal(master, ApplyTransaction(changes=[change]))).startswith("change 0: the new password")
        await master.write(setting("long enough 4 you"), JANE)
        assert master.credentials[DEFAULT] == "hash of long enough 4 you"
        assert master.book.changed_ms(100) == int(NOW * 1000)


async def test_applications_have_no_such_rules(url: str) -> None:
    async with master_with(url, password_min_length=6) as master:
        await master.write(UpdateObject(type=9, dbid=100, delta={"password": "x"}), JANE)
        assert master.credentials[9, 100] == "hash of x"


async def test_none_of_the_last_passwords_can_be_set_again(url: str) -> None:
    async with master_with(url, password_no_repeats=3) as master:
        for password in ("second", "third"):
            await master.write(setting(password), JANE)
        for password in ("first", "second", "third"):
            assert "it is one of the last 3 passwords" in str(await refusal(master, setting(password)))
        await master.write(setting("fourth"), JANE)
        assert await former(master) == ["hash of third", "hash of second"]
        await master.write(setting("first"), JANE)


async def test_no_more_former_passwords_are_kept_than_the_rule_needs(url: str) -> None:
    async with master_with(url, password_no_repeats=1) as master:
        assert "it is the present one" in str(await refusal(master, setting("first")))
        await master.write(setting("second"), JANE)
        assert await former(master) == []


async def test_a_write_that_is_repeated_under_its_key_is_not_a_repeated_password(url: str) -> None:
    async with master_with(url, password_no_repeats=5) as master:
        (done,) = await master.write(setting("second", key="k"), JANE)
        (again,) = await master.write(setting("second", key="k"), JANE)
        assert again.position == done.position
        assert master.statistics().repeated_keys == 1
