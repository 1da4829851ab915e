#!/bin/bash
# Make a virtual environment; on a fresh Debian install python3-venv first, and say so.
set -euo pipefail
python=$1 venv=$2
here=$(dirname "$0")

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "csproxy needs Python 3.11 or later, and $python is $("$python" --version 2>/dev/null || echo "not there")." >&2
    echo "Name another one, such as: make demo PYTHON=python3.12" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "Python's venv module is missing here: installing the package python3-venv"
    "$here/install_system_packages.sh" python3-venv
fi
"$python" -m venv "$venv"
