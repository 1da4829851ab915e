"""A warm-standby pair of proxies as real processes, with clients that follow every change.

The primary is stopped, killed and frozen; whoever is primary then is the next victim. `tests.pools.run` does it again
and again, and measures how long clients have to wait.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pools.followers import Faults, Followers
from tests.pools.pairs import TROUBLES, running_pair

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

CLIENTS = 2_000
LIBRARY_CLIENTS = 50


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def test_clients_of_a_pair_miss_nothing_and_log_in_once(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        crowd = Followers(pair.site.port, pair.endpoints, CLIENTS, library=LIBRARY_CLIENTS)

        async def rounds() -> None:
            for make_trouble in TROUBLES.values():
                await make_trouble(pair, await pair.until_linked())
                await crowd.served()

        await crowd.run(rounds)
        assert crowd.faults() == Faults()
        assert crowd.counts()["registrations"] == CLIENTS + LIBRARY_CLIENTS
        assert crowd.counts()["restores"] >= len(TROUBLES) * CLIENTS
