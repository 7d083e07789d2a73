"""The JSON of compare_gateways.py -> bench/results/gateway.md."""
import statistics

INTRODUCTION = """# The gateway beside nginx and other gateways

Made by `make bench BENCH_FLAGS="--only gateway"`: a simulated provider, in front of it nginx with `proxy_pass` and kept
connections and one worker; Tradewind with keys, routing, prices and metrics on, no access log, one event loop; LiteLLM's proxy
with a master key, no database and one worker; Portkey's gateway, which has no keys. The load, all of them and the provider share
this machine. Medians over the rounds, smallest and largest in brackets; ratios and differences are taken round by round. CPU time
is that of the gateway's own processes. LiteLLM and Portkey get a part of the requests: 1/50 and 1/10.
"""

# What is to be reached: (case, what, unit, how it is computed, bound, whether less is better). A request that failed counts
# for none of them: a bar with failures is not reached.
BARS = [
    ("64 at a time", "CPU time of a request / nginx's", "", lambda one: _ratio(one, "cpu_us"), 1.5, True),
    ("one at a time", "added to the median of a direct request", "µs",
     lambda one: one["tradewind"]["p50_us"] - one["direct"]["p50_us"], 120, True),
    ("streams of 200 chunks, 16 at a time", "streams a second / nginx's", "",
     lambda one: _per_second(one["tradewind"]) / _per_second(one["nginx"]), 0.9, False),
    ("400 kB bodies", "requests a second / nginx's", "",
     lambda one: _per_second(one["tradewind"]) / _per_second(one["nginx"]), 0.5, False),
]
STREAM_BYTES_MAX = 40_000
# Memory that comes after a tenth of the requests: so much is noise of the allocator.
GROWTH_MAX, GROWTH_BYTES_MAX = 1.05, 8_000_000


def _ratio(one, key):
    return one["tradewind"][key] / one["nginx"][key]


def _per_second(run):
    return run["requests"] / run["seconds"]


def spread(values, digits):
    text = [f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return text[0] if text[1] == text[2] else f"{text[0]} ({text[1]} to {text[2]})"


def _judged(rounds):
    """(bar, its values round by round, what is wrong with it: "" = reached) of each bar that was measured."""
    for bar in BARS:
        case, what, _, compute, bound, less = bar
        if "nginx" in what and "nginx" not in rounds[0][case]:
            continue
        values = [compute(one[case]) for one in rounds]
        good = statistics.median(values) <= bound if less else statistics.median(values) >= bound
        failed = sum(one[case]["tradewind"]["failed"] for one in rounds)
        yield bar, values, f", **{failed} failed**" if failed else "" if good else ", **not reached**"


def missed(rounds):
    """The cases of which a bar is not reached."""
    return [bar[0] for bar, _, wrong in _judged(rounds) if wrong]


def _bars(result):
    yield "| bar | reached | asked |"
    yield "|---|---:|---:|"
    for (case, what, unit, _, bound, less), values, wrong in _judged(result["rounds"]):
        yield (f"| {case}: {what} | {spread(values, 0 if unit else 2)} {unit}".rstrip() +
               f"{wrong} | {'≤' if less else '≥'} {bound} {unit}".rstrip() + " |")
    streams = result["streams"]["tradewind"]
    wrong = "" if streams["per_stream_bytes"] <= STREAM_BYTES_MAX else ", **not reached**"
    yield (f"| memory of each of {streams['streams']:,} streams | {streams['per_stream_bytes'] / 1000:.1f} kB{wrong} | "
           f"≤ {STREAM_BYTES_MAX // 1000} kB |")
    course, failed = result["course"]["rss_bytes"], result["course"]["failed"]
    is_flat = course[-1] <= max(course[1] * GROWTH_MAX, course[1] + GROWTH_BYTES_MAX)
    wrong = f", **{failed} failed**" if failed else "" if is_flat else ", **not reached**"
    yield (f"| resident after a tenth of {result['course']['requests']:,} requests, and after all | "
           f"{course[1] / 1e6:.1f} MB, {course[-1] / 1e6:.1f} MB{wrong} | the same: ≤ {GROWTH_MAX:.0%} or "
           f"{GROWTH_BYTES_MAX // 1_000_000} MB more |")


def is_reached(result):
    """Whether every bar of the table is."""
    return not any("not reached" in row or "failed" in row for row in _bars(result))


def _legs(result, case):
    """Where the time of a request of the median goes, for a case whose bar is missed."""
    yield f"### Where the time of a request goes: {case}"
    yield ""
    yield ("The median request; of it what the same takes without a gateway, and the CPU time of the gateway. The rest is waiting: "
           "for the kernel to wake the next process, for a CPU, for others' requests before it. The last column is how much of one "
           "CPU the gateway used.")
    yield ""
    yield "| | median, µs | without a gateway, µs | gateway's CPU time, µs | waiting, µs | busy |"
    yield "|---|---:|---:|---:|---:|---:|"
    runs = [one[case] for one in result["rounds"]]
    for target in runs[0]:
        if target == "direct":
            continue
        legs = [(one[target]["p50_us"], one["direct"]["p50_us"], one[target]["cpu_us"]) for one in runs]
        rest = [p50 - direct - cpu for p50, direct, cpu in legs]
        busy = statistics.median(_per_second(one[target]) * one[target]["cpu_us"] / 1e6 for one in runs)
        cells = [spread(list(column), 0) for column in zip(*legs)] + [spread(rest, 0), f"{busy:.0%}"]
        yield f"| {target} | " + " | ".join(cells) + " |"


def _case(result, name):
    yield "| | requests/s | P50, µs | P99, µs | CPU time of a request, µs | / nginx's | resident after it, MB |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    runs = [one[name] for one in result["rounds"]]
    for target in runs[0]:
        mine = [one[target] for one in runs]
        cells = [spread([_per_second(run) for run in mine], 0), spread([run["p50_us"] for run in mine], 0),
                 spread([run["p99_us"] for run in mine], 0)]
        if target == "direct":
            cells += ["", "", ""]
        else:
            cells.append(spread([run["cpu_us"] for run in mine], 1))
            cells.append(spread([one[target]["cpu_us"] / one["nginx"]["cpu_us"] for one in runs], 2)
                         if "nginx" in runs[0] else "")
            cells.append(f"{statistics.median(run['rss_bytes'] for run in mine) / 1e6:.0f}")
        failed = sum(run["failed"] for run in mine)
        yield f"| {target}{f' ({failed} failed)' if failed else ''} | " + " | ".join(cells) + " |"


def _split(case, split):
    """Of perf's samples: shares, and what they are of the CPU time that was measured meanwhile."""
    shares = split.get("shares")
    if not shares:  # a short run may end before the first sample
        yield f"Of what the CPU time of a request is made ({case}) is not known: {split.get('why', 'perf took no sample')}."
        return
    kernel = sum(share for part, share in shares.items() if part.startswith("kernel"))
    total = sum(shares.values())
    yield f"### Of what the CPU time of a request is made: {case}"
    yield ""
    yield (f"perf's samples over {split['requests']:,} requests, by the part of the program whose code ran; {kernel / total:.0%} "
           f"of them in the kernel. A request took {split['cpu_us']:.0f} µs meanwhile.")
    yield ""
    yield "| part | share | µs |"
    yield "|---|---:|---:|"
    for part, share in sorted(shares.items(), key=lambda row: -row[1]):
        yield f"| {part} | {share / total:.1%} | {share / total * split['cpu_us']:.1f} |"


def render(result):
    lines = [INTRODUCTION, f"{result['cpu']}, {result['cpus']} CPUs, {result['system']}. Commit {result['commit']}, "
             f"{result['date']}. {result['peer']}. `{result['command']}`. Load of the machine before it began: "
             f"{result['load']:.1f}.", "", *_bars(result), ""]
    for name in result["rounds"][0]:
        lines += [f"## {name}", "", *_case(result, name), ""]
    lines += ["## Streams held open", "", "| | streams | resident before, MB | with them, MB | each, kB |",
              "|---|---:|---:|---:|---:|"]
    for target, one in result["streams"].items():
        lines.append(f"| {target} | {one['streams']:,} | {one['before_bytes'] / 1e6:.1f} | {one['held_bytes'] / 1e6:.1f} | "
                     f"{one['per_stream_bytes'] / 1000:.1f} |")
    lines += ["", "## Where the time goes"]
    for case in missed(result["rounds"]):
        lines += ["", *_legs(result, case)]
    for case, split in result["splits"].items():
        lines += ["", *_split(case, split)]
    course = result["course"]
    lines += ["", f"Resident memory over {course['requests']:,} requests, MB: " +
              ", ".join(f"{one / 1e6:.1f}" for one in course["rss_bytes"]) + f"; {course['failed']} failed."]
    return "\n".join(lines) + "\n"
