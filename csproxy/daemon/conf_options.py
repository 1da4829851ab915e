"""What confserv.conf has for a server: the texts of its options, with secrets decrypted, and what is doubtful in it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from csproxy.core.auth_options import is_log_in_section
from csproxy.core.options import APPLICATION_OPTIONS
from csproxy.core.secret_options import is_secret_option
from csproxy.daemon.arguments import Arguments
from csproxy.daemon.conf_file import ConfFile
from csproxy.daemon.option_texts import (
    DATABASE,
    PREFIX,
    OptionText,
    Texts,
    default,
    known_option,
    parse,
    unknown_option,
)
from csproxy.daemon.private_files import loose_permissions
from csproxy.errors import ConfigurationError

__all__ = ["RUNTIME_SECTIONS", "decrypt_secrets", "file_texts", "first_options", "open_files", "require_section"]

RUNTIME_SECTIONS = tuple(dict.fromkeys(option.section for option in APPLICATION_OPTIONS))
"""Those that the Application object may have, too, without those of log-ins."""


def require_section(conf: ConfFile, application: str, arguments: Arguments) -> None:
    """Raises `ConfigurationError` when the server's own section is not there."""
    if application in conf.sections:
        return
    present = ", ".join(f"[{name}]" for name in conf.sections) or "no section at all"
    hint = "" if arguments.application else "; name the server's section with -app"
    raise ConfigurationError(f"{conf.path} has no section [{application}]; it has {present}{hint}")


def file_texts(conf: ConfFile, application: str | None, server: str, *, warnings: list[str]) -> Texts:
    """The file's options by section of the table; what the table does not have becomes a warning.

    ``application`` is the server's section, which names the database; None for a proxy, which needs none.
    """
    log_ins = [section for section in conf.sections if is_log_in_section(section)]
    sections = {section: section for section in (*RUNTIME_SECTIONS, *log_ins)}
    if application is not None:
        sections["confserv"] = application
        database = server or conf.sections[application].get("server", DATABASE)
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
    texts: Texts = {}
    for key, section in sections.items():
        known = texts.setdefault(key, {})
        for name, text in conf.sections.get(section, {}).items():
            where = f"{conf.where(section, name)}, option {name} of [{section}]"
            option = known_option(key, name)
            if option is not None and option.from_file:
                known[option.name] = OptionText(text, where)
            elif option is not None:
                warnings.append(f"{where}: it counts in the Application object only, here it is ignored")
            else:
                hint = unknown_option(key, name)
                warnings.append(f"{where}: this release does not have the option, it is ignored{hint}")
    return texts


def first_options(texts: Texts) -> dict[str, dict[str, str]]:
    """What of the file a new master's Application object gets, by section: what may stand there, but no secrets.

    Secrets stay in the file alone: whoever may read the object could read them there. Raises
    `ConfigurationError` for a value that is not valid.
    """
    found: dict[str, dict[str, str]] = {}
    for section, names in texts.items():
        for name, text in names.items():
            option = known_option(section, name)
            if option is not None and option.from_application and not is_secret_option(name):
                parse(section, name, text)
                found.setdefault(section, {})[name] = text.text
    return found


def decrypt_secrets(conf: ConfFile, section: str, texts: Texts) -> Path | None:
    """With encryption=true, put the file's secrets in the place of their encrypted forms; returns the key file."""
    from csproxy.daemon.encryption import decrypt, read_key

    own = conf.sections.get(section, {})

    def text_of(name: str) -> OptionText:
        variable = f"{PREFIX}CONFSERV__{name.upper().replace('-', '_')}"
        if variable in os.environ:
            return OptionText(os.environ[variable], f"environment variable {variable}")
        if name in own:
            return OptionText(own[name], f"{conf.where(section, name)}, option {name} of [{section}]")
        return OptionText(str(default("confserv", name)), str(conf.path))

    encryption, key_file = text_of("encryption"), text_of("key-file")
    if not parse("confserv", "encryption", encryption):
        return None
    path = conf.path.parent / str(parse("confserv", "key-file", key_file))
    try:
        key = read_key(path)
    except ConfigurationError as e:
        raise encryption.refusal(str(e)) from e
    for place, name in _secrets(texts):
        text = texts[place][name]
        if text.text:
            try:
                texts[place][name] = replace(text, text=decrypt(text.text, key))
            except ValueError:
                raise ConfigurationError(
                    f"{text.where}: encryption=true, but this is not encrypted with the key of {path}; "
                    f"csproxy encrypt-password --key-file {path} does that"
                ) from None
    return path


def open_files(conf: ConfFile, texts: Texts, key_file: Path | None) -> list[str]:
    """Warnings of files that others may read or change although they should not."""
    has_secret = key_file is None and any(_secrets(texts))
    found = [loose_permissions(conf.path, is_secret=has_secret)]
    if key_file is not None:
        found.append(loose_permissions(key_file, is_secret=True))
    return [warning for warning in found if warning is not None]


def _secrets(texts: Texts) -> list[tuple[str, str]]:
    """What is encrypted in a file with encryption=true: (section, option)."""
    return [(place, name) for place, names in texts.items() for name in names if is_secret_option(name)]
