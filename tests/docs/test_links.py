"""Every link from one page to another, or to a file, leads somewhere, and to a heading of it.

Links to the world outside are checked by `make linkcheck`, which needs a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
OUTSIDE = ("http://", "https://", "mailto:")
ANCHOR_LEVELS = ("h1", "h2", "h3", "h4")
"""Headings that have an anchor in the HTML pages, too (myst_heading_anchors)."""
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def inner(tokens: list[Token]) -> Iterator[Token]:
    """The tokens inside of text."""
    for token in tokens:
        yield from token.children or ()


def links(text: str) -> list[str]:
    """Where links and pictures of a page lead."""
    return [
        str(token.attrGet("href") or token.attrGet("src") or "")
        for token in inner(_MARKDOWN.parse(text))
        if token.type in ("link_open", "image")
    ]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    tokens = _MARKDOWN.parse(text)
    found: dict[str, int] = {}
    for heading, title in pairwise(tokens):
        if heading.type == "heading_open" and heading.tag in ANCHOR_LEVELS:
            shown = "".join(token.content for token in title.children or ())
            slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
    return {slug if number == 0 else f"{slug}-{number}" for slug, last in found.items() for number in range(last + 1)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page.read_text(encoding="utf-8")):
        if target.startswith(OUTSIDE):
            continue
        path, _, anchor = unquote(target).partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name}: {target}"
        assert other.is_relative_to(ROOT), f"{page.name}: {target} is not in the repository"
        if anchor:
            assert anchor in anchors(other.read_text(encoding="utf-8")), f"{page.name}: {target}"


def test_links_and_headings_are_recognised() -> None:
    headings = "# A `b`\n\n## \\[c\\] d\n\n## \\[c\\] d\n\n"
    text = headings + "see [`[csproxy]`](#x), [a\nb](b.md#c-d) and ![p](p.svg)\n\n| [t](u.md) |\n|---|\n"
    assert links(text + "\n```\n[no](no.md)\n```\n") == ["#x", "b.md#c-d", "p.svg", "u.md"]
    assert anchors(text) == {"a-b", "c-d", "c-d-1"}
