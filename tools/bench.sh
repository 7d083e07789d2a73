#!/usr/bin/env bash
# The speed figures, ours and llama.cpp's alternating in one run, written to bench/results/.
# Usage: tools/bench.sh [--only default|3b-q4_k_m|3b-q4_0|3b-q8_0|start|memory|profile]... [--rounds N] ...
# A whole run takes more than an hour and 8 GB of disk for the 3B files, which are made on demand.
set -euo pipefail

tools/setup_bench_tools.sh
cmake --build build --target make_model tradewind
models="${TRADEWIND_MODELS:-build/models}"
build/venv-bench/bin/python -B bench/compare_llama_cpp.py --models "$models" --rounds "${BENCH_ROUNDS:-3}" "$@"
build/venv-bench/bin/python -B bench/compare_logprobs.py --binary build/tradewind \
  --model "$models/SmolLM2-135M-Instruct.Q4_1.gguf" --harness build/venv/bin/python --out bench/results
