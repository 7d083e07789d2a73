"""llama.cpp beside Tradewind: the same model file, threads and shapes, through llama.cpp's own interface.

Flash attention is on and the KV cache is f16, as in Tradewind. Prints one JSON object shaped like `tradewind bench
--json`; speeds are medians over the repetitions, after a short one to warm up. Log-likelihoods are llama.cpp's own,
with its 8-bit rounding of activations.

Usage: peer_llama_cpp.py MODEL.gguf --plan 512x1x1 --plan 1x128x1 --plan 64x64x8 --threads 2 --reps 3
       (prompt tokens x output tokens x sequences that decode together)
       peer_llama_cpp.py MODEL.gguf --logprobs IDS.json     (lists of ids -> of each, the log-probability
       of every id after the first given those before)
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import sys
import time

import llama_cpp
import numpy as np

BATCH = 512  # tokens of one prefill pass; llama.cpp's own default


@contextlib.contextmanager
def quiet():
    """llama.cpp writes its log to stderr past Python; without this it buries the figures."""
    keep = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(null)


def memory():
    """Resident bytes now and at most. Mapped file pages count, as they do for Tradewind."""
    status = pathlib.Path("/proc/self/status").read_text()
    value = {key: int(kb) * 1024 for key, kb in re.findall(r"(\w+):\s+(\d+) kB", status)}
    return {"rss_bytes": value["VmRSS"], "rss_max_bytes": value["VmHWM"]}


class Peer:
    def __init__(self, path, threads, sequences, positions):
        llama_cpp.llama_backend_init()
        begin = time.perf_counter()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        # Its cache counts positions of all sequences together, in steps of 256.
        params.n_ctx = (positions + 255) // 256 * 256 * sequences
        params.n_batch = max(BATCH, sequences)
        params.n_ubatch = BATCH
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.type_k = params.type_v = llama_cpp.GGML_TYPE_F16
        params.no_perf = True
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit(f"llama.cpp cannot make a context of {positions} positions x {sequences}")
        self.load_s = time.perf_counter() - begin
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(params.n_batch, 0, sequences)

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, rows):
        """Evaluates rows of (token, position, sequence, wants logits) in one pass, and waits for the result."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wants) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wants
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama.cpp failed to evaluate a batch")
        llama_cpp.llama_synchronize(self.context)

    def logits(self, row):
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, row), shape=(self.vocab,))

    def run(self, prompt, output, sequences, rng):
        """One repetition: all prompts, then `output` tokens of every sequence, together. As greedy sampling does, each
        step reads all logits; the tokens are random, so that both engines do the same work."""
        self.clear()
        ids = rng.integers(100, self.vocab - 100, (sequences, prompt + output)).tolist()
        rows = [(ids[s][i], i, s, i == prompt - 1) for s in range(sequences) for i in range(prompt)]
        begin = time.perf_counter()
        for first in range(0, len(rows), BATCH):
            self.decode(rows[first:first + BATCH])
        self.logits(-1).argmax()
        middle = time.perf_counter()
        for step in range(output - 1):  # the prompt's last logits gave the first token
            self.decode([(ids[s][prompt + step], prompt + step, s, True) for s in range(sequences)])
            for s in range(sequences):
                self.logits(s).argmax()
        end = time.perf_counter()
        return {"prefill_tokens_per_s": sequences * prompt / (middle - begin),
                "decode_tokens_per_s": sequences * (output - 1) / (end - middle) if output > 1 else None}


def measure(args):
    plans = [tuple(int(n) for n in plan.split("x")) for plan in args.plan]
    positions = max(prompt + output for prompt, output, _ in plans)
    with quiet():
        peer = Peer(args.model, args.threads, max(sequences for _, _, sequences in plans), positions)
    rng = np.random.default_rng(7)
    results = []
    for prompt, output, sequences in plans:
        peer.run(min(prompt, 32), min(output, 4), sequences, rng)
        runs = [peer.run(prompt, output, sequences, rng) for _ in range(args.reps)]
        row = {"prompt_tokens": prompt, "output_tokens": output, "concurrency": sequences}
        for key in runs[0]:
            row[key] = statistics.median(run[key] for run in runs) if runs[0][key] is not None else None
        results.append(row | memory())
    return {"engine": "llama.cpp", "version": llama_cpp.__version__, "threads": args.threads, "reps": args.reps,
            "system": llama_cpp.llama_print_system_info().decode(), "load_ms": peer.load_s * 1000, "results": results}


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
    parser.add_argument("--plan", action="append", help="PROMPTxOUTPUTxSEQUENCES")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--logprobs")
    args = parser.parse_args()
    args.plan = args.plan or ["512x1x1", "1x128x1"]
    json.dump(logprobs(args) if args.logprobs else measure(args), sys.stdout)
    print()


if __name__ == "__main__":
    main()
