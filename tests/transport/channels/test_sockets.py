"""Names of peers, and the bound on what the kernel queues."""

from __future__ import annotations

import socket

import pytest

from csproxy.transport.sockets import UNSENT_BYTES, bound_kernel_queue, peer_name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 2020), "127.0.0.1:2020"),
        (("::1", 2020, 0, 0), "[::1]:2020"),
        (None, "unknown"),
        ("/run/a.socket", "unknown"),
    ],
)
def test_peers_are_named_as_in_urls(address: object, name: str) -> None:
    assert peer_name(address) == name


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no bound on unsent bytes")
def test_accepted_connections_inherit_the_bound_of_their_listener() -> None:
    with socket.socket() as listener:
        bound_kernel_queue(listener)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES


def test_without_that_option_the_send_buffer_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_NOTSENT_LOWAT", raising=False)
    with socket.socket() as sock:
        bound_kernel_queue(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 4 * UNSENT_BYTES  # Linux doubles what is asked
