"""The texts of systemd units, and that the files of packaging/systemd are made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from csproxy.daemon.systemd_units import PACKAGED_UNITS, exec_start, installed_unit, unit_name
from csproxy.daemon.systemd_units import main as write_units

PACKAGING = Path(__file__).parents[2] / "packaging" / "systemd"


def unit(directory: str, program: str = "/opt/csproxy/bin/confserv", **options: object) -> str:
    return installed_unit(
        application="CSProxy_1",
        command=[program, "-app", "CSProxy_1"],
        directory=Path(directory),
        user="u",
        group="g",
        **options,  # type: ignore[arg-type]
    )


def test_the_packaged_files_are_those_of_this_text(tmp_path: Path) -> None:
    write_units(str(tmp_path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == PACKAGED_UNITS
    for name, text in PACKAGED_UNITS.items():
        written = (PACKAGING / name).read_text(encoding="utf-8")
        assert written == text, "python -m csproxy.daemon.systemd_units packaging/systemd writes it"


def test_an_installed_unit_has_the_same_sandbox_and_one_folder_to_write() -> None:
    packaged, own = PACKAGED_UNITS["csproxy-proxy@.service"], unit("/var/lib/csproxy/a")
    assert own[own.index("UMask=") :] == packaged[packaged.index("UMask=") :]
    assert 'ReadWritePaths="/var/lib/csproxy/a"\n' in own
    assert "\nUser=u\nGroup=g\n" in own


@pytest.mark.parametrize(
    ("directory", "program", "lines"),
    [
        ("/home/ada/p", "/opt/c/confserv", "ProtectHome=read-only\nPrivateTmp=yes"),
        ("/srv/p", "/root/venv/bin/confserv", "ProtectHome=read-only\nPrivateTmp=yes"),
        ("/tmp/p", "/opt/c/confserv", "ProtectHome=yes\nPrivateTmp=no"),
        ("/homework/p", "/opt/c/confserv", "ProtectHome=yes\nPrivateTmp=yes"),
    ],
)
def test_what_a_proxy_needs_is_not_shut_off(directory: str, program: str, lines: str) -> None:
    assert f"\n{lines}\n" in unit(directory, program)


def test_a_file_that_a_proxy_reads_is_not_shut_off() -> None:
    assert "\nProtectHome=read-only\n" in unit("/srv/p", reads=[Path("/home/ada/ca.pem")])


def test_a_unit_is_named_after_its_application() -> None:
    assert unit_name("CSProxy_1") == "csproxy-CSProxy_1.service"
    assert unit_name("a/b @é") == r"csproxy-a\x2fb\x20\x40\xc3\xa9.service"
    long = unit_name("n" * 300), unit_name("n" * 299 + "m")
    assert long[0] != long[1]
    assert all(len(name) < 160 for name in long)


def test_nothing_in_a_command_is_expanded() -> None:
    assert exec_start(["/a b/c", '%n $HOME "q" \\']) == r'"/a b/c" "%%n $$HOME \"q\" \\"'
