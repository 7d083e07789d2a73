"""bench/compare_gateways.py, once and tiny: the load, the accounting of each process, and the report."""

import json
import os
import pathlib
import subprocess
import sys

import harness
import simulator

LOAD = pathlib.Path(os.environ.get("GATEWAY_LOAD_BINARY") or harness.ROOT / "build" / "gateway_load").resolve()


def test_every_case_is_measured_and_reported_without_a_failed_request(tmp_path):
    command = [sys.executable, "-B", "bench/compare_gateways.py", "--without-nginx", "--without-peers",
               "--rounds", "1", "--scale", "0.005"]
    command += ["--streams", "20", "--requests-flat", "640", "--binary", harness.BINARY, "--sim", simulator.BINARY]
    done = subprocess.run([*map(str, command), "--load", str(LOAD), "--out", str(tmp_path)], cwd=harness.ROOT,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
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
