"""The texts of options from command line, environment and file, each with its place; and reading them into values.

Whoever needs an option's text before the values are checked (a secret that is encrypted, say) finds it here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from csproxy.core.auth_options import find_auth_option, is_log_in_section
from csproxy.core.options import Option, OptionValue, close_options, find_option
from csproxy.core.secret_options import is_secret_option
from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError

__all__ = [
    "DATABASE",
    "PREFIX",
    "MergedTexts",
    "OptionText",
    "Texts",
    "default",
    "known_option",
    "merge",
    "parse",
    "unknown_option",
]

PREFIX: Final = "CSPROXY_"
DATABASE: Final = "dbserver"
"""The section of the table for the database; its texts are under ``database``, whatever the file calls the section."""


@dataclass(frozen=True)
class OptionText:
    """An option's text and the place where it stands; pydantic carries it through the merge as it is."""

    text: str = field(repr=False)
    where: str
    is_parameter: bool = False

    def refusal(self, sentence: str) -> ConfigurationError:
        """The error for a text that is wrong; wrong usage if it stands on the command line."""
        return (UsageError if self.is_parameter else ConfigurationError)(f"{self.where}: {sentence}")


Texts = dict[str, dict[str, OptionText]]
"""By section of the table and option."""


class MergedTexts(BaseSettings):
    """The texts of all sources by section and option; `parse` checks them against the option table."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore")

    confserv: dict[str, OptionText] = Field(default_factory=dict)
    database: dict[str, OptionText] = Field(default_factory=dict)
    csproxy: dict[str, OptionText] = Field(default_factory=dict)
    system: dict[str, OptionText] = Field(default_factory=dict)
    security: dict[str, OptionText] = Field(default_factory=dict)
    log: dict[str, OptionText] = Field(default_factory=dict)
    log_extended: dict[str, OptionText] = Field(default_factory=dict)
    history_log: dict[str, OptionText] = Field(default_factory=dict)
    authentication: dict[str, OptionText] = Field(default_factory=dict)
    gauth_ldap: dict[str, OptionText] = Field(default_factory=dict)
    gauth_radius: dict[str, OptionText] = Field(default_factory=dict)
    gauth_kerberos: dict[str, OptionText] = Field(default_factory=dict)

    def texts(self, section: str) -> dict[str, OptionText]:
        """The texts of a section."""
        found: dict[str, OptionText] = getattr(self, _field(section))
        return found

    def log_in_sections(self) -> list[str]:
        """The sections of log-ins, numbered ones included."""
        return [name for name in type(self).model_fields if is_log_in_section(name)]


def _field(section: str) -> str:
    """The field of a section: a field's name cannot have its hyphen."""
    return section.replace("-", "_")


class _Environment(EnvSettingsSource):
    """Environment variables; underscores of the last part stand for the hyphens of option names."""

    def __call__(self) -> dict[str, Any]:
        return {
            section: {
                _option_name(section, name): OptionText(
                    str(value), f"environment variable {PREFIX}{section.upper()}__{name.upper()}"
                )
                for name, value in options.items()
            }
            for section, options in super().__call__().items()
        }


def _option_name(section: str, name: str) -> str:
    hyphens = name.replace("_", "-")
    option = find_auth_option(section, hyphens)
    return hyphens if option is None else option.name


class _Fixed(PydanticBaseSettingsSource):
    """A source that was read beforehand: the command line or the file."""

    def __init__(self, settings_cls: type[BaseSettings], values: Texts) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked: `__call__` gives all fields at once."""
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {_field(section): options for section, options in self._values.items()}


def _numbered_in_environment() -> Iterator[str]:
    for variable in os.environ:
        section = variable.upper().removeprefix(PREFIX).partition("__")[0].lower()
        if variable.upper().startswith(PREFIX) and is_log_in_section(section):
            yield section


def merge(argv: Texts, file: Texts) -> tuple[MergedTexts, MergedTexts]:
    """Two merges: argv over environment over file, and argv over environment alone."""

    def build(*, with_file: bool) -> MergedTexts:
        class Bound(MergedTexts):
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

        bound = create_model("Bound", __base__=Bound, **numbered)
        return bound()

    # pydantic knows fields alone: the numbered sections get theirs now
    names = {section for section in file if is_log_in_section(section)} | set(_numbered_in_environment())
    numbered: dict[str, Any] = {
        name: (dict[str, OptionText], Field(default_factory=dict))
        for name in sorted(names - MergedTexts.model_fields.keys())
    }
    try:
        return build(with_file=True), build(with_file=False)
    except (SettingsError, ValidationError, AttributeError) as e:
        # not the text of a ValidationError: it holds what was given, which may be a secret
        reason = e.errors()[0]["msg"] if isinstance(e, ValidationError) else e
        raise ConfigurationError(
            f"the environment variables {PREFIX}… cannot be read: {reason}; the form is {PREFIX}LOG__VERBOSE=debug"
        ) from None


def known_option(section: str, name: str) -> Option | None:
    """The row of an option by the key of its texts, options of log-ins included; None for one that there is not."""
    return find_option(DATABASE if section == "database" else section, name) or find_auth_option(section, name)


def unknown_option(section: str, name: str) -> str:
    """What may have been meant by a name that is no option: the end of a sentence."""
    close = close_options(DATABASE if section == "database" else section, name)
    return f"; is {close[0]} meant?" if close else ""


def parse(section: str, name: str, text: OptionText) -> OptionValue:
    """The value of a text. Raises `ConfigurationError` for an unknown option, or a value that is not valid."""
    option = known_option(section, name)
    if option is None:
        raise text.refusal(f"there is no option {name} in [{section}]{unknown_option(section, name)}")
    if not option.from_file:
        raise text.refusal(f"{name} of [{section}] counts in the Application object only")
    try:
        return option.parse(text.text)
    except ValueError as e:
        why = "" if str(e) in ("", text.text) else f": {e}"
        shown = "the value" if is_secret_option(name) else repr(text.text)
        raise text.refusal(f"{shown} is not valid{why}; valid: {option.valid}") from None


def default(section: str, name: str) -> OptionValue:
    """The default of an option that there is."""
    option = find_option(section, name)
    assert option is not None
    return option.default
