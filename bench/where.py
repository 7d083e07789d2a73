"""Where the time of a token goes: `perf` on a server that answers nothing else."""
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from serve import Server
from suites import SUITES

ROWS = 16
WORK = {"decode": {"prompt": [1000], "max_tokens": 192}, "prefill": {"prompt": list(range(1000, 1512)), "max_tokens": 1}}
REQUESTS = {"default": {"decode": 6, "prefill": 10}, "3b-q4_k_m": {"decode": 1, "prefill": 2}}


def _short(symbol):
    """`tradewind::engine::(anonymous namespace)::DotTile<4, 3>(float const*)` -> `DotTile`."""
    name = re.sub(r"\(anonymous namespace\)", "", symbol)
    while (plain := re.sub(r"<[^<>]*>|\([^()]*\)|\{[^{}]*\}", "", name)) != name:
        name = plain
    parts = [part for part in name.split("::") if part and not re.search(r"\W", part)]
    return "::".join(parts[-2:] if len(parts) > 1 and parts[-2][0].isupper() else parts[-1:]) or symbol


def _shares(path):
    """(share of all samples in percent, function), the largest first. Kernel functions are one row."""
    report = subprocess.run(["perf", "report", "-i", path, "--stdio", "--no-children", "-F", "overhead,symbol", "-w",
                             "0,2000"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    shares = {}
    for percent, space, symbol in re.findall(r"^\s+([\d.]+)%\s+\[(.)\]\s+(.+?)\s*$", report, re.M):
        name = "the kernel" if space == "k" else _short(symbol)
        shares[name] = shares.get(name, 0) + float(percent)
    rows = sorted(((share, name) for name, share in shares.items()), reverse=True)
    rest = sum(share for share, _ in rows[ROWS:])
    return [{"function": name, "percent": round(share, 2)} for share, name in rows[:ROWS]] + (
        [{"function": "others", "percent": round(rest, 2)}] if rest else [])


def profile(args):
    if not shutil.which("perf"):
        raise SystemExit("perf is not there: install the package linux-perf")
    rows = []
    for name, requests in REQUESTS.items():
        model = SUITES[name].model(args)
        with tempfile.TemporaryDirectory() as home, Server(args, model, home, flags=("--no-prefix-cache",)) as server:
            model_id = server.get("/v1/models")["data"][0]["id"]
            for what, body in WORK.items():
                print(f"profile: {name}, {what}", file=sys.stderr)

                def ask():
                    return server.post("/v1/completions", {"model": model_id, "ignore_eos": True, "temperature": 0} | body)

                ask()
                data = f"{home}/perf.data"
                perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-o", data, "-p",
                                         str(server.process.pid)], stderr=subprocess.DEVNULL)
                for _ in range(requests[what]):
                    ask()
                perf.send_signal(signal.SIGINT)
                perf.wait()
                rows.append({"title": SUITES[name].title, "work": what, "functions": _shares(data)})
    return {"kind": "profile", "title": "Where the time goes: samples of a server with two threads", "rows": rows}
