"""The watch over a server's own Application object passes everything on and notices what concerns it."""

from __future__ import annotations

from typing import Any

from csproxy.core.changes import Action, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.daemon.application_watch import ApplicationWatch
from tests.transport.manual import EPOCH, application, manual_server, transaction

APPLICATION = 9
OWN = application(101, "own")
OTHER = application(102, "other")


def builder(*objects: dict[str, Any]) -> CacheBuilder:
    made = CacheBuilder(None)
    for each in objects:
        made.add(APPLICATION, [encode_object(SCHEMA.types[APPLICATION], each)], [0])
    return made


def watched() -> tuple[ApplicationWatch, list[dict[str, Any]]]:
    server, _ = manual_server([])
    seen: list[dict[str, Any]] = []
    watch = ApplicationWatch(server, "own", seen.append)
    watch.replace(builder(OWN, OTHER), Position(EPOCH, 1), [Epoch(EPOCH, 1)])
    return watch, seen


def test_the_first_data_set_shows_the_object() -> None:
    watch, seen = watched()
    assert [each["name"] for each in seen] == ["own"]
    assert watch.position == Position(EPOCH, 1)
    assert watch.cache.count(APPLICATION) == 2
    assert list(watch.epochs) == [Epoch(EPOCH, 1)]


def test_a_change_of_the_object_is_noticed_once_it_is_in_place() -> None:
    watch, seen = watched()
    options = {"options": {"added": {"log": {"verbose": "all"}}}}
    watch.publish(transaction(2, (Action.UPDATED, APPLICATION, OWN, options)))
    assert seen[-1]["options"] == {"log": {"verbose": "all"}}
    assert watch.cache.stored(APPLICATION, 101) == seen[-1]


def test_other_objects_and_its_deletion_are_passed_over() -> None:
    watch, seen = watched()
    watch.publish(transaction(2, (Action.UPDATED, APPLICATION, OTHER, {"version": "9"})))
    watch.publish(transaction(3, (Action.DELETED, APPLICATION, OWN, None)))
    assert len(seen) == 1
    assert watch.cache.count(APPLICATION) == 1


def test_a_reload_is_noticed_only_if_the_object_differs() -> None:
    watch, seen = watched()
    changed = {**application(105, "own"), "version": "9"}
    watch.replace(builder(changed, OTHER), Position(EPOCH, 5), [Epoch(EPOCH, 1)])
    assert [each["DBID"] for each in seen] == [101, 105]


def test_each_data_set_is_told_of_when_it_is_in_place() -> None:
    server, _ = manual_server([])
    found: list[tuple[int, int]] = []
    watch = ApplicationWatch(
        server, "own", lambda _: found.append((0, 0)),
        on_replace=lambda: found.append((watch.position.uen, watch.cache.count(APPLICATION))),
    )  # fmt: skip
    watch.replace(builder(OWN, OTHER), Position(EPOCH, 1), [Epoch(EPOCH, 1)])
    watch.replace(builder(OWN), Position(EPOCH, 5), [Epoch(EPOCH, 1)])
    assert [each for each in found if each != (0, 0)] == [(1, 2), (5, 1)]
    assert found[0] == (1, 2), "before anybody hears of the Application object"


def test_epochs_and_history_are_passed_on() -> None:
    watch, _ = watched()
    watch.set_epochs([Epoch(EPOCH, 1), Epoch(EPOCH + 1, 2)])
    assert list(watch.epochs) == [Epoch(EPOCH, 1), Epoch(EPOCH + 1, 2)]
    watch.extend_history([])
    assert watch.position == Position(EPOCH, 1)
