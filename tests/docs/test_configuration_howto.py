"""The example of configuration as code works as written, and what the reference says of the formats is so."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from csproxy.core.files.kinds import KINDS, Property, structure_properties
from csproxy.core.model import SCHEMA, Attribute, AttributeKind
from tests.daemon.servers import _ENVIRONMENT, PASSWORD, Site

DOCS = Path(__file__).parents[2] / "docs"
HOWTO = (DOCS / "howto" / "configuration-as-code.md").read_text("utf-8")
FORMATS = (DOCS / "reference" / "file-formats.md").read_text("utf-8")
COMMANDS = (DOCS / "reference" / "command-line.md").read_text("utf-8")

SAID_OTHERWISE = {
    ("folders", "ownerID"),
    ("folders", "parentID"),
    ("folders", "objectIDs"),
    ("campaignGroups", "groupType"),
}
"""What ``folder`` of an object and ``group`` of a campaign group say."""


def section(text: str, heading: str) -> str:
    """What stands under a heading, without the sections below it."""
    return re.split(r"\n#+ ", text.split(f"# {heading}\n", 1)[1])[0]


def block(text: str, heading: str) -> str:
    """The first indented block under a heading."""
    return textwrap.dedent(re.search(r"(?:^    .*\n|^\n(?=    ))+", section(text, heading), re.MULTILINE)[0])  # type: ignore[index]


def test_the_example_works_as_written(tmp_path: Path) -> None:
    site = Site(tmp_path, proxies=())
    work = tmp_path / "work"
    work.mkdir()
    (work / "site.json").write_text(block(HOWTO, "A file"), encoding="utf-8")
    into = block(HOWTO, "From a file into the configuration").replace("import site.json", "import site.json --yes")
    script = into + block(HOWTO, "Other forms") + "csproxy config import site.raw --yes\n"
    words = f'csproxy() {{ "{sys.executable}" -m csproxy.daemon.tool "$@" --port {site.port}; }}\n'
    with site.master():
        done = subprocess.run(
            ["bash", "-e", "-c", words + script],
            cwd=work,
            env=_ENVIRONMENT | {"CSPROXY_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("valid\n")
    assert "created 2, updated 0, skipped 0\n" in done.stdout
    assert "= person [Environment/E0001]\n" in done.stdout, "the diff of the XML export finds nothing"
    assert re.search(r"^created 0, updated 0, skipped \d+$", done.stdout, re.MULTILINE)
    assert sorted(path.name for path in work.iterdir()) == ["site.json", "site.raw", "site.xml"]


def test_the_reference_names_every_flag_of_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "csproxy.daemon.tool", "config", "--help"],
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    own = done.stdout.split("options:", 1)[1].split("connection:", 1)[0]
    flags = set(re.findall(r"--[a-z]+", own)) - {"--help"}
    documented = section(COMMANDS, "config")
    assert {"--db", "--format", "--yes"} <= flags
    assert all(f"`{flag}" in documented for flag in flags), flags


def test_the_list_of_what_the_json_form_leaves_out_is_complete() -> None:
    table = section(FORMATS, "What is not in the file")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE))
    said = {kind: attributes.split(", ") for kind, attributes in rows.items()}
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        for path in left_out(kind.type.attributes, kind.properties):
            if (kind.name, path) not in SAID_OTHERWISE:
                found.setdefault(kind.name, []).append(path)
    assert said == found


def left_out(attributes: Mapping[str, Attribute], properties: tuple[Property, ...]) -> Iterator[str]:
    """The paths of attributes for which there is no property."""
    named = {each.attribute.name for each in properties}
    for name, attribute in attributes.items():
        if name == "DBID":
            continue
        if name not in named:
            yield name
        elif attribute.kind in (AttributeKind.STRUCT, AttributeKind.STRUCT_LIST):
            target = str(attribute.target)
            yield from (
                f"{name}.{inner}"
                for inner in left_out(SCHEMA.structures[target].attributes, structure_properties(target))
            )


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]+)?\)", path.read_text("utf-8")):
        to = (path.parent / target) if target else path
        assert to.exists(), target
        if anchor and to.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", to.read_text("utf-8"), re.MULTILINE)
            assert anchor[1:] in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, anchor
