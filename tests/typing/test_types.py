"""The public interface has the types that `public_api.py` states, for mypy and for pyright."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PUBLIC_API = Path(__file__).parent / "public_api.py"
ROOT = PUBLIC_API.parents[2]


def test_mypy_agrees(tmp_path: Path) -> None:
    words = ["--strict", "--config-file", "", "--cache-dir", str(tmp_path), "--follow-imports", "silent"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words, str(PUBLIC_API)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_agrees() -> None:
    words = ["--project", str(PUBLIC_API.parent), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run([sys.executable, "-m", "pyright", *words], capture_output=True, text=True)
    report = json.loads(done.stdout)
    told = [f"{each['range']['start']['line'] + 1}: {each['message']}" for each in report["generalDiagnostics"]]
    assert told == []
    assert report["summary"]["filesAnalyzed"] == 1
