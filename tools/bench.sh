#!/usr/bin/env bash
# The speed figures, ours and the peer's alternating in one run, written to bench/results/: llama.cpp, and for the
# gateway nginx, LiteLLM and Portkey.
# Usage: tools/bench.sh [--only gateway|ledger|default|3b-q4_k_m|3b-q4_0|3b-q8_0|start|memory|profile]... [--rounds N] ...
# A whole run takes more than an hour and 8 GB of disk for the 3B files, which are made on demand. `--only gateway` takes
# minutes and needs none of that; it goes with no other `--only`, and with the flags of bench/compare_gateways.py.
set -euo pipefail

gateway() {
  tools/setup_bench_tools.sh gateway
  cmake --build build --target tradewind provider_sim gateway_load
  python3 -B bench/compare_gateways.py "$@"
}

ledger() {
  cmake --build build --target tradewind provider_sim gateway_load ledger_load
  python3 -B bench/ledger_cost.py "$@"
}

if [ "${1-}" = --only ] && [ "${2-}" = ledger ]; then
  ledger "${@:3}"
  exit
fi
if [ "${1-}" = --only ] && [ "${2-}" = gateway ]; then
  gateway "${@:3}"
  exit
fi
tools/setup_bench_tools.sh
cmake --build build --target make_model tradewind
models="${TRADEWIND_MODELS:-build/models}"
build/venv-bench/bin/python -B bench/compare_llama_cpp.py --models "$models" --rounds "${BENCH_ROUNDS:-3}" "$@"
build/venv-bench/bin/python -B bench/compare_logprobs.py --binary build/tradewind \
  --model "$models/SmolLM2-135M-Instruct.Q4_1.gguf" --harness build/venv/bin/python --out bench/results
[ $# -gt 0 ] || { gateway; ledger; }
