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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from csproxy.core.history import HISTORY_PAIRS
from csproxy.core.options import APPLICATION_OPTIONS, OptionValue, close_options, find_option
from csproxy.core.start_options import MANAGEMENT_OPTIONS
from csproxy.core.transport_parameters import look_up, transport_parameters
from csproxy.daemon.arguments import Arguments, parse_arguments
from csproxy.daemon.conf_file import ConfFile, read_conf
from csproxy.daemon.private_files import loose_permissions
from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError

__all__ = [
    "DaemonSettings",
    "DatabaseSettings",
    "PersistentSettings",
    "RuntimeLayers",
    "UpstreamSettings",
    "load_settings",
]

_PREFIX = "CSPROXY_"
_CONF_NAMES = ("confserv.conf", "confserv.cfg")
_DATABASE = "dbserver"
_SECRETS = (("database", "password"), ("csproxy", "app-password"))
"""What is encrypted in a file with encryption=true: (section of the table, option)."""
_MANAGEMENT = {option.name for option in MANAGEMENT_OPTIONS}
"""Options of [csproxy] that may stand in a master's own section, too."""
_RUNTIME_SECTIONS = tuple(dict.fromkeys(option.section for option in APPLICATION_OPTIONS))


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
    stands between them (`csproxy.daemon.runtime_options`).
    """

    fixed: Mapping[tuple[str, str], OptionValue] = field(default_factory=dict)
    file: Mapping[tuple[str, str], OptionValue] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DaemonSettings:
    """Everything that a daemon needs to start; with ``upstream`` it is a proxy, else a master.

    ``transport`` has the parameters of a master's own port. ``warnings`` are sentences to log once logging works.
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
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Text:
    """An option's text and the place where it stands; pydantic carries it through the merge as it is."""

    text: str = field(repr=False)
    where: str
    is_parameter: bool = False

    def refusal(self, sentence: str) -> ConfigurationError:
        """The error for a text that is wrong; wrong usage if it stands on the command line."""
        return (UsageError if self.is_parameter else ConfigurationError)(f"{self.where}: {sentence}")


class _Merged(BaseSettings):
    """The texts of all sources by section and option; `_Reader` checks them against the option table."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_nested_delimiter="__", extra="ignore")

    confserv: dict[str, _Text] = Field(default_factory=dict)
    database: dict[str, _Text] = Field(default_factory=dict)
    csproxy: dict[str, _Text] = Field(default_factory=dict)
    system: dict[str, _Text] = Field(default_factory=dict)
    security: dict[str, _Text] = Field(default_factory=dict)
    log: dict[str, _Text] = Field(default_factory=dict)
    log_extended: dict[str, _Text] = Field(default_factory=dict)
    history_log: dict[str, _Text] = Field(default_factory=dict)

    def texts(self, section: str) -> dict[str, _Text]:
        """The texts of a section."""
        found: dict[str, _Text] = getattr(self, _field(section))
        return found


def _field(section: str) -> str:
    """The field of a section: a field's name cannot have its hyphen."""
    return section.replace("-", "_")


class _Environment(EnvSettingsSource):
    """Environment variables; underscores of the last part stand for the hyphens of option names."""

    def __call__(self) -> dict[str, Any]:
        return {
            section: {
                name.replace("_", "-"): _Text(
                    str(value), f"environment variable {_PREFIX}{section.upper()}__{name.upper()}"
                )
                for name, value in options.items()
            }
            for section, options in super().__call__().items()
        }


class _Fixed(PydanticBaseSettingsSource):
    """A source that was read beforehand: the command line or the file."""

    def __init__(self, settings_cls: type[BaseSettings], values: dict[str, dict[str, _Text]]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked: `__call__` gives all fields at once."""
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {_field(section): options for section, options in self._values.items()}


def _merge(argv: dict[str, dict[str, _Text]], file: dict[str, dict[str, _Text]]) -> tuple[_Merged, _Merged]:
    """Two merges: argv over environment over file, and argv over environment alone."""

    def build(*, with_file: bool) -> _Merged:
        class Bound(_Merged):
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                last = (_Fixed(settings_cls, file),) if with_file else ()
                return (_Fixed(settings_cls, argv), _Environment(settings_cls), *last)

        return Bound()

    try:
        return build(with_file=True), build(with_file=False)
    except (SettingsError, ValidationError, AttributeError) as e:
        # not the text of a ValidationError: it holds what was given, which may be a secret
        reason = e.errors()[0]["msg"] if isinstance(e, ValidationError) else e
        raise ConfigurationError(
            f"the environment variables {_PREFIX}… cannot be read: {reason}; the form is {_PREFIX}LOG__VERBOSE=debug"
        ) from None


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
        _require_section(conf, section, arguments)
    from_argv = {
        "log": {name: _Text(value, f"parameter -log-{name}", True) for name, value in arguments.log.items()},
        "csproxy": {name: _Text(value, f"parameter -{name}", True) for name, value in arguments.csproxy.items()},
    }
    warnings: list[str] = []
    server = os.environ.get(f"{_PREFIX}CONFSERV__SERVER", "")
    from_file = {} if conf is None else _file_texts(conf, section, server, warnings=warnings)
    if conf is not None:
        warnings += _open_files(conf, from_file, _decrypt(conf, section or "confserv", from_file))
    merged, without_file = _merge(from_argv, from_file)
    fixed = {(section, name) for section in _RUNTIME_SECTIONS for name in without_file.texts(section)}
    options = {
        (section, name): _parse(section, name, text)
        for section in _RUNTIME_SECTIONS
        for name, text in merged.texts(section).items()
    }
    own = {name: _parse("confserv", name, text) for name, text in merged.confserv.items()}
    if not is_proxy:
        options = {("csproxy", name): own[name] for name in own.keys() & _MANAGEMENT} | options
    app_password = str(options.pop(("csproxy", "app-password"), ""))
    to_master = transport_parameters(str(options.pop(("csproxy", "master-transport"), "")))
    layers = RuntimeLayers(
        fixed={key: value for key, value in options.items() if key in fixed},
        file={key: value for key, value in options.items() if key not in fixed},
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
        address=str(own.get("address", _default("confserv", "address"))),
        port=int(own.get("port", _default("confserv", "port"))),  # type: ignore[arg-type]
        transport=transport_parameters(str(own.get("transport", ""))),
        lease_s=float(str(own.get("lease-time", _default("confserv", "lease-time")))),
        licence=arguments.licence,
        conf_path=path,
        options=layers,
        warnings=tuple(warnings),
    )


def _require_fitting_history(options: Mapping[tuple[str, str], OptionValue], texts: Mapping[str, _Text]) -> None:
    """Two options of [history-log] of which one must exceed the other."""
    for less, more in HISTORY_PAIRS:
        low, high = (options.get(("history-log", name), _default("history-log", name)) for name in (less, more))
        if high <= low:  # type: ignore[operator]  # both are numbers
            text = texts.get(more) or texts[less]
            raise text.refusal(f"{more}={high} of [history-log] must exceed {less}={low}")


def _persistent(
    database: DatabaseSettings | None, options: Mapping[tuple[str, str], OptionValue]
) -> PersistentSettings:
    assert database is not None  # without a file there is no such mode

    def seconds(name: str) -> float:
        return float(str(options.get(("csproxy", name), _default("csproxy", name))))

    return PersistentSettings(
        database=database,
        master_s=seconds("cs-persistent-failover-tmout"),
        database_s=seconds("db-persistent-failover-tmout"),
    )


def _conf_path(arguments: Arguments, directory: Path) -> Path | None:
    """The file: -c, CSPROXY_CONF, confserv.conf or confserv.cfg.

    A proxy reads one only when it is named, or in persistent mode.
    """
    named = arguments.conf_file or os.environ.get(f"{_PREFIX}CONF")
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
        f"there is no confserv.conf in {directory}; name it with -c, create one with csproxy init, "
        "or give -host, -port and -app to start a proxy"
    )


def _require_section(conf: ConfFile, application: str, arguments: Arguments) -> None:
    if application in conf.sections:
        return
    present = ", ".join(f"[{name}]" for name in conf.sections) or "no section at all"
    hint = "" if arguments.application else "; name the server's section with -app"
    raise ConfigurationError(f"{conf.path} has no section [{application}]; it has {present}{hint}")


def _file_texts(
    conf: ConfFile, application: str | None, server: str, *, warnings: list[str]
) -> dict[str, dict[str, _Text]]:
    """The file's options by section of the table; what the table does not have becomes a warning.

    ``application`` is the server's section, which names the database; None for a proxy, which needs none.
    """
    sections = {section: section for section in _RUNTIME_SECTIONS}
    if application is not None:
        sections["confserv"] = application
        database = server or conf.sections[application].get("server", _DATABASE)
        if database not in conf.sections:
            where = conf.where(application, "server") if "server" in conf.sections[application] else str(conf.path)
            raise ConfigurationError(
                f"{where}: there is no section [{database}], which the option server names as the database"
            )
        sections["database"] = database
    read = set(sections.values()) | ({"confserv"} if application is None else set())
    warnings.extend(
        f"{conf.path}: section [{name}] is not read by this release" for name in conf.sections if name not in read
    )
    texts: dict[str, dict[str, _Text]] = {}
    for key, section in sections.items():
        known = texts.setdefault(key, {})
        for name, text in conf.sections.get(section, {}).items():
            where = f"{conf.where(section, name)}, option {name} of [{section}]"
            option = find_option(_table_section(key), name)
            if option is not None and option.from_file:
                known[name] = _Text(text, where)
            elif option is not None:
                warnings.append(f"{where}: it counts in the Application object only, here it is ignored")
            else:
                close = close_options(_table_section(key), name)
                hint = f"; is {close[0]} meant?" if close else ""
                warnings.append(f"{where}: this release does not have the option, it is ignored{hint}")
    return texts


def _decrypt(conf: ConfFile, section: str, texts: dict[str, dict[str, _Text]]) -> Path | None:
    """With encryption=true, put the file's secrets in the place of their encrypted forms; returns the key file."""
    from csproxy.daemon.encryption import decrypt, read_key

    own = conf.sections.get(section, {})

    def text_of(name: str) -> _Text:
        variable = f"{_PREFIX}CONFSERV__{name.upper().replace('-', '_')}"
        if variable in os.environ:
            return _Text(os.environ[variable], f"environment variable {variable}")
        if name in own:
            return _Text(own[name], f"{conf.where(section, name)}, option {name} of [{section}]")
        return _Text(str(_default("confserv", name)), str(conf.path))

    encryption, key_file = text_of("encryption"), text_of("key-file")
    if not _parse("confserv", "encryption", encryption):
        return None
    path = conf.path.parent / str(_parse("confserv", "key-file", key_file))
    try:
        key = read_key(path)
    except ConfigurationError as e:
        raise encryption.refusal(str(e)) from e
    for place, name in _SECRETS:
        text = texts.get(place, {}).get(name)
        if text is not None and text.text:
            try:
                texts[place][name] = replace(text, text=decrypt(text.text, key))
            except ValueError:
                raise ConfigurationError(
                    f"{text.where}: encryption=true, but this is not encrypted with the key of {path}; "
                    f"csproxy encrypt-password --key-file {path} does that"
                ) from None
    return path


def _open_files(conf: ConfFile, texts: Mapping[str, Mapping[str, _Text]], key_file: Path | None) -> list[str]:
    """Warnings of files that others may read or change although they should not."""
    has_secret = key_file is None and any(name in texts.get(place, {}) for place, name in _SECRETS)
    found = [loose_permissions(conf.path, is_secret=has_secret)]
    if key_file is not None:
        found.append(loose_permissions(key_file, is_secret=True))
    return [warning for warning in found if warning is not None]


def _table_section(key: str) -> str:
    return _DATABASE if key == "database" else key


def _parse(section: str, name: str, text: _Text) -> OptionValue:
    option = find_option(_table_section(section), name)
    if option is not None and not option.from_file:
        raise text.refusal(f"{name} of [{section}] counts in the Application object only")
    if option is None:
        close = close_options(_table_section(section), name)
        hint = f"; is {close[0]} meant?" if close else ""
        raise text.refusal(f"there is no option {name} in [{section}]{hint}")
    try:
        return option.parse(text.text)
    except ValueError as e:
        why = "" if str(e) in ("", text.text) else f": {e}"
        raise text.refusal(f"{text.text!r} is not valid{why}; valid: {option.valid}") from None


def _default(section: str, name: str) -> OptionValue:
    option = find_option(section, name)
    assert option is not None
    return option.default


def _database(texts: dict[str, _Text], conf: ConfFile) -> DatabaseSettings:
    # imported here: a proxy has no database
    from csproxy.core.persistence.engine import sqlite_url
    from csproxy.core.persistence.kinds import database_url, find_kind

    values = {name: _parse("database", name, text) for name, text in texts.items()}

    def value(name: str) -> str:
        return str(values.get(name, _default(_DATABASE, name)))

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
