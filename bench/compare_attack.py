"""One budget of $1, asked for by everybody at once, here and at LiteLLM, in front of the same simulated provider: whose bill goes over
it, and how far? The attack is that of tests/binary/test_money.py. Writes bench/results/attack.md, and exits 1 when the bill for what
Tradewind let through is over the budget.

usage: compare_attack.py [--clients N] [--tokens-per-s N] [--without-peers] [--out FOLDER]
"""
import argparse
import collections
import contextlib
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "binary"))
import attack  # noqa: E402
import gateway_peers  # noqa: E402
import harness  # noqa: E402
import machine  # noqa: E402
import market  # noqa: E402

# What the clients ask for -> every n-th of them sends no `max_tokens`; 0: each of them does.
MIXES = {"a third without `max_tokens`": 3, "all with `max_tokens`": 0}

INTRODUCTION = """# A budget of $1, asked for by everybody at once

Made by `make bench BENCH_FLAGS="--only attack"`. {clients:,} clients connect, then each asks once on a connection of its own, all in
the same moment, half of them for a stream. An answer of 40 tokens costs 1.2 cents, so $1 is for 83 of them. The provider is simulated
and says {tokens_per_s:g} tokens a second; its own bill is the judge. When all have their answer, one more client asks again and again
until it is refused: what it gets was held back from the others while they asked. Without `max_tokens` an answer may cost more than
$1: where its worst case is held, the first such request holds all that is left until it ends.

LiteLLM has one worker, and $1 in two ways that need no database: as the budget of a provider (its "budget routing"), and as the
`max_budget` of a key that its hook for authentication answers for, which its documents do not promise to keep. A key of its
`/key/generate` needs PostgreSQL, and engines that are on no package registry, and is not measured: by its source, reservations and
counters are those of the second way.
"""


def measure(sim, name, mix, at, args):
    print(f"{args.clients} clients, {mix}: {name}", file=sys.stderr)
    sim.reset()
    sim.fault(tokens_per_s=args.tokens_per_s)
    answers, seconds = attack.attack(*at, market.MODEL, args.clients, unbounded=MIXES[mix])
    statuses = collections.Counter(status for status, _ in answers)
    (last, _), later = attack.ask_until_refused(*at, market.MODEL)
    refused = sum(statuses[status] for status in (402, 422, 429))
    return {"name": name, "mix": mix, "answered": statuses[200], "refused": refused, "other": args.clients - statuses[200] - refused,
            "statuses": dict(statuses), "last": last, "seconds": seconds, "later": later, "billed_nanousd": attack.billed_nano(sim)}


def tradewind(site, args):
    for mix in MIXES:
        made = harness.run_cli("keys", "create", "--name", f"key-{MIXES[mix]}", "--budget", "1", home=site.server.home)
        assert made.returncode == 0, made
        yield measure(site.sim, "Tradewind, budget of a key", mix, (site.server.host, site.server.port, made.stdout.strip()), args)


def litellm(folder, sim, version, args):
    for way in gateway_peers.LITELLM_BUDGETS:
        for mix in MIXES:
            with contextlib.ExitStack() as stack:
                home = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
                port, token = gateway_peers.start_litellm_with_budget(stack, home, way, sim.base_url("site-a"), market.KEY, attack.PRICES)
                yield measure(sim, f"LiteLLM {version}, {way}", mix, ("127.0.0.1", port, token), args)


def report(result):
    lines = [INTRODUCTION.format(**result), machine.header(result["machine"]), "",
             "| gateway | clients | answered | refused | other | s until all had theirs | then, one by one | provider's bill | over the budget |",
             "|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    for row in result["rows"]:
        over = max(0, row["billed_nanousd"] - attack.BUDGET_NANO)
        lines.append(f"| {row['name']} | {row['mix']} | {row['answered']:,} | {row['refused']:,} | {row['other']:,} | {row['seconds']:.1f} | "
                     f"{row['later']:,} | ${row['billed_nanousd'] / 1e9:.6f} | {f'**${over / 1e9:.6f}**' if over else '$0'} |")
    return "\n".join([*lines, ""])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--tokens-per-s", type=float, default=100)
    parser.add_argument("--without-peers", action="store_true", help="without LiteLLM")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"))
    args = parser.parse_args()
    attack.allow_many_files()
    version = None if args.without_peers else gateway_peers.versions().get("LiteLLM")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with market.Market(folder, "site-a", prices=attack.PRICES) as site:
            ours = list(tradewind(site, args))
            peers = list(litellm(folder, site.sim, version, args)) if version else []
    result = {"schema": "tradewind.bench-attack/v1", "machine": machine.describe(args, f"LiteLLM {version}" if version else "none"),
              "clients": args.clients, "tokens_per_s": args.tokens_per_s, "rows": ours + peers}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "attack.json").write_text(json.dumps(result, indent=1) + "\n")
    (args.out / "attack.md").write_text(report(result))
    print(report(result))
    if late := [row["billed_nanousd"] for row in ours if row["billed_nanousd"] > attack.BUDGET_NANO]:
        sys.exit(f"missed: the provider bills {late} nano-dollars of {attack.BUDGET_NANO}")


if __name__ == "__main__":
    main()
