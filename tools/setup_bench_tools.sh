#!/usr/bin/env bash
# Installs the peer that `make bench` measures beside us, llama.cpp by way of llama-cpp-python, into build/venv-bench.
# It is compiled from source for this CPU: about five minutes on two cores, once.
set -euo pipefail

venv=build/venv-bench
lock=bench/requirements.lock
stamp="$venv/.installed-$(sha256sum "$lock" | cut -c1-16)"
[ -e "$stamp" ] && exit 0
echo "installing the peer of the benchmarks into $venv (compiles llama.cpp, about 5 minutes)"
if ! command -v c++ >/dev/null; then
  export CC=clang-19 CXX=clang++-19
fi
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$lock"
touch "$stamp"
