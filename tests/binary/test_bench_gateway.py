"""bench/compare_gateways.py, once and tiny: the load, the accounting of each process, and the report."""

import json
import os
import pathlib
import subprocess
import sys

import harness
import simulator

sys.path.insert(0, str(harness.ROOT / "bench"))
import gateway_report  # noqa: E402

LOAD = pathlib.Path(os.environ.get("GATEWAY_LOAD_BINARY") or harness.ROOT / "build" / "gateway_load").resolve()


def test_every_case_is_measured_and_reported_without_a_failed_request(tmp_path):
    command = [sys.executable, "-B", "bench/compare_gateways.py", "--without-nginx", "--without-peers",
               "--rounds", "1", "--scale", "0.005"]
    command += ["--streams", "20", "--requests-flat", "640", "--binary", harness.BINARY, "--sim", simulator.BINARY]
    done = subprocess.run([*map(str, command), "--load", str(LOAD), "--out", str(tmp_path)], cwd=harness.ROOT,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr  # 1: a bar is missed, as it may be by so few requests
    result = json.loads((tmp_path / "gateway.json").read_text())
    (cases,) = result["rounds"]
    assert len(cases) == 5
    for name, runs in cases.items():
        assert set(runs) == {"direct", "tradewind"}, name
        for run in runs.values():
            assert run["failed"] == 0 and run["requests"] > 0 and 0 < run["p50_us"] <= run["p99_us"], name
        assert runs["tradewind"]["cpu_us"] > 0, name
    assert result["course"]["failed"] == 0 and len(result["course"]["rss_bytes"]) == 11
    assert result["streams"]["tradewind"]["held_bytes"] > 0
    report = (tmp_path / "gateway.md").read_text()
    assert all(f"## {name}" in report for name in cases)


def test_the_load_counts_an_answer_that_is_no_success_as_failed(tmp_path):
    body = tmp_path / "body.json"
    body.write_text('{"model": "model-x", "messages": [{"role": "user", "content": "sim:status=500"}]}')
    with simulator.Simulator("openai") as sim:
        command = [LOAD, "--port", sim.port, "--path", "/openai/v1/chat/completions", "--body", body, "--requests", 5]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) | {"requests": 5, "failed": 5} == json.loads(done.stdout)


# --- The verdicts of the report


def run_of(cpu_us=100, p50_us=200, seconds=1.0, failed=0):
    return {"requests": 1000, "seconds": seconds, "failed": failed, "p50_us": p50_us, "p99_us": 900, "cpu_us": cpu_us, "rss_bytes": 9_000_000}


def result_of(cases=(), course=(10e6, 20e6, *[20e6] * 9), **ours):
    """A result in which every bar is reached, but for what `ours` changes in `cases`."""
    names = [bar[0] for bar in gateway_report.BARS]
    one = {name: {"direct": run_of(p50_us=150), "nginx": run_of(), "tradewind": run_of(**(ours if name in cases else {}))} for name in names}
    return {
        "rounds": [one], "cpu": "c", "cpus": 2, "system": "s", "commit": "c", "date": "d", "peer": "p", "command": "c", "load": 0.0,
        "streams": {"tradewind": {"streams": 5000, "before_bytes": 1, "held_bytes": 2, "per_stream_bytes": 21_000}},
        "splits": {"64 at a time": {"why": "perf is not installed"}},
        "course": {"requests": 1_000_000, "failed": 0, "rss_bytes": list(course)},
    }


def test_a_report_in_which_all_is_reached_says_nothing_else():
    report = gateway_report.render(result_of())
    assert "**" not in report and "perf is not installed" in report
    assert "### Where the time of a request goes" not in report


def test_a_bar_is_missed_by_its_figure_or_by_a_failure_and_then_its_time_is_split():
    for bar, ours in (("one at a time", {"p50_us": 400}), ("streams of 200 chunks, 16 at a time", {"seconds": 1.2}),
                      ("64 at a time", {"cpu_us": 151}), ("400 kB bodies", {"seconds": 2.5})):
        result = result_of([bar], **ours)
        assert gateway_report.missed(result["rounds"]) == [bar]
        report = gateway_report.render(result)
        assert report.count("**not reached**") == 1 and f"### Where the time of a request goes: {bar}" in report
    result = result_of(["64 at a time"], failed=3)
    assert gateway_report.missed(result["rounds"]) == ["64 at a time"] and "**3 failed**" in gateway_report.render(result)


def test_memory_that_grows_misses_its_bar():
    assert "**not reached**" not in gateway_report.render(result_of(course=[10e6, 20e6, *[27e6] * 9]))
    assert "**not reached**" in gateway_report.render(result_of(course=[10e6, 20e6, *[29e6] * 9]))
    grown = result_of()
    grown["streams"]["tradewind"]["per_stream_bytes"] = 41_000
    assert "41.0 kB, **not reached**" in gateway_report.render(grown)
