"""The reference of the database is of the schema that this release has."""

from __future__ import annotations

import re
from pathlib import Path

from csproxy.core.persistence.tables import SCHEMA_VERSION, metadata

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "database.md").read_text("utf-8")


def test_the_page_has_this_schemas_version_tables_and_columns() -> None:
    section = PAGE.split(f"\n## Tables (schema version {SCHEMA_VERSION})\n", 1)[1].split("\n## ", 1)[0]
    told = {name: columns.split(", ") for name, columns in re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", section, re.M)}
    assert told.pop("alembic_version") == ["version_num"]
    assert told == {name: list(table.columns.keys()) for name, table in metadata.tables.items()}
