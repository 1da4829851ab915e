"""A mistake in a mapping is found before the database is opened, and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from csproxy.core.persistence.vendor_mapping import load_mapping
from csproxy.errors import ConfigurationError


def written(folder: Path, content: str) -> Path:
    path = folder / "site.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_the_shipped_mapping_covers_the_tables_of_public_material() -> None:
    mapping = load_mapping()
    tables = {mapped.table for mapped in mapping.types.values()}
    tables |= {items.table for mapped in mapping.types.values() for items in mapped.lists.values()}
    tables |= {join.table for mapped in mapping.types.values() for join in mapped.joins}
    tables |= {options.table for options in mapping.options} | mapping.ignored_tables.keys()
    assert tables == {
        *("cfg_person", "cfg_tenant", "cfg_group", "cfg_agent_group", "cfg_skill", "cfg_skill_level"),
        *("cfg_agent_login", "cfg_login_info", "cfg_place", "cfg_dn", "cfg_switch", "cfg_application", "cfg_server"),
        *("cfg_app_server", "cfg_app_option", "cfg_flex_prop", "cfg_host", "cfg_service", "cfg_script"),
        *("cfg_campaign", "cfg_calling_list", "cfg_locale", "cfg_solution_comp"),
    }


def test_a_site_may_begin_from_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, 'inherit = false\n[types.skill]\ntable = "s"\nattributes = { name = "n" }')
    mapping = load_mapping(path)
    assert list(mapping.types) == [13]
    assert mapping.options == ()


def test_a_site_may_take_away_types_and_options(tmp_path: Path) -> None:
    mapping = load_mapping(written(tmp_path, "types.CfgPerson = false\noptions.nothing = false\n"))
    assert 3 not in mapping.types
    assert len(mapping.options) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a = ", "is not valid TOML"),
        ("format = 2", "format 2 is not known"),
        ('format = "1"', "format must be a whole number, not '1'"),
        ("typs = {}", "typs is not known: did you mean types?"),
        ("xyzzy = 1", "xyzzy is not known"),
        ("types.CfgPersn.table = 'x'", "types.CfgPersn: there is no object type 'CfgPersn': did you mean person"),
        ("types.CfgPerson = 1", "types.CfgPerson must be a table, not 1"),
        ("[types.CfgRole]\nattributes = {}", "types.CfgRole: table is missing"),
        ("[types.CfgPerson]\njoins = [1]", "joins[0] must be a table, not 1"),
        ("[types.CfgPerson.attributes]\nusrName = 'x'", "CfgPerson has no attribute 'usrName': did you mean userName"),
        ("[types.CfgPerson.attributes]\nqqq = 'x'", "CfgPerson has no attribute 'qqq'"),
        ("[types.CfgPerson.attributes]\n'state.x' = 'x'", "CfgPerson has no attribute 'state.x'"),
        ("[types.CfgPerson.attributes]\nagentInfo = 'x'", "agentInfo of CfgPerson is a structure"),
        ("[types.CfgPerson.attributes]\nstate = ''", "state must be the name of a column"),
        ("[types.CfgPerson.attributes]\nstate = 7", "state must be the name of a column"),
        ("[types.CfgPerson.attributes]\nstate = { column = 'x' }", "state: values is missing"),
        (
            "[types.CfgPerson.attributes]\nstate = { column = 'x', values = { a = 'b' } }",
            "'b' is no member of CfgObjectState",
        ),
        ("[types.CfgPerson.constants]\nstate = 1.5", "1.5 is none"),
        ("[types.CfgPerson.constants]\nstate = true", "True is none"),
        ("[types.CfgPerson.constants]\nlastName = 5", "lastName is a text, 5 is none"),
        ("[types.CfgPerson.constants]\ntenantDBID = 'x'", "tenantDBID is a DBID, 'x' is none"),
        ("[types.CfgPerson]\nwhere = { a = [] }", "where.a must be a value or a list of values"),
        ("[types.CfgPerson]\nwhere = { a = true }", "where.a must be a value or a list of values"),
        ("[types.CfgPerson.present]\nstate = { column = 'a', equals = [1] }", "present.state is no structure"),
        ("[types.CfgPerson.lists.state]\ntable = 'a'\nowner = 'b'", "state of CfgPerson is no list"),
        (
            "[types.CfgPerson.lists.appRanks]\ntable = 'a'\nowner = 'b'\nitems = { x = 'y' }",
            "CfgAppRank has no attribute 'x'",
        ),
        ("[types.CfgPerson.lists.appRanks]\ntable = 'a'\nowner = 'b'\nitem = 'c'", "items is missing"),
        ("[options.cfg_app_option]\nattributes = ['nothing']", "no object type has an attribute 'nothing'"),
        ("[options.cfg_app_option]\nkinds = { 1 = 'float' }", "kinds may be text, int, hex, not 'float'"),
        ("[options.x]\nattributes = ['options']", "object_dbid is missing"),
        ("[ignored_columns.x]\na = 5", "a must be text, not 5"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_mapping(written(tmp_path, content))
    assert words in str(caught.value)
    assert str(tmp_path / "site.toml") in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.toml cannot be read: No such file"):
        load_mapping(tmp_path / "nothing.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# \xe9")
    with pytest.raises(ConfigurationError, match="is not UTF-8: byte 2 is invalid"):
        load_mapping(path)


def test_the_example_of_the_document_is_valid(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "vendor-database.md"
    example = page.read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    mapping = load_mapping(written(tmp_path, example))
    assert mapping.schema == "genesys"
    assert mapping.types[10].attributes["type"].values == {"server": 1}
