#!/usr/bin/env bash
# The speed figures, ours and the peer's alternating in one run, written to bench/results/: llama.cpp, and for the
# gateway nginx, LiteLLM and Portkey. Ends with 1 when a target was missed, after everything was measured.
# Usage: tools/bench.sh [--only gateway|ledger|usage|attack|default|3b-q4_k_m|3b-q4_0|3b-q8_0|start|memory|profile]... [--rounds N] ...
# A whole run takes more than an hour and 8 GB of disk for the 3B files, which are made on demand. `--only gateway` and
# `--only ledger` (what money costs, and `usage`: pages over a million requests) and `--only attack` (a budget, by everybody at
# once) take minutes and need none of that; they go with no other `--only`, and with the flags of their scripts in bench/.
set -euo pipefail
missed=0

gateway() {
  tools/setup_bench_tools.sh gateway
  cmake --build build --target tradewind provider_sim gateway_load
  python3 -B bench/compare_gateways.py "$@" || missed=1
}

ledger() {
  cmake --build build --target tradewind provider_sim gateway_load ledger_load
  python3 -B bench/ledger_cost.py "$@" || missed=1
  usage
}

usage() {
  cmake --build build --target tradewind
  python3 -B bench/usage.py "$@" || missed=1
}

attack() {
  tools/setup_bench_tools.sh gateway
  cmake --build build --target tradewind provider_sim
  python3 -B bench/compare_attack.py "$@" || missed=1
}

if [ "${1-}" = --only ]; then
  case "${2-}" in
    gateway | ledger | usage | attack)
      "$2" "${@:3}"
      exit $missed
      ;;
  esac
fi
tools/setup_bench_tools.sh
cmake --build build --target make_model tradewind
models="${TRADEWIND_MODELS:-build/models}"
build/venv-bench/bin/python -B bench/compare_llama_cpp.py --models "$models" --rounds "${BENCH_ROUNDS:-3}" "$@"
build/venv-bench/bin/python -B bench/compare_logprobs.py --binary build/tradewind \
  --model "$models/SmolLM2-135M-Instruct.Q4_1.gguf" --harness build/venv/bin/python --out bench/results
if [ $# = 0 ]; then
  gateway
  ledger
  attack
fi
exit $missed
