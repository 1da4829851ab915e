"""The manual pages: made from parsers, options and reference pages, and without a fault for `man`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from csproxy.core.option_catalogue import CATALOGUE
from csproxy.core.security_options import RULES
from scripts.generate_man_pages import PAGES, TARGET, write

HARMLESS = ("missing date, using", "skipping paragraph macro")
"""There is no date, since the same source shall make the same page; docutils puts a space below headings."""


def mandoc(*words: str | Path) -> str:
    done = subprocess.run(["mandoc", *map(str, words)], capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return re.sub(".\b", "", done.stdout)


def shown(page: Path) -> str:
    """The words of a page, whatever roff the libraries wrote for them."""
    return " ".join(mandoc("-T", "utf8", page).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    write(folder)
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_that_of_the_source(made: Path, name: str) -> None:
    assert shown(TARGET / name) == shown(made / name), "run make man"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_fault(name: str) -> None:
    said = mandoc("-T", "lint", "-W", "warning", TARGET / name).splitlines()
    assert not [line for line in said if not any(each in line for each in HARMLESS)]


def test_pages_say_what_a_reader_looks_for() -> None:
    confserv, tool, conf = (shown(TARGET / name) for name in ("confserv.1", "csproxy.1", "confserv.conf.5"))
    assert "confserv - Configuration Server and Configuration Server Proxy" in confserv
    assert "-host HOST" in confserv
    assert "--host" not in confserv
    assert "EXIT STATUS 0 after an orderly stop; 1 when it could not start" in confserv
    assert tool.count("--tls-name NAME the name that") == 1
    of_file = {option.name for option in CATALOGUE if option.from_file and option.section != RULES}
    assert [name for name in of_file if f" {name} " not in conf] == []
    assert not re.search(r"\.md\b|\]\(", conf)
