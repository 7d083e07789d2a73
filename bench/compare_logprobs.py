"""lm-evaluation-harness over our endpoint, and llama.cpp with logits_all on the same token ids: equal up to the noise of
8-bit activations, which llama.cpp has and golden/smollm2 states. Ends with 1 when they are not.

Usage: compare_logprobs.py --binary build/tradewind --model FILE --harness build/venv/bin/python --out bench/results
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TASKS = HERE.parent / "tests" / "binary" / "lm_eval"
TASK = "tradewind_capitals"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
CHUNK, CHUNKS = 512, 4

# golden/smollm2: llama.cpp beside float32 has an RMS of 0.103 nat per token, at most 1.5; a chunk's mean within 0.025.
RMS_MAX, TOKEN_MAX, CHUNK_MEAN_MAX = 0.15, 1.6, 0.04


@contextlib.contextmanager
def serve(args, home):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRADEWIND_")}
    environment |= {"TRADEWIND_HOME": home, "TRADEWIND_MODELS": str(pathlib.Path(args.model).resolve().parent)}
    command = [args.binary, "serve", "--port", "0", "--threads", str(args.threads), "--access-log", "none"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().removeprefix("listening on ").strip()
        while True:
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{url}/readyz")
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def tokens(url, text):
    return post(url, "/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]


def harness_samples(args, url, out):
    """Of each choice of each document: its ids, where the choice begins in them, and the harness's log-likelihood."""
    model = f"model={MODEL},base_url={url}/v1/completions,tokenizer_backend=remote,tokenized_requests=True"
    command = [args.harness, "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", model, "--tasks", TASK,
               "--include_path", TASKS, "--batch_size", "4", "--output_path", out, "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out)}
    subprocess.run([str(word) for word in command], cwd=TASKS, env=os.environ | offline, check=True, stdout=subprocess.DEVNULL)
    (path,) = out.rglob(f"samples_{TASK}_*.jsonl")
    samples = []
    for sample in map(json.loads, path.read_text().splitlines()):
        context = f"The capital city of {sample['doc']['country']} is"
        for choice, (response,) in zip(sample["doc"]["choices"], sample["resps"], strict=True):
            ids = tokens(url, f"{context} {choice}")
            samples.append({"ids": ids, "start": len(tokens(url, context)), "ours": float(response[0]), "choice": f"{context} {choice}"})
    return samples


def our_chunks(url, chunks):
    values = []
    for ids in chunks:
        body = {"model": MODEL, "prompt": ids, "max_tokens": 0, "echo": True, "logprobs": 0}
        values.append(post(url, "/v1/completions", body)["choices"][0]["logprobs"]["token_logprobs"][1:])
    return np.array(values)


def peer_logprobs(args, sequences, folder):
    path = folder / "ids.json"
    path.write_text(json.dumps(sequences))
    command = [sys.executable, HERE / "peer_llama_cpp.py", args.model, "--logprobs", path, "--threads", str(args.threads)]
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["logprobs"]


def text_chunks():
    for base in (HERE.parent / "tests" / "data", HERE.parent.parent / "shared"):
        path = base / "golden" / "smollm2" / "text_ids.npy"
        if path.exists():
            return np.load(path)[: CHUNK * CHUNKS].reshape(CHUNKS, CHUNK).tolist()
    return []


def row(name, per_token, count):
    size = np.abs(per_token)
    return {"what": name, "tokens": count, "mean": float(per_token.mean()), "median": float(np.median(size)),
            "p90": float(np.quantile(size, 0.9)), "rms": float(np.sqrt((per_token**2).mean())), "max": float(size.max())}


def compare(args):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        chunks = text_chunks()
        with serve(args, str(folder / "home")) as url:
            samples = harness_samples(args, url, folder / "harness")
            ours = our_chunks(url, chunks)
        theirs = peer_logprobs(args, [sample["ids"] for sample in samples] + chunks, folder)
    scored = [values[sample["start"] - 1 :] for sample, values in zip(samples, theirs)]
    lengths = np.array([len(values) for values in scored])
    sums = np.array([sample["ours"] - sum(values) for sample, values in zip(samples, scored)])
    rows = [row(f"harness, {len(samples)} choices of {TASK}, per token of the choice", sums / lengths, int(lengths.sum()))]
    chunk_mean = 0.0
    if chunks:
        difference = ours - np.array(theirs[len(samples) :])
        rows.append(row(f"echo, {CHUNKS} chunks of {CHUNK} ids of golden/smollm2", difference.ravel(), difference.size))
        chunk_mean = float(np.abs(difference.mean(axis=1)).max())
    rank = [[int(np.argmax(part)) for part in np.array_split(values, len(samples) // 4)]
            for values in ([s["ours"] for s in samples], [sum(values) for values in scored])]
    same = sum(a == b for a, b in zip(*rank))
    is_equal = all(r["rms"] < RMS_MAX and r["max"] < TOKEN_MAX for r in rows) and chunk_mean < CHUNK_MEAN_MAX
    return {"rows": rows, "chunk_mean_max": chunk_mean if chunks else None, "same_choice": same, "documents": len(rank[0]), "equal": bool(is_equal)}


def report(args, result):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    lines = [
        "# Log-likelihoods: lm-evaluation-harness over Tradewind, beside llama.cpp with logits_all", "",
        f"Commit: {commit}. Date: {datetime.date.today()}. Machine: {platform.system()} {platform.release()}. Command: `{' '.join(sys.argv)}`.",
        "Differences in nat per token. The noise that golden/smollm2 states for llama.cpp's 8-bit activations: median 0.036, "
        f"90 % 0.15, RMS 0.103, at most 1.5, a chunk's mean 0.025. Bounds here: RMS {RMS_MAX}, {TOKEN_MAX} for one token, {CHUNK_MEAN_MAX} for a chunk's mean.",
        "", "| what | tokens | mean | median | 90 % | RMS | largest |", "|---|---:|---:|---:|---:|---:|---:|"]
    for r in result["rows"]:
        lines.append(f"| {r['what']} | {r['tokens']} | {r['mean']:+.4f} | {r['median']:.4f} | {r['p90']:.4f} | {r['rms']:.4f} | {r['max']:.4f} |")
    lines += ["", f"The likeliest choice is the same in {result['same_choice']} of {result['documents']} documents."]
    if result["chunk_mean_max"] is None:
        lines.append("The chunks of golden/smollm2 were not at hand.")
    else:
        lines.append(f"Largest mean difference of a chunk: {result['chunk_mean_max']:.4f}.")
    lines.append(f"Equal up to the stated noise: {'yes' if result['equal'] else 'NO'}.")
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "default-model-logprobs.md").write_text("\n".join(lines) + "\n")
    data = {"schema": "tradewind.bench-logprobs/v1", "commit": commit} | result
    (out / "default-model-logprobs.json").write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--harness", required=True, help="a Python that has lm_eval")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    args.harness = str(pathlib.Path(args.harness).absolute())  # not resolved: it is a link out of its environment
    result = compare(args)
    report(args, result)
    return 0 if result["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
