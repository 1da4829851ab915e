"""How much one address may take of a server: connections, registrations and wrong passwords. No I/O, no clock.

An address is an IPv4 address or the /64 network of an IPv6 one, which a single host may have all of. Loopback,
addresses that are exempt (load balancers) and what is no IP address are not limited. Rates are token buckets that
hold one minute's worth: a whole call centre behind one address may come at once, and then goes on at the rate.

Source: our own choice; the vendor's server has no such limits.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final, NamedTuple

__all__ = ["MAX_PEERS", "Network", "PeerLimits", "PeerRefusal", "PeerTable", "parse_networks"]

MAX_PEERS: Final = 10_000
"""Addresses remembered beside those that are connected; beyond it the one longest silent is forgotten."""
_FULL_S: Final = 1.0
"""When to come back if only the end of another connection makes room."""
_MINUTE_S: Final = 60.0

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class PeerLimits(NamedTuple):
    """The options, each per address; 0 is no limit. Registrations and failed log-ins are per minute."""

    connections: int = 10_000
    unregistered: int = 2_000
    registrations: int = 6_000
    failures: int = 600
    exempt: tuple[Network, ...] = ()


class PeerRefusal(NamedTuple):
    """Why an address has to wait, as a sentence, and for how long at least."""

    text: str
    retry_after_s: float


class _Bucket:
    """What is left of a rate; it is full after a minute of silence."""

    __slots__ = ("_filled_s", "_tokens")

    def __init__(self) -> None:
        self._filled_s = float("-inf")
        self._tokens = 0.0

    def wait_s(self, per_minute: int, now_s: float) -> float:
        """Seconds until there is a token; 0.0 if there is one."""
        rate = per_minute / _MINUTE_S
        self._tokens = min(float(per_minute), self._tokens + (now_s - self._filled_s) * rate)
        self._filled_s = now_s
        return max(0.0, (1.0 - self._tokens) / rate)

    def take(self) -> None:
        self._tokens -= 1.0


class _Peer:
    __slots__ = ("connections", "failures", "registrations", "unregistered")

    def __init__(self) -> None:
        self.connections = 0
        self.unregistered = 0
        self.registrations = _Bucket()
        self.failures = _Bucket()


class PeerTable:
    """Counts by address. Times are seconds of any monotonic clock; ``limits`` may be changed at any time."""

    def __init__(self, limits: PeerLimits | None = None, *, max_peers: int = MAX_PEERS) -> None:
        self.limits = limits or PeerLimits()
        self._max = max_peers
        self._connected: dict[str, _Peer] = {}
        self._silent: OrderedDict[str, _Peer] = OrderedDict()

    def __repr__(self) -> str:
        return f"<PeerTable {len(self._connected)} connected, {len(self._silent)} remembered>"

    def __len__(self) -> int:
        return len(self._connected) + len(self._silent)

    def key(self, host: str) -> str:
        """The address that ``host`` counts for; "" for one that is not limited."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return ""
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback or any(address in network for network in self.limits.exempt):
            return ""
        return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))

    def opened(self, key: str) -> PeerRefusal | None:
        """Count a new connection of ``key``, or say why it is refused; then it does not count."""
        limits, peer = self.limits, self._connected.get(key)
        if peer is None:
            peer = self._silent.pop(key, None) or _Peer()
            self._connected[key] = peer
        elif 0 < limits.connections <= peer.connections:
            return PeerRefusal(f"there are {peer.connections} connections from {key} already", _FULL_S)
        elif 0 < limits.unregistered <= peer.unregistered:
            return PeerRefusal(f"{peer.unregistered} connections from {key} have not registered yet", _FULL_S)
        peer.connections += 1
        peer.unregistered += 1
        return None

    def registering(self, key: str, now_s: float) -> PeerRefusal | None:
        """Count an attempt to log in, or say why it is refused without looking at it."""
        limits, peer = self.limits, self._connected[key]
        wait_s = limits.failures and peer.failures.wait_s(limits.failures, now_s)
        if wait_s:
            return PeerRefusal(f"too many log-ins from {key} have failed", wait_s)
        if limits.registrations:
            wait_s = peer.registrations.wait_s(limits.registrations, now_s)
            if wait_s:
                return PeerRefusal(f"too many clients from {key} register at once", wait_s)
            peer.registrations.take()
        return None

    def failed(self, key: str, now_s: float) -> None:
        """A log-in of ``key`` was wrong; some may be found wrong after the limit was reached, and count too."""
        peer = self._connected.get(key) or self._silent.get(key)
        if peer is not None and self.limits.failures:
            peer.failures.wait_s(self.limits.failures, now_s)
            peer.failures.take()

    def registered(self, key: str) -> None:
        """One of the connections of ``key`` has logged in."""
        self._connected[key].unregistered -= 1

    def closed(self, key: str, *, was_registered: bool) -> None:
        """One of the connections of ``key`` has ended; what it has used up is remembered for a while."""
        peer = self._connected[key]
        peer.connections -= 1
        peer.unregistered -= not was_registered
        if not peer.connections:
            del self._connected[key]
            self._silent[key] = peer
            if len(self._silent) > self._max:
                self._silent.popitem(last=False)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks (10.0.0.0/8), comma-separated. Raises ValueError with a sentence."""
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
