"""What the configuration texts of all balancers share: sizes, addresses towards the members, names.

A connection from a balancer to one port of a member takes one port of the balancer's address, and an address has
65,535. All clients may have to go to one member: so many addresses are needed as ``clients / 65,535``, rounded up.

Source: the chapter on load-balanced proxies (SNAT).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from csproxy.errors import ConfigurationError

__all__ = ["PORTS_OF_AN_ADDRESS", "Sizing", "snat_comment", "token"]

PORTS_OF_AN_ADDRESS: Final = 65_535


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """What a site expects of its balancer.

    ``clients``: connections at the same time. ``idle_timeout_s``: a connection on which nothing moves for so long is
    cut. ``check_interval_s``: time between two checks of a member. ``sources``: addresses of the balancer that face
    the members; none leaves it to the balancer.
    """

    clients: int
    idle_timeout_s: int
    check_interval_s: int
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` when there are fewer sources than it takes, or one is no address."""
        for source in self.sources:
            try:
                ip_address(source)
            except ValueError:
                raise ConfigurationError(f"{source!r} is no IPv4 or IPv6 address") from None
        if max(len(self.sources), 1) < self.sources_needed:
            raise ConfigurationError(
                f"{self.clients} clients need {self.sources_needed} source addresses of the balancer "
                f"({PORTS_OF_AN_ADDRESS} connections to a member from each): {len(self.sources) or 'none'} given"
            )

    @property
    def sources_needed(self) -> int:
        """Addresses towards the members without which ports run out."""
        return -(-self.clients // PORTS_OF_AN_ADDRESS)


def snat_comment(sizing: Sizing) -> list[str]:
    """The arithmetic of source addresses, as lines of text."""
    needed = sizing.sources_needed
    given = f"{len(sizing.sources)} given" if sizing.sources else "the balancer's own"
    return [
        f"One source address has {PORTS_OF_AN_ADDRESS} ports, each for one connection to a port of a member.",
        "If all members but one are down, that one has all clients:",
        f"{sizing.clients} clients / {PORTS_OF_AN_ADDRESS} ports = {sizing.clients / PORTS_OF_AN_ADDRESS:.2f}, "
        f"so {needed} source address{'es' if needed > 1 else ''}; {given}.",
    ]


def token(name: str) -> str:
    """A name in the letters that every balancer takes: letters, digits, ``_``, ``-`` and ``.``."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)
