"""Every door but plain reads: nothing tells of what an account may not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from permission_world import Follower, Site, site

from csproxy.core import codec
from csproxy.core.history import HistorySettings
from csproxy.core.sessions import Author
from csproxy.errors import ErrorCode, ModelError, ServerError
from csproxy.testing.permission_model import ACCESS_GROUP, FOLDER, PERSON, SKILL
from csproxy.transport.history import MasterHistory
from csproxy.transport.wire import administration as wire
from csproxy.transport.wire.history import HistoryRecords, ReadHistory
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.subscriptions import RegisterNotification, ResumeFrom, Subscription
from csproxy.transport.wire.writes import CreateObject, DeleteObject, UpdateObject

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


FULL = {(ACCESS_GROUP, 98): 127, (ACCESS_GROUP, 96): 127}


async def with_jane(world: Site) -> tuple[Follower, int, int]:
    """Jane, who may not read the second of two skills."""
    obj = {"tenantDBID": 1, "userName": "jane", "firstName": "Jane", "employeeID": "j", "isAgent": 1}
    jane = await world.create(PERSON, obj)
    seen = await world.create(SKILL, {"name": "seen", "tenantDBID": 1})
    hidden = await world.create(SKILL, {"name": "hidden", "tenantDBID": 1})
    await world.set_list((SKILL, hidden), dict(FULL))
    await world.settle()
    return Follower(world, "proxy", "jane", jane), seen, hidden


async def refusal(client: Follower, message: MessageId, request: Any = b"") -> tuple[ErrorCode, str]:
    with pytest.raises(ServerError) as caught:
        await client.connection.request(message, request)
    return caught.value.code, caught.value.description


async def test_counts_and_comparisons_are_for_those_who_read_everything(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        jane, _, _ = await with_jane(world)
        await jane.connect()
        status = codec.decode_map((await jane.connection.request(MessageId.READ_STATUS)).payload)["status"]
        assert not {"objects", "history"} & status.keys()
        assert status["role"] == "proxy"
        for message in (MessageId.VERIFY, MessageId.READ_DIGEST):
            assert (await refusal(jane, message))[0] == ErrorCode.NO_PERMISSION
        default = Follower(world, "proxy", "default", 100)
        await default.connect()
        status = codec.decode_map((await default.connection.request(MessageId.READ_STATUS)).payload)["status"]
        assert status["objects"] > 0
        await default.connection.request(MessageId.READ_DIGEST)


async def test_security_records_are_for_proxies_only(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        default = Follower(world, "master", "default", 100)
        await default.connect()
        granted = codec.decode_map((await default.connection.request(MessageId.LOAD_BEGIN)).payload)
        assert max(granted["counts"]) < 1000
        for number in (1000, 1000 + SKILL, 1100):
            for message, request in (
                (MessageId.READ_OBJECTS, ReadObjects(type=number)),
                (MessageId.READ_OBJECTS, ReadObjects(type=number, filter={"dbid": 100})),
                (MessageId.READ_OBJECTS, ReadObjects(type=number, snapshot=granted["snapshot"])),
                (MessageId.GET_BRIEF_INFO, ReadObjects(type=number)),
                (MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=number)),
                (MessageId.RESUME_FROM, ResumeFrom(subscriptions=[Subscription(object_type=number)])),
            ):
                assert (await refusal(default, message, request))[0] == ErrorCode.UNSUPPORTED_OBJECT
        default.copy = await default.read(SKILL)
        await world.set_list((FOLDER, SKILL), dict(FULL))  # its record would fail the client
        await default.catch_up()


async def test_the_history_log_shows_what_may_be_read_now(tmp_path: Path) -> None:
    async with site(tmp_path) as world, MasterHistory(world.database, "confserv") as history:
        world.master.history = history
        history.settings = HistorySettings()
        jane, seen, hidden = await with_jane(world)
        jane.host = "master"
        gone = await world.create(SKILL, {"name": "gone", "tenantDBID": 1})
        await world.delete(SKILL, gone)
        for n in range(5):
            await world.update(SKILL, hidden, {"name": f"hidden {n}"})
        await world.update(SKILL, seen, {"name": "seen once more"})

        async def skills(client: Follower) -> list[tuple[int, int]]:
            found, after = [], 0
            while True:
                request = ReadHistory(after=after, limit=2)
                frame = await client.connection.request(MessageId.READ_HISTORY, request)
                page = decode_payload(HistoryRecords, frame.payload)
                records = [codec.decode_map(bytes(raw)) for raw in page.records]
                found += [(r["action"], r["dbid"]) for r in records if r.get("type") == SKILL]
                assert client.account == (PERSON, 100) or all("type" in record for record in records)
                if not page.more:
                    return found
                after = page.numbers[-1]

        await jane.connect()
        assert await skills(jane) == [(74, seen), (75, seen)]
        everything = Follower(world, "master", "default", 100)
        await everything.connect()
        assert {dbid for _, dbid in await skills(everything)} == {seen, hidden, gone}


async def test_errors_of_writes_do_not_name_what_may_not_be_read(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        client, seen, hidden = await with_jane(world)
        jane = Author("jane", "default", client.account[1])
        await world.set_list((FOLDER, SKILL), {**FULL, client.account: 127})
        await world.set_list((FOLDER, PERSON), {**FULL, client.account: 127})
        await world.set_list((SKILL, seen), {**FULL, client.account: 127})
        stored = world.master.cache.stored(SKILL, hidden) or {}

        async def refused(request: Any) -> ModelError:
            with pytest.raises(ModelError) as caught:
                await world.database.write(request, jane)
            return caught.value

        taken = await refused(CreateObject(type=SKILL, object={"name": stored["name"], "tenantDBID": 1}))
        assert taken.code == ErrorCode.UNIQUENESS_VIOLATION
        assert f"skill {hidden}" not in str(taken)
        assert "a skill that may not be read" in str(taken)
        for dbid in (hidden, 999_999):
            error = await refused(UpdateObject(type=SKILL, dbid=dbid, delta={"name": "x"}))
            assert (error.code, str(error)) == (ErrorCode.OBJECT_NOT_FOUND, f"there is no skill {dbid}")
            error = await refused(DeleteObject(type=SKILL, dbid=dbid))
            assert (error.code, str(error)) == (ErrorCode.OBJECT_NOT_FOUND, f"there is no skill {dbid}")
            agent = {"tenantDBID": 1, "userName": "bob", "firstName": "Bob", "employeeID": "b", "isAgent": 2}
            agent |= {"agentInfo": {"skillLevels": [{"skillDBID": dbid, "level": 1}]}}
            error = await refused(CreateObject(type=PERSON, object=agent))
            assert error.code == ErrorCode.INCORRECT_REFERENCES
            assert f"skill {dbid}, which does not exist" in str(error)


async def test_only_who_may_read_an_object_hears_that_its_list_changed(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        jane, seen, hidden = await with_jane(world)
        jane.host = "master"
        await jane.connect()
        await jane.connection.request(MessageId.REGISTER_PERMISSIONS_NOTIFICATION)
        session = next(iter(session for session in world.master.sessions if session.account.user == "jane"))
        assert session.hears_permissions
        assert world.master.sight.sees(session, (SKILL, seen))
        assert not world.master.sight.sees(session, (SKILL, hidden))
        for name, found in (("seen", seen), ("hidden", hidden)):
            request = wire.ReadObjectPermissions(type=SKILL, dbid=found)
            if name == "seen":
                await jane.connection.request(MessageId.READ_OBJECT_PERMISSIONS, request)
            else:
                assert (await refusal(jane, MessageId.READ_OBJECT_PERMISSIONS, request))[
                    0
                ] == ErrorCode.OBJECT_NOT_FOUND


async def test_a_user_needs_execute_on_the_application(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        jane, _, _ = await with_jane(world)
        await world.set_list((9, 100), {**FULL, jane.account: 1})
        await world.settle()
        with pytest.raises(ServerError) as caught:
            await jane.connect()
        assert caught.value.code == ErrorCode.NO_PERMISSION
        await world.set_list((9, 100), {**FULL, jane.account: 8})
        await world.settle()
        await jane.connect()


async def test_a_read_for_another_account_shows_what_both_may_read(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        jane, seen, hidden = await with_jane(world)
        default = Follower(world, "proxy", "default", 100)
        await default.connect()
        await jane.connect()
        for client, number, dbid, expected in (
            (default, 3, jane.account[1], {(SKILL, seen)}),
            (default, "CFGAccessGroup", 98, {(SKILL, seen), (SKILL, hidden)}),
            (jane, 21, 98, {(SKILL, seen)}),
        ):
            assert set(await client.read(SKILL, delegate_dbid=dbid, delegate_type=number)) == expected
        for filter in ({"delegate_dbid": 98}, {"delegate_dbid": 98, "delegate_type": 13}):
            request = ReadObjects(type=SKILL, filter=filter)
            assert (await refusal(jane, MessageId.READ_OBJECTS, request))[0] == ErrorCode.WRONG_API_PARAMETERS
        await world.set_list((ACCESS_GROUP, 98), dict(FULL))
        await world.settle()
        texts = set()
        for dbid in (98, 999_999):
            request = ReadObjects(type=SKILL, filter={"delegate_dbid": dbid, "delegate_type": 21})
            code, text = await refusal(jane, MessageId.READ_OBJECTS, request)
            texts.add((code, text.replace(str(dbid), "N")))
        assert len(texts) == 1


async def test_a_client_that_was_away_resumes_over_changes_that_do_not_concern_it(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        jane, seen, _ = await with_jane(world)
        group = await world.create(ACCESS_GROUP, {"groupInfo": {"name": "others", "tenantDBID": 1}, "type": 1})
        await world.settle()
        await jane.start()
        jane.disconnect()
        member = {"added": [{"type": PERSON, "DBID": 100}]}
        await world.update(ACCESS_GROUP, group, {"memberIDs": member})
        await world.set_list((SKILL, seen), {**FULL, (ACCESS_GROUP, group): 1})
        await world.settle()
        assert await jane.resume()  # the skill has disappeared meanwhile, and that is told
        assert (SKILL, seen) not in jane.copy
        jane.disconnect()
        member = {"added": [{"type": PERSON, "DBID": jane.account[1]}]}
        await world.update(ACCESS_GROUP, group, {"memberIDs": member})
        await world.settle()
        assert not await jane.resume()


async def test_a_proxy_whose_account_sees_a_part_serves_that_part(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        jane, seen, hidden = await with_jane(world)
        assert world.source is not None
        default = Follower(world, "proxy", "default", 100)
        await default.start()
        await world.set_list((SKILL, seen), {(ACCESS_GROUP, 96): 127, jane.account: 1})  # SYSTEM has no part in it

        async def settle() -> None:
            with anyio.fail_after(60):
                await world.settle()
                while world.proxy.cache.get(SKILL, seen) is not None:  # noqa: ASYNC110 - nothing announces it
                    await anyio.sleep(0.001)

        await settle()
        await default.catch_up()
        assert (SKILL, seen) not in default.copy
        assert (SKILL, hidden) in default.copy
        for n in range(5):
            await world.update(SKILL, seen, {"name": f"seen {n}"})
            await world.update(SKILL, hidden, {"name": f"hidden {n}"})
        await world.settle()
        await default.catch_up()
        assert default.copy[SKILL, hidden] == world.master.cache.get(SKILL, hidden)
        assert (await refusal(default, MessageId.VERIFY))[0] == ErrorCode.ACCESS_DENIED
        await world.set_list((SKILL, seen), None)
        with anyio.fail_after(60):
            while world.proxy.cache.get(SKILL, seen) is None:  # noqa: ASYNC110 - nothing announces it
                await anyio.sleep(0.001)
        await world.settle()
        await default.catch_up()
        assert default.copy[SKILL, seen] == world.master.cache.get(SKILL, seen)


async def test_a_slow_client_gets_the_whole_shift_in_pieces(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        jane, _, _ = await with_jane(world)
        folder = await world.create(FOLDER, {"name": "many", "type": SKILL})
        text = "x" * 4000
        for n in range(60):
            obj = {"name": f"s{n}", "tenantDBID": 1, "userProperties": {"a": {"b": text}}}
            await world.create(SKILL, obj, folder)
        await world.settle()
        await jane.start()
        before = set(jane.copy)
        await world.set_list((FOLDER, folder), dict(FULL))
        await world.settle()
        await jane.catch_up()
        assert len(before - set(jane.copy)) == 61
        await world.set_list((FOLDER, folder), None)
        await world.settle()
        await jane.catch_up()
        assert set(jane.copy) == before


async def test_the_answer_to_a_deletion_does_not_show_what_its_author_could_not_read(tmp_path: Path) -> None:
    async with site(tmp_path) as world:
        client, seen, hidden = await with_jane(world)
        for skill, mask in ((seen, 1 | 16), (hidden, 16)):
            await world.set_list((SKILL, skill), {**FULL, client.account: mask})
        await world.settle()
        client.host = "master"
        await client.connect()
        for skill, shows in ((seen, True), (hidden, False)):
            frame = await client.connection.request(MessageId.DELETE_OBJECT, DeleteObject(type=SKILL, dbid=skill))
            answer = codec.decode_map(frame.payload)
            assert answer["dbid"] == skill
            assert ("former" in answer) is shows
        client.disconnect()
