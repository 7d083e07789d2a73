"""llama.cpp beside Tradewind: the same model file, threads and shapes, in one run.

Prints one JSON object. Speeds are medians over the repetitions; log-likelihoods are llama.cpp's own, with its 8-bit
rounding of activations.

Usage: peer_llama_cpp.py MODEL.gguf --prompt-tokens 512 --gen-tokens 128 --threads 2 --reps 5
       peer_llama_cpp.py MODEL.gguf --logprobs IDS.json     (lists of ids -> of each, the log-probability
       of every id after the first given those before)
"""
import argparse
import json
import statistics
import sys
import time

import llama_cpp
import numpy as np


def measure(args):
    model = llama_cpp.Llama(
        args.model, n_ctx=args.prompt_tokens + args.gen_tokens + 8, n_batch=512, n_threads=args.threads,
        n_threads_batch=args.threads, verbose=False)
    vocab = model.n_vocab()
    rng = np.random.default_rng(7)
    prefill, decode = [], []
    for _ in range(args.reps + 1):  # the first one warms up
        ids = rng.integers(100, vocab - 100, args.prompt_tokens).tolist()
        model.reset()
        start = time.perf_counter()
        model.eval(ids)
        middle = time.perf_counter()
        for _ in range(args.gen_tokens):
            model.eval([int(rng.integers(100, vocab - 100))])
        end = time.perf_counter()
        prefill.append(args.prompt_tokens / (middle - start))
        decode.append(args.gen_tokens / (end - middle))
    return {"engine": "llama.cpp", "version": llama_cpp.__version__, "threads": args.threads,
            "prefill_tokens_per_s": statistics.median(prefill[1:]), "decode_tokens_per_s": statistics.median(decode[1:])}


def logprobs(args):
    sequences = json.load(open(args.logprobs))
    model = llama_cpp.Llama(args.model, n_ctx=max(map(len, sequences)) + 8, n_batch=512, n_threads=args.threads,
                            logits_all=True, verbose=False)
    out = []
    for ids in sequences:
        model.reset()
        model.eval(ids)
        values = []
        for position in range(len(ids) - 1):
            row = np.asarray(model.scores[position], dtype=np.float64)
            top = row.max()
            values.append(float(row[ids[position + 1]] - top - np.log(np.exp(row - top).sum())))
        out.append(values)
    return {"engine": "llama.cpp", "logprobs": out}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--gen-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--logprobs")
    args = parser.parse_args()
    json.dump(logprobs(args) if args.logprobs else measure(args), sys.stdout)
    print()


if __name__ == "__main__":
    main()
