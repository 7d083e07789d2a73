"""What money costs: CPU of hold and settle, what the journal adds at 2,000 requests/s, requests a second into SQLite, and the
gateway's CPU for a request with the ledger on and off, alternating in one run. Writes bench/results/ledger.json and ledger.md, and
exits 1 when a target is missed.

usage: ledger_cost.py [--rounds N] [--requests N] [--out FOLDER]
"""
import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import urllib.request

import gateway
import machine

STREAMED_TOKENS = {"stream_ratio": 64, "chat_ratio": 400}  # a short answer, and one as long as most
WARM = 200  # requests before those that are measured

TARGETS = {
    "cpu_us": ("hold + sent + settle, CPU each", "us", 5, False),
    "p99_us": ("added P99 at 2,000 requests/s", "us", 1000, False),
    "recorded_per_s": ("recorded requests into SQLite", "/s", 15_000, True),
    "ratio": ("gateway CPU for the smallest request, ledger on / off", "x", 1.15, False),
    **{key: (f"gateway CPU for a streamed answer of {tokens} tokens, ledger on / off", "x", 1.15, False)
       for key, tokens in STREAMED_TOKENS.items()},
}


def ledger(args, mode, requests, **fields):
    with tempfile.TemporaryDirectory(dir=args.scratch) as home:
        words = [args.load, "--home", home, "--mode", mode, "--requests", requests]
        for name, value in fields.items():
            words += [f"--{name}", value]
        return json.loads(subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True, text=True).stdout)


class Gateway:
    """`tradewind serve` before the simulated provider, with a key that has a budget, or with nothing counted."""

    def __init__(self, stack, args, provider, is_counted):
        self.threads = {}  # name -> us of CPU for a request, round by round
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.scratch)))
        config = self.folder / "config.toml"
        config.write_text(gateway.TRADEWIND.format(upstream=provider.port, model=gateway.MODEL, provider_model=gateway.PROVIDER_MODEL))
        env = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWIND_")}
        env |= {"TRADEWIND_HOME": str(self.folder / "home"), "HOME": str(self.folder), "SITE_A_KEY": gateway.PROVIDER_KEY}
        budget = ["--budget", "1000000"] if is_counted else []
        made = subprocess.run([args.binary, "keys", "create", "--name", "load", *budget], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=True, text=True)
        env |= {} if is_counted else {"TRADEWIND_BENCH_NO_LEDGER": "1"}
        (self.folder / "models").mkdir()
        serve = gateway.start(stack, [args.binary, "serve", "--port", 0, "--config", config, "--access-log", "none",
                                      "--models-dir", self.folder / "models"], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        port = gateway._listening_port(serve, "tradewind")
        self.target = gateway.Target("tradewind", port, "/v1/chat/completions", serve.pid, gateway.MODEL,
                                     [f"Authorization: Bearer {made.stdout.strip()}"])
        self.smallest = self.target.body(self.folder, "one two three", max_tokens=8)
        self.streams = {}
        for key, tokens in STREAMED_TOKENS.items():
            (self.folder / key).mkdir()
            self.streams[key] = self.target.body(self.folder / key, f"one two three sim:tokens={tokens} sim:tokens_per_s=1000", max_tokens=tokens, stream=True)

    def _by_thread(self):
        """CPU time of each kind of thread so far, by its name, in us."""
        times = {}
        for task in pathlib.Path(f"/proc/{self.target.pid}/task").iterdir():
            name = (task / "comm").read_text().strip()
            times[name] = times.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1e3
        return times

    def cpu_us(self, args, body, requests):
        words = [args.http_load, "--port", self.target.port, "--path", self.target.path, "--body", body,
                 "--connections", 16, "--warm", WARM, "--requests", requests]
        for header in self.target.headers:
            words += ["--header", header]
        before, threads = gateway.cpu_s(self.target.pid), self._by_thread()
        subprocess.run([str(word) for word in words], stdout=subprocess.DEVNULL, check=True)
        if body == self.smallest:
            for name, us in self._by_thread().items():
                self.threads.setdefault(name, []).append((us - threads.get(name, 0)) / (requests + WARM))
        return (gateway.cpu_s(self.target.pid) - before) / (requests + WARM) * 1e6


def billed_tokens(provider):
    with urllib.request.urlopen(f"http://127.0.0.1:{provider.port}/_sim/bill") as answer:
        return json.load(answer)["total"]["completion_tokens"]


def stream_rounds(args, provider, on, off, key):
    """CPU of a stream, on and off, round by round. What the provider bills says that each had its tokens."""
    requests = max(50, args.requests * 6 // STREAMED_TOKENS[key])
    before = billed_tokens(provider)
    rounds = [(on.cpu_us(args, on.streams[key], requests), off.cpu_us(args, off.streams[key], requests)) for _ in range(args.rounds)]
    tokens = (billed_tokens(provider) - before) / (2 * args.rounds * (requests + WARM))
    if tokens != STREAMED_TOKENS[key]:
        raise SystemExit(f"answers of {STREAMED_TOKENS[key]} tokens were to be measured, and they had {tokens}")
    return rounds


def gateways(args):
    with contextlib.ExitStack() as stack:
        provider = gateway.start_provider(stack, args)
        on, off = Gateway(stack, args, provider, True), Gateway(stack, args, provider, False)
        rounds = [(on.cpu_us(args, on.smallest, args.requests), off.cpu_us(args, off.smallest, args.requests))
                  for _ in range(args.rounds)]
        streams = {key: stream_rounds(args, provider, on, off, key) for key in STREAMED_TOKENS}
    split = {name: [statistics.median(one.threads.get(name, [0])) for one in (on, off)] for name in on.threads}
    return {"on_us": statistics.median(one for one, _ in rounds), "off_us": statistics.median(other for _, other in rounds),
            "ratio": statistics.median(one / other for one, other in rounds), "split": split,
            **{key: statistics.median(one / other for one, other in found) for key, found in streams.items()},
            "streams_us": {key: [statistics.median(pair[i] for pair in found) for i in (0, 1)] for key, found in streams.items()}}


def measure(args):
    def best(mode, key, requests, largest=False, **fields):
        found = [ledger(args, mode, requests, **fields) for _ in range(args.rounds)]
        return sorted(found, key=lambda one: one[key])[-1 if largest else 0]

    pairs = best("pairs", "cpu_us", args.requests * 5)
    pace = [ledger(args, "pace", 2000 * args.seconds, rate=2000) for _ in range(args.rounds)]
    strict = ledger(args, "strict", 100 * args.seconds, rate=100)
    record = best("record", "recorded_per_s", args.requests * 10, largest=True)
    return {"cpu_us": pairs["cpu_us"], "pairs": pairs, "p99_us": statistics.median(one["p99_us"] for one in pace), "pace": pace, "strict": strict,
            "recorded_per_s": record["recorded_per_s"], **gateways(args)}


def missed(result):
    """The keys of the targets that were not met."""
    return [key for key, (_, _, target, is_floor) in TARGETS.items()
            if not (result[key] >= target if is_floor else result[key] <= target)]


def report(result):
    lines = ["# What money costs", "", machine.header(result["machine"]), "", "| what | measured | target |", "|---|---:|---:|"]
    for key, (what, unit, target, is_floor) in TARGETS.items():
        mark = ", **missed**" if key in missed(result) else ""
        lines.append(f"| {what} | {result[key]:,.2f} {unit}{mark} | {'>=' if is_floor else '<='} {target:,} {unit} |")
    lines += ["", f"An organisation that is strict waits for the disk with each request: {result['strict']['p50_us']:.0f} us, "
              f"P99 {result['strict']['p99_us']:.0f} us, at 100 requests/s. Streamed answers: "
              + "; ".join(f"{on:.0f} us with the ledger and {off:.0f} us without for {STREAMED_TOKENS[key]} tokens"
                          for key, (on, off) in result["streams_us"].items()) + "."]
    lines += ["", f"Gateway: {result['on_us']:.1f} us of CPU a request with the ledger (a key with a budget), {result['off_us']:.1f} us "
              "with nothing counted; both before the same simulated provider, in turns. Of it, by thread:", "",
              "| thread | with the ledger, us | without, us |", "|---|---:|---:|"]
    shown = sorted(result["split"].items(), key=lambda one: -one[1][0])
    lines += [*(f"| {name} | {on:.1f} | {off:.1f} |" for name, (on, off) in shown if max(on, off) >= 0.05), ""]
    return "\n".join(lines)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--requests", type=int, default=20_000)
    arguments.add_argument("--seconds", type=int, default=20, help="of each pace")
    arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"))
    arguments.add_argument("--scratch", default=None, help="a folder on the disk that is measured (default: the system's)")
    arguments.add_argument("--binary", default="build/tradewind")
    arguments.add_argument("--sim", default="build/provider_sim")
    arguments.add_argument("--load", default="build/ledger_load")
    arguments.add_argument("--http-load", default="build/gateway_load")
    args = arguments.parse_args()
    args.flags = f"--rounds {args.rounds} --requests {args.requests}"
    result = measure(args) | {"machine": machine.describe(args, "none")}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "ledger.json").write_text(json.dumps(result, indent=1) + "\n")
    (args.out / "ledger.md").write_text(report(result))
    print(report(result))
    if late := missed(result):
        sys.exit("missed: " + "; ".join(f"{TARGETS[key][0]} ({result[key]:,.2f} {TARGETS[key][1]})" for key in late))


if __name__ == "__main__":
    main()
