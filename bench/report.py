"""The suites' JSON -> bench/results/speed.md."""
import statistics

from suites import figures

INTRODUCTION = """# Speed beside llama.cpp

Made by `make bench` (`tools/bench.sh`): both engines in turn on the same files, threads and shapes of work; f16 KV caches
and flash attention in llama.cpp. `ppN` is a prompt of N tokens, `tgN` N tokens decoded from an empty context, `tgN at P x C`
C sequences that decode together after prompts of P. Speeds are tokens a second, of all sequences together; medians over the
rounds, smallest and largest in brackets; the ratio is taken round by round. Shares are of what the machine read or
multiplied, measured right before and after each run: weights read per second for decoding, multiply-adds by 8-bit
instructions for prefill.
"""


def spread(values, digits):
    text = [f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return text[0] if text[1] == text[2] else f"{text[0]} ({text[1]} to {text[2]})"


def _row(run, plan):
    prompt, output, sequences = (int(n) for n in plan.split("x"))
    return next(row for row in run["results"] if (row["prompt_tokens"], row["output_tokens"], row["concurrency"]) ==
                (prompt, output, sequences))


def _share(one, engine, plan, key):
    """Of the limit beside the run: the mean of the measurements before and after it."""
    runs = [name for name in one if name in ("tradewind", "llama_cpp")]  # in the order they ran
    beside = one["limits"][runs.index(engine):runs.index(engine) + 2]
    speed = _row(one[engine], plan)[key]
    ours = _row(one["tradewind"], plan)
    if key == "decode_tokens_per_s":
        reached = speed / ours["concurrency"] * one["tradewind"]["weight_bytes"] / 1e9
        return reached / statistics.mean(limit["read_gb_per_s"] for limit in beside)
    if not beside[0]["peaks"]["int8"]:
        return None
    reached = ours["prefill_gmac_per_s"] * speed / ours["prefill_tokens_per_s"]
    return reached / statistics.mean(limit["peaks"]["int8"]["gmac_per_s"] for limit in beside)


def _percent(values):
    return "-" if None in values else spread([100 * value for value in values], 0) + " %"


def _compare(result):
    yield "| threads | figure | Tradewind | llama.cpp | ratio | share of the limit, Tradewind | llama.cpp |"
    yield "|---:|---|---:|---:|---:|---:|---:|"
    for threads in sorted({one["threads"] for one in result["rounds"]}):
        rounds = [one for one in result["rounds"] if one["threads"] == threads]
        for plan in result["plans"]:
            for name, key in figures(plan):
                ours, peer = ([_row(one[engine], plan)[key] for one in rounds] for engine in ("tradewind", "llama_cpp"))
                digits = 0 if statistics.median(ours) >= 100 else 1
                shares = [_percent([_share(one, engine, plan, key) for one in rounds])
                          for engine in ("tradewind", "llama_cpp")]
                ratio = spread([a / b for a, b in zip(ours, peer)], 2)
                yield (f"| {threads} | {name} | {spread(ours, digits)} | {spread(peer, digits)} | {ratio} | "
                       f"{shares[0]} | {shares[1]} |")
    yield ""
    last = result["rounds"][-1]
    limits = [limit for one in result["rounds"] if one["threads"] == last["threads"] for limit in one["limits"]]
    peaks = [f"{spread([limit['peaks'][kind]['gmac_per_s'] for limit in limits], 0)} GMAC/s by "
             f"{limits[0]['peaks'][kind]['instruction']}" for kind in ("f32", "int16", "int8") if limits[0]["peaks"][kind]]
    read = spread([limit["read_gb_per_s"] for limit in limits], 1)
    yield f"Limits with {last['threads']} threads: read {read} GB/s; {'; '.join(peaks)}."
    resident = [spread([run[engine]["results"][-1]["rss_bytes"] / 1e9 for run in result["rounds"]], 2)
                for engine in ("tradewind", "llama_cpp")]
    load = [spread([run[engine]["load_ms"] / 1000 for run in result["rounds"]], 2) for engine in ("tradewind", "llama_cpp")]
    yield (f"Resident after the last row: Tradewind {resident[0]} GB, llama.cpp {resident[1]} GB. "
           f"Load: Tradewind {load[0]} s, llama.cpp {load[1]} s.")


def _start(result):
    yield "| model | first start, ms | later starts, ms |"
    yield "|---|---:|---:|"
    for row in result["rows"]:
        yield f"| {row['title']} | {spread(row['first_ms'], 0)} | {spread(row['later_ms'], 0)} |"


def _memory(result):
    yield "| state | resident, GB | of it anonymous | mapped file |"
    yield "|---|---:|---:|---:|"
    for row in result["rows"]:
        yield (f"| {row['state']} | {row['rss_bytes'] / 1e9:.2f} | {row['anonymous_bytes'] / 1e9:.2f} | "
               f"{row['file_bytes'] / 1e9:.2f} |")


def _profile(result):
    """One column for each piece of work; a function's row is where it is largest."""
    works = [f"{row['title'].split(',')[0].split(' (')[0]}, {row['work']}" for row in result["rows"]]
    yield "| function | " + " | ".join(works) + " |"
    yield "|---|" + "---:|" * len(works)
    shares = [{f["function"]: f["percent"] for f in row["functions"]} for row in result["rows"]]
    names = sorted({name for share in shares for name in share}, key=lambda name: -max(s.get(name, 0) for s in shares))
    for name in names:
        if max(share.get(name, 0) for share in shares) >= 0.5:
            yield f"| {name} | " + " | ".join(f"{s[name]:.1f} %" if name in s else "" for s in shares) + " |"


def render(results):
    lines = [INTRODUCTION]
    for result in results:
        lines += [f"## {result['title']}",
                  f"{result['cpu']}, {result['cpus']} CPUs, {result['system']}. Commit {result['commit']}, "
                  f"{result['date']}. {result['peer']}. `{result['command']}`", ""]
        lines += {"compare": _compare, "start": _start, "memory": _memory, "profile": _profile}[result["kind"]](result)
        lines.append("")
    return "\n".join(lines)
