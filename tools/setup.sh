#!/usr/bin/env bash
# Creates .venv with uv and installs the pinned requirements, with hashes checked. Called by `make setup`.
set -euo pipefail
cd "$(dirname "$0")/.."

python=""
for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3.14 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Trademk1 needs Python 3.11 or newer, and none was found on the PATH." >&2
    echo "Install one, or say where it is: make up PYTHON=/path/to/python3.11" >&2
    exit 1
fi

if [ ! -x .venv/bin/uv ]; then
    rm -rf .venv
    if command -v uv >/dev/null; then
        uv venv -q --python "$python" .venv
        uv pip install -q --python .venv/bin/python --require-hashes -r requirements/uv.txt
    elif "$python" -m venv .venv 2>/dev/null; then
        .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
    else
        rm -rf .venv
        echo "$python cannot create a virtual environment." >&2
        echo "On Debian and Ubuntu: apt install python3-venv, then run make again." >&2
        exit 1
    fi
fi
.venv/bin/uv pip sync -q --python .venv/bin/python --require-hashes requirements/dev.txt requirements/uv.txt
.venv/bin/uv pip install -q --python .venv/bin/python --no-build-isolation --no-deps -e .
touch .venv/.installed
