"""How long refusals of log-ins take, by their reason: what a stranger could find out by measuring.

    python benchmarks/log_in_timing.py [ROUNDS]

In one process, without a network: the differences are those of the check itself. Reasons take turns, so that the
machine's moods meet all of them.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Final

import anyio

from csproxy.auth.internal import InternalAuthenticator
from csproxy.auth.passwords import hash_password
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Position
from csproxy.core.credentials import CredentialBook
from csproxy.core.log_in_state import LogInState
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.security_options import RULES
from csproxy.errors import LoginIncorrectError
from csproxy.transport.log_ins import LogIns, LogInSettings

ENABLED, DISABLED = 1, 2
RIGHT: Final = "the right one"
CASES: Final = {
    "unknown user": ("nobody", RIGHT),
    "user without a password": ("empty", RIGHT),
    "wrong password": ("jane", "a wrong one"),
    "disabled, right password": ("disabled", RIGHT),
    "disabled, wrong password": ("disabled", "a wrong one"),
    "locked out, right password": ("locked", RIGHT),
    "locked out, wrong password": ("locked", "a wrong one"),
    "expired, right password": ("expired", RIGHT),
}


def make() -> InternalAuthenticator:
    """Persons of every kind."""
    cache, book = ConfigurationCache(), CredentialBook()
    now_ms = round(time.time() * 1000)
    hash = hash_password(RIGHT)
    rules = {RULES: {"account-lockout-threshold": "100", "account-lockout-duration": "0", "account-expiration": "30"}}
    for dbid, name in enumerate(("jane", "empty", "disabled", "locked", "expired"), 101):
        person = {"DBID": dbid, "userName": name, "employeeID": name, "tenantDBID": 1, "userProperties": rules}
        person["state"] = DISABLED if name == "disabled" else ENABLED
        position = Position(1, cache.position.uen + 1)
        stored = encode_object(SCHEMA.types[3], person)
        change = Change(action=Action.CREATED, type=3, dbid=dbid, position=position, frame=b"", object=stored)
        cache.apply([change])
        if name != "empty":
            book.set_hash((3, dbid), hash, changed_ms=1 if name == "expired" else now_ms)
        if name == "locked":
            book.set_state(dbid, LogInState(locked_ms=now_ms))
    log_ins = LogIns(book, lambda: cache)
    log_ins.settings = LogInSettings(last_login=True)
    return InternalAuthenticator(lambda: cache, log_ins)


async def measure(rounds: int) -> None:
    """Print median and spread of each case."""
    authenticator = make()
    took_ms: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, (user, password) in CASES.items():
            start_s = time.perf_counter()
            try:
                await authenticator.authenticate(user, password)
            except LoginIncorrectError:
                took_ms[name].append(1000 * (time.perf_counter() - start_s))
            else:
                raise AssertionError(name)
    print(f"| {rounds} refusals each | median | p10 | p90 |\n|---|---|---|---|")
    for name, times in took_ms.items():
        deciles = statistics.quantiles(times, n=10)
        print(f"| {name} | {statistics.median(times):.2f} ms | {deciles[0]:.2f} ms | {deciles[-1]:.2f} ms |")


if __name__ == "__main__":
    anyio.run(measure, int(sys.argv[1]) if len(sys.argv) > 1 else 200)
