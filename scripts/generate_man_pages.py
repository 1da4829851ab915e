"""Write the manual pages in packaging/man: from the parsers, the option tables, and the pages in docs/reference.

    python scripts/generate_man_pages.py [FOLDER]

`make man` runs this; a test compares. csproxy(1) and confserv(1) are what the parsers take, confserv.conf(5) is
docs/reference/confserv-conf.md with the options that may stand in the file.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from argparse_manpage.manpage import Manpage
from docutils.core import publish_string
from myst_parser.docutils_ import Parser

from csproxy import __version__
from csproxy.core.option_catalogue import CATALOGUE, TRANSPORT, default_text
from csproxy.core.option_values import Option
from csproxy.core.security_options import RULES
from csproxy.daemon.arguments import confserv_parser
from csproxy.daemon.connection_flags import CONNECTION_TITLE
from csproxy.daemon.tool import tool_parser

ROOT: Final = Path(__file__).parent.parent
TARGET: Final = ROOT / "packaging" / "man"
REFERENCE: Final = ROOT / "docs" / "reference"
PAGES: Final = ("csproxy.1", "confserv.1", "confserv.conf.5")
MANUAL: Final = "csproxy"
NAMES: Final = {
    "csproxy": "read, watch and change a configuration; set up and try out servers",
    "confserv": "Configuration Server and Configuration Server Proxy",
    "confserv.conf": "the configuration file of confserv",
}
LINK: Final = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\([^()\s]+\)")
MARKDOWN: Final = {"myst_enable_extensions": ["deflist"], "halt_level": 2}
FRONT: Final = """---
title: confserv.conf
subtitle: {name}
manual_section: 5
manual_group: {group}
version: csproxy {version}
---
"""


class Wide(argparse.HelpFormatter):
    """A usage is one line, which the reader's terminal fills: releases of Python break it at different places."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100_000)


def csproxy_page() -> str:
    """csproxy(1): the connection flags stand once, not at each of the commands that take them."""
    parser = tool_parser()
    (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    for command in commands.choices.values():
        command.formatter_class = Wide
        command.description = None  # the same as the help text, which stands above the usage
        for group in command._action_groups:
            if group.title == CONNECTION_TITLE:
                command.description = "It takes the connection flags."
                for action in group._group_actions:
                    action.help = argparse.SUPPRESS
    return _program(parser, see="confserv(1), confserv.conf(5)")


def confserv_page() -> str:
    """confserv(1): parameters with one dash, as the vendor's pages have them."""
    return _program(confserv_parser(), see="csproxy(1), confserv.conf(5)").replace(r"\-\-", r"\-")


def _program(parser: argparse.ArgumentParser, *, see: str) -> str:
    parser.formatter_class = Wide
    page = Manpage(parser, format="single-commands-section")
    page.source, page.manual, page.date, page.description = f"csproxy {__version__}", MANUAL, "", NAMES[parser.prog]
    page.synopsis = [word.replace("-", r"\-") for word in page.synopsis]
    page.add_section("exit status", "=", _exit_status(parser.prog))
    page.add_section("see also", "=", see)
    return str(page)


def _exit_status(program: str) -> str:
    """What docs/reference/command-line.md says of a program."""
    text = (REFERENCE / "command-line.md").read_text(encoding="utf-8")
    (section,) = (each for each in re.split(r"^## ", text, flags=re.MULTILINE) if each.startswith(f"{program}\n"))
    found = re.search(r"^Exit status: (.+?)\n\n", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    plain = found[1].replace("`", "")
    return plain[0].upper() + plain[1:]


def conf_page() -> str:
    """confserv.conf(5)."""
    text = (REFERENCE / "confserv-conf.md").read_text(encoding="utf-8")
    _, _, body = text.partition("\n")
    front = FRONT.format(group=MANUAL, version=__version__, name=NAMES["confserv.conf"])
    parts = [front, "# Description\n", re.sub("^##", "#", _without_links(body), flags=re.MULTILINE), "\n# Options\n"]
    section = ""
    for option in CATALOGUE:
        if (option.from_file and option.section != RULES) or option.section == TRANSPORT:
            if option.section != section:
                section = option.section
                parts.append("\n# Transport parameters\n" if section == TRANSPORT else f"\n## \\[{section}\\]\n")
            parts.append(_entry(option))
    parts.append("\n# See also\n\ncsproxy(1), confserv(1)\n")
    page: bytes = publish_string("".join(parts), parser=Parser(), writer="manpage", settings_overrides=MARKDOWN)
    return page.decode()


def _entry(option: Option) -> str:
    of = "" if option.of in ("both", "port, connection") else f" {option.of.capitalize()} only."
    facts = f"Default: {default_text(option)}. Valid: {option.valid}. A change takes effect: {option.effect.value}.{of}"
    return f"\n{option.name}\n: {_without_links(option.meaning)}\n\n  {facts}\n"


def _without_links(text: str) -> str:
    return LINK.sub(r"\1", text)


def write(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(PAGES, (csproxy_page(), confserv_page(), conf_page()), strict=True):
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
