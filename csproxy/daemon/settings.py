"""What a daemon is started with: command line, environment, confserv.conf and defaults, in this order.

Environment variables are named by section and option with two underscores between them
(``CSPROXY_CONFSERV__PORT``, ``CSPROXY_DATABASE__DBNAME``, ``CSPROXY_LOG__VERBOSE``,
``CSPROXY_HISTORY_LOG__ACTIVE``); ``CSPROXY_CONF`` names the file. The variables of the `csproxy`
tool (``CSPROXY_HOST``, ``CSPROXY_PORT``, …) are not read here: exported for the tool, they would
turn a master into a proxy.

Every refusal names the place (file and line, variable or parameter), the option and what is valid.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csproxy.core.auth_options import find_auth_option, is_log_in_section
from csproxy.core.history import HISTORY_PAIRS
from csproxy.core.options import OptionValue
from csproxy.core.start_options import MANAGEMENT_OPTIONS
from csproxy.core.transport_parameters import look_up, transport_parameters
from csproxy.daemon.arguments import Arguments, parse_arguments
from csproxy.daemon.conf_file import ConfFile, read_conf
from csproxy.daemon.conf_options import (
    RUNTIME_SECTIONS,
    decrypt_secrets,
    file_texts,
    first_options,
    open_files,
    require_section,
)
from csproxy.daemon.option_texts import DATABASE, PREFIX, MergedTexts, OptionText, default, merge, parse
from csproxy.errors import ConfigurationError

__all__ = [
    "DaemonSettings",
    "DatabaseSettings",
    "PersistentSettings",
    "RuntimeLayers",
    "UpstreamSettings",
    "load_settings",
]

_CONF_NAMES = ("confserv.conf", "confserv.cfg")
_MANAGEMENT = {option.name for option in MANAGEMENT_OPTIONS}
"""Options of [csproxy] that may stand in a master's own section, too."""


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """The master that a proxy follows, and the password of the proxy's Application (empty: none is sent).

    ``transport`` has the parameters of the connection that come before those of the objects.
    """

    host: str
    port: int
    app_password: str = field(default="", repr=False)
    transport: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """The Configuration Database of a master: its URL, with the password, and without for people to read."""

    url: str = field(repr=False)
    shown: str
    reconnect_s: float


@dataclass(frozen=True, kw_only=True)
class PersistentSettings:
    """Persistent mode of a proxy: the database to read, and how long master and database are tried at the start."""

    database: DatabaseSettings
    master_s: float
    database_s: float


@dataclass(frozen=True, kw_only=True)
class RuntimeLayers:
    """Options of the sections that the Application object has, too, by where they come from: (section, option).

    ``fixed`` is command line and environment, ``file`` is confserv.conf; the Application object
    stands between them (`csproxy.daemon.runtime_options`). Options of log-ins are kept as texts, by section:
    `csproxy.auth.chain` reads them.
    """

    fixed: Mapping[tuple[str, str], OptionValue] = field(default_factory=dict)
    file: Mapping[tuple[str, str], OptionValue] = field(default_factory=dict)
    log_ins_fixed: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    log_ins_file: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def log_in_options(self, application: Mapping[str, Any]) -> dict[str, Any]:
        """The Application object's options with those of log-ins that stand in file and environment."""
        result = {section: dict(names) for section, names in self.log_ins_file.items()}
        for layer in (application, self.log_ins_fixed):
            for section, names in layer.items():
                if isinstance(names, Mapping):
                    result[section] = {**result.get(section, {}), **names}
        return result


@dataclass(frozen=True, kw_only=True)
class DaemonSettings:
    """Everything that a daemon needs to start; with ``upstream`` it is a proxy, else a master.

    ``transport`` has the parameters of a master's own port. ``first_options`` are those of confserv.conf, by section,
    that a new master's Application object gets (`csproxy.daemon.conf_options.first_options`). ``warnings`` are
    sentences to log once logging works.
    """

    application: str
    upstream: UpstreamSettings | None
    database: DatabaseSettings | None
    persistent: PersistentSettings | None
    address: str
    port: int
    transport: Mapping[str, str]
    lease_s: float
    licence: str | None
    conf_path: Path | None
    options: RuntimeLayers
    first_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()


def load_settings(argv: Sequence[str], *, directory: Path | None = None) -> DaemonSettings:
    """Read all sources. ``directory`` (default: the working directory) is where confserv.conf is looked for.

    Raises `ConfigurationError` with one sentence for the first thing that is wrong. ``-V`` and
    ``-help`` print and raise SystemExit(0).
    """
    arguments = parse_arguments(argv)
    path = _conf_path(arguments, directory or Path.cwd())
    conf = None if path is None else read_conf(path)
    is_proxy = arguments.host is not None
    application = arguments.application or "confserv"
    section = application if not is_proxy else "confserv" if arguments.persistent else None
    if conf is not None and section is not None:
        require_section(conf, section, arguments)
    from_argv = {
        "log": {name: OptionText(value, f"parameter -log-{name}", True) for name, value in arguments.log.items()},
        "csproxy": {name: OptionText(value, f"parameter -{name}", True) for name, value in arguments.csproxy.items()},
    }
    warnings: list[str] = []
    server = os.environ.get(f"{PREFIX}CONFSERV__SERVER", "")
    from_file = {} if conf is None else file_texts(conf, section, server, warnings=warnings)
    if conf is not None:
        warnings += open_files(conf, from_file, decrypt_secrets(conf, section or "confserv", from_file))
    merged, without_file = merge(from_argv, from_file)
    fixed = {(section, name) for section in RUNTIME_SECTIONS for name in without_file.texts(section)}
    options = {
        (section, name): parse(section, name, text)
        for section in RUNTIME_SECTIONS
        for name, text in merged.texts(section).items()
        if find_auth_option(section, name) is None
    }
    log_ins, log_ins_fixed = _log_ins(merged), _log_ins(without_file)
    own = {name: parse("confserv", name, text) for name, text in merged.confserv.items()}
    if not is_proxy:
        options = {("csproxy", name): own[name] for name in own.keys() & _MANAGEMENT} | options
    app_password = str(options.pop(("csproxy", "app-password"), ""))
    to_master = transport_parameters(str(options.pop(("csproxy", "master-transport"), "")))
    layers = RuntimeLayers(
        fixed={key: value for key, value in options.items() if key in fixed},
        file={key: value for key, value in options.items() if key not in fixed},
        log_ins_fixed=log_ins_fixed,
        log_ins_file=log_ins,
    )
    _require_fitting_history(options, merged.texts("history-log"))
    database = None if conf is None or section is None else _database(merged.database, conf)
    return DaemonSettings(
        application=application,
        upstream=UpstreamSettings(
            host=arguments.host,
            port=arguments.port or 0,
            app_password=app_password,
            transport=look_up(arguments.transport, to_master),
        )
        if arguments.host
        else None,
        database=None if is_proxy else database,
        persistent=_persistent(database, options) if arguments.persistent else None,
        address=str(own.get("address", default("confserv", "address"))),
        port=int(own.get("port", default("confserv", "port"))),  # type: ignore[arg-type]
        transport=transport_parameters(str(own.get("transport", ""))),
        lease_s=float(str(own.get("lease-time", default("confserv", "lease-time")))),
        licence=arguments.licence,
        conf_path=path,
        options=layers,
        first_options={} if is_proxy else first_options(from_file),
        warnings=tuple(warnings),
    )


def _log_ins(merged: MergedTexts) -> dict[str, dict[str, str]]:
    """The texts of the options of log-ins, by section and name; each is checked."""
    found: dict[str, dict[str, str]] = {}
    for section in (*merged.log_in_sections(), *RUNTIME_SECTIONS):
        for name, text in merged.texts(section).items():
            option = find_auth_option(section, name)
            if option is not None or is_log_in_section(section):
                parse(section, name, text)
                assert option is not None  # else it was refused
                found.setdefault(section, {})[option.name] = text.text
    return found


def _require_fitting_history(options: Mapping[tuple[str, str], OptionValue], texts: Mapping[str, OptionText]) -> None:
    """Two options of [history-log] of which one must exceed the other."""
    for less, more in HISTORY_PAIRS:
        low, high = (options.get(("history-log", name), default("history-log", name)) for name in (less, more))
        if high <= low:  # type: ignore[operator]  # both are numbers
            text = texts.get(more) or texts[less]
            raise text.refusal(f"{more}={high} of [history-log] must exceed {less}={low}")


def _persistent(
    database: DatabaseSettings | None, options: Mapping[tuple[str, str], OptionValue]
) -> PersistentSettings:
    assert database is not None  # without a file there is no such mode

    def seconds(name: str) -> float:
        return float(str(options.get(("csproxy", name), default("csproxy", name))))

    return PersistentSettings(
        database=database,
        master_s=seconds("cs-persistent-failover-tmout"),
        database_s=seconds("db-persistent-failover-tmout"),
    )


def _conf_path(arguments: Arguments, directory: Path) -> Path | None:
    """The file: -c, CSPROXY_CONF, confserv.conf or confserv.cfg.

    A proxy reads one only when it is named, or in persistent mode.
    """
    named = arguments.conf_file or os.environ.get(f"{PREFIX}CONF")
    if named:
        return directory / named
    if arguments.host is not None and not arguments.persistent:
        return None
    for name in _CONF_NAMES:
        if (directory / name).is_file():
            return directory / name
    if arguments.persistent:
        raise ConfigurationError(
            f"there is no confserv.conf in {directory}, which -proxy-persistent-mode needs for the database: "
            "name it with -c"
        )
    raise ConfigurationError(
        f"there is no confserv.conf in {directory}; start confserv in its folder, name it with -c, create one with "
        "csproxy init, or give -host, -port and -app to start a proxy"
    )


def _database(texts: dict[str, OptionText], conf: ConfFile) -> DatabaseSettings:
    # imported here: a proxy has no database
    from csproxy.core.persistence.engine import sqlite_url
    from csproxy.core.persistence.kinds import database_url, find_kind

    values = {name: parse("database", name, text) for name, text in texts.items()}

    def value(name: str) -> str:
        return str(values.get(name, default(DATABASE, name)))

    try:
        kind = find_kind(value("dbengine"))
    except ConfigurationError as e:
        raise ConfigurationError(f"{texts['dbengine'].where}: {e}") from None
    reconnect_s = float(value("reconnect-timeout"))
    if kind.backend == "sqlite":
        path = (conf.path.parent / value("dbname")).absolute()
        return DatabaseSettings(url=sqlite_url(path), shown=str(path), reconnect_s=reconnect_s)
    if "dbname" not in values:
        raise ConfigurationError(f"{conf.path}: dbengine={value('dbengine')} needs dbname, the database's name")
    url = database_url(
        kind,
        host=value("dbserver"),
        port=int(value("dbport")),
        name=value("dbname"),
        user=value("username"),
        password=value("password"),
    )
    return DatabaseSettings(
        url=url.render_as_string(hide_password=False), shown=url.render_as_string(), reconnect_s=reconnect_s
    )
