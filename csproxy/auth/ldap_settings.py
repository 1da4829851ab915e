"""Which directories check a user's password, and how: the LDAP options as objects.

A section at the Person comes before the Tenant's, and that before the server's. Two rules keep the server's
secrets where they belong: whoever names a directory (ldap-url) names all of them, so that a Tenant's passwords are
not tried at the server's directories; and the account and certificate shown to a directory come from the level
that names it, or a nearer one, so that nobody who may edit a Tenant can have the server's account sent elsewhere.

Source: the order of the levels is the vendor's; these two rules are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from csproxy.core.auth_options import AUTH_OPTIONS, OptionValues, sections_of
from csproxy.core.ldap_url import LdapUrl, parse_ldap_url
from csproxy.core.options import OptionValue

__all__ = ["LdapServer", "LdapSettings", "ldap_settings"]

_DEFAULTS: Final = {option.name: option.default for option in AUTH_OPTIONS if option.section == "gauth_ldap"}
_BOUND_TO_URL: Final = frozenset({"app-user", "password", "start-tls", "cacert-path", "cert-path", "key-path"})


@dataclass(frozen=True, kw_only=True)
class LdapServer:
    """One directory. Times are whole seconds; paths are PEM files or empty."""

    section: str
    url: LdapUrl
    app_user: str = ""
    password: str = field(default="", repr=False)
    start_tls: bool = False
    cacert_path: str = ""
    cert_path: str = ""
    key_path: str = ""
    connect_timeout_s: int = 10
    idle_timeout_s: int = 300
    chase_referrals: bool = False
    verbose: bool = False

    def __str__(self) -> str:
        return f"{self.url.host}:{self.url.port}"

    @property
    def is_encrypted(self) -> bool:
        """Whether passwords travel through TLS."""
        return self.url.is_secure or self.start_tls


@dataclass(frozen=True, kw_only=True)
class LdapSettings:
    """The directories in their order, and what concerns all of them."""

    servers: tuple[LdapServer, ...]
    retry_attempts: int = 3
    retry_interval_s: float = 10.0
    cache_time_s: float = 0.0
    negative_cache_time_s: float = 0.0


def ldap_settings(levels: Sequence[OptionValues], *, cache_time_s: float, negative_cache_time_s: float) -> LdapSettings:
    """Put the settings together; ``levels`` are the options of Person, Tenant and server, nearest first.

    No level names a directory: ``servers`` is empty.
    """
    naming = next((place for place, level in enumerate(levels) if _named(level)), None)
    if naming is None:
        return LdapSettings(servers=(), cache_time_s=cache_time_s, negative_cache_time_s=negative_cache_time_s)
    sections = _named(levels[naming])

    def value(section: str, name: str) -> OptionValue:
        looked_at = levels[: naming + 1] if name in _BOUND_TO_URL or name == "ldap-url" else levels
        return next((level[section, name] for level in looked_at if (section, name) in level), _DEFAULTS[name])

    return LdapSettings(
        servers=tuple(
            LdapServer(
                section=section,
                url=parse_ldap_url(str(value(section, "ldap-url"))),
                app_user=str(value(section, "app-user")),
                password=str(value(section, "password")),
                start_tls=bool(value(section, "start-tls")),
                cacert_path=str(value(section, "cacert-path")),
                cert_path=str(value(section, "cert-path")),
                key_path=str(value(section, "key-path")),
                connect_timeout_s=int(value(section, "connect-timeout")),  # type: ignore[arg-type]
                idle_timeout_s=int(value(section, "idle-timeout")),  # type: ignore[arg-type]
                chase_referrals=bool(value(section, "chase-referrals")),
                verbose=bool(value(section, "verbose")),
            )
            for section in sections
        ),
        retry_attempts=int(value(sections[0], "retry-attempts")),  # type: ignore[arg-type]
        retry_interval_s=float(value(sections[0], "retry-interval")),  # type: ignore[arg-type]
        cache_time_s=cache_time_s,
        negative_cache_time_s=negative_cache_time_s,
    )


def _named(level: OptionValues) -> list[str]:
    return [section for section in sections_of(level, "gauth_ldap") if level.get((section, "ldap-url"))]
