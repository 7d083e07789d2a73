#!/usr/bin/env bash
# Installs the peers that `make bench` measures beside us.
# Usage: tools/setup_bench_tools.sh            llama.cpp, by way of llama-cpp-python, into build/venv-bench; it is compiled from
#                                              source for this CPU: about five minutes on two cores, once
#        tools/setup_bench_tools.sh gateway    LiteLLM and Portkey into build/peers: about 800 MB
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)

# install_venv FOLDER LOCK WHAT
install_venv() {
  local stamp
  stamp="$1/.installed-$(sha256sum "$2" | cut -c1-16)"
  [ ! -e "$stamp" ] || return 0
  echo "installing $3 into $1"
  python3 -m venv "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$2"
  touch "$stamp"
}

# With the node of tools/setup_test_tools.sh.
install_portkey() {
  local folder stamp node npm
  folder="$root/build/peers/portkey"
  stamp="$folder/.installed-$(cat "$root"/bench/portkey/*.json | sha256sum | cut -c1-16)"
  [ ! -e "$stamp" ] || return 0
  echo "installing Portkey's gateway into build/peers/portkey"
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$root"/bench/portkey/*.json "$folder"
  node=$(readlink -f "$root/build/node/bin/node")
  npm=("$node" "$(dirname "$node")/../lib/node_modules/npm/bin/npm-cli.js")
  [ -e "${npm[1]}" ] || npm=(npm)
  (cd "$folder" && PATH="$root/build/node/bin:$PATH" "${npm[@]}" ci --silent --no-audit --no-fund --ignore-scripts)
  touch "$stamp"
}

if [ "${1-}" = gateway ]; then
  install_venv "$root/build/peers/litellm" "$root/bench/litellm.lock" "LiteLLM"
  install_portkey
  exit
fi
if ! command -v c++ >/dev/null; then
  export CC=clang-19 CXX=clang++-19
fi
install_venv "$root/build/venv-bench" "$root/bench/requirements.lock" "llama.cpp (compiled, about 5 minutes)"
