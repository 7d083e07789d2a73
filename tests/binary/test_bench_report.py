"""bench/report.py: what the raw runs of both engines become."""
import importlib
import pathlib
import sys

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("report")
    for name in ("report", "suites"):
        sys.modules.pop(name, None)


def run(prefill, decode):
    """The JSON of either engine for a prompt of 512 alone and for eight sequences; 2 GB of weights."""
    rows = [{"prompt_tokens": 512, "output_tokens": 1, "concurrency": 1, "prefill_tokens_per_s": prefill,
             "decode_tokens_per_s": None, "prefill_gmac_per_s": prefill * 3, "rss_bytes": 3e9},
            {"prompt_tokens": 64, "output_tokens": 64, "concurrency": 8, "prefill_tokens_per_s": prefill,
             "decode_tokens_per_s": decode, "prefill_gmac_per_s": prefill * 3, "rss_bytes": 4e9}]
    return {"results": rows, "weight_bytes": 2e9, "load_ms": 500}


def limit(read, int8):
    peak = {"gmac_per_s": int8, "instruction": "vpdpbusd"}
    return {"read_gb_per_s": read, "peaks": {"f32": None, "int16": None, "int8": peak}}


def one_round(ours, peer, limits, ours_first=True):
    engines = [("tradewind", ours), ("llama_cpp", peer)][:: 1 if ours_first else -1]
    return {"threads": 2, "limits": limits} | dict(engines)


def table(report, rounds):
    result = {"kind": "compare", "title": "T", "plans": ["512x1x1", "64x64x8"], "rounds": rounds, "cpu": "C", "cpus": 2,
              "system": "S", "commit": "abc", "date": "D", "peer": "P", "command": "K"}
    text = report.render([result])
    assert "abc" in text and "4.00 GB" in text and "by vpdpbusd" in text
    return [line for line in text.splitlines() if line.startswith("| 2 |")]


def test_a_ratio_is_taken_round_by_round(report):
    limits = [limit(40, 1000)] * 3
    rounds = [one_round(run(100, 80), run(50, 40), limits), one_round(run(200, 90), run(50, 30), limits, False),
              one_round(run(150, 60), run(50, 60), limits)]
    prefill, decode = table(report, rounds)
    assert "pp512" in prefill and "3.00 (2.00 to 4.00)" in prefill
    assert "tg64 at 64 x 8" in decode and "2.00 (1.00 to 3.00)" in decode


def test_a_share_is_of_the_limits_measured_before_and_after_that_run(report):
    # 80 tokens a second of 8 sequences read 2 GB ten times: 20 GB/s, of (30 + 50) / 2. The peer's half, of (50 + 30) / 2.
    prefill, decode = table(report, [one_round(run(100, 80), run(50, 40), [limit(30, 500), limit(50, 700), limit(30, 300)])])
    assert decode.endswith("| 50 % | 25 % |")
    assert prefill.endswith("| 50 % | 30 % |")  # 300 of 600; 150 of 500
    swapped = one_round(run(100, 80), run(50, 40), [limit(30, 500), limit(50, 700), limit(350, 300)], ours_first=False)
    assert table(report, [swapped])[1].endswith("| 10 % | 25 % |")


def test_starts_memory_and_profiles_have_their_tables(report):
    shared = {"cpu": "C", "cpus": 2, "system": "S", "commit": "abc", "date": "D", "peer": "P", "command": "K"}
    start = {"kind": "start", "title": "Start", "rows": [{"title": "M", "first_ms": [300, 100, 200], "later_ms": [50]}]}
    memory = {"kind": "memory", "title": "Memory", "rows": [{"state": "ready", "rss_bytes": 2.5e9, "anonymous_bytes": 5e8,
                                                              "file_bytes": 2e9}]}
    functions = [{"function": "Dot", "percent": 90.0}, {"function": "tiny", "percent": 0.1}]
    profile = {"kind": "profile", "title": "Where", "rows": [{"title": "M, Q", "work": "decode", "functions": functions}]}
    text = report.render([shared | start, shared | memory, shared | profile])
    assert "| function | M, decode |" in text and "| Dot | 90.0 % |" in text and "tiny" not in text
    assert "| M | 200 (100 to 300) | 50 |" in text
    assert "| ready | 2.50 | 0.50 | 2.00 |" in text
