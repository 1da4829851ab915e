"""Connections that are refused: they get their notice, are forgotten when they have gone, and are cut when too many."""

from __future__ import annotations

from csproxy.transport.farewells import Farewells
from tests.transport.manual import ManualChannel


class Watched(ManualChannel):
    """Notes how it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closings: list[bool] = []

    def close(self, *, flush: bool = True) -> None:
        self.closings.append(flush)
        super().close(flush=flush)


def test_the_notice_is_sent_before_the_end_and_what_comes_is_dropped() -> None:
    farewells, channel = Farewells(), Watched()
    farewells.say(channel, b"why")
    channel.deliver(b"but")
    channel.take(1 << 20)
    assert bytes(channel.taken) == b"why"
    assert channel.closings == [True]
    assert repr(farewells) == "<Farewells 1 leaving>"


def test_when_too_many_are_leaving_further_ones_are_cut_without_a_word_until_some_have_gone() -> None:
    farewells = Farewells(limit=2)
    first, second, third, fourth = (Watched() for _ in range(4))
    for channel in (first, second, third):
        farewells.say(channel, b"why")
    third.take(1 << 20)
    assert (third.closings, bytes(third.taken), len(farewells)) == ([False], b"", 2)
    first.lose()
    farewells.say(fourth, b"why")
    fourth.take(1 << 20)
    assert (fourth.closings, bytes(fourth.taken), len(farewells)) == ([True], b"why", 2)
