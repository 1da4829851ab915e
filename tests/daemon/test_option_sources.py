"""Every option of the tables is taken from every place where it may stand, and the places win in their order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from csproxy.core.auth_options import AUTH_OPTIONS
from csproxy.core.option_values import Option, OptionValue
from csproxy.core.options import APPLICATION_OPTIONS, OPTIONS
from csproxy.daemon.runtime_options import RuntimeOptions
from csproxy.daemon.settings import DaemonSettings, load_settings
from csproxy.errors import ConfigurationError

START = "[confserv]\n[dbserver]\n"
OTHERS = {
    "balancer-addresses": ("10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"),
    "unlimited-addresses": ("10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"),
    "management-address": ("127.0.0.2", "127.0.0.3", "127.0.0.4"),
    "verbose": ("alarm", "debug", "trace"),
    "time-format": ("locale", "iso8601", "locale"),
    "segment": ("false", "1 MB", "2 hr"),
    "expire": ("false", "3 file", "4 day"),
    "keep-startup-file": ("true", "1 MB", "2 MB"),
    "memory-storage-size": ("3 MB", "4 MB", "5 MB"),
    "network-address": ("a:1", "b:2", "c:3"),
    "locale": ("de_DE", "sv_SE", "fr_FR"),
    "encoding": ("UTF-16", "GB18030", "ISO-8859-1"),
    "audit-max-records": ("50001", "50002", "50003"),
    "audit-expiration": ("200", "300", "100"),
    "level-reassign-EVENT": ("alarm", "trace", "none"),
}
"""Three texts, none the default, of options whose texts cannot be told from their defaults."""


def texts(option: Option) -> tuple[str, str, str]:
    """Three valid texts, each different from its neighbours; the first and the last are not the default."""
    if option.name in OTHERS:
        return OTHERS[option.name]
    default = option.default
    if isinstance(default, bool) or default == "0":
        other = {True: "false", False: "true", "0": "1"}[default]
        return other, {"true": "false", "false": "true", "1": "0"}[other], other
    if isinstance(default, int):
        low = default if default + 3 <= 24 or "24 hours" not in option.valid else 0
        numbers = [low + 1, low + 2, low + 3]
        try:
            option.parse(str(numbers[-1]))
        except ValueError:
            numbers = [low - 1, low - 2, low - 3]
        first, second, third = map(str, numbers)
        return first, second, third
    if isinstance(default, tuple) or default == "":
        return "one", "two", "three"
    words = [word for word in option.valid.split(", ") if word != default]
    return words[0], default, words[-1]


def name_of(option: Option) -> str:
    return option.name.replace("EVENT", "4504")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CSPROXY_"):
            monkeypatch.delenv(name)


def load(folder: Path, conf: str, *argv: str) -> DaemonSettings:
    (folder / "confserv.conf").write_text(conf)
    return load_settings(argv, directory=folder)


SETTABLE = [option for option in APPLICATION_OPTIONS if option.from_file]


@pytest.mark.parametrize("option", SETTABLE, ids=lambda option: f"{option.section}/{option.name}")
def test_file_application_object_environment_and_command_line(
    option: Option, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, section = name_of(option), option.section
    file, application, fixed = texts(option)
    values: list[OptionValue] = [option.parse(text) for text in (file, application, fixed)]
    assert values[0] != option.default

    def in_force(settings: DaemonSettings) -> tuple[OptionValue, OptionValue]:
        options = RuntimeOptions(settings.options)
        before = options.get(section, name)
        options.apply_application({section: {name: application}})
        return before, options.get(section, name)

    conf = f"{START}[{section}]\n{name} = {file}\n"
    assert RuntimeOptions(load(tmp_path, START).options).section(section).get(name, option.default) == option.default
    settings = load(tmp_path, conf)
    assert settings.warnings == ()
    assert in_force(settings) == (values[0], values[1])
    monkeypatch.setenv(f"CSPROXY_{section}__{name}".upper().replace("-", "_"), fixed)
    # what stands on the command line and in the environment is bootstrap logging, for [log] alone
    last = values[1] if section == "log" else values[2]
    assert in_force(load(tmp_path, conf)) == (values[2], last)
    if section == "log":
        monkeypatch.undo()
        assert in_force(load(tmp_path, conf, f"-log-{name}", fixed)) == (values[2], values[1])


ELSEWHERE = [option for option in OPTIONS if not option.from_application]


@pytest.mark.parametrize("option", ELSEWHERE, ids=lambda option: f"{option.section}/{option.name}")
def test_what_the_application_object_cannot_say(option: Option, tmp_path: Path) -> None:
    options = RuntimeOptions(load(tmp_path, START).options)
    assert options.apply_application({option.section: {option.name: texts(option)[0]}}) == []
    with pytest.raises(KeyError):
        options.get(option.section, option.name)


@pytest.mark.parametrize("option", AUTH_OPTIONS, ids=lambda option: f"{option.section}/{option.name}")
def test_options_of_log_ins_are_checked_in_the_file(option: Option, tmp_path: Path) -> None:
    conf = f"{START}[{option.section}]\n{option.name} = \n"
    if takes_nothing(option):
        assert load(tmp_path, conf).options.log_in_options({}) == {option.section: {option.name: ""}}
        return
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, conf)
    assert f"option {option.name} of [{option.section}]" in str(refused.value)
    assert option.valid in str(refused.value)


def takes_nothing(option: Option) -> bool:
    """Whether an empty text is valid."""
    try:
        option.parse("")
    except ValueError:
        return False
    return True
