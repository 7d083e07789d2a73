#!/bin/sh
# Usage: run.sh TEMPLATE_RENDER SOURCE_DIR. Picks the Python: TW_PYTHON, else the project's own environment, else python3.
set -eu
if [ -z "${TW_PYTHON:-}" ]; then
  TW_PYTHON="$2/build/venv/bin/python"
  [ -x "$TW_PYTHON" ] || TW_PYTHON=$(command -v python3) || {
    echo "skipped: no Python found"
    exit 77
  }
fi
exec "$TW_PYTHON" "$2/tests/template_differential/compare.py" "$1"
