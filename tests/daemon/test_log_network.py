"""The output network: syslog messages over TCP, also after the collector was away."""

from __future__ import annotations

import json
import logging
import re
import socket

from csproxy.daemon.log_format import JsonFormatter
from csproxy.daemon.log_network import NetworkOutput
from csproxy.daemon.logs import ALARM, STANDARD, TRACE
from tests.daemon.log_records import record

AT_S = 1_746_360_000.125


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def messages(data: bytes) -> list[str]:
    """Take messages apart by the lengths before them."""
    found: list[str] = []
    while data:
        length, _, rest = data.partition(b" ")
        found.append(rest[: int(length)].decode())
        data = rest[int(length) :]
    return found


def received(listener: socket.socket) -> list[str]:
    """What the next connection sends until its end."""
    connection, _ = listener.accept()
    with connection:
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
    return messages(b"".join(pieces))


def test_an_event_is_a_syslog_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        output = NetworkOutput(*listener.getsockname(), names=("my host", "cfg proxy"))
        output.add(record(STANDARD, "connected ünïcode\nforged", at_s=AT_S, event=4503))
        output.add(record(ALARM, "alarm", at_s=AT_S, event=22123))
        output.add(record(logging.ERROR, "error", at_s=AT_S))
        output.add(record(TRACE, "trace", at_s=AT_S))
        output.close()
        found = received(listener)
    assert re.fullmatch(
        r"<133>1 2025-05-04T12:00:00\.125Z my_host cfg_proxy \d+ 00-04503 "
        r'\[csproxy@32473 level="standard" logger="csproxy\.test"\] connected ünïcode\\nforged',
        found[0],
    )
    assert [re.match(r"<(\d+)>1 ", each)[1] for each in found] == ["133", "129", "131", "134"]  # type: ignore[index]
    assert " 21-22123 " in found[1]
    assert " - [csproxy@32473 level=" in found[2]


def test_with_json_the_message_is_the_object() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        output = NetworkOutput(*listener.getsockname(), names=("h", "a"))
        output.formatter = JsonFormatter(host="h", application="a")
        output.add(record(STANDARD, "x", event=4503))
        output.close()
        (found,) = received(listener)
    assert json.loads(found.partition("] ")[2])["event"] == "00-04503"


def test_a_collector_that_was_away_gets_what_was_kept() -> None:
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    output = NetworkOutput(*address, names=("h", "a"), clock=clock)
    for text in ("one", "two"):
        output.add(record(STANDARD, text))
        output.flush()
        assert "refused" in output.problem
    with socket.create_server(address) as listener:
        output.flush()
        assert output.problem, "not tried again so soon"
        clock.now_s += 5
        output.flush()
        assert output.problem == ""
        connection, _ = listener.accept()
        first = messages(connection.recv(65536))
        connection.close()
        while not output.problem:  # the end of the connection arrives in a moment
            output.add(record(STANDARD, "three"))
            output.flush()
        clock.now_s += 5
        output.close()
        second = received(listener)
    assert [each.rpartition(" ")[2] for each in first] == ["one", "two"]
    assert {each.rpartition(" ")[2] for each in second} == {"three"}
