"""The JSON of compare_gateways.py -> bench/results/gateway.md."""
import statistics

INTRODUCTION = """# The gateway beside nginx and other gateways

Made by `make bench BENCH_FLAGS="--only gateway"`: a simulated provider, in front of it nginx with `proxy_pass` and kept
connections and one worker; Tradewind with keys, routing, prices and metrics on, no access log, one event loop; LiteLLM's proxy
with a master key, no database and one worker; Portkey's gateway, which has no keys. The load, all of them and the provider share
this machine. Medians over the rounds, smallest and largest in brackets; ratios and differences are taken round by round. CPU time
is that of the gateway's own processes. LiteLLM and Portkey get a part of the requests: 1/50 and 1/10.
"""

# What is to be reached: (case, what, unit, how it is computed, bound, whether less is better).
BARS = [
    ("64 at a time", "CPU time of a request / nginx's", "", lambda one: _ratio(one, "cpu_us"), 1.5, True),
    ("one at a time", "added to the median of a direct request", "µs",
     lambda one: one["tradewind"]["p50_us"] - one["direct"]["p50_us"], 120, True),
    ("streams of 200 chunks, 16 at a time", "streams a second / nginx's", "",
     lambda one: _per_second(one["tradewind"]) / _per_second(one["nginx"]), 0.9, False),
]


def _ratio(one, key):
    return one["tradewind"][key] / one["nginx"][key]


def _per_second(run):
    return run["requests"] / run["seconds"]


def spread(values, digits):
    text = [f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return text[0] if text[1] == text[2] else f"{text[0]} ({text[1]} to {text[2]})"


def _bars(result):
    yield "| bar | reached | asked |"
    yield "|---|---:|---:|"
    for case, what, unit, compute, bound, less in BARS:
        if "nginx" in what and "nginx" not in result["rounds"][0][case]:
            continue
        values = [compute(one[case]) for one in result["rounds"]]
        good = statistics.median(values) <= bound if less else statistics.median(values) >= bound
        yield (f"| {case}: {what} | {spread(values, 0 if unit else 2)} {unit}".rstrip() +
               f"{'' if good else ', **not reached**'} | {'≤' if less else '≥'} {bound} {unit}".rstrip() + " |")
    streams = result["streams"]["tradewind"]
    yield (f"| memory of each of {streams['streams']:,} streams | {streams['per_stream_bytes'] / 1000:.1f} kB | "
           "≤ 40 kB |")
    course = result["course"]["rss_bytes"]
    yield (f"| resident after a tenth of {result['course']['requests']:,} requests, and after all | "
           f"{course[1] / 1e6:.1f} MB, {course[-1] / 1e6:.1f} MB | the same |")


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


def _split(split):
    """Of perf's samples: shares, and what they are of the CPU time that was measured meanwhile."""
    shares = split["shares"]
    kernel = sum(share for part, share in shares.items() if part.startswith("kernel"))
    total = sum(shares.values())
    yield "## Of what the CPU time of a request is made, 64 at a time"
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
    if result["split"].get("shares"):  # a short run may end before the first sample
        lines += ["", *_split(result["split"])]
    course = result["course"]
    lines += ["", f"Resident memory over {course['requests']:,} requests, MB: " +
              ", ".join(f"{one / 1e6:.1f}" for one in course["rss_bytes"]) + f"; {course['failed']} failed."]
    return "\n".join(lines) + "\n"
