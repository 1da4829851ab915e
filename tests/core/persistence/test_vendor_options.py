"""However options are spread over rows, and in whatever order the rows come, the options are the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.persistence.vendor_mapping import load_mapping
from csproxy.core.persistence.vendor_options import OptionRow, OptionTable
from csproxy.core.persistence.vendor_report import VendorReport

FLAT, TREE = load_mapping().options
NAMES = st.sampled_from(["log", "a", "ß", "日本"])
OPTIONS = st.dictionaries(NAMES, st.dictionaries(NAMES, st.text(max_size=12), max_size=3), max_size=3)


def pieces(value: str, data: st.DataObject) -> list[str]:
    """The value cut at any places."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(value)), max_size=3)))
    return [value[start:end] for start, end in zip([0, *cuts], [*cuts, len(value)], strict=True)]


def row(**columns: Any) -> OptionRow:
    return OptionRow(**{**dict.fromkeys(OptionRow._fields), "object_type": 9, "object_dbid": 5, **columns})


@given(OPTIONS, st.integers(0, 1), st.data())
def test_values_split_over_rows_that_name_their_section(
    options: dict[str, dict[str, str]], first: int, data: st.DataObject
) -> None:
    rows = [row(section=section) for section, content in options.items() if not content]
    for section, content in options.items():
        for option, value in content.items():
            parts = enumerate(pieces(value, data), first)
            rows += [row(section=section, option=option, part=part, value=piece) for part, piece in parts]
    report = VendorReport()
    table = OptionTable(FLAT, report)
    table.add(data.draw(st.permutations(rows)))
    assert table.take(9, 5) == options
    assert report.problems == {}
    assert list(table.remaining()) == []


@given(OPTIONS, st.booleans(), st.data())
def test_values_split_over_rows_of_a_hierarchy(
    options: dict[str, dict[str, str]], share_dbid: bool, data: st.DataObject
) -> None:
    rows: list[OptionRow] = []
    last = 0
    for section, content in options.items():
        last += 1
        parent = last
        rows.append(row(dbid=parent, parent=0, option=section))
        for option, value in content.items():
            last += 1
            for part, piece in enumerate(pieces(value, data)):
                last += 0 if share_dbid else 1
                rows.append(row(dbid=last, parent=parent, option=option, part=part, value=piece))
    report = VendorReport()
    table = OptionTable(TREE, report)
    table.add(data.draw(st.permutations(rows)))
    assert table.take(9, 5) == options
    assert report.problems == {}
