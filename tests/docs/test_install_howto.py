"""The how-to of `csproxy install` names every question, and its example of an answers file is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from csproxy.daemon.install_answers import FileAnswers
from csproxy.daemon.install_questions import QUESTIONS
from csproxy.daemon.install_texts import conf_text
from csproxy.errors import ConfigurationError

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "howto" / "install.md").read_text("utf-8")


def test_every_question_is_in_the_table_and_nothing_else() -> None:
    table = TEXT.split("| key | answer | default |")[1].split("\n\n")[0]
    keys = [key for row in table.splitlines()[2:] for key in row.split("|")[1].strip().split(", ")]
    assert set(keys) == {*QUESTIONS, "password-file", "app-password-file"}
    assert len(keys) == len(set(keys))


def test_the_example_of_an_answers_file_is_valid(tmp_path: Path) -> None:
    example = TEXT.split("```toml\n")[1].split("```")[0]
    path = tmp_path / "proxy.toml"
    path.write_text(example.replace('"csproxy"', '"root"'), encoding="utf-8")
    path.chmod(0o600)
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "secret").chmod(0o600)
    answers = FileAnswers(path, environment={})
    assert answers.ask("master-host") == "confserv.example.com"
    assert answers.ask("password") == "hush"
    path.write_text(example.replace("back-up-to", "back-up-at"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="did you mean back-up-to"):
        FileAnswers(path, environment={})


def test_the_flags_are_those_of_the_reference() -> None:
    reference = (DOCS / "reference" / "command-line.md").read_text("utf-8")
    section = reference.split("### install, uninstall")[1].split("\n### ")[0]
    for flag in ("--answers", "--write-answers", "--yes", "--erase", "--no-master"):
        assert f"| `{flag}" in section
    for page in re.findall(r"docs/[a-z/-]+\.md", conf_text("a")):
        assert (DOCS.parent / page).exists()
