"""What ``import csproxy`` gives, and what it must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import csproxy
from csproxy import sync, testing


def test_exports_are_these() -> None:
    """What programs may import; docs/topics/stability.md says how that may change."""
    assert csproxy.__all__ == [
        "Action",
        "ChangeStream",
        "ClientState",
        "ConfigClient",
        "ConfigurationServer",
        "CsproxyError",
        "KeepAlive",
        "Listener",
        "NearCache",
        "ObjectChange",
        "Pools",
        "Position",
        "ReadResult",
        "TlsSettings",
    ]
    assert sync.__all__ == ["Administration", "Changes", "ConfigClient"]
    assert testing.__all__ == [
        "DeadlockError",
        "FaultProxy",
        "MemoryListener",
        "MemoryNetwork",
        "SimulatedLoop",
        "Simulation",
        "TimeLimitError",
        "run_simulated",
    ]


def test_every_export_is_there_and_a_wrong_name_is_told() -> None:
    for name in csproxy.__all__:
        assert getattr(csproxy, name).__name__ == name
        assert name in dir(csproxy)
    with pytest.raises(AttributeError, match="NearCash"):
        csproxy.NearCash  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import csproxy", ["csproxy.", "anyio", "msgspec"]),
        (
            "from csproxy import *",
            ["csproxy.daemon", "csproxy.auth", "csproxy.core.persistence", "sqlalchemy", "pydantic", "rich"],
        ),
    ],
)
def test_importing_loads_neither_settings_nor_sql(statement: str, forbidden: list[str]) -> None:
    program = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "csproxy" in loaded
    assert [name for name in loaded if name.startswith(tuple(forbidden))] == []
