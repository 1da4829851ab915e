"""The rules for passwords and accounts: which hold for a user, and what they say.

A rule stands in the annex of the Person, else of its Tenant, else of the tenants above that one, Environment last;
each rule is looked up by itself. Passwords are checked where they are set, at the master; age, expiry and lockout
where a log-in is checked. Nothing here keeps a password, and no sentence shows one.

Source: the vendor's names of the rules; their semantics are ours (docs/topics/passwords.md).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from csproxy.core.auth_options import read_options
from csproxy.core.option_values import OptionValue
from csproxy.core.security_options import RULE_OPTIONS, RULES
from csproxy.core.tenants import ENVIRONMENT

__all__ = ["DAY_MS", "MINUTE_MS", "NO_RULES", "PasswordRules", "broken_rules", "password_rules"]

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000


class PasswordRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules that hold for one user: times in days and minutes, 0 or False where there is no rule."""

    account_expiration: int = 0
    account_lockout_threshold: int = 0
    account_lockout_attempts_period: int = 0
    account_lockout_duration: int = 30
    password_min_length: int = 0
    password_req_alpha: bool = False
    password_req_numeric: bool = False
    password_req_punctuation: bool = False
    password_req_mixed_case: bool = False
    password_expiration: int = 0
    password_no_repeats: int = 0

    def is_password_old(self, *, changed_ms: int, now_ms: int) -> bool:
        """Whether a password set at ``changed_ms`` must be changed (password-expiration)."""
        return _is_over(self.password_expiration, changed_ms, now_ms)

    def is_account_old(self, *, used_ms: int, now_ms: int) -> bool:
        """Whether an account was not used for too long (account-expiration); 0: it is not known when it was."""
        return used_ms > 0 and _is_over(self.account_expiration, used_ms, now_ms)


NO_RULES: Final = PasswordRules()
"""Nothing is asked for."""


def _is_over(days: int, since_ms: int, now_ms: int) -> bool:
    return days > 0 and now_ms - since_ms > days * DAY_MS


def password_rules(
    person: Mapping[str, Any], tenant: Callable[[int], Mapping[str, Any] | None]
) -> tuple[PasswordRules, list[str]]:
    """The rules for a Person, and a sentence for each that cannot be read: that one is looked up further above.

    ``tenant(dbid)`` gives the plain Tenant objects.
    """
    values: dict[tuple[str, str], OptionValue] = {}
    complaints: list[str] = []
    for whose, obj in _levels(person, tenant):
        if RULES in obj.get("userProperties", {}):
            found, wrong = read_options({RULES: obj["userProperties"][RULES]}, rows=RULE_OPTIONS)
            values = {**found, **values}
            complaints += [f"annex of {whose}: {complaint}" for complaint in wrong]
    given: dict[str, Any] = {name.replace("-", "_"): value for (_, name), value in values.items()}
    return PasswordRules(**given), complaints


def _levels(
    person: Mapping[str, Any], tenant: Callable[[int], Mapping[str, Any] | None]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield f"Person {person.get('userName', '')!r}", person
    seen: set[int] = set()
    dbid = person.get("tenantDBID", 0)
    while dbid not in seen:
        seen.add(dbid)
        found = tenant(dbid) or {}
        yield f"Tenant {found.get('name', '')!r}", found
        dbid = found.get("parentTenantDBID", 0) or ENVIRONMENT[0]


def broken_rules(password: str, rules: PasswordRules) -> str:
    """Which rules a new password breaks and what each of them asks for; "" if it keeps all."""
    requirements = (
        (
            "password-min-length",
            f"at least {rules.password_min_length} characters",
            len(password) >= rules.password_min_length,
        ),
        ("password-req-alpha", "a letter", not rules.password_req_alpha or any(map(str.isalpha, password))),
        ("password-req-numeric", "a digit", not rules.password_req_numeric or any(map(str.isdecimal, password))),
        (
            "password-req-punctuation",
            "a punctuation mark or symbol",
            not rules.password_req_punctuation or any(unicodedata.category(c)[0] in "PS" for c in password),
        ),
        (
            "password-req-mixed-case",
            "a capital and a small letter",
            not rules.password_req_mixed_case or (any(map(str.isupper, password)) and any(map(str.islower, password))),
        ),
    )
    return ", ".join(f"{asked_for} ({name})" for name, asked_for, is_kept in requirements if not is_kept)
