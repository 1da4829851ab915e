"""docs/reference/integrity.md says what the schema and the rules say."""

from __future__ import annotations

from csproxy.core.model import SCHEMA
from scripts.generate_integrity_reference import TARGET, reference


def test_the_reference_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), "run scripts/generate_integrity_reference.py"


def test_every_type_has_its_section() -> None:
    headings = [line[3:] for line in reference().splitlines() if line.startswith("## Cfg")]
    assert headings == sorted(kind.name for kind in SCHEMA.types.values())
