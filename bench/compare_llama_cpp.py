"""Runs Tradewind and llama.cpp in turn on one model, and writes the medians and ratios with the machine and the commit.

Speeds drift on shared machines: every round measures both, and the ratio is taken round by round.
Usage: compare_llama_cpp.py --binary build/tradewind --model FILE --rounds 3 --out bench/results
"""
import argparse
import datetime
import json
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def run_json(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def ours(args, threads):
    report = run_json([args.binary, "bench", args.model, "--prompt-tokens", str(args.prompt_tokens), "--gen-tokens",
                       str(args.gen_tokens), "--threads", str(threads), "--reps", "3", "--concurrency", "1", "--json"])
    row = report["results"][0]
    return {"prefill_tokens_per_s": row["prefill_tokens_per_s"], "decode_tokens_per_s": row["decode_tokens_per_s"]}


def peer(args, threads):
    return run_json([sys.executable, str(HERE / "peer_llama_cpp.py"), args.model, "--prompt-tokens",
                     str(args.prompt_tokens), "--gen-tokens", str(args.gen_tokens), "--threads", str(threads)])


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--gen-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    table = []
    for threads in args.threads:
        rounds = [(ours(args, threads), peer(args, threads)) for _ in range(args.rounds)]
        for key in ("prefill_tokens_per_s", "decode_tokens_per_s"):
            table.append({
                "threads": threads, "figure": key,
                "tradewind": statistics.median(a[key] for a, _ in rounds),
                "llama_cpp": statistics.median(b[key] for _, b in rounds),
                "ratio": statistics.median(a[key] / b[key] for a, b in rounds),
                "ratio_min": min(a[key] / b[key] for a, b in rounds),
                "ratio_max": max(a[key] / b[key] for a, b in rounds),
            })
    lines = [
        "# Default model: Tradewind beside llama.cpp", "",
        f"Machine: {cpu_name()}, {platform.system()} {platform.release()}. Commit: {commit}. "
        f"Date: {datetime.date.today()}. Command: `{' '.join(sys.argv)}`.",
        f"Prompt {args.prompt_tokens} tokens, then {args.gen_tokens} decoded; llama.cpp by llama-cpp-python 0.3.36; "
        f"{args.rounds} alternating rounds, medians; ratio per round (min to max).",
        "Tradewind computes with float activations, llama.cpp with 8-bit ones.", "",
        "| threads | figure | Tradewind | llama.cpp | ratio |", "|---:|---|---:|---:|---:|"]
    for row in table:
        lines.append(f"| {row['threads']} | {row['figure']} | {row['tradewind']:.0f} | {row['llama_cpp']:.0f} | "
                     f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f}) |")
    text = "\n".join(lines) + "\n"
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "default-model.md").write_text(text)
    (out / "default-model.json").write_text(json.dumps({"schema": "tradewind.bench-compare/v1", "commit": commit,
                                                        "cpu": cpu_name(), "rows": table}, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
