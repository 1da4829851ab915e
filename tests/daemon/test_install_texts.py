"""Scripts that an installation writes: whatever the names in them, the program gets them as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.persistence.copy_reading import CopyPaths
from csproxy.core.persistence.copy_writing import CopyLock
from csproxy.daemon.arguments import parse_arguments
from csproxy.daemon.install_answers import FileAnswers, answers_text
from csproxy.daemon.install_folder import not_in_use
from csproxy.daemon.install_manifest import MANIFEST, Manifest, read_manifest
from csproxy.daemon.install_texts import conf_text, proxy_arguments, run_script, start_batch
from csproxy.daemon.settings import load_settings
from csproxy.errors import ConfigurationError

WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), min_size=1, max_size=4)
NASTY = ["", "a b", '"', 'a"b c\\', "\\", "%PATH%", "^", "a&b|c<d>e", "!x!", "(", "$HOME", "`id`", "'", "é", "*", "-x"]


def as_cmd_reads(line: str) -> str:
    """What cmd makes of a line of a batch file: percent signs, then quotes and carets."""
    expanded, rest = "", line
    while rest:
        if rest.startswith("%%"):
            expanded, rest = expanded + "%", rest[2:]
        elif rest.startswith("%*"):
            expanded, rest = expanded + "MORE", rest[2:]
        else:
            assert rest[0] != "%", f"cmd would look for a variable: {rest}"
            expanded, rest = expanded + rest[0], rest[1:]
    found, is_quoted, at = "", False, 0
    while at < len(expanded):
        character = expanded[at]
        if character == "^" and not is_quoted:
            at += 1
            found += expanded[at]
        else:
            assert is_quoted or character not in "&|<>()", f"cmd would act on {character}"
            is_quoted ^= character == '"'
            found += character
        at += 1
    return found


def as_program_reads(line: str) -> list[str]:
    """How the C run time of Windows splits a command line."""
    words: list[str] = []
    word, is_quoted, is_word, at = "", False, False, 0
    while at < len(line):
        slashes = len(line[at:]) - len(line[at:].lstrip("\\"))
        if slashes:
            at += slashes
            before_quote = at < len(line) and line[at] == '"'
            word += "\\" * (slashes // 2 if before_quote else slashes)
            is_word = True
            if before_quote and slashes % 2:
                word, at = word + '"', at + 1
            continue
        character = line[at]
        if character == '"':
            is_quoted, is_word = not is_quoted, True
        elif character in " \t" and not is_quoted:
            if is_word:
                words.append(word)
            word, is_word = "", False
        else:
            word, is_word = word + character, True
        at += 1
    return [*words, word] if is_word else words


def batch_words(arguments: list[str]) -> list[str]:
    text = start_batch("x", ["C:\\Program Files\\100%\\confserv.exe", *arguments])
    assert text.count("\r\n") == text.count("\n")
    return as_program_reads(as_cmd_reads(text.splitlines()[-1]))


@pytest.mark.parametrize("word", NASTY)
def test_the_batch_file_passes_a_nasty_word_on(word: str) -> None:
    assert batch_words(["-app", word]) == ["C:\\Program Files\\100%\\confserv.exe", "-app", word, "MORE"]


@given(WORDS)
def test_the_batch_file_passes_every_word_on(words: list[str]) -> None:
    assert batch_words(words)[1:-1] == words


def test_the_batch_file_shows_cmd_nothing_to_act_on_in_its_comment() -> None:
    text = start_batch('x & del "%PATH%" é', ["confserv", "é"])
    assert text.startswith("@echo off\r\nsetlocal DisableDelayedExpansion\r\nchcp 65001 >nul\r\n")
    assert "rem Starts Configuration Server Proxy x ? del ??PATH?? é. " in text
    assert "chcp" not in start_batch("x", ["confserv"])


def test_the_shell_script_passes_every_word_on_and_more_that_is_given(tmp_path: Path) -> None:
    show = [sys.executable, "-c", "import os, sys; print([os.getcwd(), *sys.argv[1:]])"]
    folder = tmp_path / "-a $b 'c'"
    folder.mkdir()
    script = folder / "run.sh"
    script.write_text(run_script("new\nline", [*show, *NASTY]), encoding="utf-8")
    done = subprocess.run(["sh", str(script), "more", "a b"], cwd="/", capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{[str(folder), *NASTY, 'more', 'a b']}\n", done.stderr


@pytest.mark.parametrize("application", ["CSProxy_1", "-x", "--x=y", "a b"])
def test_confserv_reads_the_parameters_as_they_were_meant(application: str) -> None:
    words = proxy_arguments(
        host="h", port=2020, application=application, licence="-7@h", transport={"tls": "1", "trusted-ca": "/a b/c"}
    )
    found = parse_arguments(words)
    assert (found.host, found.port, found.application, found.licence) == ("h", 2020, application, "-7@h")
    assert (found.conf_file, found.transport) == ("confserv.conf", {"tls": "1", "trusted-ca": "/a b/c"})


def test_the_configuration_file_is_valid_with_and_without_a_password_and_with_a_database(tmp_path: Path) -> None:
    path = tmp_path / "confserv.conf"
    words = ["-host", "h", "-port", "1", "-app", "a", "-c", str(path)]
    path.write_text(conf_text("a\nb", app_password="p = q; #"))
    path.chmod(0o600)
    settings = load_settings(words)
    assert settings.upstream is not None
    assert (settings.upstream.app_password, settings.warnings) == ("p = q; #", ())
    assert settings.options.file["log", "verbose"] == "standard"
    text = conf_text("a")
    path.write_text(text)
    assert load_settings(words).warnings == ()
    head, database = text.split("#[confserv]", 1)
    path.write_text(head + "[confserv]" + database.replace("\n#", "\n").replace("password =", "password = x"))
    persistent = load_settings([*words, "-proxy-persistent-mode"]).persistent
    assert persistent is not None
    assert "database.example.com" in persistent.database.shown


def test_answers_that_are_written_can_be_read_and_have_no_password(tmp_path: Path) -> None:
    given = {
        "master-host": 'a"\\é',
        "master-port": "2020",
        "tls": "true",
        "password": "p",
        "licence": "",
        "run-as": "root",
    }
    path = tmp_path / "a.toml"
    path.write_text(answers_text(given | {"master-host": "h", "application": 'a "b" \\ é'}), encoding="utf-8")
    answers = FileAnswers(path, environment={})
    assert answers.ask("application") == 'a "b" \\ é'
    assert (answers.ask("master-port"), answers.ask("tls"), answers.ask("licence")) == ("2020", "true", "")
    with pytest.raises(ConfigurationError, match="password is missing: password"):
        answers.ask("password")
    assert FileAnswers(path, environment={"CSPROXY_PASSWORD": "q"}).ask("password") == "q"


def test_a_manifest_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    manifest = Manifest("1", "a", 101, {"run.sh": "0"}, {}, {})
    (tmp_path / MANIFEST).write_bytes(manifest.data())
    assert read_manifest(tmp_path) == manifest
    for data in (manifest._replace(files={"../x": "0"}).data(), b"[]", b"{", b'{"files": {}}'):
        (tmp_path / MANIFEST).write_bytes(data)
        with pytest.raises(ConfigurationError, match="is damaged"):
            read_manifest(tmp_path)


def test_a_local_copy_that_is_held_says_that_a_proxy_runs(tmp_path: Path) -> None:
    lock = CopyLock(CopyPaths.of(tmp_path, "CSProxy_1").lock)
    with pytest.raises(ConfigurationError, match=r"it holds CSProxy_1\.snapshot\.lock"), not_in_use(tmp_path):
        pass
    lock.release()
    with not_in_use(tmp_path), pytest.raises(BlockingIOError):
        CopyLock(CopyPaths.of(tmp_path, "CSProxy_1").lock)
    CopyLock(CopyPaths.of(tmp_path, "CSProxy_1").lock).release()
