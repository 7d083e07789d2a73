"""Tradewind and llama.cpp in turn on the same files, each run beside the machine's limits; writes bench/results/.

Speeds drift on shared machines: every round measures both, in alternating order, and the ratio is taken round by
round. A suite (`--only`) is measured and written by itself, since a whole run takes long; `speed.md` is made of every
suite's JSON that is there.

Usage: compare_llama_cpp.py [--only default --only 3b-q4_0 --only start --only memory] [--rounds 3]
"""
import argparse
import json
import pathlib
import subprocess
import sys

import machine
import report
import serve
import where
from suites import SUITES

HERE = pathlib.Path(__file__).parent
TIMEOUT_S = 3600


def run_json(command):
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True,
                          timeout=TIMEOUT_S)
    return json.loads(done.stdout)


def limits(args, threads):
    """What the machine can do now: measured before and after each run of the other engine, too."""
    return run_json([args.binary, "doctor", "--measure", "--threads", threads, "--port", 0, "--json"])["measured"]


def ours(args, suite, model, threads):
    return run_json([args.binary, "bench", model, "--plan", ",".join(suite.plans), "--reps", suite.reps, "--threads",
                     threads, "--ctx", 4096, "--json", *args.flags.split()])


def peer(args, suite, model, threads):
    plans = [word for plan in suite.plans for word in ("--plan", plan)]
    return run_json([sys.executable, HERE / "peer_llama_cpp.py", model, *plans, "--reps", suite.reps, "--threads",
                     threads])


def compare(args, name):
    suite = SUITES[name]
    model = suite.model(args)
    rounds = []
    for threads in suite.threads:
        for number in range(args.rounds):
            one = {"round": number + 1, "threads": threads, "limits": [limits(args, threads)]}
            for engine, measure in [("tradewind", ours), ("llama_cpp", peer)][::1 if number % 2 == 0 else -1]:
                print(f"{name}: {threads} threads, round {number + 1} of {args.rounds}: {engine}", file=sys.stderr)
                one[engine] = measure(args, suite, model, threads)
                one["limits"].append(limits(args, threads))
            rounds.append(one)
    return {"kind": "compare", "title": suite.title, "plans": suite.plans, "rounds": rounds}


def main():
    parser = argparse.ArgumentParser()
    choices = [*SUITES, "start", "memory", "profile"]
    parser.add_argument("--only", action="append", choices=choices, help="repeatable; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default="build/tradewind")
    parser.add_argument("--make-model", default="build/make_model")
    parser.add_argument("--models", default="build/models", help="folder of the default model")
    parser.add_argument("--made-models", default="build/bench-models", help="folder of the 3B files, made on demand")
    parser.add_argument("--flags", default="", help="more flags for `tradewind bench` and `serve`, in one word")
    parser.add_argument("--out", default="bench/results")
    args = parser.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    measures = {"start": serve.start_times, "memory": serve.memory, "profile": where.profile}
    for name in args.only or choices:
        result = measures[name](args) if name in measures else compare(args, name)
        result = {"schema": "tradewind.bench-compare/v2", "suite": name} | machine.describe(args) | result
        (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        (out / "speed.md").write_text(report.render([json.loads((out / f"{known}.json").read_text())
                                                     for known in choices if (out / f"{known}.json").exists()]))
    print((out / "speed.md").read_text())


if __name__ == "__main__":
    main()
