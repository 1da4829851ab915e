"""What is kept of a user's log-ins: the last one, wrong passwords since, and whether the account is locked.

The rules say what follows from wrong passwords (`csproxy.core.password_rules`); time comes in, in milliseconds
since 1970. A state is a value: each log-in makes a new one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from csproxy.core.password_rules import MINUTE_MS, PasswordRules

__all__ = ["NO_STATE", "LogIn", "LogInState", "after", "is_locked"]


class LogInState(msgspec.Struct, frozen=True, array_like=True):
    """``last_ms`` is the last log-in (0: none is known), from ``address`` with ``application``.

    ``failed`` counts wrong passwords since then, the latest of them at ``failed_ms``; ``tries`` those that count
    for a lockout; ``locked_ms`` is when the account was locked, 0 if it is not.
    """

    last_ms: int = 0
    application: str = ""
    address: str = ""
    failed: int = 0
    failed_ms: int = 0
    tries: int = 0
    locked_ms: int = 0


class LogIn(msgspec.Struct, frozen=True, array_like=True):
    """One log-in of the Person ``dbid`` at ``time_ms``, right or wrong; ``is_kept``: it becomes the last one."""

    dbid: int
    time_ms: int
    is_right: bool
    is_kept: bool = False
    application: str = ""
    address: str = ""


NO_STATE: Final = LogInState()


def is_locked(state: LogInState, rules: PasswordRules, now_ms: int, *, changed_ms: int = 0) -> bool:
    """Whether the account is locked now; a password set since then, at ``changed_ms``, has unlocked it."""
    if not state.locked_ms or not rules.account_lockout_threshold or changed_ms > state.locked_ms:
        return False
    duration = rules.account_lockout_duration
    return not duration or now_ms < state.locked_ms + duration * MINUTE_MS


def after(state: LogInState, log_in: LogIn, rules: PasswordRules) -> LogInState:
    """The state after one more log-in."""
    return _after_right(state, log_in) if log_in.is_right else _after_wrong(state, log_in.time_ms, rules)


def _after_right(state: LogInState, log_in: LogIn) -> LogInState:
    if log_in.time_ms >= state.failed_ms:  # servers report late: what failed since is not forgotten
        state = msgspec.structs.replace(state, failed=0, failed_ms=0, tries=0, locked_ms=0)
    if not log_in.is_kept or log_in.time_ms < state.last_ms:
        return state
    return msgspec.structs.replace(
        state, last_ms=log_in.time_ms, application=log_in.application, address=log_in.address
    )


def _after_wrong(state: LogInState, time_ms: int, rules: PasswordRules) -> LogInState:
    noted = msgspec.structs.replace(state, failed=state.failed + 1, failed_ms=max(time_ms, state.failed_ms))
    if not rules.account_lockout_threshold or is_locked(state, rules, time_ms):
        return noted
    period = rules.account_lockout_attempts_period
    is_late = period > 0 and time_ms - state.failed_ms > period * MINUTE_MS
    tries = 1 if is_late else state.tries + 1
    if tries >= rules.account_lockout_threshold:
        return msgspec.structs.replace(noted, tries=0, locked_ms=time_ms)
    return msgspec.structs.replace(noted, tries=tries, locked_ms=0)
