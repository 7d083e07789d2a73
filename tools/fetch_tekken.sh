#!/usr/bin/env bash
# Fetches the Tekken vocabularies that the tokenizer's tests compare with: two JSON files out of the
# Python package mistral-common (Apache-2.0). Installs nothing.
# Usage: tools/fetch_tekken.sh [FOLDER]      (default: build/tekken)
set -euo pipefail

folder=${1:-"$(dirname "$0")/../build/tekken"}
if [[ -s $folder/tekken_240718.json && -s $folder/tekken_240911.json ]]; then
  exit 0
fi
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --dest "$download" mistral-common==1.13.1
mkdir -p "$folder"
python3 - "$download" "$folder" <<'PYTHON'
import pathlib, sys, zipfile

download, folder = map(pathlib.Path, sys.argv[1:])
(wheel,) = download.glob("mistral_common-*.whl")
with zipfile.ZipFile(wheel) as package:
    for name in ("tekken_240718.json", "tekken_240911.json"):
        part = folder / (name + ".part")
        part.write_bytes(package.read(f"mistral_common/data/{name}"))
        part.rename(folder / name)  # appears whole or not at all
PYTHON
