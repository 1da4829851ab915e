"""A program for the listener's tests: an echo server that is short of file descriptors.

    crowded_server.py BACKEND CROWD

BACKEND is asyncio, uvloop or trio. With CROWD "limit" the process may open a few descriptors more
than it has; with "full" none is left while it starts to listen, and all come back when a byte
arrives on standard input. It prints the port, serves, and prints its statistics at the end of input.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

import anyio

from csproxy.transport.channel import Channel
from csproxy.transport.listener import Listener, ListenPort

ROOM = 20


class Echo:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        channel.start(self)

    def receive(self, data: bytes) -> None:
        self._channel.write(data)

    def writable(self) -> None:
        pass

    def closed(self, error: Exception | None) -> None:
        pass


def limit_descriptors() -> None:
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + ROOM, highest + ROOM))


def use_up_descriptors(*, but: int) -> list[int]:
    taken = []
    while True:
        try:
            taken.append(os.dup(0))
        except OSError:
            break
    for _ in range(but):
        os.close(taken.pop())
    return taken


async def read_input() -> bytes:
    await anyio.wait_readable(0)
    return os.read(0, 1)


async def main(crowd: str) -> None:
    limit_descriptors()
    taken = use_up_descriptors(but=1) if crowd == "full" else []
    listener = Listener([ListenPort("default", "127.0.0.1", 0)], lambda channel, _: Echo(channel))
    async with listener:
        os.write(1, b"%d\n" % listener.addresses()["default"][1])
        while await read_input():
            for descriptor in taken:
                os.close(descriptor)
            taken.clear()
    os.write(1, b"%d %d\n" % (listener.statistics().accepted, listener.statistics().turned_away))


if __name__ == "__main__":
    options: dict[str, Any] = {"backend": "trio" if sys.argv[1] == "trio" else "asyncio"}
    if sys.argv[1] == "uvloop":
        options["backend_options"] = {"use_uvloop": True}
    anyio.run(main, sys.argv[2], **options)
