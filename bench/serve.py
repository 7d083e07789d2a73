"""`tradewind serve` as a user meets it: how soon it is ready, and what memory it keeps."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from suites import SUITES

PATIENCE_S = 600


class Server:
    """A server in a home of its own; `ready_ms` is the time from its start to the first 200 of /readyz."""

    def __init__(self, args, model, home, threads=2, context=8192, slots=8, flags=()):
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            [args.binary, "serve", "--model", str(model), "--port", "0", "--threads", str(threads), "--ctx",
             str(context), "--slots", str(slots), "--access-log", "none", *flags, *args.flags.split()],
            env=os.environ | {"TRADEWIND_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        found = re.search(rb"http://\S+", self.process.stdout.readline())
        if not found:
            raise SystemExit(f"tradewind serve did not start with {model}")
        self.url = found[0].decode()
        while not self._is_ready():
            if self.process.poll() is not None or time.perf_counter() - begin > PATIENCE_S:
                raise SystemExit(f"tradewind serve never became ready with {model}")
            time.sleep(0.002)
        self.ready_ms = (time.perf_counter() - begin) * 1000

    def _is_ready(self):
        try:
            return urllib.request.urlopen(self.url + "/readyz", timeout=PATIENCE_S).status == 200
        except urllib.error.HTTPError:
            return False

    def get(self, path):
        return json.load(urllib.request.urlopen(self.url + path, timeout=PATIENCE_S))

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=PATIENCE_S))

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        value = {key: int(kb) * 1024 for key, kb in re.findall(r"(\w+):\s+(\d+) kB", status)}
        return {"rss_bytes": value["VmRSS"], "rss_max_bytes": value["VmHWM"], "anonymous_bytes": value["RssAnon"],
                "file_bytes": value["RssFile"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


def _read_once(path):
    """Brings a file into the page cache: starts are measured with a warm file."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def start_times(args):
    """Per model: the first start in a new home, then starts that find what the first one left there."""
    rows = []
    for name, suite in SUITES.items():
        model = suite.model(args)
        _read_once(model)
        first, later = [], []
        for number in range(args.rounds):
            with tempfile.TemporaryDirectory() as home:
                print(f"start: {name}, round {number + 1} of {args.rounds}", file=sys.stderr)
                for times in (first, later):
                    with Server(args, model, home) as server:
                        times.append(server.ready_ms)
        rows.append({"suite": name, "title": suite.title, "first_ms": first, "later_ms": later})
    return {"kind": "start", "title": "Start of `tradewind serve` to /readyz, file in the page cache", "rows": rows}


def memory(args):
    """The 3B shape in Q4_K_M with a context of 8192 tokens, one sequence that fills it."""
    context = 8192
    suite = SUITES["3b-q4_k_m"]
    model = suite.model(args)
    with tempfile.TemporaryDirectory() as home, Server(args, model, home, context=context, slots=1) as server:
        rows = [{"state": "ready"} | server.memory()]
        print("memory: one sequence fills the context", file=sys.stderr)
        model_id = server.get("/v1/models")["data"][0]["id"]
        prompt = [1000 + i % 256 for i in range(context - 16)]  # ids of single bytes
        answer = server.post("/v1/completions", {"model": model_id, "prompt": prompt, "max_tokens": 8,
                                                 "ignore_eos": True})
        rows.append({"state": f"context filled with {answer['usage']['total_tokens']} tokens"} | server.memory())
    return {"kind": "memory", "title": f"Resident memory, {suite.title}, context {context}, f16 KV cache", "rows": rows}
