"""The gateway beside nginx's `proxy_pass` and other LLM gateways, in front of the same simulated provider; writes
bench/results/gateway.*.

Everything runs on this machine, on loopback. Rounds alternate, and ratios are taken round by round: the CPU time of
each process over the same count of requests hardly depends on what else the machine does; times do, and streams a
second as well.

Usage: compare_gateways.py [--rounds 5] [--scale 1]      Ends with 1 when a bar was not reached.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import gateway
import gateway_peers
import gateway_report
import machine

# name -> (connections, requests, words of the request, fields of the request)
CASES = {
    "one at a time": (1, 3000, 8, {}),
    "64 at a time": (64, 12000, 8, {}),
    "400 kB bodies": (4, 200, 66_000, {}),
    "streams of 200 chunks, one at a time": (1, 150, 8, {"stream": True, "max_tokens": 200}),
    "streams of 200 chunks, 16 at a time": (16, 600, 8, {"stream": True, "max_tokens": 200}),
}

# Part of the program -> the symbols of it; the first that fits counts.
KERNEL_PARTS = {
    "kernel: TCP, loopback and sockets": r"tcp|skb|inet|sock|ip_|net|xmit|loopback|napi|bbr|softirq|backlog|bh_|dst|copy_(to|from)_iter|"
                                         r"sendmsg|recvmsg|recvfrom|memcg_charge",
    "kernel: epoll": r"epoll|^ep_",
    "kernel: waking and switching tasks": r"sched|switch|wake|enqueue|dequeue|spin_unlock_irq|update_(curr|load|cfs)|futex|exit_to_user",
    "kernel: entering and leaving system calls": r"syscall|entry_SYSCALL|fdget|fput|security_|user_access",
}
PARTS = {
    "memory allocation": r"malloc|_int_free|cfree|unlink_chunk|operator (new|delete)|^free$|tcache|realloc|calloc",
    "event loop and coroutines": r"^(void )?(non-virtual thunk to )?boost::asio|EventLoop|::pump",
    "metrics and logs": r"telemetry::|spdlog",
    "keys": r"identity::|blake2b|crypto_|sodium",
    "JSON": r"dialects::|simdjson|boost::json",
    "HTTP to the client": r"http::.*(TcpConnection|RequestReader|FormatResponse|ResponseHead)|beast",
    "HTTP to the provider": r"http::|providers::",
    "routing": r"routing::|catalog::|pricing::",
    "the life of a request": r"gateway::",
    "formatting": r"fmt::",
}


def _text(words, fields):
    tail = f" sim:tokens={fields['max_tokens']}" if "max_tokens" in fields else ""
    return " ".join("words" for _ in range(words)) + tail


def measure(args, folder, target, name):
    connections, requests, words, fields = CASES[name]
    requests = max(connections, int(requests * args.scale * target.share))
    body = target.body(folder, _text(words, fields), **fields)
    load = gateway.Load(args, target, body, connections, requests, warm=connections * 2)
    before = gateway.cpu_s(target.pid) if target.pid else 0
    result = load.run()
    after = gateway.cpu_s(target.pid) if target.pid else 0
    result["cpu_us"] = (after - before) / (requests + connections * 2) * 1e6
    if target.pid:
        result["rss_bytes"] = gateway.rss_bytes(target.pid)
    return result


def compare(args, folder, targets):
    rounds = []
    for number in range(args.rounds):
        one = {}
        for name in CASES:
            for target in targets[::1 if number % 2 == 0 else -1]:
                print(f"round {number + 1} of {args.rounds}: {name}: {target.name}", file=sys.stderr)
                one.setdefault(name, {})[target.name] = measure(args, folder, target, name)
        rounds.append(one)
    return rounds


def memory_of_streams(args, folder, target):
    """What a stream that has begun and waits for its next event holds of the gateway's memory."""
    body = target.body(folder, "words sim:stall_after=3", stream=True)
    with gateway.Load(args, target, body, 16, hold=True).held():
        pass
    before = gateway.rss_bytes(target.pid)
    with gateway.Load(args, target, body, args.streams, hold=True).held():
        held = gateway.rss_bytes(target.pid)
    return {"streams": args.streams, "before_bytes": before, "held_bytes": held,
            "per_stream_bytes": (held - before) / args.streams}


def memory_over_time(args, folder, target):
    """Resident memory after each tenth of many requests."""
    body = target.body(folder, "words")
    seen = [gateway.rss_bytes(target.pid)]
    failed = 0
    for _ in range(10):
        failed += gateway.Load(args, target, body, 64, max(64, args.requests_flat // 10)).run()["failed"]
        seen.append(gateway.rss_bytes(target.pid))
    return {"requests": args.requests_flat, "failed": failed, "rss_bytes": seen}


def split(args, folder, target, case):
    """Of what the CPU time of a request is made: perf's samples, by the part of the program that they fell into."""
    if not shutil.which("perf"):
        return {"why": "perf is not installed"}
    connections, requests, words, fields = CASES[case]
    body = target.body(folder, _text(words, fields), **fields)
    requests = max(connections, int(requests * 2 * args.scale))
    data = folder / "perf.data"
    perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "1997", "-o", data, "-p", str(target.pid)],
                            stderr=subprocess.DEVNULL)
    time.sleep(1)  # perf says nothing once it has begun
    before = gateway.cpu_s(target.pid)
    gateway.Load(args, target, body, connections, requests).run()
    cpu_us = (gateway.cpu_s(target.pid) - before) / requests * 1e6
    perf.send_signal(signal.SIGINT)
    perf.wait()
    report = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children", "-F", "overhead,dso,symbol", "-w",
                             "0,0,2000"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    shares = {}
    for percent, _, kind, symbol in re.findall(r"^\s+([\d.]+)%\s+(\S+)\s+\[(.)\]\s+(.+?)\s*$", report, re.M):
        parts, rest = (KERNEL_PARTS, "kernel: the rest") if kind == "k" else (PARTS, "the rest: strings, containers, C library")
        part = next((part for part, pattern in parts.items() if re.search(pattern, symbol)), rest)
        shares[part] = shares.get(part, 0) + float(percent)
    return {"requests": requests, "cpu_us": cpu_us, "shares": shares}


def peer_versions(args):
    peers = {} if args.without_peers else gateway_peers.versions()
    return ", ".join([gateway.nginx_version(), *(f"{name} {version}" for name, version in peers.items())])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1, help="of the counts of requests")
    parser.add_argument("--streams", type=int, default=5000, help="held open at once")
    parser.add_argument("--requests-flat", type=int, help="for the course of memory; without it 1,000,000 times --scale")
    parser.add_argument("--binary", default="build/tradewind")
    parser.add_argument("--before", help="another build of tradewind, measured in the same rounds")
    parser.add_argument("--without-nginx", action="store_true")
    parser.add_argument("--without-peers", action="store_true", help="without LiteLLM and Portkey")
    parser.add_argument("--sim", default="build/provider_sim")
    parser.add_argument("--load", default="build/gateway_load")
    parser.add_argument("--flags", default="", help="more flags for `tradewind serve`, in one word")
    parser.add_argument("--out", default="bench/results")
    args = parser.parse_args()
    args.requests_flat = args.requests_flat or max(640, int(1_000_000 * args.scale))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        provider = gateway.start_provider(stack, args)
        targets = [provider]
        if not args.without_nginx:
            targets.append(gateway.start_nginx(stack, args, folder, provider))
        ours = gateway.start_tradewind(stack, args, folder, provider)
        targets.append(ours)
        if args.before:
            targets.append(gateway.start_tradewind(stack, args, folder, provider, args.before, "before"))
        peers = [] if args.without_peers else gateway_peers.start_all(stack, folder, provider)
        load_before = os.getloadavg()[0]
        result = {"rounds": compare(args, folder, [*targets, *peers]), "load": load_before}
        print("memory", file=sys.stderr)
        result["streams"] = {t.name: memory_of_streams(args, folder, t) for t in targets if t.pid}
        cases = dict.fromkeys(["64 at a time", *gateway_report.missed(result["rounds"])])
        result["splits"] = {case: split(args, folder, ours, case) for case in cases}
        result["course"] = memory_over_time(args, folder, ours)
    result = {"schema": "tradewind.bench-gateways/v1"} | machine.describe(args, peer=peer_versions(args)) | result
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "gateway.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "gateway.md").write_text(gateway_report.render(result))
    print((out / "gateway.md").read_text())
    return 0 if gateway_report.is_reached(result) else 1


if __name__ == "__main__":
    sys.exit(main())
