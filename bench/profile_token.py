"""Where the time of a token goes: samples `tradewind bench` with perf and sums functions up by what they are for.

Usage: profile_token.py --binary build/tradewind --model FILE.gguf [--model FILE.gguf ...] --out bench/results
Needs perf (Debian's linux-perf). Loading is left out of the shares; waiting is what workers spin.
"""
import argparse
import datetime
import pathlib
import platform
import re
import subprocess
import tempfile

PLANS = (("decode", "1x96x1"), ("prefill", "512x1x1"), ("8 sequences decode", "16x48x8"))
# First match wins; the order goes from the particular to the general.
KINDS = (
    ("load", r"Pack|ReadBlock32|ReadUnit|Gguf|TextIndex|TokenTables|Vocabulary|clear_page|unmap|folio|memset"
             r"|internal::\(anonymous namespace\)::(Read|Int8|Int16|F32)\b"),
    ("products: packed weights", r"DotStrip|DotPanel|DotBytePanel|SumGroup"),
    ("products: opening weights into a panel", r"OpenPanel|OpenBytePanel"),
    ("products: rounding activations", r"::Quantize|NarrowToBytes|QuantizeInput"),
    ("products: moving results", r"MatMul::"),
    ("attention", r"Attend|MixTile|ScoreTile|SoftmaxTile|Attention|InterleaveQueries|Softmax|OpenBlock"),
    ("norms, gate, residual, rotation", r"RmsNorm|SiluMultiply|::Add<|Rope"),
    ("waiting for other workers", r"WorkerPool|sched_yield|__schedule|pick_next|futex|yield"),
    ("sampling and text", r"Sampler|Sequence|Detokenizer|Logprob"),
)


def profile(binary, model, plan, threads):
    with tempfile.NamedTemporaryFile() as data:
        subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-o", data.name, binary, "bench", model,
                        "--plan", plan, "--reps", "3", "--threads", str(threads), "--ctx", "1024"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        report = subprocess.run(["perf", "report", "-i", data.name, "--stdio", "--no-children", "-F", "overhead,symbol"],
                                check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    shares = {}
    for line in report.splitlines():
        found = re.match(r"\s*([0-9.]+)%\s+\[.\]\s+(.*)", line)
        if found:
            kind = next((name for name, pattern in KINDS if re.search(pattern, found[2])), "everything else")
            shares[kind] = shares.get(kind, 0.0) + float(found[1])
    shares.pop("load", None)
    total = sum(shares.values())
    return {kind: 100 * share / total for kind, share in shares.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default="build/tradewind")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="bench/results")
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    names = [pathlib.Path(model).stem for model in args.model]
    text = ["# Where the time of a token goes", "",
            f"{cpu}, {platform.system()} {platform.release()}, {args.threads} threads, commit {commit}, "
            f"{datetime.date.today()}. Shares of the samples outside loading, by `bench/profile_token.py "
            f"{' '.join('--model ' + name + '.gguf' for name in names)}`.", ""]
    for title, plan in PLANS:
        columns = [profile(args.binary, model, plan, args.threads) for model in args.model]
        kinds = sorted({kind for column in columns for kind in column}, key=lambda kind: -columns[0].get(kind, 0))
        text += [f"## {title} (plan {plan})", "", "| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
        text += ["| " + kind + " | " + " | ".join(f"{column.get(kind, 0):.1f} %" for column in columns) + " |"
                 for kind in kinds]
        text.append("")
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "token-time.md").write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
