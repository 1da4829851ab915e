"""What goes wrong in a simulated run, and when: drawn from the seed, one fault after the other."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio

from tests.simulation.disks import Trouble
from tests.simulation.member_faults import MemberFaults
from tests.simulation.processes import Process
from tests.simulation.template import PROXIES

_KERNEL_NOTICES_S = 12.0
"""After so long a kernel gives up a connection whose other end says nothing (keep-alive, user time-out)."""

_TROUBLES = [trouble for trouble in Trouble if trouble is not Trouble.NONE]


class Faults:
    """Makes faults until `freeze`."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.rng = random.Random(f"{world.sim.seed} faults")
        self.made: dict[str, int] = {}
        self._tasks: Any = None

    async def run(self) -> None:
        """Make faults until cancelled; what they began goes on until it ends by itself or `freeze` comes."""
        rng, plan = self.rng, self.world.plan
        kinds: list[Callable[[], None]] = [
            self.cut,
            self.cut,
            self.cut_host,
            self.delay,
            self.partition,
            self.half_open,
            self.isolate_proxy,
            self.isolate_proxy,
            self.lag_proxy,
            self.lag_proxy,
            self.slow_reader,
            self.slow_reader,
            self.restart,
            self.crash,
            self.power_off,
            self.jump_clock,
            self.freeze_process,
        ]
        if plan.together:
            kinds = [*self.rng.sample(kinds, 8), *MemberFaults(self).kinds()]
        if plan.pair:
            kinds += [self.freeze_primary, self.crash_master, self.restart_master, self.power_off_master]
            kinds += [self.hang_primary, self.hang_primary]
        if plan.is_database_rough:
            kinds += [self.trouble_masters, self.trouble_masters, self.trouble_process]
        if plan.backups_are_restored:
            kinds += [self.make_backup, self.restore_backup]
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            if plan.backups_are_restored:  # once at least
                copied = rng.uniform(0.1, 0.5)
                self._later(plan.duration_s * copied, self.make_backup)
                self._later(plan.duration_s * (copied + rng.uniform(0.05, 0.2)), self.restore_backup)
            if plan.standby_lags:
                began = random.Random(f"{self.world.sim.seed} standby").uniform(0.2, 0.8)
                self._later(plan.duration_s * began, MemberFaults(self).lag_standby)
            while True:
                await anyio.sleep(rng.expovariate(1 / plan.fault_pause_s))
                kind = rng.choice(kinds)
                self.made[kind.__name__] = self.made.get(kind.__name__, 0) + 1
                self.world.note(f"fault: {kind.__name__}")
                kind()

    def freeze(self) -> None:
        """End all faults, and start what is down."""
        network = self.world.network
        network.heal()
        for host in self.world.hosts:
            network.read_slowly(host, bytes_per_s=None)
            network.delay(host, extra_s=0.0)
        for link in self.world.links:
            network.delay(*link, extra_s=0.0)
        for process in self.world.processes:
            process.disk.suffer(Trouble.NONE)
            process.thaw()
            process.start()

    async def notice_dead_peers(self) -> None:
        """What kernels do about ends that have died silently."""
        suspects: dict[Any, float] = {}
        while True:
            await anyio.sleep(2.0)
            ends = self.world.network._ends
            found = {end: far for end, far in ends.items() if far.is_dead and not end.is_dead}
            now = self.world.sim.now()
            suspects = {end: suspects.get(end, now) for end in found}
            for end, since in suspects.items():
                if now - since >= _KERNEL_NOTICES_S:
                    end.lose(TimeoutError("the peer does not answer"))

    # faults

    def cut(self) -> None:
        self.world.network.cut(*self._link())

    def cut_host(self) -> None:
        self.world.network.cut(self.rng.choice(self.world.hosts))

    def half_open(self) -> None:
        self.world.network.half_open(*self._link())

    def delay(self) -> None:
        host = self.rng.choice(self.world.hosts)
        self.world.network.delay(host, extra_s=self.rng.choice([0.05, 0.5, 2.0]))
        self._later(self.rng.uniform(0.5, 3), lambda: self.world.network.delay(host, extra_s=0.0))

    def partition(self) -> None:
        link = self._link()
        self.world.network.partition(*link)
        self._later(self.rng.choice([0.5, 3.0, 10.0]), lambda: self.world.network.heal(*link))

    def isolate_proxy(self) -> None:
        """Long enough for the master's window to move on."""
        proxy, master = self._proxy_and_master()
        self.world.network.cut(proxy, master)
        self.world.network.partition(proxy, master)
        self._later(self.rng.choice([2.0, 6.0]), lambda: self.world.network.heal(proxy, master))

    def lag_proxy(self) -> None:
        """Its clients see more at other servers than it has yet."""
        proxy, master = self._proxy_and_master()
        self.world.network.delay(proxy, master, extra_s=self.rng.uniform(0.3, 4.0))
        self._later(self.rng.uniform(2, 8), lambda: self.world.network.delay(proxy, master, extra_s=0.0))
        self._later(self.rng.uniform(0.3, 1.0), self.cut)

    def slow_reader(self) -> None:
        client = self.rng.choice([host for host in self.world.hosts if host.startswith("client")])
        window = self.rng.choice([None, 2_000])
        rate = self.rng.choice([50.0, 2_000.0, 20_000.0])
        self.world.network.read_slowly(client, bytes_per_s=rate, window_bytes=window)
        self._later(self.rng.uniform(1, 8), lambda: self.world.network.read_slowly(client, bytes_per_s=None))

    def freeze_process(self) -> None:
        """Stop any process in the middle of what it does, for shorter or longer than others wait for it."""
        self._freeze(self._process(), self.rng.choice([0.3, 3.0, 8.0]))

    def freeze_primary(self) -> None:
        """Until its backup has taken over, or nearly."""
        for master in self.world.masters:
            if master.is_primary:
                self._freeze(master, self.world.plan.lease_s * self.rng.uniform(0.8, 2.5))

    def hang_primary(self) -> None:
        """The primary's calls of the database do not return; what it has begun happens after its backup took over."""
        for master in self.world.masters:
            if master.is_primary:
                self._trouble([master], Trouble.HANGING, self.world.plan.lease_s * self.rng.uniform(1.2, 2.5))

    def crash_master(self) -> None:
        self._tasks.start_soon(self._down_and_up, self.rng.choice(self.world.masters), "crash")

    def restart_master(self) -> None:
        self._tasks.start_soon(self._down_and_up, self.rng.choice(self.world.masters), "stop")

    def power_off_master(self) -> None:
        self._tasks.start_soon(self._down_and_up, self.rng.choice(self.world.masters), "power_off")

    def trouble_masters(self) -> None:
        """The database fails one of the masters, or both."""
        masters = self.world.masters
        some = self.rng.sample(masters, self.rng.randint(1, len(masters)))
        self._trouble(some, self.rng.choice(_TROUBLES), self.rng.choice([0.2, 2.0, 8.0]))

    def trouble_process(self) -> None:
        """Any process: a proxy writes its local copy."""
        self._trouble([self._process()], self.rng.choice(_TROUBLES), self.rng.choice([0.2, 2.0, 8.0]))

    def make_backup(self) -> None:
        self.world.operator.make_backup()

    def restore_backup(self) -> None:
        """UENs and DBIDs go back, and other changes follow than those that clients have seen."""
        how = self.rng.choice(["stop", "crash"])
        self.world.work.start_soon(self.world.operator.restore_backup, how)

    def restart(self) -> None:
        self._tasks.start_soon(self._down_and_up, self._process(), "stop")

    def crash(self) -> None:
        self._tasks.start_soon(self._down_and_up, self._process(), "crash")

    def power_off(self) -> None:
        self._tasks.start_soon(self._down_and_up, self._process(), "power_off")

    def jump_clock(self) -> None:
        """Somebody sets the wall clock; nothing but the times in records may depend on it."""
        self.world.sim.wall_clock_offset_s += self.rng.choice([-86_400.0, -3_600.0, -0.5, 3_600.0, 40 * 86_400.0])

    def _freeze(self, process: Process, for_s: float) -> None:
        process.freeze()
        self._later(for_s, process.thaw)

    def _trouble(self, processes: list[Process], trouble: Trouble, for_s: float) -> None:
        disks = [process.disk for process in processes]
        for disk in disks:
            disk.suffer(trouble)
        self._later(for_s, lambda: [disk.suffer(Trouble.NONE) for disk in disks])

    async def _down_and_up(self, process: Process, how: str) -> None:
        self.world.note(f"{process.host}: {how}")
        await getattr(process, how)()
        await anyio.sleep(self.rng.choice([0.01, 0.5, 4.0]))
        process.start()

    def _process(self) -> Process:
        return self.rng.choice(self.world.processes)  # type: ignore[no-any-return]

    def _proxy_and_master(self) -> tuple[str, str]:
        return self.rng.choice(PROXIES), self.rng.choice(self.world.masters).host

    def _link(self) -> tuple[str, str]:
        return self.rng.choice(self.world.links)  # type: ignore[no-any-return]

    def _later(self, delay_s: float, fn: Any) -> None:
        async def wait() -> None:
            await anyio.sleep(delay_s)
            fn()

        self._tasks.start_soon(wait)
