#!/bin/bash
# Run all tests with coverage; core must be covered completely, branches too, by its own tests.
set -euo pipefail
python=${PYTHON:-python3}
workers=${WORKERS:-2}
# A fixed hash seed makes a simulation's seed mean the same run everywhere.
export PYTHONHASHSEED=0
rm -f .coverage .coverage.*

"$python" -m pytest tests/core -q -n "$workers" --dist worksteal --cov --cov-report=
"$python" -m coverage report --include='csproxy/core/*' --fail-under=100

"$python" -m pytest tests --ignore=tests/core -q -n "$workers" --dist worksteal --cov --cov-append --cov-report=
"$python" -m coverage report --fail-under=95
