#!/usr/bin/env bash
# The speed figures, ours and llama.cpp's alternating in one run, and our log-likelihoods beside llama.cpp's, written to
# bench/results/.
set -euo pipefail

models=${TRADEWIND_MODELS:-build/models}
model="$models/SmolLM2-135M-Instruct.Q4_1.gguf"
rounds=${BENCH_ROUNDS:-3}
tools/setup_bench_tools.sh
build/venv-bench/bin/python bench/compare_llama_cpp.py \
  --binary build/tradewind --model "$model" --rounds "$rounds" --out bench/results
build/venv-bench/bin/python bench/compare_logprobs.py \
  --binary build/tradewind --model "$model" --harness build/venv/bin/python --out bench/results
