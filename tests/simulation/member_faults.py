"""What goes wrong with two proxies that belong together: with their link, the one that serves, both, all clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from csproxy.core.standby import Role
from csproxy.testing.checker_pairs import TAKEN_OVER_WITHIN_S
from tests.simulation.plan import PAIR
from tests.simulation.proxies import Proxy
from tests.simulation.template import PROXIES


class MemberFaults:
    """Faults for `tests.simulation.faults.Faults`, which carries them out; ``faults`` is that."""

    def __init__(self, faults: Any) -> None:
        self._world = faults.world
        self._rng = faults.rng
        self._later = faults._later
        self._freeze = faults._freeze
        self._down_and_up = faults._down_and_up
        self._start: Callable[..., object] = lambda *task: faults._tasks.start_soon(*task)

    def kinds(self) -> list[Callable[[], None]]:
        """Those that fit, as often as they shall be drawn."""
        both = [self.storm, self.storm, self.end_both, self.part_member_and_clients]
        if self._world.plan.together != PAIR:
            return both
        return [
            *both,
            *[self.part_members] * 2,
            *[self.split] * 3,
            *[self.lag_link] * 3,
            *[self.stop_primary] * 3,
            *[self.kill_primary] * 3,
            *[self.freeze_primary_member] * 2,
            *[self.hand_over] * 2,
            *[self.promote] * 2,
            *[self.race] * 2,
            *[self.lag_standby] * 3,
        ]

    # what concerns members of pairs and pools

    def storm(self) -> None:
        """All clients of a member lose their connections at once, and come back at once."""
        member = self._primary()
        for client in self._clients():
            self._world.network.cut(client, member.host)

    def end_both(self) -> None:
        """Nobody is there; they come back in either order, together or one after the other."""
        for member in self._rng.sample(self._world.proxies, 2):
            self._start(self._down_and_up, member, self._rng.choice(["stop", "crash", "power_off"]))

    def part_member_and_clients(self) -> None:
        """Some clients cannot reach a member, which lives: they go to the other, if that takes them."""
        self._part_clients(self._primary().host, self._rng.choice([1.0, 6.0]))

    # pairs

    def part_members(self) -> None:
        """They cannot see each other; clients can see both."""
        self._part(*PROXIES, self._rng.choice([1.0, 6.0, 15.0]))

    def split(self) -> None:
        """They cannot see each other, and some clients only the one, some the other: both serve, perhaps by command."""
        for_s = self._rng.choice([6.0, 12.0])
        self._part(*PROXIES, for_s)
        primary = self._primary()
        if self._rng.random() < 0.6:
            self._world.network.cut(*PROXIES)
            self._later(0.1, lambda: self._promote(self._other(primary)))
        self._later(self._rng.choice([0.2, 4.0]), lambda: self._part_clients(primary.host, for_s))

    def lag_link(self) -> None:
        """The standby hears late of sessions; perhaps never of the last ones, because the primary dies."""
        network = self._world.network
        network.delay(*PROXIES, extra_s=self._rng.choice([0.3, 1.0, 3.0]))
        self._later(self._rng.uniform(2, 6), lambda: network.delay(*PROXIES, extra_s=0.0))
        if self._rng.random() < 0.7:
            self._later(self._rng.uniform(0.5, 2), self.kill_primary)

    def lag_standby(self) -> None:
        """It takes over while it is behind: clients come to it with positions that it has yet to reach."""
        network, primary = self._world.network, self._primary()
        standby, extra_s = self._other(primary), self._rng.choice([1.5, 4.0])
        links = [(standby.host, master.host) for master in self._world.masters]
        for link in links:
            network.delay(*link, extra_s=extra_s)
        self._later(self._rng.uniform(4, 8), lambda: [network.delay(*link, extra_s=0.0) for link in links])
        self._start(self._switch_when_behind, primary, standby)

    async def _switch_when_behind(self, primary: Proxy, standby: Proxy) -> None:
        """Once a change has come to the one and not to the other; after a while in any case."""

        def is_behind() -> bool:
            one, other = primary.server, standby.server
            return one is not None and other is not None and other.position.uen < one.position.uen

        with anyio.move_on_after(4.0):
            while not is_behind():  # noqa: ASYNC110 - time is simulated
                await anyio.sleep(0.05)
        await anyio.sleep(self._rng.choice([0.1, 0.5]))
        self._rng.choice([self.stop_primary, self.kill_primary, self.hand_over])()

    def stop_primary(self) -> None:
        """In an orderly way: it hands over."""
        self._start(self._down_and_up, self._primary(), "stop")

    def kill_primary(self) -> None:
        self._start(self._down_and_up, self._primary(), self._rng.choice(["crash", "crash", "power_off"]))

    def freeze_primary_member(self) -> None:
        """Until the standby has taken over, or nearly."""
        self._freeze(self._primary(), self._rng.choice([1.0, 5.0, 14.0]))

    def hand_over(self) -> None:
        """On command, there and perhaps back again at once."""
        self._hand_over(self._primary())
        if self._rng.random() < 0.4:
            self._later(self._rng.choice([0.0, 0.02, 0.3]), lambda: self._hand_over(self._primary()))

    def promote(self) -> None:
        """The operator lets the standby serve while the two cannot see each other."""
        self._world.network.cut(*PROXIES)
        self._part(*PROXIES, self._rng.choice([1.0, 5.0]))
        standby = self._other(self._primary())
        self._later(self._rng.choice([0.0, 0.1, 0.6]), lambda: self._promote(standby))

    def race(self) -> None:
        """In the middle of a hand-over the link ends, is parted, or one of the two dies, and the other may serve."""
        primary = self._primary()
        other = self._other(primary)
        self._hand_over(primary)
        do = self._rng.choice(
            [
                lambda: self._world.network.cut(*PROXIES),
                lambda: self._part(*PROXIES, 3.0),
                lambda: self._start(self._down_and_up, other, "crash"),
                lambda: self._start(self._down_and_up, primary, "crash"),
                lambda: self._freeze(other, 5.0),
                lambda: self._hand_over(other),
            ]
        )
        least, most = self._world.plan.latency_s
        self._later(self._rng.uniform(0, 4 * max(least, most)), do)

    async def switch_in_peace(self, how: str) -> None:
        """When all other faults have ended, the one that serves hands over, or dies (``how``) and stays away."""
        primary = self._primary()
        if how == "hand_over":
            self._hand_over(primary)
        else:
            await getattr(primary, how)()
            await anyio.sleep(TAKEN_OVER_WITHIN_S)
            primary.start()

    def _primary(self) -> Proxy:
        """The member of a pair that serves; any, if none does, both do, or they are of a pool."""
        proxies: list[Proxy] = self._world.proxies
        serving = [each for each in proxies if each.member is not None and each.member.role is Role.PRIMARY]
        return self._rng.choice(serving or proxies)  # type: ignore[no-any-return]

    def _other(self, member: Proxy) -> Proxy:
        return next(each for each in self._world.proxies if each is not member)

    def _hand_over(self, member: Proxy) -> None:
        if member.member is not None:
            member.order(member.member.hand_over)

    def _promote(self, member: Proxy) -> None:
        pair = member.member
        if pair is None:
            return

        async def promote() -> None:
            pair.promote()

        member.order(promote)

    def _clients(self) -> list[str]:
        return [client.name for client in self._world.clients]

    def _part(self, one: str, other: str, for_s: float) -> None:
        self._world.network.partition(one, other)
        self._later(for_s, lambda: self._world.network.heal(one, other))

    def _part_clients(self, member: str, for_s: float) -> None:
        clients = self._clients()
        for client in self._rng.sample(clients, (len(clients) + 1) // 2):
            self._world.network.cut(client, member)
            self._part(client, member, for_s)
