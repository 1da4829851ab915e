"""A pool of proxies behind a real HAProxy, with the configuration that `csproxy lb-config` makes for it.

Thousands of clients follow all changes of persons through the balancer while members die, are drained and come: each of
them must receive every change once, in order.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.pools.balanced import running_pool
from tests.pools.crowd import Crowd

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

CLIENTS = 2_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_member_is_killed_one_drained_one_added(tmp_path: Path) -> None:
    async with running_pool(tmp_path, clients=CLIENTS + 500) as pool:
        crowd = Crowd(pool.site.port, [("127.0.0.1", pool.port)], CLIENTS)

        async def trouble() -> None:
            await anyio.to_thread.run_sync(pool.members["member1"].kill)
            await anyio.sleep(3.0)
            assert await anyio.to_thread.run_sync(pool.members["member2"].stop) == 0
            await anyio.sleep(3.0)
            await anyio.to_thread.run_sync(pool.join, "member4")
            await anyio.to_thread.run_sync(pool.start_member, "member4")
            await anyio.to_thread.run_sync(pool.balancer.start)
            await anyio.to_thread.run_sync(pool.start_member, "member1")
            await anyio.sleep(3.0)

        await crowd.run(trouble)
        assert crowd.wrong() == []
        assert len(crowd.written) > 20
