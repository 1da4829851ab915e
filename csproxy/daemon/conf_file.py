"""Reading confserv.conf: sections of option=value, with the line of every option.

The file is UTF-8; ``#`` and ``;`` begin a comment line. Names are taken as written. What the
options mean is not known here.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from pathlib import Path

from csproxy.errors import ConfigurationError

__all__ = ["ConfFile", "parse_conf", "read_conf"]


@dataclass(frozen=True)
class ConfFile:
    """The content of one file: ``sections[section][option]`` is the text after the equals sign."""

    path: Path
    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)

    def where(self, section: str, option: str) -> str:
        """The place of an option for a message: ``confserv.conf line 3``."""
        return f"{self.path} line {self.lines[section, option]}"


def read_conf(path: Path) -> ConfFile:
    """Read the file. Raises `ConfigurationError` that names the file and, where there is one, the line."""
    try:
        content = path.read_bytes()
    except OSError as e:
        raise ConfigurationError(f"{path} cannot be read: {e.strerror}") from e
    return parse_conf(content, path)


def parse_conf(content: bytes, path: Path) -> ConfFile:
    """Read the file's bytes; ``path`` is for messages only."""
    # Leading white space is dropped: configparser would read an indented option as the
    # continuation of the one above it.
    lines = [line.strip() for line in _text(content, path).splitlines()]
    parser = configparser.RawConfigParser(
        delimiters=("=",),
        comment_prefixes=("#", ";"),
        empty_lines_in_values=False,
        default_section="",
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    try:
        parser.read_string("\n".join(lines), source=str(path))
    except configparser.DuplicateOptionError as e:
        raise ConfigurationError(
            f"{path} line {e.lineno}: option {e.option} of [{e.section}] stands there twice"
        ) from e
    except configparser.DuplicateSectionError as e:
        raise ConfigurationError(f"{path} line {e.lineno}: section [{e.section}] stands there twice") from e
    except configparser.MissingSectionHeaderError as e:
        raise ConfigurationError(f"{path} line {e.lineno} stands before any [section]") from e
    except configparser.ParsingError as e:
        # the line itself is not shown: it may be a password that was pasted wrongly
        number = e.errors[0][0]
        raise ConfigurationError(f"{path} line {number} is neither a [section], nor option=value, nor a comment") from e
    sections = {name: dict(parser.items(name)) for name in parser.sections()}
    return ConfFile(path, sections, _line_numbers(lines))


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        # the decoder counts from behind a byte order mark
        before = e.object[: e.start]
        line = before.count(b"\n") + 1
        column = e.start - (before.rfind(b"\n") + 1) + 1
        raise ConfigurationError(
            f"{path} line {line}, byte {column}: 0x{e.object[e.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from e


def _line_numbers(lines: list[str]) -> dict[tuple[str, str], int]:
    numbers: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(lines, start=1):
        if line.startswith("[") and "]" in line:
            section = line[1 : line.index("]")]
        elif line and line[0] not in "#;" and "=" in line:
            numbers[section, line.split("=", 1)[0].strip()] = number
    return numbers
